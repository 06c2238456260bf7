//! The ways in which a target is dialled, as far as they are known before the call, and in which order
//! a call tries them.

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{CallId, TrunkId};
use crate::phone::PhoneNumber;

use super::config::{DialConfig, PeerTlsConfig};
use super::selection::drawn;
use super::snapshot::Target;

/// One way to a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Dial {
    pub template: DialTemplate,
    /// Whose carrier is called; absent: nobody's.
    pub trunk: Option<TrunkId>,
    /// Ways of a lower one are tried first.
    pub priority: u16,
    /// Its share of the calls that are tried first in one of the ways of its priority.
    pub weight: u32,
    /// Nothing here depends on it; it is for whoever connects.
    pub tls: PeerTlsConfig,
    /// What it has in common with those of other targets; absent: the target has no other, and it
    /// names no trunk.
    pub way: Option<Way>,
    /// Absent: codes mean the usual.
    pub failover: Option<Failover>,
}

/// What final responses over a way mean where that is not the usual (spec/domain §2.11). A target that has
/// rung is called no other way, whatever it answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Failover {
    /// 300 to 699: those after which the target's next address is tried, or another way to it.
    #[cbor(n(0), with = "codec::statuses")]
    pub next_way_on: Arc<[u16]>,
    /// Those after which the next target is tried, in place of the campaign's; absent: the campaign's.
    #[cbor(n(1), with = "codec::optional_statuses", has_nil)]
    pub advance_on: Option<Arc<[u16]>>,
}

/// Nobody would be found this way: all its addresses failed of late, or none is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Unreached {
    #[n(0)]
    pub addresses: u16,
}

/// For people: `both of its addresses failed of late`.
impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses {
            0 => f.write_str("no address of it is known"),
            1 => f.write_str("its address failed of late"),
            2 => f.write_str("both of its addresses failed of late"),
            all => write!(f, "all of its {all} addresses failed of late"),
        }
    }
}

impl Failover {
    /// What speaks of the way, and not of who was called.
    pub const NEXT_WAY_ON: [u16; 5] = [408, 500, 502, 503, 504];

    /// `None`: it is the usual.
    pub(super) fn of(next_way_on: &[u16], advance_on: Option<&[u16]>) -> Option<Self> {
        let is_usual = advance_on.is_none() && *next_way_on == Self::NEXT_WAY_ON;
        let (next_way_on, advance_on) = (next_way_on.into(), advance_on.map(Into::into));
        (!is_usual).then_some(Self { next_way_on, advance_on })
    }
}

/// What leads to targets: a carrier, or a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Way {
    #[n(0)]
    Trunk(#[n(0)] TrunkId),
    /// A host and perhaps a port as they stand in the URI, in lower case.
    #[n(1)]
    Host(#[cbor(n(0), with = "codec::text")] SmolStr),
}

/// Ways of one target at most.
pub const DIALS_MAX: usize = 8;

impl Way {
    pub(super) fn of(trunk: Option<&TrunkId>, template: &DialTemplate) -> Self {
        match trunk {
            Some(trunk) => Self::Trunk(trunk.clone()),
            None => Self::Host(template.host().to_ascii_lowercase().into()),
        }
    }

    pub fn trunk(&self) -> Option<&TrunkId> {
        match self {
            Self::Trunk(trunk) => Some(trunk),
            Self::Host(_) => None,
        }
    }
}

/// `trunk/trk_a`, or `192.0.2.9:5060`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trunk(trunk) => write!(f, "trunk/{trunk}"),
            Self::Host(host) => f.write_str(host),
        }
    }
}

impl Target {
    /// A way to it, by its place in the configuration.
    pub fn dial(&self, place: u8) -> Option<&Dial> {
        self.dials.get(usize::from(place))
    }

    /// The places of its ways in the order in which a call tries them: the lowest priority first, and of
    /// one priority as is drawn by weight.
    pub(super) fn order_of_dials(&self, call: CallId) -> Vec<u8> {
        let places: Vec<u8> = (0..).take(self.dials.len()).collect();
        if places.len() < 2 {
            return places;
        }
        let weighed = self.dials.iter().enumerate();
        let weighed = weighed.map(|(place, it)| (format!("{}#{place}", self.id), it.weight.into()));
        let mut order = drawn(call, &weighed.collect::<Vec<_>>());
        order.sort_by_key(|place| self.dials[*place].priority);
        order.into_iter().filter_map(|place| places.get(place).copied()).collect()
    }
}

/// A SIP URI with, perhaps, a place for the dialled number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialTemplate {
    Fixed(String),
    /// The dialled number in E.164 goes between the two.
    Number {
        before: String,
        after: String,
    },
}

impl DialTemplate {
    /// `Err` is what is wrong with the URI, and what to write.
    pub(super) fn compile(config: &DialConfig) -> Result<Self, (&'static str, &'static str)> {
        const REMEDY: &str = "write a SIP URI such as sip:queue@192.0.2.10:5060";
        let uri = config.uri.as_str();
        let scheme = ["sip:", "sips:"].into_iter().find(|scheme| {
            uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let Some(scheme) = scheme else { return Err(("is no SIP URI", REMEDY)) };
        let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"');
        if !uri.bytes().all(allowed) {
            return Err(("holds a character that a SIP URI cannot hold", REMEDY));
        }
        let rest = &uri[scheme.len()..];
        // Neither parameters nor headers may hold a bare `@` (RFC 3261 §25.1).
        let (user, host) = match rest.split_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let end = host.find([';', '?']).unwrap_or(host.len());
        if host[..end].is_empty() || host[..end].starts_with(':') || user == Some("") {
            return Err(("has no host or an empty user part", REMEDY));
        }
        let only_in_user = "write it once, before the `@`";
        if host.contains("{number}") {
            return Err(("has `{number}` outside the user part", only_in_user));
        }
        let Some(user) = user else {
            return Ok(Self::Number { before: scheme.to_owned(), after: format!("@{host}") });
        };
        match user.split_once("{number}") {
            Some((_, after)) if after.contains("{number}") => {
                Err(("has `{number}` more than once", only_in_user))
            }
            Some((before, after)) => Ok(Self::Number {
                before: format!("{scheme}{before}"),
                after: format!("{after}@{host}"),
            }),
            None if user.contains(['{', '}']) => {
                Err(("has braces that are not `{number}`", "write `{number}` or nothing"))
            }
            None => Ok(Self::Fixed(uri.to_owned())),
        }
    }

    /// The host, and the port if it names one.
    fn host(&self) -> &str {
        let (Self::Fixed(text) | Self::Number { after: text, .. }) = self;
        let host = text.split_once('@').map_or(text.as_str(), |(_, host)| host);
        &host[..host.find([';', '?']).unwrap_or(host.len())]
    }

    pub fn uri(&self, dialed: PhoneNumber) -> String {
        match self {
            Self::Fixed(uri) => uri.clone(),
            Self::Number { before, after } => format!("{before}+{}{after}", dialed.digits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::RoutingSnapshot;
    use crate::routing::config::DialKind;

    #[test]
    fn the_dialled_number_goes_where_the_template_says() {
        let cases = [
            ("sip:127.0.0.1:5070", "sip:+18005550100@127.0.0.1:5070"),
            ("sip:[::1]:5070;transport=tcp", "sip:+18005550100@[::1]:5070;transport=tcp"),
            ("sips:q-{number}@buyer.example", "sips:q-+18005550100@buyer.example"),
            (
                "sip:dispatch@buyer.example;transport=tls",
                "sip:dispatch@buyer.example;transport=tls",
            ),
        ];
        for (template, uri) in cases {
            let dialed = "+18005550100".parse().unwrap();
            assert_eq!(compile(template).unwrap().uri(dialed), uri);
        }
    }

    #[test]
    fn what_is_no_sip_uri_is_refused() {
        for uri in [
            "",
            "tel:+18005550100",
            "sip:",
            "sip:user@",
            "sip:@host",
            "sip::5060",
            "sip:a b@host",
            "sip:user@{number}.example",
            "sip:{number}{number}@host",
            "sip:{did}@host",
        ] {
            assert!(compile(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn ways_over_one_trunk_or_at_one_host_are_one_whoever_is_called_there() {
        let host = |uri| Way::of(None, &compile(uri).unwrap()).to_string();
        for uri in ["sip:q@B.example:5070;transport=tcp", "sips:{number}@b.example:5070"] {
            assert_eq!(host(uri), "b.example:5070");
        }
        assert_eq!(host("sip:[2001:db8::7]"), "[2001:db8::7]");
        let over = Way::of(Some(&"trk_a".into()), &compile("sip:q@b.example").unwrap());
        assert_eq!(over.to_string(), "trunk/trk_a");
    }

    #[test]
    fn ways_are_tried_by_priority_and_within_one_by_weight() {
        let target = target(
            r#"[{ kind = "sip", uri = "sip:c", priority = 2 },
                { kind = "sip", uri = "sip:a", priority = 1, weight = 75 },
                { kind = "sip", uri = "sip:b", priority = 1, weight = 25 },
                { kind = "sip", uri = "sip:z", priority = 1, weight = 0 }]"#,
        );
        let orders: Vec<_> =
            (0..4_000).map(|n| target.order_of_dials(CallId::of_simulation(7, n))).collect();

        assert!(orders.iter().all(|order| order[2..] == [3, 0]), "no weight, then the next");
        let first = orders.iter().filter(|order| order[0] == 1).count();
        assert!((2_850..3_150).contains(&first), "three quarters of 4,000: {first}");
        let again = target.order_of_dials(CallId::of_simulation(7, 9));
        assert_eq!(orders[9], again, "the same call, the same order");
    }

    #[test]
    fn without_priorities_ways_are_tried_as_they_stand() {
        let target = target(
            r#"[{ kind = "sip", uri = "sip:a" }, { kind = "sip", uri = "sip:b" },
                { kind = "sip", uri = "sip:c" }]"#,
        );
        for n in 0..100 {
            assert_eq!(target.order_of_dials(CallId::of_simulation(1, n)), [0, 1, 2]);
        }
    }

    fn target(dial: &str) -> Target {
        let text = format!(
            "buyers = [{{ id = \"b\" }}]\n[[targets]]\nid = \"t\"\nbuyer = \"b\"\ndial = {dial}\n"
        );
        let snapshot = RoutingSnapshot::compile(toml::from_str(&text).unwrap(), 1).unwrap();
        snapshot.targets()[0].clone()
    }

    fn compile(uri: &str) -> Result<DialTemplate, (&'static str, &'static str)> {
        DialTemplate::compile(&DialConfig {
            kind: DialKind::Sip,
            uri: uri.to_owned(),
            trunk: None,
            priority: None,
            weight: 100,
            tls: PeerTlsConfig::default(),
        })
    }
}

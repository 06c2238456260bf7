//! How parties have a call go elsewhere: what a target names in a redirection, and what a carrier
//! makes of our REFER.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fastrand::Rng;

use super::habits::{ms, one_in};

/// Hosts that some targets may send their calls on to: an address, and a name with the address that
/// it stands for. The edge itself is another one.
pub(crate) const LISTED: &str = "198.51.100.60";
pub(crate) const LISTED_NAME: &str = "elsewhere.example";
pub(crate) const NAMED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 61));
pub(crate) const EDGE: &str = "203.0.113.1";

/// A host that no target may name.
const UNLISTED: &str = "198.51.100.66";

/// A place that a target names in a 3xx.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Elsewhere {
    /// At its own host, as another user.
    SameHost(u8),
    Listed(u8),
    ListedName(u8),
    Unlisted,
    /// What was called.
    Itself,
    /// What is called as this attempt, whether or not it is this target's.
    Planned(u8),
    Edge,
    /// What a URI may ask for besides its address.
    WithHeader,
    WithMethod,
    Telephone,
    Secure,
    OverTcp,
    Nonsense,
}

impl Elsewhere {
    /// What a target names; nothing: its own Contact.
    pub(crate) fn draw(rng: &mut Rng) -> Vec<(Self, Option<u8>)> {
        let count = if one_in(rng, 6) { 8 } else { rng.u8(0..4) };
        (0..count).map(|_| (Self::one(rng), rng.bool().then(|| rng.u8(..10)))).collect()
    }

    fn one(rng: &mut Rng) -> Self {
        match rng.u8(..20) {
            0..5 => Self::SameHost(rng.u8(..4)),
            5..8 => Self::Listed(rng.u8(..3)),
            8..10 => Self::ListedName(rng.u8(..2)),
            10..12 => Self::Unlisted,
            12 => Self::Itself,
            13 => Self::Planned(rng.u8(1..4)),
            14 => Self::Edge,
            15 => Self::WithHeader,
            16 => Self::WithMethod,
            17 => Self::Telephone,
            18 => Self::Secure,
            _ => [Self::OverTcp, Self::Nonsense][rng.usize(..2)],
        }
    }

    /// The Contact lines of a 3xx to what was called as `own`, from a target at `host`.
    pub(crate) fn lines(
        named: &[(Self, Option<u8>)],
        call: usize,
        host: &str,
        own: &str,
    ) -> String {
        let line = |(place, tenths): &(Self, Option<u8>)| {
            let q = tenths.map(|tenths| format!(";q=0.{tenths}")).unwrap_or_default();
            format!("Contact: <{}>{q}\r\n", place.uri(call, host, own))
        };
        named.iter().map(line).collect()
    }

    fn uri(self, call: usize, host: &str, own: &str) -> String {
        let user = format!("target-{call}");
        match self {
            Self::SameHost(n) => format!("sip:{user}-same{n}@{host}"),
            Self::Listed(n) => format!("sip:{user}-listed{n}@{LISTED}:506{n}"),
            Self::ListedName(n) => format!("sip:{user}-named{n}@{LISTED_NAME}"),
            Self::Unlisted => format!("sip:{user}-unlisted@{UNLISTED}"),
            Self::Itself => own.to_owned(),
            Self::Planned(n) => super::mind::target_uri_text(call, n.into()),
            Self::Edge => format!("sip:{user}-edge@{EDGE}:5060"),
            Self::WithHeader => format!("sip:{user}-header@{host}?Subject=x"),
            Self::WithMethod => format!("sip:{user}-method@{host};method=BYE"),
            Self::Telephone => String::from("tel:+12125550199"),
            Self::Secure => format!("sips:{user}-secure@{host}"),
            Self::OverTcp => format!("sip:{user}-tcp@{host};transport=tcp"),
            Self::Nonsense => String::from("sip:@:"),
        }
    }
}

/// What a carrier makes of our REFER.
#[derive(Clone, Debug, Default)]
pub(crate) struct Referral {
    /// What its INVITE says of the methods it takes: a header line, or nothing.
    pub(crate) allow: &'static str,
    /// From the REFER to each of its responses; none: silence.
    pub(crate) answers: Vec<(Duration, u16)>,
    /// From the REFER to each NOTIFY.
    pub(crate) notifies: Vec<(Duration, Notify)>,
    /// From the REFER to the BYE of who has the call now.
    pub(crate) bye: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Notify {
    /// In the fragment it brings; `None`: it brings none.
    pub(crate) status: Option<u16>,
    /// It ends the subscription.
    pub(crate) over: bool,
    pub(crate) event: &'static str,
}

impl Referral {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let allow = match rng.u8(..8) {
            0 => "Allow: INVITE, ACK, CANCEL, BYE\r\n",
            1..4 => "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY\r\n",
            _ => "",
        };
        let answer_at = if one_in(rng, 4) { ms(rng, 0, 3_000) } else { ms(rng, 0, 50) };
        let refusals = [403, 405, 501, 603, 400, 408, 481, 500];
        let mut referral = Self { allow, ..Self::default() };
        match rng.u8(..12) {
            // It never says anything about the REFER, and may be at it all the same.
            0 => {}
            1..5 => {
                referral.answers.push((answer_at, refusals[rng.usize(..refusals.len())]));
                return referral;
            }
            5 => referral.answers.extend([(ms(rng, 0, 100), 100), (answer_at, 202)]),
            6 => referral.answers.push((answer_at, 200)),
            _ => referral.answers.push((answer_at, 202)),
        }
        // Some NOTIFYs are sent before the response to the REFER (RFC 3515 §2.4.4).
        let mut at = if one_in(rng, 5) { Duration::ZERO } else { answer_at };
        let steps: &[(Option<u16>, bool)] = match rng.u8(..16) {
            // Nothing, or nothing that says what came of it.
            0 => &[],
            1 => &[(Some(100), false)],
            2 => &[(Some(100), true)],
            3 => &[(None, true)],
            4 => &[(Some(180), false), (Some(183), true)],
            5..8 => &[(Some(100), false), (Some(180), false), (Some(200), true)],
            8 => &[(Some(200), true)],
            9 => &[(Some(100), false), (Some(200), false), (Some(200), true)],
            10 => &[(Some(503), true)],
            11 => &[(Some(100), false), (Some(486), true)],
            12 => &[(Some(100), false), (Some(180), false), (Some(603), true)],
            13 => &[(Some(100), false), (Some(404), false), (Some(404), true)],
            14 => &[(Some(302), true)],
            _ => &[(Some(100), false), (Some(487), true), (Some(200), true)],
        };
        for (status, over) in steps {
            let event = if one_in(rng, 20) { "presence" } else { "refer" };
            referral.notifies.push((at, Notify { status: *status, over: *over, event }));
            at += if one_in(rng, 3) { Duration::ZERO } else { ms(rng, 0, 3_000) };
        }
        // Some let go of us as soon as they have the call, some when they are done.
        referral.bye = match rng.u8(..8) {
            0 => Some(ms(rng, 0, 500)),
            1..3 => Some(at),
            _ => None,
        };
        referral
    }
}

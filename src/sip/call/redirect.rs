//! Where a target may send its call on: by a 3xx, or by REFER (spec/sip B23, R12, S10).
//!
//! Without a rule it may name other ports and users of the host it is called at, and nothing else:
//! whoever answers at a buyer's address cannot make us call the rest of the world.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::reason::Reason;
use crate::sip::dialog::transport_of;
use crate::sip::flow::Transport;
use crate::sip::message::{Scheme, Uri};
use crate::sip::target::{RedirectConfig, same_host};
use crate::time::Mono;

use super::plan::{Attempt, Destination, Manner};
use super::report::{AttemptNumber, Place, Report};
use super::{Call, Failure, Output, Outputs};

/// Contacts of one redirection that are tried.
pub const CONTACTS_MAX: usize = 5;

/// A place to call that was found allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    pub uri: Bytes,
    pub destination: Destination,
}

impl Attempt {
    /// Where `uri` leads, if the target of this attempt may send its call there: to its own host
    /// or to one of `hosts`, whose addresses are in `known`. What is asked of us in a URI beyond
    /// its address (header fields, a method) is not done.
    pub fn admits(
        &self,
        uri: &[u8],
        hosts: &[SmolStr],
        known: &[(SmolStr, IpAddr)],
    ) -> Option<Moved> {
        let parsed = Uri::parse(uri).ok()?;
        let is_sip = matches!(parsed.scheme(), Scheme::Sip | Scheme::Sips);
        if !is_sip || parsed.headers().is_some() || parsed.params().has(b"method") {
            return None;
        }
        if !self.manner.permits_named(&parsed) {
            return None;
        }
        let own = Uri::parse(&self.uri).ok()?;
        let own_ip = self.destination.map(|it| it.peer.ip());
        let host = parsed.host();
        let is_own =
            same_host(host, own.host()) || parsed.host_ip().is_some_and(|ip| own_ip == Some(ip));
        let ip = if is_own {
            own_ip?
        } else {
            hosts.iter().find(|allowed| same_host(allowed.as_bytes(), host))?;
            let by_name = || {
                let (_, ip) = known.iter().find(|(name, _)| same_host(name.as_bytes(), host))?;
                Some(*ip)
            };
            parsed.host_ip().or_else(by_name)?
        };
        let transport = transport_of(&parsed);
        // Over TLS only whoever the target itself has to be is known; and a call that asked for
        // TLS is not sent on without.
        let tls = self.destination.and_then(|it| it.tls).filter(|_| is_own);
        let was_tls = self.destination.is_some_and(|it| it.transport == Transport::Tls);
        if (transport == Transport::Tls && tls.is_none())
            || (transport != Transport::Tls && was_tls)
            || (own.scheme() == Scheme::Sips && parsed.scheme() != Scheme::Sips)
        {
            return None;
        }
        let peer = SocketAddr::new(ip, parsed.port().unwrap_or_else(|| transport.default_port()));
        let tls = tls.filter(|_| transport == Transport::Tls);
        let destination = Destination { transport, peer, tls, tcp_port: None };
        Some(Moved { uri: Bytes::copy_from_slice(uri), destination })
    }

    /// How many redirections are followed, and where to.
    pub fn redirects(&self) -> (u8, &[SmolStr]) {
        match &self.rules {
            Some(rules) => (rules.redirect.max, &rules.redirect.hosts),
            None => (RedirectConfig::DEFAULT_MAX, &[]),
        }
    }
}

impl Call {
    /// The target is elsewhere. The places it names are tried next, each as an attempt of its own;
    /// if none is left that was not tried, it has refused the call.
    pub(super) fn redirected(
        &mut self,
        attempt: AttemptNumber,
        status: u16,
        contacts: Vec<Moved>,
        now: Mono,
        out: &mut Outputs,
    ) {
        let uris = self.follow(attempt, contacts);
        let failure = Failure { status: Some(status), ..Failure::of(Reason::AttemptRedirected) };
        if uris.is_empty() {
            self.attempt_failed(attempt, failure, now, out);
            return;
        }
        // Before the failure: it tells whether the target's hold is still needed.
        let uris = uris.into_iter().map(Place).collect();
        out.push(Output::Report(Report::Extended { after: attempt, uris }));
        self.attempt_over(attempt, &failure, now, out);
        self.last_failure = Some(Box::new(failure));
        self.next_attempt(attempt, now, out);
    }

    /// Puts the places that are new behind the attempt. Returns their URIs.
    fn follow(&mut self, attempt: AttemptNumber, contacts: Vec<Moved>) -> Vec<Bytes> {
        let Some(plan) = &mut self.plan else { return Vec::new() };
        let at = usize::from(attempt);
        let Some(planned) = plan.attempts.get(at.wrapping_sub(1)).cloned() else {
            return Vec::new();
        };
        if plan.redirects >= planned.redirects().0 {
            return Vec::new();
        }
        plan.redirects += 1;
        let mut uris: Vec<Bytes> = Vec::new();
        for Moved { uri, destination } in contacts.into_iter().take(CONTACTS_MAX) {
            let end = at + uris.len();
            let has_number = plan.attempts.len() < usize::from(AttemptNumber::MAX);
            if has_number && !plan.attempts[..end].iter().any(|tried| same_uri(&tried.uri, &uri)) {
                let next = Attempt {
                    uri: uri.clone(),
                    destination: Some(destination),
                    further: None,
                    handover: None,
                    manner: Manner {
                        beside: false,
                        named: true,
                        instead: false,
                        ..planned.manner.clone()
                    },
                    ..planned.clone()
                };
                plan.attempts.insert(end, next);
                uris.push(uri);
            }
        }
        uris
    }
}

/// Whether two URIs lead to the same place (RFC 3261 §19.1.4).
pub fn same_uri(one: &[u8], other: &[u8]) -> bool {
    match (Uri::parse(one), Uri::parse(other)) {
        (Ok(one), Ok(other)) => one.equivalent(&other),
        (Ok(_) | Err(_), _) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::plan;
    use super::*;
    use crate::sip::flow::{TlsPeer, Transport};
    use crate::sip::policy::Destinations;
    use crate::sip::policy::config::DestinationPolicy;
    use crate::sip::target::{TargetConfig, TargetRules};

    #[test]
    fn a_target_may_name_its_own_host_and_listed_ones_only() {
        let attempt = attempt();
        let hosts = [SmolStr::new("sbc.example.com"), SmolStr::new("192.0.2.77")];
        let known = [(SmolStr::new("sbc.example.com"), "192.0.2.50".parse().unwrap())];
        let leads = |uri: &str| {
            attempt.admits(uri.as_bytes(), &hosts, &known).map(|it| it.destination.peer.to_string())
        };

        let allowed = [
            ("sip:x@192.0.2.9:5080", "192.0.2.9:5080"),
            ("sip:buyer.example:5090;transport=tcp", "192.0.2.9:5090"),
            ("sip:x@SBC.example.com", "192.0.2.50:5060"),
            ("sip:x@192.0.2.77", "192.0.2.77:5060"),
        ];
        for (uri, peer) in allowed {
            assert_eq!(leads(uri).as_deref(), Some(peer), "{uri}");
        }
        for uri in [
            "sip:x@192.0.2.10",
            "sip:+447911123456@premium.example",
            "tel:+447911123456",
            "mailto:a@b",
            "sip:x@192.0.2.9?Replaces=a",
            "sip:x@192.0.2.9;method=BYE",
            "",
        ] {
            assert_eq!(leads(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_call_over_tls_stays_with_whoever_the_target_has_to_be() {
        let tls = Some(TlsPeer(3));
        let destination = attempt().destination.map(|it| Destination { tls, ..it });
        let uri = Bytes::from_static(b"sips:q@buyer.example");
        let attempt = Attempt { uri, destination, ..attempt() };
        let hosts = [SmolStr::new("192.0.2.77")];
        let leads =
            |uri: &str| attempt.admits(uri.as_bytes(), &hosts, &[]).map(|it| it.destination);

        let peer = "192.0.2.9:5061".parse().unwrap();
        let expected = Destination { transport: Transport::Tls, peer, tls, tcp_port: None };
        assert_eq!(leads("sips:x@buyer.example"), Some(expected));
        assert_eq!(leads("sip:x@buyer.example"), None, "no less secure than was asked for");
        assert_eq!(leads("sip:x@buyer.example;transport=tcp"), None);
        assert_eq!(leads("sips:x@192.0.2.77"), None, "whose certificate would that be?");
    }

    #[test]
    fn a_call_over_tls_does_not_go_on_in_clear() {
        let tls = Some(TlsPeer(3));
        let own =
            attempt().destination.map(|it| Destination { transport: Transport::Tls, tls, ..it });
        let uri = Bytes::from_static(b"sip:q@buyer.example;transport=tls");
        let attempt = Attempt { uri, destination: own, ..attempt() };
        let leads = |uri: &str| attempt.admits(uri.as_bytes(), &[], &[]).is_some();

        assert!(leads("sip:x@buyer.example:5071;transport=tls"));
        assert!(!leads("sip:x@buyer.example:5071"));
    }

    #[test]
    fn a_number_that_may_not_be_called_may_not_be_named_either() {
        let of_trunk = DestinationPolicy { deny: vec!["premium".into()], ..Default::default() };
        let of_target = DestinationPolicy { allow: vec!["+1".into()], ..Default::default() };
        let lists = [of_trunk, of_target];
        let destinations =
            lists.map(|policy| Some(Arc::new(Destinations::compile(&policy).unwrap())));
        let attempt = Attempt { manner: Manner { destinations, ..Manner::default() }, ..attempt() };
        let leads = |user: &str| {
            attempt.admits(format!("sip:{user}@buyer.example").as_bytes(), &[], &[]).is_some()
        };

        assert!(leads("+16145550163"));
        assert!(leads("queue"), "that is no number");
        assert!(!leads("+19005550163"), "the trunk bars it");
        assert!(!leads("+447911123456"), "the target does not list it");
        assert!(!leads("+447911123456;phone-context=x"));
    }

    #[test]
    fn a_target_s_name_may_be_redirected_to_as_its_address() {
        let rules = TargetRules::compile("t", &TargetConfig::default()).unwrap();
        let attempt = Attempt { rules: Some(Arc::new(rules)), ..attempt() };

        assert_eq!(attempt.redirects(), (3, &[][..]));
        assert!(attempt.admits(b"sip:192.0.2.9:7000", &[], &[]).is_some());
    }

    fn attempt() -> Attempt {
        let planned = plan(1).attempts.remove(0);
        Attempt { uri: Bytes::from_static(b"sip:q@buyer.example"), ..planned }
    }
}

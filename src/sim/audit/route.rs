//! Where a call may go: what was decided, and what its targets were allowed to name (spec/sip B23,
//! R1, R2).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::{Verdict, check};
use crate::sim::moves::EDGE;
use crate::sim::text::{Glance, show};
use crate::sip::call::plan::{Attempt, Handover, Plan};
use crate::sip::call::report::AttemptNumber;
use crate::sip::target::RedirectConfig;

/// Places of one redirection that are called.
const NAMED_MAX: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Route {
    places: Vec<Place>,
    known: Vec<(SmolStr, IpAddr)>,
    /// Redirections that were followed.
    pub(super) redirects: u8,
    /// Targets that may yet hang up at once and be followed by the next.
    recoveries: u8,
}

/// Where one attempt goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    uri: String,
    pub(super) at: Vec<SocketAddr>,
    /// What its target may name besides its own host, and how many redirections are followed.
    hosts: Vec<SmolStr>,
    redirects_max: u8,
    pub(super) by: By,
    is_barred: bool,
    /// It rings beside the one before it.
    pub(super) is_beside: bool,
    /// A target has named it.
    pub(super) is_named: bool,
    /// It is another way to the target of the one before it.
    is_instead: bool,
    /// Final statuses after which it may be tried elsewhere.
    pub(super) next_way_on: Vec<u16>,
    /// How soon after its answer it may hang up and be followed by the next.
    recovers_within: Duration,
}

/// Who calls a target.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum By {
    Us,
    /// The carrier, told by 302.
    Redirect {
        counted: bool,
    },
    /// The carrier, told by REFER to this URI.
    Refer(String),
}

impl Route {
    pub(super) fn of(plan: &Plan) -> Self {
        let places = plan.attempts.iter().map(Place::of).collect();
        let (known, recoveries) = (plan.known.clone(), plan.recoveries);
        Self { places, known, redirects: 0, recoveries }
    }

    pub(super) fn place(&self, attempt: AttemptNumber) -> Option<&Place> {
        self.places.get(usize::from(attempt).checked_sub(1)?)
    }

    /// Only what was planned or named is called, and only where that is.
    pub(super) fn leads(&self, attempt: AttemptNumber, invite: &Glance, to: SocketAddr) -> Verdict {
        let place = self.place(attempt).ok_or("an INVITE that nobody planned")?;
        check(show(&invite.uri()) == place.uri, || {
            String::from("an INVITE to what nobody planned or named")
        })?;
        check(place.at.contains(&to), || format!("{to} is no address of the target"))
    }

    /// The target of attempt `after`, called at `here`, has named places, and these are called.
    pub(super) fn extend(
        &mut self,
        after: AttemptNumber,
        uris: &[String],
        named: &[String],
        here: SocketAddr,
    ) -> Verdict {
        let of = self.place(after).ok_or("a redirection of no attempt")?.clone();
        self.redirects += 1;
        check(self.redirects <= of.redirects_max, || {
            format!("redirection {} where {} may be", self.redirects, of.redirects_max)
        })?;
        check(uris.len() <= NAMED_MAX, || format!("{} places are followed", uris.len()))?;
        for (end, uri) in (usize::from(after)..).zip(uris) {
            check(named.contains(uri), || String::from("a place that nobody named is followed"))?;
            let to = self.allowed(&of, here, uri);
            let to = to.ok_or("a place that may not be named is followed")?;
            let is_new = !self.places[..end].iter().any(|tried| tried.uri == *uri);
            check(is_new, || String::from("a place is followed twice"))?;
            let by = By::Us;
            let (uri, at) = (uri.clone(), vec![to]);
            let (is_named, is_beside, is_instead) = (true, false, false);
            let place = Place { uri, at, by, is_named, is_beside, is_instead, ..of.clone() };
            self.places.insert(end, place);
        }
        Ok(())
    }

    /// The target of an attempt hung up so long after its answer, and the next one is called.
    pub(super) fn recover(&mut self, attempt: AttemptNumber, talked: Duration) -> Verdict {
        let place = self.place(attempt).ok_or("an early end of no attempt")?;
        check(talked < place.recovers_within, || format!("an end after {talked:?} is not early"))?;
        check(self.next_target(attempt).is_some(), || String::from("nobody is left to be called"))?;
        let left = self.recoveries.checked_sub(1);
        self.recoveries = left.ok_or("one early end more than may be")?;
        Ok(())
    }

    /// The first attempt behind this one that is at a target of its own, and did not ring beside it.
    pub(super) fn next_target(&self, attempt: AttemptNumber) -> Option<AttemptNumber> {
        let behind = self.places.iter().zip(1..).skip(usize::from(attempt));
        let mut behind =
            behind.filter(|(place, _)| !place.is_beside && !place.is_named && !place.is_instead);
        behind.next().map(|(_, number)| number)
    }

    /// Whether an attempt is another way to the target of the one before it.
    pub(super) fn is_another_way(&self, attempt: AttemptNumber) -> bool {
        self.place(attempt).is_some_and(|place| place.is_instead)
    }

    /// The first attempt behind this one that is no other way to its target.
    pub(super) fn target_after(&self, attempt: AttemptNumber) -> AttemptNumber {
        let mut next = attempt + 1;
        while self.is_another_way(next) {
            next += 1;
        }
        next
    }

    /// Whether the target of an attempt, called at `here`, has named a place that it may not name.
    pub(super) fn forbids(&self, attempt: AttemptNumber, here: SocketAddr, uri: &str) -> bool {
        let place = self.place(attempt);
        place.is_some_and(|place| self.allowed(place, here, uri).is_none())
    }

    /// Where `uri` leads, if the target at `place` may send its call there.
    fn allowed(&self, place: &Place, here: SocketAddr, uri: &str) -> Option<SocketAddr> {
        let rest = uri.strip_prefix("sip:")?;
        if rest.contains('?') || rest.contains(";method=") {
            return None;
        }
        let (host, port) = host_and_port(rest)?;
        let (own, _) = host_and_port(place.uri.strip_prefix("sip:")?)?;
        let literal: Option<IpAddr> = host.parse().ok();
        let ip = if host == own || literal == Some(here.ip()) {
            here.ip()
        } else {
            place.hosts.iter().find(|listed| *listed == host)?;
            let known = || self.known.iter().find(|(name, _)| name == host).map(|(_, ip)| *ip);
            literal.or_else(known)?
        };
        let is_ours = ip.to_string() == EDGE && port == 5060;
        (!is_ours).then(|| SocketAddr::new(ip, port))
    }

    /// What a 302 has to name that hands the call over at this attempt: its target, and those behind
    /// it that get their calls the same way, may be called, and have nothing that counts their calls.
    pub(super) fn to_be_named(&self, attempt: AttemptNumber) -> Vec<String> {
        let from = usize::from(attempt).saturating_sub(1);
        let by_302 = |place: &&Place| matches!(place.by, By::Redirect { .. });
        let places = self.places.iter().skip(from).take_while(by_302).enumerate();
        let is_free = |place: &Place| place.by == (By::Redirect { counted: false });
        let may_be = |place: &Place| is_free(place) && !place.is_barred && !place.is_instead;
        let named = places.filter(|(n, place)| *n == 0 || may_be(place));
        named.map(|(_, place)| place.uri.clone()).collect()
    }
}

impl Place {
    fn of(attempt: &Attempt) -> Self {
        let further = attempt.further.iter().flatten();
        let at = attempt.destination.iter().chain(further).map(|it| it.peer).collect();
        let default = RedirectConfig { max: 3, hosts: vec![] };
        let redirect = attempt.rules.as_ref().map_or(&default, |rules| &rules.redirect);
        let text = |bytes: &Bytes| show(bytes);
        Self {
            uri: text(&attempt.uri),
            at,
            hosts: redirect.hosts.clone(),
            redirects_max: redirect.max,
            by: match attempt.handover.as_deref() {
                None => By::Us,
                Some(Handover::Redirect { counted }) => By::Redirect { counted: *counted },
                Some(Handover::Refer(referral)) => By::Refer(text(&referral.refer_to)),
            },
            is_barred: attempt.manner.barred,
            is_beside: attempt.manner.beside,
            is_named: false,
            is_instead: attempt.manner.instead,
            next_way_on: match &attempt.manner.failover {
                Some(codes) => codes.next_way_on.to_vec(),
                None => vec![408, 500, 502, 503, 504],
            },
            recovers_within: attempt.recovers_within,
        }
    }
}

/// Of a URI without its scheme.
fn host_and_port(rest: &str) -> Option<(&str, u16)> {
    let place = rest.rsplit('@').next()?.split(';').next()?;
    match place.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((place, 5060)),
    }
}

//! Targets to which there are several ways (spec/domain §2.11): the next one is gone only when the one
//! before has failed before the target was reached, and each target has its turn once.

use super::leg::Leg;
use super::route::Place;
use super::{Audit, Verdict, check};
use crate::sip::call::report::AttemptNumber;

impl Audit {
    /// An attempt may start now: it is the next in the plan, or another way to a target that was not
    /// reached.
    pub(super) fn is_next(&self, attempt: AttemptNumber) -> Verdict {
        if self.route.is_another_way(attempt) {
            let before = attempt - 1;
            let failed = self.attempts.get(&before).is_some_and(|it| it.way_failed);
            check(failed, || {
                format!("attempt {attempt} is another way, and {before} did not fail")
            })?;
            return check(!self.legs_of(before).any(Leg::rings), || {
                String::from("two ways to a target ring at once")
            });
        }
        let last = self.attempts.iter().rev().find(|(_, it)| it.started || it.ended);
        let next = self.route.target_after(last.map_or(0, |(number, _)| *number));
        let next = next.max(self.telling.recovers.unwrap_or(0));
        check(attempt == next, || format!("attempt {attempt} starts, not {next}"))
    }

    /// An attempt is said to have failed on its way.
    pub(super) fn fails_on_its_way(
        &mut self,
        attempt: AttemptNumber,
        status: Option<u16>,
    ) -> Verdict {
        check(self.route.is_another_way(attempt + 1), || String::from("there is no other way"))?;
        check(!self.is_named(attempt), || String::from("a named place has no other way"))?;
        self.speaks_of_the_way(attempt, status)?;
        let has_rung = self.legs_of(attempt).last().is_some_and(Leg::has_rung);
        check(!has_rung, || String::from("a target that has rung is called another way"))?;
        self.attempts.entry(attempt).or_default().way_failed = true;
        Ok(())
    }

    /// With this status an attempt may be made elsewhere.
    pub(super) fn speaks_of_the_way(&self, attempt: AttemptNumber, status: Option<u16>) -> Verdict {
        let leads = |place: &Place, status| place.next_way_on.contains(&status);
        let place = self.route.place(attempt);
        let speaks = |status| place.is_some_and(|place| leads(place, status));
        check(status.is_none_or(speaks), || format!("{status:?} speaks of the target"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use smallvec::SmallVec;

    use super::super::leg::Sent;
    use super::*;
    use crate::reason::Reason;
    use crate::sim::party::Role;
    use crate::sim::text::Glance;
    use crate::sip::call::plan::{Attempt, FailedAs, Manner, Plan};
    use crate::sip::call::report::Report;
    use crate::sip::leg::policy::LegPolicy;
    use crate::sip::message::Method;
    use crate::time::Mono;

    const NOW: Mono = Mono(1);
    const INVITE: &str = "INVITE sip:a@198.51.100.1 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:b@c>\r\n\
        Call-ID: to-target\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn another_way_is_gone_only_when_the_one_before_it_has_failed() {
        let mut broken = begun();
        let told = broken.reported(&Report::AttemptStarted { attempt: 2 }, NOW).unwrap_err();
        assert_eq!(told, "attempt 2 is another way, and 1 did not fail");

        let mut kept = begun();
        assert_eq!(kept.reported(&failed(), NOW), Ok(()));
        assert_eq!(kept.reported(&Report::AttemptStarted { attempt: 2 }, NOW), Ok(()));
    }

    #[test]
    fn a_target_that_has_rung_is_called_no_other_way() {
        let mut broken = begun();
        broken.legs[1].sent[0].progressed = true;
        let told = broken.reported(&failed(), NOW).unwrap_err();
        assert_eq!(told, "a target that has rung is called another way");

        // Nor does what speaks of the target lead anywhere.
        let mut busy = begun();
        let Report::WayFailed { attempt, q850, reason, .. } = failed() else { unreachable!() };
        let told =
            busy.reported(&Report::WayFailed { attempt, status: Some(486), q850, reason }, NOW);
        assert_eq!(told.unwrap_err(), "Some(486) speaks of the target");
    }

    fn failed() -> Report {
        let reason = Reason::AttemptCarrierFailed;
        Report::WayFailed { attempt: 1, status: Some(503), q850: None, reason }
    }

    /// A call whose first way is being gone, of two.
    fn begun() -> Audit {
        let address: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        let mut audit = Audit::new("of-caller".into(), address, Duration::from_millis(20));
        let attempt = |instead| Attempt {
            uri: Bytes::from_static(b"sip:a@198.51.100.1"),
            destination: None,
            further: None,
            ring_timeout: Duration::from_secs(6),
            first_response: Duration::from_secs(2),
            max_pdd: Duration::from_secs(8),
            max_duration: Duration::from_secs(60),
            recovers_within: Duration::ZERO,
            dialog: LegPolicy::default(),
            manner: Manner { instead, ..Manner::default() },
            rules: None,
            handover: None,
        };
        audit.decided(&Plan {
            attempts: SmallVec::from_iter([attempt(false), attempt(true)]),
            advance_on: Arc::from([486, 503]),
            ring_budget: Duration::from_secs(60),
            variables: None,
            known: vec![],
            redirects: 0,
            recoveries: 0,
            failed: FailedAs::default(),
        });
        audit.reported(&Report::AttemptStarted { attempt: 1 }, NOW).unwrap();
        let invite = Glance::read(&Bytes::from_static(INVITE.as_bytes())).unwrap();
        let mut leg = Leg::new(Role::Target, 1, invite.call_id.clone(), address);
        leg.sent.push(Sent::new(Method::Invite, invite, true, NOW));
        audit.legs.push(leg);
        audit
    }
}

//! A target at several addresses (spec/sip T16, spec/domain §2.11; RFC 3263 §4.3): when nobody is there,
//! no response comes, or one that speaks of the way and not of who was called, the same attempt goes on at
//! the next address, with its times begun anew. Its hold stays, and the hunt goes on only when no address
//! is left. Once it has rung, or was said to make progress, it goes nowhere else: nobody rings twice.

use crate::reason::Reason;
use crate::time::Mono;

use super::plan::Attempt;
use super::report::{AttemptNumber, Report};
use super::{Call, Failure, Output, Outputs, State};

impl Call {
    /// Moves an attempt that has failed to the next address of its target. `false` if it failed
    /// for another cause than the address, no address is left, or there is no time for one. What the
    /// carrier was told to call it has tried, at whichever address.
    pub(super) fn moves_on_to_next_address(
        &mut self,
        attempt: AttemptNumber,
        failure: &Failure,
        now: Mono,
        out: &mut Outputs,
    ) -> bool {
        if !self.may_go_elsewhere(attempt, now) || !self.is_of_the_address(attempt, failure) {
            return false;
        }
        let at = usize::from(attempt).wrapping_sub(1);
        let planned = self.plan.as_mut().and_then(|plan| plan.attempts.get_mut(at));
        let Some(Attempt { destination: Some(here), further: Some(further), .. }) = planned else {
            return false;
        };
        let Some(next) = further.pop() else { return false };
        let left = std::mem::replace(here, next);
        let Failure { status, reason, .. } = *failure;
        out.push(Output::Report(Report::AddressFailed { attempt, at: left, status, reason }));
        true
    }
}

impl Call {
    /// The transport failed, nothing was heard in time, or whoever answered could not reach the target.
    pub(super) fn is_of_the_address(&self, attempt: AttemptNumber, failure: &Failure) -> bool {
        match failure.status {
            Some(status) => {
                self.attempt(attempt).is_some_and(|planned| planned.manner.is_of_the_way(status))
            }
            None => matches!(
                failure.reason,
                Reason::AttemptCarrierFailed
                    | Reason::AttemptNoResponse
                    | Reason::AttemptNoRinging
                    | Reason::AttemptUnresolved
            ),
        }
    }

    /// Whether an attempt that has failed may be made elsewhere: we made it, there is time, and nobody
    /// would ring twice.
    pub(super) fn may_go_elsewhere(&self, attempt: AttemptNumber, now: Mono) -> bool {
        let is_handed = matches!(self.state, State::Handing { .. });
        !is_handed && now < self.ring_until && !self.has_progressed(attempt)
    }

    /// Whether the target of an attempt has sent a provisional response other than 100.
    fn has_progressed(&self, attempt: AttemptNumber) -> bool {
        if let State::Ringing(parallel) = &self.state {
            return parallel.has_progressed(attempt);
        }
        matches!(self.state, State::Dialing { progressed: true, .. })
    }

    /// Nobody takes TCP where an attempt is made.
    pub fn has_no_tcp(&mut self, attempt: AttemptNumber) {
        let at = usize::from(attempt).wrapping_sub(1);
        let planned = self.plan.as_mut().and_then(|plan| plan.attempts.get_mut(at));
        if let Some(Attempt { destination: Some(destination), .. }) = planned {
            destination.tcp_port = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::plan::{Destination, Failover, Handover, Plan, Referral};
    use super::super::tests::{feed, new, plan};
    use super::super::{Input, Output};
    use super::*;
    use crate::sip::flow::Transport;
    use crate::sip::leg::event::LegEvent;

    #[test]
    fn a_503_leads_to_the_next_address_within_the_same_attempt() {
        let (mut call, mut seen) = dialing(&[2, 3]);

        feed(&mut call, 10, refused(503), &mut seen);
        feed(&mut call, 20, refused(503), &mut seen);

        let failed =
            |host, status| address_failed(host, Some(status), Reason::AttemptCarrierFailed);
        let dial = Output::Dial { attempt: 1 };
        assert_eq!(seen, [failed(1, 503), dial.clone(), failed(2, 503), dial]);
        assert_eq!(here(&call), Some(place(3)));
    }

    #[test]
    fn which_codes_lead_to_the_next_address_can_be_said() {
        for (status, leads) in [(480, true), (503, false)] {
            let (mut call, mut seen) = dialing_with(&[2], |attempt| {
                let (next_way_on, advance_on) = ([480].into(), None);
                attempt.manner.failover = Some(Box::new(Failover { next_way_on, advance_on }));
            });

            feed(&mut call, 10, refused(status), &mut seen);

            assert_eq!(seen.last() == Some(&Output::Dial { attempt: 1 }), leads, "{seen:?}");
        }
    }

    #[test]
    fn when_the_last_address_has_failed_so_has_the_attempt() {
        let (mut call, mut seen) = dialing(&[2]);

        feed(&mut call, 10, refused(503), &mut seen);
        seen.clear();
        feed(&mut call, 20, refused(503), &mut seen);

        let (attempt, q850, reason) = (1, None, Reason::AttemptCarrierFailed);
        let failed = Report::AttemptFailed { attempt, status: Some(503), q850, reason };
        assert_eq!(seen, [Output::Report(failed), Output::PlaceHold { attempt: 2 }]);
    }

    #[test]
    fn silence_leads_to_the_next_address_with_all_its_time() {
        let (mut call, mut seen) = dialing(&[2]);

        time_out(&mut call, 2_000, &mut seen);

        let silent = address_failed(1, None, Reason::AttemptNoResponse);
        let abandon = Output::Abandon { why: None };
        assert_eq!(seen, [abandon, silent, Output::Dial { attempt: 1 }]);
        assert_eq!(call.deadline(), Some(at(4_000)));
        feed(&mut call, 2_100, Input::Target(LegEvent::Trying), &mut seen);
        assert_eq!(call.deadline(), Some(at(8_000)), "six seconds to answer");
    }

    #[test]
    fn nobody_there_leads_to_the_next_address_at_once() {
        let (mut call, mut seen) = dialing(&[2]);
        let lost = LegEvent::Lost { reason: Reason::AttemptCarrierFailed };

        feed(&mut call, 5, Input::Target(lost), &mut seen);

        let gone = address_failed(1, None, Reason::AttemptCarrierFailed);
        assert_eq!(seen, [gone, Output::Dial { attempt: 1 }]);
    }

    #[test]
    fn who_refuses_or_rings_out_does_so_for_all_its_addresses() {
        for status in [480, 486, 404, 501, 600, 603] {
            let (mut call, mut seen) = dialing(&[2]);
            feed(&mut call, 10, refused(status), &mut seen);
            assert!(!seen.contains(&Output::Dial { attempt: 1 }), "{status}: {seen:?}");
        }
        let (mut call, mut seen) = dialing(&[2]);
        feed(&mut call, 10, Input::Target(LegEvent::Trying), &mut seen);
        time_out(&mut call, 6_000, &mut seen);
        assert!(!seen.contains(&Output::Dial { attempt: 1 }), "{seen:?}");
    }

    #[test]
    fn what_speaks_of_the_way_leads_to_the_next_address() {
        for status in [408, 500, 502, 503, 504] {
            let (mut call, mut seen) = dialing(&[2]);
            feed(&mut call, 10, refused(status), &mut seen);
            assert_eq!(seen.last(), Some(&Output::Dial { attempt: 1 }), "{status}");
        }
    }

    /// spec/domain §2.11: no second ringing of the same target.
    #[test]
    fn a_target_that_has_rung_is_called_nowhere_else() {
        let rings = || LegEvent::Progress { status: 180, body: None };
        let lost = LegEvent::Lost { reason: Reason::AttemptCarrierFailed };
        for fails in [refused(503), refused(408), Input::Target(lost)] {
            let (mut call, mut seen) = dialing(&[2]);
            feed(&mut call, 10, Input::Target(rings()), &mut seen);
            seen.clear();
            feed(&mut call, 20, fails, &mut seen);
            assert_eq!(seen.last(), Some(&Output::PlaceHold { attempt: 2 }), "{seen:?}");
        }
        let (mut call, mut seen) = (new(), vec![]);
        let mut plan = planned(&[2]);
        plan.attempts[1].manner.beside = true;
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 10, Input::Branch(1, rings()), &mut seen);
        seen.clear();
        let refused = LegEvent::Refused { status: 503, q850: None, why: None };
        feed(&mut call, 20, Input::Branch(1, refused), &mut seen);
        assert!(!seen.contains(&Output::DialBranch { attempt: 1 }), "{seen:?}");
    }

    #[test]
    fn a_target_that_refused_the_carrier_is_not_called_by_us_at_its_other_addresses() {
        let (mut call, mut seen) = (new(), vec![]);
        let mut plan = planned(&[2]);
        plan.attempts[0].handover = Some(Box::new(Handover::Refer(Referral {
            refer_to: Bytes::from_static(b"sip:x@carrier"),
            referred_by: false,
            first_notify: Duration::from_secs(5),
            final_notify: Duration::from_secs(60),
        })));
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 5, Input::Caller(LegEvent::Confirmed), &mut seen);
        feed(&mut call, 9, Input::Caller(LegEvent::ReferAnswered { status: 202 }), &mut seen);
        seen.clear();

        let refused = LegEvent::Notified { status: Some(503), over: true };
        feed(&mut call, 20, Input::Caller(refused), &mut seen);

        let (attempt, q850, reason) = (1, None, Reason::AttemptCarrierFailed);
        let failed = Report::AttemptFailed { attempt, status: Some(503), q850, reason };
        assert_eq!(seen, [Output::Report(failed), Output::PlaceHold { attempt: 2 }]);
    }

    #[test]
    fn no_address_is_tried_once_the_call_has_rung_for_its_time() {
        let (mut call, mut seen) = (new(), vec![]);
        let mut plan = planned(&[2]);
        plan.ring_budget = Duration::from_secs(2);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        seen.clear();

        time_out(&mut call, 2_000, &mut seen);

        assert!(!seen.contains(&Output::Dial { attempt: 1 }), "{seen:?}");
    }

    #[test]
    fn one_of_those_that_ring_side_by_side_moves_on_without_the_others() {
        let (mut call, mut seen) = (new(), vec![]);
        let mut plan = planned(&[2]);
        plan.attempts[1].manner.beside = true;
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        seen.clear();

        let refused = LegEvent::Refused { status: 503, q850: None, why: None };
        feed(&mut call, 10, Input::Branch(1, refused), &mut seen);

        let left = address_failed(1, Some(503), Reason::AttemptCarrierFailed);
        assert_eq!(seen, [left, Output::DialBranch { attempt: 1 }]);
        seen.clear();
        feed(&mut call, 20, Input::Branch(2, LegEvent::Trying), &mut seen);
        time_out(&mut call, 2_010, &mut seen);
        let abandon = Output::AbandonBranch { attempt: 1, why: None };
        assert_eq!(seen.first(), Some(&abandon), "its time began anew: {seen:?}");
    }

    /// A call whose first target is being called at its first address, and has those besides.
    fn dialing(further: &[u8]) -> (Call, Vec<Output>) {
        dialing_with(further, |_| {})
    }

    fn dialing_with(further: &[u8], change: impl FnOnce(&mut Attempt)) -> (Call, Vec<Output>) {
        let (mut call, mut seen, mut plan) = (new(), vec![], planned(further));
        change(&mut plan.attempts[0]);
        feed(&mut call, 0, Input::Decided(plan), &mut seen);
        feed(&mut call, 0, Input::HoldPlaced, &mut seen);
        (call, vec![])
    }

    fn planned(further: &[u8]) -> Box<Plan> {
        let mut plan = plan(2);
        plan.attempts[0].destination = Some(place(1));
        plan.attempts[0].further = Some(further.iter().rev().map(|host| place(*host)).collect());
        plan
    }

    fn place(host: u8) -> Destination {
        let peer = SocketAddr::from(([192, 0, 2, host], 5060));
        Destination { transport: Transport::Udp, peer, tls: None, tcp_port: None }
    }

    fn here(call: &Call) -> Option<Destination> {
        call.attempt(1)?.destination
    }

    fn address_failed(host: u8, status: Option<u16>, reason: Reason) -> Output {
        let at = place(host);
        Output::Report(Report::AddressFailed { attempt: 1, at, status, reason })
    }

    fn refused(status: u16) -> Input {
        Input::Target(LegEvent::Refused { status, q850: None, why: None })
    }

    fn time_out(call: &mut Call, ms: u64, seen: &mut Vec<Output>) {
        let mut out = Outputs::new();
        call.handle_timeout(at(ms), &mut out);
        seen.extend(out);
    }

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
}

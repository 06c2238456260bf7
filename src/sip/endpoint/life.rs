//! When a party was last there, beyond doubt. A call whose party is found to be gone ended when that
//! was last heard, not when its absence was noticed: nobody is billed for the minutes between
//! (spec/sip §3, bug 13).

use crate::sip::call::report::Report;
use crate::sip::leg::LegState;
use crate::time::Mono;

use super::wire::Owner;
use super::{CallEntry, Endpoint, Side};

impl Endpoint {
    /// The peer answered a request of ours within the call. A 408 or 481 is no sign of life: a proxy
    /// gives it in the place of a peer that is not there.
    pub(super) fn heard_of(&mut self, owner: Owner, status: u16, now: Mono) {
        let Some((call, leg)) = owner.within_call() else { return };
        if !matches!(status, 408 | 481)
            && let Some(leg) =
                self.calls.get_mut(call).and_then(|entry| entry.leg(entry.side_of(leg)?))
        {
            leg.last_heard = now;
        }
    }
}

impl CallEntry {
    /// This side is gone: the end that is reported next is inferred.
    pub(super) fn presume_gone(&mut self, side: Side) {
        let last_heard = self.leg(side).map(|leg| leg.last_heard);
        self.rare.get_or_insert_default().last_heard = last_heard;
    }

    /// The call is stuck, and which of its parties are there is not known.
    pub(super) fn presume_stuck(&mut self) {
        let last_heard = self.both_last_heard();
        self.rare.get_or_insert_default().last_heard = last_heard;
    }

    /// Until when both parties were there; `None` before the answer.
    pub(super) fn both_last_heard(&self) -> Option<Mono> {
        let target = self.target.as_ref().filter(|leg| leg.state != LegState::Early)?;
        Some(self.caller.last_heard.min(target.last_heard))
    }

    /// What goes with a report: of the end of a call that was presumed gone, when it really ended.
    /// No call ends before the caller took its answer, however long ago the target gave it.
    pub(super) fn last_heard_before(&mut self, report: &Report, now: Mono) -> Option<Mono> {
        if matches!(report, Report::Confirmed)
            && let Some(target) = &mut self.target
        {
            target.last_heard = target.last_heard.max(now);
        }
        let is_end = matches!(report, Report::Ended { .. });
        self.rare.as_mut().filter(|_| is_end)?.last_heard.take()
    }
}

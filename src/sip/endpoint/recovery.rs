//! After a panic in a handler: the call that was being handled ends, and no other is touched.

use crate::reason::Reason;
use crate::sip::call::report::{Party, Report};
use crate::sip::ids::CallKey;
use crate::sip::leg::LegState;
use crate::time::Mono;

use super::{Endpoint, Input, Output};

impl Endpoint {
    /// After a panic in a handler: ends the call that was being handled through its exit, or, if
    /// that panics too, drops it with its closing report. No other call is touched.
    pub fn recover(&mut self, now: Mono, out: &mut Vec<Output>) {
        // What the handler had put out before it fell is still in `wire`.
        out.append(&mut self.wire.out);
        self.wire.counters.panics += 1;
        let Some(call) = self.current.take() else { return };
        self.handle(Input::End { call, reason: Reason::InternalError }, now, out);
        // The call may have ended in the handler that fell, before the caller was told.
        self.answer_invite(call, now);
        self.settle(call, now);
        out.append(&mut self.wire.out);
    }

    /// The final response of a caller that has none and will get none any more.
    fn answer_invite(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        if entry.call.is_ended() && entry.caller.state == LegState::Early {
            let tag = entry.caller.tag.clone();
            self.wire.respond(entry.caller.invite, 500, Some(&tag), |_, _| {}, None, now);
            entry.caller.state = LegState::Settled;
        }
    }

    /// Drops what [`Endpoint::recover`] could not end. Appends the call's closing report.
    pub fn abandon(&mut self, call: CallKey, now: Mono, out: &mut Vec<Output>) {
        self.drop_call(call, now);
        out.append(&mut self.wire.out);
    }

    pub(super) fn drop_call(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.forget(call) else { return };
        let mut status = entry.onward.failed.unwrap_or(200);
        if entry.caller.state == LegState::Early {
            let tag = entry.caller.tag.clone();
            status = Reason::InternalError.status();
            self.wire.respond(entry.caller.invite, status, Some(&tag), |_, _| {}, None, now);
        }
        let (party, reason) = (Party::System, Reason::InternalError);
        let report = Report::Ended { party, reason, status, q850: None };
        if !entry.call.is_ended() {
            let id = entry.id;
            self.wire.out.push(Output::Report { call, id, at: now, report, last_heard: None });
        }
    }

    /// The call whose event is being handled.
    pub fn current(&self) -> Option<CallKey> {
        self.current
    }
}

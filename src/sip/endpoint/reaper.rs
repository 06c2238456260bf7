//! Calls that nothing will ever end: a safety net under the deadlines (spec/sip O11, X18).
//!
//! Every call names its next deadline, and owes something for a while after its end. One that is
//! found twice, [`SWEEP_EVERY`] apart, beyond both is wedged. It is taken through its exit, so that
//! its INVITE gets a final response, its legs a BYE and its record an end; what even then does not
//! go is dropped.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::reason::Reason;
use crate::sip::call;
use crate::sip::call::report::{Party, Report};
use crate::sip::ids::CallKey;
use crate::sip::leg::LegState;
use crate::time::Mono;

use super::{CallEntry, Endpoint, Side};

/// How often [`super::Input::Sweep`] is to come: longer than a call may owe anything after its end,
/// which is an unanswered re-INVITE's three minutes and its CANCEL's half.
pub const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// How far a deadline may have been missed before the call is suspect.
const MISSED: Duration = Duration::from_secs(60);

impl Endpoint {
    pub(super) fn sweep(&mut self, now: Mono) {
        let suspects: BTreeSet<CallKey> = self
            .calls
            .iter()
            .filter(|(_, entry)| entry.is_overdue(now))
            .map(|(key, _)| key)
            .collect();
        let wedged: Vec<CallKey> = self.suspects.intersection(&suspects).copied().collect();
        self.suspects = suspects;
        for key in wedged {
            self.wire.counters.reaped += 1;
            let Some(entry) = self.calls.get_mut(key) else { continue };
            if entry.call.is_ended() {
                self.drop_call(key, now);
            } else {
                entry.presume_stuck();
                self.drive(key, call::Input::End(Reason::InternalError), now);
            }
        }
    }

    /// Takes away a call that should have ended by itself, and tells both sides (spec/sip D16).
    pub(super) fn reap(&mut self, key: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        self.wire.counters.reaped += 1;
        if entry.caller.state == LegState::Early {
            entry.fail_caller(500, &mut self.wire, now);
        }
        if !entry.call.is_ended() {
            entry.presume_stuck();
            let reason = Reason::MaxDuration;
            let (party, status) = (Party::System, reason.status());
            let ended = Report::Ended { party, reason, status, q850: None };
            entry.tell(key, ended, &mut self.wire, now);
        }
        let why = call::own_reason(Reason::MaxDuration);
        for side in [Side::Caller, Side::Target] {
            entry.say_bye(side, Some(why.clone()), key, &mut self.wire, now);
        }
        let branches = entry.rare.as_mut().map(|rare| std::mem::take(&mut rare.branches));
        let ringing = entry.target.take().filter(|leg| leg.state == LegState::Early);
        for leg in ringing.into_iter().chain(branches.into_iter().flatten()) {
            self.wire.cancel(leg.invite, Some(why.clone()), now);
        }
        drop(self.forget(key));
    }
}

impl CallEntry {
    fn is_overdue(&self, now: Mono) -> bool {
        self.call.is_ended() || self.deadline() + MISSED < now
    }
}

//! A call is driven: what happened is told to it, and what it says is done.

use std::time::Duration;

use crate::reason::Reason;
use crate::sip::call;
use crate::sip::call::report::{AttemptNumber, Report};
use crate::sip::ids::CallKey;
use crate::sip::leg::Leg;
use crate::sip::leg::event::{Command, LegEvent};
use crate::time::Mono;

use super::wire::Due;
use super::{Endpoint, Output, Side};

/// A call that has nothing to do for hours is looked at so often all the same: what is armed stays in
/// the wheel after the call has ended, until it has passed.
const LOOK_AGAIN: Duration = Duration::from_secs(32);

impl Endpoint {
    /// Feeds the call and does what it says.
    pub(super) fn drive(&mut self, key: CallKey, input: call::Input, now: Mono) {
        self.current = Some(key);
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(entry) = self.calls.get_mut(key) else { return };
            let mut orders = call::Outputs::new();
            entry.call.handle(input, now, &mut orders);
            next = self.obey(key, orders, now);
        }
        self.settle(key, now);
    }

    /// The hold of an attempt stands or does not.
    pub(super) fn held(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        outcome: Result<(), Reason>,
        now: Mono,
    ) {
        // Another may have answered since, and a third be asked for.
        if self.calls.get(key).is_some_and(|entry| entry.call.asks_for(attempt)) {
            let input = outcome.map_or_else(call::Input::HoldDenied, |()| call::Input::HoldPlaced);
            self.drive(key, input, now);
        }
    }

    /// Does what the call says. Returns what the call must hear of at once.
    fn obey(&mut self, key: CallKey, orders: call::Outputs, now: Mono) -> Option<call::Input> {
        let mut consequence = None;
        for order in orders {
            let entry = self.calls.get_mut(key)?;
            match order {
                call::Output::PlaceHold { attempt } => {
                    self.wire.out.push(Output::PlaceHold { call: key, attempt });
                }
                call::Output::Dial { attempt } => {
                    match entry.dial(key, attempt, &mut self.wire, now) {
                        Ok(leg) => entry.target = Some(leg),
                        Err(reason) => {
                            consequence = Some(call::Input::Target(LegEvent::Lost { reason }));
                        }
                    }
                }
                call::Output::DialBranch { attempt } => {
                    match entry.dial(key, attempt, &mut self.wire, now) {
                        Ok(leg) => entry.add_branch(leg),
                        Err(reason) => {
                            let lost = LegEvent::Lost { reason };
                            consequence = Some(call::Input::Branch(attempt, lost));
                        }
                    }
                }
                call::Output::AbandonBranch { attempt, why } => {
                    entry.abandon_branch(attempt, why, &mut self.wire, now);
                }
                call::Output::Abandon { why } => {
                    if let Some(leg) = entry.target.take() {
                        self.wire.cancel(leg.invite, why, now);
                    }
                }
                call::Output::ToCaller(command) => match command {
                    Command::Take => consequence = entry.take_caller(&mut self.wire, now),
                    Command::Refer { attempt } => {
                        consequence = entry.refer_caller(attempt, key, &mut self.wire, now);
                    }
                    Command::Redirect { contacts } => {
                        entry.redirect_caller(&contacts, &mut self.wire, now);
                    }
                    Command::Connect { body } => {
                        entry.connect_caller(body, key, &mut self.wire, now);
                    }
                    command @ (Command::Progress { .. }
                    | Command::Answer { .. }
                    | Command::Refuse { .. }
                    | Command::HangUp { .. }) => {
                        entry.command_caller(command, &mut self.wire, now);
                    }
                },
                call::Output::ToTarget(command) => {
                    entry.command_target(command, key, &mut self.wire, now);
                }
                call::Output::AwaitDurable => {
                    self.wire.out.push(Output::AwaitDurable { call: key });
                }
                call::Output::Report(report) => {
                    // Also before the next one is dialled, nothing of it concerns the call any more.
                    let is_left = matches!(report, Report::EndedEarly { .. });
                    entry.tell(key, report, &mut self.wire, now);
                    entry.target.take_if(|_| is_left);
                }
            }
        }
        consequence
    }

    /// Drops a call that is over and owes nothing, else sees to its next deadline.
    pub(super) fn settle(&mut self, key: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let target_settled = entry.target.as_ref().is_none_or(Leg::owes_nothing);
        let held = entry.rare.as_ref().is_some_and(|rare| rare.holds());
        if !held && entry.call.is_ended() && entry.caller.owes_nothing() && target_settled {
            self.forget(key);
            return;
        }
        let deadline = entry.deadline().min(now + LOOK_AGAIN);
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.wire.deadlines.arm(deadline, Due::Call(key));
        }
    }

    pub(super) fn call_timeout(&mut self, key: CallKey, now: Mono) {
        self.current = Some(key);
        let Some(entry) = self.calls.get_mut(key) else { return };
        // Armed again since, for an earlier time that has passed: the later one has its own turn.
        if entry.armed.is_some_and(|armed| now < armed) {
            return;
        }
        entry.armed = None;
        if entry.onward.reap_at <= now {
            self.reap(key, now);
            return;
        }
        for side in [Side::Caller, Side::Target] {
            self.leg_timeout(key, side, now);
        }
        self.rare_timeout(key, now);
        if let Some(entry) = self.calls.get_mut(key) {
            let mut orders = call::Outputs::new();
            entry.call.handle_timeout(now, &mut orders);
            if let Some(consequence) = self.obey(key, orders, now) {
                self.drive(key, consequence, now);
            }
        }
        self.settle(key, now);
    }
}

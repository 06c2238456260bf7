//! What attempts occupy: caps, and places under limits.

use crate::cdr::fact;
use crate::cdr::journal::Durability;
use crate::id::{CallId, HoldId};
use crate::reason::Reason;
use crate::routing::PlannedAttempt;
use crate::routing::hold::{BucketRequest, Counts};
use crate::sip::call::report::AttemptNumber;
use crate::sip::endpoint::{CallKey, Input};
use crate::time::Mono;

use super::super::limits::Turn;
use super::super::translate;
use super::{Answer, Bridge, Held, planned};

impl Bridge {
    /// Takes the caps of an attempt. One that counts attempts is on disk before the INVITE leaves:
    /// a crash must not forget it.
    pub fn place_hold(
        &mut self,
        key: CallKey,
        id: CallId,
        attempt: AttemptNumber,
        now: Mono,
    ) -> Answer {
        let Some(live) = self.calls.get_mut(key) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        let Some(planned) = planned(&live.plan, attempt) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        if continues(&live.plan, attempt) {
            // The target sent the call on, and what it took for it is still held.
            let target = &planned.target;
            let is_its = |held: &&mut Held| {
                super::planned(&live.plan, held.attempt).is_some_and(|it| it.target == *target)
            };
            if let Some(held) = live.holds.iter_mut().find(is_its) {
                held.attempt = attempt;
            }
            return Answer::Now(Ok(()));
        }
        let channel = self.parts.target_limits.of(planned.target.as_str()).cloned();
        let turn = channel.as_ref().map_or(Turn::Now, |limit| limit.enter(now));
        let reserved = match turn {
            Turn::Full => Err(Reason::AttemptRateFull),
            Turn::Now | Turn::At(_) => {
                let wall = self.parts.clock.wall();
                self.parts.deciding.reserve(id, attempt, planned, live.scope.as_deref(), now, wall)
            }
        };
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(reason) => {
                if let Some(limit) = channel {
                    limit.leave();
                }
                self.metrics.hold_denied(reason);
                return Answer::Now(Err(reason));
            }
        };
        let target = reserved.taken.as_ref().map(|_| planned.target.clone());
        if reserved.unpaid.is_some()
            && let Some(planned) = live.plan.get_mut(usize::from(attempt).saturating_sub(1))
        {
            planned.terms = reserved.unpaid;
        }
        let reserved = reserved.taken;
        let counts = |request: &BucketRequest| request.is_due(Counts::Attempted);
        let durable = reserved.as_ref().is_some_and(|(_, holds)| holds.iter().any(counts));
        let hold = reserved.as_ref().map(|(hold, _)| *hold);
        if hold.is_some() || channel.is_some() {
            live.holds.push(Held { attempt, hold, channel, durable });
        }
        if let Some(((hold, holds), target)) = reserved.zip(target) {
            let buckets = holds.iter().map(translate::bucket).collect();
            let placed = fact::HoldPlaced { hold, target, buckets };
            self.write(id, now, placed, Durability::Buffered);
            if durable {
                self.settle(id, hold, Counts::Attempted, now, Durability::Durable);
            }
        }
        match turn {
            Turn::At(at) => Answer::At(at),
            Turn::Now | Turn::Full if durable => {
                self.wait_for_last(Input::Held { call: key, outcome: Ok(()) });
                Answer::WhenDurable
            }
            Turn::Now | Turn::Full => Answer::Now(Ok(())),
        }
    }

    /// The turn of an attempt that was to wait has come. Returns what the endpoint is to hear, if
    /// the disk need not be waited for.
    pub fn turn_came(&mut self, key: CallKey) -> Option<Input> {
        let live = self.calls.get(key)?;
        let durable = live.holds.last().is_some_and(|held| held.durable);
        let input = Input::Held { call: key, outcome: Ok(()) };
        if durable {
            self.wait_for_last(input);
            return None;
        }
        Some(input)
    }

    pub(super) fn settle(
        &mut self,
        id: CallId,
        hold: HoldId,
        event: Counts,
        now: Mono,
        durability: Durability,
    ) {
        let at = self.parts.clock.wall();
        let settled = self.parts.deciding.settle(hold, event, now, at);
        if settled.is_empty() {
            return;
        }
        let buckets = settled.into_iter().map(translate::one_more).collect();
        self.write(id, now, fact::HoldSettled { hold, buckets }, durability);
    }

    /// Gives back what attempts occupy that are over.
    pub(super) fn release(
        &mut self,
        key: CallKey,
        at: Mono,
        is_over: impl Fn(AttemptNumber) -> bool,
    ) {
        let Some(live) = self.calls.get_mut(key) else { return };
        let id = live.id;
        while let Some(position) = live.holds.iter().position(|held| is_over(held.attempt)) {
            let Held { hold, channel, .. } = live.holds.remove(position);
            if let Some(limit) = channel {
                limit.leave();
            }
            if let Some(hold) = hold
                && self.parts.deciding.release(hold)
            {
                self.write(id, at, fact::HoldReleased { hold }, Durability::Buffered);
                return self.release(key, at, is_over);
            }
        }
    }
}

/// Whether an attempt is at a place that the target of the one before it named. A plan never
/// holds a target twice otherwise.
pub(super) fn continues(plan: &[PlannedAttempt], attempt: AttemptNumber) -> bool {
    let before = attempt.checked_sub(1).and_then(|before| planned(plan, before));
    before.is_some_and(|before| {
        planned(plan, attempt).is_some_and(|planned| planned.target == before.target)
    })
}

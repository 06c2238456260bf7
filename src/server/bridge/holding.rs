//! What attempts occupy: caps, and places under limits.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::cdr::fact;
use crate::cdr::journal::Durability;
use crate::id::{CallId, HoldId};
use crate::reason::Reason;
use crate::routing::PlannedAttempt;
use crate::routing::decision::Terms;
use crate::routing::hold::{BucketRequest, Counts, NoRoom};
use crate::sip::call::report::AttemptNumber;
use crate::sip::endpoint::{CallKey, Input};
use crate::time::Mono;

use super::super::deciding::Deciding;
use super::super::holds::SharedHolds;
use super::super::limits::{Limit, Turn};
use super::super::mailbox::{Mail, Mailbox};
use super::super::translate;
use super::{Answer, Bridge, Decision, Held, planned};

/// Where room is asked for that other nodes have a say in.
pub(in crate::server) struct Rooms {
    pub(in crate::server) deciding: Arc<Deciding>,
    pub(in crate::server) shared: Arc<SharedHolds>,
    /// A call whose room nobody tells of for so long is decided without.
    pub(in crate::server) within: Duration,
    /// Where questions wait for their answers.
    pub(in crate::server) runtime: Handle,
    /// Of this shard.
    pub(in crate::server) mailbox: Mailbox,
}

/// The answer to a question for room.
#[derive(Debug)]
pub struct Room {
    call: CallKey,
    hold: HoldId,
    outcome: Result<Vec<BucketRequest>, NoRoom>,
}

/// What somebody had waited for room with.
pub(in crate::server) enum RoomFor {
    /// A call that came: what was decided.
    Call(Decision),
    Attempt(AttemptNumber, Answer),
}

/// What an attempt has that asks for room.
pub(super) struct Asking {
    attempt: AttemptNumber,
    channel: Option<Arc<Limit>>,
    turn: Turn,
    /// The terms it has come to ask on, if they are not those of the plan.
    unpaid: Option<Terms>,
}

/// The hold an attempt got, if it needed one.
type Reserved = Option<(HoldId, Vec<BucketRequest>)>;

impl Rooms {
    pub(super) fn ask(&self, call: CallKey, hold: HoldId, requests: Vec<BucketRequest>) {
        let (deciding, shared) = (Arc::clone(&self.deciding), Arc::clone(&self.shared));
        let mailbox = self.mailbox.clone();
        self.runtime.spawn(async move {
            let outcome = deciding.ask(&shared, hold, &requests).await.map(|()| requests);
            mailbox.deliver(Mail::Room(Box::new(Room { call, hold, outcome }))).await;
        });
    }
}

impl Room {
    /// The call that asked.
    pub fn call(&self) -> CallKey {
        self.call
    }
}

impl Held {
    /// Its target is called another way, where there is a place and a turn for it or not. What its caps
    /// hold stays.
    fn goes_another_way(&mut self, channel: Option<Arc<Limit>>, turn: Turn) -> Answer {
        if let Some(left) = mem::replace(&mut self.channel, channel) {
            left.leave();
            if let Some(turn) = self.waits_until {
                left.give_back(turn);
            }
        }
        self.waits_until = None;
        match turn {
            Turn::Now => Answer::Now(Ok(())),
            Turn::At(at) => {
                self.waits_until = Some(at);
                Answer::At(at)
            }
            Turn::Full => Answer::Now(Err(Reason::AttemptRateFull)),
        }
    }
}

impl Asking {
    /// Its call is over before the answer came, or another that rang beside it has it, or there is no
    /// room.
    pub(super) fn leave(self) {
        if let Some(limit) = self.channel {
            limit.leave();
            if let Turn::At(at) = self.turn {
                limit.give_back(at);
            }
        }
    }
}

impl Bridge {
    /// Takes the caps of an attempt. What counts attempts, or that the call came, is on disk before the
    /// INVITE leaves: a crash must not forget it.
    pub fn place_hold(&mut self, key: CallKey, attempt: AttemptNumber, now: Mono) -> Answer {
        let Some(live) = self.calls.get_mut(key) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        let Some(planned) = planned(&live.plan, attempt) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        if is_sent_on(&live.plan, attempt) {
            // The target sent the call on, and what it took for it is still held.
            return Answer::Now(Ok(()));
        }
        let channel = self.parts.target_limits.of(planned.target.as_str(), planned.dial).cloned();
        let turn = channel.as_ref().map_or(Turn::Now, |limit| limit.enter(now));
        if let Some(held) = live.holds.iter_mut().find(|held| held.attempt == attempt) {
            let answer = held.goes_another_way(channel, turn);
            if let Answer::Now(Err(reason)) = answer {
                self.metrics.hold_denied(reason);
            }
            return answer;
        }
        let asking = Asking { attempt, channel, turn, unpaid: None };
        if matches!(turn, Turn::Full) {
            return self.placed(key, asking, Err(Reason::AttemptRateFull.into()), now);
        }
        self.ask_for_room(key, asking, now)
    }

    fn ask_for_room(&mut self, key: CallKey, asking: Asking, now: Mono) -> Answer {
        let Some(live) = self.calls.get_mut(key) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        let (id, attempt) = (live.id, asking.attempt);
        let Some(planned) = planned(&live.plan, attempt) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        let (wall, scope) = (self.parts.clock.wall(), live.scope.as_deref());
        let terms = asking.unpaid.or(planned.terms);
        let deciding = &self.parts.deciding;
        let Some((hold, requests)) = deciding.wanted(id, attempt, planned, terms, scope, wall)
        else {
            return self.placed(key, asking, Ok(None), now);
        };
        if let Some(rooms) = &self.rooms {
            rooms.ask(key, hold, requests);
            live.asked = Some(Box::new((hold, asking)));
            return Answer::ByMail;
        }
        let reserved = deciding.reserve(hold, &requests, now);
        self.room_answered(key, asking, reserved.map(|()| Some((hold, requests))), now)
    }

    /// There is room, or none: then perhaps for an attempt nobody is paid for.
    fn room_answered(
        &mut self,
        key: CallKey,
        asking: Asking,
        reserved: Result<Reserved, NoRoom>,
        now: Mono,
    ) -> Answer {
        let no_room = match reserved {
            Ok(reserved) => return self.placed(key, asking, Ok(reserved), now),
            Err(no_room) => no_room,
        };
        let live = self.calls.get(key).filter(|_| asking.unpaid.is_none());
        let unpaid = live.and_then(|live| {
            let terms = planned(&live.plan, asking.attempt)?.terms?;
            self.parts.deciding.unpaid_instead(terms, live.scope.as_deref(), &no_room)
        });
        match unpaid {
            Some(_) => self.ask_for_room(key, Asking { unpaid, ..asking }, now),
            None => self.placed(key, asking, Err(no_room), now),
        }
    }

    /// Room that was asked for elsewhere was granted or denied. `None`: nobody waits for it.
    pub(in crate::server) fn room_came(&mut self, room: Room, now: Mono) -> Option<RoomFor> {
        let Room { call, hold, outcome } = room;
        let outcome = match self.room_for_call(call, hold, outcome) {
            Ok(decided) => return decided.map(RoomFor::Call),
            Err(outcome) => outcome,
        };
        let live = self.calls.get_mut(call);
        let asked = live.and_then(|live| live.asked.take_if(|asked| asked.0 == hold));
        let Some(asked) = asked else {
            if outcome.is_ok() {
                self.parts.deciding.release(hold);
            }
            return None;
        };
        let reserved = outcome.map(|requests| Some((hold, requests)));
        let attempt = asked.1.attempt;
        Some(RoomFor::Attempt(attempt, self.room_answered(call, asked.1, reserved, now)))
    }

    /// The attempt has its room, or none.
    fn placed(
        &mut self,
        key: CallKey,
        asking: Asking,
        reserved: Result<Reserved, NoRoom>,
        now: Mono,
    ) -> Answer {
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(NoRoom { reason, full }) => {
                if let (Some(live), Some(full)) = (self.calls.get_mut(key), full) {
                    live.full = Some(Box::new((asking.attempt, full)));
                }
                asking.leave();
                self.metrics.hold_denied(reason);
                return Answer::Now(Err(reason));
            }
        };
        let Asking { attempt, channel, turn, unpaid } = asking;
        let Some(live) = self.calls.get_mut(key) else {
            return Answer::Now(Err(Reason::DecisionFailed));
        };
        let id = live.id;
        if unpaid.is_some()
            && let Some(planned) = live.plan.get_mut(usize::from(attempt).saturating_sub(1))
        {
            planned.terms = unpaid;
        }
        let counts = |request: &BucketRequest| request.is_due(Counts::Attempted);
        let is_due = reserved.as_ref().is_some_and(|(_, holds)| holds.iter().any(counts));
        let durable = is_due || live.is_counted;
        let hold = reserved.as_ref().map(|(hold, _)| *hold);
        if hold.is_some() || channel.is_some() {
            let waits_until = match turn {
                Turn::At(at) => Some(at),
                Turn::Now | Turn::Full => None,
            };
            live.holds.push(Held { attempt, hold, channel, waits_until, durable });
        }
        if let Some((hold, holds)) = reserved
            && let Some(target) = planned(&live.plan, attempt).map(|it| it.target.clone())
        {
            let buckets = holds.iter().map(translate::bucket).collect();
            let placed = fact::HoldPlaced { hold, target, buckets };
            self.write(id, now, placed, Durability::Buffered);
            if is_due {
                self.settle(id, hold, Counts::Attempted, now, Durability::Durable);
            }
        }
        match turn {
            Turn::At(at) => Answer::At(at),
            Turn::Now | Turn::Full if durable => {
                self.wait_for_last(Input::Held { call: key, attempt, outcome: Ok(()) });
                Answer::WhenDurable
            }
            Turn::Now | Turn::Full => Answer::Now(Ok(())),
        }
    }

    /// The turn of an attempt that was to wait has come. Returns what the endpoint is to hear, if
    /// the attempt is not over and the disk need not be waited for.
    pub fn turn_came(&mut self, key: CallKey, attempt: AttemptNumber) -> Option<Input> {
        let live = self.calls.get_mut(key)?;
        let held = live.holds.iter_mut().find(|held| held.attempt == attempt)?;
        held.waits_until = None;
        let durable = held.durable;
        let input = Input::Held { call: key, attempt, outcome: Ok(()) };
        if durable {
            self.wait_for_last(input);
            return None;
        }
        Some(input)
    }

    /// The attempt goes to where the one before it was sent on to: what that occupies is its own from
    /// now on, whether or not it can be dialled there.
    pub(super) fn hand_on(&mut self, key: CallKey, attempt: AttemptNumber) {
        let held = self.calls.get_mut(key).and_then(|live| {
            live.holds.iter_mut().find(|held| held.attempt.checked_add(1) == Some(attempt))
        });
        if let Some(held) = held {
            held.attempt = attempt;
        }
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
        self.begin_counting();
        let settled = self.parts.deciding.settle(hold, event, now, at);
        if !settled.is_empty() {
            let buckets = settled.into_iter().map(translate::one_more).collect();
            self.write(id, now, fact::HoldSettled { hold, buckets }, durability);
        }
        self.end_counting();
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
            let Held { hold, channel, waits_until, .. } = live.holds.remove(position);
            if let Some(limit) = channel {
                limit.leave();
                if let Some(turn) = waits_until {
                    limit.give_back(turn);
                }
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

/// Whether an attempt is at the target of the one before it: at a place that it named, or another way. A
/// plan never holds a target twice otherwise.
pub(super) fn continues(plan: &[PlannedAttempt], attempt: AttemptNumber) -> bool {
    pair(plan, attempt).is_some_and(|(before, planned)| before.target == planned.target)
}

/// Whether an attempt is at a place that the target of the one before it named.
pub(super) fn is_sent_on(plan: &[PlannedAttempt], attempt: AttemptNumber) -> bool {
    continues(plan, attempt)
        && pair(plan, attempt).is_some_and(|(before, it)| !translate::is_another_way(before, it))
}

/// An attempt and the one before it.
fn pair(
    plan: &[PlannedAttempt],
    attempt: AttemptNumber,
) -> Option<(&PlannedAttempt, &PlannedAttempt)> {
    Some((planned(plan, attempt.checked_sub(1)?)?, planned(plan, attempt)?))
}

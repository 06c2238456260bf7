//! What calls report becomes facts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smol_str::{SmolStr, ToSmolStr};

use crate::cdr::fact::{self, Fact, Stamp};
use crate::cdr::journal::Durability;
use crate::id::{CallId, TargetId};
use crate::reason::{NoRoute, Reason};
use crate::routing::PlannedAttempt;
use crate::routing::hold::{Counts, Juncture};
use crate::sip::call::report::{AttemptNumber, Party, Report};
use crate::sip::endpoint::CallKey;
use crate::sip::orphan::{DialogPrint, Farewell};
use crate::time::Mono;

use super::super::translate;
use super::holding::{continues, is_sent_on};
use super::{Bridge, Try, elsewhere, planned};

impl Bridge {
    /// Turns a report into facts. Returns when the call converts, if it has just been answered and
    /// will. `last_heard` comes with an end that is only inferred.
    pub fn report(
        &mut self,
        key: CallKey,
        id: CallId,
        at: Mono,
        report: Report,
        last_heard: Option<Mono>,
    ) -> Option<Mono> {
        let _span = tracing::debug_span!("call", call_id = %id).entered();
        tracing::debug!(?report, "the call goes on");
        match report {
            Report::AttemptStarted { attempt } => {
                let live = self.calls.get_mut(key)?;
                live.tries.push(Try { attempt, begun: at, rang: None });
                let goes_on = continues(&live.plan, attempt);
                let target = |attempt| planned(&live.plan, attempt).map(|it| &it.target);
                // The way before may have had no room, so that this is the first the target hears.
                let is_dialed =
                    goes_on && live.started.iter().any(|it| target(*it) == target(attempt));
                live.started.push(attempt);
                live.attempt = attempt;
                let planned = planned(&live.plan, attempt)?;
                if !is_dialed {
                    self.parts.deciding.call_dialed(id, planned);
                }
                let started = translate::attempt_started(attempt, planned, &self.parts.currency);
                if goes_on {
                    self.hand_on(key, attempt);
                }
                self.write(id, at, started, Durability::Buffered);
                None
            }
            Report::AttemptProgress { attempt, status } => {
                let leg = u16::from(attempt);
                self.rang(key, attempt, at);
                self.write(id, at, fact::AttemptProgress { leg, status }, Durability::Buffered);
                None
            }
            Report::AttemptFailed { attempt, status, q850, reason } => {
                self.attempt_failed(key, id, at, (attempt, status, q850, reason));
                self.judge_failed(key, attempt, reason, at);
                let next = attempt.saturating_add(1);
                if self.calls.get(key).is_none_or(|live| !is_sent_on(&live.plan, next)) {
                    self.release(key, at, |held| held == attempt);
                }
                None
            }
            Report::WayFailed { attempt, status, q850, reason } => {
                self.attempt_failed(key, id, at, (attempt, status, q850, reason));
                self.judge_way(key, attempt, at);
                self.hand_on(key, attempt.saturating_add(1));
                None
            }
            Report::AddressFailed { attempt, at: place, status, reason } => {
                let failed = translate::address_failed(attempt, place, status, reason);
                self.write(id, at, failed, Durability::Buffered);
                None
            }
            Report::Extended { after, uris } => {
                let live = self.calls.get_mut(key)?;
                let planned = planned(&live.plan, after)?.clone();
                let further = uris.iter().map(|uri| elsewhere(&planned, uri.text()));
                let further: Vec<_> = further.collect();
                let at = usize::from(after).min(live.plan.len());
                live.plan.splice(at..at, further);
                None
            }
            Report::Taken => {
                self.write(id, at, fact::Taken {}, Durability::Buffered);
                self.calls.get_mut(key)?.taken = true;
                None
            }
            Report::Referred { attempt } => {
                self.referred(key, attempt, at);
                None
            }
            Report::HandedOver { attempt, by, status } => {
                let live = self.calls.get(key);
                let planned = live.and_then(|live| planned(&live.plan, attempt));
                if let Some(planned) = planned {
                    self.parts.deciding.call_handed_over(id, planned);
                }
                let target = planned.map(|planned| &planned.target);
                self.metrics.attempt(target, "handed_over", status);
                let (leg, by) = (u16::from(attempt), translate::means(by));
                self.write(id, at, fact::HandedOver { leg, by, status }, Durability::Durable);
                // Whether it was connected is not known. A cap that must not be exceeded counts it,
                // unless that waits for the end of the call.
                let hold = self.calls.get(key).and_then(|live| live.hold_of(attempt));
                if let Some(hold) = hold.filter(|it| !self.outcomes.has_connection_due(id, *it)) {
                    self.settle(id, hold, Counts::Connected, at, Durability::Durable);
                }
                None
            }
            Report::TransferStarted { attempt, uri } => {
                let live = self.calls.get_mut(key)?;
                let planned = elsewhere(planned(&live.plan, live.attempt)?, uri.text());
                // What is owed for the call is owed as before.
                let planned = PlannedAttempt { terms: None, ..planned };
                let started = translate::attempt_started(attempt, &planned, &self.parts.currency);
                live.plan.push(planned);
                self.write(id, at, started, Durability::Buffered);
                None
            }
            Report::TransferFailed { attempt, status, reason } => {
                let (leg, target) = (u16::from(attempt), self.target(key, attempt));
                let (q850, shortage, way) = (None, None, None);
                let failed =
                    fact::AttemptFailed { leg, status, q850, reason, target, shortage, way };
                self.write(id, at, failed, Durability::Buffered);
                None
            }
            Report::Transferred { attempt } => {
                let leg = u16::from(attempt);
                let (dialogs, _) = self.take_dialogs(key);
                self.write(id, at, fact::Transferred { leg, dialogs }, Durability::Buffered);
                None
            }
            Report::Answered { attempt } => {
                let target = self.target(key, attempt);
                self.metrics.attempt(target.as_ref(), "answered", Some(200));
                self.judge_answered(key, attempt, at);
                let leg = u16::from(attempt);
                let (dialogs, codec) = self.take_dialogs(key);
                self.write(id, at, fact::Answered { leg, dialogs, codec }, Durability::Durable);
                // Of one that was about to ring beside it, or to be called another way.
                self.release(key, at, |held| held != attempt);
                let live = self.calls.get_mut(key)?;
                // The room it is still asking for is nobody's when it comes: not that of a target
                // which is called later because this one hung up.
                if let Some(asked) = live.asked.take() {
                    asked.1.leave();
                }
                live.answered = Some(at);
                live.attempt = attempt;
                let admitted = live.admitted;
                let planned = planned(&live.plan, attempt);
                let terms = planned.and_then(|planned| planned.terms);
                if let Some(planned) = planned {
                    let when = (at, self.parts.clock.wall());
                    self.parts.deciding.call_answered(id, planned, when);
                }
                if let Some(hold) = live.hold_of(attempt) {
                    self.settle(id, hold, Counts::Connected, at, Durability::Durable);
                }
                self.metrics.answered(at.since(admitted));
                let converts_at =
                    terms.map(|terms| at + Duration::from_secs(u64::from(terms.seconds)));
                if let Some(live) = self.calls.get_mut(key) {
                    live.converts_at = converts_at;
                }
                converts_at
            }
            Report::EndedEarly { attempt, q850 } => {
                self.ended_early(key, id, attempt, q850, at);
                None
            }
            Report::Confirmed => {
                let spoken = self.spoken.take().filter(|(call, _)| *call == key);
                let codec = spoken.map(|(_, codec)| codec);
                self.write(id, at, fact::Confirmed { codec }, Durability::Buffered);
                let live = self.calls.get_mut(key)?;
                live.confirmed = true;
                // An ACK that came after the threshold: the timer has gone by without effect.
                live.converts_at.filter(|due| *due <= at)
            }
            Report::Ended { party, reason, status, q850 } => {
                // The end and the threshold may be handled in one turn, in this order.
                let over = last_heard.unwrap_or(at);
                let live = self.calls.get_mut(key);
                let due = live.and_then(|live| {
                    // Whoever hangs up took the answer, though its ACK was lost; unless it never
                    // left, or was ours and its caller has yet to be connected.
                    let heard = status < 300 && !live.taken;
                    live.confirmed |= party == Party::Caller && heard;
                    live.converts_at
                });
                if let Some(due) = due.filter(|due| *due <= over) {
                    self.converted(key, due);
                }
                let answered = self.calls.get(key).and_then(|live| live.answered);
                let ended = fact::Ended {
                    party: translate::party(party),
                    reason,
                    status,
                    q850: q850.map(u16::from),
                    talk_ms: answered.zip(last_heard).map(|(from, to)| to.ms_since(from)),
                };
                self.conclude(key, id, at, ended);
                self.waits_no_more(key);
                if let Some(live) = self.calls.remove(key) {
                    if let Some(asked) = live.asked {
                        asked.1.leave();
                    }
                    self.parts.live.fetch_sub(1, Ordering::Relaxed);
                    self.parts.limits.leave(live.trunk);
                    if let Some(number) = live.pinned {
                        self.parts.deciding.call_ended(number, self.parts.clock.wall());
                        if let Some(sessions) = &self.sessions {
                            sessions.shared.unpin(number, id);
                        }
                    }
                    let heard = live.answered.filter(|_| status < 300);
                    let talk = heard.map(|answered| over.since(answered));
                    if let (Some(talk), Some(planned)) = (talk, planned(&live.plan, live.attempt)) {
                        self.talked(planned, talk, party == Party::Target, at);
                    }
                    // Nobody followed who hung up at once: it was that one the caller was connected to.
                    let left = live.left.filter(|_| live.answered.is_none());
                    let talk = talk.or(left);
                    self.parts.deciding.call_over(id, talk);
                    self.metrics.ended(party, reason, talk);
                    let end = (reason, status);
                    if let Some(class) = NoRoute::of_end(live.no_route, live.attempt > 0, end) {
                        self.metrics.got_to_nobody(live.campaign.as_ref(), class);
                    }
                }
                None
            }
        }
    }

    /// Writes down that an attempt is over without an answer.
    fn attempt_failed(
        &mut self,
        key: CallKey,
        id: CallId,
        at: Mono,
        (attempt, status, q850, reason): (AttemptNumber, Option<u16>, Option<u8>, Reason),
    ) {
        let target = self.target(key, attempt);
        let live = self.calls.get_mut(key);
        let began = live.as_ref().is_some_and(|live| live.has_begun(attempt));
        let denied = live.as_ref().filter(|live| !live.has_begun(attempt));
        let denied = denied.and_then(|live| planned(&live.plan, attempt));
        let way = denied.and_then(|planned| planned.way.as_ref()).map(ToSmolStr::to_smolstr);
        let full = live.and_then(|live| live.full.take_if(|full| full.0 == attempt));
        if began {
            self.metrics.attempt(target.as_ref(), reason.code(), status);
        }
        let failed = fact::AttemptFailed {
            leg: u16::from(attempt),
            status: status.unwrap_or_else(|| reason.status()),
            q850: q850.map(u16::from),
            reason,
            target,
            shortage: full.map(|full| translate::shortage(full.1)),
            way,
        };
        self.write(id, at, failed, Durability::Buffered);
    }

    /// The target is gone and owes nothing; the call goes on as one whose caller was answered before.
    fn ended_early(
        &mut self,
        key: CallKey,
        id: CallId,
        attempt: AttemptNumber,
        q850: Option<u8>,
        at: Mono,
    ) {
        let Some(live) = self.calls.get_mut(key) else { return };
        let answered = live.answered.take();
        (live.converts_at, live.confirmed, live.taken) = (None, false, true);
        let hold = live.hold_of(attempt);
        let (leg, q850) = (u16::from(attempt), q850.map(u16::from));
        self.begin_counting();
        self.write(id, at, fact::EndedEarly { leg, q850 }, Durability::Durable);
        for (of, counts) in self.outcomes.so_far(id) {
            let (used, early) = (translate::used(&counts), Juncture::EndedEarly);
            if Some(of) == hold && self.parts.deciding.conclude(of, early, &used, at) {
                self.write(id, at, fact::HoldReleased { hold: of }, Durability::Buffered);
            }
        }
        self.end_counting();
        self.release(key, at, |held| held == attempt);
        let plan = self.calls.get(key).map_or(&[][..], |live| &live.plan);
        if let Some((planned, answered)) = planned(plan, attempt).zip(answered) {
            self.talked(planned, at.since(answered), true, at);
            self.parts.deciding.call_left(id, at.since(answered));
            self.metrics.attempt(Some(&planned.target), "ended_early", None);
        }
        if let (Some(live), Some(answered)) = (self.calls.get_mut(key), answered) {
            live.left = Some(at.since(answered));
        }
    }

    /// A conversation with a target is over; `by_target`: the target hung up.
    fn talked(&self, with: &PlannedAttempt, talk: Duration, by_target: bool, at: Mono) {
        self.parts.deciding.talked(&with.target, talk, by_target, at);
        if let Some(way) = &with.way {
            self.parts.deciding.way_talked(way, talk, by_target, at);
        }
    }

    /// What names the dialogs of a call whose answer is reported next, and what is spoken in it.
    pub fn dialogs(
        &mut self,
        key: CallKey,
        caller: DialogPrint,
        target: DialogPrint,
        codec: Option<SmolStr>,
    ) {
        self.dialogs = Some((key, fact::Dialogs { caller: caller.0, target: target.0 }, codec));
    }

    /// What a call speaks whose confirmation is reported next.
    pub fn spoken(&mut self, key: CallKey, codec: SmolStr) {
        self.spoken = Some((key, codec));
    }

    fn take_dialogs(&mut self, key: CallKey) -> (Option<fact::Dialogs>, Option<SmolStr>) {
        match self.dialogs.take() {
            Some((call, dialogs, codec)) if call == key => (Some(dialogs), codec),
            Some(_) | None => (None, None),
        }
    }

    /// What the next process says to both ends of that call, should this one die.
    pub fn farewells(&mut self, key: CallKey, farewells: &[Farewell; 2], now: Mono) {
        let Some(live) = self.calls.get(key) else { return };
        let [caller, target] = farewells.each_ref().map(translate::farewell);
        let fact = fact::Farewells { caller, target };
        self.write(live.id, now, fact, Durability::Buffered);
    }

    /// A party of a call that a crash had left up hangs up. The first to do so tells its true end. If it
    /// was we who hung up, its own BYE may be yet to come: [`Self::end_left`].
    pub fn orphan_ended(&mut self, id: CallId, at: Mono, party: Party, q850: Option<u8>) {
        let reason = match party {
            Party::Caller => Reason::CallerHungUp,
            Party::Target => Reason::TargetHungUp,
            Party::System => return self.parts.orphans.leave(id, at),
        };
        if !self.parts.orphans.end(id) {
            return;
        }
        let (party, q850) = (translate::party(party), q850.map(u16::from));
        let ended = fact::Ended { party, reason, status: 200, q850, talk_ms: None };
        self.write(id, at, ended, Durability::Durable);
        self.metrics.orphan_ended();
    }

    /// Calls that our BYE has ended, and whose parties have told nothing since. Nobody can say how long
    /// they talked: they count as before.
    pub(super) fn end_left(&mut self, now: Mono) {
        while let Some((id, talk_ms)) = self.parts.orphans.overdue(now) {
            let ended = fact::Ended {
                party: translate::party(Party::System),
                reason: Reason::NodeRestart,
                status: 200,
                q850: None,
                talk_ms: Some(talk_ms),
            };
            self.write(id, now, ended, Durability::Durable);
        }
    }

    /// A call is still up at the moment its terms name: from now on its caps count it. Its record says
    /// so, of which the fact is; should that be lost, so is what was counted.
    pub fn converted(&mut self, key: CallKey, at: Mono) {
        let Some(live) = self.calls.get_mut(key) else { return };
        // Nobody pays for a call that its caller never took.
        if !live.confirmed || live.converts_at.take_if(|due| *due <= at).is_none() {
            return;
        }
        let (id, leg) = (live.id, u16::from(live.attempt));
        self.begin_counting();
        self.write(id, at, fact::Converted { leg }, Durability::Durable);
        for (hold, counts) in self.outcomes.so_far(id) {
            let used = translate::used(&counts);
            self.parts.deciding.come_to(hold, Juncture::Converted, &used, at);
        }
        self.end_counting();
        self.parts.deciding.call_converted(id, (at, self.parts.clock.wall()));
        self.metrics.converted();
    }

    /// The carrier may call the target from now on, whether or not it ever tells what became of that:
    /// the end of the call, or the next process, says if it counts as connected.
    fn referred(&mut self, key: CallKey, attempt: AttemptNumber, at: Mono) {
        let Some(live) = self.calls.get(key) else { return };
        let (id, hold) = (live.id, live.hold_of(attempt));
        let waiting = |hold| self.parts.deciding.waiting_for(hold, Counts::Connected);
        let waiting = hold.map(waiting).unwrap_or_default();
        let buckets: Vec<_> = waiting.iter().map(translate::connection).collect();
        let hold = hold.filter(|_| !buckets.is_empty());
        let referred = fact::Referred { leg: u16::from(attempt), hold, buckets };
        self.write(id, at, referred, Durability::Buffered);
    }

    /// The call is over: its record says what its caps count, and the rest is given back.
    fn conclude(&mut self, key: CallKey, id: CallId, at: Mono, ended: fact::Ended) {
        let ended = Fact::of_call(id, Stamp::new(self.parts.clock.wall(), at), ended);
        self.begin_counting();
        for (hold, counts) in self.outcomes.end(&ended) {
            let used = translate::used(&counts);
            if self.parts.deciding.conclude(hold, Juncture::Ended, &used, at) {
                self.write(id, at, fact::HoldReleased { hold }, Durability::Buffered);
            }
        }
        self.release(key, at, |_| true);
        self.append(ended, Durability::Durable);
        self.end_counting();
    }

    pub(super) fn target(&self, key: CallKey, attempt: AttemptNumber) -> Option<TargetId> {
        Some(planned(&self.calls.get(key)?.plan, attempt)?.target.clone())
    }
}

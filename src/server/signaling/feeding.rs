//! The endpoint is fed, what it wants is done, and it is fed the answers.

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::id::CallId;
use crate::reason::Reason;
use crate::sip::call::plan::Refusal;
use crate::sip::endpoint::{CallKey, Endpoint, Input, Output};
use crate::time::Mono;

use super::super::bridge::{Admitted, Answer, Decision, Room, RoomFor};
use super::super::clock;
use super::{Shard, Turn, Waiting};

impl Shard {
    /// Feeds the endpoint, does what it wants, and feeds it the answers.
    pub(super) fn feed(&mut self, input: Input, turn: &mut Turn) {
        turn.messages += 1;
        let now = clock::mono();
        self.guarded(turn, now, |endpoint, now, out| endpoint.handle(input, now, out));
    }

    /// Runs a handler. If it panics, the call it was at is ended, and nothing else is touched.
    pub(super) fn guarded(
        &mut self,
        turn: &mut Turn,
        now: Mono,
        handler: impl FnOnce(&mut Endpoint, Mono, &mut Vec<Output>),
    ) {
        let mut outputs = std::mem::take(&mut turn.outputs);
        let run = AssertUnwindSafe(|| handler(&mut self.endpoint, now, &mut outputs));
        if catch_unwind(run).is_err() {
            self.recover(now, &mut outputs);
        }
        self.carry_out(&mut outputs, turn, now);
        while let Some(answer) = turn.answers.pop_front() {
            // The answer took time: what follows from it comes after it.
            let now = clock::mono();
            let run = AssertUnwindSafe(|| self.endpoint.handle(answer, now, &mut outputs));
            if catch_unwind(run).is_err() {
                self.recover(now, &mut outputs);
            }
            self.carry_out(&mut outputs, turn, now);
        }
        turn.outputs = outputs;
    }

    fn recover(&mut self, now: Mono, outputs: &mut Vec<Output>) {
        let call = self.endpoint.current();
        tracing::error!("a handler panicked; the call it was at is ended");
        let run = AssertUnwindSafe(|| self.endpoint.recover(now, outputs));
        if catch_unwind(run).is_err()
            && let Some(call) = call
        {
            self.endpoint.abandon(call, now, outputs);
        }
    }

    fn carry_out(&mut self, outputs: &mut Vec<Output>, turn: &mut Turn, now: Mono) {
        for output in outputs.drain(..) {
            match output {
                Output::Send { flow, message } => self.send(flow, message, turn),
                Output::Admitted(admission) => {
                    let call = admission.call;
                    let refusal = (Err(Refusal::from(Reason::DecisionFailed)), None);
                    let refusal = Admitted::Decided(refusal);
                    match unharmed(refusal, || self.bridge.admit(&admission)) {
                        Admitted::Decided((outcome, at)) => {
                            let answer = Input::Decided { call, outcome };
                            match at {
                                None => turn.answers.push_back(answer),
                                Some(at) => turn.wait(at, Waiting::Decided(answer)),
                            }
                        }
                        Admitted::Asked(until) => {
                            turn.wait(until, Waiting::Words(call, admission.id));
                        }
                    }
                }
                Output::PlaceHold { call, attempt } => {
                    let refusal = Answer::Now(Err(Reason::DecisionFailed));
                    let place = || self.bridge.place_hold(call, attempt, now);
                    match unharmed(refusal, place) {
                        Answer::Now(outcome) => {
                            turn.answers.push_back(Input::Held { call, attempt, outcome });
                        }
                        Answer::WhenDurable | Answer::ByMail => {}
                        Answer::At(at) => turn.wait(at, Waiting::Held(call, attempt)),
                    }
                }
                Output::Locate { registration, server } => {
                    let destination = self.bridge.locate(&server);
                    turn.answers.push_back(Input::Located { registration, destination });
                }
                Output::Registration { trunk, registered: true } => {
                    tracing::info!(trunk.id = %trunk, "the carrier has registered us");
                }
                Output::Registration { trunk, registered: false } => {
                    tracing::warn!(trunk.id = %trunk, "the carrier has not registered us");
                }
                Output::Fragmented { call, attempt, bytes } => {
                    self.bridge.fragmented(call, attempt, bytes);
                }
                Output::Probed { transport, peer, verdict } => {
                    self.bridge.probed((transport, peer), verdict);
                }
                Output::Tried { transport, peer } => self.bridge.tried((transport, peer), now),
                Output::Rated { transport, peer, how } => {
                    self.bridge.rate((transport, peer), how, now);
                }
                Output::AwaitDurable { call } => self.bridge.await_durable(call),
                Output::Spoken { call, codec } => self.bridge.spoken(call, codec),
                Output::Dialogs { call, caller, target, codec, farewells } => {
                    self.bridge.dialogs(call, caller, target, codec);
                    if let Some(farewells) = farewells {
                        let now = clock::mono();
                        unharmed((), || self.bridge.farewells(call, &farewells, now));
                    }
                }
                Output::OrphanEnded { id, at, party, q850 } => {
                    unharmed((), || self.bridge.orphan_ended(id, at, party, q850));
                }
                Output::Report { call, id, at, report, last_heard } => {
                    let tell = || self.bridge.report(call, id, at, report, last_heard);
                    let converts_at = unharmed(None, tell);
                    if let Some(converts_at) = converts_at {
                        turn.conversions.push(Reverse((converts_at, call)));
                    }
                }
            }
        }
    }

    /// Room that a call or an attempt has waited for was granted or denied.
    pub(super) fn room_came(&mut self, room: Room, turn: &mut Turn) {
        let (call, now) = (room.call(), clock::mono());
        let (attempt, answer) = match unharmed(None, || self.bridge.room_came(room, now)) {
            None => return,
            Some(RoomFor::Call(decision)) => return self.tell(call, decision, turn),
            Some(RoomFor::Attempt(attempt, answer)) => (attempt, answer),
        };
        match answer {
            Answer::Now(outcome) => self.feed(Input::Held { call, attempt, outcome }, turn),
            Answer::At(at) => turn.wait(at, Waiting::Held(call, attempt)),
            Answer::WhenDurable | Answer::ByMail => {}
        }
    }

    /// Calls that have been up for as long as their terms say.
    pub(super) fn convert(&mut self, turn: &mut Turn, now: Mono) {
        while let Some(Reverse((at, call))) = turn.conversions.peek().copied()
            && at <= now
        {
            turn.conversions.pop();
            unharmed((), || self.bridge.converted(call, at));
        }
    }

    /// What becomes of a call that had to wait: it is decided, or others are asked.
    pub(super) fn go_on(
        &mut self,
        key: CallKey,
        call: CallId,
        admitted: Option<Admitted>,
        turn: &mut Turn,
    ) {
        match admitted {
            None => {}
            Some(Admitted::Decided(decision)) => self.tell(key, decision, turn),
            Some(Admitted::Asked(until)) => turn.wait(until, Waiting::Words(key, call)),
        }
    }

    /// What was decided of a call that had to wait for it, now or when its turn comes.
    pub(super) fn tell(&mut self, call: CallKey, (outcome, at): Decision, turn: &mut Turn) {
        let answer = Input::Decided { call, outcome };
        match at.filter(|at| *at > clock::mono()) {
            None => self.feed(answer, turn),
            Some(at) => turn.wait(at, Waiting::Decided(answer)),
        }
    }

    /// Calls whose turn has come under a limit, or whose scores are late.
    pub(super) fn take_turns(&mut self, turn: &mut Turn, now: Mono) {
        while let Some(entry) = turn.waiting.first_entry()
            && entry.key().0 <= now
        {
            let input = match entry.remove() {
                Waiting::Decided(input) => Some(input),
                Waiting::Held(call, attempt) => {
                    unharmed(None, || self.bridge.turn_came(call, attempt))
                }
                Waiting::Words(key, call) => {
                    let admitted = unharmed(None, || self.bridge.overdue(key, call, now));
                    self.go_on(key, call, admitted, turn);
                    None
                }
            };
            if let Some(input) = input {
                self.feed(input, turn);
            }
        }
    }
}

/// Runs what decides and accounts. A panic there must not end the shard: its calls go on, and the
/// one at hand gets `fallback`.
pub(super) fn unharmed<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("routing or accounting panicked; the call at hand gets the safe answer");
        fallback
    })
}

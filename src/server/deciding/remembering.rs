//! What routing remembers of calls: the earlier ones of callers, how targets did, and how their
//! attempts went.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{counter, histogram};
use smol_str::{SmolStr, ToSmolStr};

use crate::id::{CallId, CampaignId, TargetId};
use crate::phone::PhoneNumber;
use crate::routing::circuit::{AttemptEnd, Attempted, Before, Turn};
use crate::routing::config::Span;
use crate::routing::dial::Way;
use crate::routing::history::prior::{Asking, PriorCalls};
use crate::routing::history::{Caller, CallerHistory, PastCall};
use crate::routing::performance::{Concerned, Tally};
use crate::routing::selection::Explored;
use crate::routing::{PlannedAttempt, RouteRequest, RoutingSnapshot};
use crate::time::{Mono, Wall};

use crate::server::metrics as names;
use crate::server::sessions::Looked;

use super::Deciding;

/// Calls that are put back under one lock.
const REMEMBERED_AT_ONCE: usize = 100;
/// How far a call that came before may seem to have come after.
const CLOCK_SKEW_MS: i64 = 1_000;

impl Deciding {
    /// How far back earlier calls of callers have to be known.
    pub fn history(&self) -> Option<Span> {
        self.snapshot.load().history()
    }

    /// How far back rules look, without whom nothing can be decided; `None`: none does.
    pub fn rules_look_back(&self) -> Option<Span> {
        self.snapshot.load().looks_back().of_rules()
    }

    /// All that is on record of earlier calls was put back.
    pub fn remembers_all(&self) {
        self.remembers_all.store(true, Ordering::Relaxed);
    }

    /// The caller's earlier calls, as far back as rules look, and what is known of all that are remembered.
    pub(super) fn known_of(
        &self,
        snapshot: &RoutingSnapshot,
        remembered: Option<&(Caller, &CampaignId)>,
        request: &RouteRequest,
        history: &CallerHistory,
        looked: Option<&Looked>,
    ) -> (Vec<PastCall>, Option<PriorCalls>) {
        let Some((caller, campaign)) = remembered else { return (vec![], None) };
        let (looks_back, at) = (snapshot.looks_back(), request.at);
        let of_all = looked.and_then(|looked| looked.calls.as_deref());
        let mut calls = history.calls(caller, None);
        // This server knows best what became of its own.
        let is_other = |it: &&PastCall| calls.iter().all(|own| own.call != it.call);
        let others: Vec<_> = of_all.unwrap_or_default().iter().filter(is_other).cloned().collect();
        if !others.is_empty() {
            calls.extend(others);
            calls.sort_by_key(|it| Reverse((it.at, it.call)));
        }
        // A thought-of call may lie in the past. Shards admit calls a moment apart.
        calls.retain(|past| past.at.0 <= at.0.saturating_add(CLOCK_SKEW_MS));
        let asking = Asking { dialed: request.dialed, campaign, at };
        let is_alone = self.sessions.get().is_some() && of_all.is_none();
        let prior = looks_back.prior.longest().map(|_| PriorCalls {
            is_partial: is_alone || !self.remembers_all.load(Ordering::Relaxed),
            ..PriorCalls::of(&calls, asking, &looks_back.prior)
        });
        match looks_back.reads_from(at) {
            Some(since) => calls.retain(|past| since.is_none_or(|since| past.at >= since)),
            None => calls.clear(),
        }
        (calls, prior)
    }

    /// What is known of a call now, for other servers.
    pub(super) fn share_call(&self, known: Option<(Caller, PastCall)>) {
        if let Some((shared, (caller, call))) = self.sessions.get().zip(known) {
            shared.called(caller, call);
        }
    }

    /// Puts back calls that are up, with their callers; `None`: an anonymous one.
    pub fn remember_open(&self, calls: impl IntoIterator<Item = (Option<PhoneNumber>, PastCall)>) {
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        for (number, call) in calls {
            if let Some(caller) = snapshot.caller(number, &call.campaign) {
                state.history.begin(&caller, call);
            }
        }
    }

    /// Puts back calls of before, with their callers; `None`: an anonymous one.
    pub fn remember(&self, calls: impl IntoIterator<Item = (Option<PhoneNumber>, PastCall)>) {
        let snapshot = self.snapshot.load();
        let mut calls = calls.into_iter().peekable();
        // Shards wait for the lock.
        while calls.peek().is_some() {
            let mut state = self.state.lock();
            for (number, call) in calls.by_ref().take(REMEMBERED_AT_ONCE) {
                if let Some(caller) = snapshot.caller(number, &call.campaign) {
                    state.history.restore(&caller, call);
                }
            }
        }
    }

    /// How many days calls have to be counted for, today included; `None`: they are not.
    pub fn performance_days(&self) -> Option<u32> {
        self.snapshot.load().performance_days()
    }

    /// Puts back how calls of before went, by day.
    pub fn restore_performance(&self, counted: impl IntoIterator<Item = (Concerned, i64, Tally)>) {
        let mut counted = counted.into_iter().peekable();
        // Shards wait for the lock.
        while counted.peek().is_some() {
            let mut state = self.state.lock();
            for (concerned, day, tally) in counted.by_ref().take(REMEMBERED_AT_ONCE) {
                state.performance.restore(&concerned, day, tally);
            }
        }
    }

    /// Puts back what it has cost campaigns that calls were used to learn about targets.
    pub fn restore_explored(&self, spent: impl IntoIterator<Item = (CampaignId, Explored)>) {
        let rotation = &mut self.state.lock().rotation;
        for (campaign, explored) in spent {
            rotation.restore_explored(campaign, explored);
        }
    }

    /// Puts back how attempts at targets went in the seven days before `now`, of which their circuits
    /// know nothing.
    pub fn restore_circuits(&self, tried: impl IntoIterator<Item = (TargetId, Before)>, now: Mono) {
        let snapshot = self.snapshot.load();
        let circuits = &mut self.state.lock().circuits;
        for (target, before) in tried {
            if let Some(rules) = snapshot.target(&target).and_then(|it| it.circuit.as_ref()) {
                circuits.restore(&target, rules, before, now);
            }
        }
    }

    /// The same of ways to targets, by their names.
    pub fn restore_ways(&self, tried: impl IntoIterator<Item = (SmolStr, Before)>, now: Mono) {
        let snapshot = self.snapshot.load();
        let known = snapshot.ways();
        let known: BTreeMap<SmolStr, &Way> =
            known.into_iter().map(|way| (way.to_smolstr(), way)).collect();
        let ways = &mut self.state.lock().ways;
        for (name, before) in tried {
            let way = known.get(&name).copied();
            if let Some((way, rules)) = way.and_then(|way| Some((way, snapshot.way_circuit(way)?)))
            {
                ways.restore(way, rules, before, now);
            }
        }
    }

    /// Whether some target has a circuit, which goes by what was before.
    pub fn has_circuits(&self) -> bool {
        self.snapshot.load().targets().iter().any(|target| target.circuit.is_some())
    }

    /// Whether some way to targets has one.
    pub fn has_way_circuits(&self) -> bool {
        let snapshot = self.snapshot.load();
        snapshot.ways().into_iter().any(|way| snapshot.way_circuit(way).is_some())
    }

    /// The call is tried at a target.
    pub fn call_dialed(&self, call: CallId, planned: &PlannedAttempt) {
        if self.performance_days().is_some() {
            let performance = &mut self.state.lock().performance;
            performance.dialed(call, &planned.target, &planned.buyer);
        }
    }

    /// A carrier was told to call the target itself.
    pub fn call_handed_over(&self, call: CallId, planned: &PlannedAttempt) {
        if self.performance_days().is_some() {
            let performance = &mut self.state.lock().performance;
            performance.handed_over(call, &planned.target, &planned.buyer);
        }
    }

    /// A target has answered the call.
    pub fn call_answered(&self, call: CallId, planned: &PlannedAttempt, (now, at): (Mono, Wall)) {
        let snapshot = self.snapshot.load();
        if snapshot.history().is_some() {
            let mut state = self.state.lock();
            state.history.connected(call, &planned.target, &planned.buyer, at);
            state.history.owed(call, planned.terms);
            let known = state.history.of_live(call);
            drop(state);
            self.share_call(known);
        }
        if snapshot.performance_days().is_some() {
            let performance = &mut self.state.lock().performance;
            performance.connected(call, &planned.target, &planned.buyer, now);
        }
    }

    /// The target that answered the call has hung up after so long a talk, and the call goes on to the next.
    pub fn call_left(&self, call: CallId, talk: Duration) {
        if self.history().is_some() {
            let talk_ms = u64::try_from(talk.as_millis()).unwrap_or(u64::MAX);
            let mut state = self.state.lock();
            state.history.left(call, talk_ms);
            let known = state.history.of_live(call);
            drop(state);
            self.share_call(known);
        }
    }

    /// The buyer owes for the call.
    pub fn call_converted(&self, call: CallId, (now, at): (Mono, Wall)) {
        let snapshot = self.snapshot.load();
        if snapshot.history().is_some() {
            let mut state = self.state.lock();
            state.history.converted(call, at);
            let known = state.history.of_live(call);
            drop(state);
            self.share_call(known);
        }
        if snapshot.performance_days().is_some() {
            self.state.lock().performance.converted(call, now);
        }
    }

    /// The call is over, after so long a talk; `None`: its caller was connected to nobody.
    pub fn call_over(&self, call: CallId, talk: Option<Duration>) {
        let snapshot = self.snapshot.load();
        let talk_ms = talk.map(|talk| u64::try_from(talk.as_millis()).unwrap_or(u64::MAX));
        if snapshot.performance_days().is_some() {
            self.state.lock().performance.ended(call, talk_ms.unwrap_or(0));
        }
        if snapshot.history().is_some() {
            let known = self.state.lock().history.ended(call, talk_ms);
            self.share_call(known);
        }
    }

    /// An attempt at the target is over, or was answered.
    pub fn attempted(&self, target: &TargetId, attempted: Attempted, now: Mono) {
        let snapshot = self.snapshot.load();
        let Some(rules) = snapshot.target(target).and_then(|it| it.circuit.as_ref()) else {
            return;
        };
        let turn = self.state.lock().circuits.attempted(target, rules, attempted, now);
        turned(target, turn);
    }

    /// An answered call is over; `by_target`: the target hung up.
    pub fn talked(&self, target: &TargetId, talk: Duration, by_target: bool, now: Mono) {
        let snapshot = self.snapshot.load();
        let rules = snapshot.target(target).and_then(|it| it.circuit.as_ref());
        let Some(rules) = rules.filter(|rules| rules.max_short_percent.is_some()) else { return };
        let turn = self.state.lock().circuits.talked(target, rules, talk, by_target, now);
        turned(target, turn);
    }

    /// An attempt over a way to a target is over, or was answered.
    pub fn way_attempted(&self, way: &Way, attempted: Attempted, now: Mono) {
        let outcome = match attempted.end {
            AttemptEnd::Answered => "answered",
            AttemptEnd::Unanswered => "unanswered",
            AttemptEnd::Failed => "failed",
        };
        counter!(names::WAY_ATTEMPTS, "way" => way.to_string(), "outcome" => outcome).increment(1);
        if let Some(pdd_ms) = attempted.pdd_ms {
            let seconds = f64::from(pdd_ms) / 1_000.0;
            histogram!(names::WAY_PDD, "way" => way.to_string()).record(seconds);
        }
        let snapshot = self.snapshot.load();
        let Some(rules) = snapshot.way_circuit(way) else { return };
        let turn = self.state.lock().ways.attempted(way, rules, attempted, now);
        way_turned(way, turn);
    }

    /// An answered call over a way is over; `by_target`: the target hung up.
    pub fn way_talked(&self, way: &Way, talk: Duration, by_target: bool, now: Mono) {
        let snapshot = self.snapshot.load();
        let rules = snapshot.way_circuit(way);
        let Some(rules) = rules.filter(|rules| rules.max_short_percent.is_some()) else { return };
        let turn = self.state.lock().ways.talked(way, rules, talk, by_target, now);
        way_turned(way, turn);
    }
}

/// Tells people that the circuit of a way to targets has opened or closed.
fn way_turned(way: &Way, turn: Option<Turn>) {
    match turn {
        None => {}
        Some(Turn::Opened(trip, rests)) => {
            counter!(names::WAYS_OPENED, "way" => way.to_string()).increment(1);
            tracing::warn!(
                %way,
                why = %trip,
                rests_s = rests.as_secs(),
                "calls over a way to targets go badly: their other ways are tried first"
            );
        }
        Some(Turn::Closed) => {
            tracing::info!(%way, "calls over a way to targets go well again");
        }
    }
}

/// Tells people that a target's circuit has opened or closed.
fn turned(target: &TargetId, turn: Option<Turn>) {
    match turn {
        None => {}
        Some(Turn::Opened(trip, rests)) => {
            counter!(names::CIRCUITS_OPENED, "target" => target.to_string()).increment(1);
            tracing::warn!(
                target.id = %target,
                why = %trip,
                rests_s = rests.as_secs(),
                "calls to a target go badly: it is tried only for want of others"
            );
        }
        Some(Turn::Closed) => {
            tracing::info!(target.id = %target, "calls to a target go well again");
        }
    }
}

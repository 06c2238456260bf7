//! Where the domains meet on a shard's thread: calls ask, routing decides, facts are written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use slotmap::SecondaryMap;
use smol_str::SmolStr;

use crate::cdr::fact::{self, Fact, FactBody, Stamp};
use crate::cdr::journal::{Durability, Lsn, Pressure, file::Appender};
use crate::id::{CallId, HoldId, TargetId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::PlannedAttempt;
use crate::routing::hold::{Bucket, Counts};
use crate::sip::call::plan::{Plan, Refusal};
use crate::sip::call::report::{AttemptNumber, Report};
use crate::sip::endpoint::{Admission, CallKey, Input};
use crate::sip::flow::Transport;
use crate::sip::trunk::{TrunkIndex, Trunks};
use crate::time::Mono;

use super::addresses::Addresses;
use super::clock;
use super::deciding::{Deciding, RENEW_EVERY};
use super::legs::TargetLegs;
use super::limits::TrunkLimits;
use super::metrics::CallMetrics;
use super::tls::TlsParties;
use super::translate;

/// What one shard needs of the rest of the process.
pub struct Bridge {
    parts: Parts,
    waiting: Arc<AtomicBool>,
    metrics: CallMetrics,
    calls: SecondaryMap<CallKey, LiveCall>,
    /// What waits for the disk, in the order of what it waits for.
    queue: VecDeque<(Lsn, Input)>,
    last: Lsn,
    /// Facts the journal had no room for. They go first when it has.
    backlog: VecDeque<(Fact, Durability)>,
    renew_at: Mono,
    checkpoint_at: Mono,
}

/// Up to where the journal is on stable storage.
#[derive(Debug, Default)]
pub struct DurableMark {
    epoch: AtomicU64,
    seq: AtomicU64,
}

/// Stands for the position of a fact that the journal has had no room for yet.
const UNWRITTEN: Lsn = Lsn { epoch: u64::MAX, seq: u64::MAX };

/// How a question of the endpoint is answered.
pub enum Answer {
    Now(Result<(), Reason>),
    /// By [`Bridge::next_durable`].
    WhenDurable,
}

/// What the server remembers of a call.
struct LiveCall {
    id: CallId,
    trunk: TrunkIndex,
    plan: Box<[PlannedAttempt]>,
    /// The attempt in progress or answered, and its hold.
    attempt: AttemptNumber,
    hold: Option<HoldId>,
    pinned: Option<PhoneNumber>,
    admitted: Mono,
    answered: Option<Mono>,
    /// The caller acknowledged the answer.
    confirmed: bool,
    /// When the call converts, until it has.
    converts_at: Option<Mono>,
}

impl DurableMark {
    pub fn set(&self, up_to: Lsn) {
        self.epoch.store(up_to.epoch, Ordering::SeqCst);
        self.seq.store(up_to.seq, Ordering::SeqCst);
    }

    pub fn get(&self) -> Lsn {
        Lsn { epoch: self.epoch.load(Ordering::SeqCst), seq: self.seq.load(Ordering::SeqCst) }
    }
}

/// The shared parts a [`Bridge`] is made of.
#[derive(Clone)]
pub struct Parts {
    pub deciding: Arc<Deciding>,
    pub addresses: Arc<ArcSwap<Addresses>>,
    pub trunks: Arc<Trunks>,
    pub legs: Arc<TargetLegs>,
    pub appender: Appender,
    pub durable: Arc<DurableMark>,
    pub currency: SmolStr,
    /// How often the calls that are up are written down (spec/data §1.3).
    pub checkpoint_every: Duration,
    /// Counts the calls of all shards.
    pub live: Arc<AtomicUsize>,
    pub(super) limits: Arc<TrunkLimits>,
    pub tls: Arc<TlsParties>,
}

impl Bridge {
    /// `waiting` is set while the shard waits for the disk.
    pub fn new(parts: Parts, waiting: Arc<AtomicBool>, metrics: CallMetrics, now: Mono) -> Self {
        let checkpoint_at = now + parts.checkpoint_every;
        Self {
            parts,
            waiting,
            metrics,
            checkpoint_at,
            calls: SecondaryMap::new(),
            queue: VecDeque::new(),
            last: Lsn::default(),
            backlog: VecDeque::new(),
            renew_at: now + RENEW_EVERY,
        }
    }

    /// Journals a new call and decides where it goes.
    pub fn admit(&mut self, admission: &Admission) -> Result<Box<Plan>, Refusal> {
        let _span = tracing::debug_span!("call", call_id = %admission.id).entered();
        let trunk = self.parts.trunks.get(admission.trunk).map(|trunk| trunk.id.clone());
        let trunk = trunk.unwrap_or_default();
        self.calls.insert(
            admission.call,
            LiveCall {
                id: admission.id,
                trunk: admission.trunk,
                plan: Box::default(),
                attempt: 0,
                hold: None,
                pinned: None,
                admitted: admission.at,
                answered: None,
                confirmed: false,
                converts_at: None,
            },
        );
        self.parts.live.fetch_add(1, Ordering::Relaxed);
        let within_limits = self.parts.limits.enter(admission.trunk, admission.at);
        self.metrics.admitted(&trunk);
        let fact = translate::admitted(admission, trunk.clone());
        self.write(admission.id, admission.at, fact, Durability::Buffered);

        let refuse = |reason| Err(Refusal { reason });
        if self.parts.appender.pressure() >= Pressure::Reserve || !self.backlog.is_empty() {
            return refuse(Reason::JournalFull);
        }
        if !within_limits {
            return refuse(Reason::TrunkFull);
        }
        let Ok(number) = admission.number else { return refuse(Reason::NumberMalformed) };
        let started = clock::mono();
        let request = translate::route_request(admission, number, trunk);
        let decided = self.parts.deciding.decide(&request);
        let decision = &decided.decision;
        let now = clock::mono();
        self.metrics.decided(now.since(started));
        self.write(
            admission.id,
            now,
            translate::decided(decision, Bytes::copy_from_slice(&decided.record)),
            Durability::Buffered,
        );
        if decided.consumed
            && let Some(session) = decision.attribution.as_ref().and_then(|it| it.session)
        {
            self.write(admission.id, now, fact::SessionConsumed { session }, Durability::Buffered);
        }
        tracing::debug!(
            trunk = %request.trunk,
            targets = decision.plan.len(),
            refused = ?decision.refused,
            "the call is routed"
        );
        let outcome = match decision.refused {
            Some(reason) => {
                self.metrics.no_route(reason);
                refuse(reason)
            }
            None => {
                let addresses = self.parts.addresses.load();
                let legs = &self.parts.legs;
                let parties = &self.parts.tls;
                let resolve = |planned: &PlannedAttempt| {
                    let mut destination = addresses.resolve(&planned.uri)?;
                    if destination.transport == Transport::Tls {
                        destination.tls = parties.target(&planned.target);
                    }
                    Some(destination)
                };
                Ok(translate::plan(decision, resolve, |id| legs.of(id)))
            }
        };
        if let Some(live) = self.calls.get_mut(admission.call) {
            live.pinned = decided.pinned;
            live.plan = decided.decision.plan.into_boxed_slice();
        }
        outcome
    }

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
        let reserved = self.parts.deciding.reserve(id, attempt, planned, now, clock::wall());
        let (hold, holds) = match reserved {
            Ok(Some(reserved)) => reserved,
            Ok(None) => return Answer::Now(Ok(())),
            Err(reason) => {
                self.metrics.hold_denied(reason);
                return Answer::Now(Err(reason));
            }
        };
        live.hold = Some(hold);
        let buckets = holds.iter().map(translate::bucket).collect();
        let placed = fact::HoldPlaced { hold, target: planned.target.clone(), buckets };
        if !holds.iter().any(|request| request.counts == Counts::Attempted) {
            self.write(id, now, placed, Durability::Buffered);
            return Answer::Now(Ok(()));
        }
        self.write(id, now, placed, Durability::Buffered);
        self.settle(id, hold, Counts::Attempted, now, Durability::Durable);
        self.wait_for_last(Input::Held { call: key, outcome: Ok(()) });
        Answer::WhenDurable
    }

    /// [`Input::Durable`] is to come when everything written so far is on disk.
    pub fn await_durable(&mut self, call: CallKey) {
        self.wait_for_last(Input::Durable { call });
    }

    /// What has waited for the disk and need wait no longer.
    pub fn next_durable(&mut self) -> Option<Input> {
        if !self.backlog.is_empty() {
            self.drain_backlog();
        }
        let (lsn, _) = self.queue.front()?;
        if *lsn > self.parts.durable.get() {
            return None;
        }
        let (_, input) = self.queue.pop_front()?;
        if self.queue.is_empty() {
            self.waiting.store(false, Ordering::SeqCst);
        }
        Some(input)
    }

    /// Turns a report into facts. Returns when the call converts, if it has just been answered and
    /// will.
    pub fn report(&mut self, key: CallKey, id: CallId, at: Mono, report: Report) -> Option<Mono> {
        let _span = tracing::debug_span!("call", call_id = %id).entered();
        tracing::debug!(?report, "the call goes on");
        match report {
            Report::AttemptStarted { attempt } => {
                let live = self.calls.get_mut(key)?;
                live.attempt = attempt;
                let planned = planned(&live.plan, attempt)?;
                let started = translate::attempt_started(attempt, planned, &self.parts.currency);
                self.write(id, at, started, Durability::Buffered);
                None
            }
            Report::AttemptProgress { attempt, status } => {
                let leg = u16::from(attempt);
                self.write(id, at, fact::AttemptProgress { leg, status }, Durability::Buffered);
                None
            }
            Report::AttemptFailed { attempt, status, q850, reason } => {
                let target = self.target(key, attempt);
                self.metrics.attempt(target.as_ref(), reason.code(), status);
                let failed = fact::AttemptFailed {
                    leg: u16::from(attempt),
                    status: status.unwrap_or_else(|| reason.status()),
                    q850: q850.map(u16::from),
                    reason,
                };
                self.write(id, at, failed, Durability::Buffered);
                self.release(key, at);
                None
            }
            Report::Answered { attempt } => {
                let target = self.target(key, attempt);
                self.metrics.attempt(target.as_ref(), "answered", Some(200));
                let leg = u16::from(attempt);
                self.write(id, at, fact::Answered { leg }, Durability::Durable);
                let live = self.calls.get_mut(key)?;
                live.answered = Some(at);
                let admitted = live.admitted;
                let terms = planned(&live.plan, attempt).and_then(|planned| planned.terms);
                if let Some(hold) = live.hold {
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
            Report::Confirmed => {
                self.write(id, at, fact::Confirmed {}, Durability::Buffered);
                let live = self.calls.get_mut(key)?;
                live.confirmed = true;
                // An ACK that came after the threshold: the timer has gone by without effect.
                live.converts_at.filter(|due| *due <= at)
            }
            Report::Ended { party, reason, status, q850 } => {
                // The end and the threshold may be handled in one turn, in this order.
                let due = self.calls.get(key).and_then(|live| live.converts_at);
                if let Some(due) = due.filter(|due| *due <= at) {
                    self.converted(key, due);
                }
                self.release(key, at);
                let ended = fact::Ended {
                    party: translate::party(party),
                    reason,
                    status,
                    q850: q850.map(u16::from),
                };
                self.write(id, at, ended, Durability::Durable);
                if let Some(live) = self.calls.remove(key) {
                    self.parts.live.fetch_sub(1, Ordering::Relaxed);
                    self.parts.limits.leave(live.trunk);
                    if let Some(number) = live.pinned {
                        self.parts.deciding.call_ended(number, clock::wall());
                    }
                    let talk = live.answered.map(|answered| at.since(answered));
                    self.metrics.ended(party, reason, talk);
                }
                None
            }
        }
    }

    /// A call is still up at the moment its terms name.
    pub fn converted(&mut self, key: CallKey, at: Mono) {
        let Some(live) = self.calls.get_mut(key) else { return };
        // Nobody pays for a call that its caller never took.
        if !live.confirmed || live.converts_at.take_if(|due| *due <= at).is_none() {
            return;
        }
        let (id, leg, hold) = (live.id, u16::from(live.attempt), live.hold);
        self.write(id, at, fact::Converted { leg }, Durability::Durable);
        if let Some(hold) = hold {
            self.settle(id, hold, Counts::Converted, at, Durability::Durable);
        }
        self.metrics.converted();
    }

    /// The key of a call that is up.
    pub fn find(&self, id: CallId) -> Option<CallKey> {
        self.calls.iter().find(|(_, live)| live.id == id).map(|(key, _)| key)
    }

    pub fn live(&self) -> Vec<CallKey> {
        self.calls.keys().collect()
    }

    /// Renews holds, writes which calls are up, and what had to wait.
    pub fn housekeep(&mut self, now: Mono) {
        self.drain_backlog();
        if self.checkpoint_at <= now {
            self.checkpoint_at = now + self.parts.checkpoint_every;
            self.checkpoint(now);
        }
        if self.renew_at <= now {
            self.renew_at = now + RENEW_EVERY;
            self.parts.deciding.renew(self.calls.values().filter_map(|live| live.hold), now);
        }
    }

    fn checkpoint(&mut self, now: Mono) {
        let elapsed = |live: &LiveCall| {
            let elapsed = now.ms_since(live.answered?);
            Some((live.id, u32::try_from(elapsed).unwrap_or(u32::MAX)))
        };
        let live: Vec<_> = self.calls.values().filter_map(elapsed).collect();
        if !live.is_empty() {
            let stamp = Stamp::new(clock::wall(), now);
            self.append(Fact::of_node(stamp, fact::Checkpoint { live }), Durability::Buffered);
        }
    }

    fn target(&self, key: CallKey, attempt: AttemptNumber) -> Option<TargetId> {
        Some(planned(&self.calls.get(key)?.plan, attempt)?.target.clone())
    }

    fn settle(
        &mut self,
        id: CallId,
        hold: HoldId,
        event: Counts,
        now: Mono,
        durability: Durability,
    ) {
        let settled = self.parts.deciding.settle(hold, event, now);
        if settled.is_empty() {
            return;
        }
        let bucket =
            |bucket: Bucket| fact::Bucket { cap: bucket.cap, window: bucket.window, amount: 1 };
        let buckets = settled.into_iter().map(bucket).collect();
        self.write(id, now, fact::HoldSettled { hold, buckets }, durability);
    }

    fn release(&mut self, key: CallKey, at: Mono) {
        let Some(live) = self.calls.get_mut(key) else { return };
        let id = live.id;
        if let Some(hold) = live.hold.take()
            && self.parts.deciding.release(hold)
        {
            self.write(id, at, fact::HoldReleased { hold }, Durability::Buffered);
        }
    }

    fn write(&mut self, call: CallId, at: Mono, body: impl Into<FactBody>, durability: Durability) {
        self.append(Fact::of_call(call, Stamp::new(clock::wall(), at), body), durability);
    }

    /// Facts keep their order: while one waits, all wait.
    fn append(&mut self, fact: Fact, durability: Durability) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((fact, durability));
            self.drain_backlog();
            return;
        }
        match self.parts.appender.append(fact, durability) {
            Ok(lsn) => self.last = lsn,
            Err(refused) => self.backlog.extend(refused.fact.map(|fact| (*fact, durability))),
        }
    }

    fn drain_backlog(&mut self) {
        while let Some((fact, durability)) = self.backlog.pop_front() {
            match self.parts.appender.append(fact, durability) {
                Ok(lsn) => self.last = lsn,
                Err(refused) => {
                    if let Some(fact) = refused.fact {
                        self.backlog.push_front((*fact, durability));
                        return;
                    }
                }
            }
        }
        for (lsn, _) in &mut self.queue {
            if *lsn == UNWRITTEN {
                *lsn = self.last;
            }
        }
    }

    fn wait_for_last(&mut self, input: Input) {
        let lsn = if self.backlog.is_empty() { self.last } else { UNWRITTEN };
        self.queue.push_back((lsn, input));
        self.waiting.store(true, Ordering::SeqCst);
    }
}

fn planned(plan: &[PlannedAttempt], attempt: AttemptNumber) -> Option<&PlannedAttempt> {
    plan.get(usize::from(attempt).checked_sub(1)?)
}

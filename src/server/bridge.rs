//! Where the domains meet on a shard's thread: calls ask, routing decides, facts are written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use slotmap::SecondaryMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::cdr::fact::{self, Fact, FactBody, Stamp};
use crate::cdr::journal::{Durability, Lsn, Pressure, file::Appender};
use crate::id::{CallId, HoldId, TargetId, TrunkId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::hold::{Bucket, BucketRequest, Counts};
use crate::routing::{CallScope, PlannedAttempt, RouteRequest};
use crate::sip::call::plan::{Destination, Plan, Refusal};
use crate::sip::call::report::{AttemptNumber, Party, Report};
use crate::sip::endpoint::{Admission, CallKey, Input, ProbeTarget};
use crate::sip::flow::Transport;
use crate::sip::locate::Failing;
use crate::sip::locate::choice::draw;
use crate::sip::locate::probe::Verdict;
use crate::sip::orphan::{DialogPrint, Farewell};
use crate::sip::policy::Targets;
use crate::sip::trunk::{TrunkIndex, Trunks};
use crate::time::Mono;

use super::addresses::{Addresses, Place};
use super::clock::Clock;
use super::deciding::{Decided, Deciding, RENEW_EVERY};
use super::dialing::{Dialing, handover};
use super::legs::TargetLegs;
use super::limits::{Limit, TargetLimits, TrunkLimits, Turn};
use super::metrics::CallMetrics;
use super::orphans::OpenOrphans;
use super::outcomes::Outcomes;
use super::probing::{Known, Probing};
use super::reload::Agreed;
use super::standing::{self, Address, Standing};
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
    /// What names the dialogs of a call whose answer is reported next, and what is spoken in it.
    dialogs: Option<(CallKey, fact::Dialogs, Option<SmolStr>)>,
    /// Facts the journal had no room for. They go first when it has.
    backlog: VecDeque<(Fact, Durability)>,
    outcomes: Outcomes,
    renew_at: Mono,
    checkpoint_at: Mono,
    /// Of the shard that sees to that.
    probing: Probing,
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
    /// Its turn comes then; [`Bridge::turn_came`] is to be told.
    At(Mono),
}

/// A new call's plan, and when it may be told if not at once.
pub type Admitted = (Result<Box<Plan>, Refusal>, Option<Mono>);

/// What the server remembers of a call.
struct LiveCall {
    id: CallId,
    trunk: TrunkIndex,
    plan: Vec<PlannedAttempt>,
    scope: Option<Box<CallScope>>,
    /// The latest attempt, or the one that was answered.
    attempt: AttemptNumber,
    /// Of the attempts in progress, or of the one that was answered.
    holds: SmallVec<[Held; 1]>,
    pinned: Option<PhoneNumber>,
    admitted: Mono,
    answered: Option<Mono>,
    /// The caller acknowledged the answer.
    confirmed: bool,
    /// When the call converts, until it has.
    converts_at: Option<Mono>,
}

/// What an attempt occupies until it is over.
struct Held {
    attempt: AttemptNumber,
    hold: Option<HoldId>,
    /// A place under the target's limits.
    channel: Option<Arc<Limit>>,
    /// Counts attempts: on disk before the INVITE leaves.
    durable: bool,
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
    pub(super) standing: Arc<Standing>,
    pub trunks: Arc<Trunks>,
    pub legs: Arc<TargetLegs>,
    pub dialing: Arc<Dialing>,
    pub appender: Appender,
    pub clock: Clock,
    pub durable: Arc<DurableMark>,
    pub currency: SmolStr,
    /// How often the calls that are up are written down (spec/data §1.3).
    pub checkpoint_every: Duration,
    /// Counts the calls of all shards.
    pub live: Arc<AtomicUsize>,
    pub(super) limits: Arc<TrunkLimits>,
    pub tls: Arc<TlsParties>,
    pub(super) target_limits: Arc<TargetLimits>,
    /// How targets are spoken to.
    pub targets: Arc<Targets>,
    pub(super) orphans: Arc<OpenOrphans>,
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
            dialogs: None,
            backlog: VecDeque::new(),
            outcomes: Outcomes::default(),
            renew_at: now + RENEW_EVERY,
            probing: Probing::default(),
        }
    }

    /// What is agreed with trunks and targets about new calls from now on.
    pub fn configure(&mut self, agreed: Agreed) {
        let Agreed { trunks, legs, dialing, targets, target_limits, tls } = agreed;
        let parts = &mut self.parts;
        (parts.trunks, parts.legs, parts.dialing) = (trunks, legs, dialing);
        (parts.targets, parts.target_limits, parts.tls) = (targets, target_limits, tls);
    }

    /// Journals a new call and decides where it goes.
    pub fn admit(&mut self, admission: &Admission) -> Admitted {
        let _span = tracing::debug_span!("call", call_id = %admission.id).entered();
        let trunk = self.parts.trunks.get(admission.trunk).map(|trunk| trunk.id.clone());
        let trunk = trunk.unwrap_or_default();
        self.calls.insert(
            admission.call,
            LiveCall {
                id: admission.id,
                trunk: admission.trunk,
                plan: Vec::new(),
                scope: None,
                attempt: 0,
                holds: SmallVec::new(),
                pinned: None,
                admitted: admission.at,
                answered: None,
                confirmed: false,
                converts_at: None,
            },
        );
        self.parts.live.fetch_add(1, Ordering::Relaxed);
        let turn = self.parts.limits.enter(admission.trunk, admission.at);
        self.metrics.admitted(&trunk);
        let fact = translate::admitted(admission, trunk.clone());
        self.write(admission.id, admission.at, fact, Durability::Buffered);

        let refuse = |reason| (Err(Refusal { reason }), None);
        if self.parts.appender.pressure() >= Pressure::Reserve || !self.backlog.is_empty() {
            return refuse(Reason::JournalFull);
        }
        let told_at = match turn {
            Turn::Now => None,
            Turn::At(at) => Some(at),
            Turn::Full => return refuse(Reason::TrunkFull),
        };
        let Ok(number) = admission.number else { return refuse(Reason::NumberMalformed) };
        let started = self.parts.clock.mono();
        let request = translate::route_request(admission, number, trunk);
        let decided = self.parts.deciding.decide(&request);
        let decision = &decided.decision;
        let now = self.parts.clock.mono();
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
                Err(Refusal { reason })
            }
            None => Ok(self.plan(admission.trunk, &request, &decided)),
        };
        if let Some(live) = self.calls.get_mut(admission.call) {
            live.pinned = decided.pinned;
            live.scope = decided.scope;
            live.plan = decided.decision.plan;
        }
        (outcome, told_at)
    }

    fn plan(&self, trunk: TrunkIndex, request: &RouteRequest, decided: &Decided) -> Box<Plan> {
        let Parts { targets, trunks, addresses, standing, legs, tls, dialing, .. } = &self.parts;
        let decision = &decided.decision;
        let wants = |planned: &PlannedAttempt| {
            targets.get(planned.target.as_str()).is_some_and(|it| it.wants_variables)
        };
        let wanted = !targets.is_empty() && decision.plan.iter().any(wants);
        let variables = wanted.then(|| translate::variables(request, decision, &decided.tags));
        let (addresses, trunk) = (addresses.load(), trunks.get(trunk));
        let rules = decision.plan.iter().filter_map(|planned| dialing.rules(&planned.target));
        let known = rules.flat_map(|rules| rules.host_names());
        let known = known.filter_map(|name| Some((name.clone(), addresses.of_name(name)?)));
        let known = known.collect();
        translate::plan(
            decision,
            |planned| {
                let (mut first, mut further) = match addresses.find(&planned.uri)? {
                    Place::Here(destination) => (destination, None),
                    Place::There(locations) => {
                        let draw = draw(decision.call, planned.target.as_str());
                        standing::places(&standing.order(locations, draw, self.parts.clock.mono()))?
                    }
                };
                let long = targets.get(planned.target.as_str()).and_then(|it| it.long_over_tcp);
                for place in further.iter_mut().flatten().chain([&mut first]) {
                    match (place.transport, long) {
                        (Transport::Tls, _) => place.tls = tls.target(&planned.target),
                        (Transport::Udp, Some(true)) => {
                            let port = place.peer.port();
                            place.tcp_port.get_or_insert(port);
                        }
                        (Transport::Udp, Some(false)) => place.tcp_port = None,
                        (Transport::Udp, None) | (Transport::Tcp, _) => {}
                    }
                }
                Some((first, further))
            },
            |id| legs.of(id),
            |planned| translate::manner(planned, targets, trunk),
            |planned| {
                let rules = dialing.rules(&planned.target);
                let limits = || targets.get(planned.target.as_str())?.limits.as_ref();
                let told = trunk.and_then(|it| {
                    let counted = !planned.holds.is_empty() || limits().is_some();
                    handover(it, rules.map(Arc::as_ref), &planned.uri, counted)
                });
                (rules.cloned(), told)
            },
            variables,
            known,
        )
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
        if continues(&live.plan, attempt) {
            // The target sent the call on, and what it took for it is still held.
            let target = &planned.target;
            let is_its = |held: &&mut Held| {
                crate::server::bridge::planned(&live.plan, held.attempt)
                    .is_some_and(|it| it.target == *target)
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
        let counts = |request: &BucketRequest| request.counts == Counts::Attempted;
        let durable = reserved.as_ref().is_some_and(|(_, holds)| holds.iter().any(counts));
        let hold = reserved.as_ref().map(|(hold, _)| *hold);
        if hold.is_some() || channel.is_some() {
            live.holds.push(Held { attempt, hold, channel, durable });
        }
        if let Some((hold, holds)) = reserved {
            if holds.iter().any(|request| request.counts.is_known_at_end()) {
                let admitted = Stamp::new(self.parts.clock.wall(), live.admitted);
                self.outcomes.follow(id, admitted);
            }
            let buckets = holds.iter().map(translate::bucket).collect();
            let placed = fact::HoldPlaced { hold, target: planned.target.clone(), buckets };
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
                let next = attempt.saturating_add(1);
                if self.calls.get(key).is_none_or(|live| !continues(&live.plan, next)) {
                    self.release(key, at, |held| held == attempt);
                }
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
                let further =
                    uris.iter().map(|uri| PlannedAttempt { uri: uri.text(), ..planned.clone() });
                let further: Vec<_> = further.collect();
                let at = usize::from(after).min(live.plan.len());
                live.plan.splice(at..at, further);
                None
            }
            Report::Taken => {
                self.write(id, at, fact::Taken {}, Durability::Buffered);
                None
            }
            Report::Referred { attempt } => {
                self.referred(key, attempt, at);
                None
            }
            Report::HandedOver { attempt, by, status } => {
                let target = self.target(key, attempt);
                self.metrics.attempt(target.as_ref(), "handed_over", status);
                let (leg, by) = (u16::from(attempt), translate::means(by));
                self.write(id, at, fact::HandedOver { leg, by, status }, Durability::Durable);
                // Whether it was connected is not known. A cap that must not be exceeded counts it,
                // unless that waits for the end of the call.
                let hold = self.calls.get(key).and_then(|live| live.hold_of(attempt));
                let waits = self.outcomes.has_connection_due(id);
                if let Some(hold) = hold.filter(|_| !waits) {
                    self.settle(id, hold, Counts::Connected, at, Durability::Durable);
                }
                None
            }
            Report::TransferStarted { attempt, uri } => {
                let live = self.calls.get_mut(key)?;
                let planned = PlannedAttempt {
                    uri: uri.text(),
                    // What is owed for the call is owed as before.
                    terms: None,
                    ..planned(&live.plan, live.attempt)?.clone()
                };
                let started = translate::attempt_started(attempt, &planned, &self.parts.currency);
                live.plan.push(planned);
                self.write(id, at, started, Durability::Buffered);
                None
            }
            Report::TransferFailed { attempt, status, reason } => {
                let leg = u16::from(attempt);
                let failed = fact::AttemptFailed { leg, status, q850: None, reason };
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
                let leg = u16::from(attempt);
                let (dialogs, codec) = self.take_dialogs(key);
                self.write(id, at, fact::Answered { leg, dialogs, codec }, Durability::Durable);
                // Of one that was about to ring beside it.
                self.release(key, at, |held| held > attempt);
                let live = self.calls.get_mut(key)?;
                live.answered = Some(at);
                live.attempt = attempt;
                let admitted = live.admitted;
                let terms = planned(&live.plan, attempt).and_then(|planned| planned.terms);
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
            Report::Confirmed => {
                self.write(id, at, fact::Confirmed {}, Durability::Buffered);
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
                    // Whoever hangs up took the answer, though its ACK was lost.
                    live.confirmed |= party == Party::Caller;
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
                self.conclude(id, at, &ended);
                self.release(key, at, |_| true);
                self.write(id, at, ended, Durability::Durable);
                if let Some(live) = self.calls.remove(key) {
                    self.parts.live.fetch_sub(1, Ordering::Relaxed);
                    self.parts.limits.leave(live.trunk);
                    if let Some(number) = live.pinned {
                        self.parts.deciding.call_ended(number, self.parts.clock.wall());
                    }
                    let talk = live.answered.map(|answered| over.since(answered));
                    self.metrics.ended(party, reason, talk);
                }
                None
            }
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

    /// A party of a call that a crash had left up hangs up. The first to do so tells its true end.
    pub fn orphan_ended(&mut self, id: CallId, at: Mono, party: Party, q850: Option<u8>) {
        if !self.parts.orphans.end(id) {
            return;
        }
        let reason = match party {
            Party::Caller => Reason::CallerHungUp,
            Party::Target => Reason::TargetHungUp,
            Party::System => Reason::NodeRestart,
        };
        let (party, q850) = (translate::party(party), q850.map(u16::from));
        let ended = fact::Ended { party, reason, status: 200, q850, talk_ms: None };
        self.write(id, at, ended, Durability::Durable);
        self.metrics.orphan_ended();
    }

    /// A call is still up at the moment its terms name.
    pub fn converted(&mut self, key: CallKey, at: Mono) {
        let Some(live) = self.calls.get_mut(key) else { return };
        // Nobody pays for a call that its caller never took.
        if !live.confirmed || live.converts_at.take_if(|due| *due <= at).is_none() {
            return;
        }
        let (id, leg) = (live.id, u16::from(live.attempt));
        self.write(id, at, fact::Converted { leg }, Durability::Durable);
        self.metrics.converted();
    }

    /// The key of a call that is up.
    pub fn find(&self, id: CallId) -> Option<CallKey> {
        self.calls.iter().find(|(_, live)| live.id == id).map(|(key, _)| key)
    }

    /// Whom to probe from now on, if that has changed since the last time.
    pub(super) fn probes(&mut self) -> Option<Vec<ProbeTarget>> {
        let Parts { deciding, addresses, targets, tls, standing, .. } = &self.parts;
        let known = Known {
            snapshot: deciding.snapshot(),
            addresses: addresses.load_full(),
            targets: Arc::clone(targets),
            tls: Arc::clone(tls),
        };
        self.probing.follow(known, standing, deciding)
    }

    /// A request is too long for its way: its target is named once.
    pub(super) fn fragmented(&self, call: CallKey, attempt: AttemptNumber, bytes: usize) {
        if let Some(target) = self.target(call, attempt)
            && self.parts.standing.is_first_long(&target)
        {
            tracing::warn!(
                target.id = %target,
                bytes,
                "INVITEs to a target are too long for a datagram, and leave in fragments that may be \
                 lost; if it takes TCP set sip.long_over_tcp for it, else shorten what it is sent"
            );
        }
    }

    /// What a probe has found.
    pub(super) fn probed(&self, address: Address, verdict: Verdict) {
        let Parts { standing, deciding, .. } = &self.parts;
        standing.probed(address, verdict == Verdict::Up);
        deciding.set_down(standing.down());
    }

    /// A call goes to an address.
    pub(super) fn tried(&self, address: Address, now: Mono) {
        self.parts.standing.tried(address, now);
    }

    /// What was learnt of an address.
    pub(super) fn rate(&self, address: Address, how: Result<(), Failing>, now: Mono) {
        self.parts.standing.rate(address, how, now);
    }

    /// Where a SIP URI leads.
    pub fn locate(&self, uri: &[u8]) -> Option<Destination> {
        self.parts.addresses.load().resolve(std::str::from_utf8(uri).ok()?)
    }

    pub fn live(&self) -> Vec<CallKey> {
        self.calls.keys().collect()
    }

    pub fn trunk_name(&self, trunk: TrunkIndex) -> Option<TrunkId> {
        self.parts.trunks.get(trunk).map(|trunk| trunk.id.clone())
    }

    /// Calls that are remembered, and inputs that wait for the disk.
    pub fn sizes(&self) -> (usize, usize) {
        (self.calls.len(), self.queue.len())
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
            let holds = self.calls.values().flat_map(|live| &live.holds);
            self.parts.deciding.renew(holds.filter_map(|held| held.hold), now);
        }
    }

    fn checkpoint(&mut self, now: Mono) {
        let elapsed = |live: &LiveCall| {
            let elapsed = now.ms_since(live.answered?);
            Some((live.id, u32::try_from(elapsed).unwrap_or(u32::MAX)))
        };
        let live: Vec<_> = self.calls.values().filter_map(elapsed).collect();
        if !live.is_empty() {
            let stamp = Stamp::new(self.parts.clock.wall(), now);
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
        let bucket = |bucket: Bucket| fact::Bucket {
            cap: bucket.cap,
            window: bucket.window,
            amount: 1,
            at_end: None,
        };
        let buckets = settled.into_iter().map(bucket).collect();
        self.write(id, now, fact::HoldSettled { hold, buckets }, durability);
    }

    /// The carrier may call the target from now on, whether or not it ever tells what became of that:
    /// the end of the call, or the next process, says if it counts as connected.
    fn referred(&mut self, key: CallKey, attempt: AttemptNumber, at: Mono) {
        let Some(live) = self.calls.get(key) else { return };
        let Some(planned) = planned(&live.plan, attempt) else { return };
        let Parts { deciding, clock, currency, .. } = &self.parts;
        let (id, hold) = (live.id, live.hold_of(attempt));
        let waiting = hold.map(|hold| deciding.waiting_for(hold, Counts::Connected));
        let buckets: Vec<_> = waiting.iter().flatten().map(translate::connection).collect();
        let hold = hold.filter(|_| !buckets.is_empty());
        if hold.is_some() && self.outcomes.follow(id, Stamp::new(clock.wall(), live.admitted)) {
            let started = translate::attempt_started(attempt, planned, currency);
            self.outcomes.note(&Fact::of_call(id, Stamp::new(clock.wall(), at), started));
        }
        let referred = fact::Referred { leg: u16::from(attempt), hold, buckets };
        self.write(id, at, referred, Durability::Buffered);
    }

    /// The call is over: its record says what its caps count.
    fn conclude(&mut self, id: CallId, at: Mono, ended: &fact::Ended) {
        let stamp = Stamp::new(self.parts.clock.wall(), at);
        let ended = Fact::of_call(id, stamp, ended.clone());
        for (hold, counts) in self.outcomes.end(&ended) {
            if self.parts.deciding.conclude(hold, &translate::used(&counts), at) {
                self.write(id, at, fact::HoldReleased { hold }, Durability::Buffered);
            }
        }
    }

    /// Gives back what attempts occupy that are over.
    fn release(&mut self, key: CallKey, at: Mono, is_over: impl Fn(AttemptNumber) -> bool) {
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

    fn write(&mut self, call: CallId, at: Mono, body: impl Into<FactBody>, durability: Durability) {
        let fact = Fact::of_call(call, Stamp::new(self.parts.clock.wall(), at), body);
        self.outcomes.note(&fact);
        self.append(fact, durability);
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

impl LiveCall {
    fn hold_of(&self, attempt: AttemptNumber) -> Option<HoldId> {
        self.holds.iter().find(|held| held.attempt == attempt)?.hold
    }
}

/// Whether an attempt is at a place that the target of the one before it named. A plan never
/// holds a target twice otherwise.
fn continues(plan: &[PlannedAttempt], attempt: AttemptNumber) -> bool {
    let before = attempt.checked_sub(1).and_then(|before| planned(plan, before));
    before.is_some_and(|before| {
        planned(plan, attempt).is_some_and(|planned| planned.target == before.target)
    })
}

fn planned(plan: &[PlannedAttempt], attempt: AttemptNumber) -> Option<&PlannedAttempt> {
    plan.get(usize::from(attempt).checked_sub(1)?)
}

//! Runs the pure routing domain for the shards and the API: one configuration, one ledger of
//! holds, one desk of sessions per process.

mod admitting;
mod depositing;
mod enriching;
mod offering;
mod quoting;
mod reading;
mod ready;
mod remembering;
mod resetting;
mod room;
mod sessions;
mod sharing;
mod trying;
mod visiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use smol_str::{SmolStr, format_smolstr};
use std::sync::Arc;
use tokio::sync::watch;

use crate::id::{HoldId, PingId, SessionId, TargetId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::attribution::{SessionKey, owner};
use crate::routing::circuit::{Circuits, Condition, WaySeen, Ways};
use crate::routing::counterfactual::besides;
use crate::routing::dial::Way;
use crate::routing::history::{CallerHistory, PastCall};
use crate::routing::hold::deposits::Deposits;
use crate::routing::hold::{Bucket, Counts, Denied, HoldLedger, LedgerLimits};
use crate::routing::meter::Meter;
use crate::routing::performance::{Performance, day_of};
use crate::routing::ping::{
    ANSWERS_MAX, Accepted, Answers, Consumed, Desk, DeskLimits, Lent, NewIds, NumberState,
    PingRefusal, PingRefusals, PoolState, Quotas, RefusalCode, Session,
};
use crate::routing::replay::{DecisionRecord, record_bytes};
use crate::routing::scorer::{Question, questions};
use crate::routing::selection::ScoreReading;
use crate::routing::simulate::{Assumed, Assuming, Dialed, LiveSession};
use crate::routing::{
    CallScope, Decision, Known, Rotation, RouteRequest, RoutingSnapshot, SessionReading, Tags,
    decide,
};
use crate::time::{Mono, Wall};

use super::holds::SharedHolds;
use super::reach::Reach;
use super::sessions::{Looked, SharedSessions};
use admitting::Refusal;
pub(in crate::server) use admitting::Vetting;
pub use depositing::DepositsKnown;
use offering::or_ask;
pub use offering::{Asked, Lending, OfferedRoom, Unopened};
pub use quoting::Unpriced;
use reading::{AtAttempt, Counted, Read};
use ready::Ready;
pub(super) use ready::STALE_AFTER;
pub use resetting::Resettable;
pub use trying::{Thought, Tried};

/// How often holds of live calls are renewed, and what is over is cleared away. A lease is four
/// times that and more (spec/data §1.7).
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// A process that sees to no holds for so long was stopped: it does at every [`RENEW_EVERY`].
const ASLEEP: Duration = Duration::from_secs(40);

/// The routing state of the process. The lock is held for microseconds: nothing under it waits.
pub struct Deciding {
    snapshot: ArcSwap<RoutingSnapshot>,
    /// Targets that probes find nowhere.
    down: ArcSwap<BTreeSet<TargetId>>,
    ready: Ready,
    /// Present: calls can be made, and it is known where ways lead.
    reach: OnceLock<Reach>,
    state: Mutex<State>,
    /// To requests that may be sent again. Taken alone, and never while waiting.
    answers: Mutex<Answers>,
    /// Whether those of before the start are among them.
    answers_back: watch::Sender<bool>,
    /// What publishers have used of theirs. Taken alone, and never while waiting.
    quotas: Mutex<Quotas>,
    /// How many of their pings were only thought of. Taken alone, and never while waiting.
    trials: Mutex<Quotas>,
    /// Present: others have a say in what is granted.
    shared: OnceLock<Arc<SharedHolds>>,
    /// Present: sessions and numbers are others' as well.
    sessions: OnceLock<Arc<SharedSessions>>,
    /// All that is on record of earlier calls is known.
    remembers_all: AtomicBool,
}

struct State {
    ledger: HoldLedger,
    /// When holds were last seen to.
    awake: Mono,
    deposits: Deposits,
    desk: Desk,
    rotation: Rotation,
    history: CallerHistory,
    circuits: Circuits,
    ways: Ways,
    performance: Performance,
}

/// A decision and what it took along.
pub struct Decided {
    pub decision: Decision,
    /// The decision with everything it was made from, as CBOR.
    pub record: Vec<u8>,
    /// The dialled pool number, which stays with its session until the call ends.
    pub pinned: Option<PhoneNumber>,
    /// A session was used for the first time.
    pub consumed: bool,
    /// A session was used, and the store has to say whether for the first time.
    pub used: Option<Used>,
    /// What is known of the call by its session.
    pub tags: Tags,
    /// Present if more than targets and buyers have caps.
    pub scope: Option<Box<CallScope>>,
    /// Caps that have counted it as a call that came.
    pub offered: Vec<Bucket>,
    /// What it costs its campaign that it was used to learn about a target; nothing for most.
    pub explored: Money,
}

/// A session that a call was attributed to, where others use sessions too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    pub session: SessionId,
    /// It was opened here, and nobody has used it as far as this server knows.
    pub is_first_here: bool,
}

/// What a ping has opened.
#[derive(Debug)]
pub struct Opened {
    pub session: Session,
    /// Caps that have counted it.
    pub counted: Vec<Bucket>,
}

/// How many of something there are, and may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    pub now: usize,
    pub max: usize,
}

/// Buckets that are seen to before calls have their turn again.
const BUCKETS_AT_ONCE: usize = 2_000;

impl Deciding {
    pub fn new(snapshot: RoutingSnapshot) -> Self {
        Self::with_room_for(snapshot, DeskLimits::default(), ANSWERS_MAX)
    }

    /// The same with other limits than where nobody says; of answers, so many are kept.
    pub fn with_room_for(
        snapshot: RoutingSnapshot,
        limits: DeskLimits,
        answers_max: usize,
    ) -> Self {
        let mut desk = Desk::new(limits);
        desk.configure(&snapshot);
        let buckets_max = snapshot.buckets_max();
        let ledger = HoldLedger::new(LedgerLimits { buckets_max, ..LedgerLimits::default() });
        let history = CallerHistory::new(snapshot.history_limits());
        let (rotation, circuits) = (Rotation::default(), Circuits::default());
        let (ways, performance) = (Ways::default(), Performance::default());
        let deposits = Deposits::default();
        let awake = Mono(0);
        let state =
            State { ledger, awake, deposits, desk, rotation, history, circuits, ways, performance };
        let (snapshot, down) = (ArcSwap::from_pointee(snapshot), ArcSwap::default());
        let (ready, state) = (Ready::default(), Mutex::new(state));
        Self {
            snapshot,
            down,
            ready,
            reach: OnceLock::new(),
            state,
            answers: Mutex::new(Answers::with_room_for(answers_max)),
            answers_back: watch::Sender::new(true),
            quotas: Mutex::default(),
            trials: Mutex::default(),
            shared: OnceLock::new(),
            sessions: OnceLock::new(),
            remembers_all: AtomicBool::new(false),
        }
    }

    /// Calls and pings are decided on this from now on; those that are being decided keep theirs.
    pub fn configure(&self, snapshot: RoutingSnapshot) {
        self.quotas.lock().configure(&snapshot);
        self.trials.lock().configure_all(&snapshot);
        let mut state = self.state.lock();
        state.desk.configure(&snapshot);
        state.circuits.configure(&snapshot);
        state.ways.configure(&snapshot);
        state.rotation.retain(&snapshot);
        state.ledger.limit_buckets(snapshot.buckets_max());
        let days = snapshot.performance_days();
        if days.is_none() || days > self.performance_days() {
            // What lies further back is counted anew, with the rest.
            state.performance = Performance::default();
        }
        let limits = snapshot.history_limits();
        let forgotten = match snapshot.history() {
            Some(_) => {
                state.history.limit(limits);
                None
            }
            None => Some(std::mem::replace(&mut state.history, CallerHistory::new(limits))),
        };
        self.snapshot.store(Arc::new(snapshot));
        // Shards wait for the lock, and there may be a lot to free.
        drop(state);
        drop(forgotten);
    }

    /// The configuration that is in force has this number.
    pub fn number(&self, revision: u64) {
        let snapshot = self.snapshot.load_full();
        if snapshot.revision() != revision {
            let numbered = RoutingSnapshot::clone(&snapshot).numbered(revision);
            self.snapshot.store(Arc::new(numbered));
        }
    }

    /// It is known from now on where ways lead. Said once.
    pub(super) fn reaches(&self, reach: Reach) {
        let _said_before = self.reach.set(reach);
    }

    /// Probes find these targets nowhere, and no others.
    pub fn set_down(&self, down: BTreeSet<TargetId>) {
        self.down.store(Arc::new(down));
    }

    /// Targets of which it is not all well.
    pub fn conditions(&self, now: Mono) -> BTreeMap<TargetId, Condition> {
        let down = self.down.load();
        let state = self.state.lock();
        let tripped = state.circuits.tripped(now).map(|(id, condition)| (id.clone(), condition));
        tripped.chain(down.iter().map(|id| (id.clone(), Condition::Down))).collect()
    }

    /// How many ways to targets are not well.
    pub fn ways_ill(&self, now: Mono) -> usize {
        self.state.lock().ways.tripped(now).count()
    }

    /// What calls have shown of each way to targets.
    pub fn ways(&self, now: Mono) -> Vec<(Way, WaySeen)> {
        let snapshot = self.snapshot.load();
        let ways = &mut self.state.lock().ways;
        let seen = |way: &Way| {
            let rules = snapshot.way_circuit(way);
            let seen = rules.map(|rules| ways.seen(way, rules, now));
            (way.clone(), seen.unwrap_or_default())
        };
        snapshot.ways().into_iter().map(seen).collect()
    }

    /// So many calls at once can be taken under this concurrency, such as
    /// `buyer/buy_summit/concurrency`. False: there is no such concurrency.
    pub fn set_ready(&self, concurrency: &SmolStr, count: u32, at: Wall) -> bool {
        let is_known = self.snapshot.load().concurrency().any(|it| it.key == *concurrency);
        if is_known {
            self.ready.say(concurrency, count, at);
        }
        is_known
    }

    /// How full all caps and all concurrency are, by their keys.
    pub fn meters(&self, at: Wall) -> BTreeMap<SmolStr, Meter> {
        self.snapshot.load().meters(&AtAttempt { deciding: self, at }, at)
    }

    /// Targets that probes find nowhere.
    #[cfg(test)]
    pub(super) fn down(&self) -> Arc<BTreeSet<TargetId>> {
        self.down.load_full()
    }

    pub fn snapshot(&self) -> Arc<RoutingSnapshot> {
        self.snapshot.load_full()
    }

    /// Puts back what was known before a restart.
    pub fn restore(
        &self,
        sessions: impl IntoIterator<Item = Session>,
        used: impl IntoIterator<Item = (Bucket, u64, Option<Wall>)>,
        now: Wall,
    ) {
        let mut state = self.state.lock();
        for session in sessions {
            state.desk.restore(session, now);
        }
        for (bucket, used, ends_at) in used {
            state.ledger.restore(bucket, used, ends_at);
        }
    }

    /// The number that a call to a session's own address counts as having dialled; `None`: it is the
    /// address of no live session, or its campaign has no number.
    pub fn stand_in(&self, key: SessionKey) -> Option<PhoneNumber> {
        let snapshot = self.snapshot.load();
        let state = self.state.lock();
        stand_in(&snapshot, state.desk.by_key(key)?)
    }

    /// A live session, and how it is called. `None`: it is not live, or nobody can call it.
    pub fn live_session(&self, key: SessionKey) -> Option<LiveSession> {
        let snapshot = self.snapshot.load();
        let state = self.state.lock();
        let session = state.desk.by_key(key)?;
        let dialed = match session.number {
            Some(number) => Dialed::Number(number),
            None => Dialed::Named(key, stand_in(&snapshot, session)?),
        };
        let named = Dialed::Named(key, stand_in(&snapshot, session)?);
        Some(LiveSession { dialed, named, caller: session.caller })
    }

    /// The same of a session that is known elsewhere.
    pub fn stand_in_of(&self, session: &Session) -> Option<PhoneNumber> {
        stand_in(&self.snapshot.load(), session)
    }

    /// What scorers elsewhere are to be asked before the call is decided; empty: nothing.
    pub fn questions(
        &self,
        request: &RouteRequest,
        now: Mono,
        looked: Option<&Looked>,
    ) -> Vec<Question> {
        let snapshot = self.snapshot.load();
        if !snapshot.asks() {
            return vec![];
        }
        self.consider(&snapshot, request, now, looked, &[], |known, read, rotation| {
            let usage = Assuming { usage: read, assumed: &Assumed::default() };
            questions(&snapshot, request, known, &usage, rotation)
        })
        .0
    }

    /// What they would be asked on a configuration, by what is assumed.
    pub fn questions_of(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
        now: Mono,
    ) -> Vec<Question> {
        if !snapshot.asks() {
            return vec![];
        }
        let sessions = &assumed.sessions;
        self.consider(snapshot, request, now, None, sessions, |known, read, rotation| {
            let usage = Assuming { usage: read, assumed };
            questions(snapshot, request, known, &usage, rotation)
        })
        .0
    }

    /// `now` is the instant of `request.at`; `scores` is what scorers elsewhere have said, `room` what
    /// came of the question of [`Deciding::offered`], `looked` what the store of sessions has said, where
    /// there is one.
    pub fn decide(
        &self,
        request: &RouteRequest,
        now: Mono,
        scores: &[ScoreReading],
        room: Option<&OfferedRoom>,
        looked: Option<&Looked>,
    ) -> Decided {
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        state.holds(now);
        let State { ledger, desk, rotation, history, circuits, ways, performance, .. } =
            &mut *state;
        let sessions = self.sessions_of(desk, &snapshot, request, looked);
        let down = self.down.load();
        let counts = Counted { ledger, circuits, ways, performance };
        let remembered = snapshot.remembered(request, &sessions);
        let (calls, prior) =
            self.known_of(&snapshot, remembered.as_ref(), request, history, looked);
        let read = Read::of(self, counts, &down, (now, request.at));
        let read = Read { scores, prior: prior.as_ref(), ..read };
        let known = Known { sessions: &sessions, calls: &calls };
        let found = self.room_now(&snapshot, request, known, &read, room);
        let read = Read { room: found.as_deref(), ..read };
        let decision = decide(&snapshot, request, known, &read, rotation);
        let explored = spent_on_learning(&decision, rotation);
        if let Some((caller, _)) = &remembered
            && let Some(call) = PastCall::of(request, &decision)
        {
            let told = self.sessions.get().map(|_| (caller.clone(), call.clone()));
            history.begin(caller, call);
            self.share_call(told);
        }
        if snapshot.performance_days().is_some()
            && let Some(attribution) = &decision.attribution
        {
            let (campaign, publisher) =
                (attribution.campaign.clone(), attribution.publisher.clone());
            performance.begin(request.call, campaign, publisher, request.at);
        }
        let session = decision.attribution.as_ref().and_then(|it| it.session);
        let is_told = looked.is_some_and(|it| it.is_all);
        let leaves_it = |id: SessionId| {
            sessions.iter().any(|it| it.session == id && it.is_promised_to_another(request))
        };
        let uses = session.filter(|session| !leaves_it(*session));
        let its_use = uses.map(|session| desk.consume(session, request.at));
        let first = its_use == Some(Consumed::First);
        let consumed = first && !is_told;
        // One that was opened elsewhere is used there.
        let is_elsewhere = looked.is_some() && its_use == Some(Consumed::Unknown);
        let used = uses.filter(|_| is_told || is_elsewhere);
        let used = used.map(|session| Used { session, is_first_here: first });
        let pinned = desk.call_started(request.dialed, request.at).then_some(request.dialed);
        let offered = match decision.offered.is_empty() && room.is_none() {
            true => vec![],
            false => {
                let counted = (HoldId::of(request.call, 0, "offered"), Counts::Offered);
                self.count_come(ledger, counted, room, &decision.offered, (now, request.at))
            }
        };
        drop(state);
        if let Some(shared) = self.sessions.get()
            && let Some(session) = uses.filter(|_| consumed)
        {
            shared.untold(session);
        }
        let known = Known { sessions: &sessions, calls: &calls };
        let record = record_bytes(request, known, &decision);
        let its = sessions.into_iter().find(|reading| Some(reading.session) == session);
        if let Some(its) = its.as_ref().filter(|_| consumed) {
            self.delivered(&its.publisher, request.at);
        }
        let tags = its.map(SessionReading::into_known).unwrap_or_default();
        let scope = snapshot.caps_calls().then_some(decision.attribution.as_ref()).flatten();
        let scope = scope.map(|it| {
            let (campaign, publisher) = (it.campaign.clone(), it.publisher.clone());
            let (trunk, number) = (request.trunk.clone(), request.dialed);
            Box::new(CallScope { campaign, publisher, trunk, number })
        });
        Decided { decision, record, pinned, consumed, used, tags, scope, offered, explored }
    }

    /// What would be decided about a call on a configuration, with everything it was decided on.
    /// Takes, counts and remembers nothing. What scorers elsewhere have said is among what is assumed.
    pub fn simulate(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
        now: Mono,
    ) -> DecisionRecord {
        let sessions = &assumed.sessions;
        let look = |known: Known<'_>, read: &Read<'_>, rotation: &Rotation| {
            let usage = Assuming { usage: read, assumed };
            let campaign = owner(snapshot, request, known.sessions).map(|it| &it.campaign.id);
            let mut rotation = campaign.map(|id| rotation.of(id)).unwrap_or_default();
            let decision = decide(snapshot, request, known, &usage, &mut rotation);
            let besides = besides(snapshot, request, &decision, &usage);
            (decision, besides)
        };
        let considered = self.consider(snapshot, request, now, None, sessions, look);
        let ((decision, besides), looked_at) = considered;
        // Calls do not wait for its record.
        let record = DecisionRecord::new(request, looked_at.known(), &decision);
        DecisionRecord { besides, ..record }
    }

    /// What a decision about the call would read, without any trace of the look. `assumed`: sessions that
    /// are not there.
    fn consider<T>(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        now: Mono,
        looked: Option<&Looked>,
        assumed: &[SessionReading],
        look: impl FnOnce(Known<'_>, &Read<'_>, &Rotation) -> T,
    ) -> (T, LookedAt) {
        let down = self.down.load();
        let mut state = self.state.lock();
        let State { ledger, desk, rotation, history, circuits, ways, performance, .. } =
            &mut *state;
        let mut sessions = assumed.to_vec();
        sessions.extend(self.sessions_of(desk, snapshot, request, looked));
        let remembered = snapshot.remembered(request, &sessions);
        let (calls, prior) = self.known_of(snapshot, remembered.as_ref(), request, history, looked);
        let looked_at = LookedAt { sessions, calls };
        let counts = Counted { ledger, circuits, ways, performance };
        let read = Read::of(self, counts, &down, (now, request.at));
        let told = look(looked_at.known(), &Read { prior: prior.as_ref(), ..read }, rotation);
        (told, looked_at)
    }

    pub fn call_ended(&self, number: PhoneNumber, now: Wall) {
        self.state.lock().desk.call_ended(number, now);
    }

    /// Opens a session. The answer may be given once its fact is durable. `room` is what came of the
    /// question for it, if there was one.
    ///
    /// # Errors
    /// It is refused, or room has to be had first.
    pub(in crate::server) fn accept_ping(
        &self,
        vetting: &mut Vetting<'_>,
        ids: NewIds,
        now: Wall,
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Accepted, Option<Opened>), Unopened> {
        let opened = self.open_of_ping(vetting, ids, now, room, lent);
        self.give_back_of(room, opened.as_ref().err());
        opened
    }

    fn open_of_ping(
        &self,
        vetting: &mut Vetting<'_>,
        ids: NewIds,
        now: Wall,
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Accepted, Option<Opened>), Unopened> {
        let snapshot = self.snapshot.load();
        self.lend_first(vetting.look(&snapshot, now).map_err(Refusal::counted)?, lent)?;
        let checked = vetting.take(&snapshot, now).map_err(Refusal::counted)?;
        let mut state = self.state.lock();
        let State { ledger, desk, .. } = &mut *state;
        let (mut counted, mut ask) = (vec![], None);
        let request_id = vetting.request.request_id.clone();
        let accepted =
            desk.accept_lent(checked, request_id, ids, now, lent, |publisher, campaign| {
                let requests = snapshot.of_ping(publisher, campaign, now);
                let ping = self.count_ping(ledger, &requests, room, ids.ping, now);
                counted = or_ask(ping, &mut ask)?;
                Ok(())
            });
        let opened = accepted.as_ref().ok();
        let session = opened.and_then(|it| desk.session(it.session)).cloned();
        drop(state);
        if let Some(asked) = ask {
            return Err(Unopened::Ask(asked));
        }
        let accepted = accepted.map_err(PingRefusals::from)?;
        if let Some(session) = &session {
            self.delivery_expected(&session.publisher, now);
        }
        Ok((accepted, session.map(|session| Opened { session, counted })))
    }

    /// Answers to requests that may be sent again.
    pub(super) fn answers(&self) -> &Mutex<Answers> {
        &self.answers
    }

    pub(super) fn answers_back(&self) -> &watch::Sender<bool> {
        &self.answers_back
    }

    /// A session that could not be written down: as if there had been no ping, but that caps on pings have
    /// counted it.
    pub fn abandon(&self, session: SessionId, now: Wall) {
        let mut state = self.state.lock();
        let known = state.desk.session(session).cloned();
        state.desk.abandon(session, now);
        drop(state);
        if let (Some(shared), Some(known)) = (self.sessions.get(), known) {
            shared.gone(known);
        }
    }

    /// The live session that a ping opened.
    pub fn session_of(&self, ping: PingId) -> Option<Session> {
        self.state.lock().desk.by_ping(ping).cloned()
    }

    /// Clears away what is over; said every [`RENEW_EVERY`].
    pub fn sweep(&self, now: Mono, wall: Wall) {
        self.answers.lock().expire(wall);
        self.state.lock().holds(now).expire(now);
        let mut seen = None;
        loop {
            seen = self.state.lock().ledger.tend(seen.as_ref(), BUCKETS_AT_ONCE, wall);
            if seen.is_none() {
                break;
            }
        }
        let mut state = self.state.lock();
        state.deposits.forget(wall);
        state.desk.expire(wall);
        if let Some(since) = self.history().and_then(|span| span.keeps_from(wall)) {
            state.history.forget(since);
        }
        if let Some(days) = self.performance_days() {
            state.performance.forget(day_of(wall) + 1 - i64::from(days));
        }
    }

    /// How many sessions are live, and answers kept, of as many as may be.
    pub fn filled(&self) -> (Filled, Filled) {
        let sessions = {
            let state = self.state.lock();
            Filled { now: state.desk.len(), max: state.desk.sessions_max() }
        };
        let answers = self.answers.lock();
        (sessions, Filled { now: answers.len(), max: answers.max() })
    }

    /// How each pool is, in the order of the configuration.
    pub fn pools(&self, now: Wall) -> Vec<PoolState> {
        let snapshot = self.snapshot.load();
        let mut state = self.state.lock();
        let pools = snapshot.pools().iter().map(|pool| {
            let Some(shared) = self.sessions.get() else { return state.desk.pool_state(pool, now) };
            let numbers = shared.reading(&pool.id);
            let asked = shared.asked(&pool.id, state.desk.asked(&pool.id, now));
            state.desk.pool_state_of(pool, numbers, &asked, now)
        });
        pools.collect()
    }

    /// To whom a number is and was lent.
    pub fn number_state(&self, did: PhoneNumber, now: Wall) -> NumberState {
        self.state.lock().desk.number_state(did, now)
    }

    /// What every cap has used and holds, for metrics and reports.
    pub fn ledger<T>(&self, read: impl FnOnce(&HoldLedger) -> T) -> T {
        read(&self.state.lock().ledger)
    }
}

/// What a decision is made from besides the configuration and what is counted.
struct LookedAt {
    sessions: Vec<SessionReading>,
    calls: Vec<PastCall>,
}

impl LookedAt {
    fn known(&self) -> Known<'_> {
        Known { sessions: &self.sessions, calls: &self.calls }
    }
}

impl State {
    /// The ledger, as of now. Calls do not lose their room because this process was stopped for longer
    /// than a lease: time in which it saw to nothing does not count.
    fn holds(&mut self, now: Mono) -> &mut HoldLedger {
        let asleep = now.since(self.awake);
        if asleep >= ASLEEP {
            self.ledger.prolong(asleep);
        }
        self.awake = self.awake.max(now);
        &mut self.ledger
    }
}

/// The number that a call to the address of a session counts as having dialled.
fn stand_in(snapshot: &RoutingSnapshot, session: &Session) -> Option<PhoneNumber> {
    let lent = session.number.filter(|number| {
        snapshot.number(*number).is_some_and(|owner| owner.campaign.id == session.campaign)
    });
    lent.or_else(|| snapshot.stand_in(&session.campaign, &session.publisher))
}

/// What exploration has cost its campaign more than before the decision.
fn spent_on_learning(decision: &Decision, rotation: &Rotation) -> Money {
    let spent = || {
        let before = decision.readings.explored?;
        let after = rotation.explored(&decision.attribution.as_ref()?.campaign)?;
        (after.day == before.day).then(|| after.spent - before.spent)
    };
    spent().unwrap_or_default()
}

fn capped(denied: &Denied) -> PingRefusal {
    let detail = format_smolstr!(
        "{} has {} of {} in this window",
        denied.bucket.cap,
        denied.counts.show(denied.used),
        denied.counts.show(denied.limit)
    );
    PingRefusal::new("ping", RefusalCode::Capped, detail.as_str())
}

#[cfg(test)]
mod tests;

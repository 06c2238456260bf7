//! Stand-ins for the server: calls folded from their facts, a real desk for pings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use smol_str::SmolStr;

use super::super::{
    Arrival, Arrived, CapResets, Configuration, Credit, Deposit, DepositError, Deposited,
    Enrichers, Foretold, HangUpError, Health, Hearing, InForce, Intake, Intakes, LiveCalls,
    Metered, Metering, PastSessions, PingError, PingIntake, Pools, PressureShown, Reload,
    ResetError, ResetRequest, Resetting, Routing, Sent, SipField, SipInvite, SipPreview, Standings,
    Told, Trial, TrialCall, Unconfirmed, Visitors, WasReset,
};
use super::CALLER;
use crate::cdr::consumer::Standing;
use crate::cdr::consumer::letter::{Letter, LetterCount, LetterFilter, LetterState, Word};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{
    Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Confirmed, Converted,
    Decided, Ended, Fact, FactBody, Lookup, Party, Stamp, Terms,
};
use crate::cdr::fraud::duration::Side;
use crate::cdr::fraud::{Found, FraudReason, FraudSums, Scored};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::record::CallRecord;
use crate::cdr::rollup::{Counts, Resolution, RollupKey, RollupQuery};
use crate::cdr::store::consumers::{Letters, RollupStore};
use crate::cdr::store::enrichments::Enrichments;
use crate::cdr::store::fraud::Scores;
use crate::cdr::store::{Answer, CallFilter, CallStore, StoreError};
use crate::cdr::timeline;
use crate::id::{BuyerId, CallId, PingId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::attribution::SessionKey;
use crate::routing::circuit::{Cause, Condition, Trip, WaySeen};
use crate::routing::config::RoutingConfig;
use crate::routing::dial::Way;
use crate::routing::effective::Effective;
use crate::routing::enrich;
use crate::routing::enrich::breaker::Condition::Resting;
use crate::routing::enrich::budget::Spent;
use crate::routing::hold::{Bucket, Reset};
use crate::routing::meter::NotResettable;
use crate::routing::ping::{
    Accepted, Answers, Checked, Claim, Desk, DeskLimits, Fingerprint, Identity, Kept, KeptVisit,
    NewIds, NumberState, PingRefusals, PingRequest, PoolState, Reference, RequestKey, Session,
    Touched, Visit, VisitRequest, VisitUpdate,
};
use crate::routing::quote::{Quoted, announced, quote};
use crate::routing::replay::{DecisionRecord, record_bytes};
use crate::routing::scorer::{Question, questions};
use crate::routing::simulate::{Assumed, Assuming, LiveSession};
use crate::routing::{Known, Rotation, RouteRequest, RoutingSnapshot, Tags, Usage, decide};
use crate::time::{Mono, Wall};

/// A revision that another version kept.
pub(super) const OUTDATED: u64 = 5;
/// 2026-03-17T15:04:12.318Z.
pub(super) const START: Wall = Wall(1_773_759_852_318);

pub(super) const CONFIG: &str = r#"
    account = { sip_host = "sip.example.com" }
    dialects = [
        { id = "ringba", dialect = "ringba", key = "the id of bidders",
            publisher = "pub_rtb", campaign = "cmp_hvac" },
        { id = "retreaver", dialect = "retreaver", key = "the id of bidders",
            publisher = "pub_rtb", campaign = "cmp_hvac" },
        { id = "trackdrive", dialect = "trackdrive", key = "the id of bidders",
            publisher = "pub_rtb", campaign = "cmp_hvac" },
        { id = "callgrid", dialect = "callgrid", key = "the id of bidders",
            publisher = "pub_rtb", campaign = "cmp_hvac" },
        { id = "paused", dialect = "callgrid", key = "the id of the paused",
            publisher = "pub_rtb", campaign = "cmp_paused" },
    ]
    buyers = [
        { id = "buy_summit" },
        { id = "buy_cool" },
        { id = "buy_idle", credit = { limit = "100.00" } },
    ]
    pools = [{ id = "pool_hvac", campaign = "cmp_hvac", publisher = "pub_bright",
        numbers = ["+16145550121"] }]

    [[enrichers]]
    id = "lineinfo"
    url = "http://127.0.0.1:9/v1"
    send_caller = true
    tells = { line_type = "/carrier/type" }
    cost = "0.004"
    calls_per_day = 50000

    [[publishers]]
    id = "pub_bright"
    keys = [{ id = "main", key = "the key of bright" }]
    browser = { site_key = "the site key of bright", origins = ["https://bright.example"] }

    [[publishers]]
    id = "pub_rtb"
    price = { allow_loss = true }
    payouts = [
        { campaign = "cmp_hvac", amount = "33.20", seconds = 90 },
        { campaign = "cmp_paused", amount = "33.20", seconds = 90 },
    ]

    [[publishers]]
    id = "pub_other"
    strict_pings = true
    keys = [{ id = "main", key = "the key of another" }]

    [[targets]]
    id = "tgt_summit"
    buyer = "buy_summit"
    dial = { kind = "sip", uri = "sip:dispatch@192.0.2.10" }
    filters = { all = [{ tag = "geo.state", op = "in", value = ["OH", "PA"] }] }

    [[targets]]
    id = "tgt_cool"
    buyer = "buy_cool"
    dial = { kind = "sip", uri = "sip:192.0.2.20" }
    conversion = { seconds = 90, revenue = "41.50" }

    [[targets]]
    id = "tgt_idle"
    buyer = "buy_idle"
    dial = [{ kind = "sip", uri = "sip:192.0.2.30" }, { kind = "sip", uri = "sip:192.0.2.31:5070" }]
    concurrency = { limit = 4 }
    caps = [{ metric = "connected", window = "daily", limit = 9 }]

    [[campaigns]]
    id = "cmp_hvac"
    publisher = "pub_bright"
    numbers = ["+16145550104"]
    enrich = ["lineinfo"]
    routing = { tiers = [{ targets = [{ target = "tgt_summit" }, { target = "tgt_cool" }] }] }

    [[campaigns]]
    id = "cmp_paused"
    publisher = "pub_bright"
    paused = true
    routing = { tiers = [{ targets = [{ target = "tgt_cool" }] }] }
"#;

#[derive(Default)]
pub(super) struct State {
    pub(super) live: BTreeMap<CallId, Arc<CallRecord>>,
    pub(super) stored: BTreeMap<CallId, CallRecord>,
    pub(super) decisions: BTreeMap<u64, Bytes>,
    pub(super) hung_up: Vec<CallId>,
    /// Filters the store was asked for.
    pub(super) asked: Vec<CallFilter>,
    pub(super) broken: Option<Broken>,
    pub(super) unready: Vec<String>,
    pub(super) hold_store: Option<&'static str>,
    pub(super) pressure: PressureShown,
    pub(super) session_store: Option<&'static str>,
    pub(super) letters: Vec<Letter>,
    /// Rollups the store was asked for.
    pub(super) summed: Vec<RollupQuery>,
    /// What is wrong with the configuration.
    pub(super) faults: Vec<String>,
    pings: u8,
}

/// What is out of order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    Database,
    Row,
    Journal,
    /// Answers to pings never come.
    Stuck,
    /// The metrics panic.
    Metrics,
    /// Calls hear nothing.
    Behind,
}

pub(super) struct World {
    pub(super) snapshot: Arc<RoutingSnapshot>,
    desk: Mutex<Desk>,
    answers: Mutex<Answers>,
    pub(super) state: Mutex<State>,
}

impl World {
    pub(super) fn new() -> Self {
        let config: RoutingConfig = toml::from_str(CONFIG).unwrap();
        let snapshot = RoutingSnapshot::compile(config, 418).unwrap();
        let mut desk = Desk::new(DeskLimits { sessions_max: 2, ..DeskLimits::default() });
        desk.configure(&snapshot);
        let snapshot = Arc::new(snapshot);
        let answers = Mutex::default();
        Self { snapshot, desk: Mutex::new(desk), answers, state: Mutex::default() }
    }

    /// Stores the decision about a call from `state`, under the key 11.
    pub(super) fn decide(&self, call: CallId, state: &str) {
        self.decide_on(&self.snapshot, call, state, 11);
    }

    pub(super) fn decide_on(
        &self,
        snapshot: &RoutingSnapshot,
        call: CallId,
        state: &str,
        key: u64,
    ) {
        let tags: Tags = [("geo.state".into(), state.into())].into();
        let request = RouteRequest {
            call,
            at: START,
            dialed: "+16145550104".parse().unwrap(),
            caller: CALLER.parse().ok(),
            trunk: "trk_a".into(),
            named: None,
            tags,
            announced: false,
        };
        let nothing_used = BTreeMap::new();
        let decision =
            decide(snapshot, &request, Known::default(), &nothing_used, &mut Rotation::default());
        let stored = Bytes::from(record_bytes(&request, Known::default(), &decision));
        self.state.lock().decisions.insert(key, stored);
    }

    pub(super) fn breaks(&self, what: Broken) {
        self.state.lock().broken = Some(what);
    }

    fn check_store(&self) -> Result<(), StoreError> {
        match self.state.lock().broken {
            Some(Broken::Database) => Err(StoreError::Database("disk I/O error".into())),
            Some(Broken::Row) => Err(StoreError::Damaged {
                table: "cdr",
                row: "cal_1".into(),
                detail: "not CBOR".into(),
            }),
            Some(Broken::Journal | Broken::Stuck | Broken::Metrics | Broken::Behind) | None => {
                Ok(())
            }
        }
    }
}

impl LiveCalls for World {
    fn live(&self) -> Vec<Arc<CallRecord>> {
        self.state.lock().live.values().cloned().collect()
    }

    fn find(&self, call: CallId) -> Option<Arc<CallRecord>> {
        self.state.lock().live.get(&call).cloned()
    }

    fn hang_up(&self, call: CallId) -> Result<(), HangUpError> {
        let mut state = self.state.lock();
        if !state.live.contains_key(&call) {
            return Err(HangUpError::NotUp);
        }
        if state.broken == Some(Broken::Behind) {
            return Err(HangUpError::Busy);
        }
        state.hung_up.push(call);
        Ok(())
    }
}

impl Routing for World {
    fn now(&self) -> Wall {
        START
    }

    fn in_force(&self) -> Arc<RoutingSnapshot> {
        Arc::clone(&self.snapshot)
    }

    fn revision(&self, revision: u64) -> Answer<'_, Option<Arc<RoutingSnapshot>>> {
        Box::pin(async move {
            self.check_store()?;
            if revision == OUTDATED {
                let (what, detail) = ("revision 5 of the configuration".into(), "it is old".into());
                return Err(StoreError::Outdated { what, detail });
            }
            Ok((revision == 418).then(|| Arc::clone(&self.snapshot)))
        })
    }

    fn simulate(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> DecisionRecord {
        let nothing_used = BTreeMap::<_, Usage>::new();
        let usage = Assuming { usage: &nothing_used, assumed };
        let known = Known { sessions: &assumed.sessions, calls: &[] };
        let decision = decide(snapshot, request, known, &usage, &mut Rotation::default());
        DecisionRecord::new(request, known, &decision)
    }

    fn preview(&self, record: &DecisionRecord) -> Option<SipPreview> {
        let first = record.decision.plan.first()?;
        let field = SipField { name: "Max-Forwards".into(), value: "69".into() };
        let invite = SipInvite {
            transport: "udp",
            to: "192.0.2.20:5060".into(),
            start_line: format!("INVITE {} SIP/2.0", first.uri),
            headers: vec![field],
            body: "v=0\r\n".into(),
        };
        let (target, invite) = (first.target.clone(), Some(invite));
        Some(SipPreview { target, delivery: "bridge", invite, reason: None })
    }

    fn effective_trunk(&self, _: &TrunkId) -> Option<Vec<Effective>> {
        None
    }

    fn live_session(&self, _: SessionKey) -> Option<LiveSession> {
        None
    }

    fn questions(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> Vec<Question> {
        let nothing_used = BTreeMap::<_, Usage>::new();
        let usage = Assuming { usage: &nothing_used, assumed };
        questions(snapshot, request, Known::default(), &usage, &Rotation::default())
    }

    fn ask(&self, questions: Vec<Question>) -> Hearing<'_> {
        assert!(questions.is_empty());
        Box::pin(async { vec![] })
    }

    fn ways(&self) -> Vec<(Way, WaySeen)> {
        let trip = Trip { cause: Cause::Slow, seen: 2, of: 60 };
        let seen = WaySeen {
            condition: Condition::Open(trip),
            attempts: 60,
            answered: 40,
            failed: 3,
            week_attempts: 4_000,
            week_answered: 2_600,
            p50_ms: Some(900),
            p99_ms: Some(6_400),
        };
        self.snapshot.ways().into_iter().map(|way| (way.clone(), seen)).collect()
    }

    fn conditions(&self) -> BTreeMap<TargetId, Condition> {
        let trip = Trip { cause: Cause::Failed, seen: 31, of: 60 };
        [("tgt_cool".into(), Condition::Open(trip))].into()
    }

    fn meters(&self) -> Metering<'_> {
        let nothing_used = BTreeMap::<Bucket, Usage>::new();
        let meters = self.snapshot.meters(&nothing_used, START).into_values().collect();
        let hold_store = self.state.lock().hold_store;
        Box::pin(async move { Metered { meters, hold_store } })
    }

    fn set_ready(&self, concurrency: &SmolStr, _count: u32) -> bool {
        self.snapshot.concurrency().any(|it| it.key == *concurrency)
    }

    fn decisions(&self, count: u32) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let skipped = state.decisions.len().saturating_sub(count as usize);
            Ok(state.decisions.values().skip(skipped).cloned().collect())
        })
    }
}

impl CallStore for World {
    fn list(
        &self,
        filter: CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Answer<'_, Vec<CallRecord>> {
        Box::pin(async move {
            self.check_store()?;
            let mut state = self.state.lock();
            let matching = state.stored.values().rev().filter(|record| filter.matches(record));
            let after = matching.filter(|record| after.is_none_or(|after| record.call < after));
            let page = after.take(limit).cloned().collect();
            state.asked.push(filter);
            Ok(page)
        })
    }

    fn find(&self, call: CallId) -> Answer<'_, Option<CallRecord>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().stored.get(&call).cloned())
        })
    }

    fn explain(&self, explain_ref: u64) -> Answer<'_, Option<Bytes>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().decisions.get(&explain_ref).cloned())
        })
    }
}

impl Letters for World {
    fn list_letters(
        &self,
        filter: LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Answer<'_, Vec<Letter>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let letters = state.letters.iter().rev().filter(|letter| meant(&filter, letter));
            let letters = letters.filter(|letter| before.is_none_or(|before| letter.id < before));
            Ok(letters.take(limit).cloned().collect())
        })
    }

    fn find_letter(&self, id: u64) -> Answer<'_, Option<Letter>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(self.state.lock().letters.iter().find(|letter| letter.id == id).cloned())
        })
    }

    fn replay_letters(&self, filter: LetterFilter, by: SmolStr, at: Wall) -> Answer<'_, u64> {
        let word = Word { by, at, reason: None };
        Box::pin(std::future::ready(Ok(self.say(&filter, LetterState::Retrying, &word))))
    }

    fn discard_letters(&self, filter: LetterFilter, word: Word) -> Answer<'_, u64> {
        Box::pin(std::future::ready(Ok(self.say(&filter, LetterState::Discarded, &word))))
    }
}

impl World {
    fn say(&self, filter: &LetterFilter, becomes: LetterState, word: &Word) -> u64 {
        let mut state = self.state.lock();
        let letters = state.letters.iter_mut().filter(|letter| meant(filter, letter));
        letters.map(|letter| (letter.state, letter.word) = (becomes, Some(word.clone()))).count()
            as u64
    }
}

fn meant(filter: &LetterFilter, letter: &Letter) -> bool {
    filter.first.is_none_or(|first| letter.id >= first)
        && filter.last.is_none_or(|last| letter.id <= last)
        && filter.state.is_none_or(|state| letter.state == state)
        && filter.consumer.as_ref().is_none_or(|it| letter.consumer == *it)
        && filter.class.as_ref().is_none_or(|it| letter.class == *it)
}

impl Standings for World {
    fn standings(&self) -> Vec<Standing> {
        let position = Lsn { epoch: 3, seq: 104_112 };
        let standing = |consumer: &str| Standing {
            consumer: consumer.into(),
            position,
            at: Some(START),
            lag_facts: 0,
            waits_for: None,
            letters: LetterCount::default(),
        };
        let waits_for = Some(String::from("the store does not answer"));
        let letters = LetterCount { retrying: 1, dead: 2, next_due: None };
        let late =
            Standing { lag_facts: 17, at: None, waits_for, letters, ..standing("ship:audit") };
        vec![standing("rollups"), late]
    }
}

impl RollupStore for World {
    fn rollups(&self, query: RollupQuery, limit: usize) -> Answer<'_, Vec<(RollupKey, Counts)>> {
        Box::pin(async move {
            self.check_store()?;
            let rows = if query.resolution == Resolution::Minute { limit } else { 1 };
            self.state.lock().summed.push(query);
            let key = RollupKey {
                minute: START.0 / 60_000,
                campaign: "cmp_hvac".into(),
                ..RollupKey::default()
            };
            let counts = Counts { calls: 3, revenue_micros: 41_500_000, ..Counts::default() };
            Ok(vec![(key, counts); rows])
        })
    }
}

impl Enrichments for World {
    fn of_session(&self, session: SessionId) -> Answer<'_, Vec<Enrichment>> {
        Box::pin(async move {
            self.check_store()?;
            let derived = Enrichment {
                session,
                source: "embedded".into(),
                at: START,
                lookup: Lookup::Derived,
                tags: vec![("geo.state".into(), "OH".into())],
                cost: Money::ZERO,
            };
            let told = Enrichment {
                source: "lineinfo".into(),
                at: Wall(START.0 + 40),
                lookup: Lookup::Told,
                tags: vec![("line_type".into(), "mobile".into())],
                cost: Money(4_000),
                ..derived.clone()
            };
            Ok(vec![derived, told])
        })
    }
}

impl World {
    fn scored(reason: FraudReason) -> Scored {
        let found = Found {
            reason,
            points: reason.points(),
            have: Some("11.4".into()),
            want: Some("10".into()),
        };
        Scored { score: reason.points(), reasons: vec![found] }
    }
}

/// Every stored call is suspected alike.
impl PastSessions for World {
    fn past(&self, _: SessionId) -> Answer<'_, Option<Session>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(None)
        })
    }
}

impl Scores for World {
    fn of_calls(&self, calls: Vec<CallId>) -> Answer<'_, Vec<(CallId, Scored)>> {
        Box::pin(async move {
            self.check_store()?;
            let state = self.state.lock();
            let stored = calls.into_iter().filter(|call| state.stored.contains_key(call));
            let scored = |call| (call, Self::scored(FraudReason::VelocityCaller));
            Ok(stored.map(scored).collect())
        })
    }

    fn of_session(&self, _session: SessionId) -> Answer<'_, Option<Scored>> {
        Box::pin(async move {
            self.check_store()?;
            Ok(Some(Self::scored(FraudReason::VelocityPings)))
        })
    }

    fn sums(&self, side: Side, from: i64, to: i64) -> Answer<'_, BTreeMap<SmolStr, FraudSums>> {
        Box::pin(async move {
            self.check_store()?;
            let mut sums = FraudSums { calls: 50, high: 3, ..FraudSums::default() };
            sums.by_reason = [(FraudReason::VelocityCaller, 5)].into();
            // The first bin says which days were asked for.
            sums.bins[0] = u64::try_from(to - from).unwrap() + 1;
            sums.bins[side.suspect()] = 60;
            let (own, none) = (SmolStr::new_static("pub_bright"), SmolStr::default());
            Ok([(own, sums), (none, FraudSums::default())].into())
        })
    }
}

/// As much as it is asked for, once.
impl Credit for World {
    fn deposit(&self, buyer: BuyerId, amount: Money, key: SmolStr) -> Deposit<'_> {
        Box::pin(async move {
            match (buyer.as_str(), key.as_str()) {
                ("buy_idle", "again") => Ok(Deposited { deposited: amount, repeated: true }),
                ("buy_idle", "other") => Err(DepositError::Conflict),
                ("buy_idle", "vast") => Err(DepositError::TooMuch(Money(10_000_000))),
                ("buy_idle", _) => Ok(Deposited { deposited: amount, repeated: false }),
                _ => Err(DepositError::NoCredit),
            }
        })
    }
}

/// Each cap that there is, once for each key.
impl CapResets for World {
    fn reset(&self, request: ResetRequest) -> Resetting<'_> {
        Box::pin(async move {
            let ResetRequest { cap, by, why, key } = request;
            if cap == "target/tgt_idle/connected/hourly" {
                return Err(ResetError::Unavailable(String::from("the store is away")));
            }
            let (bucket, counts, ends_at) =
                self.snapshot.resettable(&cap, START).map_err(|why| match why {
                    NotResettable::Unknown => ResetError::Unknown,
                    other @ (NotResettable::Live
                    | NotResettable::Owed
                    | NotResettable::OtherTime) => ResetError::NotResettable(other),
                })?;
            let repeated = key.as_deref() == Some("again");
            let parts = vec![];
            let reset = Reset { bucket, ends_at, at: START, by, why, key, amount: 3, parts };
            Ok(WasReset { reset, counts, repeated })
        })
    }
}

impl Pools for World {
    fn pools(&self) -> Vec<PoolState> {
        let desk = self.desk.lock();
        self.snapshot.pools().iter().map(|pool| desk.pool_state(pool, START)).collect()
    }

    fn number(&self, number: PhoneNumber) -> Told<'_, NumberState> {
        let state = self.desk.lock().number_state(number, START);
        Box::pin(async { state })
    }
}

impl World {
    fn ids(&self) -> NewIds {
        let mut state = self.state.lock();
        state.pings = state.pings.wrapping_add(1);
        let n = state.pings;
        NewIds { ping: PingId::from_bytes([n; 16]), session: SessionId::from_bytes([n; 16]) }
    }

    /// What is known of a request of the one publisher there is, or what `open` makes of it.
    fn answered(
        &self,
        reference: Option<Reference>,
        request: &impl serde::Serialize,
        open: impl FnOnce() -> Result<Kept, PingError>,
    ) -> Result<(Kept, bool), PingError> {
        let Some(reference) = reference else { return Ok((open()?, false)) };
        let key = RequestKey::of(&"pub_bright".into(), &reference);
        let identity = Identity { key, fingerprint: Fingerprint::of(request) };
        let claim = self.answers.lock().claim(identity, START);
        match claim {
            Claim::Answered(kept) => Ok((kept, true)),
            Claim::Other => Err(PingError::OtherBody(reference)),
            Claim::InProgress => Err(PingError::InProgress(reference)),
            Claim::First => match open() {
                Ok(kept) => {
                    self.answers.lock().keep(identity, kept.clone(), START);
                    Ok((kept, false))
                }
                Err(error) => {
                    self.answers.lock().release(key);
                    Err(error)
                }
            },
        }
    }
}

impl Visitors for World {
    fn visit(&self, visit: VisitRequest, key: Option<Reference>) -> Arrival<'_> {
        Box::pin(async move {
            let open = || {
                let ids = self.ids();
                let opened =
                    self.desk.lock().visit(&self.snapshot, &visit, ids, START, |_, _| Ok(()))?;
                let Visit { accepted, visitor, heartbeat_s, left_out, .. } = opened;
                let visit = Some(Box::new(KeptVisit { visitor, heartbeat_s, left_out }));
                Ok(Kept { accepted, visit })
            };
            let (Kept { accepted, visit: kept }, replayed) = self.answered(key, &visit, open)?;
            let KeptVisit { visitor, heartbeat_s, left_out } = *kept.unwrap();
            let visit = Visit { accepted, visitor, heartbeat_s, left_out, moved: None };
            Ok(Arrived { visit, replayed })
        })
    }

    fn touch(
        &self,
        session: SessionId,
        update: VisitUpdate,
    ) -> Told<'_, Result<Option<Touched>, PingError>> {
        let later = Wall(START.0 + 60_000);
        let touched = self.desk.lock().touch(&self.snapshot, session, &update, later);
        Box::pin(async { Ok(touched?) })
    }

    fn release(&self, session: SessionId) -> Told<'_, Result<Option<Wall>, PingError>> {
        let later = Wall(START.0 + 60_000);
        let moved = self.desk.lock().release(&self.snapshot, session, later);
        Box::pin(async { Ok(moved.map(|moved| moved.expires_at)) })
    }

    fn session(&self, session: SessionId) -> Told<'_, Result<Option<Session>, PingError>> {
        let session = self.desk.lock().session(session).cloned();
        Box::pin(async { Ok(session) })
    }
}

impl PingIntake for World {
    fn accept(&self, sent: Sent) -> Intake<'_> {
        Box::pin(async move {
            let broken = self.state.lock().broken;
            let Sent { ping, key, price } = sent;
            let key = key.or_else(|| ping.request_id.clone().map(Reference::Own));
            let open = || {
                let accepted = match price {
                    None => {
                        self.desk.lock().accept(&self.snapshot, ping.clone(), self.ids(), START)?
                    }
                    Some(life) => self.priced(&ping, life)?,
                };
                Ok(Kept { accepted, visit: None })
            };
            match broken {
                Some(Broken::Stuck) => std::future::pending().await,
                Some(Broken::Journal) => Err(PingError::Unavailable {
                    reason: "the journal's disk is nearly full".into(),
                    retry_after_s: 30,
                }),
                Some(Broken::Database | Broken::Row | Broken::Metrics | Broken::Behind) | None => {
                    let (kept, repeated) = self.answered(key, &ping, open)?;
                    let repeated = repeated || kept.accepted.repeated;
                    Ok(Accepted { repeated, ..kept.accepted })
                }
            }
        })
    }

    fn accept_all(&self, pings: Vec<Sent>) -> Intakes<'_> {
        Box::pin(async move {
            let mut answers = vec![];
            for ping in pings {
                answers.push(self.accept(ping).await);
            }
            answers
        })
    }

    fn try_out(&self, sent: Sent) -> Result<Trial, PingError> {
        let snapshot = Arc::clone(&self.snapshot);
        let ping = PingRequest { test: false, ..sent.ping };
        let checked = match Checked::of(&snapshot, &ping) {
            Ok(checked) => checked,
            Err(refused) => {
                return Ok(Trial { answer: Err(refused.into()), thought: None, snapshot });
            }
        };
        let opened = self.desk.lock().would_open(&checked, None, START);
        let opened = opened.map(Foretold::Opened).map_err(|it| PingRefusals::from(it).into());
        let nobody = [9; 16];
        let ids =
            NewIds { ping: PingId::from_bytes(nobody), session: SessionId::from_bytes(nobody) };
        let session = checked.announcing(ids, START);
        let stand_in = snapshot.stand_in(&session.campaign, &session.publisher);
        let dialed = stand_in.expect("campaigns of the world have numbers");
        let (call, unused) = (announced(&session, dialed, START), BTreeMap::<Bucket, Usage>::new());
        let Quoted { decision, offer } =
            quote(&snapshot, &call, &session, &[], &unused, &Rotation::default());
        let known = Known { sessions: std::slice::from_ref(&session), calls: &[] };
        let decision = Some(DecisionRecord::new(&call, known, &decision));
        Ok(Trial {
            answer: opened,
            thought: Some(TrialCall { session, decision, offer }),
            snapshot,
        })
    }

    fn find(&self, ping: PingId) -> Told<'_, Result<Option<Session>, PingError>> {
        let session = self.desk.lock().by_ping(ping).cloned();
        Box::pin(async { Ok(session) })
    }

    fn confirm(&self, ping: PingId) -> Told<'_, Result<Session, Unconfirmed>> {
        let session = self.desk.lock().by_ping(ping).cloned().ok_or(Unconfirmed::Over);
        Box::pin(async { session })
    }
}

impl World {
    /// On what the configuration says alone.
    fn priced(&self, ping: &PingRequest, life: Duration) -> Result<Accepted, PingError> {
        let checked = Checked::of(&self.snapshot, ping)?;
        let mut desk = self.desk.lock();
        if let Some(again) = desk.quoted(&checked, START) {
            return Ok(again);
        }
        let ids = self.ids();
        let session = checked.announcing(ids, START);
        let stand_in = self.snapshot.stand_in(&session.campaign, &session.publisher);
        let dialed = stand_in.expect("campaigns of the world have numbers");
        let (call, unused) = (announced(&session, dialed, START), BTreeMap::<Bucket, Usage>::new());
        let rotation = Rotation::default();
        let offer = quote(&self.snapshot, &call, &session, &[], &unused, &rotation)
            .offer
            .map_err(PingError::NoBid)?;
        let checked = checked.promising(offer.promised(START, life));
        Ok(desk.accept_if(checked, None, ids, START, |_, _| Ok(())).map_err(PingRefusals::from)?)
    }
}

impl Enrichers for World {
    fn standings(&self) -> Answer<'_, Vec<enrich::Standing>> {
        Box::pin(async {
            self.check_store()?;
            let standing = |enricher| enrich::Standing {
                enricher,
                condition: Resting(Duration::from_millis(12_001)),
                spent: Spent { day: 20_529, asked: 7, cost: Money(28_000) },
                cached: 5,
                outcomes: [("told", 6), ("cached", 9)].into(),
            };
            Ok(self.snapshot.enrichers().into_iter().map(standing).collect())
        })
    }
}

impl Configuration for World {
    fn reload(&self) -> Reload<'_> {
        let (faults, hold_store) = {
            let state = self.state.lock();
            (state.faults.clone(), state.hold_store)
        };
        Box::pin(async move {
            if faults.is_empty() {
                let closed = Metered { meters: Vec::new(), hold_store };
                Ok(InForce { revision: 2, closed })
            } else {
                Err(faults)
            }
        })
    }
}

impl Health for World {
    fn ready(&self) -> Result<(), Vec<String>> {
        let unready = self.state.lock().unready.clone();
        if unready.is_empty() { Ok(()) } else { Err(unready) }
    }

    fn session_store(&self) -> Option<&'static str> {
        self.state.lock().session_store
    }

    fn hold_store(&self) -> Option<&'static str> {
        self.state.lock().hold_store
    }

    fn pressure(&self) -> PressureShown {
        self.state.lock().pressure.clone()
    }

    fn metrics(&self) -> String {
        assert!(self.state.lock().broken != Some(Broken::Metrics), "told to panic");
        String::from("tollbridge_calls_active 0\n")
    }
}

/// The `n`th call after [`START`], one each second.
pub(super) fn call_id(n: u8) -> CallId {
    let ms = u64::try_from(START.0).unwrap() + 1_000 * u64::from(n);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    bytes[15] = n;
    CallId::from_bytes(bytes)
}

/// The record of a call after `facts`, each so many milliseconds after its admission.
pub(super) fn record(call: CallId, facts: &[(u64, FactBody)]) -> CallRecord {
    let start = i64::try_from(call.minted_at_ms()).unwrap();
    let mut entries = facts.iter().zip(1..).map(|((ms, body), seq)| {
        let at = Stamp::new(Wall(start + i64::try_from(*ms).unwrap()), Mono(ms * 1_000_000));
        let fact = Fact { call: Some(call), at, body: body.clone() };
        Entry { lsn: Lsn { epoch: 0, seq: seq + 9 }, fact }
    });
    let first = entries.next().unwrap();
    let mut record = CallRecord::begin(call, &first);
    timeline::apply(&mut record, &first);
    for entry in entries {
        timeline::apply(&mut record, &entry);
    }
    record
}

/// A call that was just admitted.
pub(super) fn admitted() -> Vec<(u64, FactBody)> {
    let admitted = Admitted {
        trunk: "trk_a".into(),
        sip_call_id: "a84b4c76e66710@198.51.100.7".into(),
        dialed: "sip:+16145550104@edge.example".into(),
        did: "+16145550104".parse().ok(),
        caller: CALLER.parse().ok(),
        source: "udp:198.51.100.7:5060".into(),
        captured: vec![("header.x-lead".into(), "7".into())],
        carrier_call_id: Some("CA17".into()),
    };
    vec![(0, admitted.into())]
}

/// A call that its first target refused and its second answered, up after 4.1 s.
pub(super) fn answered() -> Vec<(u64, FactBody)> {
    let started = |leg, target: &str, buyer: &str| AttemptStarted {
        leg,
        target: target.into(),
        buyer: buyer.into(),
        uri: format!("sip:{target}@192.0.2.10").into(),
        way: None,
        dial: 0,
        terms: Some(Terms {
            seconds: 90,
            revenue: Money(41_500_000),
            payout: Money(33_200_000),
            currency: "USD".into(),
            payout_seconds: 90,
            no_payout: None,
        }),
    };
    let decided = Decided {
        config_rev: 418,
        campaign: Some("cmp_hvac".into()),
        publisher: Some("pub_bright".into()),
        session: Some(SessionId::from_bytes([3; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
        record: Bytes::new(),
        refused: None,
        no_route: None,
    };
    let busy = AttemptFailed {
        leg: 1,
        status: 486,
        q850: Some(17),
        reason: Reason::AttemptBusy,
        target: Some("tgt_summit".into()),
        shortage: None,
        way: None,
    };
    let mut facts = admitted();
    facts.extend([
        (7, decided.into()),
        (9, started(1, "tgt_summit", "buy_summit").into()),
        (500, busy.into()),
        (501, started(2, "tgt_cool", "buy_cool").into()),
        (1_001, AttemptProgress { leg: 2, status: 180 }.into()),
        (4_100, Answered { leg: 2, dialogs: None, codec: Some("PCMU/8000".into()) }.into()),
        (4_150, Confirmed::default().into()),
    ]);
    facts
}

/// The same call, converted and over.
pub(super) fn ended() -> Vec<(u64, FactBody)> {
    let (party, reason) = (Party::Caller, Reason::CallerHungUp);
    let ended = Ended { party, reason, status: 200, q850: Some(16), talk_ms: None };
    let mut facts = answered();
    facts.extend([(94_100, Converted { leg: 2 }.into()), (293_568, ended.into())]);
    facts
}

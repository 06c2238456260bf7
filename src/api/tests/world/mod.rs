//! Stand-ins for the server: calls folded from their facts, a real desk for pings.

mod book;
mod pings;
mod routing;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::api::tests::CALLER;
use crate::api::{HangUpError, Health, LiveCalls, PressureShown};
use crate::cdr::consumer::letter::Letter;
use crate::cdr::record::CallRecord;
use crate::cdr::rollup::RollupQuery;
use crate::cdr::store::{CallFilter, StoreError};
use crate::id::CallId;
use crate::routing::config::RoutingConfig;
use crate::routing::ping::{Answers, Desk, DeskLimits};
use crate::routing::replay::record_bytes;
use crate::routing::{Known, Rotation, RouteRequest, RoutingSnapshot, Tags, decide};
use crate::time::Wall;

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

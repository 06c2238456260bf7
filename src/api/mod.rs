//! The control plane: an ordinary REST service on top of `routing` and `cdr`.
//!
//! Owns: routes, authentication, the shape of requests, answers and errors, pages, the OpenAPI
//! document. Does not own: sockets and tasks (the server mounts [`router`]), and what it shows and
//! asks for, which it is handed as [`Services`].
//!
//! ```text
//! request ─► problem (panics, time limit) ─► auth ─► router.rs ─► calls pings health openapi
//!                                              └ operators, publishers, pages: caller.rs
//!                                                                   │
//!                                  LiveCalls  PingIntake  Health  CallStore
//! ```
//!
//! Invariants: only health and the script for pages are answered without a key; whatever is refused is answered with
//! `application/problem+json` and a stable code; a caller's number is in answers, never in logs.

mod account;
mod auth;
mod batch;
mod caller;
mod calls;
mod caps;
mod configuration;
mod consumers;
mod course;
mod dead_letters;
mod dialects;
mod dni;
mod effective;
mod enrichers;
mod error;
mod explain;
mod fraud;
mod health;
mod json;
mod openapi;
mod page;
mod pings;
mod pixel;
mod pools;
mod preview;
mod query;
mod record;
mod replay;
mod request;
mod rollups;
mod router;
mod sessions;
mod shortage;
mod simulate;
mod targets;
#[cfg(test)]
mod tests;
mod trials;
mod ways;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::cdr::consumer::Standing;
use crate::cdr::fraud::duration::SpikeRules;
use crate::cdr::record::CallRecord;
use crate::cdr::store::consumers::{Letters, RollupStore};
use crate::cdr::store::enrichments::Enrichments;
use crate::cdr::store::fraud::Scores;
use crate::cdr::store::{Answer, CallStore, Decisions};
use crate::config::ApiKey;
use crate::id::{BuyerId, CallId, PingId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::attribution::SessionKey;
use crate::routing::circuit::{Condition, WaySeen};
use crate::routing::dial::Way;
use crate::routing::effective::Effective;
use crate::routing::enrich;
use crate::routing::hold::{Counts, Reset};
use crate::routing::meter::{Meter, NotResettable};
use crate::routing::ping::{
    Accepted, NumberState, NumberStatus, OverQuota, OverShare, PingRefusals, PingRequest,
    PoolState, Reference, Session, Touched, Visit, VisitRequest, VisitUpdate,
};
use crate::routing::quote::Offer;
use crate::routing::replay::DecisionRecord;
use crate::routing::scorer::{Heard, Question};
use crate::routing::simulate::{Assumed, LiveSession};
use crate::routing::{RouteRequest, RoutingSnapshot, SessionReading};
use crate::time::Wall;

pub use openapi::document;
pub use preview::{LatencyEstimate, SipField, SipInvite, SipPreview};
pub use router::{REQUESTS, router};

/// What the API is made of.
#[derive(Clone)]
pub struct Services {
    pub live: Arc<dyn LiveCalls>,
    pub calls: Arc<dyn CallStore>,
    pub pings: Arc<dyn PingIntake>,
    pub visitors: Arc<dyn Visitors>,
    pub past_sessions: Arc<dyn PastSessions>,
    pub pools: Arc<dyn Pools>,
    pub health: Arc<dyn Health>,
    pub configuration: Arc<dyn Configuration>,
    pub routing: Arc<dyn Routing>,
    pub credit: Arc<dyn Credit>,
    pub resets: Arc<dyn CapResets>,
    pub letters: Arc<dyn Letters>,
    pub rollups: Arc<dyn RollupStore>,
    pub enrichments: Arc<dyn Enrichments>,
    pub enrichers: Arc<dyn Enrichers>,
    pub scores: Arc<dyn Scores>,
    /// When a histogram is suspicious.
    pub spikes: SpikeRules,
    pub consumers: Arc<dyn Standings>,
    /// Who may call; with none, only health is answered.
    pub keys: Vec<ApiKey>,
    /// Signs cursors. 32 random bytes, drawn when the process starts: cursors die with it.
    pub cursor_secret: [u8; 32],
}

/// The calls of this process that are not over, or so recently that the store does not have their
/// closed record yet.
pub trait LiveCalls: Send + Sync {
    /// In any order.
    fn live(&self) -> Vec<Arc<CallRecord>>;

    /// A call is found from its admission until the store has its closed record.
    fn find(&self, call: CallId) -> Option<Arc<CallRecord>>;

    /// Asks for the end of a call, with
    /// [`HungUpByOperator`](crate::reason::Reason::HungUpByOperator); does not wait for it.
    ///
    /// # Errors
    /// The call is not up, or may not have been told. Asking twice does no harm.
    fn hang_up(&self, call: CallId) -> Result<(), HangUpError>;
}

/// Why the end of a call could not be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HangUpError {
    #[error("the call is not up")]
    NotUp,
    /// Whoever has the call may have no room for one more task.
    #[error("the call may not have been told")]
    Busy,
}

/// What comes of asking scorers.
pub type Hearing<'a> = Pin<Box<dyn Future<Output = Vec<Heard>> + Send + 'a>>;

/// What [`Routing::meters`] returns.
pub type Metering<'a> = Pin<Box<dyn Future<Output = Metered> + Send + 'a>>;

/// How full caps are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    pub meters: Vec<Meter>,
    /// `open`: so says the store of limits that servers share. `away`: as far as this server knows.
    /// Absent: it has them to itself.
    pub hold_store: Option<&'static str>,
}

/// Decisions that are made again, or for the sake of an answer.
pub trait Routing: Send + Sync {
    fn now(&self) -> Wall;

    /// The configuration that is in force.
    fn in_force(&self) -> Arc<RoutingSnapshot>;

    /// The configuration of a revision; `None` if there was never one.
    fn revision(&self, revision: u64) -> Answer<'_, Option<Arc<RoutingSnapshot>>>;

    /// What would be decided about a call on a configuration, with everything it was decided on.
    /// Nothing is used up.
    fn simulate(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> DecisionRecord;

    /// What such a call would send to the first target of its plan. `None`: it has none, or was decided on
    /// another configuration than that in force.
    fn preview(&self, record: &DecisionRecord) -> Option<SipPreview>;

    /// What scorers elsewhere would be asked about such a call.
    fn questions(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        assumed: &Assumed,
    ) -> Vec<Question>;

    /// What is written of a trunk, in the configuration or its carrier's file; `None`: there is no such
    /// trunk.
    fn effective_trunk(&self, id: &TrunkId) -> Option<Vec<Effective>>;

    /// A session that is live here, and how its visitor calls.
    fn live_session(&self, key: SessionKey) -> Option<LiveSession>;

    /// Asks them, for as long as a call waits for them.
    fn ask(&self, questions: Vec<Question>) -> Hearing<'_>;

    /// What is thought of targets of which it is not all well.
    fn conditions(&self) -> BTreeMap<TargetId, Condition>;

    /// What calls have shown of each way to targets that is watched.
    fn ways(&self) -> Vec<(Way, WaySeen)>;

    /// How full all caps and all concurrency are, by their keys.
    fn meters(&self) -> Metering<'_>;

    /// So many calls at once can be taken under this concurrency, such as
    /// `target/tgt_summit/concurrency`. False: there is no such concurrency.
    fn set_ready(&self, concurrency: &SmolStr, count: u32) -> bool;

    /// The records of decisions.
    fn decisions(&self) -> &dyn Decisions;
}

/// A ping as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub ping: PingRequest,
    /// By what it is known again. Absent: its `request_id`, if it has one.
    pub key: Option<Reference>,
    /// It asks what its call would be paid, which is to be promised for so long.
    pub price: Option<Duration>,
}

/// What would come of a ping that is only thought of.
#[derive(Debug)]
pub struct Trial {
    pub answer: Result<Foretold, PingError>,
    /// Present if it names what there is.
    pub thought: Option<TrialCall>,
    /// The configuration it was thought of on.
    pub snapshot: Arc<RoutingSnapshot>,
}

/// What a ping would be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foretold {
    /// That it has a session, and this of a number.
    Opened(NumberStatus),
    /// The same as when it came before.
    Replayed(Accepted),
}

/// The call that a ping announces, as if it came at once.
#[derive(Debug)]
pub struct TrialCall {
    pub session: SessionReading,
    /// What would be decided. Absent: its campaign has no number at all.
    pub decision: Option<DecisionRecord>,
    /// What its publisher would earn, or why nothing.
    pub offer: Result<Offer, Reason>,
}

/// Where pings go.
pub trait PingIntake: Send + Sync {
    /// Opens a session, or answers as before a ping that came before. Returns once the journal has it: then
    /// it is acknowledged.
    fn accept(&self, ping: Sent) -> Intake<'_>;

    /// Opens a session for each. Returns once the journal has them all, which it waits for once.
    fn accept_all(&self, pings: Vec<Sent>) -> Intakes<'_>;

    /// What would come of a ping, as far as this server knows. Nothing is opened, lent or counted.
    ///
    /// # Errors
    /// It is not thought of, as too many are.
    fn try_out(&self, ping: Sent) -> Result<Trial, PingError>;

    /// The live session that a ping opened.
    ///
    /// # Errors
    /// It may be another server's, and nobody can say so now.
    fn find(&self, ping: PingId) -> Told<'_, Result<Option<Session>, PingError>>;

    /// The live session of a priced ping, if its promise still lives and a target would take its call.
    ///
    /// # Errors
    /// It does not stand, or nobody can say so now.
    fn confirm(&self, ping: PingId) -> Told<'_, Result<Session, Unconfirmed>>;
}

/// Why a price is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// No such promise lives.
    Over,
    /// No target would take the call.
    NoBid(Reason),
    /// It may be another server's, and the store that they share does not answer.
    Away,
}

/// Sessions of the last month.
pub trait PastSessions: Send + Sync {
    /// A session of the last month as it was when it was last written down, whether it is over or not.
    fn past(&self, session: SessionId) -> Answer<'_, Option<Session>>;
}

/// What may have to be asked for elsewhere, within a moment.
pub type Told<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Visitors of pages, and forms that are sent in.
pub trait Visitors: Send + Sync {
    /// Opens a session, or brings back the visitor's. Returns once the journal has it.
    fn visit(&self, visit: VisitRequest, key: Option<Reference>) -> Arrival<'_>;

    /// A sign of life, with what is new. Does not wait for the disk. `None`: the session is over.
    ///
    /// # Errors
    /// What is new cannot be taken, or the session may be another server's, and nobody can say so now; then
    /// it is as before.
    fn touch(
        &self,
        session: SessionId,
        update: VisitUpdate,
    ) -> Told<'_, Result<Option<Touched>, PingError>>;

    /// The page was closed: says until when the session lives now. `None`: it is over.
    ///
    /// # Errors
    /// The journal takes nothing, or the session may be another server's, and nobody can say so now.
    fn release(&self, session: SessionId) -> Told<'_, Result<Option<Wall>, PingError>>;

    /// A live session, whatever opened it.
    ///
    /// # Errors
    /// It may be another server's, and nobody can say so now.
    fn session(&self, session: SessionId) -> Told<'_, Result<Option<Session>, PingError>>;
}

/// What [`Visitors::visit`] returns.
pub type Arrival<'a> = Pin<Box<dyn Future<Output = Result<Arrived, PingError>> + Send + 'a>>;

/// A visitor who has a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub visit: Visit,
    /// The same request came before; this is what it was answered.
    pub replayed: bool,
}

/// Who has which number of the pools.
pub trait Pools: Send + Sync {
    /// In the order of the configuration.
    fn pools(&self) -> Vec<PoolState>;

    /// As all servers see it, where they share numbers.
    fn number(&self, number: PhoneNumber) -> Told<'_, NumberState>;
}

/// What [`PingIntake::accept`] returns.
pub type Intake<'a> = Pin<Box<dyn Future<Output = Result<Accepted, PingError>> + Send + 'a>>;

/// What [`PingIntake::accept_all`] returns: what became of each, in their order.
pub type Intakes<'a> = Pin<Box<dyn Future<Output = Vec<Result<Accepted, PingError>>> + Send + 'a>>;

/// Why a ping was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// The publisher's fault.
    #[error(transparent)]
    Refused(#[from] PingRefusals),
    /// It asked for a price, and nothing would be paid for its call.
    #[error("{}", .0.text())]
    NoBid(Reason),
    /// The publisher sends more than it may.
    #[error("{0}")]
    OverQuota(OverQuota),
    /// There is pressure, and the publisher sends more than its share.
    #[error("{0}")]
    OverShare(OverShare),
    /// The same request is being answered.
    #[error("the same request is being answered")]
    InProgress(Reference),
    /// The same key came before with another body.
    #[error("the same key came before with another body")]
    OtherBody(Reference),
    /// The page of a session says something new more often than is kept.
    #[error("the session has changed ten times at once, and may once a second")]
    TooOften,
    /// Ours: the session may be another server's, and the store that they share does not answer.
    #[error("the session may be another server's, and the store that they share does not answer")]
    StoreAway,
    /// Ours: pings are not taken at the moment, for instance because the disk is nearly full.
    #[error("{reason}")]
    Unavailable { reason: String, retry_after_s: u32 },
}

impl From<OverQuota> for PingError {
    fn from(over: OverQuota) -> Self {
        Self::OverQuota(over)
    }
}

impl From<OverShare> for PingError {
    fn from(over: OverShare) -> Self {
        Self::OverShare(over)
    }
}

/// Where consumers of the facts stand.
pub trait Standings: Send + Sync {
    /// In the order they were started in.
    fn standings(&self) -> Vec<Standing>;
}

/// Who is asked about callers.
pub trait Enrichers: Send + Sync {
    /// How each is doing whom a campaign has asked, by their names.
    fn standings(&self) -> Answer<'_, Vec<enrich::Standing>>;
}

/// What buyers have paid in.
pub trait Credit: Send + Sync {
    /// Raises what a buyer may owe. Returns once the journal has it. The same key of a buyer deposits
    /// once.
    fn deposit(&self, buyer: BuyerId, amount: Money, key: SmolStr) -> Deposit<'_>;
}

/// What [`Credit::deposit`] returns.
pub type Deposit<'a> = Pin<Box<dyn Future<Output = Result<Deposited, DepositError>> + Send + 'a>>;

/// Caps that are to begin anew.
pub trait CapResets: Send + Sync {
    /// Nothing that a cap has used in its current window counts any more; what it holds is held still.
    /// Returns once the journal has it.
    fn reset(&self, request: ResetRequest) -> Resetting<'_>;
}

/// What [`CapResets::reset`] returns.
pub type Resetting<'a> = Pin<Box<dyn Future<Output = Result<WasReset, ResetError>> + Send + 'a>>;

/// A cap is to begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetRequest {
    pub cap: SmolStr,
    /// The name of the key that asks for it.
    pub by: SmolStr,
    pub why: SmolStr,
    /// By which the same request is known again; absent: by nothing.
    pub key: Option<SmolStr>,
}

/// A cap has begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasReset {
    pub reset: Reset,
    pub counts: Counts,
    /// The same request came before.
    pub repeated: bool,
}

/// Why a cap has not begun anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    #[error("no such cap")]
    Unknown,
    #[error(transparent)]
    NotResettable(NotResettable),
    #[error("{0}")]
    Unavailable(String),
}

/// A deposit that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposited {
    /// All of the buyer's, this one among them.
    pub deposited: Money,
    /// It came before, and counts once.
    pub repeated: bool,
}

/// Why a deposit does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DepositError {
    #[error("no such buyer has credit")]
    NoCredit,
    #[error("another amount was deposited with this key")]
    Conflict,
    /// With this one it would be more than any buyer may deposit in all.
    #[error("it would be more than {0} in all")]
    TooMuch(Money),
    #[error("{0}")]
    Unavailable(String),
}

/// What the process was started with, as far as it can change.
pub trait Configuration: Send + Sync {
    /// Reads it again and puts it in force. Returns what is in force, or all that is wrong, a sentence
    /// each; then nothing has changed.
    fn reload(&self) -> Reload<'_>;
}

/// A configuration that was put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    pub revision: u64,
    /// Caps whose limit was lowered so far below what is used and held that they take no call for now.
    pub closed: Metered,
}

/// What [`Configuration::reload`] returns.
pub type Reload<'a> = Pin<Box<dyn Future<Output = Result<InForce, Vec<String>>> + Send + 'a>>;

/// What the server gives up at the moment, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PressureShown {
    /// 0 to 4.
    pub level: u8,
    /// The gravest first, a sentence each.
    pub causes: Vec<String>,
}

/// How the process is doing.
pub trait Health: Send + Sync {
    /// `Err` says why no new work should be sent here, a sentence each.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// How the store is that servers share holds through: `open`, `recovering` or `away`; `None`: there
    /// is none. Calls go on without it, so it has no say in [`Health::ready`].
    fn hold_store(&self) -> Option<&'static str>;

    /// The same of the store of sessions.
    fn session_store(&self) -> Option<&'static str>;

    /// What the server gives up at the moment.
    fn pressure(&self) -> PressureShown;

    /// All metrics in the Prometheus text format, version 0.0.4.
    fn metrics(&self) -> String;
}

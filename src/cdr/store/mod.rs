//! Where CDRs are kept and read. The traits are what the API reads through and what the
//! projection writes through; `sqlite` is the default product.
//!
//! A store owns no rule: it keeps the newest revision of each record, and effects and offset are
//! written in one transaction, so that a batch counts once however often it is written (I11).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::enrichment::Enrichment;
use super::fact::{CapReset, PingAccepted, SessionReleased, SessionTouched};
use super::journal::Lsn;
use super::record::{Attempt, AttemptResult, CallRecord, CallState, Outcome};
use crate::id::{BuyerId, CallId, CampaignId, PublisherId, SessionId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::Wall;

pub mod consumers;
pub mod degraded;
mod earlier;
pub mod enrichments;
pub mod fraud;
mod prune;
mod resets;
mod rows;
pub mod sqlite;

const DAY_MS: i64 = 86_400_000;

/// Most records a page holds.
pub const PAGE_MAX: usize = 200;

/// What a store's method returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database failed: {0}")]
    Database(String),
    #[error("row `{row}` of table {table} is damaged: {detail}")]
    Damaged { table: &'static str, row: String, detail: String },
    /// What was kept is whole, and this version makes nothing of it.
    #[error("{what} was kept by another version, and this one does not take it: {detail}")]
    Outdated { what: String, detail: String },
}

/// CDRs as the API reads them.
pub trait CallStore: Send + Sync {
    /// Records that match, newest first, at most `limit` (of [`PAGE_MAX`]) after `after`, the last
    /// of the page before.
    fn list(
        &self,
        filter: CallFilter,
        after: Option<CallId>,
        limit: usize,
    ) -> Answer<'_, Vec<CallRecord>>;

    /// `None` if the call is unknown, or still too young to have been written.
    fn find(&self, call: CallId) -> Answer<'_, Option<CallRecord>>;

    /// The routing decision record a call names as its `explain_ref`, as the router wrote it.
    fn explain(&self, explain_ref: u64) -> Answer<'_, Option<Bytes>>;
}

/// Which calls to list; absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    pub campaign: Option<CampaignId>,
    pub publisher: Option<PublisherId>,
    pub buyer: Option<BuyerId>,
    pub target: Option<TargetId>,
    pub trunk: Option<TrunkId>,
    pub caller: Option<PhoneNumber>,
    pub did: Option<PhoneNumber>,
    pub session: Option<SessionId>,
    pub state: Option<CallState>,
    pub outcome: Option<Outcome>,
    /// Why it ended, or was refused.
    pub reason: Option<Reason>,
    /// Admitted at or after.
    pub since: Option<Wall>,
    /// Admitted before.
    pub until: Option<Wall>,
    /// With a fraud score of at least so much, which calls have that are over.
    pub fraud_min: Option<u8>,
}

impl CallFilter {
    /// The same rule for records in memory, which have no score.
    pub fn matches(&self, record: &CallRecord) -> bool {
        fn wants<T: PartialEq>(want: Option<&T>, have: Option<&T>) -> bool {
            want.is_none_or(|want| Some(want) == have)
        }
        let attempt = record.attempt();
        wants(self.campaign.as_ref(), record.campaign.as_ref())
            && wants(self.publisher.as_ref(), record.publisher.as_ref())
            && wants(self.buyer.as_ref(), attempt.map(|attempt| &attempt.buyer))
            && wants(self.target.as_ref(), attempt.map(|attempt| &attempt.target))
            && wants(self.trunk.as_ref(), record.trunk.as_ref())
            && wants(self.caller.as_ref(), record.caller.as_ref())
            && wants(self.did.as_ref(), record.did.as_ref())
            && wants(self.session.as_ref(), record.session.as_ref())
            && wants(self.state.as_ref(), Some(&record.state))
            && wants(self.outcome.as_ref(), Some(&record.outcome()))
            && wants(self.reason.as_ref(), record.end_reason.as_ref())
            && self.since.is_none_or(|since| record.started_at() >= since)
            && self.until.is_none_or(|until| record.started_at() < until)
            && self.fraud_min.is_none()
    }
}

/// Where the projection keeps what it made of the facts.
pub trait Book: Send + Sync {
    /// How far the projection has come; `None` for an empty book.
    fn progress(&self) -> Answer<'_, Option<Progress>>;

    /// Records of calls that were open at [`Progress::offset`], except those a replay finds.
    fn open_calls(&self) -> Answer<'_, Vec<CallRecord>>;

    /// Records of calls admitted after `since` that were closed after a crash and whose true end is
    /// not known.
    fn orphans(&self, since: Wall) -> Answer<'_, Vec<CallRecord>>;

    /// Use of every cap window that may still be current.
    fn usage(&self) -> Answer<'_, Vec<CapUsage>>;

    /// Caps that began anew in windows that are not over for long at `now`, and when they did, in that
    /// order.
    fn resets(&self, now: Wall) -> Answer<'_, Vec<(CapReset, Wall)>>;

    /// Ping sessions that expire after `now`, and of those that expired after `since` the latest, in
    /// the order in which they were accepted.
    fn sessions(&self, now: Wall, since: Wall) -> Answer<'_, Vec<StoredSession>>;

    /// A ping session as it was when it was last written down, without what enrichers said.
    fn session(&self, session: SessionId) -> Answer<'_, Option<StoredSession>>;

    /// Pings whose requests may be sent again, accepted at `since` or later and before that of the session
    /// `before`, as they were accepted, newest first, at most `limit`.
    fn replied(
        &self,
        since: Wall,
        before: Option<SessionId>,
        limit: u32,
    ) -> Answer<'_, Vec<(PingAccepted, Wall)>>;

    /// The records of calls, of those that have one.
    fn records_of(&self, calls: Vec<CallId>) -> Answer<'_, Vec<CallRecord>>;

    /// Calls of a campaign admitted at `since` or later and before the call `before`, newest first, at
    /// most `limit`.
    fn earlier_calls(
        &self,
        since: Wall,
        before: Option<CallId>,
        limit: u32,
    ) -> Answer<'_, Vec<EarlierCall>>;

    /// How the attempts of closed calls went that were admitted at `since` or later and before
    /// `until`, but for some calls.
    fn counted(&self, since: Wall, until: Wall, but: Vec<CallId>) -> Answer<'_, Vec<CountedCalls>>;

    /// How attempts went that began in the seven days before `now`, of calls that are over.
    fn tried(&self, now: Wall) -> Answer<'_, Vec<TriedTarget>>;

    /// The same of ways to targets.
    fn tried_ways(&self, now: Wall) -> Answer<'_, Vec<TriedWay>>;

    /// Writes all of `batch` or nothing.
    fn write(&self, batch: Arc<Batch>) -> Answer<'_, ()>;

    /// Forgets cap windows that are over and sessions that expired long ago.
    fn prune(&self, now: Wall) -> Answer<'_, ()>;
}

/// Configurations that calls were decided on, by their revisions. What they hold is routing's.
pub trait Revisions: Send + Sync {
    /// The latest that was kept.
    fn latest(&self) -> Answer<'_, Option<(u64, Bytes)>>;

    fn find(&self, revision: u64) -> Answer<'_, Option<Bytes>>;

    /// Keeps one for good.
    fn keep(&self, revision: u64, document: Bytes, at: Wall) -> Answer<'_, ()>;
}

/// Decision records for whoever goes through them.
pub trait Decisions: Send + Sync {
    /// Keys and records of decisions after `after`, oldest first, at most `limit`.
    fn decisions(&self, after: u64, limit: u32) -> Answer<'_, Vec<(u64, Bytes)>>;

    /// Key of the `count`th decision before the end, or zero if there are not so many: those after it
    /// are the last `count`.
    fn before_last(&self, count: u32) -> Answer<'_, u64>;
}

/// The latest decision records, the oldest first, some at a time: all of them may be more than there is
/// memory for.
pub struct LastDecisions<'a> {
    store: &'a dyn Decisions,
    /// The key of the last that was read; absent: none was.
    after: Option<u64>,
    rest: u32,
}

impl<'a> LastDecisions<'a> {
    const PAGE: u32 = 500;

    /// At most `count`.
    pub fn new(store: &'a dyn Decisions, count: u32) -> Self {
        Self { store, after: None, rest: count }
    }

    /// The next of them; empty: there are no more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn page(&mut self) -> Result<Vec<Bytes>, StoreError> {
        let after = match self.after {
            Some(after) => after,
            None => self.store.before_last(self.rest).await?,
        };
        let page = self.store.decisions(after, Self::PAGE.min(self.rest)).await?;
        self.after = Some(page.last().map_or(after, |(last, _)| *last));
        self.rest = self.rest.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
        Ok(page.into_iter().map(|(_, record)| record).collect())
    }
}

/// How far a projection has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything up to here has had its effect.
    pub offset: Lsn,
    /// A restart reads again from just after here, to learn of calls that are open.
    pub replay_after: Lsn,
}

/// How much of a cap is used up in one of its windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapUsage {
    pub cap: SmolStr,
    pub window: SmolStr,
    pub used: i64,
}

/// What of a call concerns later ones of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierCall {
    pub call: CallId,
    pub at: Wall,
    /// Absent: the caller was anonymous.
    pub caller: Option<PhoneNumber>,
    pub dialed: PhoneNumber,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    /// Who answered and when; absent: nobody.
    pub answered: Option<(TargetId, BuyerId, Wall)>,
    /// When the buyer came to owe for it.
    pub converted_at: Option<Wall>,
    pub talk_ms: Option<u64>,
    /// The buyer owes something for it if it converts.
    pub charges: bool,
    /// The publisher is paid something if it talks for so long; absent: nothing.
    pub pays_after_ms: Option<u32>,
    /// Who answered it before, when, and for how many milliseconds, and hung up at once, so that it went on
    /// to the next one.
    pub left: Vec<(TargetId, BuyerId, Wall, u64)>,
}

impl EarlierCall {
    /// `None`: the call was of no campaign.
    pub fn of(record: &CallRecord) -> Option<Self> {
        let attempt = record.attempt();
        let terms = attempt.and_then(|attempt| attempt.terms.as_ref());
        let terms = terms.filter(|_| record.answered_ms.is_some());
        let (charges, pays_after_ms) = match record.talk_ms {
            Some(_) => (record.revenue > Money::ZERO, record.paid_after_ms()),
            None => (
                terms.is_some_and(|terms| terms.revenue > Money::ZERO),
                terms
                    .filter(|terms| terms.payout > Money::ZERO)
                    .map(|terms| terms.payout_seconds.saturating_mul(1_000)),
            ),
        };
        let is_left = |it: &&Attempt| {
            it.result == AttemptResult::EndedEarly && Some(it.leg) != record.answered_leg
        };
        let left = record.attempts.iter().filter(is_left).filter_map(|it| {
            let at = record.wall(it.settled_ms?);
            Some((it.target.clone(), it.buyer.clone(), at, it.talk_ms?))
        });
        Some(Self {
            left: left.collect(),
            call: record.call,
            at: record.started_at(),
            caller: record.caller,
            dialed: record.did?,
            campaign: record.campaign.clone()?,
            publisher: record.publisher.clone()?,
            answered: record.answered_ms.zip(attempt).map(|(ms, attempt)| {
                (attempt.target.clone(), attempt.buyer.clone(), record.wall(ms))
            }),
            converted_at: record.converted_ms.map(|ms| record.wall(ms)),
            talk_ms: record.talk_ms,
            charges,
            pays_after_ms,
        })
    }
}

/// How the calls of one day went that were tried at a target for one publisher and campaign. A call
/// that was handed over to the carrier is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedCalls {
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub target: TargetId,
    pub buyer: BuyerId,
    /// Of UTC, on which they were admitted, counted from the Unix epoch.
    pub day: i64,
    pub dialed: u32,
    pub connected: u32,
    pub converted: u32,
    /// How long it took those to convert, in all, from their answers on.
    pub won_ms: u64,
    /// How long those talked, in all, that were connected last and did not convert.
    pub lost_ms: u64,
}

/// How attempts at a target went on one day, of which its answering tells: those that were answered,
/// refused or failed, rang out, or were given up by a caller who had waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedTarget {
    pub target: TargetId,
    /// Whole days ago.
    pub days_ago: u32,
    pub attempts: u32,
    pub answered: u32,
}

/// The same of a way to targets; there those count too that led to another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriedWay {
    /// `trunk/trk_a`, or a host with its port.
    pub way: SmolStr,
    /// Whole days ago.
    pub days_ago: u32,
    pub attempts: u32,
    pub answered: u32,
}

/// Attempts that began longer ago are not asked for.
pub const TRIED_DAYS: u32 = 7;

/// A caller who gives up after less, of which it rang all the time, says nothing of the target.
pub const PATIENCE_MS: u64 = 8_000;

impl TriedTarget {
    /// The reasons of attempts that failed by what the target did, or its way.
    pub const REASONS: [Reason; 7] = [
        Reason::AttemptCarrierFailed,
        Reason::AttemptNoResponse,
        Reason::AttemptNoRinging,
        Reason::AttemptUnresolved,
        Reason::AttemptNoAnswer,
        Reason::AttemptBusy,
        Reason::AttemptRejected,
    ];

    /// What one call adds, an entry for each of its attempts.
    pub fn of(record: &CallRecord, now: Wall) -> Vec<Self> {
        let reached = told(record, now).filter(|told| !record.went_on_another_way(told.attempt));
        let counts = reached.map(|Told { attempt, days_ago, answered }| {
            let target = attempt.target.clone();
            Self { target, days_ago, attempts: 1, answered }
        });
        counts.collect()
    }
}

impl TriedWay {
    /// What one call adds, an entry for each of its attempts.
    pub fn of(record: &CallRecord, now: Wall) -> Vec<Self> {
        let counts = told(record, now).filter_map(|Told { attempt, days_ago, answered }| {
            Some(Self { way: attempt.way.clone()?, days_ago, attempts: 1, answered })
        });
        counts.collect()
    }
}

/// An attempt that tells how often its target answers.
struct Told<'a> {
    attempt: &'a Attempt,
    days_ago: u32,
    answered: u32,
}

fn told(record: &CallRecord, now: Wall) -> impl Iterator<Item = Told<'_>> {
    record.attempts.iter().filter_map(move |attempt| {
        let answered = match attempt.result {
            AttemptResult::Answered | AttemptResult::EndedEarly => 1,
            AttemptResult::Failed => {
                attempt.reason.filter(|reason| TriedTarget::REASONS.contains(reason))?;
                0
            }
            AttemptResult::Abandoned => {
                attempt.ring_ms().filter(|ring| *ring >= PATIENCE_MS)?;
                0
            }
            AttemptResult::Pending | AttemptResult::HandedOver => return None,
        };
        let ago_ms = now.0 - record.wall(attempt.started_ms).0;
        let days_ago = u32::try_from((ago_ms / DAY_MS).max(0)).ok()?;
        (days_ago < TRIED_DAYS).then_some(Told { attempt, days_ago, answered })
    })
}

impl CountedCalls {
    /// What one call adds, an entry for each of its targets.
    pub fn of(record: &CallRecord) -> Vec<Self> {
        let (Some(campaign), Some(publisher)) = (&record.campaign, &record.publisher) else {
            return vec![];
        };
        let mut counted: Vec<Self> = vec![];
        for attempt in &record.attempts {
            let is_answered =
                matches!(attempt.result, AttemptResult::Answered | AttemptResult::EndedEarly);
            let connected = u32::from(is_answered);
            if attempt.result == AttemptResult::HandedOver {
                continue;
            }
            // One that redirected the call was tried once.
            if let Some(known) = counted.iter_mut().find(|it| it.target == attempt.target) {
                known.connected = known.connected.max(connected);
                continue;
            }
            counted.push(Self {
                campaign: campaign.clone(),
                publisher: publisher.clone(),
                target: attempt.target.clone(),
                buyer: attempt.buyer.clone(),
                day: record.started_at().0.div_euclid(DAY_MS),
                dialed: 1,
                connected,
                converted: 0,
                won_ms: 0,
                lost_ms: 0,
            });
        }
        let answered_by = record.attempt().zip(record.answered_ms);
        let by = answered_by.and_then(|(it, answered_ms)| {
            Some((counted.iter_mut().find(|by| by.target == it.target)?, answered_ms))
        });
        match (by, record.converted_ms) {
            (Some((by, answered_ms)), Some(converted_ms)) => {
                by.converted = 1;
                by.won_ms = converted_ms.saturating_sub(answered_ms);
            }
            (Some((by, _)), None) => by.lost_ms = record.talk_ms.unwrap_or(0),
            (None, _) => {}
        }
        counted
    }
}

/// A ping session as it was accepted, and whether a call used it up.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    pub ping: PingAccepted,
    pub accepted_at: Wall,
    pub consumed_at: Option<Wall>,
    /// What enrichers answered of its caller, in the order in which they did.
    pub enriched: Vec<Enrichment>,
}

/// What signs of life have changed of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    pub expires_at: Wall,
    /// Absent: the one it had.
    pub number: Option<PhoneNumber>,
    /// It has none any more.
    pub has_lost_number: bool,
    /// Absent: as before.
    pub caller: Option<PhoneNumber>,
    /// All its tags; empty: as before.
    pub tags: Vec<(SmolStr, SmolStr)>,
}

/// What a portion of the journal comes to.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub node: u32,
    /// Closed calls, and open ones that are due for a partial record; of one call the last counts.
    pub calls: Vec<Arc<CallRecord>>,
    /// Decision records with their keys.
    pub decisions: Vec<(u64, Bytes)>,
    /// Open calls to be kept over a restart…
    pub parked: Vec<Arc<CallRecord>>,
    /// …and those that need not be any more.
    pub unparked: Vec<CallId>,
    /// Calls that are over and were matched without the store that servers share…
    pub degraded: Vec<CallId>,
    /// …and those that were looked at again.
    pub rematched: Vec<CallId>,
    /// What became used, per cap and window.
    pub used: BTreeMap<(SmolStr, SmolStr), i64>,
    /// Caps that began anew.
    pub resets: Vec<(CapReset, Wall)>,
    pub sessions: Vec<(PingAccepted, Wall)>,
    /// What is new of sessions, those above among them; the last of each.
    pub moved: BTreeMap<SessionId, Moved>,
    pub consumed: Vec<(SessionId, Wall)>,
    /// What was told of the callers of sessions.
    pub enriched: Vec<Enrichment>,
    pub progress: Option<Progress>,
    pub recorded_at: Wall,
}

impl Batch {
    pub fn touch(&mut self, touched: SessionTouched) {
        let SessionTouched { session, expires_at_ms, number, tags, has_lost_number, caller } =
            touched;
        let moved = self.moved(session, expires_at_ms);
        if has_lost_number || number.is_some() {
            (moved.number, moved.has_lost_number) = (number, has_lost_number);
        }
        moved.caller = caller.or(moved.caller);
        if !tags.is_empty() {
            moved.tags = tags;
        }
    }

    pub fn release(&mut self, released: &SessionReleased) {
        self.moved(released.session, released.expires_at_ms);
    }

    fn moved(&mut self, session: SessionId, expires_at_ms: i64) -> &mut Moved {
        let expires_at = Wall(expires_at_ms);
        let new = || Moved {
            expires_at,
            number: None,
            has_lost_number: false,
            caller: None,
            tags: vec![],
        };
        let moved = self.moved.entry(session).or_insert_with(new);
        moved.expires_at = expires_at;
        moved
    }
}

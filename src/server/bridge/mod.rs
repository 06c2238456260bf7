//! Where the domains meet on a shard's thread: calls ask, routing decides, facts are written.

mod holding;
mod judging;
mod looking;
mod telling;
mod waiting;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use slotmap::SecondaryMap;
use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::cdr::fact::{self, Fact, Stamp};
use crate::cdr::journal::file::Appender;
use crate::cdr::journal::{Durability, Lsn, Pressure};
use crate::id::{CallId, CampaignId, HoldId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::{NoRoute, Reason};
use crate::routing::hold::Denied;
use crate::routing::selection::ScoreReading;
use crate::routing::{CallScope, PlannedAttempt, RouteRequest};
use crate::sip::call::plan::{Attempt, Destination, Handover, Plan, Refusal};
use crate::sip::call::report::AttemptNumber;
use crate::sip::endpoint::{Admission, CallKey, Input, ProbeTarget};
use crate::sip::locate::Failing;
use crate::sip::locate::probe::Verdict;
use crate::sip::policy::Targets;
use crate::sip::trunk::{TrunkIndex, Trunks};
use crate::time::Mono;

use super::addresses::Addresses;
use super::clock::Clock;
use super::deciding::{Decided, Deciding, OfferedRoom, RENEW_EVERY};
use super::dialing::Dialing;
use super::holds::Counting;
use super::legs::TargetLegs;
use super::limits::{Limit, TargetLimits, TrunkLimits, Turn};
use super::metrics::CallMetrics;
use super::orphans::OpenOrphans;
use super::outcomes::Outcomes;
use super::planning::Planning;
use super::probing::{Known, Probing};
use super::reload::Agreed;
use super::scoring::Scoring;
use super::sessions::Looked;
use super::standing::{Address, Standing};
use super::tls::TlsParties;
use super::translate;

use holding::Asking;
use looking::{Sought, dialed};
use waiting::Undecided;

pub use holding::Room;
pub(super) use holding::{RoomFor, Rooms};
pub(super) use looking::Sessions;
pub use looking::{First, Found};
pub use writing::DurableMark;

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
    /// What a call speaks whose confirmation is reported next.
    spoken: Option<(CallKey, SmolStr)>,
    /// Facts the journal had no room for. They go first when it has.
    backlog: VecDeque<(Fact, Durability)>,
    /// Something was counted whose fact is yet to be written, where others are told what counts.
    counting: Option<Counting>,
    outcomes: Outcomes,
    renew_at: Mono,
    checkpoint_at: Mono,
    /// Of the shard that sees to that.
    probing: Probing,
    /// Present: room is asked for elsewhere.
    rooms: Option<Rooms>,
    /// Present: sessions are looked for elsewhere.
    sessions: Option<Sessions>,
    /// Absent: no scorer is asked, as in a rehearsal.
    scoring: Option<Scoring>,
    undecided: SecondaryMap<CallKey, Box<Undecided>>,
}

/// How a question of the endpoint is answered.
pub enum Answer {
    Now(Result<(), Reason>),
    /// By [`Bridge::next_durable`].
    WhenDurable,
    /// Its turn comes then; [`Bridge::turn_came`] is to be told.
    At(Mono),
    /// [`Bridge::room_came`] is to be told.
    ByMail,
}

/// A new call's plan, and when it may be told if not at once.
pub type Decision = (Result<Box<Plan>, Refusal>, Option<Mono>);

/// What becomes of a new call.
pub enum Admitted {
    Decided(Decision),
    /// When all who were asked have answered; [`Bridge::overdue`] is to be told at this instant. Others
    /// may then be asked.
    Asked(Mono),
}

/// What the server remembers of a call.
struct LiveCall {
    id: CallId,
    trunk: TrunkIndex,
    plan: Vec<PlannedAttempt>,
    scope: Option<Box<CallScope>>,
    /// Absent: it is of none, or not decided yet.
    campaign: Option<CampaignId>,
    /// Why none of the campaign's targets takes it, as it was decided.
    no_route: Option<NoRoute>,
    /// The latest attempt, or the one that was answered.
    attempt: AttemptNumber,
    /// Of the attempts in progress, or of the one that was answered.
    holds: SmallVec<[Held; 1]>,
    /// Attempts that are not over.
    tries: SmallVec<[Try; 1]>,
    /// Attempts that were begun.
    started: SmallVec<[AttemptNumber; 8]>,
    /// The hold that an attempt waits for.
    asked: Option<Box<(HoldId, Asking)>>,
    /// What had no room for the latest attempt that was denied, until that is told.
    full: Option<Box<(AttemptNumber, Denied)>>,
    pinned: Option<PhoneNumber>,
    /// Caps have counted that it came, which is on disk before it goes anywhere.
    is_counted: bool,
    admitted: Mono,
    answered: Option<Mono>,
    /// How long it talked to the last target that hung up at once.
    left: Option<Duration>,
    /// We answered the caller ourselves, before any target.
    taken: bool,
    /// The caller acknowledged the answer.
    confirmed: bool,
    /// When the call converts, until it has.
    converts_at: Option<Mono>,
}

/// An attempt in progress, for the circuit of its target.
struct Try {
    attempt: AttemptNumber,
    begun: Mono,
    rang: Option<Mono>,
}

/// What an attempt occupies until it is over.
struct Held {
    attempt: AttemptNumber,
    hold: Option<HoldId>,
    /// A place under the target's limits.
    channel: Option<Arc<Limit>>,
    /// Its turn to be dialled, until that has come.
    waits_until: Option<Mono>,
    /// Counts attempts: on disk before the INVITE leaves.
    durable: bool,
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
            spoken: None,
            backlog: VecDeque::new(),
            counting: None,
            outcomes: Outcomes::default(),
            renew_at: now + RENEW_EVERY,
            probing: Probing::default(),
            rooms: None,
            sessions: None,
            scoring: None,
            undecided: SecondaryMap::new(),
        }
    }

    /// Other nodes have a say in what attempts get.
    pub(super) fn share(&mut self, rooms: Rooms) {
        self.rooms = Some(rooms);
    }

    /// Sessions are others' as well.
    pub(super) fn share_sessions(&mut self, sessions: Sessions) {
        self.sessions = Some(sessions);
    }

    /// Scorers elsewhere are asked from now on, where tiers name some.
    pub(super) fn ask_scorers(&mut self, scoring: Scoring) {
        self.scoring = Some(scoring);
    }

    /// What is agreed with trunks and targets about new calls from now on.
    pub fn configure(&mut self, agreed: Agreed) {
        let Agreed { trunks, legs, dialing, targets, target_limits, tls } = agreed;
        let parts = &mut self.parts;
        (parts.trunks, parts.legs, parts.dialing) = (trunks, legs, dialing);
        (parts.targets, parts.target_limits, parts.tls) = (targets, target_limits, tls);
    }

    /// Journals a new call and decides where it goes, or asks scorers and for room first.
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
                campaign: None,
                no_route: None,
                attempt: 0,
                holds: SmallVec::new(),
                tries: SmallVec::new(),
                started: SmallVec::new(),
                asked: None,
                full: None,
                pinned: None,
                is_counted: false,
                admitted: admission.at,
                answered: None,
                left: None,
                taken: false,
                confirmed: false,
                converts_at: None,
            },
        );
        self.parts.live.fetch_add(1, Ordering::Relaxed);
        let turn = self.parts.limits.enter(admission.trunk, admission.at);
        self.metrics.admitted(&trunk);
        let stamp = Stamp::new(self.parts.clock.wall(), admission.at);
        let named = translate::named(admission);
        let (number, sought) = match named.filter(|_| self.sessions.is_some()) {
            // What it has dialled others may know.
            Some(named) => (Ok(None), Some(Sought::Named(named, trunk.clone()))),
            None => {
                let stand_in = |key| self.parts.deciding.stand_in(key);
                let (number, named) = dialed(admission, named, stand_in);
                (number.map(|number| Some((number, named))), None)
            }
        };
        if sought.is_none() || trunk.as_str().is_empty() {
            let number = number.ok().flatten().map(|(number, _)| number);
            self.append(admitted(admission, stamp, trunk.clone(), number), Durability::Buffered);
        }

        let refuse = |reason| Admitted::Decided((Err(Refusal::from(reason)), None));
        if self.parts.appender.pressure() >= Pressure::Reserve || !self.backlog.is_empty() {
            return refuse(Reason::JournalFull);
        }
        let told_at = match turn {
            Turn::Now => None,
            Turn::At(at) => Some(at),
            Turn::Full => return refuse(Reason::TrunkFull),
        };
        if trunk.as_str().is_empty() {
            return refuse(Reason::TrunkUnknown);
        }
        let request = match number {
            Ok(known) => known
                .map(|(number, named)| translate::route_request(admission, number, named, trunk)),
            Err(reason) => return refuse(reason),
        };
        match (sought.or_else(|| request.clone().map(Sought::Call)), request) {
            (Some(sought), request) if self.sessions.is_some() => {
                let is_written = request.is_some();
                Admitted::Asked(self.looks(admission, stamp, sought, is_written, told_at))
            }
            (_, Some(request)) => self.goes_on(admission, stamp, request, None, told_at),
            (_, None) => refuse(Reason::SessionUnknown),
        }
    }

    fn decide(
        &mut self,
        admission: &Admission,
        stamp: Stamp,
        request: &RouteRequest,
        scores: &[ScoreReading],
        room: Option<&OfferedRoom>,
        looked: Option<&Looked>,
    ) -> Result<Box<Plan>, Refusal> {
        let started = self.parts.clock.mono();
        self.begin_counting();
        let mut decided = self.parts.deciding.decide(request, admission.at, scores, room, looked);
        decided.decision.plan = translate::each_way(decided.decision.plan);
        let decision = &decided.decision;
        let now = self.parts.clock.mono();
        self.metrics.decided(now.since(started));
        let outcome = match decision.refused {
            Some(reason) => Err(Refusal { reason, status: decision.status }),
            None => Ok(self.plan(admission.trunk, request, &decided)),
        };
        if outcome.as_ref().is_ok_and(|plan| is_told_by_its_end(decision, plan)) {
            let (trunk, number) = (request.trunk.clone(), Some(request.dialed));
            let first = admitted(admission, stamp, trunk, number);
            self.outcomes.follow(admission.id, first);
        }
        let record = Bytes::copy_from_slice(&decided.record);
        self.write(
            admission.id,
            now,
            translate::decided(decision, record, looked.is_some_and(|it| !it.is_all)),
            Durability::Buffered,
        );
        if decided.consumed
            && let Some(session) = decision.attribution.as_ref().and_then(|it| it.session)
        {
            self.write(admission.id, now, fact::SessionConsumed { session }, Durability::Buffered);
        }
        if let Some(sessions) = &self.sessions {
            if let (Some(used), Some(attribution)) = (decided.used, &decision.attribution) {
                let publisher = attribution.publisher.clone();
                sessions.used(admission.id, used, publisher, request.at);
            }
            if let Some(number) = decided.pinned {
                sessions.pin(admission.id, number, request.at);
            }
        }
        if decided.explored > Money::ZERO
            && let Some(attribution) = &decision.attribution
        {
            let hold = HoldId::of(admission.id, 0, "explored");
            let spent = translate::explored(&attribution.campaign, request.at, decided.explored);
            let settled = fact::HoldSettled { hold, buckets: vec![spent] };
            self.write(admission.id, now, settled, Durability::Buffered);
        }
        if !decided.offered.is_empty() {
            let hold = HoldId::of(admission.id, 0, "offered");
            let buckets = decided.offered.iter().cloned().map(translate::one_more).collect();
            let counted = fact::HoldSettled { hold, buckets };
            self.write(admission.id, now, counted, Durability::Durable);
        }
        self.end_counting();
        tracing::debug!(
            trunk = %request.trunk,
            targets = decision.plan.len(),
            refused = ?decision.refused,
            "the call is routed"
        );
        if let Err(Refusal { reason, .. }) = outcome {
            self.metrics.no_route(reason);
        }
        if let Some(live) = self.calls.get_mut(admission.call) {
            live.pinned = decided.pinned;
            live.is_counted = !decided.offered.is_empty();
            live.scope = decided.scope;
            live.no_route = decided.decision.no_route;
            live.campaign = decided.decision.attribution.map(|it| it.campaign);
            live.plan = decided.decision.plan;
        }
        outcome
    }

    fn plan(&self, trunk: TrunkIndex, request: &RouteRequest, decided: &Decided) -> Box<Plan> {
        let Parts { targets, trunks, addresses, standing, legs, tls, dialing, clock, .. } =
            &self.parts;
        let addresses = addresses.load();
        let planning =
            Planning { targets, addresses: &addresses, standing, legs, tls, dialing, clock };
        let (trunk, decision, tags) = (trunks.get(trunk), &decided.decision, &decided.tags);
        planning.plan(trunk, request, decision, tags, |target| self.bridges_instead(target))
    }

    /// What a call comes to that the carrier has taken nobody tells us, and so caps on that could be
    /// passed by it: it is bridged. Its target is named once.
    fn bridges_instead(&self, target: &TargetId) {
        tracing::debug!(target.id = %target, "bridged: a cap counts what only its end tells");
        if self.parts.standing.is_first_bridged(target) {
            tracing::warn!(
                target.id = %target,
                "calls to a target are bridged, not handed to the carrier as delivery says: caps on \
                 conversions, money or minutes count them, and of calls that are handed over nobody \
                 tells what they come to"
            );
        }
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
    pub fn tried(&self, address: Address, now: Mono) {
        self.parts.standing.tried(address, now);
    }

    /// What was learnt of an address.
    pub fn rate(&self, address: Address, how: Result<(), Failing>, now: Mono) {
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
        self.end_left(now);
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
}

impl LiveCall {
    /// Whether the attempt is under way.
    fn has_begun(&self, attempt: AttemptNumber) -> bool {
        self.tries.iter().any(|it| it.attempt == attempt)
    }

    fn hold_of(&self, attempt: AttemptNumber) -> Option<HoldId> {
        self.holds.iter().find(|held| held.attempt == attempt)?.hold
    }
}

fn admitted(
    admission: &Admission,
    stamp: Stamp,
    trunk: TrunkId,
    number: Option<PhoneNumber>,
) -> Fact {
    Fact::of_call(admission.id, stamp, translate::admitted(admission, trunk, number))
}

/// Whether what caps count of a call depends on all that happens to it.
fn is_told_by_its_end(decision: &crate::routing::Decision, plan: &Plan) -> bool {
    let is_referred =
        |attempt: &Attempt| matches!(attempt.handover.as_deref(), Some(Handover::Refer(_)));
    decision.plan.iter().any(PlannedAttempt::is_counted_at_end)
        || plan.attempts.iter().any(is_referred)
}

fn planned(plan: &[PlannedAttempt], attempt: AttemptNumber) -> Option<&PlannedAttempt> {
    plan.get(usize::from(attempt).checked_sub(1)?)
}

/// An attempt like a planned one at a place that a party has named.
fn elsewhere(like: &PlannedAttempt, uri: String) -> PlannedAttempt {
    PlannedAttempt { uri, way: None, ..like.clone() }
}

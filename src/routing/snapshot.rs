//! The configuration, checked and with every name resolved. Immutable: a call or a ping keeps the
//! one it began with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::id::{AccountId, BuyerId, CampaignId, PoolId, PublisherId, TargetId, TrunkId};
use crate::money::{Currency, Money};
use crate::phone::PhoneNumber;
use crate::reason::NoRoute;
use crate::time::Wall;

use super::access::Access;
use super::attribution::{EARLIER_MAX, FORMER_MAX, Method, SessionKey, TrunkWord, owner};
use super::compile;
use super::config::{
    Anonymous, CallersConfig, CircuitConfig, Confidence, ConfigFault, NamedOr, OnStoreDown,
    PayDuplicates, PingFilter, QuotaConfig, Ring, RoutingConfig, ScheduleConfig, Source, Span,
};
use super::decision::{PlannedAttempt, Readings, Recovery, Terms};
use super::dial::{Dial, Way};
use super::door::Doors;
use super::duplicate::Dedupe;
use super::effective::{CampaignSources, PoolSources, TargetSources, TierSources};
use super::enrich::Enricher;
use super::filter::Filters;
use super::geo::{Geo, LineRecord, Lines};
use super::history::{Caller, HistoryLimits, LooksBack};
use super::hold::{BUCKETS_MAX, Bucket, BucketRequest, Counts, KEPT_AFTER_END, Stake};
use super::limits::{CallLimits, Windows, Zones};
use super::list::{ListRules, Lists};
use super::price::PriceRules;
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::schedule::{Schedule, zone_name};
use super::selection::Distribution;
use super::vertical::Vertical;
use super::window;

pub use super::limits::{Cap, Concurrency, Gap, Hours, LiveRate, Mode, PaceRate, Pacing, Pair};

/// One revision of the routing configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingSnapshot {
    pub(super) revision: u64,
    pub(super) access: Access,
    pub(super) doors: Doors,
    pub(super) account: Account,
    pub(super) publishers: Vec<Publisher>,
    pub(super) buyers: Vec<Buyer>,
    pub(super) targets: Vec<Target>,
    pub(super) campaigns: Vec<Campaign>,
    pub(super) pools: Vec<Pool>,
    /// Ascending, without overlap.
    pub(super) numbers: Vec<NumberRange>,
    pub(super) geo: Arc<Geo>,
    /// Absent: what is on record of lines is not known. Configurations that are kept do not say.
    pub(super) lines: Option<Arc<Lines>>,
    pub(super) lists: Lists,
    pub(super) zones: Zones,
    pub(super) publisher_index: BTreeMap<PublisherId, usize>,
    pub(super) target_index: BTreeMap<TargetId, usize>,
    pub(super) campaign_index: BTreeMap<CampaignId, usize>,
    pub(super) pool_index: BTreeMap<PoolId, usize>,
    pub(super) pairs: Vec<Pair>,
    /// Of trunks that have any.
    pub(super) trunk_caps: BTreeMap<TrunkId, Vec<Cap>>,
    /// Of numbers that have any. Ascending, without overlap.
    pub(super) number_limits: Vec<NumberLimits>,
    /// What is known of each trunk.
    pub(super) trunks: BTreeMap<TrunkId, Trunk>,
    /// Of hosts that are ways to targets; absent: it is switched off.
    pub(super) host_circuit: Option<Arc<CircuitConfig>>,
    pub(super) host_circuit_from: Source,
    /// Whether a trunk names sessions.
    pub(super) trunks_name_sessions: bool,
    pub(super) caps_calls: bool,
    /// Limits that say other than [`OnStoreDown::Escrow`], by their keys.
    pub(super) on_store_down: BTreeMap<SmolStr, OnStoreDown>,
    pub(super) history: LooksBack,
    pub(super) history_limits: HistoryLimits,
    /// How far back tiers look that go by performance, and caps that are paced by how calls went;
    /// absent: none does.
    pub(super) performance_days: Option<u32>,
    /// Whether tiers ask scorers elsewhere.
    pub(super) asks: bool,
    /// Whether caps count calls as they come.
    pub(super) counts_offered: bool,
}

/// Whom the server works for.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
    pub currency: Currency,
    /// Where calls to sessions' own addresses come in, as publishers are told it.
    pub sip_host: Option<SmolStr>,
    /// What a call to a session's own address has dialled while nobody can say whose session it is.
    pub(super) stand_in: Option<PhoneNumber>,
    /// On all calls.
    pub caps: Vec<Cap>,
    pub concurrency: Option<Concurrency>,
    /// Where its time zone came from.
    pub(super) zone_from: Source,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    pub id: PublisherId,
    pub name: String,
    pub paused: bool,
    pub payouts: BTreeMap<CampaignId, Payout>,
    pub caps: Vec<Cap>,
    pub concurrency: Option<Concurrency>,
    pub price: Option<PriceRules>,
    /// How many pings it may send; absent: as many as come.
    pub quota: Option<QuotaConfig>,
    /// Its pings are refused that have fields which are not known here, unless they say otherwise.
    pub strict_pings: bool,
    pub(super) quota_from: Source,
    pub(super) strict_pings_from: Source,
}

/// What routing knows of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Whose it is; absent: a carrier's.
    pub publisher: Option<PublisherId>,
    /// The tag of the header that names sessions, such as `header.x-ping-id`.
    pub session_tag: Option<SmolStr>,
    /// As that of the account; absent: what that says.
    pub(super) stand_in: Option<PhoneNumber>,
    /// Its own, else that of all; absent: it is switched off.
    pub circuit: Option<Arc<CircuitConfig>>,
    pub(super) circuit_from: Source,
    /// What it says of codes that lead another way to a target; absent: what the target says.
    pub(super) next_way_on: Option<Vec<u16>>,
    /// The same of codes that lead to the next target, and of the campaign.
    pub(super) advance_on: Option<Vec<u16>>,
}

/// What a publisher is owed for a call of one campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payout {
    pub amount: Money,
    /// Seconds after the answer; absent: when the call converts for the buyer.
    pub seconds: Option<u32>,
    pub dedupe: PayDuplicates,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Buyer {
    pub id: BuyerId,
    pub name: String,
    /// What it may owe, as a cap of all time; absent: there is no limit.
    pub credit: Option<Cap>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub id: TargetId,
    pub buyer: BuyerId,
    pub name: String,
    /// The ways to it as they are written; at least one.
    pub dials: Vec<Dial>,
    pub ring_timeout_ms: u32,
    pub first_response_ms: u32,
    pub max_pdd_ms: u32,
    /// Codes that lead another way to it, where no trunk says it.
    pub(super) next_way_on: Vec<u16>,
    pub ring_timeout_covers_progress: bool,
    pub max_duration_ms: u32,
    pub paused: bool,
    /// Absent: always open.
    pub schedule: Option<Arc<Schedule>>,
    /// The same, as it is written.
    pub(super) written_schedule: Option<Arc<NamedOr<ScheduleConfig>>>,
    /// Its own, then its buyer's and its groups'.
    pub caps: Vec<Cap>,
    pub gaps: Vec<Gap>,
    pub concurrency: Vec<Concurrency>,
    /// Those it may be of, as places in the snapshot's.
    pub(super) pairs: Vec<usize>,
    pub filters: Filters,
    /// Its own, else its buyer's, else that of all.
    pub dedupe: Option<Dedupe>,
    pub(super) from: TargetSources,
    /// Its own and its buyer's.
    pub(super) lists: ListRules,
    pub conversion: Option<Conversion>,
    /// Its own, else its buyer's; absent: it is switched off.
    pub circuit: Option<Arc<CircuitConfig>>,
}

/// What a buyer owes when a call is still up `seconds` after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub seconds: u32,
    pub revenue: Money,
    pub dedupe: PayDuplicates,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    pub id: CampaignId,
    pub name: String,
    pub publisher: Option<PublisherId>,
    pub vertical: Option<Arc<Vertical>>,
    pub paused: bool,
    /// Ascending; campaigns that name one plan share them.
    pub tiers: Arc<[Tier]>,
    pub advance_on: Arc<[u16]>,
    pub max_attempts: u16,
    pub total_ring_budget_ms: u32,
    pub recovery: Option<Recovery>,
    pub no_route: NoRouteActions,
    pub min_match_confidence: Confidence,
    pub caps: Vec<Cap>,
    pub concurrency: Option<Concurrency>,
    pub callers: CallersConfig,
    pub ping_filter: PingFilter,
    pub(super) from: CampaignSources,
    pub(super) lists: ListRules,
    /// A number of each publisher who has some, for calls that dial none.
    pub(super) stand_ins: BTreeMap<usize, PhoneNumber>,
    pub price: Option<PriceRules>,
    /// Whether a payout may be more than the revenue, where the publisher does not say it.
    pub(super) allow_loss: bool,
    /// Whom its sessions are told to.
    pub enrich: Vec<Arc<Enricher>>,
}

/// What is done with a call that no target takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoRouteActions {
    pub none_match: NoRouteAction,
    pub all_closed: NoRouteAction,
    pub no_capacity: NoRouteAction,
    pub none_answered: NoRouteAction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoRouteAction {
    /// What the caller is answered; absent: as the reason says.
    pub status: Option<u16>,
    /// Which target is called.
    pub(super) overflow: Option<usize>,
}

impl NoRouteActions {
    pub fn of(&self, class: NoRoute) -> NoRouteAction {
        match class {
            NoRoute::NoneMatch => self.none_match,
            NoRoute::AllClosed => self.all_closed,
            NoRoute::NoCapacity => self.no_capacity,
            NoRoute::NoneAnswered => self.none_answered,
        }
    }

    /// Whom calls may go to besides the campaign's own targets, each once.
    pub(super) fn overflows(&self) -> BTreeSet<usize> {
        NoRoute::ALL.into_iter().filter_map(|class| self.of(class).overflow).collect()
    }
}

/// Whose caps a call counts in besides those of its target and buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallScope {
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub trunk: TrunkId,
    /// That was dialled.
    pub number: PhoneNumber,
}

/// What calls are limited by that dial a number, or one of several.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLimits {
    pub digits: RangeInclusive<u64>,
    pub caps: Vec<Cap>,
    pub concurrency: Option<Concurrency>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    pub tier: i32,
    pub ring: Ring,
    pub distribution: Distribution,
    /// How long the share of a member that can take no call is held; 0: not at all.
    pub hold_share_ms: i64,
    pub(super) from: TierSources,
    pub(super) members: Vec<TierMember>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TierMember {
    pub(super) target: usize,
    pub(super) weight: u32,
    /// Its place among the members of the tier by their ids.
    pub(super) rank: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub numbers: Vec<PhoneNumber>,
    pub session_ttl: Duration,
    pub quarantine: Duration,
    /// Between two signs of life.
    pub heartbeat_s: u32,
    /// How long a session goes on whose page was closed.
    pub closed_browser_delay: Duration,
    /// A session that shows no sign of life for so long may lose its number to another, when no
    /// number is free.
    pub taken_after: Option<Duration>,
    /// Shown to all who find no number free.
    pub overflow: Option<PhoneNumber>,
    /// What a number costs in a month.
    pub number_cost: Option<Money>,
    pub(super) from: PoolSources,
}

impl Pool {
    /// What so many numbers cost in a month; `None`: that is not known, or beyond all amounts.
    pub fn cost_of(&self, numbers: u64) -> Option<Money> {
        let micros = self.number_cost?.0.checked_mul(i64::try_from(numbers).ok()?)?;
        Some(Money(micros))
    }
}

/// Whose a number is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberOwner<'a> {
    pub campaign: &'a Campaign,
    pub publisher: &'a Publisher,
    /// The pool it is lent from; absent: a static number.
    pub pool: Option<&'a Pool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NumberRange {
    pub(super) digits: RangeInclusive<u64>,
    pub(super) campaign: usize,
    pub(super) publisher: usize,
    pub(super) pool: Option<usize>,
    /// Who says whose it is: the number itself, its campaign, or its pool.
    pub(super) publisher_from: Source,
}

impl RoutingSnapshot {
    /// Checks a configuration and resolves its names. Finds all faults, not only the first.
    pub fn compile(config: RoutingConfig, revision: u64) -> Result<Self, Vec<ConfigFault>> {
        let mut config = config;
        config.inherit();
        compile::compile(&config, revision)
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The same as another revision.
    #[must_use]
    pub fn numbered(self, revision: u64) -> Self {
        Self { revision, ..self }
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Such as `America/New_York`: that of whoever says no other.
    pub fn time_zone(&self) -> &str {
        zone_name(self.zones.of_account())
    }

    /// Whose number it is; `None` if it belongs to no campaign.
    pub fn number(&self, number: PhoneNumber) -> Option<NumberOwner<'_>> {
        self.range(number).map(|range| NumberOwner {
            campaign: &self.campaigns[range.campaign],
            publisher: &self.publishers[range.publisher],
            pool: range.pool.map(|pool| &self.pools[pool]),
        })
    }

    /// The range in which the number is.
    pub(super) fn range(&self, number: PhoneNumber) -> Option<&NumberRange> {
        holding(&self.numbers, |range| &range.digits, number)
    }

    /// The number that a call counts as having dialled that names a session of the campaign and
    /// nothing else: the publisher's first of the campaign, else any other's. `None`: it has none.
    pub fn stand_in(&self, campaign: &CampaignId, publisher: &PublisherId) -> Option<PhoneNumber> {
        let stand_ins = &self.campaign(campaign)?.stand_ins;
        let own = self.publisher_index.get(publisher).and_then(|it| stand_ins.get(it));
        own.or_else(|| stand_ins.values().next()).copied()
    }

    /// The number that a call over the trunk counts as having dialled that names a session of which nobody
    /// can say whose it is. `None`: there is none that a call of the trunk may be of.
    pub fn stand_in_over(&self, trunk: &TrunkId) -> Option<PhoneNumber> {
        let trunk = self.trunks.get(trunk);
        let own = trunk.and_then(|it| it.stand_in);
        let number = own.or(self.account.stand_in)?;
        let publisher = trunk.and_then(|it| it.publisher.as_ref());
        let owner = self.number(number)?;
        publisher.is_none_or(|it| *it == owner.publisher.id).then_some(number)
    }

    /// What the trunk of a call says of the call's session.
    pub(super) fn trunk_word(&self, request: &RouteRequest) -> TrunkWord<'_> {
        if !self.trunks_name_sessions {
            return TrunkWord::default();
        }
        let Some(trunk) = self.trunks.get(&request.trunk) else { return TrunkWord::default() };
        let said = trunk.session_tag.as_ref().and_then(|tag| request.tags.get(tag));
        let key = said.and_then(|said| SessionKey::from_header(said));
        TrunkWord { publisher: trunk.publisher.as_ref(), key }
    }

    /// The session that a header of a publisher's trunk names.
    pub fn named_by_trunk(&self, request: &RouteRequest) -> Option<SessionKey> {
        self.trunk_word(request).key
    }

    /// Whether the configuration has this trunk. One that has none at all knows them all, and a call
    /// that is only thought of may come over any, which has no name.
    pub(super) fn knows_trunk(&self, trunk: &TrunkId) -> bool {
        self.trunks.is_empty() || trunk.as_str().is_empty() || self.trunks.contains_key(trunk)
    }

    /// How long ago a session may have ended of which something is still asked.
    pub fn sessions_back(&self) -> Duration {
        let rest = self.pools.iter().map(|pool| pool.quarantine.max(FORMER_MAX)).max();
        let earlier = self.content_with_earlier().next().map(|_| EARLIER_MAX);
        rest.max(earlier).unwrap_or_default()
    }

    /// Campaigns that are content with knowing a caller by an earlier session.
    pub fn content_with_earlier(&self) -> impl Iterator<Item = &CampaignId> {
        let content =
            |it: &&Campaign| it.min_match_confidence <= Method::EarlierSession.confidence();
        self.campaigns.iter().filter(content).map(|it| &it.id)
    }

    /// By which keys publishers send pings.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Whose priced pings come as another platform has them.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    pub fn publisher(&self, id: &PublisherId) -> Option<&Publisher> {
        self.publisher_index.get(id).map(|index| &self.publishers[*index])
    }

    /// How many pings a publisher may send; `None`: as many as come.
    pub fn quota(&self, id: &PublisherId) -> Option<&QuotaConfig> {
        self.publisher(id)?.quota.as_ref()
    }

    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.target_index.get(id).map(|index| &self.targets[*index])
    }

    pub fn campaign(&self, id: &CampaignId) -> Option<&Campaign> {
        self.campaign_index.get(id).map(|index| &self.campaigns[*index])
    }

    pub fn pool(&self, id: &PoolId) -> Option<&Pool> {
        self.pool_index.get(id).map(|index| &self.pools[*index])
    }

    pub fn publishers(&self) -> &[Publisher] {
        &self.publishers
    }

    pub fn buyers(&self) -> &[Buyer] {
        &self.buyers
    }

    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub fn campaigns(&self) -> &[Campaign] {
        &self.campaigns
    }

    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// How many lines and blocks of lines are on record.
    pub fn lines_on_record(&self) -> usize {
        self.lines.as_ref().map_or(0, |lines| lines.len())
    }

    /// What is on record of the caller's line.
    pub(super) fn line<U: UsageReader + ?Sized>(
        &self,
        caller: Option<PhoneNumber>,
        usage: &U,
    ) -> Option<LineRecord> {
        let caller = caller?;
        usage.line(self.lines.as_ref().map(|lines| lines.of(caller).cloned()))
    }

    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// What an attempt must reserve when it starts at `at`. The plan of a decision has this for the
    /// instant of the decision; a later attempt may fall into another window. `terms` are what is owed
    /// for it; `scope` may be absent where nothing of it has limits.
    pub fn holds<U: UsageReader + ?Sized>(
        &self,
        planned: &PlannedAttempt,
        terms: Option<Terms>,
        scope: Option<&CallScope>,
        at: Wall,
        usage: &U,
    ) -> Vec<BucketRequest> {
        let Some(target) = self.target(&planned.target) else { return vec![] };
        let stake = Stake::new(terms, planned.max_duration_ms);
        let call = scope.map(|scope| self.call_limits(scope)).unwrap_or_default();
        let (mut needs, mut unnoted) = (vec![], Readings::default());
        let windows = &mut self.windows(at);
        target.needs(&call, &stake, windows, usage, &mut unnoted, &mut needs);
        needs.into_iter().map(|need| need.request).collect()
    }

    /// The caps of all, with whom they belong to as the first part of their keys.
    pub fn caps(&self) -> impl Iterator<Item = &Cap> {
        let of_targets = self.targets.iter().map(|it| &it.caps);
        let of_publishers = self.publishers.iter().map(|it| &it.caps);
        let of_campaigns = self.campaigns.iter().map(|it| &it.caps);
        let of_pairs = self.pairs.iter().map(|it| &it.caps);
        let all = of_targets.chain(of_publishers).chain(of_campaigns).chain(of_pairs);
        // One without a target has credit all the same.
        let of_buyers = self.buyers.iter().filter_map(|it| it.credit.as_ref());
        let of_numbers = self.number_limits.iter().map(|it| &it.caps);
        let of_all = of_numbers.chain([&self.account.caps]);
        all.chain(self.trunk_caps.values()).chain(of_all).flatten().chain(of_buyers)
    }

    /// So many buckets there may be at once: each cap has that of its window and of those that are over and
    /// still known, and the rest is for all that has one, and for caps that were before.
    pub fn buckets_max(&self) -> usize {
        let of_caps = self.caps().map(|cap| window::known_at_once(cap.window, KEPT_AFTER_END));
        of_caps.fold(BUCKETS_MAX, usize::saturating_add)
    }

    /// Whose earlier calls a decision about this call reads, and the campaign it is of; `None`: nobody's.
    pub fn remembered(
        &self,
        request: &RouteRequest,
        sessions: &[SessionReading],
    ) -> Option<(Caller, &CampaignId)> {
        self.history.span()?;
        let owner = owner(self, request, sessions)?;
        Some((self.caller(request.caller, &owner.campaign.id)?, &owner.campaign.id))
    }

    /// Whose earlier calls are asked for before it is known to which session the call belongs.
    pub fn caller_of(&self, request: &RouteRequest) -> Option<Caller> {
        self.history.span()?;
        let owner = self.number(request.dialed)?;
        self.caller(request.caller, &owner.campaign.id)
    }

    /// Whose call of a campaign it is; `None`: of someone who is not known again.
    pub fn caller(&self, number: Option<PhoneNumber>, campaign: &CampaignId) -> Option<Caller> {
        if let Some(number) = number {
            return Some(Caller::Number(number));
        }
        let as_one = self.campaign(campaign)?.callers.anonymous == Anonymous::AsOne;
        as_one.then(|| Caller::AnonymousOf(campaign.clone()))
    }

    /// The ways to targets that are watched, each once.
    pub fn ways(&self) -> BTreeSet<&Way> {
        self.targets
            .iter()
            .flat_map(|target| &target.dials)
            .filter_map(|it| it.way.as_ref())
            .collect()
    }

    /// When calls go another way first; `None`: never, or there is no such trunk.
    pub fn way_circuit(&self, way: &Way) -> Option<&Arc<CircuitConfig>> {
        match way.trunk() {
            Some(trunk) => self.trunks.get(trunk)?.circuit.as_ref(),
            None => self.host_circuit.as_ref(),
        }
    }

    /// Who says so.
    pub fn way_circuit_from(&self, way: &Way) -> Source {
        let trunk = way.trunk().and_then(|trunk| self.trunks.get(trunk));
        trunk.map_or(self.host_circuit_from, |trunk| trunk.circuit_from)
    }

    /// How far back a caller's earlier calls are known; `None`: they are not.
    pub fn history(&self) -> Option<Span> {
        self.history.span()
    }

    /// Who looks at them.
    pub fn looks_back(&self) -> LooksBack {
        self.history
    }

    /// How much is remembered of callers.
    pub fn history_limits(&self) -> HistoryLimits {
        self.history_limits
    }

    /// The concurrency of all. That of a buyer or a group comes once for each of its targets.
    pub fn concurrency(&self) -> impl Iterator<Item = &Concurrency> {
        let of_targets = self.targets.iter().flat_map(|it| &it.concurrency);
        let of_publishers = self.publishers.iter().filter_map(|it| it.concurrency.as_ref());
        let of_campaigns = self.campaigns.iter().filter_map(|it| it.concurrency.as_ref());
        let of_numbers = self.number_limits.iter().filter_map(|it| it.concurrency.as_ref());
        let of_owners = of_targets.chain(of_publishers).chain(of_campaigns).chain(of_numbers);
        of_owners.chain(&self.account.concurrency)
    }

    /// How many days of UTC are looked back at by tiers that go by performance and by caps that are paced
    /// by how calls went, today included; `None`: by none.
    pub fn performance_days(&self) -> Option<u32> {
        self.performance_days
    }

    /// Whether tiers ask scorers elsewhere.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Whether caps count calls as they come.
    pub fn counts_offered(&self) -> bool {
        self.counts_offered
    }

    /// The keys of all caps, of concurrency and of spacing.
    pub fn cap_keys(&self) -> impl Iterator<Item = &str> {
        let gaps = self.targets.iter().flat_map(|it| &it.gaps);
        let concurrency = self.concurrency().map(|it| it.key.as_str());
        let gaps = gaps.map(|it| it.key.as_str());
        self.caps().map(|cap| cap.key.as_str()).chain(concurrency).chain(gaps)
    }

    /// What counts a ping that is accepted at `at`.
    pub fn of_ping(
        &self,
        publisher: &PublisherId,
        campaign: &CampaignId,
        at: Wall,
    ) -> Vec<BucketRequest> {
        let of_publisher = self.publisher(publisher).map(|it| &it.caps);
        let of_campaign = self.campaign(campaign).map(|it| &it.caps);
        let caps =
            of_publisher.into_iter().chain(of_campaign).chain([&self.account.caps]).flatten();
        let mut windows = self.windows(at);
        let (unread, mut unnoted) = (BTreeMap::<Bucket, Usage>::new(), Readings::default());
        caps.filter(|cap| cap.counts == Counts::Pinged)
            .filter_map(|cap| cap.need(1, &mut windows, &unread, &mut unnoted))
            .map(|need| need.request)
            .collect()
    }

    /// Whether this cap keeps the publisher from being paid, not from sending calls.
    pub fn stops_paying(&self, publisher: &PublisherId, cap: &str) -> bool {
        let caps = self.publisher(publisher).map(|it| &it.caps).into_iter().flatten();
        caps.into_iter().any(|it| it.stops_paying && it.key == cap)
    }

    /// What the limit with this key lets through while the store that servers share it by is away.
    pub fn on_store_down(&self, key: &str) -> OnStoreDown {
        self.on_store_down.get(key).copied().unwrap_or_default()
    }

    /// By the limits of all.
    pub(super) fn kept_for_store_down(&self) -> BTreeMap<SmolStr, OnStoreDown> {
        let concurrency = self.concurrency().map(|it| (&it.key, it.on_store_down));
        let caps = self.caps().map(|cap| (&cap.key, cap.on_store_down));
        let others = caps.chain(concurrency).filter(|(_, down)| *down != OnStoreDown::Escrow);
        others.map(|(key, down)| (key.clone(), down)).collect()
    }

    /// Whether the account, a campaign, a publisher, a trunk or a number has limits.
    pub fn caps_calls(&self) -> bool {
        self.caps_calls
    }

    pub(super) fn call_limits(&self, scope: &CallScope) -> CallLimits<'_> {
        CallLimits {
            campaign: self.campaign(&scope.campaign),
            publisher: self.publisher(&scope.publisher),
            trunk: self.trunk_caps(&scope.trunk),
            number: self.number_limits(scope.number),
            account: Some(&self.account),
            pairs: &self.pairs,
        }
    }

    pub(super) fn trunk_caps(&self, trunk: &TrunkId) -> &[Cap] {
        self.trunk_caps.get(trunk).map(|caps| &caps[..]).unwrap_or_default()
    }

    pub(super) fn number_limits(&self, number: PhoneNumber) -> Option<&NumberLimits> {
        holding(&self.number_limits, |limits| &limits.digits, number)
    }

    pub(super) fn windows(&self, at: Wall) -> Windows<'_> {
        Windows::new(&self.zones, at)
    }
}

/// The one that the number is of, among ranges in ascending order that do not overlap.
fn holding<T>(
    all: &[T],
    digits: impl Fn(&T) -> &RangeInclusive<u64>,
    number: PhoneNumber,
) -> Option<&T> {
    let number = number.digits();
    let after = all.partition_point(|it| *digits(it).start() <= number);
    let found = all.get(after.checked_sub(1)?)?;
    digits(found).contains(&number).then_some(found)
}

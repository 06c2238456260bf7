//! The configuration, checked and with every name resolved. Immutable: a call or a ping keeps the
//! one it began with.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use smol_str::SmolStr;

use crate::id::{BuyerId, CampaignId, PoolId, PublisherId, TargetId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::compile;
use super::config::{
    Anonymous, CallersConfig, CircuitConfig, Confidence, ConfigFault, DialTlsConfig, PayDuplicates,
    Ring, RoutingConfig, Span, WindowKind,
};
use super::decision::{PlannedAttempt, Recovery, Terms};
use super::dial::DialTemplate;
use super::duplicate::Dedupe;
use super::filter::Filters;
use super::geo::Geo;
use super::history::Caller;
use super::hold::{Bucket, BucketRequest, Counts, Stake};
use super::price::PriceRules;
use super::request::RouteRequest;
use super::schedule::Schedule;
use super::selection::Distribution;
use super::vertical::Vertical;
use super::window::Window;

/// One revision of the routing configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingSnapshot {
    pub(super) revision: u64,
    pub(super) publishers: Vec<Publisher>,
    pub(super) buyers: Vec<Buyer>,
    pub(super) targets: Vec<Target>,
    pub(super) campaigns: Vec<Campaign>,
    pub(super) pools: Vec<Pool>,
    /// Ascending, without overlap.
    pub(super) numbers: Vec<NumberRange>,
    pub(super) geo: Arc<Geo>,
    pub(super) zones: Zones,
    pub(super) publisher_index: BTreeMap<PublisherId, usize>,
    pub(super) target_index: BTreeMap<TargetId, usize>,
    pub(super) campaign_index: BTreeMap<CampaignId, usize>,
    pub(super) pool_index: BTreeMap<PoolId, usize>,
    /// Of trunks that have any.
    pub(super) trunk_caps: BTreeMap<TrunkId, Vec<Cap>>,
    pub(super) caps_calls: bool,
    /// How far back rules look at a caller's earlier calls; absent: none does.
    pub(super) history: Option<Span>,
    /// How far back tiers look that go by performance; absent: none does.
    pub(super) performance_days: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publisher {
    pub id: PublisherId,
    pub name: String,
    pub paused: bool,
    pub payouts: BTreeMap<CampaignId, Payout>,
    pub caps: Vec<Cap>,
    pub price: Option<PriceRules>,
}

/// What a publisher is owed for a call of one campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payout {
    pub amount: Money,
    /// Seconds after the answer; absent: when the call converts for the buyer.
    pub seconds: Option<u32>,
    pub duplicates: PayDuplicates,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Buyer {
    pub id: BuyerId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub id: TargetId,
    pub buyer: BuyerId,
    pub name: String,
    pub dial: DialTemplate,
    /// Nothing here depends on it; it is for whoever connects.
    pub tls: DialTlsConfig,
    pub ring_timeout_ms: u32,
    pub first_response_ms: u32,
    pub ring_timeout_covers_progress: bool,
    pub max_duration_ms: u32,
    pub paused: bool,
    /// Absent: always open.
    pub schedule: Option<Schedule>,
    /// Its own, then its buyer's.
    pub caps: Vec<Cap>,
    pub concurrency: Option<Concurrency>,
    pub filters: Filters,
    /// Its own, else its buyer's.
    pub dedupe: Option<Dedupe>,
    pub conversion: Option<Conversion>,
    /// Its own, else its buyer's; absent: it is switched off.
    pub circuit: Option<Arc<CircuitConfig>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub counts: Counts,
    pub window: WindowKind,
    /// In the unit of `counts`.
    pub limit: u64,
    /// The bucket's cap, such as `target/tgt_summit/connected/daily`.
    pub key: SmolStr,
    /// What a decision calls it: of a target's own cap the last two parts of `key`, else all.
    pub label: SmolStr,
    pub(super) zone: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub limit: u64,
    /// The bucket's cap, such as `target/tgt_summit/concurrency`.
    pub key: SmolStr,
}

/// What a buyer owes when a call is still up `seconds` after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub seconds: u32,
    pub revenue: Money,
    pub duplicates: PayDuplicates,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    pub id: CampaignId,
    pub name: String,
    pub publisher: Option<PublisherId>,
    pub vertical: Option<Arc<Vertical>>,
    pub paused: bool,
    /// Ascending.
    pub tiers: Vec<Tier>,
    pub advance_on: Arc<[u16]>,
    pub max_attempts: u16,
    pub total_ring_budget_ms: u32,
    pub recovery: Option<Recovery>,
    pub min_match_confidence: Confidence,
    pub caps: Vec<Cap>,
    pub callers: CallersConfig,
    pub price: Option<PriceRules>,
}

/// Whose caps a call counts in besides those of its target and buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallScope {
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub trunk: TrunkId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub tier: i32,
    pub ring: Ring,
    pub distribution: Distribution,
    /// How long the share of a member that can take no call is held; 0: not at all.
    pub hold_share_ms: i64,
    pub(super) members: Vec<TierMember>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TierMember {
    pub(super) target: usize,
    pub(super) weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    pub campaign: CampaignId,
    pub publisher: PublisherId,
    pub numbers: Vec<PhoneNumber>,
    pub session_ttl: Duration,
    pub quarantine: Duration,
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
}

/// The time zones in use, each once. The first is UTC.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zones(Vec<TimeZone>);

/// The windows of one instant; each is worked out once.
#[derive(Debug)]
pub(super) struct Windows<'a> {
    zones: &'a Zones,
    at: Wall,
    known: Vec<((usize, WindowKind), Window)>,
}

impl RoutingSnapshot {
    /// Checks a configuration and resolves its names. Finds all faults, not only the first.
    pub fn compile(config: RoutingConfig, revision: u64) -> Result<Self, Vec<ConfigFault>> {
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

    /// Whose number it is; `None` if it belongs to no campaign.
    pub fn number(&self, number: PhoneNumber) -> Option<NumberOwner<'_>> {
        let digits = number.digits();
        let after = self.numbers.partition_point(|range| *range.digits.start() <= digits);
        let range = self.numbers.get(after.checked_sub(1)?)?;
        range.digits.contains(&digits).then(|| NumberOwner {
            campaign: &self.campaigns[range.campaign],
            publisher: &self.publishers[range.publisher],
            pool: range.pool.map(|pool| &self.pools[pool]),
        })
    }

    pub fn publisher(&self, id: &PublisherId) -> Option<&Publisher> {
        self.publisher_index.get(id).map(|index| &self.publishers[*index])
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

    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// What an attempt must reserve when it starts at `at`. The plan of a decision has this for the
    /// instant of the decision; a later attempt may fall into another window. `scope` may be absent
    /// where nothing of it has caps.
    pub fn holds(
        &self,
        planned: &PlannedAttempt,
        scope: Option<&CallScope>,
        at: Wall,
    ) -> Vec<BucketRequest> {
        let Some(target) = self.target(&planned.target) else { return vec![] };
        let stake = Stake::new(planned.terms, planned.max_duration_ms);
        let caps = scope.map(|scope| self.call_caps(scope)).unwrap_or_default();
        target.holds(caps, &stake, &mut self.windows(at))
    }

    /// The caps of all, with whom they belong to as the first part of their keys.
    pub fn caps(&self) -> impl Iterator<Item = &Cap> {
        let of_targets = self.targets.iter().map(|it| &it.caps);
        let of_publishers = self.publishers.iter().map(|it| &it.caps);
        let of_campaigns = self.campaigns.iter().map(|it| &it.caps);
        let all = of_targets.chain(of_publishers).chain(of_campaigns);
        all.chain(self.trunk_caps.values()).flatten()
    }

    /// Whose earlier calls a decision about this call reads, and how far back; `None`: nobody's.
    pub fn remembered(&self, request: &RouteRequest) -> Option<(Caller, Span)> {
        let span = self.history?;
        let owner = self.number(request.dialed)?;
        Some((self.caller(request.caller, &owner.campaign.id)?, span))
    }

    /// Whose call of a campaign it is; `None`: of someone who is not known again.
    pub fn caller(&self, number: Option<PhoneNumber>, campaign: &CampaignId) -> Option<Caller> {
        if let Some(number) = number {
            return Some(Caller::Number(number));
        }
        let as_one = self.campaign(campaign)?.callers.anonymous == Anonymous::AsOne;
        as_one.then(|| Caller::AnonymousOf(campaign.clone()))
    }

    /// How far back rules look at a caller's earlier calls; `None`: none does.
    pub fn history(&self) -> Option<Span> {
        self.history
    }

    /// How many days of UTC tiers look back at that go by performance, today included; `None`: none
    /// does.
    pub fn performance_days(&self) -> Option<u32> {
        self.performance_days
    }

    /// The keys of all caps and of concurrency.
    pub fn cap_keys(&self) -> impl Iterator<Item = &str> {
        let concurrency = self.targets.iter().filter_map(|it| it.concurrency.as_ref());
        self.caps().map(|cap| cap.key.as_str()).chain(concurrency.map(|it| it.key.as_str()))
    }

    /// Whether a campaign, a publisher or a trunk has caps.
    pub fn caps_calls(&self) -> bool {
        self.caps_calls
    }

    pub(super) fn call_caps(&self, scope: &CallScope) -> [&[Cap]; 3] {
        let campaign = self.campaign(&scope.campaign).map(|it| &it.caps[..]);
        let publisher = self.publisher(&scope.publisher).map(|it| &it.caps[..]);
        [campaign, publisher, Some(self.trunk_caps(&scope.trunk))].map(Option::unwrap_or_default)
    }

    pub(super) fn trunk_caps(&self, trunk: &TrunkId) -> &[Cap] {
        self.trunk_caps.get(trunk).map(|caps| &caps[..]).unwrap_or_default()
    }

    pub(super) fn windows(&self, at: Wall) -> Windows<'_> {
        Windows { zones: &self.zones, at, known: vec![] }
    }
}

impl Target {
    /// Caps first, then concurrency: the order in which they are checked. `further` are the caps of
    /// the call. What the call cannot count in is left out.
    pub(super) fn holds(
        &self,
        further: [&[Cap]; 3],
        stake: &Stake,
        windows: &mut Windows<'_>,
    ) -> Vec<BucketRequest> {
        let caps = self.caps.iter().chain(further.into_iter().flatten()).filter_map(|cap| {
            let amount = Some(cap.counts.room(stake)).filter(|amount| *amount > 0)?;
            let window = windows.get(cap.zone, cap.window);
            Some(BucketRequest {
                bucket: cap.bucket(window),
                counts: cap.counts,
                limit: cap.limit,
                amount,
                ends_at: window.ends_at,
                leeway: None,
            })
        });
        let concurrency = self.concurrency.iter().map(|concurrency| BucketRequest {
            bucket: Bucket { cap: concurrency.key.clone(), window: SmolStr::new_static("live") },
            counts: Counts::Live,
            limit: concurrency.limit,
            amount: 1,
            ends_at: None,
            leeway: None,
        });
        caps.chain(concurrency).collect()
    }
}

impl Cap {
    fn bucket(&self, window: &Window) -> Bucket {
        Bucket { cap: self.key.clone(), window: window.id.clone() }
    }
}

impl Stake {
    pub(super) fn new(terms: Option<Terms>, max_duration_ms: u32) -> Self {
        let (revenue, payout) = terms.map(|it| (it.revenue, it.payout)).unwrap_or_default();
        Self { revenue, payout, talk_ms: max_duration_ms }
    }
}

impl Zones {
    pub(super) fn new() -> Self {
        Self(vec![TimeZone::UTC])
    }

    pub(super) fn intern(&mut self, zone: &TimeZone) -> usize {
        self.0.iter().position(|known| known == zone).unwrap_or_else(|| {
            self.0.push(zone.clone());
            self.0.len() - 1
        })
    }
}

impl Windows<'_> {
    pub(super) fn bucket(&mut self, cap: &Cap) -> Bucket {
        cap.bucket(self.get(cap.zone, cap.window))
    }

    fn get(&mut self, zone: usize, kind: WindowKind) -> &Window {
        let known = self.known.iter().position(|(key, _)| *key == (zone, kind));
        let index = known.unwrap_or_else(|| {
            let window = Window::of(kind, &self.zones.0[zone], self.at);
            self.known.push(((zone, kind), window));
            self.known.len() - 1
        });
        &self.known[index].1
    }
}

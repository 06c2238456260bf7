//! Caps, concurrency and spacing of whoever has some, and what an attempt has to reserve for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::id::{CampaignId, PublisherId};
use crate::money::Money;
use crate::time::Wall;

use super::config::{OnStoreDown, WindowKind};
use super::decision::{RateReading, Readings, ReadyReading, Terms, UsageReading};
use super::hold::{Bucket, BucketRequest, Counts, GAP, LIVE, Leeway, Pace, PaceSteps, Stake};
use super::pacing;
use super::performance::Scope;
use super::performance::rate::{ComesTo, Lately};
use super::request::{Usage, UsageReader};
use super::schedule::Schedule;
use super::snapshot::{Account, Campaign, NumberLimits, Publisher, Target};
use super::window::{Window, timestamp};

/// The window of what a buyer has deposited.
pub(super) const DEPOSITED: &str = "total";

#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    pub counts: Counts,
    pub window: WindowKind,
    /// In the unit of `counts`.
    pub limit: u64,
    /// The bucket's cap, such as `target/tgt_summit/connected/daily`.
    pub key: SmolStr,
    /// What a decision calls it: of a target's own cap the last two parts of `key`, else all.
    pub label: SmolStr,
    pub mode: Mode,
    /// Full, it keeps its publisher from being paid, not from sending calls.
    pub stops_paying: bool,
    /// The cap of the bucket that says by how much the limit is higher, such as
    /// `buyer/buy_summit/deposits`; absent: it is not.
    pub raised_by: Option<SmolStr>,
    pub on_store_down: OnStoreDown,
    pub(super) zone: usize,
}

/// Whether and how a cap may be passed.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Strict,
    Soft,
    Paced(Pacing),
}

/// How a paced cap is filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Pacing {
    pub rate: PaceRate,
    /// The hours by which the window passes; absent: all.
    pub schedule: Option<Arc<Schedule>>,
}

/// Which part of the calls in flight comes to count.
#[derive(Clone, Debug, PartialEq)]
pub enum PaceRate {
    Assumed {
        /// In millionths.
        rate_ppm: u32,
        /// For how small a probability of too many, in thousandths.
        z_milli: u32,
    },
    /// As the calls of late tell that the cap was for.
    Live(Arc<LiveRate>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LiveRate {
    /// Whose calls the cap counts.
    pub scope: Scope,
    pub comes_to: ComesTo,
    pub steps: Arc<PaceSteps>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Concurrency {
    pub limit: u64,
    /// The bucket's cap, such as `target/tgt_summit/concurrency`.
    pub key: SmolStr,
    /// What a decision calls it; absent: it is the target's own.
    pub label: Option<SmolStr>,
    /// `Live`, or `Talking` if it is counted from the answer.
    pub counts: Counts,
    /// Absent: the same limit at all hours.
    pub hours: Option<Box<Hours>>,
    pub on_store_down: OnStoreDown,
    pub(super) zone: usize,
}

/// Limits of certain hours and days, in place of the one there is else.
#[derive(Clone, Debug, PartialEq)]
pub struct Hours {
    /// By day, Sunday first, and hour.
    pub(super) week: Vec<[Option<u32>; 24]>,
    pub(super) exceptions: BTreeMap<Date, u32>,
}

/// Which of several limits is the lowest, and who asked it for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Bound {
    #[n(0)]
    Limit,
    /// That of this hour, or of this day.
    #[n(1)]
    Hours,
    /// The buyer says how many can take a call.
    #[n(2)]
    Ready,
    /// It stops calls before any target is thought of, when nobody knows what they ask for.
    #[n(3)]
    Gate,
}

/// The least time between attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub min_ms: u64,
    /// The bucket's cap, such as `target/tgt_summit/spacing`.
    pub key: SmolStr,
    /// What a decision calls it; absent: it is the target's own.
    pub label: Option<SmolStr>,
}

/// Caps on the calls of two or more at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Absent: of any.
    pub publisher: Option<PublisherId>,
    /// Absent: of any.
    pub campaign: Option<CampaignId>,
    pub caps: Vec<Cap>,
}

/// Whose limits a call meets, whichever target takes it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallLimits<'a> {
    pub(super) campaign: Option<&'a Campaign>,
    pub(super) publisher: Option<&'a Publisher>,
    pub(super) trunk: &'a [Cap],
    pub(super) account: Option<&'a Account>,
    /// Of the number that was dialled.
    pub(super) number: Option<&'a NumberLimits>,
    /// All there are; those of the call are among them.
    pub(super) pairs: &'a [Pair],
}

/// A bucket an attempt needs room in.
pub(super) struct Need<'a> {
    pub(super) request: BucketRequest,
    /// What a decision calls it; absent: the only one of its kind that a target has.
    pub(super) label: Option<&'a SmolStr>,
    pub(super) bound: Bound,
}

/// The time zones in use, each once. The first is the account's.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Zones(Vec<TimeZone>);

/// The windows of one instant; each is worked out once.
#[derive(Debug)]
pub(super) struct Windows<'a> {
    zones: &'a Zones,
    at: Wall,
    /// `None`: the instant is in none of them.
    known: Vec<((usize, WindowKind), Option<Window>)>,
}

impl Target {
    /// Caps first, then spacing, then concurrency: the order in which they are checked. What the
    /// call cannot count in is left out. What limits depend on is read and noted. Appends to `needs`.
    pub(super) fn needs<'a, U: UsageReader + ?Sized>(
        &'a self,
        call: &CallLimits<'a>,
        stake: &Stake,
        windows: &mut Windows<'_>,
        usage: &U,
        readings: &mut Readings,
        needs: &mut Vec<Need<'a>>,
    ) {
        let of_pairs = self.pairs.iter().flat_map(|pair| call.caps_of(*pair));
        let caps = (self.caps.iter())
            .chain(of_pairs)
            .chain(call.campaign.into_iter().flat_map(|it| &it.caps))
            .chain(call.publisher.into_iter().flat_map(|it| &it.caps))
            .chain(call.trunk)
            .chain(call.number.into_iter().flat_map(|it| &it.caps))
            .chain(call.account.into_iter().flat_map(|it| &it.caps))
            .filter(|cap| !cap.stops_paying || stake.payout > Money::ZERO)
            .filter_map(|cap| cap.need(cap.counts.room(stake), windows, usage, readings));
        needs.extend(caps);
        needs.extend(self.gaps.iter().map(|gap| gap.need(windows.at)));
        let of_campaign = call.campaign.and_then(|it| it.concurrency.as_ref());
        let of_publisher = call.publisher.and_then(|it| it.concurrency.as_ref());
        let of_account = call.account.and_then(|it| it.concurrency.as_ref());
        let of_number = call.number.and_then(|it| it.concurrency.as_ref());
        let concurrency = self.concurrency.iter().chain(of_campaign).chain(of_publisher);
        needs.extend(
            concurrency
                .chain(of_number)
                .chain(of_account)
                .map(|it| it.need(windows, usage, readings)),
        );
    }
}

impl<'a> CallLimits<'a> {
    /// Whether any of these counts calls as they come.
    pub(super) fn counts_offered(&self) -> bool {
        self.caps().any(|cap| cap.counts == Counts::Offered)
    }

    /// All but those of pairs.
    pub(super) fn caps(&self) -> impl Iterator<Item = &'a Cap> + use<'a> {
        let of_campaign = self.campaign.into_iter().flat_map(|it| &it.caps);
        let of_publisher = self.publisher.into_iter().flat_map(|it| &it.caps);
        let of_account = self.account.into_iter().flat_map(|it| &it.caps);
        let of_number = self.number.into_iter().flat_map(|it| &it.caps);
        let all = of_campaign.chain(of_publisher).chain(of_account).chain(of_number);
        all.chain(self.trunk)
    }

    /// Those of a pair, if the call is of it.
    fn caps_of(&self, pair: usize) -> &'a [Cap] {
        let Some(pair) = self.pairs.get(pair) else { return &[] };
        let is_its = (pair.publisher.as_ref())
            .is_none_or(|id| self.publisher.is_some_and(|publisher| publisher.id == *id))
            && (pair.campaign.as_ref())
                .is_none_or(|id| self.campaign.is_some_and(|campaign| campaign.id == *id));
        if is_its { &pair.caps } else { &[] }
    }
}

impl Cap {
    /// Room for so much; nothing if it is nothing, or if the cap is of another time.
    pub(super) fn need<U: UsageReader + ?Sized>(
        &self,
        amount: u64,
        windows: &mut Windows<'_>,
        usage: &U,
        readings: &mut Readings,
    ) -> Option<Need<'_>> {
        if amount == 0 {
            return None;
        }
        let limit = self.limit.saturating_add(self.raised(usage, readings));
        let limit = usage.at_least(&self.key).map_or(limit, |least| least.max(limit));
        let at = windows.at;
        let window = windows.get(self.zone, self.window)?;
        let bucket = Bucket { cap: self.key.clone(), window: window.id.clone() };
        let leeway = match &self.mode {
            Mode::Strict => None,
            Mode::Soft => Some(Leeway::Soft),
            Mode::Paced(pacing) => {
                let schedule = pacing.schedule.as_deref();
                let least = usage.at_least(&self.key).unwrap_or(0);
                let limit = self.limit.max(least);
                let by_now = pacing::by_now(limit, window, at, schedule).max(amount);
                Some(Leeway::Paced(match &pacing.rate {
                    PaceRate::Assumed { rate_ppm, z_milli } => {
                        Pace { by_now, rate_ppm: *rate_ppm, z_milli: *z_milli, calls: None }
                    }
                    PaceRate::Live(live) => {
                        let held = usage.usage(&bucket).held;
                        live.pace(by_now, held, at, usage, readings)
                    }
                }))
            }
        };
        let request = BucketRequest {
            bucket,
            counts: self.counts,
            limit,
            amount,
            ends_at: window.ends_at,
            leeway,
        };
        Some(Need { request, label: Some(&self.label), bound: Bound::Limit })
    }
}

impl Cap {
    /// The least limit with which so much may be used by now, of a paced cap.
    pub(super) fn limit_for(&self, wanted: u64, windows: &mut Windows<'_>) -> Option<u64> {
        let Mode::Paced(pacing) = &self.mode else { return None };
        let at = windows.at;
        let window = windows.get(self.zone, self.window)?;
        pacing::limit_for(wanted, window, at, pacing.schedule.as_deref())
    }

    /// Whether it goes by what its calls of late came to.
    pub fn is_by_live_rate(&self) -> bool {
        match &self.mode {
            Mode::Paced(pacing) => matches!(pacing.rate, PaceRate::Live(_)),
            Mode::Strict | Mode::Soft => false,
        }
    }

    /// By how much more the limit is than it is written.
    fn raised<U: UsageReader + ?Sized>(&self, usage: &U, readings: &mut Readings) -> u64 {
        let Some(cap) = &self.raised_by else { return 0 };
        let bucket = Bucket { cap: cap.clone(), window: SmolStr::new_static(DEPOSITED) };
        let usage = usage.usage(&bucket);
        if usage != Usage::default() {
            readings.usage.push(UsageReading { bucket, usage, awaited: None });
        }
        usage.used
    }
}

impl LiveRate {
    /// With so many calls held of which it is not known yet what they come to.
    fn pace<U: UsageReader + ?Sized>(
        &self,
        by_now: u64,
        held: u64,
        at: Wall,
        usage: &U,
        readings: &mut Readings,
    ) -> Pace {
        let lately = usage.lately(&self.scope, at);
        if lately != Lately::default() {
            readings.rates.push(RateReading { scope: self.scope.clone(), lately });
        }
        let rate = lately.rate(self.comes_to, held);
        let (rate_ppm, z_milli) = self.steps.at(rate.ppm);
        Pace { by_now, rate_ppm, z_milli, calls: Some(rate.calls) }
    }
}

impl Concurrency {
    pub(super) fn need<U: UsageReader + ?Sized>(
        &self,
        windows: &Windows<'_>,
        usage: &U,
        readings: &mut Readings,
    ) -> Need<'_> {
        let (limit, mut bound) = self.written(windows);
        let limit = limit.saturating_add(usage.raised(&self.key));
        // Whatever its limit, no more than are ready can take a call.
        let mut limit = usage.at_least(&self.key).map_or(limit, |least| least.max(limit));
        if let Some(ready) = usage.ready(&self.key) {
            readings.ready.push(ReadyReading { key: self.key.clone(), ready });
            if u64::from(ready) < limit {
                (limit, bound) = (ready.into(), Bound::Ready);
            }
        }
        let request = BucketRequest {
            bucket: Bucket { cap: self.key.clone(), window: SmolStr::new_static(LIVE) },
            counts: self.counts,
            limit,
            amount: 1,
            ends_at: None,
            leeway: None,
        };
        Need { request, label: self.label.as_ref(), bound }
    }

    /// The limit as it is written, and whether that is one of this hour's.
    pub(super) fn written(&self, windows: &Windows<'_>) -> (u64, Bound) {
        let by_hours = self.hours.as_ref().and_then(|it| it.limit(windows.local(self.zone)));
        by_hours.map_or((self.limit, Bound::Limit), |limit| (limit.into(), Bound::Hours))
    }
}

impl Hours {
    /// The limit of this hour, if it has one of its own.
    fn limit(&self, local: DateTime) -> Option<u32> {
        if let Some(limit) = self.exceptions.get(&local.date()) {
            return Some(*limit);
        }
        let day = local.weekday().to_sunday_zero_offset();
        let of_day = self.week.get(usize::try_from(day).ok()?)?;
        *of_day.get(usize::try_from(local.hour()).ok()?)?
    }
}

impl Gap {
    fn need(&self, at: Wall) -> Need<'_> {
        let request = BucketRequest {
            bucket: Bucket { cap: self.key.clone(), window: SmolStr::new_static(GAP) },
            counts: Counts::Spacing,
            limit: self.min_ms,
            amount: u64::try_from(at.0).unwrap_or(0),
            ends_at: Some(Wall(at.0.saturating_add_unsigned(self.min_ms))),
            leeway: None,
        };
        Need { request, label: self.label.as_ref(), bound: Bound::Limit }
    }
}

impl Stake {
    pub(super) fn new(terms: Option<Terms>, max_duration_ms: u32) -> Self {
        let nothing = Self {
            revenue: Money::ZERO,
            seconds: 0,
            payout: Money::ZERO,
            payout_seconds: 0,
            talk_ms: max_duration_ms,
        };
        let Some(Terms { seconds, revenue, payout_seconds, payout, .. }) = terms else {
            return nothing;
        };
        Self { revenue, seconds, payout, payout_seconds, ..nothing }
    }
}

impl Zones {
    pub(super) fn new(of_account: TimeZone) -> Self {
        Self(vec![of_account])
    }

    /// That of whoever says no other.
    pub(super) fn of_account(&self) -> &TimeZone {
        &self.0[0]
    }

    pub(super) fn intern(&mut self, zone: &TimeZone) -> usize {
        self.0.iter().position(|known| known == zone).unwrap_or_else(|| {
            self.0.push(zone.clone());
            self.0.len() - 1
        })
    }
}

impl<'a> Windows<'a> {
    pub(super) fn new(zones: &'a Zones, at: Wall) -> Self {
        Self { zones, at, known: vec![] }
    }

    fn local(&self, zone: usize) -> DateTime {
        self.zones.0[zone].to_datetime(timestamp(self.at))
    }

    fn get(&mut self, zone: usize, kind: WindowKind) -> Option<&Window> {
        let known = self.known.iter().position(|(key, _)| *key == (zone, kind));
        let index = known.unwrap_or_else(|| {
            let window = Window::of(kind, &self.zones.0[zone], self.at);
            self.known.push(((zone, kind), window));
            self.known.len() - 1
        });
        self.known[index].1.as_ref()
    }
}

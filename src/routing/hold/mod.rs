//! Caps and concurrency as reservations, never as bare counters (spec/domain §2.6, §2.7).
//!
//! What counts at once (an INVITE, an answer) is settled when it happens. What a call comes to is known
//! at a [`Juncture`] of its course: its conversion, and the money that is owed for it, when it is
//! reached, all else (talk time, money that depends on it) when it is over. Until then the most it may
//! come to is held, and then what it did come to is used and the rest free again.
//!
//! Owns: what is reserved and used per bucket. Does not own: the limits (they come with each
//! request, so a changed configuration holds at once) and which window a call falls into
//! (see [`window`](super::window)).
//!
//! Invariants: nothing is granted that makes `used + held` exceed a limit, unless its cap says how
//! far it may be passed (I5); live leases of a concurrency bucket never exceed its limit when
//! granted, and are a set, so they cannot be released twice (I6); each hold ends once on each of
//! its buckets (I7).
//!
//! ## What a store of holds does
//!
//! A bucket's state is two numbers, [`Usage`], and [`BucketRequest::admits`] is all there is to
//! admission: a pure function of that state, of the request, and of how much the whole hold asks of
//! the bucket. Time is in the request. A store then adds [`BucketRequest::held`] to what is held;
//! when the event of a request is settled it moves that to what is used, as `amount`.
//!
//! - **strict** (`leeway` absent): `used + held + asked <= limit`.
//! - **soft**: `used < limit`, and nothing is held; the event counts all the same.
//! - **paced**: held as strict is, but of what is held only a part is expected to count; see
//!   [`Pace`].
//! - **windows that begin and end**: whatever an attempt comes to counts in the window in which it
//!   began, where it has its room, though that is known in the next one.
//! - **rolling windows**: the bucket's window names the slice of the request,
//!   `rolling:3600/29562664`. The state is kept under the window without its slice, as what is used
//!   per slice (see [`Rolling`]) and what is held. `used` is the sum of the
//!   slices that count in the window that ends with the named one, and all that is held. An event
//!   is used in the slice in which it happens, which is named by whoever settles it.
//! - **spacing** ([`Counts::Spacing`]): the state is the instant of the last attempt, as `used`.
//!   `amount` is the instant of this one and `limit` the least time between the two, all in
//!   milliseconds. A store that several share goes by its own clock, and answers by that of who asks. Granted, the state becomes `amount` if that is later; it is not given back.
//! - **reset** ([`Reset`]): of what had been used by then nothing counts any more, though what is held
//!   stays held. `used` is what was used beyond it.
//! - **at once** ([`Counts::Offered`], [`Counts::Pinged`]): admitted and used in one step, by
//!   [`HoldLedger::count`].
//! - **concurrency**: [`Counts::Live`] is held until the call ends. [`Counts::Talking`] is held as
//!   well, becomes used at the answer, and is free again when the call ends.

pub mod deposits;
mod juncture;
pub mod ledger;
mod pace;
mod reset;

use std::borrow::Cow;

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::codec;
use crate::money::Money;
use crate::time::Wall;

use super::config::Metric;
use super::request::Usage;
use crate::reason::Reason;
use crate::rolling::Rolling;

pub use juncture::Juncture;
pub use ledger::{
    BUCKETS_MAX, Denied, HoldLedger, KEPT_AFTER_END, LedgerLimits, Placed, Refused, Settled,
};
pub use pace::{Pace, PaceSteps, RATE_LEAST_PPM, WHOLE_PPM};
pub use reset::{Reset, ResetPart, Resets};

/// The window of buckets that have none because they hold live calls.
pub const LIVE: &str = "live";
/// The window of spacing. That of one attempt is `gap/1773759852318`.
pub const GAP: &str = "gap";

/// What is counted: a capped thing within one window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Bucket {
    /// The cap, such as `target/tgt_summit/connected/daily` or `target/tgt_summit/concurrency`.
    #[cbor(n(0), with = "codec::text")]
    pub cap: SmolStr,
    /// The window, such as `d:2026-11-22`; `live` for concurrency, `gap` for spacing,
    /// `rolling:3600/29562664` for a rolling one and the slice it ends with.
    #[cbor(n(1), with = "codec::text")]
    pub window: SmolStr,
}

/// A bucket an attempt needs room in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BucketRequest {
    #[n(0)]
    pub bucket: Bucket,
    #[n(1)]
    pub counts: Counts,
    /// The highest `used + held` allowed, in the unit of `counts`.
    #[n(2)]
    pub limit: u64,
    /// Room asked for: 1 call, or the most the call may come to in the unit of `counts`.
    #[n(3)]
    pub amount: u64,
    /// When the window is over and the bucket may be forgotten; absent: never.
    #[n(4)]
    pub ends_at: Option<Wall>,
    /// Absent: the limit is never passed.
    #[n(5)]
    pub leeway: Option<Leeway>,
}

/// Why an attempt found no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    pub reason: Reason,
    /// What is full, where that is known.
    pub full: Option<Denied>,
}

impl NoRoom {
    /// The cap that is full, where that is known.
    pub fn cap(&self) -> Option<&SmolStr> {
        self.full.as_ref().map(|full| &full.bucket.cap)
    }
}

impl From<Denied> for NoRoom {
    fn from(denied: Denied) -> Self {
        Self { reason: denied.counts.refusal(), full: Some(denied) }
    }
}

impl From<Reason> for NoRoom {
    fn from(reason: Reason) -> Self {
        Self { reason, full: None }
    }
}

/// How far a limit may be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Leeway {
    /// By the calls in flight: only what is used counts.
    #[n(0)]
    Soft,
    /// With a small probability.
    #[n(1)]
    Paced(#[n(0)] Pace),
}

/// How what is held is used up, and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Counts {
    /// Never: it is given back when the call ends (concurrency). Calls.
    #[n(0)]
    Live,
    /// At the INVITE. Calls.
    #[n(1)]
    Attempted,
    /// At the answer. Calls.
    #[n(2)]
    Connected,
    /// When the call converts. Calls.
    #[n(3)]
    Converted,
    /// When the call converts, or is over: what the buyer owes. Micros.
    #[n(4)]
    Revenue,
    /// When the call converts, or is over: what the publisher is owed. Micros.
    #[n(5)]
    Payout,
    /// When the call is over: how long it talked. Milliseconds.
    #[n(6)]
    Talk,
    /// Held from the INVITE and used from the answer, it is given back when the call ends
    /// (concurrency that is counted from the answer). Calls.
    #[n(7)]
    Talking,
    /// At the INVITE: its instant. Milliseconds since the Unix epoch.
    #[n(8)]
    Spacing,
    /// When it comes to a campaign that takes calls, whatever becomes of it: also of a caller whom the
    /// campaign does not want. Calls.
    #[n(9)]
    Offered,
    /// When a ping is accepted. Pings.
    #[n(10)]
    Pinged,
    /// As `Revenue`, of all that the buyer owes. Micros.
    #[n(11)]
    Credit,
}

/// The most a call may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    pub revenue: Money,
    /// After the answer.
    pub seconds: u32,
    pub payout: Money,
    /// After the answer.
    pub payout_seconds: u32,
    pub talk_ms: u32,
}

impl Bucket {
    /// The name under which its state is kept, and of a rolling window the slice it ends with.
    pub fn stored(&self) -> (Cow<'_, Self>, Option<(Rolling, i64)>) {
        match Rolling::read(&self.window) {
            Some((rolling, Some(slice))) => {
                let stored = Self { cap: self.cap.clone(), window: rolling.name() };
                (Cow::Owned(stored), Some((rolling, slice)))
            }
            Some((_, None)) | None => (Cow::Borrowed(self), None),
        }
    }

    /// What it is called when something is used in it at `at`: a rolling window has slices.
    pub fn at(&self, at: Wall) -> Self {
        let cap = self.cap.clone();
        match Rolling::read(&self.window) {
            Some((rolling, _)) => Self { cap, window: rolling.name_at(rolling.slice(at)) },
            None => Self { cap, window: self.window.clone() },
        }
    }
}

impl BucketRequest {
    /// Whether there is room in a bucket that is this full. `asked` is what the whole hold asks of
    /// it, `amount` unless it names the bucket twice.
    pub fn admits(&self, usage: Usage, asked: u64) -> bool {
        if self.counts == Counts::Spacing {
            return self.is_spaced(usage.used);
        }
        match &self.leeway {
            None => usage.used.saturating_add(usage.held).saturating_add(asked) <= self.limit,
            Some(Leeway::Soft) => usage.used < self.limit,
            Some(Leeway::Paced(pace)) => pace.admits(usage, asked, self.limit),
        }
    }

    /// Whether it is settled by this event.
    pub fn is_due(&self, event: Counts) -> bool {
        self.counts == event
            || self.counts == Counts::Spacing && event == Counts::Attempted
            || self.counts == Counts::Talking && event == Counts::Connected
    }

    /// What is held for it.
    pub fn held(&self) -> u64 {
        let holds = self.counts != Counts::Spacing && self.leeway != Some(Leeway::Soft);
        if holds { self.amount } else { 0 }
    }

    /// A last attempt that lies farther ahead than it may lie back was timed by a clock that has
    /// been set back since, and says nothing.
    fn is_spaced(&self, last: u64) -> bool {
        last == 0 || self.amount.abs_diff(last) >= self.limit
    }
}

impl Counts {
    /// Room that an attempt takes; zero if it cannot count here.
    pub fn room(self, stake: &Stake) -> u64 {
        match self {
            Self::Live | Self::Talking | Self::Attempted | Self::Connected | Self::Converted => 1,
            Self::Spacing | Self::Offered | Self::Pinged => 0,
            Self::Revenue | Self::Credit => stake.revenue.0.try_into().unwrap_or(0),
            Self::Payout => stake.payout.0.try_into().unwrap_or(0),
            Self::Talk => stake.talk_ms.into(),
        }
    }

    /// Whether only what becomes of the call tells how much of it is used.
    pub fn is_known_at_end(self) -> bool {
        match self {
            Self::Live
            | Self::Talking
            | Self::Spacing
            | Self::Offered
            | Self::Pinged
            | Self::Attempted
            | Self::Connected => false,
            Self::Converted | Self::Revenue | Self::Payout | Self::Talk | Self::Credit => true,
        }
    }

    /// As caps are written, such as `connected`; else `concurrency`, `spacing` or `credit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live | Self::Talking => "concurrency",
            Self::Attempted => Metric::Attempted.name(),
            Self::Connected => Metric::Connected.name(),
            Self::Converted => Metric::Converted.name(),
            Self::Revenue => Metric::Revenue.name(),
            Self::Payout => Metric::Payout.name(),
            Self::Talk => Metric::Minutes.name(),
            Self::Offered => Metric::Offered.name(),
            Self::Pinged => Metric::Pinged.name(),
            Self::Spacing => "spacing",
            Self::Credit => "credit",
        }
    }

    /// Whether it is calls that are up, not something that happens.
    pub fn is_concurrency(self) -> bool {
        matches!(self, Self::Live | Self::Talking)
    }

    /// Whether it is money, in micros.
    pub fn is_money(self) -> bool {
        matches!(self, Self::Revenue | Self::Payout | Self::Credit)
    }

    /// Why there is no attempt where there is no room.
    pub fn refusal(self) -> Reason {
        match self {
            Self::Live | Self::Talking => Reason::ConcurrencyFull,
            Self::Spacing => Reason::CapSpacing,
            Self::Credit => Reason::NoCredit,
            Self::Attempted
            | Self::Connected
            | Self::Converted
            | Self::Revenue
            | Self::Payout
            | Self::Talk
            | Self::Offered
            | Self::Pinged => Reason::CapFull,
        }
    }

    /// How full a bucket is, for people: `3 used, 2 held`.
    pub fn show_usage(self, usage: Usage) -> SmolStr {
        format_smolstr!("{} used, {} held", self.show(usage.used), self.show(usage.held))
    }

    /// An amount for people: `3`, `42.00` or `90:05 min`.
    pub fn show(self, amount: u64) -> SmolStr {
        match self {
            Self::Live
            | Self::Talking
            | Self::Attempted
            | Self::Connected
            | Self::Converted
            | Self::Offered
            | Self::Pinged => amount.to_smolstr(),
            Self::Spacing => format_smolstr!("{amount} ms"),
            Self::Revenue | Self::Payout | Self::Credit => {
                Money(i64::try_from(amount).unwrap_or(i64::MAX)).to_smolstr()
            }
            Self::Talk => {
                let seconds = amount.div_ceil(1_000);
                format_smolstr!("{}:{:02} min", seconds / 60, seconds % 60)
            }
        }
    }
}

impl From<Metric> for Counts {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::Pinged => Self::Pinged,
            Metric::Offered => Self::Offered,
            Metric::Attempted => Self::Attempted,
            Metric::Connected => Self::Connected,
            Metric::Converted => Self::Converted,
            Metric::Revenue => Self::Revenue,
            Metric::Payout => Self::Payout,
            Metric::Minutes => Self::Talk,
        }
    }
}

//! What happened by the minute, the hour and the day: sums over pings and over the records of calls
//! that are over (spec/data §6.2).
//!
//! A call counts where it was admitted and a ping where it was accepted, so that a sum over rollups
//! is the sum over the records of that time, and what becomes known late corrects its own bucket.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use super::consumer::{Consumer, Effects, Facts, Fault, Work, renews_a_record};
use super::fact::{FactBody, PingAccepted};
use super::record::{AttemptResult, CallRecord, CallState, Flags, Outcome};
use crate::codec;
use crate::id::CallId;
use crate::time::Wall;

/// Milliseconds of the finest bucket.
pub const MINUTE_MS: i64 = 60_000;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub fn minutes(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 1_440,
        }
    }

    /// When the bucket begins that a minute, counted from the Unix epoch, belongs to. Days are those
    /// of UTC.
    pub fn bucket_of(self, minute: i64) -> i64 {
        minute.div_euclid(self.minutes()) * self.minutes()
    }
}

/// Declares what is summed up.
macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident = $index:literal;)*) => {
        /// What was counted. Whole numbers, money in micros.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
        pub struct Counts { $($(#[$doc])* #[n($index)] pub $name: i64,)* }

        impl Counts {
            /// The names of what [`Counts::values`] returns.
            pub const NAMES: [&'static str; [$($index),*].len()] = [$(stringify!($name)),*];

            pub fn values(&self) -> [i64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            pub fn of_values(values: [i64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

measures! {
    /// Pings that were accepted. Each opens a session.
    pings = 0;
    /// Of these such as got a number of a pool.
    numbers = 1;
    /// Of these such as asked a pool for a number when none was free.
    pool_misses = 2;
    /// Calls that are over, at the target that answered, else at the last that was tried.
    calls = 3;
    /// Of these such as were matched to a session.
    matched = 4;
    answered = 5;
    converted = 6;
    /// Targets that were tried, each counted as its own.
    attempts = 7;
    /// Of these such as answered.
    attempts_answered = 8;
    talk_ms = 9;
    /// From buyers.
    revenue_micros = 10;
    /// To publishers.
    payout_micros = 11;
    /// To carriers.
    cost_micros = 12;
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        let mut sums = self.values();
        for (sum, value) in sums.iter_mut().zip(other.values()) {
            *sum = sum.saturating_add(value);
        }
        *self = Self::of_values(sums);
    }

    pub fn negated(&self) -> Self {
        Self::of_values(self.values().map(i64::saturating_neg))
    }
}

/// Whose and when. What does not apply is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct RollupKey {
    /// From the Unix epoch.
    #[n(0)]
    pub minute: i64,
    #[cbor(n(1), with = "codec::text")]
    pub campaign: SmolStr,
    #[cbor(n(2), with = "codec::text")]
    pub publisher: SmolStr,
    #[cbor(n(3), with = "codec::text")]
    pub buyer: SmolStr,
    #[cbor(n(4), with = "codec::text")]
    pub target: SmolStr,
}

/// Sums by whom and when.
pub type Sums = BTreeMap<RollupKey, Counts>;

/// What is added to the rollups.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rolled {
    pub sums: Sums,
    /// Calls that may have been counted before, in order, with what they count for now.
    pub corrected: Vec<(CallId, Sums)>,
}

/// Which rollups, and what is summed up over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupQuery {
    pub resolution: Resolution,
    /// Buckets that begin at or after.
    pub from: Wall,
    /// Buckets that begin before.
    pub to: Wall,
    pub campaign: Option<SmolStr>,
    pub publisher: Option<SmolStr>,
    pub buyer: Option<SmolStr>,
    pub target: Option<SmolStr>,
    /// What is told apart: campaign, publisher, buyer, target.
    pub by: [bool; 4],
    /// Whether buckets are told apart.
    pub by_time: bool,
}

/// The consumer that sums up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rollups;

impl Rollups {
    pub const NAME: &str = "rollups";

    fn roll(facts: &Facts) -> Result<Rolled, Fault> {
        let mut rolled = Rolled::default();
        for entry in facts.iter() {
            let body = &entry.fact.body;
            if let FactBody::PingAccepted(ping) = body {
                let (key, counts) = of_ping(ping, entry.fact.at.wall());
                rolled.sums.entry(key).or_default().add(&counts);
            }
            let Some(call) = entry.fact.call.filter(|_| renews_a_record(body)) else { continue };
            let record = facts.record(call).ok_or_else(|| Fault::Permanent {
                class: "record_missing",
                detail: format!("{call} is not on record"),
            })?;
            let may_change = [Flags::ORPHAN, Flags::ORPHAN_CORRECTED, Flags::MATCH_DEGRADED];
            if may_change.into_iter().any(|flag| record.flags.contains(flag)) {
                rolled.corrected.push((call, of_call(record)));
            } else if record.last == entry.lsn {
                for (key, counts) in of_call(record) {
                    rolled.sums.entry(key).or_default().add(&counts);
                }
            }
        }
        Ok(rolled)
    }
}

impl Consumer for Rollups {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        let effects = Self::roll(facts).map(|rolled| Effects { rolled, ..Effects::default() });
        Box::pin(std::future::ready(effects))
    }
}

fn minute_of(at: Wall) -> i64 {
    at.0.div_euclid(MINUTE_MS)
}

fn of_ping(ping: &PingAccepted, at: Wall) -> (RollupKey, Counts) {
    let key = RollupKey {
        minute: minute_of(at),
        campaign: ping.campaign.as_str().into(),
        publisher: ping.publisher.as_str().into(),
        ..RollupKey::default()
    };
    let (is_asked, is_lent) = (ping.pool.is_some(), ping.number.is_some());
    let counts = Counts {
        pings: 1,
        numbers: i64::from(is_asked && is_lent),
        pool_misses: i64::from(is_asked && !is_lent),
        ..Counts::default()
    };
    (key, counts)
}

/// What a call counts for; nothing while it goes on.
pub fn of_call(record: &CallRecord) -> Sums {
    let mut sums = Sums::new();
    if record.state == CallState::Open {
        return sums;
    }
    let key = |buyer: &str, target: &str| RollupKey {
        minute: minute_of(record.started_at()),
        campaign: record.campaign.as_ref().map(|id| id.as_str().into()).unwrap_or_default(),
        publisher: record.publisher.as_ref().map(|id| id.as_str().into()).unwrap_or_default(),
        buyer: buyer.into(),
        target: target.into(),
    };
    for attempt in &record.attempts {
        let own = sums.entry(key(attempt.buyer.as_str(), attempt.target.as_str())).or_default();
        own.attempts += 1;
        let answered =
            matches!(attempt.result, AttemptResult::Answered | AttemptResult::EndedEarly);
        own.attempts_answered += i64::from(answered);
    }
    let (buyer, target) = record
        .attempt()
        .map(|attempt| (attempt.buyer.as_str(), attempt.target.as_str()))
        .unwrap_or_default();
    let call = Counts {
        calls: 1,
        matched: i64::from(record.session.is_some()),
        answered: i64::from(record.answered_ms.is_some()),
        converted: i64::from(record.outcome() == Outcome::Converted),
        talk_ms: i64::try_from(record.talk_ms.unwrap_or(0)).unwrap_or(i64::MAX),
        revenue_micros: record.revenue.0,
        payout_micros: record.payout.0,
        cost_micros: record.cost.map_or(0, |cost| cost.0),
        ..Counts::default()
    };
    sums.entry(key(buyer, target)).or_default().add(&call);
    sums
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cdr::fact::{Rematch, Rematched};
    use crate::cdr::journal::Entry;
    use crate::cdr::testing::{Script, call_id};
    use crate::id::SessionId;
    use crate::reason::Reason;

    #[test]
    fn a_call_counts_at_the_target_that_answered_and_each_attempt_at_its_own() {
        let script = Script::of(1).dial(1).fail_at(900, 486, Reason::AttemptBusy);
        let record = script.dial(2).answer_at(1_000).end_at(120_000).record();

        let sums: Vec<_> = of_call(&record).into_iter().collect();

        let [(key, counts)] = &sums[..] else { panic!("both attempts are at one target") };
        assert_eq!((key.target.as_str(), key.campaign.as_str()), ("tgt_summit", "cmp_hvac"));
        assert_eq!(key.minute, record.started_at().0 / 60_000);
        let expected = Counts {
            calls: 1,
            answered: 1,
            converted: 1,
            attempts: 2,
            attempts_answered: 1,
            talk_ms: 119_000,
            revenue_micros: 20_000_000,
            payout_micros: 10_000_000,
            ..Counts::default()
        };
        assert_eq!(*counts, expected);
    }

    #[test]
    fn a_call_without_a_target_counts_at_none_and_an_open_one_not_at_all() {
        let refused = of_call(&Script::of(1).abandon_at(10).record());
        assert_eq!(refused.len(), 1);
        assert!(refused.iter().all(|(key, it)| key.target.is_empty() && it.calls == 1));

        assert_eq!(of_call(&Script::of(1).dial(1).answer_at(1_000).record()), Sums::new());
    }

    #[test]
    fn a_call_that_is_matched_later_counts_as_matched_and_not_as_another() {
        let found = Rematched {
            outcome: Rematch::Found,
            session: Some(SessionId::from_bytes([7; 16])),
            match_method: "pool_lease".into(),
            confidence_pct: 99,
        };
        let over = Script::degraded(1).dial(1).answer_at(1_000).end_at(120_000);
        let later = over.clone().then(900_000, found);
        let rolled = |script: &Script, last: usize| {
            let entries: Arc<[Entry]> = script.entries().into();
            let facts = Facts::new(entries, last..last + 1, [Arc::new(script.record())]);
            Rollups::roll(&facts).unwrap()
        };
        let (at_end, then) = (rolled(&over, 4), rolled(&later, 5));

        // Both say what the call counts for, in place of what was said before.
        assert_eq!(at_end.corrected, [(call_id(1), of_call(&over.record()))]);
        assert_eq!(then.corrected, [(call_id(1), of_call(&later.record()))]);
        assert_eq!((at_end.sums, then.sums), (Sums::new(), Sums::new()));
        let sum = |sums: &Sums| sums.values().map(|it| (it.calls, it.matched)).collect::<Vec<_>>();
        assert_eq!(sum(&of_call(&over.record())), [(1, 0)]);
        assert_eq!(sum(&of_call(&later.record())), [(1, 1)]);
    }

    #[test]
    fn buckets_begin_at_whole_minutes_hours_and_days() {
        let minute = 29_562_664; // 2026-03-17T15:04Z
        let begins = Resolution::ALL.map(|resolution| resolution.bucket_of(minute));
        assert_eq!(begins, [29_562_664, 29_562_660, 29_561_760]);
        assert_eq!(Resolution::Day.bucket_of(-1), -1_440);
    }
}

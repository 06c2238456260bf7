//! What is limited, and how calls use it up.

use fastrand::Rng;
use tollbridge::id::HoldId;
use tollbridge::routing::hold::{Bucket, BucketRequest, Counts, Juncture, LIVE};
use tollbridge::server::clock;
use tollbridge::server::deciding::Deciding;
use tollbridge::time::Wall;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Of a window of two hours, which no clock of a test goes so far ahead or back that anything leaves. For one
/// of a minute see the fault itself.
const SLICE_MS: i64 = 120_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Strict,
    Conversion,
    Revenue,
    Concurrency,
    Prepaid,
}

pub(super) const KINDS: [Kind; 5] =
    [Kind::Strict, Kind::Conversion, Kind::Revenue, Kind::Concurrency, Kind::Prepaid];

/// What goes wrong with what is said of a call's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) is_said_twice: bool,
    pub(super) is_said_in_the_wrong_order: bool,
}

impl Kind {
    /// The most a call may come to.
    pub(super) fn stake(self, rng: &mut Rng) -> u64 {
        match self {
            Self::Strict | Self::Conversion | Self::Concurrency => 1,
            Self::Revenue => 12_500_000,
            Self::Prepaid => rng.u64(1_000_000..20_000_000),
        }
    }

    /// What a call needs that is made at `at`. Windows are as long as they are called, and begin and
    /// end where they do in UTC.
    pub(super) fn requests(self, account: &str, at: Wall, amount: u64) -> Vec<BucketRequest> {
        let request = |counts, limit, window: String, ends_at| BucketRequest {
            bucket: Bucket { cap: format!("{account}/{self:?}").into(), window: window.into() },
            counts,
            limit,
            amount,
            ends_at,
            leeway: None,
        };
        let of = |name: &str, length_ms: i64| {
            let number = at.0.div_euclid(length_ms);
            (format!("{name}:{number}"), Some(Wall((number + 1) * length_ms)))
        };
        let ((day, day_ends), (hour, hour_ends)) = (of("d", DAY_MS), of("h", HOUR_MS));
        let rolling = format!("rolling:7200/{}", at.0.div_euclid(SLICE_MS));
        match self {
            Self::Strict => vec![
                request(Counts::Connected, 10, day, day_ends),
                request(Counts::Connected, 16, rolling, Some(Wall(at.0 + DAY_MS))),
            ],
            Self::Conversion => vec![
                request(Counts::Converted, 10, hour, hour_ends),
                request(Counts::Converted, 16, "total".into(), None),
            ],
            Self::Revenue => vec![request(Counts::Revenue, 125_000_000, day, day_ends)],
            Self::Concurrency => vec![request(Counts::Live, 5, LIVE.into(), None)],
            Self::Prepaid => vec![request(Counts::Credit, 90_000_000, "total".into(), None)],
        }
    }

    /// What a call came to, in each of its buckets; drawn. One in `odds` is counted.
    pub(super) fn came_to(
        self,
        requests: &[BucketRequest],
        ending: Ending,
        odds: u8,
        rng: &mut Rng,
    ) -> Vec<(Bucket, u64)> {
        // What has only one event to count has none left when its room was given back before.
        let counts_late = self != Self::Strict || !ending.is_said_in_the_wrong_order;
        let counts = rng.u8(0..odds) == 0 && counts_late;
        if self == Self::Concurrency || !counts {
            return vec![];
        }
        let came_to = |request: &BucketRequest| match self {
            Self::Prepaid => rng.u64(1..=request.amount),
            Self::Strict | Self::Conversion | Self::Revenue | Self::Concurrency => request.amount,
        };
        let amounts: Vec<u64> = requests.iter().map(came_to).collect();
        requests.iter().map(|it| it.bucket.clone()).zip(amounts).collect()
    }

    /// Says that the call is over.
    pub(super) fn end(
        self,
        deciding: &Deciding,
        hold: HoldId,
        came_to: &[(Bucket, u64)],
        at: Wall,
        ending: Ending,
    ) {
        let now = clock::mono();
        let times = if ending.is_said_twice { 2 } else { 1 };
        let signed = |amount: &u64| i64::try_from(*amount).unwrap_or(i64::MAX);
        let so_much: Vec<_> =
            came_to.iter().map(|(bucket, amount)| (bucket.clone(), signed(amount))).collect();
        match self {
            Self::Strict if ending.is_said_in_the_wrong_order => {
                // Given back first: then there is nothing left to be counted.
                deciding.release(hold);
                deciding.settle(hold, Counts::Connected, now, at);
            }
            Self::Strict if !came_to.is_empty() => {
                for _ in 0..times {
                    deciding.settle(hold, Counts::Connected, now, at);
                }
            }
            Self::Strict | Self::Concurrency => {}
            Self::Conversion | Self::Revenue if ending.is_said_in_the_wrong_order => {
                // What it came to at its conversion is told last, when nothing is held for it.
                for _ in 0..times {
                    deciding.release(hold);
                    deciding.conclude(hold, Juncture::Ended, &[], now);
                    deciding.come_to(hold, Juncture::Converted, &so_much, now);
                }
            }
            Self::Conversion | Self::Revenue => {
                for _ in 0..times {
                    deciding.come_to(hold, Juncture::Converted, &so_much, now);
                }
                deciding.conclude(hold, Juncture::Ended, &[], now);
                // Once more, from before.
                if ending.is_said_twice {
                    deciding.come_to(hold, Juncture::Converted, &so_much, now);
                }
            }
            Self::Prepaid if ending.is_said_in_the_wrong_order => {
                deciding.release(hold);
                for _ in 0..times {
                    deciding.conclude(hold, Juncture::Ended, &so_much, now);
                }
            }
            Self::Prepaid => {
                for _ in 0..times {
                    deciding.conclude(hold, Juncture::Ended, &so_much, now);
                }
            }
        }
        for _ in 0..times {
            deciding.release(hold);
        }
    }
}

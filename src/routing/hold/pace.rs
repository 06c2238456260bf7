//! Filling a cap evenly over its window, to its limit and hardly ever beyond.

use minicbor::{Decode, Encode};

use crate::routing::request::Usage;

/// A whole, in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// What a paced cap knows at one moment.
///
/// Each of the `n` calls that are held, the new one among them, counts with the probability `p`,
/// whatever becomes of the others. A call is let in if `used + n·p + z·√(n·p·(1-p))` is within the
/// limit, and within what may be used by now. Up to a small probability, which `z` stands for, no
/// more than that comes to count (normal bound, spec/domain §2.6). All of it is reckoned in
/// millionths, as whole numbers; the root is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pace {
    /// How much may be used by now, in the unit of the cap.
    #[n(0)]
    pub by_now: u64,
    /// `p`. Below a million only where calls are counted.
    #[n(1)]
    pub rate_ppm: u32,
    /// `z`, in thousandths.
    #[n(2)]
    pub z_milli: u32,
}

impl Pace {
    pub(super) fn admits(&self, usage: Usage, asked: u64, limit: u64) -> bool {
        self.bound_ppm(usage, asked) <= u128::from(limit.min(self.by_now)) * u128::from(WHOLE_PPM)
    }

    /// Whether all that is held comes to count.
    pub fn is_certain(&self) -> bool {
        self.rate_ppm == WHOLE_PPM
    }

    /// What may come to be used, in millionths, if `asked` is let in.
    pub fn bound_ppm(&self, usage: Usage, asked: u64) -> u128 {
        let (rate, whole) = (u128::from(self.rate_ppm), u128::from(WHOLE_PPM));
        let calls = u128::from(usage.held) + u128::from(asked);
        let variance = calls * rate * whole.saturating_sub(rate);
        let doubt = (u128::from(self.z_milli) * root_up(variance)).div_ceil(1_000);
        u128::from(usage.used) * whole + calls * rate + doubt
    }
}

/// The least whole number whose square is at least `n`.
fn root_up(n: u128) -> u128 {
    let root = n.isqrt();
    root + u128::from(root * root < n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_calls_are_let_in_than_there_is_room_for_as_not_all_of_them_count() {
        let pace = Pace { by_now: 10, rate_ppm: 300_000, z_milli: 2_327 };
        let most = (0..).find(|held| !pace.admits(Usage { used: 0, held: *held }, 1, 10)).unwrap();
        // 16 * 0.3 + 2.327 * √(16 * 0.21) = 9.07, and with 17: 9.50, 18: 9.93, 19: 10.35.
        assert_eq!(most, 18);
        assert_eq!(
            pace.bound_ppm(Usage { used: 2, held: 15 }, 1),
            2_000_000 + 4_800_000 + 4_265_464
        );
        let certain = Pace { rate_ppm: WHOLE_PPM, ..pace };
        assert!(certain.admits(Usage { used: 2, held: 7 }, 1, 10));
        assert!(!certain.admits(Usage { used: 3, held: 7 }, 1, 10));
    }

    #[test]
    fn no_more_is_let_in_than_may_be_used_by_now() {
        let pace = Pace { by_now: 3, rate_ppm: WHOLE_PPM, z_milli: 2_327 };
        assert!(pace.admits(Usage { used: 1, held: 1 }, 1, 10));
        assert!(!pace.admits(Usage { used: 1, held: 2 }, 1, 10));
        assert!(!pace.admits(Usage { used: 0, held: 1 }, 1, 1));
    }

    #[test]
    fn any_amount_of_money_is_reckoned_without_overflow() {
        let pace = Pace { by_now: u64::MAX, rate_ppm: WHOLE_PPM, z_milli: 3_091 };
        assert!(!pace.admits(Usage { used: u64::MAX, held: u64::MAX }, u64::MAX, u64::MAX));
        assert!(pace.admits(Usage { used: u64::MAX - 1, held: 0 }, 1, u64::MAX));
    }

    #[test]
    fn roots_are_rounded_up() {
        assert_eq!([0, 1, 2, 4, 5, 9, 10].map(root_up), [0, 1, 2, 2, 3, 3, 4]);
    }
}

//! How often something happened of late: each event adds one, and half of what there is goes away in a
//! half-life. In integers: within a half-life it goes down in a straight line.

use crate::time::Wall;

/// One event.
pub const ONE: u64 = 1_000;

/// How much there was at an instant, in thousandths of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    pub milli: u64,
    pub at: Wall,
}

impl Level {
    /// What is left of it. Of an instant before, what there was.
    pub fn at(self, now: Wall, half_life_ms: i64) -> u64 {
        let passed = now.0.saturating_sub(self.at.0).max(0);
        let halvings = passed / half_life_ms;
        let Some(halved) = u32::try_from(halvings).ok().and_then(|n| self.milli.checked_shr(n))
        else {
            return 0;
        };
        let rest = u64::try_from(passed % half_life_ms).unwrap_or(0);
        let whole = u64::try_from(half_life_ms).unwrap_or(u64::MAX);
        // At the end of the half-life half of it is gone.
        let gone = u128::from(halved) * u128::from(rest) / (2 * u128::from(whole));
        halved - u64::try_from(gone).unwrap_or(halved)
    }

    /// One event more. One that comes out of turn counts as of the latest.
    #[must_use]
    pub fn more(self, now: Wall, half_life_ms: i64) -> Self {
        let milli = self.at(now, half_life_ms).saturating_add(ONE);
        Self { milli, at: self.at.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: i64 = 600_000;

    #[test]
    fn half_of_it_is_gone_after_a_half_life() {
        let level = Level { milli: 8_000, at: Wall(0) };
        let at = |ms| level.at(Wall(ms), HALF_LIFE);
        assert_eq!((at(-5), at(0), at(300_000)), (8_000, 8_000, 6_000));
        assert_eq!((at(600_000), at(1_200_000), at(i64::MAX)), (4_000, 2_000, 0));
    }

    proptest! {
        #[test]
        fn it_never_grows_by_itself_and_is_never_above_the_number_of_events(
            mut instants in prop::collection::vec(0_i64..10_000_000, 1..60),
        ) {
            instants.sort_unstable();
            let mut level = Level::default();
            for (n, at) in instants.iter().enumerate() {
                let before = level.at(Wall(*at), HALF_LIFE);
                prop_assert!(before <= level.milli);
                level = level.more(Wall(*at), HALF_LIFE);
                prop_assert_eq!(level.milli, before + ONE);
                prop_assert!(level.milli <= ONE * (n as u64 + 1));
            }
            let mut last = level.milli;
            for ms in (0..5_000_000).step_by(7_919) {
                let now = level.at(Wall(level.at.0 + ms), HALF_LIFE);
                prop_assert!(now <= last);
                last = now;
            }
        }
    }
}

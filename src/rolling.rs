//! Windows that move along with time, counted in slices.
//!
//! An event counts until the whole slice it lies in has left the window. So never more than the
//! limit lies in any span as long as the window; and room comes back up to a slice later than it
//! might.

use std::ops::RangeInclusive;

use smol_str::{SmolStr, format_smolstr};

use crate::time::Wall;

/// What the names of all such windows begin with.
const PREFIX: &str = "rolling:";
/// Slices of a window, unless they would be shorter than [`SLICE_MS_MIN`].
const SLICES: i64 = 60;
const SLICE_MS_MIN: i64 = 1_000;

/// A window of so many seconds that ends now.
///
/// Its name is `rolling:3600`; that of the one which ends in a certain slice, or of the slice
/// itself, is `rolling:3600/29562664`. Slices are numbered from the Unix epoch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rolling {
    pub seconds: u32,
}

impl Rolling {
    /// How long one may be: from a minute to 31 days.
    pub const SECONDS: RangeInclusive<u32> = 60..=2_678_400;

    /// Reads a name, with the slice if it has one; `None`: it is no such window.
    pub fn read(window: &str) -> Option<(Self, Option<i64>)> {
        let rest = window.strip_prefix(PREFIX)?;
        let (seconds, slice) = match rest.split_once('/') {
            Some((seconds, slice)) => (seconds, Some(slice.parse().ok()?)),
            None => (rest, None),
        };
        let seconds = seconds.parse().ok().filter(|it| Self::SECONDS.contains(it))?;
        Some((Self { seconds }, slice))
    }

    /// Such as `rolling:3600`.
    pub fn name(self) -> SmolStr {
        format_smolstr!("{PREFIX}{}", self.seconds)
    }

    /// Such as `rolling:3600/29562664`.
    pub fn name_at(self, slice: i64) -> SmolStr {
        format_smolstr!("{PREFIX}{}/{slice}", self.seconds)
    }

    /// The slice in which `at` lies.
    pub fn slice(self, at: Wall) -> i64 {
        at.0.div_euclid(self.slice_ms())
    }

    /// The first slice that counts in the window which ends in slice `last`.
    pub fn first_slice(self, last: i64) -> i64 {
        let window_ms = i64::from(self.seconds) * 1_000;
        last.saturating_sub((window_ms + self.slice_ms() - 1) / self.slice_ms())
    }

    /// When what happens in this slice counts no more.
    pub fn forgets_at(self, slice: i64) -> Wall {
        let slices = slice.saturating_sub(self.first_slice(slice)) + 1;
        Wall(slice.saturating_add(slices).saturating_mul(self.slice_ms()))
    }

    /// How long a slice is, in milliseconds.
    pub fn slice_ms(self) -> i64 {
        let window_ms = i64::from(self.seconds) * 1_000;
        ((window_ms + SLICES - 1) / SLICES).max(SLICE_MS_MIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_hour_has_sixty_slices_and_the_one_that_is_leaving() {
        let hour = Rolling { seconds: 3_600 };
        let slice = hour.slice(Wall(1_773_759_852_318));
        assert_eq!(hour.name_at(slice), "rolling:3600/29562664");
        assert_eq!(slice - hour.first_slice(slice), 60);
        assert_eq!(Rolling::read("rolling:3600/29562664"), Some((hour, Some(slice))));
        assert_eq!(Rolling::read("rolling:3600"), Some((hour, None)));
        for other in
            ["d:2026-03-17", "rolling:", "rolling:59", "rolling:3600/x", "rolling:99999999"]
        {
            assert_eq!(Rolling::read(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_lies_less_than_a_window_back_counts_and_what_is_forgotten_does_not(
            seconds in Rolling::SECONDS,
            at in 0_i64..4_000_000_000_000,
            ago_ms in 0_i64..2_678_400_000,
        ) {
            let rolling = Rolling { seconds };
            let event = rolling.slice(Wall(at - ago_ms));
            let counts = event >= rolling.first_slice(rolling.slice(Wall(at)));
            if ago_ms <= i64::from(seconds) * 1_000 {
                prop_assert!(counts);
            }
            prop_assert_eq!(counts, Wall(at) < rolling.forgets_at(event));
            // It comes back no more than two slices late.
            if ago_ms > i64::from(seconds) * 1_000 + 2 * rolling.slice_ms() {
                prop_assert!(!counts);
            }
        }
    }
}

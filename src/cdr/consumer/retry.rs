//! When a fact that failed is tried again.

use std::time::Duration;

/// A fact that failed so often is given up (spec/data §2.8).
pub const TRIES_MAX: u32 = 8;

/// Longest a consumer waits for what all its facts need.
const OUTAGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Milliseconds before the second try, the third, and so on: from a second to five minutes.
const WAITS_MS: [u64; TRIES_MAX as usize - 1] =
    [1_000, 2_600, 6_700, 17_300, 45_000, 116_000, 300_000];

/// How long to wait after a fact failed for the `tries`-th time; `None`: it is given up. `chance`
/// spreads what failed together: half of the wait is certain.
pub fn wait_after(tries: u32, chance: u32) -> Option<Duration> {
    let at = usize::try_from(tries.checked_sub(1)?).ok()?;
    let half = WAITS_MS.get(at)? / 2;
    let drawn = half * u64::from(chance) / u64::from(u32::MAX);
    Some(Duration::from_millis(half + drawn))
}

/// How long to wait for what all facts need, after `failures` in a row.
pub fn wait_in_outage(failures: u32) -> Duration {
    let doubled = Duration::from_secs(1).saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(OUTAGE_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_second_to_five_minutes_and_end_after_eight_tries() {
        let longest: Vec<_> = (1..TRIES_MAX).filter_map(|n| wait_after(n, u32::MAX)).collect();

        assert_eq!(longest.len(), 7);
        assert_eq!(longest[0], Duration::from_secs(1));
        assert_eq!(longest[6], Duration::from_secs(300));
        assert!(longest.is_sorted());
        assert_eq!(wait_after(TRIES_MAX, 0), None);
    }

    #[test]
    fn chance_takes_up_to_half_of_a_wait() {
        assert_eq!(wait_after(1, 0), Some(Duration::from_millis(500)));
        assert_eq!(wait_after(7, u32::MAX / 2), Some(Duration::from_millis(224_999)));
    }

    #[test]
    fn an_outage_is_looked_at_again_within_half_a_minute() {
        let waits: Vec<_> = (1..9).map(|n| wait_in_outage(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}

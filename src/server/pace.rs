//! How long a busy shard lets messages gather before it reads them.
//!
//! A turn of the shard (sleeping, waking, looking at sockets and deadlines, waking its peers) costs
//! more than a message, and its code and data come back from cold caches. Below [`BUSY_PER_S`] a
//! shard reads what comes as it comes. Above it sleeps after each turn until about [`TURN_WORTH`]
//! messages have come, and never longer than it may (`sip.gather_us`): the more come, the shorter.

use std::time::Duration;

use crate::time::Mono;

/// Messages a second from which gathering pays.
const BUSY_PER_S: u64 = 1500;

/// Messages that make a turn worth its cost.
const TURN_WORTH: u64 = 32;

const WINDOW: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pace {
    /// The longest a message may wait for others.
    longest: Duration,
    window_ends_at: Mono,
    in_window: u64,
    /// How long to gather, as the last window was busy.
    gather: Option<Duration>,
}

impl Pace {
    pub(super) fn new(longest: Duration, now: Mono) -> Self {
        Self { longest, window_ends_at: now + WINDOW, in_window: 0, gather: None }
    }

    /// A turn has handled so many messages. Returns how long to sleep before the next.
    pub(super) fn turn(&mut self, messages: u64, now: Mono) -> Option<Duration> {
        self.in_window += messages;
        if now >= self.window_ends_at {
            let elapsed = (WINDOW + now.since(self.window_ends_at)).as_millis();
            let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX).max(1);
            self.gather = self.gather_at(self.in_window.saturating_mul(1000) / elapsed);
            self.in_window = 0;
            self.window_ends_at = now + WINDOW;
        }
        self.gather.filter(|_| messages > 0)
    }

    fn gather_at(&self, per_s: u64) -> Option<Duration> {
        let is_busy = per_s >= BUSY_PER_S && !self.longest.is_zero();
        is_busy.then(|| Duration::from_micros(TURN_WORTH * 1_000_000 / per_s).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(2);

    #[test]
    fn gathers_when_busy_and_stops_when_it_is_quiet_again() {
        let mut pace = Pace::new(LONGEST, ms(0));

        assert_eq!(pace.turn(1, ms(1)), None);
        assert_eq!(pace.turn(400, ms(100)), Some(LONGEST));
        assert_eq!(pace.turn(0, ms(110)), None, "there is nothing to gather after an empty turn");
        assert_eq!(pace.turn(5, ms(120)), Some(LONGEST));
        assert_eq!(pace.turn(1, ms(201)), None, "six messages in 100 ms are few");
    }

    #[test]
    fn the_more_come_the_shorter_it_gathers() {
        let mut pace = Pace::new(LONGEST, ms(0));

        assert_eq!(pace.turn(8_000, ms(100)), Some(Duration::from_micros(400)));
    }

    #[test]
    fn does_not_gather_where_that_is_switched_off() {
        let mut pace = Pace::new(Duration::ZERO, ms(0));

        assert_eq!(pace.turn(8_000, ms(100)), None);
    }

    fn ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
}

//! How long a busy shard lets datagrams gather before it reads them.
//!
//! A wake-up costs more than reading a datagram. Below [`BUSY_PER_S`] a shard reads what comes as
//! it comes. Above it sleeps for [`GATHER`] after each turn and reads what has gathered in one go:
//! fewer wake-ups, fuller batches, and at most that much later.

use std::time::Duration;

use crate::time::Mono;

/// Messages a second from which gathering pays.
const BUSY_PER_S: u64 = 1500;

/// Well below anything a caller can notice, and below the time a loaded machine takes anyway.
const GATHER: Duration = Duration::from_micros(800);

const WINDOW: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pace {
    window_ends_at: Mono,
    in_window: u64,
    busy: bool,
}

impl Pace {
    pub(super) fn new(now: Mono) -> Self {
        Self { window_ends_at: now + WINDOW, in_window: 0, busy: false }
    }

    /// A turn has handled so many messages. Returns how long to sleep before the next.
    pub(super) fn turn(&mut self, messages: u64, now: Mono) -> Option<Duration> {
        self.in_window += messages;
        if now >= self.window_ends_at {
            let elapsed = (WINDOW + now.since(self.window_ends_at)).as_millis();
            let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX).max(1);
            self.busy = self.in_window.saturating_mul(1000) / elapsed >= BUSY_PER_S;
            self.in_window = 0;
            self.window_ends_at = now + WINDOW;
        }
        (self.busy && messages > 0).then_some(GATHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_when_busy_and_stops_when_it_is_quiet_again() {
        let ms = |ms: u64| Mono(ms * 1_000_000);
        let mut pace = Pace::new(ms(0));

        assert_eq!(pace.turn(1, ms(1)), None);
        assert_eq!(pace.turn(400, ms(100)), Some(GATHER));
        assert_eq!(pace.turn(0, ms(110)), None, "there is nothing to gather after an empty turn");
        assert_eq!(pace.turn(5, ms(120)), Some(GATHER));
        assert_eq!(pace.turn(1, ms(201)), None, "six messages in 100 ms are few");
    }
}

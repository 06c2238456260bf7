//! How far a shard is behind its work, and what it lets go then (spec/sip O1, O3).
//!
//! A shard that leaves something unread at the end of a turn has a queue. For how long there has
//! been one without a break says more than how long it is: a burst is gone in a few turns, an
//! overload is not. First new calls are refused, which is cheap and empties the queue; if that does
//! not help, all that opens anything is dropped unread. What belongs to a call always goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::time::Mono;

/// For so long after a refusal the shard refuses again at a [`SOONER`]th of its patience: under a
/// lasting overload the queue stays short, while a pause of the machine costs no call.
const WARY: Duration = Duration::from_secs(1);
const SOONER: u32 = 8;

/// Bytes of the kernel's buffer that a small datagram takes.
const DATAGRAM_COST: usize = 2304;

/// What a shard does about its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fine,
    /// New calls get 503.
    Refuse,
    /// What opens anything is dropped before it is parsed.
    Brake,
}

/// The queue of one shard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backlog {
    refuse_after: Duration,
    brake_after: Duration,
    since: Option<Mono>,
    refused_at: Option<Mono>,
}

impl Backlog {
    pub(super) fn new(refuse_after: Duration, brake_after: Duration) -> Self {
        Self { refuse_after, brake_after, since: None, refused_at: None }
    }

    /// A turn has ended; `drained` if it read all there was.
    pub(super) fn turn(&mut self, drained: bool, now: Mono) -> Level {
        if drained {
            self.since = None;
            return Level::Fine;
        }
        let standing = now.since(*self.since.get_or_insert(now));
        let is_wary = self.refused_at.is_some_and(|at| now.since(at) < WARY);
        let patience = if is_wary { self.refuse_after / SOONER } else { self.refuse_after };
        if standing < patience {
            return Level::Fine;
        }
        self.refused_at = Some(now);
        if standing < self.brake_after { Level::Refuse } else { Level::Brake }
    }

    /// For how long there has been a queue.
    pub(super) fn standing(&self, now: Mono) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// Datagrams read from a socket in one turn that tell of a queue: a full turn's, or half of what
/// fits the kernel's buffer.
pub(super) fn telling(receive_buffer_bytes: usize, turn_max: usize) -> usize {
    (receive_buffer_bytes / DATAGRAM_COST / 2).clamp(turn_max / 8, turn_max)
}

/// Whether the process has used up its memory; looked at by every shard.
#[derive(Debug, Default)]
pub(super) struct MemoryFlag(AtomicBool);

impl MemoryFlag {
    pub(super) fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `used` of `limit` bytes. Once it is short, a twentieth has to become free first.
    pub(super) fn set(&self, used: u64, limit: u64) -> bool {
        let limit = if self.is_short() { limit - limit / 20 } else { limit };
        let short = used >= limit;
        self.0.store(short, Ordering::Relaxed);
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_stands_is_refused_and_then_braked_and_a_burst_is_not() {
        let mut backlog = backlog();

        assert_eq!(backlog.turn(false, ms(0)), Level::Fine);
        assert_eq!(backlog.turn(false, ms(150)), Level::Fine);
        assert_eq!(backlog.turn(true, ms(151)), Level::Fine);
        assert_eq!(backlog.turn(false, ms(152)), Level::Fine);
        assert_eq!(backlog.turn(false, ms(312)), Level::Refuse);
        assert_eq!(backlog.turn(false, ms(552)), Level::Brake);
        assert_eq!(backlog.standing(ms(552)), Duration::from_millis(400));
        assert_eq!(backlog.turn(true, ms(553)), Level::Fine);
    }

    #[test]
    fn a_shard_that_had_to_refuse_lately_does_so_sooner() {
        let mut backlog = backlog();
        backlog.turn(false, ms(0));
        assert_eq!(backlog.turn(false, ms(160)), Level::Refuse);
        backlog.turn(true, ms(161));

        backlog.turn(false, ms(200));
        assert_eq!(backlog.turn(false, ms(220)), Level::Refuse);
        backlog.turn(true, ms(221));
        backlog.turn(false, ms(1_300));
        assert_eq!(backlog.turn(false, ms(1_320)), Level::Fine, "that is a second ago");
    }

    #[test]
    fn a_small_buffer_of_the_kernel_tells_of_a_queue_sooner() {
        assert_eq!(telling(4 << 20, 128), 128);
        assert_eq!(telling(212_992, 128), 46);
        assert_eq!(telling(2_304, 128), 16);
    }

    #[test]
    fn memory_that_was_short_has_to_become_free_by_a_twentieth() {
        let memory = MemoryFlag::default();

        assert!(!memory.set(99, 100));
        assert!(memory.set(100, 100));
        assert!(memory.set(96, 100));
        assert!(memory.is_short());
        assert!(!memory.set(94, 100));
    }

    fn backlog() -> Backlog {
        Backlog::new(Duration::from_millis(160), Duration::from_millis(400))
    }

    fn ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
}

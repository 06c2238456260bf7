//! How often it is written down what becomes of a session.
//!
//! A page gives a sign of life each minute or so, and says what is new when it is. One that says something
//! new each moment, or is closed and opened all the time, must not fill the journal.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::SessionId;
use crate::time::Mono;

/// Changes of a session that may come at once, if it was quiet before.
const AT_ONCE: u32 = 10;
/// After that, one in so long.
const EACH: Duration = Duration::from_secs(1);
/// Sessions that have changed in the last seconds; while there are more, no other may.
const SESSIONS_MAX: usize = 100_000;

/// When sessions will have been quiet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    quiet_at: BTreeMap<SessionId, Mono>,
    looked_at: Mono,
}

impl Changes {
    /// Whether one more change of the session is written down.
    pub(super) fn take(&mut self, session: SessionId, now: Mono) -> bool {
        if self.quiet_at.len() >= SESSIONS_MAX && !self.quiet_at.contains_key(&session) {
            if now.since(self.looked_at) >= EACH {
                self.looked_at = now;
                self.quiet_at.retain(|_, at| *at > now);
            }
            if self.quiet_at.len() >= SESSIONS_MAX {
                return false;
            }
        }
        let quiet_at = self.quiet_at.entry(session).or_insert(now);
        let next = (*quiet_at).max(now) + EACH;
        let fits = next.since(now) <= EACH * AT_ONCE;
        if fits {
            *quiet_at = next;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn a_session_changes_ten_times_at_once_and_then_once_a_second() {
        let mut changes = Changes::default();
        let (one, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
        let taken = |changes: &mut Changes, session, ms, times: usize| {
            (0..times).filter(|_| changes.take(session, at(ms))).count()
        };
        assert_eq!(taken(&mut changes, one, 0, 50), 10);
        assert_eq!(taken(&mut changes, one, 999, 5), 0);
        assert_eq!(taken(&mut changes, one, 1_000, 5), 1);
        assert_eq!(taken(&mut changes, one, 4_500, 50), 3);
        assert_eq!(taken(&mut changes, other, 4_500, 50), 10, "it is another's");
        assert_eq!(taken(&mut changes, one, 600_000, 50), 10, "it was quiet");
    }

    #[test]
    fn no_more_sessions_are_known_than_may_be_and_those_that_are_quiet_make_room() {
        let mut changes = Changes::default();
        let session = |nth: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&nth.to_be_bytes());
            SessionId::from_bytes(bytes)
        };
        let all = u32::try_from(SESSIONS_MAX).unwrap();
        assert!((0..all).all(|nth| changes.take(session(nth), at(0))));
        assert!(!changes.take(session(all), at(500)));
        assert!(changes.take(session(0), at(500)), "it is known");
        assert!(changes.take(session(all), at(1_000)), "all but one are quiet");
        assert_eq!(changes.quiet_at.len(), 2);
    }
}

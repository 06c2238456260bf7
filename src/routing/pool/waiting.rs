//! Sessions without a number of a pool that asked for one: so that one that asks with every sign of
//! life is counted once, and that it is known how many numbers are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::SessionId;
use crate::time::Wall;

const SECOND_MS: i64 = 1_000;

/// No more of them than live sessions: each is forgotten when its session ends, but for a count by the second
/// while its number would rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// How long a number rests behind a session.
    pub(super) rest: Duration,
    sessions: BTreeMap<SessionId, Waits>,
    ends: BTreeSet<(Wall, SessionId)>,
    /// Of the sessions, those for whom none was left.
    turned_away: usize,
    /// Numbers that such sessions would have left behind, by the end of their rest, and all of them.
    resting: BTreeMap<Wall, usize>,
    all_resting: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waits {
    until: Wall,
    /// None was left for it; else it had one that was taken from it, and has shown no sign of life since.
    is_turned_away: bool,
}

impl Waiting {
    /// Whether the session has asked before and lives still.
    pub(super) fn has(&mut self, session: SessionId, now: Wall) -> bool {
        self.settle(now);
        self.sessions.contains_key(&session)
    }

    /// Forgets who is over.
    pub(super) fn settle(&mut self, now: Wall) {
        while let Some(&(at, over)) = self.ends.first().filter(|(at, _)| *at <= now) {
            self.leave(over, at);
        }
        while let Some((_, numbers)) =
            self.resting.first_entry().filter(|it| *it.key() <= now).map(|it| it.remove_entry())
        {
            self.all_resting -= numbers;
        }
    }

    /// Numbers that they would keep from others had they got one.
    pub(super) fn wanted(&self) -> usize {
        self.turned_away + self.all_resting
    }

    /// None was left for the session, which lives until then.
    pub(super) fn turned_away(&mut self, session: SessionId, until: Wall) {
        self.add(session, Waits { until, is_turned_away: true });
    }

    /// Its number was taken from the session, which lives until then.
    pub(super) fn lost(&mut self, session: SessionId, until: Wall) {
        self.add(session, Waits { until, is_turned_away: false });
    }

    /// It has a number, or was never answered.
    pub(super) fn remove(&mut self, session: SessionId) {
        self.take(session);
    }

    /// It is over.
    pub(super) fn leave(&mut self, session: SessionId, now: Wall) {
        if self.take(session).is_some_and(|waits| waits.is_turned_away) && !self.rest.is_zero() {
            let Wall(ends) = now + self.rest;
            let whole = Wall(ends.saturating_add(SECOND_MS - 1).div_euclid(SECOND_MS) * SECOND_MS);
            *self.resting.entry(whole).or_default() += 1;
            self.all_resting += 1;
        }
    }

    fn add(&mut self, session: SessionId, waits: Waits) {
        self.take(session);
        self.sessions.insert(session, waits);
        self.ends.insert((waits.until, session));
        self.turned_away += usize::from(waits.is_turned_away);
    }

    fn take(&mut self, session: SessionId) -> Option<Waits> {
        let waits = self.sessions.remove(&session)?;
        self.ends.remove(&(waits.until, session));
        self.turned_away -= usize::from(waits.is_turned_away);
        Some(waits)
    }
}

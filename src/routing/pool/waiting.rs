//! Sessions without a number of a pool that asked for one, so that one that asks with every sign of
//! life is counted once.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::SessionId;
use crate::time::Wall;

/// No more of them than live sessions: each is forgotten when its session ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    until: BTreeMap<SessionId, Wall>,
    ends: BTreeSet<(Wall, SessionId)>,
}

impl Waiting {
    /// Whether the session has asked before and lives still.
    pub(super) fn has(&mut self, session: SessionId, now: Wall) -> bool {
        while let Some(&(at, over)) = self.ends.first() {
            if now < at {
                break;
            }
            self.ends.pop_first();
            self.until.remove(&over);
        }
        self.until.contains_key(&session)
    }

    /// It was not lent a number, or has lost it, and lives until then.
    pub(super) fn add(&mut self, session: SessionId, until: Wall) {
        self.remove(session);
        self.until.insert(session, until);
        self.ends.insert((until, session));
    }

    /// It has a number, or is over.
    pub(super) fn remove(&mut self, session: SessionId) {
        if let Some(until) = self.until.remove(&session) {
            self.ends.remove(&(until, session));
        }
    }
}

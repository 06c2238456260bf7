//! Sessions that were opened here and may not be on disk yet: no other server sees them.
//!
//! One that did could answer by them, and a crash here would then take from every journal what somebody was
//! promised. So a session is shown by its own request once it is on disk. If whoever asked has gone away
//! meanwhile, it is told by and by, and not before it is there either.

use crate::cdr::journal::Lsn;
use crate::cdr::journal::file::Appender;
use crate::id::SessionId;
use crate::routing::ping::Session;

use super::SharedSessions;

/// What a session waits for that others do not see yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    ItsRequest,
    /// Until the journal is on disk up to there. It holds no more facts in memory than it may, so no more
    /// sessions wait for it.
    TheDisk(Lsn),
}

impl SharedSessions {
    /// What this journal does not have on disk others are not told. Said before anything is opened.
    pub fn follow(&self, journal: Appender) {
        let _followed_before = self.journal.set(journal);
    }

    /// Whether the journal is on disk up to there. What is in none waits for none.
    pub(super) fn is_on_disk(&self, up_to: Lsn) -> bool {
        self.journal.get().is_none_or(|journal| journal.durable() >= up_to)
    }

    /// A session is about to be opened here.
    pub(in crate::server) fn opening(&self, session: SessionId) {
        self.inner.lock().unseen.insert(session, Awaited::ItsRequest);
    }

    /// Its request has come to an end, and others see it, or it is not opened after all.
    pub(in crate::server) fn opening_ended(&self, session: SessionId) {
        self.inner.lock().unseen.remove(&session);
    }

    /// Nobody waits for it any more: others see it by and by, once the journal is on disk up to there.
    pub(in crate::server) fn opened_for_nobody(&self, session: SessionId, up_to: Lsn) {
        self.inner.lock().unseen.insert(session, Awaited::TheDisk(up_to));
    }

    /// Those that are on disk, and that nobody shows, are told next.
    pub(super) fn tell_written(&self) {
        let is_written = |awaited: &Awaited| match awaited {
            Awaited::ItsRequest => false,
            Awaited::TheDisk(up_to) => self.is_on_disk(*up_to),
        };
        let written: Vec<SessionId> = {
            let mut inner = self.inner.lock();
            let written = inner.unseen.extract_if(.., |_, awaited| is_written(awaited));
            written.map(|(session, _)| session).collect()
        };
        written.into_iter().for_each(|session| self.untold(session));
    }

    /// Those of them that others may see.
    pub(super) fn seen(&self, mut sessions: Vec<Session>) -> Vec<Session> {
        let inner = self.inner.lock();
        sessions.retain(|it| !inner.unseen.contains_key(&it.session));
        sessions
    }

    pub(super) fn is_unseen(&self, session: SessionId) -> bool {
        self.inner.lock().unseen.contains_key(&session)
    }
}

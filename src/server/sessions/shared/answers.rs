//! Requests that may be sent again, to any of the servers: what the store is asked and told of them.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::counter;

use crate::cdr::journal::Lsn;
use crate::routing::ping::{Checked, Claim, Identity, Kept, RequestKey, Session};
use crate::server::clock;
use crate::server::metrics::SESSION_STORE_UNSAID;
use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::{Asked, OwnSessions, SharedSessions};

/// What the store has not heard of requests, at most. Of more it does not hear: then a request that is sent
/// again to another server may be taken for a new one there.
const WORDS_MAX: usize = 100_000;
/// Told at once while calls go on.
const TOLD_AT_ONCE: usize = 200;

/// What the store is to be told of a request.
#[derive(Clone, Debug)]
pub(super) struct Word {
    said: Said,
    /// It is told when the journal is on disk up to there; absent: at once.
    up_to: Option<Lsn>,
}

#[derive(Clone, Debug)]
enum Said {
    Answered(Identity, Kept, Wall),
    /// Its claim is over: it came to nothing, or was for as long as nobody could see what came of it.
    Left(RequestKey, u64),
}

/// Tells a claim from all others of this process.
pub(in crate::server) fn next_claim() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

impl SharedSessions {
    /// A request came here that is known to nobody here.
    pub(in crate::server) async fn claim(&self, identity: Identity, claim: u64) -> Asked<Claim> {
        match self.store.claim(identity, claim).await {
            Ok(found) => Asked::Told(found),
            Err(fault) => {
                self.metrics.fault(&fault);
                Asked::Away
            }
        }
    }

    /// A request came here that is refused unless another has answered it.
    pub(in crate::server) async fn look_for(&self, identity: Identity) -> Asked<Claim> {
        match self.store.look_for(identity).await {
            Ok(found) => Asked::Told(found),
            Err(fault) => {
                self.metrics.fault(&fault);
                Asked::Away
            }
        }
    }

    /// A ping came here that is to be priced, which says no more of itself than others like it.
    pub(in crate::server) async fn claim_price(&self, key: RequestKey, claim: u64) -> Asked<Claim> {
        match self.store.claim_price(key, claim).await {
            Ok(found) => Asked::Told(found),
            Err(fault) => {
                self.metrics.fault(&fault);
                Asked::Away
            }
        }
    }

    /// The session that was opened for the same priced ping, wherever that was. What became of sessions of this
    /// server elsewhere is told to it.
    pub(in crate::server) async fn quoted(
        &self,
        own: &dyn OwnSessions,
        checked: &Checked,
        now: Wall,
    ) -> Option<Session> {
        let sessions = self.store.of_caller(checked.campaign(), checked.caller()?, now).await;
        let sessions = sessions.inspect_err(|fault| self.metrics.fault(fault)).ok()?;
        let known: Vec<Session> = sessions.into_iter().map(|it| own.follow(it)).collect();
        known.into_iter().find(|it| checked.was_quoted(it, now))
    }

    /// Requests were answered here. Returns when others know, or the store does not answer: then it is told
    /// later.
    pub(in crate::server) async fn answered(&self, answers: Vec<(Identity, Kept, Wall)>) {
        if answers.is_empty() {
            return;
        }
        if let Err(fault) = self.store.keep(&answers, clock::wall()).await {
            self.metrics.fault(&fault);
            for (identity, kept, at) in answers {
                self.answered_before((identity, kept, at), None);
            }
        }
    }

    /// A request was answered here, which is told by and by, and not before the journal is on disk up to there.
    /// Absent: the answer is on disk.
    pub(in crate::server) fn answered_before(
        &self,
        (identity, kept, at): (Identity, Kept, Wall),
        up_to: Option<Lsn>,
    ) {
        self.word(Word { said: Said::Answered(identity, kept, at), up_to });
    }

    /// A request that was claimed here may be claimed by others: at once, or when the journal is on disk up to
    /// there.
    pub(in crate::server) fn left(&self, key: RequestKey, claim: u64, up_to: Option<Lsn>) {
        self.word(Word { said: Said::Left(key, claim), up_to });
    }

    fn word(&self, word: Word) {
        let mut inner = self.inner.lock();
        if inner.words.len() < WORDS_MAX {
            inner.words.push_back(word);
        } else {
            counter!(SESSION_STORE_UNSAID).increment(1);
        }
    }

    pub(super) async fn tell_words(&self) -> Result<(), StoreFault> {
        let mut left = self.inner.lock().words.len();
        while left > 0 {
            let some: Vec<Word> = {
                let mut inner = self.inner.lock();
                let count = inner.words.len().min(TOLD_AT_ONCE).min(left);
                inner.words.drain(..count).collect()
            };
            left = left.saturating_sub(some.len());
            let (some, unwritten): (Vec<_>, Vec<_>) =
                some.into_iter().partition(|word| word.up_to.is_none_or(|it| self.is_on_disk(it)));
            self.inner.lock().words.extend(unwritten);
            if let Err(fault) = self.tell_words_of(&some).await {
                // Others are told before these again: they may be of a server that hears.
                self.inner.lock().words.extend(some);
                return Err(fault);
            }
        }
        Ok(())
    }

    async fn tell_words_of(&self, some: &[Word]) -> Result<(), StoreFault> {
        let answers: Vec<_> = some
            .iter()
            .filter_map(|word| match &word.said {
                Said::Answered(identity, kept, at) => Some((*identity, kept.clone(), *at)),
                Said::Left(..) => None,
            })
            .collect();
        self.store.keep(&answers, clock::wall()).await?;
        let left = some.iter().filter_map(|word| match &word.said {
            Said::Left(key, claim) => Some((*key, *claim)),
            Said::Answered(..) => None,
        });
        self.store.leave(&left.collect::<Vec<_>>()).await
    }
}

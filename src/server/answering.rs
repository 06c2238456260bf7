//! Requests that may be sent again, and the answers they got (spec/data §2.6).

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use crate::cdr::fact::{PingAccepted, Reply};
use crate::cdr::journal::Lsn;
use crate::cdr::store::{Book, StoreError};
use crate::routing::ping::{
    Accepted, Answers, Claim, Fingerprint, Identity, KEPT_MS, Kept, KeptVisit, NumberStatus,
    RequestKey,
};
use crate::time::Wall;

use super::deciding::Deciding;
use super::sessions::SharedSessions;
use super::sessions::shared::{Asked, next_claim};
use super::translate;

/// Pings of the book that are read at once.
const PAGE: u32 = 10_000;
/// How long a request waits after a start for the answers of before.
const BACK_MAX: Duration = Duration::from_secs(1);
/// Answers of so long before a start other servers may not have been told.
const TOLD_AGAIN_MS: i64 = 10 * 60_000;

/// A request that is being answered. However that ends, its key is free again or has its answer: also if
/// whoever asked goes away meanwhile.
pub(super) struct Claimed<'a> {
    answers: &'a Mutex<Answers>,
    /// Where other servers see it, and by what it is known there.
    elsewhere: Option<(&'a SharedSessions, u64)>,
    pub(super) identity: Identity,
    answer: Option<(Kept, Wall)>,
    /// Where the answer is in the journal, once it is on its way to the disk.
    up_to: Option<Lsn>,
}

/// What is known of a request that came.
pub(super) enum Standing<'a> {
    First(Claimed<'a>),
    /// The answers from before the start are not all back: it may have one.
    Unknown,
    InProgress,
    Other,
    Answered(Kept),
}

/// What other servers have to do with a request that came here.
#[derive(Clone, Copy)]
enum Others {
    HearOfIt,
    AreAsked,
}

impl Deciding {
    /// Claims a request's key for whoever is to answer it, at all servers that share sessions. While their
    /// store does not answer, at this one.
    pub(super) async fn claim(&self, identity: Identity, now: Wall) -> Standing<'_> {
        self.first(identity, now, Others::HearOfIt)
            .await
            .map_or_else(|known| known, Standing::First)
    }

    /// The same for a request that is refused if it is the first: others are asked whether they have answered
    /// it, and do not hear that it came.
    pub(super) async fn look_for(&self, identity: Identity, now: Wall) -> Standing<'_> {
        self.first(identity, now, Others::AreAsked)
            .await
            .map_or_else(|known| known, Standing::First)
    }

    /// # Errors
    /// It is not the first, or nobody knows yet.
    async fn first(
        &self,
        identity: Identity,
        now: Wall,
        others: Others,
    ) -> Result<Claimed<'_>, Standing<'_>> {
        let mut claimed = self.claim_here(identity, now).await?;
        let Some(shared) = self.sessions() else { return Ok(claimed) };
        let found = match others {
            Others::AreAsked => shared.look_for(identity).await,
            Others::HearOfIt => {
                let claim = next_claim();
                // Whoever asked may go away before the store has answered.
                claimed.elsewhere = Some((shared, claim));
                shared.claim(identity, claim).await
            }
        };
        match found {
            Asked::Told(Claim::First) | Asked::Unknown | Asked::Away => Ok(claimed),
            Asked::Told(found) => {
                claimed.elsewhere = None;
                Err(Standing::of_others(found))
            }
        }
    }

    async fn claim_here(&self, identity: Identity, now: Wall) -> Result<Claimed<'_>, Standing<'_>> {
        let mut back = self.answers_back().subscribe();
        if !matches!(timeout(BACK_MAX, back.wait_for(|is_back| *is_back)).await, Ok(Ok(_))) {
            return Err(Standing::Unknown);
        }
        let answers = self.answers();
        let found = answers.lock().claim(identity, now);
        if found != Claim::First {
            return Err(Standing::of_others(found));
        }
        let (elsewhere, answer, up_to) = (None, None, None);
        Ok(Claimed { answers, elsewhere, identity, answer, up_to })
    }

    /// There are answers from before, which are put back while requests come: until then those that may have
    /// one wait.
    pub(super) fn awaits_answers(&self) {
        self.answers_back().send_replace(false);
    }

    /// Puts back the answers of the last day, which are in the book.
    ///
    /// # Errors
    /// The book cannot be read.
    pub(super) async fn bring_back_answers(
        &self,
        book: &dyn Book,
        now: Wall,
    ) -> Result<(), StoreError> {
        self.restore_answers(book, now).await?;
        self.answers_back().send_replace(true);
        Ok(())
    }

    async fn restore_answers(&self, book: &dyn Book, now: Wall) -> Result<(), StoreError> {
        let since = Wall(now.0.saturating_sub(KEPT_MS));
        let mut before = None;
        loop {
            let page = book.replied(since, before, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            before = Some(last.session);
            let recent = Wall(now.0.saturating_sub(TOLD_AGAIN_MS));
            let mut answers = self.answers().lock();
            let kept = page.iter().filter_map(|(ping, at)| {
                let reply = ping.reply.as_ref()?;
                Some((identity(reply), kept(ping, reply), *at))
            });
            for (identity, kept, at) in kept {
                if let Some(shared) = self.sessions().filter(|_| at >= recent) {
                    shared.answered_before((identity, kept.clone(), at), None);
                }
                if !answers.restore(identity, kept, at) {
                    return Ok(());
                }
            }
        }
    }
}

impl Standing<'_> {
    /// Of one that is not the first.
    fn of_others(found: Claim) -> Self {
        match found {
            Claim::Answered(kept) => Self::Answered(kept),
            Claim::Other => Self::Other,
            Claim::First | Claim::InProgress => Self::InProgress,
        }
    }
}

impl Claimed<'_> {
    /// What is answered is on disk: returns when other servers know, or cannot be told at once.
    pub(super) async fn tell(claimed: &mut [Self]) {
        let mut told: Option<(&SharedSessions, Vec<_>)> = None;
        let is_answered = |it: &&mut Self| it.up_to.is_some() && it.answer.is_some();
        let mut answered: Vec<_> = claimed.iter_mut().filter(is_answered).collect();
        for it in &answered {
            if let Some((kept, at)) = &it.answer
                && let Some((shared, _)) = it.elsewhere
            {
                let answer = (it.identity, kept.clone(), *at);
                told.get_or_insert_with(|| (shared, vec![])).1.push(answer);
            }
        }
        if let Some((shared, answers)) = told {
            shared.answered(answers).await;
        }
        // Not before: whoever asked may go away while others are told.
        answered.iter_mut().for_each(|it| it.elsewhere = None);
    }

    /// What is answered if that gets to the disk.
    pub(super) fn answered(&mut self, kept: Kept, at: Wall) {
        self.answer = Some((kept, at));
    }

    /// The answer is on its way to the disk: here it is given again from now on, for whoever does waits for the
    /// journal. Others hear of it once the journal is on disk up to there.
    pub(super) fn on_its_way(&mut self, up_to: Lsn) {
        self.up_to = Some(up_to);
    }

    /// The answer did not get there.
    pub(super) fn failed(&mut self) {
        self.answer = None;
    }

    pub(super) fn answer(&self) -> Option<&Kept> {
        self.answer.as_ref().map(|(kept, _)| kept)
    }

    /// What brings the answer back after a restart.
    pub(super) fn reply(&self) -> Option<Reply> {
        let kept = self.answer()?;
        Some(Reply {
            key: self.identity.key.0,
            fingerprint: self.identity.fingerprint.0,
            shared: kept.accepted.number_status == NumberStatus::Shared,
            heartbeat_s: kept.visit.as_ref().map(|visit| visit.heartbeat_s),
            left_out: kept.visit.as_ref().map(|visit| visit.left_out.clone()).unwrap_or_default(),
        })
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let Identity { key, .. } = self.identity;
        match self.answer.take().zip(self.up_to) {
            Some(((kept, at), up_to)) => {
                if let Some((shared, _)) = self.elsewhere {
                    shared.answered_before((self.identity, kept.clone(), at), Some(up_to));
                }
                self.answers.lock().keep(self.identity, kept, at);
            }
            None => {
                self.answers.lock().release(key);
                if let Some((shared, claim)) = self.elsewhere {
                    shared.left(key, claim, None);
                }
            }
        }
    }
}

fn identity(reply: &Reply) -> Identity {
    Identity { key: RequestKey(reply.key), fingerprint: Fingerprint(reply.fingerprint) }
}

fn kept(ping: &PingAccepted, reply: &Reply) -> Kept {
    let accepted = Accepted {
        ping: ping.ping,
        session: ping.session,
        number: ping.number,
        number_status: match (&ping.pool, ping.number) {
            (None, None) => NumberStatus::NotAsked,
            (Some(_), Some(_)) if reply.shared => NumberStatus::Shared,
            (Some(_) | None, Some(_)) => NumberStatus::Leased,
            (Some(_), None) => NumberStatus::Exhausted,
        },
        expires_at: Wall(ping.expires_at_ms),
        promise: ping.promise.map(translate::promise),
        repeated: false,
    };
    let visit = reply.heartbeat_s.zip(ping.visitor.as_ref()).map(|(heartbeat_s, visitor)| {
        let (visitor, left_out) = (visitor.clone(), reply.left_out.clone());
        Box::new(KeptVisit { visitor, heartbeat_s, left_out })
    });
    Kept { accepted, visit }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::routing::RoutingSnapshot;
    use crate::routing::config::RoutingConfig;

    const NOW: Wall = Wall(1_773_759_852_318);

    #[tokio::test]
    async fn a_request_that_is_cancelled_frees_its_key_or_leaves_its_answer() {
        let deciding = deciding();
        let identity = |body| Identity { key: RequestKey([1; 16]), fingerprint: Fingerprint(body) };
        let before = first(deciding.claim(identity([1; 16]), NOW).await);
        assert!(matches!(deciding.claim(identity([1; 16]), NOW).await, Standing::InProgress));
        drop(before);

        let mut answered = first(deciding.claim(identity([2; 16]), NOW).await);
        answered.answered(answer(), NOW);
        assert!(matches!(deciding.claim(identity([2; 16]), NOW).await, Standing::InProgress));
        drop(answered);
        let mut answered = first(deciding.claim(identity([2; 16]), NOW).await);
        answered.answered(answer(), NOW);
        answered.on_its_way(Lsn::default());
        drop(answered);

        let again = deciding.claim(identity([2; 16]), NOW).await;
        assert!(matches!(again, Standing::Answered(kept) if kept == answer()));
        assert!(matches!(deciding.claim(identity([1; 16]), NOW).await, Standing::Other));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_the_first_while_answers_of_before_are_not_back() {
        let deciding = deciding();
        let identity = Identity { key: RequestKey([1; 16]), fingerprint: Fingerprint([1; 16]) };
        deciding.awaits_answers();
        assert!(matches!(deciding.claim(identity, NOW).await, Standing::Unknown));

        let back = async {
            sleep_until(Instant::now() + BACK_MAX / 2).await;
            deciding.answers().lock().restore(identity, answer(), NOW);
            deciding.answers_back().send_replace(true);
        };
        let (claimed, ()) = tokio::join!(deciding.claim(identity, NOW), back);
        assert!(matches!(claimed, Standing::Answered(kept) if kept == answer()));
    }

    #[tokio::test]
    async fn an_answer_that_did_not_get_to_the_disk_is_not_given_again() {
        let deciding = deciding();
        let identity = Identity { key: RequestKey([1; 16]), fingerprint: Fingerprint([1; 16]) };
        let mut claimed = first(deciding.claim(identity, NOW).await);
        claimed.answered(answer(), NOW);
        claimed.on_its_way(Lsn::default());
        claimed.failed();
        drop(claimed);
        first(deciding.claim(identity, NOW).await);
    }

    fn first(standing: Standing<'_>) -> Claimed<'_> {
        let Standing::First(claimed) = standing else { panic!("it is the first") };
        claimed
    }

    fn deciding() -> Deciding {
        let config: RoutingConfig = toml::from_str("").unwrap();
        Deciding::new(RoutingSnapshot::compile(config, 1).unwrap())
    }

    fn answer() -> Kept {
        Kept::of_test(7, NOW)
    }
}

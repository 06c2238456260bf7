//! Consumers of the facts at work: each in a task of its own, behind the projection.
//!
//! Owns: what they read ([`feed`]), how one is run ([`runner`]), and their metrics. Does not own:
//! what they make of facts, which is theirs, and when what failed is tried again, which is
//! `cdr::consumer`'s. No call and no ping waits for any of it.

mod feed;
mod letters;
mod runner;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cdr::consumer::Consumer;
use crate::cdr::fact::Stamp;
use crate::cdr::journal::Lsn;
use crate::cdr::journal::file::Journal;
use crate::cdr::rollup::Rollups;
use crate::cdr::store::StoreError;
use crate::cdr::store::consumers::{ConsumerBook, Keep};
use crate::sip::ids::IdSource;

use super::accounting::stamp;
use super::upkeep::Rounds;

use runner::{Means, Runner};
use standing::{ConsumerStanding, StandingDesk};

pub(crate) use feed::Outlet;
pub(super) use letters::LetterDesk;
pub(super) use runner::Post;

pub(super) use feed::Feed;

/// How often metrics are told where consumers stand.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);

/// In how many of these rounds what was kept long enough is forgotten: every hour, and at the start.
const PRUNE_ROUNDS: u32 = 720;

/// How long consumers have to work from the last facts when the process ends. The next one goes on
/// where they are.
const LAST_FACTS: Duration = Duration::from_secs(3);

/// Most facts that are summed up at once.
const PORTION_MAX: usize = 20_000;

/// How long rollups may be behind.
const ROLLUP_PACE: Duration = Duration::from_millis(500);

/// All consumers of the process.
pub(super) struct Consumers {
    feed: Arc<Feed>,
    word: watch::Sender<u64>,
    tasks: JoinSet<()>,
    standings: Vec<Arc<ConsumerStanding>>,
}

impl Consumers {
    /// `reached` is how far the book has come.
    pub(super) fn new(journal: &Journal, reached: Lsn, now: Stamp) -> Self {
        let feed = Feed::new(journal.readers(), reached, now.wall());
        Self { feed, word: watch::Sender::new(0), tasks: JoinSet::new(), standings: Vec::new() }
    }

    /// Where the projection passes facts on.
    pub(super) fn outlet(&self) -> Outlet {
        Outlet(Arc::clone(&self.feed))
    }

    /// What is in the book.
    pub(super) fn feed(&self) -> Arc<Feed> {
        Arc::clone(&self.feed)
    }

    /// Tells that somebody said what should become of facts that failed.
    pub(super) fn word(&self) -> watch::Sender<u64> {
        self.word.clone()
    }

    /// Where those stand that were started by now.
    pub(super) fn standings(&self) -> StandingDesk {
        StandingDesk { standings: self.standings.clone(), feed: Arc::clone(&self.feed) }
    }

    /// Starts them.
    pub(super) fn start(
        &mut self,
        posts: Vec<Post>,
        journal: &Journal,
        book: &Arc<dyn ConsumerBook>,
        keep: Keep,
        seed: u128,
        ended: &watch::Receiver<bool>,
    ) {
        for (n, post) in posts.into_iter().enumerate() {
            let means = Means {
                feed: Arc::clone(&self.feed),
                book: Arc::clone(book),
                clock: Arc::new(stamp),
                word: self.word.subscribe(),
            };
            let standing = ConsumerStanding::new(Arc::clone(&post.name));
            self.standings.push(Arc::clone(&standing));
            // Until it is known where the consumer stands, nothing is deleted that it may want.
            let mark = journal.follower_mark(Lsn::default());
            let number = u8::try_from(n).unwrap_or(u8::MAX);
            let chance = IdSource::new(seed.rotate_left(96), number);
            let runner = Runner::new(post, means, mark, standing, chance);
            self.tasks.spawn(runner.run(ended.clone()));
        }
        let standings = self.standings.clone();
        let tended = tend(standings, Arc::clone(&self.feed), Arc::clone(book), keep, ended.clone());
        self.tasks.spawn(tended);
    }

    /// Lets them work from the last facts.
    pub(super) async fn close(mut self) {
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_FACTS, finished).await.is_err() {
            tracing::warn!("consumers have facts left to work from: the next start goes on there");
            self.tasks.shutdown().await;
        }
    }
}

/// The consumers every server has.
pub(super) fn posts() -> Vec<Post> {
    vec![Post {
        name: Rollups::NAME.into(),
        portion: PORTION_MAX,
        reads_records: true,
        ordered_strict: false,
        pace: ROLLUP_PACE,
        open: Box::new(|| {
            let rollups: Result<Box<dyn Consumer>, StoreError> = Ok(Box::new(Rollups));
            Box::pin(std::future::ready(rollups))
        }),
    }]
}

/// Tells metrics where they stand, and forgets what was kept long enough.
async fn tend(
    standings: Vec<Arc<ConsumerStanding>>,
    feed: Arc<Feed>,
    book: Arc<dyn ConsumerBook>,
    keep: Keep,
    ended: watch::Receiver<bool>,
) {
    let (mut rounds, mut round) = (Rounds::new(PUBLISH_EVERY, ended), 0_u32);
    while rounds.next().await {
        let now = stamp().wall();
        for standing in &standings {
            standing.publish(feed.reached(), now);
        }
        if round.is_multiple_of(PRUNE_ROUNDS)
            && let Err(error) = book.prune_consumed(now, keep).await
        {
            tracing::error!(%error, "failed to forget old rollups; trying again in an hour");
        }
        round = round.wrapping_add(1);
    }
}

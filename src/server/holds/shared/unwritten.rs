//! What has been counted and is not on disk yet: the store is told of none of it.
//!
//! A store that knew of an answer which a crash took from the journal would count it until its window
//! is over, though no record says so. Whoever counts something begins to do so, and is done once its
//! fact is in the journal; whoever is to tell the store waits for all that have begun, and then for the
//! disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::cdr::journal::file::Appender;
use crate::server::redis::StoreFault;

/// How long is waited for the disk at a time: longer than a commit may wait for company.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What is counted at the moment, in two generations: nobody joins the one that is waited for.
#[derive(Default)]
pub(super) struct Unwritten {
    journal: OnceLock<Appender>,
    generations: Arc<Generations>,
    /// Taken by whoever waits.
    waiting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Generations {
    /// Its lowest bit says which of `open` is joined.
    current: AtomicUsize,
    open: [AtomicUsize; 2],
    /// One may have come to its end.
    ended: Notify,
}

/// Something is being counted. Dropped when its fact is in the journal.
pub(in crate::server) struct Counting {
    generations: Arc<Generations>,
    generation: usize,
}

impl Unwritten {
    /// Facts are written here. Without a journal nothing is waited for.
    pub(super) fn follow(&self, journal: Appender) {
        let _followed_before = self.journal.set(journal);
    }

    pub(super) fn begin(&self) -> Counting {
        let generations = Arc::clone(&self.generations);
        let generation = generations.join();
        Counting { generations, generation }
    }

    /// Returns when everything is on disk that had been counted by then.
    ///
    /// # Errors
    /// It may not be: the disk takes long, or takes no more.
    pub(super) async fn until_written(&self) -> Result<(), StoreFault> {
        let Some(journal) = self.journal.get() else { return Ok(()) };
        let written = async {
            {
                let _waiting = self.waiting.lock().await;
                self.generations.wait().await;
            }
            journal.wait(journal.promised()).await
        };
        match timeout(WAIT_MAX, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(StoreFault::Away(String::from("what is to be told is not on disk yet")))
            }
        }
    }
}

impl Generations {
    fn join(&self) -> usize {
        loop {
            let current = self.current.load(Ordering::SeqCst);
            let generation = current & 1;
            self.open[generation].fetch_add(1, Ordering::SeqCst);
            if self.current.load(Ordering::SeqCst) == current {
                return generation;
            }
            // Somebody has begun to wait, perhaps for this one, and may have seen it empty.
            self.leave(generation);
        }
    }

    fn leave(&self, generation: usize) {
        if self.open[generation].fetch_sub(1, Ordering::SeqCst) == 1 {
            self.ended.notify_one();
        }
    }

    /// Waits for all that have joined by now, one at a time.
    async fn wait(&self) {
        // One that somebody has given up waiting for.
        self.wait_for(self.current.load(Ordering::SeqCst) + 1).await;
        let before = self.current.fetch_add(1, Ordering::SeqCst);
        self.wait_for(before).await;
    }

    async fn wait_for(&self, generation: usize) {
        while self.open[generation & 1].load(Ordering::SeqCst) > 0 {
            self.ended.notified().await;
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.generations.leave(self.generation);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn only_what_had_begun_is_waited_for() {
        let unwritten = Unwritten::default();
        let (first, generations) = (unwritten.begin(), &unwritten.generations);
        let mut waiting = Box::pin(generations.wait());
        assert!(!is_over(&mut waiting));

        let second = unwritten.begin();
        drop(first);
        assert!(is_over(&mut waiting), "the second began later");

        let mut waiting = Box::pin(generations.wait());
        assert!(!is_over(&mut waiting));
        drop(second);
        assert!(is_over(&mut waiting));
    }

    #[test]
    fn what_was_waited_for_in_vain_is_waited_for_again() {
        let unwritten = Unwritten::default();
        let (first, generations) = (unwritten.begin(), &unwritten.generations);
        let mut given_up = Box::pin(generations.wait());
        assert!(!is_over(&mut given_up));
        drop(given_up);

        let second = unwritten.begin();
        let mut waiting = Box::pin(generations.wait());
        assert!(!is_over(&mut waiting));
        drop(second);
        assert!(!is_over(&mut waiting), "the first is not written");
        drop(first);
        assert!(is_over(&mut waiting));
    }

    fn is_over(waiting: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        matches!(Pin::new(waiting).poll(&mut context), Poll::Ready(()))
    }
}

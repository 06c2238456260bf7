//! Caps that begin anew, at whichever server that is asked for.

use std::time::Duration;

use crate::routing::hold::{Bucket, Counts, Reset, ResetPart};
use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::time::Mono;

use super::super::store::HoldStore;
use super::{OwnHolds, SharedHolds, State};

/// What was seen of a bucket before it began anew may still be on its way here for so long.
const STALE: Duration = Duration::from_secs(5);

impl SharedHolds {
    /// How much counts in a bucket, and what of it every server has used.
    ///
    /// # Errors
    /// The store is not there.
    pub(in crate::server) async fn parts(
        &self,
        bucket: &Bucket,
        counts: Counts,
    ) -> Result<(u64, Vec<ResetPart>), StoreFault> {
        if self.state() != State::Open {
            return Err(StoreFault::Away(String::from("not connected")));
        }
        let asked = async {
            let usage = self.store.usage(&[(bucket.clone(), counts)]).await?;
            let parts = self.store.parts(bucket).await?;
            Ok((usage.first().map_or(0, |usage| usage.used), parts))
        };
        let told = asked.await;
        told.inspect_err(|fault| self.failed(fault))
    }

    /// A cap began anew, as the journal has it. Other servers are told.
    pub(in crate::server) async fn reset(&self, reset: Reset) {
        self.inner.lock().resets.push_back(reset);
        if self.state() == State::Open
            && let Err(fault) = self.tell_resets().await
        {
            self.failed(&fault);
        }
    }

    /// Tells what the store has not heard. What is not told stays.
    pub(super) async fn tell_resets(&self) -> Result<(), StoreFault> {
        loop {
            // Telling it twice, or beside somebody else who does, changes nothing.
            let Some(reset) = self.inner.lock().resets.pop_front() else { return Ok(()) };
            if let Err(fault) = self.store.reset(&reset).await {
                self.inner.lock().resets.push_front(reset);
                return Err(fault);
            }
            self.forget_seen(reset.bucket);
        }
    }

    /// Tells a store that may have forgotten them all that are known here.
    pub(super) async fn tell_known_resets(&self, own: &dyn OwnHolds) -> Result<(), StoreFault> {
        self.inner.lock().resets_known = smol_str::SmolStr::default();
        for reset in own.resets() {
            self.store.reset(&reset).await?;
        }
        Ok(())
    }

    /// Sees what other servers were asked for.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer.
    pub(in crate::server) async fn look_at_resets(
        &self,
        own: &dyn OwnHolds,
    ) -> Result<(), StoreFault> {
        let known = self.inner.lock().resets_known.clone();
        let told = self.store.resets(&known).await?;
        for reset in told.resets {
            own.learn_reset(&reset);
            self.forget_seen(reset.bucket);
        }
        let now = clock::mono();
        let mut inner = self.inner.lock();
        inner.resets_known = told.version;
        let super::Inner { begun_anew, near, .. } = &mut *inner;
        for (bucket, _) in begun_anew.iter() {
            near.forget(bucket);
        }
        begun_anew.retain(|(_, at): &(Bucket, Mono)| now < *at + STALE);
        Ok(())
    }

    fn forget_seen(&self, bucket: Bucket) {
        let mut inner = self.inner.lock();
        inner.near.forget(&bucket);
        inner.begun_anew.push((bucket, clock::mono()));
    }
}

//! Caps that begin anew because an operator says so.

use smol_str::SmolStr;

use crate::routing::UsageReader;
use crate::routing::hold::{Bucket, Counts, Reset, ResetPart};
use crate::routing::meter::NotResettable;
use crate::time::Wall;

use super::Deciding;

/// A cap that is to begin anew, in its current window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resettable {
    /// Of a rolling window with the slice it ends with.
    pub bucket: Bucket,
    pub counts: Counts,
    pub ends_at: Option<Wall>,
}

impl Deciding {
    /// A cap, in the window in which `at` lies.
    ///
    /// # Errors
    /// There is none that may begin anew.
    pub fn resettable(&self, cap: &SmolStr, at: Wall) -> Result<Resettable, NotResettable> {
        let (bucket, counts, ends_at) = self.snapshot.load().resettable(cap, at)?;
        Ok(Resettable { bucket, counts, ends_at })
    }

    /// How a cap began anew when this was asked for before, here or, as far as was heard, at another server.
    pub fn reset_by_key(&self, cap: &str, key: &str) -> Option<Reset> {
        self.state.lock().ledger.resets().by_key(cap, key).cloned()
    }

    /// How much of what this server has used counts, and all that it has used.
    pub fn own_parts(&self, bucket: &Bucket) -> (u64, Vec<ResetPart>) {
        let state = self.state.lock();
        (state.ledger.usage(bucket).used, state.ledger.parts(bucket))
    }

    /// A cap begins anew: the journal has it, here or at another server.
    pub fn reset(&self, reset: &Reset) {
        self.state.lock().ledger.reset(reset);
    }
}

//! The configurations that calls were decided on: kept in the store under numbers that outlive the
//! process, so that any decision can be made again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cdr::store::{self, StoreError};
use crate::routing::RoutingSnapshot;
use crate::routing::revision::compile;

use super::clock;

/// Compiled configurations kept in memory.
const COMPILED_MAX: usize = 8;

/// Finds the snapshot of a revision.
pub(super) struct Revisions {
    store: Arc<dyn store::Revisions>,
    compiled: Mutex<BTreeMap<u64, Arc<RoutingSnapshot>>>,
}

impl Revisions {
    pub(super) fn new(store: Arc<dyn store::Revisions>) -> Self {
        Self { store, compiled: Mutex::default() }
    }

    /// The number of a configuration that is to be put in force: that of the latest if it is the
    /// same, else the next, under which it is kept from now on.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) async fn number(&self, document: Bytes) -> Result<u64, StoreError> {
        let next = match self.store.latest().await? {
            Some((latest, known)) if known == document => return Ok(latest),
            Some((latest, _)) => latest + 1,
            None => 1,
        };
        self.store.keep(next, document, clock::wall()).await?;
        Ok(next)
    }

    /// The snapshot of a revision; `None` if it was never kept.
    ///
    /// # Errors
    /// The store cannot be read, or what it holds is not understood.
    pub(super) async fn snapshot(
        &self,
        revision: u64,
    ) -> Result<Option<Arc<RoutingSnapshot>>, StoreError> {
        if let Some(known) = self.compiled.lock().get(&revision) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(document) = self.store.find(revision).await? else { return Ok(None) };
        let snapshot = compile(&document, revision).map_err(|error| StoreError::Damaged {
            table: "config_revision",
            row: revision.to_string(),
            detail: error.to_string(),
        })?;
        let snapshot = Arc::new(snapshot);
        let mut compiled = self.compiled.lock();
        compiled.insert(revision, Arc::clone(&snapshot));
        if compiled.len() > COMPILED_MAX {
            compiled.pop_first();
        }
        Ok(Some(snapshot))
    }
}

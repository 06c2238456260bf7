//! The configurations that calls were decided on: kept in the store under numbers that outlive the
//! process, so that any decision can be made again.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cdr::store::{self, StoreError};
use crate::routing::RoutingSnapshot;
use crate::routing::revision::{UnpackError, compile};

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
    /// The store cannot be read, what it holds is damaged, or another version kept it and this one does not
    /// take it.
    pub(super) async fn snapshot(
        &self,
        revision: u64,
    ) -> Result<Option<Arc<RoutingSnapshot>>, StoreError> {
        if let Some(known) = self.compiled.lock().get(&revision) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(document) = self.store.find(revision).await? else { return Ok(None) };
        let snapshot = compile(&document, revision).map_err(|error| match error {
            UnpackError::Packed(_) => StoreError::Damaged {
                table: "config_revision",
                row: revision.to_string(),
                detail: error.to_string(),
            },
            UnpackError::Written(_) | UnpackError::Refused(_) => StoreError::Outdated {
                what: format!("revision {revision} of the configuration"),
                detail: error.to_string(),
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::store::Answer;
    use crate::routing::config::RoutingConfig;
    use crate::routing::revision::pack;
    use crate::time::Wall;

    /// A document under every number.
    struct Kept(Bytes);

    impl store::Revisions for Kept {
        fn latest(&self) -> Answer<'_, Option<(u64, Bytes)>> {
            Box::pin(async { Ok(None) })
        }

        fn find(&self, _revision: u64) -> Answer<'_, Option<Bytes>> {
            Box::pin(async { Ok(Some(self.0.clone())) })
        }

        fn keep(&self, _revision: u64, _document: Bytes, _at: Wall) -> Answer<'_, ()> {
            Box::pin(async { Ok(()) })
        }
    }

    #[tokio::test]
    async fn a_revision_that_another_version_kept_is_told_from_one_that_is_damaged() {
        let packed = pack(&RoutingConfig::default());
        let text = lz4_flex::decompress_size_prepended(&packed).unwrap();
        let text = String::from_utf8(text).unwrap();
        let other = text.replacen("\"buyers\":[]", "\"buyers\":[{\"id\":\"b\",\"old\":1}]", 1);
        assert_ne!(other, text);
        let other = lz4_flex::compress_prepend_size(other.as_bytes());
        let told = |document: &[u8]| {
            let revisions = Revisions::new(Arc::new(Kept(Bytes::copy_from_slice(document))));
            async move { revisions.snapshot(7).await.map(|found| found.is_some()) }
        };

        let outdated = told(&other).await.unwrap_err().to_string();
        let says = "revision 7 of the configuration was kept by another version, and this one does \
                    not take it: this version does not understand it: unknown field `old`";
        assert!(outdated.starts_with(says), "{outdated}");
        let damaged = told(&packed[..packed.len() / 2]).await.unwrap_err();
        assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
        assert!(told(&packed).await.unwrap());
    }
}

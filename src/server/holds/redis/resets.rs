//! Caps that begin anew, in Redis: levels up to which nothing counts, one for each part of what nodes have
//! used, and who asked for it.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::rolling::Rolling;
use crate::routing::hold::{Bucket, Reset, ResetPart};
use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::scripts::Script;
use super::{RedisStore, expires_ms};

/// What is kept of one beside its levels.
#[derive(Serialize, Deserialize)]
struct Record {
    cap: SmolStr,
    window: SmolStr,
    ends_at: Option<i64>,
    at: i64,
    by: SmolStr,
    why: SmolStr,
    key: Option<SmolStr>,
    amount: u64,
}

/// Resets as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownResets {
    /// Another one means that there is more to know.
    pub version: SmolStr,
    /// Empty if the version is that which was known.
    pub resets: Vec<Reset>,
}

impl RedisStore {
    /// Caps that began anew in windows that are not over, unless `version` is what the store has.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer.
    pub async fn resets(&self, version: &str) -> Result<KnownResets, StoreFault> {
        let keys = [self.keys.resets()];
        let told: Vec<Vec<String>> =
            self.upkeep(Script::Resets, &keys, &[version.to_owned()]).await?;
        let mut told = told.into_iter();
        let version = told.next().and_then(|it| it.into_iter().next()).unwrap_or_default();
        let resets = told.filter_map(|one| {
            let (record, parts) = one.split_first()?;
            let read = serde_json::from_str::<Record>(record);
            let read = read.inspect_err(|error| tracing::error!(%error, "a reset cannot be read"));
            let Record { cap, window, ends_at, at, by, why, key, amount } = read.ok()?;
            let bucket = Bucket { cap, window };
            let parts = self.read_parts(&bucket, parts);
            let (ends_at, at) = (ends_at.map(Wall), Wall(at));
            Some(Reset { bucket, ends_at, at, by, why, key, amount, parts })
        });
        Ok(KnownResets { version: version.into(), resets: resets.collect() })
    }

    pub(super) async fn parts_of(&self, bucket: &Bucket) -> Result<Vec<ResetPart>, StoreFault> {
        let keys = [self.keys.bucket(bucket)];
        let told: Vec<String> = self.upkeep(Script::Parts, &keys, &[]).await?;
        Ok(self.read_parts(bucket, &told))
    }

    pub(super) async fn begin_anew(&self, reset: &Reset) -> Result<(), StoreFault> {
        let Reset { bucket, ends_at, at, by, why, key, amount, parts } = reset.clone();
        let Bucket { cap, window } = &bucket;
        let record = Record {
            cap: cap.clone(),
            window: window.clone(),
            ends_at: ends_at.map(|it| it.0),
            at: at.0,
            by,
            why,
            key,
            amount,
        };
        let record = serde_json::to_string(&record).expect("texts and numbers can be written");
        let expires = ends_at.map_or(0, expires_ms);
        let mut arguments = vec![record, at.0.to_string(), expires.to_string()];
        for ResetPart { node, slice, level } in parts {
            arguments.push(node.unwrap_or_else(|| self.settings.node.clone()).to_string());
            arguments.push(slice.map_or_else(|| String::from("-"), |slice| slice.to_string()));
            arguments.push(level.to_string());
        }
        let keys = [self.keys.bucket(&bucket), self.keys.resets()];
        self.upkeep::<i64>(Script::Reset, &keys, &arguments).await.map(drop)
    }

    /// Names and amounts: `7` is of node 7, and of a rolling window `29562664:7`.
    fn read_parts(&self, bucket: &Bucket, told: &[String]) -> Vec<ResetPart> {
        let rolls = Rolling::read(&bucket.window).is_some();
        let parts = told.chunks_exact(2).filter_map(|pair| {
            let (slice, node) = match pair[0].split_once(':').filter(|_| rolls) {
                Some((slice, node)) => (Some(slice.parse().ok()?), node),
                None => (None, pair[0].as_str()),
            };
            let node = (node != self.settings.node).then(|| node.into());
            Some(ResetPart { node, slice, level: pair[1].parse().ok()? })
        });
        parts.collect()
    }
}

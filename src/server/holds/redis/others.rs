//! What other nodes have used, as they told the store: read to be told again to one that has lost it while
//! they are down.

use smol_str::SmolStr;

use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::scripts::Script;
use super::{AFTER_WINDOW_MS, RESTORED_AT_ONCE, RedisStore};
use crate::server::redis::unread;

/// Buckets read by one script.
const READ_AT_ONCE: usize = 200;

/// What nodes have used of a bucket, but for this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OthersUse {
    /// Its name in the store.
    pub bucket: SmolStr,
    /// When the bucket is forgotten; absent: never.
    pub expires_at: Option<Wall>,
    pub parts: Vec<OthersPart>,
}

/// What a node has used of a bucket, or of a slice of one that rolls; or when the last attempt was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OthersPart {
    /// Empty of spacing, which is anybody's.
    pub node: SmolStr,
    /// See `restore.lua`.
    pub kind: SmolStr,
    pub used: u64,
}

/// What has changed since it was last looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Of the latest change that is told here.
    pub serial: u64,
    /// There is more to know.
    pub is_rest: bool,
    pub buckets: Vec<OthersUse>,
}

impl OthersUse {
    /// When its window is over, or what is used of it counts no more.
    pub fn ends_at(&self) -> Option<Wall> {
        self.expires_at.map(|at| Wall(at.0 - AFTER_WINDOW_MS))
    }
}

impl RedisStore {
    /// What others have used of buckets that have changed since, the first of them. Nobody looks again at those
    /// that are `over`.
    ///
    /// # Errors
    /// The store may have been emptied ([`StoreFault::NotOpen`]), or did not answer.
    pub async fn changed(&self, since: u64, over: &[SmolStr]) -> Result<Changed, StoreFault> {
        let keys = [self.keys.gate(), self.keys.changed()];
        let mut arguments = vec![self.gate()?, since.to_string(), READ_AT_ONCE.to_string()];
        arguments.extend(over.iter().map(ToString::to_string));
        let told: Vec<Vec<String>> = self.upkeep(Script::Changed, &keys, &arguments).await?;
        let [head, buckets @ ..] = &told[..] else { return Err(StoreFault::NotOpen) };
        let [serial, looked_at] = &head[..] else { return Err(unread()) };
        let serial = serial.parse().map_err(|_| unread())?;
        let is_rest = looked_at.parse::<usize>().map_err(|_| unread())? >= READ_AT_ONCE;
        let buckets = buckets.iter().filter_map(|one| self.read_others(one)).collect();
        Ok(Changed { serial, is_rest, buckets })
    }

    fn read_others(&self, told: &[String]) -> Option<OthersUse> {
        let [bucket, expires, parts @ ..] = told else { return None };
        let expires = expires.parse().ok().filter(|at| *at > 0);
        let parts = parts.chunks_exact(3).filter_map(|part| {
            let (node, kind) = (SmolStr::from(&part[0]), SmolStr::from(&part[1]));
            let used = part[2].parse().ok().filter(|used| *used > 0)?;
            (node != self.settings.node).then_some(OthersPart { node, kind, used })
        });
        Some(OthersUse {
            bucket: bucket.into(),
            expires_at: expires.map(Wall),
            parts: parts.collect(),
        })
    }

    /// Tells the server what others had used when it was last looked, where it knows less.
    ///
    /// # Errors
    /// The store could not be told, or did not answer.
    pub async fn restore_others(&self, known: &[OthersUse]) -> Result<u64, StoreFault> {
        let mut parts: Vec<(&OthersUse, &OthersPart)> =
            known.iter().flat_map(|it| it.parts.iter().map(move |part| (it, part))).collect();
        parts.sort_by(|(_, one), (_, other)| one.node.cmp(&other.node));
        let mut raised = 0;
        for of_node in parts.chunk_by(|(_, one), (_, other)| one.node == other.node) {
            for some in of_node.chunks(RESTORED_AT_ONCE) {
                let [(first, OthersPart { node, .. }), ..] = some else { continue };
                let mut arguments = vec![node.to_string()];
                for (OthersUse { bucket, expires_at, .. }, OthersPart { kind, used, .. }) in some {
                    let expires = expires_at.map_or(0, |at| at.0);
                    arguments.extend([bucket.to_string(), kind.to_string()]);
                    arguments.extend([used.to_string(), expires.to_string()]);
                }
                let keys = [first.bucket.to_string()];
                raised += self.upkeep::<u64>(Script::Restore, &keys, &arguments).await?;
            }
        }
        Ok(raised)
    }
}

//! Has caps begin anew: first in the journal, then here and at the servers that share the limits.

use std::sync::Arc;

use crate::api::{CapResets, ResetError, ResetRequest, Resetting, WasReset};
use crate::cdr::fact::{self, CapReset, Fact};
use crate::cdr::journal::Durability;
use crate::routing::hold::{Bucket, Reset, ResetPart};
use crate::routing::meter::NotResettable;
use crate::time::Wall;

use super::accounting::stamp;
use super::control::Control;
use super::deciding::Resettable;

impl Control {
    async fn reset_cap(&self, request: ResetRequest) -> Result<WasReset, ResetError> {
        let ResetRequest { cap, by, why, key } = request;
        // The same request may come twice at once.
        let _one_by_one = self.resetting.lock().await;
        let at = stamp();
        let found = self.deciding.resettable(&cap, at.wall()).map_err(|why| match why {
            NotResettable::Unknown => ResetError::Unknown,
            NotResettable::Live | NotResettable::Owed | NotResettable::OtherTime => {
                ResetError::NotResettable(why)
            }
        })?;
        let Resettable { bucket, counts, ends_at } = found;
        let unavailable = |reason: String| ResetError::Unavailable(reason);
        let by_key = || key.as_ref().and_then(|key| self.deciding.reset_by_key(&cap, key));
        let mut known = by_key();
        if let Some(shared) = self.deciding.shared().filter(|_| known.is_none() && key.is_some()) {
            // Another server may have been asked a moment ago.
            shared.look_at_resets(&*self.deciding).await.map_err(|fault| {
                unavailable(format!("what other servers were asked is not known: {fault}"))
            })?;
            known = by_key();
        }
        if let Some(reset) = known {
            return Ok(WasReset { reset, counts, repeated: true });
        }
        let (mut amount, mut parts) = self.deciding.own_parts(&bucket);
        if let Some(shared) = self.deciding.shared() {
            let told = shared.parts(&bucket, counts).await;
            let (all, known) = told.map_err(|fault| {
                unavailable(format!("what other servers have used is not known: {fault}"))
            })?;
            amount = amount.max(all);
            parts = joined(parts, known);
        }
        let bucket = bucket.stored().0.into_owned();
        let reset = Reset { bucket, ends_at, at: at.wall(), by, why, key, amount, parts };
        let lsn = self.appender.append(Fact::of_node(at, written(&reset)), Durability::Durable);
        let lsn = lsn.map_err(|error| unavailable(error.to_string()))?;
        // If this fails it is not known whether it is on disk: the next process tells.
        self.appender.wait(lsn).await.map_err(|error| unavailable(error.to_string()))?;
        self.deciding.reset(&reset);
        if let Some(shared) = self.deciding.shared() {
            shared.reset(reset.clone()).await;
        }
        Ok(WasReset { reset, counts, repeated: false })
    }
}

impl CapResets for Arc<Control> {
    fn reset(&self, request: ResetRequest) -> Resetting<'_> {
        let this = Self::clone(self);
        // A client that goes away must not leave it half done.
        let done = tokio::spawn(async move { this.reset_cap(request).await });
        Box::pin(async move {
            let panicked = |_| ResetError::Unavailable(String::from("doing it panicked"));
            done.await.map_err(panicked)?
        })
    }
}

/// The store may not have been told yet what was used here.
fn joined(own: Vec<ResetPart>, known: Vec<ResetPart>) -> Vec<ResetPart> {
    let mut parts = known;
    for part in own {
        let same = |it: &&mut ResetPart| (&it.node, it.slice) == (&part.node, part.slice);
        match parts.iter_mut().find(same) {
            Some(known) => known.level = known.level.max(part.level),
            None => parts.push(part),
        }
    }
    parts
}

fn written(reset: &Reset) -> CapReset {
    let Reset { bucket, ends_at, by, why, key, amount, parts, .. } = reset.clone();
    let part = |ResetPart { node, slice, level }| fact::ResetPart { node, slice, level };
    CapReset {
        cap: bucket.cap,
        window: bucket.window,
        ends_at_ms: ends_at.map(|it| it.0),
        amount,
        parts: parts.into_iter().map(part).collect(),
        by,
        why,
        key,
    }
}

/// As the book has it.
pub(super) fn read((reset, at): (CapReset, Wall)) -> Reset {
    let CapReset { cap, window, ends_at_ms, amount, parts, by, why, key } = reset;
    let part = |fact::ResetPart { node, slice, level }| ResetPart { node, slice, level };
    Reset {
        bucket: Bucket { cap, window },
        ends_at: ends_at_ms.map(Wall),
        at,
        by,
        why,
        key,
        amount,
        parts: parts.into_iter().map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use smol_str::SmolStr;

    use super::*;

    #[test]
    fn what_the_store_has_not_heard_of_is_part_of_it_all_the_same() {
        let part = |node: Option<&str>, slice, level| ResetPart {
            node: node.map(SmolStr::new),
            slice,
            level,
        };
        let known = vec![part(None, Some(7), 3), part(Some("2"), Some(7), 9)];
        let own = vec![part(None, Some(7), 5), part(None, Some(8), 1)];

        let all = [part(None, Some(7), 5), part(Some("2"), Some(7), 9), part(None, Some(8), 1)];
        assert_eq!(joined(own, known), all);
    }

    #[test]
    fn a_reset_is_read_as_it_was_written() {
        let reset = Reset {
            bucket: Bucket { cap: "target/a/connected/daily".into(), window: "d:1".into() },
            ends_at: Some(Wall(9)),
            at: Wall(7),
            by: "ops".into(),
            why: "calls of a test".into(),
            key: Some("k".into()),
            amount: 3,
            parts: vec![ResetPart { node: None, slice: None, level: 3 }],
        };
        assert_eq!(read((written(&reset), Wall(7))), reset);
    }
}

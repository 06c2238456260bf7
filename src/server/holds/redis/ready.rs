//! What targets and buyers say of how many calls they can take, in Redis: said to one node, it holds at
//! all.

use std::time::Duration;

use crate::routing::request::ReadyWord;
use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::scripts::Script;
use super::{RedisStore, ms};

/// Digits of an instant, so that texts compare as instants do.
const DIGITS: usize = 16;

impl RedisStore {
    /// Tells what was said to this node at `since` or later. Returns the latest words of all.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer: it may have been told.
    pub async fn ready(
        &self,
        words: &[ReadyWord],
        since: Wall,
        kept: Duration,
    ) -> Result<Vec<ReadyWord>, StoreFault> {
        let digits = |at: Wall| format!("{:0DIGITS$}", at.0.max(0));
        let mut arguments = vec![digits(since), ms(kept)];
        for ReadyWord { concurrency, count, at } in words {
            arguments.extend([concurrency.to_string(), format!("{}{count}", digits(*at))]);
        }
        let told: Vec<(String, String)> =
            self.upkeep(Script::Ready, &[self.keys.ready()], &arguments).await?;
        let read = |(concurrency, said): (String, String)| {
            let (at, count) = said.split_at_checked(DIGITS)?;
            let (at, count) = (Wall(at.parse().ok()?), count.parse().ok()?);
            Some(ReadyWord { concurrency: concurrency.into(), count, at })
        };
        Ok(told.into_iter().filter_map(read).collect())
    }
}

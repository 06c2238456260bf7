//! The stores that tests are run against.

use std::time::Duration;

use anyhow::{Result, ensure};
use tollbridge::server::holds::redis::{RedisStore, RedisStoreSettings};
use tollbridge::server::redis::{Address, LinkSettings};

/// Generous: the machine of a test does other things as well.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn settings(seeds: Vec<Address>, account: &str, node: &str) -> RedisStoreSettings {
    RedisStoreSettings {
        link: LinkSettings {
            seeds,
            username: None,
            password: None,
            connect_timeout: TIMEOUT,
            tls: None,
        },
        account: account.into(),
        node: node.into(),
        process: format!("{node}-{}", fastrand::u64(..)).into(),
        call_timeout: TIMEOUT,
        timeout: TIMEOUT,
        replica_timeout: TIMEOUT,
        open_after: Duration::ZERO,
        call_max: Duration::ZERO,
        slow: TIMEOUT,
    }
}

/// Connected, and open for business.
pub(super) async fn open(settings: RedisStoreSettings, lease: Duration) -> Result<RedisStore> {
    let store = RedisStore::new(settings);
    store.connect().await?;
    ensure!(join(&store, lease).await?, "it is the only node");
    Ok(store)
}

/// A node that has nothing to tell. Whether all nodes have told what they have.
pub(super) async fn join(store: &RedisStore, lease: Duration) -> Result<bool> {
    store.announce(lease).await?;
    Ok(store.join(lease).await?)
}

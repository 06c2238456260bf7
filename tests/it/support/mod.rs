//! What the tests over real sockets share: ports, the server as a process, SIPp, the REST API and
//! a load of our own. These tests drive other processes, so here real time passes; every wait ends
//! at a deadline and is for something that can be observed.
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

pub(crate) mod api;
pub(crate) mod authority;
pub(crate) mod baresip;
pub(crate) mod browser;
pub(crate) mod cells;
pub(crate) mod dns;
pub(crate) mod http;
pub(crate) mod kamailio;
pub(crate) mod load;
pub(crate) mod ports;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod sipp;
pub(crate) mod site;
pub(crate) mod software;
pub(crate) mod wire;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks until the answer is `Some`, or fails with what was `awaited` once `limit` has passed.
pub(crate) fn wait_for<T>(
    awaited: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= give_up {
            bail!("gave up after {} ms waiting for {awaited}", limit.as_millis());
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}

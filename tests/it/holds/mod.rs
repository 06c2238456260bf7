//! Stores of holds: what all of them do, whoever keeps them, and what becomes of limits when clients,
//! servers and networks fail.
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

mod contract;
mod edge;
mod faults;
mod history;
mod in_process;
mod killed;
mod lapsed;
mod machine;
mod servers;
mod stores;
mod ways;
mod windows;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Waits until it is so, for that long at most.
async fn until(
    patience: Duration,
    what: &str,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let give_up = Instant::now() + patience;
    while !is_so()? {
        ensure!(Instant::now() < give_up, "waited for {what} in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

//! What an edge runs on: a thread of its own, so that all it does can be stopped at once.

use std::future::Future;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Dropping it is its end.
pub(super) struct Machine {
    handle: Handle,
    /// Dropped, it ends.
    power: Mutex<Option<oneshot::Sender<()>>>,
}

impl Machine {
    pub(super) fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (power, off) = oneshot::channel();
        thread::Builder::new().name(String::from("machine")).spawn(move || {
            let _off = runtime.block_on(off);
            // Whatever it was doing is left undone; its connections are closed.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, power: Mutex::new(Some(power)) })
    }

    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Nothing happens on it for so long, as if its process had been stopped: neither is anything
    /// asked, nor heard, nor does a timer run out.
    pub(super) async fn pause(&self, pause: Duration) -> Result<()> {
        self.run(async move { thread::sleep(pause) }).await.context("the machine has ended")
    }

    /// It ends here and now.
    pub(super) fn kill(&self) {
        self.power.lock().take();
    }
}

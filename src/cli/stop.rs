//! Being told to stop, or to read the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and what service managers send.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// By a signal of this name.
    Stop(&'static str),
    Reload,
}

impl StopSignals {
    /// From here on these signals no longer end the process by themselves.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one that ends the process and gives its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            if let Told::Stop(name) = self.any().await {
                return name;
            }
        }
    }

    /// Waits for the next one.
    pub(crate) async fn any(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

//! `tollbridge serve`: the server, until it is told to stop.

use std::time::Duration;

use anyhow::Context;
use tollbridge::config::Config;
use tollbridge::server::Server;

use super::stop::{StopSignals, Told};
use super::{Failure, logging};

/// Runs until a signal comes; SIGHUP has the configuration read again. Live calls get `grace` seconds, unless a second signal comes.
pub(crate) fn run(config: Config, grace: u64) -> Result<(), Failure> {
    logging::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(serve(config, Duration::from_secs(grace)))
}

async fn serve(config: Config, grace: Duration) -> Result<(), Failure> {
    let (name, store) = (config.settings.node.name.clone(), config.settings.store.dir.clone());
    // Before anybody can learn that it is up: from then on a signal means an orderly end.
    let mut signals = StopSignals::new().context("failed to listen for signals")?;
    let server = tokio::select! {
        started = Server::start(config) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopped before it was up");
            std::process::exit(1);
        }
    };
    for (transport, address) in server.sip_addresses() {
        tracing::info!(%transport, %address, "listening for SIP");
    }
    let api = server.api_address();
    tracing::info!(address = %api, "listening for HTTP");
    tracing::info!(
        node = name,
        version = env!("CARGO_PKG_VERSION"),
        store = %store.display(),
        "ready"
    );

    let reloader = server.reloader();
    let signal = loop {
        match signals.any().await {
            Told::Stop(signal) => break signal,
            // Whatever comes of it is in the log.
            Told::Reload => drop(reloader.reload().await),
        }
    };
    tracing::info!(
        signal,
        live_calls = server.live_calls(),
        grace_s = grace.as_secs(),
        "taking no more calls; a second signal ends the live ones at once"
    );
    tokio::select! {
        () = server.drain_and_stop(grace) => tracing::info!("stopped"),
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once; the next start closes the records of live calls");
            std::process::exit(1);
        }
    }
    Ok(())
}

//! Where log lines go: standard error, as `[log]` says.

use std::io::{self, IsTerminal};

use tollbridge::config::{Config, ConfigError, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins logging.
///
/// # Errors
/// `log.filter` is none.
pub(crate) fn start(config: &Config) -> Result<(), ConfigError> {
    let filter = filter(config)?;
    let settings = &config.settings.log;
    let lines = match settings.format {
        LogFormat::Text => {
            fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => fmt::layer().with_writer(io::stderr).json().flatten_event(true).boxed(),
    };
    // Fails if logging has begun already, and then nothing is to be done.
    let _ = registry().with(filter).with(lines).try_init();
    Ok(())
}

/// What `log.filter` lets through.
///
/// # Errors
/// It is no filter.
pub(crate) fn filter(config: &Config) -> Result<EnvFilter, ConfigError> {
    let text = &config.settings.log.filter;
    EnvFilter::try_new(text).map_err(|error| {
        config.faults([(
            String::from("log.filter"),
            text.clone(),
            format!("is no filter: {error}"),
            String::from(
                "write a level such as info, or levels such as info,tollbridge::sip=debug",
            ),
        )])
    })
}

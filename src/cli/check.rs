//! `tollbridge check`: everything a start would find wrong with a configuration, without starting.

use std::io::{self, Write};
use std::path::Path;

use tollbridge::config::{Config, ConfigError, Fault};
use tollbridge::server::tls::TlsPlan;
use tollbridge::server::{self, StartError};

use super::{Failure, logging};

/// Prints what the configuration comes to, or returns all its faults.
pub(crate) fn run(path: &Path, config: &Config) -> Result<(), Failure> {
    let mut faults = Vec::new();
    collect(logging::filter(config).map_err(StartError::from), &mut faults)?;
    let routing = collect(server::compile_routing(config), &mut faults)?;
    let trunks = collect(server::compile_trunks(config), &mut faults)?;
    collect(server::compile_legs(config), &mut faults)?;
    if let (Some(routing), Some(trunks)) = (&routing, &trunks) {
        let tls = collect(TlsPlan::new(config, trunks, routing), &mut faults)?;
        if let Some(tls) = tls {
            collect(tls.load(config), &mut faults)?;
        }
    }
    collect(server::compile_targets(config), &mut faults)?;
    let (Some(routing), Some(trunks), true) = (routing, trunks, faults.is_empty()) else {
        return Err(ConfigError::Faults(faults).into());
    };
    let counts = [
        count(trunks.iter().len(), "trunk"),
        count(routing.publishers().len(), "publisher"),
        count(routing.buyers().len(), "buyer"),
        count(routing.targets().len(), "target"),
        count(routing.campaigns().len(), "campaign"),
        count(routing.pools().len(), "pool"),
    ];
    writeln!(io::stdout(), "{}: ok; {}", path.display(), counts.join(", "))?;
    Ok(())
}

/// Puts the faults of the configuration with the others; what else is wrong ends the check.
fn collect<T>(
    found: Result<T, StartError>,
    faults: &mut Vec<Fault>,
) -> Result<Option<T>, StartError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(StartError::Config(ConfigError::Faults(more))) => {
            faults.extend(more);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

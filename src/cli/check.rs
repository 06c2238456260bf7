//! `tollbridge check`: everything a start would find wrong with a configuration, without starting.

use std::io::{self, Write};
use std::path::Path;

use tollbridge::config::{Config, ConfigError};
use tollbridge::server::{self, StartError};

use super::Failure;

/// Prints what the configuration comes to, or returns all its faults.
pub(crate) fn run(path: &Path, config: &Config) -> Result<(), Failure> {
    let routing = server::compile_routing(config);
    let trunks = server::compile_trunks(config);
    let (routing, trunks) = match (routing, trunks) {
        (Ok(routing), Ok(trunks)) => (routing, trunks),
        (
            Err(StartError::Config(ConfigError::Faults(mut faults))),
            Err(StartError::Config(ConfigError::Faults(more))),
        ) => {
            faults.extend(more);
            return Err(ConfigError::Faults(faults).into());
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
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

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

//! `tollbridge check`: everything a start would find wrong with a configuration, without starting.

use std::io::{self, Write};
use std::path::Path;

use tollbridge::config::Config;
use tollbridge::server::{self, Compiled, Faults};

use super::{Failure, logging};

/// Prints what the configuration comes to, or returns all its faults.
pub(crate) fn run(path: &Path, config: &Config) -> Result<(), Failure> {
    let mut faults = Faults::default();
    faults.keep(logging::filter(config))?;
    let compiled = faults.keep(server::compile_and_load(config, 1))?;
    faults.none()?;
    let (Compiled { routing, trunks, .. }, _) =
        compiled.expect("what is not compiled has told its faults");
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

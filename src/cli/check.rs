//! `tollbridge check`: everything a start would find wrong with a configuration, without starting.

use std::io::{self, Write};
use std::path::Path;

use tollbridge::config::Config;
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::effective::Effective;
use tollbridge::server::{self, Compiled, Faults};

use super::{Failure, logging};

/// Prints what the configuration comes to, or returns all its faults.
///
/// `effective`: the id of whose settings all are wanted, or a number.
pub(crate) fn run(path: &Path, config: &Config, effective: Option<&str>) -> Result<(), Failure> {
    let mut faults = Faults::default();
    faults.keep(logging::filter(config))?;
    let compiled = faults.keep(server::compile_and_load(config, 1))?;
    faults.none()?;
    let (Compiled { routing, trunks, warnings, .. }, _) =
        compiled.expect("what is not compiled has told its faults");
    for warning in warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    if let Some(id) = effective {
        return show(id, &routing, server::effective_trunk(&trunks, &routing, &id.into()));
    }
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

/// Prints each setting on a line: its name, its value, and who said it.
///
/// `trunk`: those of the trunk that is called so.
fn show(id: &str, routing: &RoutingSnapshot, trunk: Option<Vec<Effective>>) -> Result<(), Failure> {
    let settings = (routing.effective_target(&id.into()))
        .or_else(|| routing.effective_campaign(&id.into(), None))
        .or_else(|| routing.effective_publisher(&id.into()))
        .or_else(|| routing.effective_pool(&id.into()))
        .or_else(|| routing.effective_number(id.parse().ok()?))
        .or(trunk);
    let Some(settings) = settings else {
        let what = "target, campaign, publisher, pool, number or trunk";
        return Err(Failure::Argument(format!("no {what} is called {id}")));
    };
    let mut out = io::stdout().lock();
    for Effective { setting, value, from } in settings {
        writeln!(out, "{setting} = {value} ({})", from.name())?;
    }
    Ok(())
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

//! `tollbridge`: arguments, then one of [`cli`].

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tollbridge::config::Config;
use tollbridge::server;

use cli::Failure;
use cli::demo::DemoOptions;
use cli::sim::SimOptions;
use cli::simulate::SimulateOptions;

/// Calls leave memory behind that is cold when its turn comes again; this allocator hands out first
/// what was freed last.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A SIP routing server for pay-per-call: takes calls from carriers, finds the buyer of each,
/// bridges them, and keeps the book.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes calls until it is told to stop (SIGTERM, Ctrl-C); told twice, it stops at once. SIGHUP
    /// has it read the configuration again
    Serve {
        #[command(flatten)]
        config: ConfigArguments,
        /// How long live calls may go on after the first signal, before they are hung up
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        grace: u64,
    },
    /// Plays six calls through a server of its own on loopback and tells what happened
    Demo {
        /// End after the calls, with 0 if every call has one record and every choice a reason
        #[arg(long)]
        once: bool,
        /// Print one JSON document instead of the story
        #[arg(long)]
        json: bool,
        /// Where the demonstration's server takes SIP; a free port if absent
        #[arg(long, value_name = "ADDRESS:PORT")]
        sip: Option<std::net::SocketAddr>,
        /// Where it takes HTTP; a free port if absent
        #[arg(long, value_name = "ADDRESS:PORT")]
        api: Option<std::net::SocketAddr>,
        /// Keep journal and records in this folder; a temporary one, removed at the end, if absent
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Reads a configuration and says what is wrong with it, with lines and remedies
    Check {
        #[command(flatten)]
        config: ConfigArguments,
        /// Prints what holds for this target or campaign, and who said so
        #[arg(long, value_name = "ID")]
        effective: Option<String>,
    },
    /// Plays the edge among scripted carriers and buyers in virtual time, with a network, a disk and
    /// clocks that fail, and watches every rule; the same seed is the same run
    Sim {
        #[command(flatten)]
        options: SimOptions,
    },
    /// Makes the latest recorded decisions again and tells which come out differently
    Replay {
        #[command(flatten)]
        config: ConfigArguments,
        /// How many, from the latest back
        #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
        last: u32,
        /// Decide on the configuration as it is in the file, not on the one each was made on: what it
        /// would have changed
        #[arg(long)]
        against: bool,
    },
    /// Decides about a call that does not exist, on a configuration and nothing else
    Simulate {
        #[command(flatten)]
        config: ConfigArguments,
        #[command(flatten)]
        options: Box<SimulateOptions>,
    },
    /// Looks at the journal, the book of record
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Prints the segments in a journal's folder, what they hold, and what is missing
    Inspect {
        /// Such as ./data/journal; a data folder will do
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// The configuration, TOML, or JSON if it ends in .json
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Overrides one setting, such as sip.t1_ms=250 or targets.ID.dial.uri=sip:192.0.2.7; may be
    /// repeated. TOLLBRIDGE_SIP__T1_MS=250 in the environment does the same
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ConfigArguments {
    fn load(&self) -> Result<Config, Failure> {
        // A variable that is not UTF-8 cannot be one of ours.
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Ok(server::whole(Config::load_apart(&self.config, env, &self.sets)?)?)
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve { config, grace } => cli::serve::run(config.load()?, grace),
        Command::Demo { once, json, sip, api, data } => {
            cli::demo::run(DemoOptions { once, json, sip, api, data })
        }
        Command::Check { config, effective } => {
            cli::check::run(&config.config, &config.load()?, effective.as_deref())
        }
        Command::Sim { options } => cli::sim::run(&options),
        Command::Replay { config, last, against } => {
            cli::replay::run(&config.load()?, last, against)
        }
        Command::Simulate { config, options } => cli::simulate::run(&config.load()?, &options),
        Command::Journal { command: JournalCommand::Inspect { dir } } => cli::journal::run(&dir),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn set_may_be_repeated_and_a_configuration_is_asked_for() {
        let line = ["tollbridge", "serve", "--config", "a.toml", "--set", "a=1", "--set", "b=2"];
        let Command::Serve { config, .. } = Arguments::try_parse_from(line).unwrap().command else {
            panic!("not serve");
        };
        assert_eq!(config.sets, ["a=1", "b=2"]);

        assert!(Arguments::try_parse_from(["tollbridge", "serve"]).is_err());
    }
}

//! What a person types: each command in its own file.
//!
//! Owns arguments' meaning, exit codes, and everything that is printed for people. Does not own
//! the server: `serve` and `demo` start the same one.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod journal;
mod logging;
pub(crate) mod replay;
pub(crate) mod serve;
pub(crate) mod sim;
pub(crate) mod simulate;
mod stop;

use std::io::{self, Write};
use std::process::ExitCode;

use tollbridge::config::ConfigError;
use tollbridge::server::StartError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The person's to correct: exit code 2, like a wrong argument.
    Configuration(ConfigError),
    /// The same of an argument that names what the configuration has not.
    Argument(String),
    /// Exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    /// Tells the person, and gives the process its exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = match self {
            Self::Configuration(error) => (error.to_string(), 2),
            Self::Argument(what) => (what, 2),
            Self::Other(error) => (format!("{error:#}"), 1),
        };
        // Without standard error there is nobody to tell.
        let _ = writeln!(io::stderr(), "{text}");
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(error) => Self::Configuration(error),
            // Its text says the cause already.
            error @ (StartError::Bind(_)
            | StartError::Api { .. }
            | StartError::DataDir { .. }
            | StartError::Journal(_)
            | StartError::Store { .. }
            | StartError::Projection(_)
            | StartError::Thread(_)
            | StartError::JournalId(_)
            | StartError::Random(_)) => Self::Other(anyhow::Error::msg(error.to_string())),
        }
    }
}

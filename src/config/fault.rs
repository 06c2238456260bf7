//! What is wrong with a configuration, and how it is told.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {cause}; {}", path.display(), remedy(cause))]
    Unreadable { path: PathBuf, cause: io::Error },
    /// At least one; each on its own line.
    #[error("{}", Lines(.0))]
    Faults(Vec<Fault>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    /// Such as `sip.t1_ms` or `targets[2].dial.uri`; empty if the file as a whole is meant.
    pub path: Box<str>,
    /// What stands there; absent if nothing does, or if it is a secret.
    pub value: Option<Box<str>>,
    pub problem: Box<str>,
    /// What to write instead; empty if `problem` says it.
    pub remedy: Box<str>,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, without a line.
    File { file: String },
    /// In the file, counted from 1.
    Line { file: String, line: usize },
    /// In an environment variable.
    Environment { name: String },
    /// In a `--set` argument.
    Set { key: String },
}

/// A fault before it is known where its value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    pub(super) value: String,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl ConfigError {
    pub(super) fn unreadable(path: &Path, cause: io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), cause }
    }

    pub(super) fn from_faults(faults: Vec<Fault>) -> Self {
        Self::Faults(faults)
    }

    pub(super) fn unless_empty(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self::Faults(faults)) }
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self::Faults(vec![fault])
    }
}

impl Origin {
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Line { line, .. } => Some(*line),
            Self::File { .. } | Self::Environment { .. } | Self::Set { .. } => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file } => f.write_str(file),
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Set { key } => write!(f, "--set {key}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.path.is_empty() {
            f.write_str(&self.path)?;
            if let Some(value) = &self.value {
                write!(f, " = {}", shortened(value))?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

struct Lines<'a>(&'a [Fault]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// A value may be a whole file on one line.
fn shortened(value: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut short: String = value.chars().take(CHARS_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

fn remedy(cause: &io::Error) -> &'static str {
    if cause.kind() == io::ErrorKind::NotFound {
        "name a configuration with --config, such as examples/loopback.toml"
    } else if cause.kind() == io::ErrorKind::PermissionDenied {
        "let the user of this process read it"
    } else if cause.kind() == io::ErrorKind::InvalidData {
        "save it as UTF-8"
    } else {
        "check the path"
    }
}

/// Whether the value at `path` must not be printed.
pub(super) fn is_secret(path: &str) -> bool {
    let name = path.rsplit(['.', '[']).next().unwrap_or(path);
    ["key", "secret", "password", "token"].contains(&name)
}

/// A copy in which every secret is `…`.
pub(super) fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let hidden = is_secret(name) && value.is_string();
                (name.clone(), if hidden { Value::from("…") } else { without_secrets(value) })
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

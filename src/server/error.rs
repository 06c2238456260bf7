//! Why the server does not start, in words that say what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::cdr::journal::file::JournalError;
use crate::cdr::projection::ProjectionError;
use crate::cdr::store::StoreError;
use crate::config::{ConfigError, Fault, Settings};
use crate::sip::transport::BindError;

use super::accounting::book_path;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(
        "cannot listen for the REST API on {address}: {cause}; stop what uses the port, or choose \
         another with --set api.listen=127.0.0.1:PORT"
    )]
    Api { address: SocketAddr, cause: io::Error },
    #[error(
        "cannot create the data directory {}: {cause}; create it for this user, or choose another \
         with --set store.dir=PATH",
        path.display()
    )]
    DataDir { path: PathBuf, cause: io::Error },
    #[error(
        "cannot open the journal: {0}; see that no other server uses this data directory, that it \
         is writable, and that its disk is not full, or choose another with --set store.dir=PATH"
    )]
    Journal(#[from] JournalError),
    #[error(
        "cannot open the call records in {}: {cause}; see that the file can be written and the disk \
         is not full, or choose another data directory with --set store.dir=PATH",
        path.display()
    )]
    Store { path: PathBuf, cause: StoreError },
    #[error("cannot catch up with the journal: {0}")]
    Projection(#[from] ProjectionError),
    #[error(
        "cannot name the journal for those who are told of its facts: {0}; see that the data \
         directory can be written"
    )]
    JournalId(io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot read random numbers from /dev/urandom: {0}")]
    Random(io::Error),
}

impl StartError {
    /// The call records failed.
    pub(super) fn store(settings: &Settings, cause: StoreError) -> Self {
        Self::Store { path: book_path(settings), cause }
    }
}

/// Faults of a configuration, until all of it was looked at.
#[derive(Debug, Default)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// Puts faults with the others, each once; `None` if there were any.
    ///
    /// # Errors
    /// What else is wrong.
    pub fn keep<T>(
        &mut self,
        found: Result<T, impl Into<StartError>>,
    ) -> Result<Option<T>, StartError> {
        match found.map_err(Into::into) {
            Ok(value) => Ok(Some(value)),
            Err(StartError::Config(ConfigError::Faults(more))) => {
                self.add(more);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts these with the others, each once.
    pub(super) fn add(&mut self, more: impl IntoIterator<Item = Fault>) {
        for fault in more {
            if !self.0.contains(&fault) {
                self.0.push(fault);
            }
        }
    }

    /// # Errors
    /// All of them, if there are any.
    pub fn none(self) -> Result<(), StartError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError::Faults(self.0).into()) }
    }
}

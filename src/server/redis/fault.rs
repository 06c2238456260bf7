//! What may be wrong with a store.

/// Why the store is of no use at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    #[error("the store did not answer in time")]
    Timeout,
    #[error("the store is away: {0}")]
    Away(String),
    /// This server does not keep our keys, or not any more.
    #[error("our keys are kept elsewhere: {0}")]
    Elsewhere(String),
    #[error("the store refused: {0}")]
    Refused(String),
    /// The server is new to the nodes or was emptied, and does not know what they have.
    #[error("the store is being told what it does not know")]
    NotOpen,
    /// No replica has it. Should the server die now, it is lost.
    #[error("no replica confirmed it")]
    Unconfirmed,
}

impl StoreFault {
    /// For metrics.
    pub(in crate::server) fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Away(_) => "away",
            Self::Elsewhere(_) => "elsewhere",
            Self::Refused(_) => "refused",
            Self::NotOpen => "not_open",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

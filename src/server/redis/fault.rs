//! What may be wrong with a store.

/// Why the store is of no use at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    #[error("the store did not answer in time")]
    Timeout,
    /// It was not asked.
    #[error("the store is away: not connected")]
    Unreached,
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
    /// Whether what was asked may have been done, though nobody says so.
    pub(in crate::server) fn may_have_happened(&self) -> bool {
        match self {
            Self::Timeout | Self::Away(_) => true,
            Self::Unreached
            | Self::Elsewhere(_)
            | Self::Refused(_)
            | Self::NotOpen
            | Self::Unconfirmed => false,
        }
    }

    /// Whether the server is taken to be gone: it is connected anew, and told all that it may not know.
    pub(in crate::server) fn is_away(&self) -> bool {
        match self {
            Self::Away(_) | Self::Unreached => true,
            Self::Timeout
            | Self::Elsewhere(_)
            | Self::Refused(_)
            | Self::NotOpen
            | Self::Unconfirmed => false,
        }
    }

    /// For metrics.
    pub(in crate::server) fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Away(_) | Self::Unreached => "away",
            Self::Elsewhere(_) => "elsewhere",
            Self::Refused(_) => "refused",
            Self::NotOpen => "not_open",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

//! Calls of which it was found out later whose they were.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::SessionId;

/// A call that was matched without the store that servers share was looked at again. Said once of each,
/// after its end. It moves no money, and no call to another publisher, campaign or target.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Rematched {
    #[n(0)]
    pub outcome: Rematch,
    /// Of one that was found: the session it was of at the instant of its INVITE; absent: of none.
    #[n(1)]
    pub session: Option<SessionId>,
    /// Of one that was found, such as `pool_lease`; else empty.
    #[cbor(n(2), with = "codec::text")]
    pub match_method: SmolStr,
    /// 0 to 100.
    #[n(3)]
    pub confidence_pct: u8,
}

/// What came of looking at a call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Rematch {
    /// It was another's than was thought, or was known less surely.
    #[n(0)]
    Found,
    /// It was rightly matched.
    #[n(1)]
    Same,
    /// The store does not remember how it was at that instant.
    #[n(2)]
    Forgotten,
    /// A session that it may have been of is not known any more.
    #[n(3)]
    SessionGone,
    /// The store came back too late.
    #[n(4)]
    TooLate,
    /// What it was decided on is not on record, or cannot be read.
    #[n(5)]
    Unreadable,
}

impl Rematch {
    pub const ALL: [Self; 6] = [
        Self::Found,
        Self::Same,
        Self::Forgotten,
        Self::SessionGone,
        Self::TooLate,
        Self::Unreadable,
    ];

    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Same => "same",
            Self::Forgotten => "forgotten",
            Self::SessionGone => "session_gone",
            Self::TooLate => "too_late",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Rematched {
    /// The call's record stays as it is.
    pub fn unchanged(outcome: Rematch) -> Self {
        Self { outcome, session: None, match_method: SmolStr::default(), confidence_pct: 0 }
    }
}

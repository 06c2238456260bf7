//! Visitors' sessions: opened, kept, let go.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::SessionId;
use crate::phone::PhoneNumber;

/// What opened a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Opener {
    #[n(0)]
    PageView,
    #[n(1)]
    Form,
}

/// A sign of life of a visitor. May be lost with the last second before a crash: then the session ends
/// as the one before had said.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionTouched {
    #[n(0)]
    pub session: SessionId,
    /// Milliseconds since the Unix epoch.
    #[n(1)]
    pub expires_at_ms: i64,
    /// A number that the session was lent only now.
    #[n(2)]
    pub number: Option<PhoneNumber>,
    /// All its tags as they are now; empty: as before.
    #[cbor(n(3), with = "codec::tags")]
    pub tags: Vec<(SmolStr, SmolStr)>,
}

/// A visitor's page was closed.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SessionReleased {
    #[n(0)]
    pub session: SessionId,
    /// Milliseconds since the Unix epoch.
    #[n(1)]
    pub expires_at_ms: i64,
}

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

/// What a request that opened a session is known by, and was answered besides what the session is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// Of the publisher and its key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub key: [u8; 16],
    /// Of the body.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub fingerprint: [u8; 16],
    /// The number is shown to others too.
    #[n(2)]
    pub shared: bool,
    /// Seconds; absent: it was no visit.
    #[n(3)]
    pub heartbeat_s: Option<u32>,
    /// What a page said and that is not kept.
    #[cbor(n(4), with = "codec::texts")]
    pub left_out: Vec<SmolStr>,
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

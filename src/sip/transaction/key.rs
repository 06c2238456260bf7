//! Which server transaction a request belongs to: RFC 3261 §17.2.3.

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU64;

use foldhash::quality::FixedState;

use crate::sip::ids::MAGIC_COOKIE;
use crate::sip::message::{Headers, Method};

/// A 128-bit digest, keyed by a secret of the process, of what names a transaction.
///
/// The RFC matches branch, sent-by and method. Sent-by is left out, because a CANCEL that crossed a
/// NAT may carry another than its INVITE, and Call-ID is put in its place, so that two peers that
/// chose the same branch stay apart. Without the magic cookie the fields of RFC 2543 decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    high: NonZeroU64,
    low: u64,
}

impl ServerKey {
    /// The lower half, for hashing and for tags.
    pub fn low64(self) -> u64 {
        self.low
    }

    /// A key that no request makes: a CANCEL of ours, by the transaction it cancels.
    pub fn of_cancel(invite: u64) -> Self {
        Self { high: NonZeroU64::MAX, low: invite }
    }
}

/// Makes [`ServerKey`]s.
#[derive(Clone, Debug)]
pub struct KeyMaker {
    low: FixedState,
    high: FixedState,
}

impl KeyMaker {
    pub fn new(secret: u128) -> Self {
        Self {
            low: FixedState::with_seed(secret as u64),
            high: FixedState::with_seed((secret >> 64) as u64),
        }
    }

    /// The transaction of this request. An ACK names its INVITE's.
    pub fn of(&self, headers: &Headers, method: Method, method_bytes: &[u8]) -> ServerKey {
        let method =
            if method == Method::Ack { Method::Invite.name().as_bytes() } else { method_bytes };
        let via = headers.via();
        match via
            .branch()
            .filter(|branch| branch.len() > MAGIC_COOKIE.len() && branch.starts_with(MAGIC_COOKIE))
        {
            Some(branch) => self.digest(&[method, branch, headers.call_id()]),
            None => {
                let cseq = headers.cseq().number.to_be_bytes();
                let from_tag = headers.from_tag().unwrap_or_default();
                self.digest(&[method, via.raw(), headers.call_id(), &cseq, from_tag])
            }
        }
    }

    /// What a request and its CANCEL share; the CANCEL is looked up under its INVITE's method.
    pub fn of_cancelled(&self, cancel: &Headers) -> ServerKey {
        self.of(cancel, Method::Invite, Method::Invite.name().as_bytes())
    }

    /// What two copies of one request share that took different ways: RFC 3261 §8.2.2.2.
    pub fn of_merged(&self, headers: &Headers) -> ServerKey {
        let cseq = headers.cseq().number.to_be_bytes();
        let from_tag = headers.from_tag().unwrap_or_default();
        self.digest(&[b"merged", headers.call_id(), &cseq, from_tag])
    }

    fn digest(&self, parts: &[&[u8]]) -> ServerKey {
        let (mut low, mut high) = (self.low.build_hasher(), self.high.build_hasher());
        for part in parts {
            low.write(part);
            low.write_usize(part.len());
            high.write(part);
            high.write_usize(part.len());
        }
        ServerKey { high: high.finish().try_into().unwrap_or(NonZeroU64::MIN), low: low.finish() }
    }
}

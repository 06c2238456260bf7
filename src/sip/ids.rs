//! Names we give to things on the wire: branches, tags and Call-IDs.
//!
//! Each carries the key of the transaction or call it belongs to, so that an answer finds its
//! owner without a search, and 64 bits that cannot be guessed. A Call-ID of ours carries the shard
//! that owns it (see `transport::steer`). Nothing of another leg is ever part of a name.

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use slotmap::{Key, KeyData, new_key_type};
use uuid::Uuid;

use crate::id::CallId;
use crate::time::Wall;

new_key_type! {
    /// A call of this endpoint.
    pub struct CallKey;
    /// A transaction of this endpoint.
    pub struct TransactionKey;
}

/// The cookie that marks an RFC 3261 branch, §8.1.1.7.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Which leg of a call: 0 is the caller, n ≥ 1 the n-th attempt.
pub type LegNumber = u8;

/// Makes names from a secret and a counter; the same seed makes the same names.
#[derive(Clone, Debug)]
pub struct IdSource {
    secret: u128,
    counter: u64,
    shard: u8,
    last_ms: u64,
    in_ms: u16,
}

impl IdSource {
    pub fn new(seed: u128, shard: u8) -> Self {
        Self { secret: seed, counter: 0, shard, last_ms: 0, in_ms: 0 }
    }

    /// 64 bits nobody can foretell without the seed.
    pub fn random(&mut self) -> u64 {
        self.counter += 1;
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.secret);
        hasher.write_u8(self.shard);
        hasher.write_u64(self.counter);
        hasher.finish()
    }

    /// A UUIDv7 that never runs backwards, also when the wall clock does (spec/data §0.5).
    pub fn call_id(&mut self, now: Wall) -> CallId {
        let ms = u64::try_from(now.0).unwrap_or(0);
        if ms > self.last_ms {
            (self.last_ms, self.in_ms) = (ms, 0);
        } else if self.in_ms < 0xfff {
            self.in_ms += 1;
        } else {
            (self.last_ms, self.in_ms) = (self.last_ms + 1, 0);
        }
        let high = u128::from(self.last_ms) << 80 | 0x7 << 76 | u128::from(self.in_ms) << 64;
        let low = u128::from(0b10_u64 << 62 | self.random() >> 2);
        CallId(Uuid::from_u128(high | low))
    }

    /// A Call-ID for a leg that we open. No host part: it would name this machine to the peer.
    pub fn sip_call_id(&mut self) -> Bytes {
        let mut text = Hex::new(b"tb");
        text.push(u64::from(self.shard), 2);
        text.bytes.push(b'-');
        text.push(self.random(), 16);
        text.push(self.random(), 8);
        text.finish()
    }
}

/// `z9hG4bK`, the transaction's key and 64 random bits.
pub fn branch(key: TransactionKey, random: u64) -> [u8; BRANCH_LEN] {
    let mut text = [0; BRANCH_LEN];
    let (cookie, rest) = text.split_at_mut(MAGIC_COOKIE.len());
    let (first, second) = rest.split_at_mut(16);
    cookie.copy_from_slice(MAGIC_COOKIE);
    write_hex(key.data().as_ffi(), first);
    write_hex(random, second);
    text
}

const BRANCH_LEN: usize = MAGIC_COOKIE.len() + 32;

/// Reads [`branch`] back. The caller compares the random part with the transaction's.
pub fn read_branch(branch: &[u8]) -> Option<(TransactionKey, u64)> {
    let hex = branch.strip_prefix(MAGIC_COOKIE).filter(|hex| hex.len() == 32)?;
    let key = KeyData::from_ffi(read_hex(&hex[..16])?);
    Some((key.into(), read_hex(&hex[16..])?))
}

/// The call's key, the leg and 64 random bits.
pub fn tag(key: CallKey, leg: LegNumber, random: u64) -> Bytes {
    let mut text = Hex::new(b"");
    text.push(key.data().as_ffi(), 16);
    text.push(u64::from(leg), 2);
    text.push(random, 16);
    text.finish()
}

/// Reads [`tag`] back. The caller compares the whole tag with the dialog's.
pub fn read_tag(tag: &[u8]) -> Option<(CallKey, LegNumber)> {
    if tag.len() != 34 {
        return None;
    }
    let key = KeyData::from_ffi(read_hex(&tag[..16])?);
    Some((key.into(), LegNumber::try_from(read_hex(&tag[16..18])?).ok()?))
}

struct Hex {
    bytes: Vec<u8>,
}

impl Hex {
    fn new(prefix: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(prefix.len() + 34);
        bytes.extend_from_slice(prefix);
        Self { bytes }
    }

    fn push(&mut self, value: u64, digits: usize) {
        let start = self.bytes.len();
        self.bytes.resize(start + digits, b'0');
        write_hex(value, &mut self.bytes[start..]);
    }

    fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }
}

/// Fills `text` with the lowest digits of `value`.
fn write_hex(mut value: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

fn read_hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn names_find_their_owner_again() {
        let mut calls: SlotMap<CallKey, ()> = SlotMap::with_key();
        let mut transactions: SlotMap<TransactionKey, ()> = SlotMap::with_key();
        let (call, transaction) = (calls.insert(()), transactions.insert(()));

        assert_eq!(read_tag(&tag(call, 3, u64::MAX)), Some((call, 3)));
        assert_eq!(read_branch(&branch(transaction, 7)), Some((transaction, 7)));
    }

    #[test]
    fn what_is_not_ours_names_nobody() {
        assert_eq!(read_branch(b"z9hG4bKnashds8"), None);
        assert_eq!(read_branch(b"z9hG4bK0000000000000001000000000000000G"), None);
        assert_eq!(read_tag(b"314159"), None);
    }

    #[test]
    fn call_ids_rise_while_the_wall_clock_falls() {
        let mut ids = IdSource::new(1, 0);
        let mut last = ids.call_id(Wall(1000));
        for ms in (0..5000).rev() {
            let next = ids.call_id(Wall(ms % 1001));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn another_seed_makes_other_names() {
        assert_ne!(IdSource::new(1, 0).sip_call_id(), IdSource::new(2, 0).sip_call_id());
        assert!(IdSource::new(1, 0x1f).sip_call_id().starts_with(b"tb1f-"));
    }
}

//! The only reader of chance.

use std::fs::File;
use std::io::Read;

use parking_lot::Mutex;

use crate::id::{PingId, SessionId};
use crate::sip::ids::IdSource;
use crate::time::Wall;

/// 128 bits from the operating system: the seed of everything that must not be guessed.
pub fn seed() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}

/// Identifiers of pings and of the sessions they open, which have the same digits. Time-ordered, as
/// those of calls.
pub struct PingIds {
    source: Mutex<IdSource>,
}

impl PingIds {
    pub fn new(seed: u128) -> Self {
        Self { source: Mutex::new(IdSource::new(seed, u8::MAX)) }
    }

    pub fn next(&self, now: Wall) -> (PingId, SessionId) {
        let digits = self.source.lock().call_id(now).0;
        (PingId(digits), SessionId(digits))
    }
}

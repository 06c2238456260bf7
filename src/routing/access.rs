//! Whose key it is that a request shows.
//!
//! Keys are known by their SHA-256. How long a look takes tells at most how the digest of what was
//! presented compares with the first bytes of those that are known, which helps nobody to find a key;
//! the rest of the digest is compared in constant time.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use subtle::ConstantTimeEq;

use crate::id::{PoolId, PublisherId};

/// The keys of all publishers and of their pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    keys: Keyring<Holder>,
    origins: BTreeSet<SmolStr>,
}

/// What keys open.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keyring<T>(
    /// Ascending by digest, each digest once.
    Vec<([u8; 32], T)>,
);

/// Who shows a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub publisher: PublisherId,
    /// Name of the key in logs.
    pub key: SmolStr,
    /// The key is public, and for these pages. Absent: it is the publisher's own.
    pub site: Option<Site>,
}

/// Pages that open sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The pool that the sessions are of; absent: any of the publisher's.
    pub pool: Option<PoolId>,
    pub origins: Vec<SmolStr>,
}

impl Access {
    /// Adds a key. Gives back who has it already.
    pub(super) fn add(&mut self, key: &[u8], holder: Holder) -> Result<(), &Holder> {
        let site = holder.site.clone();
        self.keys.add(key, holder)?;
        self.origins.extend(site.into_iter().flat_map(|site| site.origins));
        Ok(())
    }

    /// Whose key it is; `None`: nobody's.
    pub fn holder(&self, presented: &[u8]) -> Option<&Holder> {
        self.keys.find(presented)
    }

    /// Whether pages of this origin open sessions with some key.
    pub fn knows_origin(&self, origin: &str) -> bool {
        self.origins.contains(origin)
    }
}

impl<T> Keyring<T> {
    /// Adds a key. Gives back what it opens already.
    pub(super) fn add(&mut self, key: &[u8], opened: T) -> Result<(), &T> {
        let digest = digest(key);
        match self.0.binary_search_by(|(known, _)| known.cmp(&digest)) {
            Ok(place) => Err(&self.0[place].1),
            Err(place) => {
                self.0.insert(place, (digest, opened));
                Ok(())
            }
        }
    }

    /// What a key opens; `None`: nothing.
    pub(super) fn find(&self, presented: &[u8]) -> Option<&T> {
        let presented = digest(presented);
        let start =
            |digest: &[u8; 32]| u64::from_be_bytes(*digest.first_chunk().expect("is longer"));
        let first = self.0.partition_point(|(known, _)| start(known) < start(&presented));
        let alike =
            self.0[first..].iter().take_while(|(known, _)| start(known) == start(&presented));
        alike.filter(|(known, _)| known.ct_eq(&presented).into()).map(|(_, opened)| opened).next()
    }
}

impl<T> Default for Keyring<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

/// Without the digests.
impl<T: fmt::Debug> fmt::Debug for Keyring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, opened)| opened)).finish()
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_holder_s_and_nothing_else_is() {
        let mut access = Access::default();
        let holder = |n: u8| Holder {
            publisher: PublisherId::new(&format!("pub_{n}")),
            key: "k".into(),
            site: None,
        };
        for n in 0..50 {
            access.add(format!("key {n}").as_bytes(), holder(n)).unwrap();
        }

        for n in 0..50 {
            assert_eq!(access.holder(format!("key {n}").as_bytes()), Some(&holder(n)));
        }
        for wrong in [&b""[..], b"key", b"key 50", b"Key 1", b"key 1 "] {
            assert_eq!(access.holder(wrong), None);
        }
        assert_eq!(access.add(b"key 7", holder(60)), Err(&holder(7)));
    }
}

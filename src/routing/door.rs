//! Whose priced pings come as another platform has them, and what is done with them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use subtle::ConstantTimeEq;

use crate::id::{CampaignId, PoolId, PublisherId};
use crate::phone::PhoneNumber;

use super::access::Keyring;
use super::config::{Dialect, SipUser};

/// Where the pings of one publisher for one campaign come in.
#[derive(Clone, PartialEq, Eq)]
pub struct Door {
    /// Its name in logs.
    pub id: SmolStr,
    pub publisher: PublisherId,
    pub campaign: CampaignId,
    pub pool: Option<PoolId>,
    pub number: Option<PhoneNumber>,
    /// What parameters become, by their names in lower case.
    pub parameters: BTreeMap<SmolStr, SmolStr>,
    /// How long a price holds.
    pub quote_life: Duration,
    /// How long its sessions live, in seconds; absent: as all do.
    pub session_ttl_s: Option<u32>,
    pub sip_user: SipUser,
    /// The SHA-256 of what its pings show besides their key; absent: nothing.
    pub(super) token: Option<[u8; 32]>,
}

/// All doors, by dialect and key. Keys are known by their SHA-256 alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doors(Keyring<Door>);

impl Doors {
    /// Adds a door. Gives back the one that has its key already.
    pub(super) fn add(&mut self, dialect: Dialect, key: &[u8], door: Door) -> Result<(), &Door> {
        self.0.add(&named(dialect, key), door)
    }

    /// Behind which the pings of this key belong; `None`: nobody's.
    pub fn of(&self, dialect: Dialect, key: &str) -> Option<&Door> {
        self.0.find(&named(dialect, key.as_bytes()))
    }
}

impl Door {
    /// Whether a ping shows what it has to.
    pub fn opens(&self, token: Option<&str>) -> bool {
        let Some(known) = &self.token else { return true };
        token.is_some_and(|token| digest(token.as_bytes()).ct_eq(known).into())
    }
}

/// Without the digest.
impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.id).finish()
    }
}

pub(super) fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A key of one platform is none of another.
fn named(dialect: Dialect, key: &[u8]) -> Vec<u8> {
    [dialect.name().as_bytes(), b"\0", key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_its_door_in_its_dialect_and_with_its_token_alone() {
        let mut doors = Doors::default();
        let door = |id: &str, token: Option<&[u8]>| Door {
            id: id.into(),
            publisher: "p".into(),
            campaign: "c".into(),
            pool: None,
            number: None,
            parameters: BTreeMap::new(),
            quote_life: Duration::from_secs(60),
            session_ttl_s: None,
            sip_user: SipUser::Id,
            token: token.map(digest),
        };
        doors.add(Dialect::Ringba, b"one", door("a", None)).unwrap();
        doors.add(Dialect::Trackdrive, b"one", door("b", Some(b"shown"))).unwrap();

        let of = |dialect, key| doors.of(dialect, key).map(|door| door.id.as_str());
        assert_eq!(of(Dialect::Ringba, "one"), Some("a"));
        assert_eq!(of(Dialect::Trackdrive, "one"), Some("b"));
        assert_eq!(of(Dialect::Callgrid, "one"), None);
        assert_eq!(of(Dialect::Ringba, "One"), None);
        assert!(doors.of(Dialect::Ringba, "one").unwrap().opens(None));
        let shut = doors.of(Dialect::Trackdrive, "one").unwrap();
        assert!(shut.opens(Some("shown")) && !shut.opens(Some("other")) && !shut.opens(None));
        let taken = doors.add(Dialect::Ringba, b"one", door("c", None));
        assert_eq!(taken.unwrap_err().id, "a");
        assert!(!format!("{doors:?}").contains("shown"));
    }
}

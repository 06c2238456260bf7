//! The names of everything in Redis (spec/data §3.2).

use sha2::{Digest, Sha256};
use smol_str::{SmolStr, format_smolstr};

use crate::id::{CampaignId, PingId, PoolId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::history::Caller;
use crate::routing::ping::{RequestKey, VisitorKey};
use crate::server::redis::slot_of;

/// Builds every key. A pool has a hash tag of its own, so that one script lends its numbers; so has each
/// session, and what sessions are found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpace {
    account: SmolStr,
}

/// The keys of a pool, all in one slot.
pub(super) struct PoolKeys {
    tag: SmolStr,
}

impl KeySpace {
    /// `account` holds no braces.
    pub fn new(account: &str) -> Self {
        Self { account: account.into() }
    }

    /// A session has the digits of its ping, and its key the alias of that: whichever of the three a
    /// call names, the key follows from it.
    pub(super) fn session(&self, key: SessionKey) -> String {
        let alias = match key {
            SessionKey::Ping(ping) => SessionKey::alias_of(ping),
            SessionKey::Session(SessionId(digits)) => SessionKey::alias_of(PingId(digits)),
            SessionKey::Alias(alias) => alias,
        };
        format!("s:{{{}/{alias:014}}}", self.account)
    }

    /// Sessions that named a caller, by when they began.
    pub(super) fn caller(&self, campaign: &CampaignId, caller: PhoneNumber) -> String {
        let (first, rest) = digest(&[campaign.as_str(), &caller.digits().to_string()]);
        format!("cl:{{{}/{first}}}:{rest}", self.account)
    }

    /// Earlier calls of a caller.
    pub(super) fn calls(&self, caller: &Caller) -> String {
        let (first, rest) = match caller {
            Caller::Number(number) => digest(&["number", &number.digits().to_string()]),
            Caller::AnonymousOf(campaign) => digest(&["anonymous", campaign.as_str()]),
        };
        format!("pc:{{{}/{first}}}:{rest}", self.account)
    }

    /// The session of a visitor.
    pub(super) fn visitor(&self, visitor: &VisitorKey) -> String {
        let (publisher, campaign, pool, id) = visitor;
        let pool = pool.as_ref().map_or("", PoolId::as_str);
        let (first, rest) = digest(&[publisher.as_str(), campaign.as_str(), pool, id]);
        format!("vi:{{{}/{first}}}:{rest}", self.account)
    }

    /// Sessions that are shown an overflow number, by when they end.
    pub(super) fn sharing(&self, number: PhoneNumber) -> String {
        format!("sh:{{{}/{}}}", self.account, number.digits())
    }

    /// What is known of a request that may be sent again.
    pub(super) fn request(&self, RequestKey(key): RequestKey) -> String {
        let hex = format!("{:032x}", u128::from_be_bytes(key));
        let (first, rest) = hex.split_at(2);
        format!("rq:{{{}/{first}}}:{rest}", self.account)
    }

    /// Which pools have numbers, of one group of these.
    pub(super) fn pools_of(&self, group: u64) -> String {
        format!("nu:{{{}/{group:02x}}}", self.account)
    }

    /// What is gone where all is; of these a server has one by the slot that it falls into.
    pub(super) fn gate(&self, nth: u32) -> String {
        format!("gt:{{{}/{nth}}}", self.account)
    }

    pub(super) fn pool(&self, pool: &PoolId) -> PoolKeys {
        PoolKeys { tag: format_smolstr!("np:{{{}/{}}}", self.account, pool.as_str()) }
    }

    /// The slot that all keys of a pool are in.
    pub fn slot_of_pool(&self, pool: &PoolId) -> u16 {
        self.pool(pool).slot()
    }

    /// No key has this name, and it is in the slot of `key`. While a slot is on its way from one node of
    /// a cluster to another, a script that names it is not run at all: half of its keys may be elsewhere.
    pub(super) fn nowhere(key: &str) -> String {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let nowhere = tag.map_or_else(|| key.to_owned(), |(tag, _)| format!("none:{{{tag}}}"));
        debug_assert_eq!(slot_of(&nowhere), slot_of(key), "{key}");
        nowhere
    }
}

impl PoolKeys {
    /// As the scripts have them.
    pub(super) fn all(&self) -> Vec<String> {
        let names =
            ["gate", "free", "busy", "rest", "pinned", "seen", "owners", "spare", "stock", "asked"];
        names.map(|name| format!("{}:{name}", self.tag)).into()
    }

    pub(super) fn gate(&self) -> String {
        format!("{}:gate", self.tag)
    }

    pub(super) fn stock(&self) -> String {
        format!("{}:stock", self.tag)
    }

    /// What a number is appended to.
    pub(super) fn numbers(&self) -> String {
        format!("{}:did:", self.tag)
    }

    pub(super) fn number(&self, number: PhoneNumber) -> String {
        format!("{}{}", self.numbers(), number.digits())
    }

    pub(super) fn slot(&self) -> u16 {
        slot_of(&self.tag)
    }
}

/// Two hexadecimal digits, which spread keys over slots, and fourteen more.
fn digest(texts: &[&str]) -> (String, String) {
    let mut sha = Sha256::new();
    for text in texts {
        sha.update(text.as_bytes());
        sha.update([0]);
    }
    let digest = sha.finalize();
    let (first, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    let hex = format!("{:016x}", u64::from_be_bytes(*first));
    let (first, rest) = hex.split_at(2);
    (first.to_owned(), rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_pool_are_in_one_slot() {
        let keys = KeySpace::new("t42").pool(&"pool_a".into());
        let number = keys.number(PhoneNumber::from_digits(18_005_550_100).unwrap());
        assert_eq!(number, "np:{t42/pool_a}:did:18005550100");
        let nowhere = KeySpace::nowhere(&number);
        for key in keys.all().into_iter().chain([number, nowhere, keys.gate(), keys.stock()]) {
            assert_eq!(slot_of(&key), keys.slot(), "{key}");
        }
    }

    #[test]
    fn a_session_is_at_one_place_whatever_it_is_called_by() {
        let (keys, ping) = (KeySpace::new("t42"), PingId::from_bytes([7; 16]));
        let by_ping = keys.session(SessionKey::Ping(ping));
        for key in
            [SessionKey::Session(SessionId(ping.0)), SessionKey::Alias(SessionKey::alias_of(ping))]
        {
            assert_eq!(keys.session(key), by_ping);
        }
    }

    #[test]
    fn keys_do_not_name_callers_nor_visitors() {
        let keys = KeySpace::new("t42");
        let caller = PhoneNumber::from_digits(16_145_550_163).unwrap();
        let visitor = ("pub".into(), "cmp".into(), None, SmolStr::new("anna@example.com"));
        let of_caller = keys.caller(&"cmp".into(), caller);
        assert!(!of_caller.contains("6145550163"), "{of_caller}");
        assert_ne!(of_caller, keys.caller(&"cmp2".into(), caller));
        let of_calls = keys.calls(&Caller::Number(caller));
        assert!(!of_calls.contains("6145550163"), "{of_calls}");
        assert_ne!(of_calls, keys.calls(&Caller::AnonymousOf("cmp".into())));
        assert!(!keys.visitor(&visitor).contains("anna"));
    }
}

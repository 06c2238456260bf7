//! The names of everything in Redis (spec/data §1.7).

use std::fmt;

use smol_str::{SmolStr, format_smolstr};

use crate::id::{BuyerId, HoldId};
use crate::routing::hold::{Bucket, GAP, LIVE};
use crate::server::redis::slot_of;

/// Builds every key. All have the account as their hash tag, so all are on one node of a cluster, and
/// a script may touch them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpace {
    /// Such as `{default}`.
    tag: SmolStr,
}

impl KeySpace {
    /// `account` holds no braces.
    pub fn new(account: &str) -> Self {
        Self { tag: format_smolstr!("{{{account}}}") }
    }

    /// The slot that all keys are in.
    pub fn slot(&self) -> u16 {
        slot_of(&self.tag)
    }

    /// Where a bucket's state is kept: of a rolling window that of all its slices.
    pub(super) fn bucket(&self, bucket: &Bucket) -> String {
        let (stored, _) = bucket.stored();
        let Bucket { cap, window } = stored.as_ref();
        match window.as_str() {
            LIVE => self.key("conc", cap),
            GAP => self.key("gap", cap),
            _ => self.key("cap", &format_args!("{cap}:{window}")),
        }
    }

    pub(super) fn hold(&self, hold: HoldId) -> String {
        self.key("hold", &hold_name(hold))
    }

    /// What the name of a hold is appended to.
    pub(super) fn holds(&self) -> String {
        self.key("hold", &"")
    }

    /// Holds by when their leases end.
    pub(super) fn leases(&self) -> String {
        self.key("exp", &"holds")
    }

    /// Which server has been told what the nodes know.
    pub(super) fn gate(&self) -> String {
        self.key("gate", &"caps")
    }

    /// Nodes by when their leases end.
    pub(super) fn nodes(&self) -> String {
        self.key("nodes", &"leases")
    }

    /// Nodes that have told the server behind the gate what they know.
    pub(super) fn joined(&self) -> String {
        self.key("nodes", &"joined")
    }

    /// The process that is a node.
    pub(super) fn processes(&self) -> String {
        self.key("nodes", &"processes")
    }

    /// A buyer's deposit, by its key.
    pub(super) fn deposit(&self, buyer: &BuyerId, key: &str) -> String {
        self.key("dep", &format_args!("{buyer}:{key}"))
    }

    /// Which caps began anew.
    pub(super) fn resets(&self) -> String {
        self.key("resets", &"caps")
    }

    /// Buckets by when something was last used of them.
    pub(super) fn changed(&self) -> String {
        self.key("changed", &"buckets")
    }

    /// Deposits that a node has claimed.
    pub(super) fn claims(&self, node: &str) -> String {
        self.key("claims", &node)
    }

    /// What was said of how many calls can be taken.
    pub(super) fn ready(&self) -> String {
        self.key("ready", &"words")
    }

    /// No key has this name. While the slot is on its way from one node of a cluster to another, a
    /// script that names it is not run at all (`TRYAGAIN`, `ASK`): half of its keys may be elsewhere,
    /// and it would stop in the middle or believe that they are empty.
    pub(super) fn nowhere(&self) -> String {
        self.key("none", &"")
    }

    fn key(&self, kind: &str, name: &impl fmt::Display) -> String {
        let key = format!("{kind}:{}:{name}", self.tag);
        debug_assert_eq!(slot_of(&key), self.slot(), "{key} is on another node");
        key
    }
}

/// A hold as keys and members name it: 32 hexadecimal digits.
pub(super) fn hold_name(hold: HoldId) -> SmolStr {
    format_smolstr!("{}", hold.0.as_simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_an_account_are_in_one_slot_whatever_their_caps_are_called() {
        let keys = KeySpace::new("t42");
        let bucket = Bucket { cap: "target/{odd}/name".into(), window: "d:2026-11-22".into() };
        for key in [
            keys.bucket(&bucket),
            keys.bucket(&Bucket { window: LIVE.into(), ..bucket.clone() }),
            keys.bucket(&Bucket { window: GAP.into(), ..bucket.clone() }),
            keys.hold(HoldId::from_bytes([7; 16])),
            keys.gate(),
            keys.nowhere(),
            keys.resets(),
            keys.ready(),
            keys.changed(),
            keys.deposit(&"buy_a".into(), "{odd}"),
        ] {
            assert_eq!(slot_of(&key), keys.slot(), "{key}");
        }
        assert_eq!(keys.bucket(&bucket), "cap:{t42}:target/{odd}/name:d:2026-11-22");
        let rolling = Bucket { window: "rolling:3600/29562664".into(), ..bucket };
        assert_eq!(keys.bucket(&rolling), "cap:{t42}:target/{odd}/name:rolling:3600");
    }
}

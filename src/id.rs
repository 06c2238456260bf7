//! Identifiers. Configured things are named by text, what happens at run time by a time-ordered
//! UUID, so that keys sort by time and inserts stay at the end of an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

/// Declares a name an operator gives to something in the configuration, such as `tgt_summit`.
macro_rules! configured {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub SmolStr);

        impl $name {
            pub fn new(name: &str) -> Self {
                Self(SmolStr::new(name))
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }
    )* };
}

configured! {
    /// A carrier trunk that sends us calls.
    TrunkId;
    PublisherId;
    BuyerId;
    /// Where a buyer takes calls.
    TargetId;
    CampaignId;
    /// A set of numbers leased to sessions.
    PoolId;
}

/// Whom the server works for; a name of which keys are made: 1 to 40 letters, digits, dots, dashes and
/// underscores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AccountId(SmolStr);

impl AccountId {
    const CHARS_MAX: usize = 40;

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// `default`.
impl Default for AccountId {
    fn default() -> Self {
        Self(SmolStr::new_static("default"))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccountId {
    type Err = ParseAccountIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fits = (1..=Self::CHARS_MAX).contains(&text.len()) && text.chars().all(is_name);
        fits.then(|| Self(SmolStr::new(text))).ok_or(ParseAccountIdError)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that names no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no name for keys: write 1 to 40 letters, digits, dots, dashes and underscores")]
pub struct ParseAccountIdError;

/// Declares a UUID that is shown with a prefix, such as `cal_018f…`.
macro_rules! generated {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            pub const PREFIX: &str = $prefix;

            /// The first of all there could be.
            pub const MIN: Self = Self(Uuid::nil());
            /// The last of all there could be.
            pub const MAX: Self = Self(Uuid::max());

            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(ParseIdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

generated! {
    /// A call, minted when its INVITE is admitted (UUIDv7, spec/data §0.5).
    CallId = "cal_";
    /// A publisher's ping.
    PingId = "png_";
    /// A visitor or lead that a ping opened.
    SessionId = "ses_";
    /// A reservation in the holds ledger: UUIDv5 of call, leg and scope, so that a retry after a
    /// crash finds its own hold again.
    HoldId = "hld_";
}

/// A text that does not name what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not `{prefix}` and 32 hexadecimal digits")]
pub struct ParseIdError {
    prefix: &'static str,
}

impl HoldId {
    /// The hold of one attempt (`leg` counts from 1) on one capped thing (`scope`, such as
    /// `target/tgt_summit/connected/day`).
    pub fn of(call: CallId, leg: u16, scope: &str) -> Self {
        let name = [&leg.to_be_bytes(), scope.as_bytes()].concat();
        Self(Uuid::new_v5(&call.0, &name))
    }

    /// What counts a ping.
    pub fn of_ping(ping: PingId) -> Self {
        Self(Uuid::new_v5(&ping.0, b"pinged"))
    }
}

impl CallId {
    /// Milliseconds since the Unix epoch at which the id was minted, read out of the UUIDv7.
    pub fn minted_at_ms(self) -> u64 {
        self.0.as_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
    }

    /// The id of a call that is only thought of: no call that is made has one like it.
    pub fn of_simulation(seed: u64, number: u32) -> Self {
        Self(Uuid::from_u64_pair(u64::from(number), seed))
    }

    /// The call's chance in a draw of this name: evenly spread, and the same for the same two, so
    /// that it can be told afterwards what was drawn (FNV-1a, its bits mixed as by SplitMix64).
    pub fn draw(self, name: &str) -> u64 {
        let bytes = self.as_bytes().iter().chain(name.as_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_survives_the_round_trip_and_tells_its_time() {
        let id = CallId(Uuid::parse_str("01954f2e-7d1e-7000-8000-000000000001").unwrap());
        assert_eq!(id.to_string(), "cal_01954f2e7d1e70008000000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.minted_at_ms(), 0x0195_4f2e_7d1e);
        assert!("png_01954f2e7d1e70008000000000000001".parse::<CallId>().is_err());
    }

    #[test]
    fn a_draw_is_even_and_the_same_each_time() {
        let mut hits = [0_u32; 20];
        for number in 0..20_000 {
            let drawn = CallId::of_simulation(7, number).draw("target");
            assert_eq!(drawn, CallId::of_simulation(7, number).draw("target"));
            hits[usize::try_from(drawn % 20).unwrap()] += 1;
        }
        assert!(hits.iter().all(|hits| (850..=1_150).contains(hits)), "{hits:?}");
        let call = CallId::of_simulation(7, 1);
        assert_ne!(call.draw("target"), call.draw("another"));
    }

    #[test]
    fn a_hold_is_found_again_by_what_it_holds() {
        let call = CallId(Uuid::nil());
        assert_eq!(HoldId::of(call, 1, "target/a"), HoldId::of(call, 1, "target/a"));
        assert_ne!(HoldId::of(call, 1, "target/a"), HoldId::of(call, 2, "target/a"));
    }
}

//! Why a call or a session looks like fraud: the one list of it.

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($number:literal $name:ident = $code:literal, $points:literal: $text:literal;)*) => {
        /// Something that speaks for fraud.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FraudReason { $(#[doc = $text] $name,)* }

        impl FraudReason {
            pub const ALL: [Self; [$($number),*].len()] = [$(Self::$name),*];

            /// As it is written everywhere, such as `velocity.caller`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it adds to a score where the configuration says nothing else.
            pub fn points(self) -> u8 {
                match self { $(Self::$name => $points,)* }
            }

            /// For people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// As it is kept.
            pub fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* }
            }
        }
    };
}

reasons! {
    1 VelocityCaller = "velocity.caller", 30: "the caller calls more often of late than people do";
    2 VelocityPrefix = "velocity.prefix", 20: "callers of this prefix call more often of late than they may";
    3 VelocityTrunk = "velocity.trunk", 10: "more calls come over this trunk of late than may";
    4 VelocityPings = "velocity.pings", 20: "the caller is announced more often of late than people call";
    5 CallerMismatch = "mismatch.caller", 20: "another caller was announced than the one who called";
    6 StateMismatch = "mismatch.state", 10: "the caller's number is of another state than was declared";
    7 TooSoon = "timing.too_soon", 20: "a number was dialled sooner after a page showed it than people dial";
    8 CallerImpossible = "caller.impossible", 40: "nobody calls from a toll-free or premium number";
    9 AttestationFailed = "attestation.failed", 40: "the signature of the caller's number is wrong";
    10 AttestationMissing = "attestation.missing", 5: "nobody vouches for the caller's number";
    11 AttestationWeak = "attestation.weak", 10: "the carrier knows the caller only as somebody from abroad (C)";
    12 HarvestCaller = "harvest.caller", 40: "the caller dials many of our numbers";
    13 HarvestPrefix = "harvest.prefix", 20: "callers of this prefix dial many of our numbers";
    14 HarvestUnleased = "harvest.unleased", 15: "a number of a pool was dialled that is lent to nobody";
    15 HarvestUnknown = "harvest.unknown", 15: "a number was dialled that is no campaign's";
    16 ShortCall = "short_call", 10: "the caller hung up at once after an answer";
    17 DurationPadded = "duration.padded", 40: "the call ended just past the payout, as suspiciously many of its publisher do";
    18 DurationCut = "duration.cut", 20: "the target ended the call just short of owing, as it does suspiciously often";
}

impl FraudReason {
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.number() == number)
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl Serialize for FraudReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_code_and_a_number_of_its_own() {
        let codes: BTreeSet<_> = FraudReason::ALL.map(FraudReason::code).into();
        let numbers: BTreeSet<_> = FraudReason::ALL.map(FraudReason::number).into();
        assert_eq!((codes.len(), numbers.len()), (FraudReason::ALL.len(), FraudReason::ALL.len()));
        for reason in FraudReason::ALL {
            assert_eq!(FraudReason::from_code(reason.code()), Some(reason));
            assert_eq!(FraudReason::from_number(reason.number()), Some(reason));
            assert!(!reason.text().is_empty() && (1..=100).contains(&reason.points()));
        }
    }
}

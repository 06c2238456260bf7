//! When a call earns what its terms promise (spec/data §1.5).

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::fact::Terms;
use crate::money::Money;

/// How far a call is on the way to its conversion.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum ConversionState {
    /// Not answered, no terms, or ended too early.
    #[default]
    #[n(0)]
    None,
    /// Answered, and the timer runs.
    #[n(1)]
    Pending,
    /// Long enough, and still up.
    #[n(2)]
    Reached,
    /// Ended after it was reached: the money is due.
    #[n(3)]
    Settled,
}

/// What a call has earned so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    pub state: ConversionState,
    pub revenue: Money,
    pub payout: Money,
}

/// How a call stands when it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Milliseconds since the answer; absent if it was not answered.
    pub talk_ms: Option<u64>,
    /// A *converted* fact was written: the threshold was crossed, whatever is known of the end.
    pub converted: bool,
    pub ended: bool,
}

/// Judges a call by the terms of the attempt that answered it. Revenue is earned once, in full,
/// when the call talked at least `terms.seconds`, and the payout at `terms.payout_seconds`, both
/// compared in milliseconds.
pub fn judge(terms: Option<&Terms>, standing: Standing) -> Earned {
    let (Some(terms), Some(talk_ms)) = (terms, standing.talk_ms) else {
        return Earned::default();
    };
    let reached = standing.converted || talk_ms >= u64::from(terms.seconds) * 1_000;
    let state = match (reached, standing.ended) {
        (false, false) => ConversionState::Pending,
        (false, true) => ConversionState::None,
        (true, false) => ConversionState::Reached,
        (true, true) => ConversionState::Settled,
    };
    // A publisher may be paid earlier or later than its buyer pays.
    let paid = talk_ms >= u64::from(terms.payout_seconds) * 1_000
        || (standing.converted && terms.payout_seconds <= terms.seconds);
    Earned {
        state,
        revenue: if reached { terms.revenue } else { Money::ZERO },
        payout: if paid { terms.payout } else { Money::ZERO },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_earned_from_the_threshold_on_and_not_a_millisecond_before() {
        let paid = |state| Earned { state, revenue: Money(20), payout: Money(10) };
        let unpaid = |state| Earned { state, ..Earned::default() };
        let cases = [
            (None, false, false, unpaid(ConversionState::None)),
            (Some(0), false, false, unpaid(ConversionState::Pending)),
            (Some(89_999), false, false, unpaid(ConversionState::Pending)),
            (Some(89_999), false, true, unpaid(ConversionState::None)),
            (Some(90_000), false, false, paid(ConversionState::Reached)),
            (Some(90_000), false, true, paid(ConversionState::Settled)),
            // A crash lost the end, but not the proof that the threshold was crossed.
            (Some(60_000), true, true, paid(ConversionState::Settled)),
        ];
        for (talk_ms, converted, ended, expected) in cases {
            let standing = Standing { talk_ms, converted, ended };
            assert_eq!(judge(Some(&terms()), standing), expected, "{standing:?}");
        }
    }

    #[test]
    fn without_terms_nothing_is_earned() {
        let standing = Standing { talk_ms: Some(1_000_000), converted: false, ended: true };

        assert_eq!(judge(None, standing), Earned::default());
    }

    #[test]
    fn the_publisher_has_a_threshold_of_its_own() {
        let terms = Terms { payout_seconds: 60, ..terms() };
        let standing = Standing { talk_ms: Some(60_000), converted: false, ended: true };

        let earned = judge(Some(&terms), standing);

        let expected =
            Earned { state: ConversionState::None, revenue: Money(0), payout: Money(10) };
        assert_eq!(earned, expected);
    }

    fn terms() -> Terms {
        Terms {
            seconds: 90,
            revenue: Money(20),
            payout_seconds: 90,
            no_payout: None,
            payout: Money(10),
            currency: "USD".into(),
        }
    }
}

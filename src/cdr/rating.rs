//! What a talked time costs: billing increments and rates (spec/data §1.4). Integers only; rounded
//! once per call and side, never per increment.
#![deny(clippy::float_arithmetic, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use serde::{Deserialize, Serialize};

use crate::money::{Money, RatePerMinute};

/// How a talked time is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    pub increments: Increments,
    #[serde(default)]
    pub rounding: Rounding,
    pub rate: RatePerMinute,
    /// Charged once for any call of more than 0 s.
    #[serde(default)]
    pub connect_fee: Money,
    /// Calls shorter than this cost nothing.
    #[serde(default)]
    pub free_s: u32,
    /// No call costs more than this.
    #[serde(default)]
    pub max_charge: Option<Money>,
}

/// `30/6` is a minimum of 30 s and steps of 6 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increments {
    pub minimum_s: u32,
    /// Zero counts as one.
    pub step_s: u32,
}

/// What becomes of a part of a second, before increments apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    #[default]
    Up,
    Down,
    /// Half a second goes up.
    Nearest,
}

/// Result of rating one side of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub billed_s: u64,
    pub amount: Money,
}

impl Default for Increments {
    fn default() -> Self {
        Self { minimum_s: 1, step_s: 1 }
    }
}

impl Increments {
    /// Seconds billed for whole seconds talked; zero stays zero.
    pub fn billed_s(self, talked_s: u64) -> u64 {
        let (minimum, step) = (u64::from(self.minimum_s), u64::from(self.step_s.max(1)));
        match talked_s.checked_sub(minimum) {
            _ if talked_s == 0 => 0,
            None => minimum,
            Some(beyond) => minimum + beyond.div_ceil(step) * step,
        }
    }
}

impl Rounding {
    /// Whole seconds of a talked time.
    pub fn seconds(self, talk_ms: u64) -> u64 {
        match self {
            Self::Up => talk_ms.div_ceil(1_000),
            Self::Down => talk_ms / 1_000,
            Self::Nearest => (talk_ms + 500) / 1_000,
        }
    }
}

impl Tariff {
    /// What `talk_ms` costs. An amount beyond ±9.2 × 10¹² units is held at that.
    pub fn charge(&self, talk_ms: u64) -> Charge {
        let billed_s = self.increments.billed_s(self.rounding.seconds(talk_ms));
        if billed_s == 0 || talk_ms < u64::from(self.free_s) * 1_000 {
            return Charge { billed_s, amount: Money::ZERO };
        }
        // Nanos per minute times seconds, over 60, is nanos; over 1,000 more it is micros.
        let scaled = i128::from(billed_s) * i128::from(self.rate.0);
        let rounded = (scaled + 30_000).div_euclid(60_000);
        let usage = Money(i64::try_from(rounded).unwrap_or(i64::MAX));
        let amount = self.connect_fee + usage;
        Charge { billed_s, amount: self.max_charge.map_or(amount, |max| amount.min(max)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn billed_seconds_are_those_of_the_reference_table() {
        let columns = [(6, 6), (30, 6), (60, 60), (60, 1), (1, 1)];
        let rows: [(u64, [u64; 5]); 9] = [
            (0, [0, 0, 0, 0, 0]),
            (1, [6, 30, 60, 60, 1]),
            (6_000, [6, 30, 60, 60, 6]),
            (6_001, [12, 30, 60, 60, 7]),
            (30_001, [36, 36, 60, 60, 31]),
            (32_000, [36, 36, 60, 60, 32]),
            (57_000, [60, 60, 60, 60, 57]),
            (60_001, [66, 66, 120, 61, 61]),
            (75_000, [78, 78, 120, 75, 75]),
        ];
        for (talk_ms, expected) in rows {
            let billed = columns.map(|(minimum_s, step_s)| {
                Increments { minimum_s, step_s }.billed_s(Rounding::Up.seconds(talk_ms))
            });
            assert_eq!(billed, expected, "{talk_ms} ms");
        }
    }

    #[test]
    fn amounts_are_those_of_the_reference_table() {
        let tariff = Tariff {
            increments: Increments { minimum_s: 30, step_s: 6 },
            rate: "0.006".parse().unwrap(),
            ..Tariff::default()
        };

        for (talk_ms, micros) in [(32_000, 3_600), (57_000, 6_000), (75_000, 7_800), (0, 0)] {
            assert_eq!(tariff.charge(talk_ms).amount, Money(micros), "{talk_ms} ms");
        }
    }

    #[test]
    fn half_a_micro_goes_up() {
        let tariff = Tariff { rate: RatePerMinute(30_000), ..Tariff::default() };

        assert_eq!(tariff.charge(1_000).amount, Money(1));
        assert_eq!(Tariff { rate: RatePerMinute(29_999), ..tariff }.charge(1_000).amount, Money(0));
    }

    #[test]
    fn fee_free_time_and_ceiling_apply_in_that_order() {
        let tariff = Tariff {
            rate: "6.00".parse().unwrap(),
            connect_fee: Money(10_000),
            free_s: 5,
            max_charge: Some(Money(1_000_000)),
            ..Tariff::default()
        };

        assert_eq!(tariff.charge(4_999).amount, Money::ZERO);
        assert_eq!(tariff.charge(5_000).amount, Money(510_000));
        assert_eq!(tariff.charge(60_000).amount, Money(1_000_000));
    }

    #[test]
    fn partial_seconds_round_as_asked() {
        for (mode, expected) in
            [(Rounding::Up, [2, 2]), (Rounding::Down, [1, 1]), (Rounding::Nearest, [1, 2])]
        {
            assert_eq!([mode.seconds(1_499), mode.seconds(1_500)], expected, "{mode:?}");
        }
    }

    proptest! {
        #[test]
        fn billed_time_covers_the_talk_in_whole_steps(
            talk_ms in 0_u64..20_000_000,
            minimum_s in 0_u32..200,
            step_s in 1_u32..200,
        ) {
            let increments = Increments { minimum_s, step_s };
            let talked_s = Rounding::Up.seconds(talk_ms);
            let billed = increments.billed_s(talked_s);

            prop_assert!(billed >= talked_s);
            let beyond = billed.saturating_sub(u64::from(minimum_s));
            prop_assert!(beyond.is_multiple_of(u64::from(step_s)));
            prop_assert!(billed < talked_s.max(u64::from(minimum_s)) + u64::from(step_s));
            prop_assert!(increments.billed_s(talked_s + 1) >= billed);
        }

        #[test]
        fn a_longer_call_never_costs_less(
            talk_ms in 0_u64..20_000_000,
            more_ms in 0_u64..100_000,
            rate in 0_i64..10_000_000_000,
        ) {
            let tariff = Tariff { rate: RatePerMinute(rate), ..Tariff::default() };

            prop_assert!(tariff.charge(talk_ms + more_ms).amount >= tariff.charge(talk_ms).amount);
        }
    }
}

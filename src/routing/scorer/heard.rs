//! What came of asking scorers elsewhere.

use smol_str::SmolStr;

use crate::routing::selection::ScoreReading;

/// No score is farther from zero.
const SCORE_MAX: f64 = 1e9;

/// What came of a scorer for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub scorer: SmolStr,
    pub outcome: Outcome,
    /// Empty unless it was heard, or is assumed to have been.
    pub scores: Vec<ScoreReading>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Scored,
    /// It had said nothing when its time was over.
    Late,
    /// Nothing that is understood, and why.
    Failed(String),
    /// Too many calls were being asked about.
    NoRoom,
    /// What it says was taken for said.
    Assumed,
    NotAsked,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Late => "late",
            Self::Failed(_) => "failed",
            Self::NoRoom => "no_room",
            Self::Assumed => "assumed",
            Self::NotAsked => "not_asked",
        }
    }

    /// Why it failed.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Failed(why) => Some(why),
            Self::Scored | Self::Late | Self::NoRoom | Self::Assumed | Self::NotAsked => None,
        }
    }
}

/// A score as it is said, in millionths. `None`: it is no number up to 10⁹.
pub fn millionths_of(said: f64) -> Option<i64> {
    let is_score = said.is_finite() && said.abs() <= SCORE_MAX;
    // In range, so the cast only rounds.
    is_score.then_some((said * 1e6).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_number_up_to_a_billion_in_millionths() {
        assert_eq!(millionths_of(0.31), Some(310_000));
        assert_eq!(millionths_of(-0.000_000_6), Some(-1));
        assert_eq!(millionths_of(1e9), Some(1_000_000_000_000_000));
        for wrong in [1.000_001e9, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(millionths_of(wrong), None);
        }
    }
}

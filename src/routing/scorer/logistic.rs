//! Logistic regression: `1 / (1 + e^-z)`, where `z` is the sum of the weights that apply.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::{Features, Misread, Scorer, millionths};

/// A model read from a file with a weight on each line:
///
/// ```text
/// # feature, value, weight
/// intercept,, -1.25
/// geo.state, OH, 0.4         applies if the feature has this value
/// lead.age, *, -0.012        is multiplied with the number that the feature is
/// ```
///
/// A feature that is not known, or is no number where one is wanted, adds nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logistic {
    intercept: Option<i64>,
    features: BTreeMap<SmolStr, Weights>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Weights {
    of_values: BTreeMap<SmolStr, i64>,
    of_number: Option<i64>,
}

const MILLION: i128 = 1_000_000;
/// From here on the result is certain to the millionth.
const FAR: i128 = 20 * MILLION;
/// The binary logarithm of e, with 32 binary places.
const LOG2_E: i128 = 6_196_328_019;
/// Binary places of [`power`].
const PLACES: u32 = 60;

impl Logistic {
    /// Takes one line, of those that are neither empty nor a comment.
    pub(in crate::routing) fn read(&mut self, line: &str) -> Result<(), Misread> {
        let parts: Vec<_> = line.split(',').map(str::trim).collect();
        let [feature, value, weight] = parts[..] else {
            return misread("is not `feature, value, weight`");
        };
        let Some(weight) = millionths(weight) else {
            return misread("has no weight with at most six decimal places");
        };
        let place = match (feature, value) {
            ("", _) => return misread("names no feature"),
            ("intercept", "") => &mut self.intercept,
            (_, "") => return misread("has no value"),
            (_, "*") => &mut self.features.entry(feature.into()).or_default().of_number,
            _ => {
                let weights = self.features.entry(feature.into()).or_default();
                if weights.of_values.insert(value.into(), weight).is_some() {
                    return misread("stands there already");
                }
                return Ok(());
            }
        };
        match place.replace(weight) {
            Some(_) => misread("stands there already"),
            None => Ok(()),
        }
    }

    /// What it asks for.
    pub(in crate::routing) fn features(&self) -> impl Iterator<Item = &SmolStr> {
        self.features.keys()
    }

    pub(in crate::routing) fn is_empty(&self) -> bool {
        self.intercept.is_none() && self.features.is_empty()
    }
}

impl Scorer for Logistic {
    fn score(&self, features: &dyn Features) -> i64 {
        let mut sum = i128::from(self.intercept.unwrap_or(0));
        for (name, weights) in &self.features {
            let Some(value) = features.feature(name) else { continue };
            sum += i128::from(weights.of_values.get(&value).copied().unwrap_or(0));
            if let Some(weight) = weights.of_number
                && let Some(number) = millionths(&value)
            {
                sum += i128::from(weight) * i128::from(number) / MILLION;
            }
        }
        logistic(sum)
    }
}

/// In millionths, of millionths.
fn logistic(z: i128) -> i64 {
    let size = z.abs().min(FAR);
    let exponent = u64::try_from(size * LOG2_E / MILLION).unwrap_or(u64::MAX);
    // e^|z|, at most 2^29.
    let grown = power(exponent);
    let above = grown * MILLION.unsigned_abs() / (grown + (1 << PLACES));
    let above = i64::try_from(above).unwrap_or(i64::MAX);
    if z < 0 { 1_000_000 - above } else { above }
}

/// `2^exponent`, of 32 binary places, with [`PLACES`]: by the roots of two.
fn power(exponent: u64) -> u128 {
    const ONE: u128 = 1 << PLACES;
    let mut root = 2 * ONE;
    let mut power = ONE;
    for place in (0..32).rev() {
        root = (root * ONE).isqrt();
        if exponent >> place & 1 == 1 {
            power = power * root / ONE;
        }
    }
    power << (exponent >> 32)
}

fn misread<T>(problem: &str) -> Result<T, Misread> {
    Err((problem.to_owned(), "write a line such as `geo.state, OH, 0.35`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_function_is_right_to_the_millionth() {
        // Computed with 30 digits.
        for (z, score) in [
            (0, 500_000),
            (1_000_000, 731_058),
            (-1_000_000, 268_942),
            (2_500_000, 924_141),
            (10_000_000, 999_954),
            (40_000_000, 999_999),
            (-40_000_000, 1),
        ] {
            assert!((logistic(z) - score).abs() <= 1, "{z}: {}", logistic(z));
        }
        assert_eq!(logistic(1_234_567), 774_616, "and the same everywhere");
        let mut before = 0;
        for z in (-21_000_000..21_000_000).step_by(10_007) {
            assert!(logistic(z) >= before, "it never falls");
            before = logistic(z);
        }
    }

    #[test]
    fn the_weights_that_apply_are_added() {
        let mut model = Logistic::default();
        for line in ["intercept,,-1.0", "geo.state, OH, 0.5", "geo.state, PA, 2", "age, *, 0.01"] {
            model.read(line).unwrap();
        }
        let score = |features: &[(&'static str, &'static str)]| {
            let features: BTreeMap<_, _> = features.iter().copied().collect();
            model.score(&features)
        };
        assert_eq!(score(&[]), logistic(-1_000_000));
        assert_eq!(score(&[("geo.state", "OH")]), logistic(-500_000));
        assert_eq!(score(&[("geo.state", "KY"), ("age", "64")]), logistic(-360_000));
        assert_eq!(score(&[("age", "unknown")]), logistic(-1_000_000));
    }

    #[test]
    fn a_line_that_is_no_weight_says_what_is_wrong() {
        let mut model = Logistic::default();
        model.read("geo.state, OH, 0.5").unwrap();
        for (line, problem) in [
            ("geo.state, OH", "is not `feature, value, weight`"),
            ("geo.state, OH, much", "has no weight with at most six decimal places"),
            ("geo.state,, 1", "has no value"),
            (", OH, 1", "names no feature"),
            ("geo.state, OH, 0.7", "stands there already"),
        ] {
            assert_eq!(model.read(line).unwrap_err().0, problem);
        }
    }
}

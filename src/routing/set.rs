//! Lists of values that filters name: ZIP codes and area codes as bitmaps, texts sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use super::config::SetKind;

/// By their names.
pub type Sets = BTreeMap<SmolStr, Arc<ValueSet>>;

#[derive(Clone, Debug, PartialEq)]
pub struct ValueSet {
    kind: SetKind,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Codes(Bits),
    Texts {
        texts: BTreeSet<SmolStr>,
        /// Then they are in small letters.
        ignore_case: bool,
    },
}

/// A bit for each number below its length.
#[derive(Clone, Debug, PartialEq)]
struct Bits(Box<[u64]>);

/// Why a text is no value of a set's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoValue {
    pub problem: String,
    pub remedy: &'static str,
}

impl ValueSet {
    /// An empty one. `ignore_case` is of texts alone.
    pub fn new(kind: SetKind, ignore_case: bool) -> Self {
        let values = match kind.digits() {
            Some(digits) => Values::Codes(Bits::below(10_u32.pow(digits))),
            None => Values::Texts { texts: BTreeSet::new(), ignore_case },
        };
        Self { kind, values }
    }

    /// Adds a value or, of a kind with digits, a range such as `43000-43299`.
    pub fn add(&mut self, value: &str) -> Result<(), NoValue> {
        match &mut self.values {
            Values::Codes(bits) => {
                for code in self.kind.codes(value)? {
                    bits.set(code);
                }
            }
            Values::Texts { texts, ignore_case } => {
                let text = match (self.kind, *ignore_case) {
                    (SetKind::State, _) => state(value)?,
                    (_, true) => value.to_lowercase().into(),
                    (_, false) => value.into(),
                };
                texts.insert(text);
            }
        }
        Ok(())
    }

    pub fn kind(&self) -> SetKind {
        self.kind
    }

    pub fn is_empty(&self) -> bool {
        match &self.values {
            Values::Codes(bits) => bits.0.iter().all(|word| *word == 0),
            Values::Texts { texts, .. } => texts.is_empty(),
        }
    }

    /// The first of its values.
    pub fn example(&self) -> Option<SmolStr> {
        match &self.values {
            Values::Codes(bits) => {
                let digits = self.kind.digits()? as usize;
                bits.first().map(|code| format_smolstr!("{code:0digits$}"))
            }
            Values::Texts { texts, .. } => texts.first().cloned(),
        }
    }

    /// Whether what a tag says is in it. Of a ZIP code with nine digits the first five count.
    pub fn contains(&self, have: &str) -> bool {
        match &self.values {
            Values::Codes(bits) => self.kind.code(have).is_some_and(|code| bits.has(code)),
            Values::Texts { texts, .. } if self.kind == SetKind::State => {
                state(have).is_ok_and(|have| texts.contains(&have))
            }
            Values::Texts { texts, ignore_case: false } => texts.contains(have),
            Values::Texts { texts, ignore_case: true } => {
                texts.contains(have.to_lowercase().as_str())
            }
        }
    }
}

impl SetKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Npa => "npa",
            Self::NpaNxx => "npa_nxx",
            Self::State => "state",
            Self::Text => "text",
        }
    }

    /// How many a code has.
    fn digits(self) -> Option<u32> {
        match self {
            Self::Zip => Some(5),
            Self::Npa => Some(3),
            Self::NpaNxx => Some(6),
            Self::State | Self::Text => None,
        }
    }

    fn code(self, text: &str) -> Option<u32> {
        let text = match (self, text.split_once('-')) {
            (Self::Zip, Some((zip, plus_four))) if is_digits(plus_four, 4) => zip,
            (Self::NpaNxx, Some((npa, nxx))) if is_digits(npa, 3) && is_digits(nxx, 3) => {
                return Some(npa.parse::<u32>().ok()? * 1_000 + nxx.parse::<u32>().ok()?);
            }
            _ => text,
        };
        is_digits(text, self.digits()?).then(|| text.parse().ok()).flatten()
    }

    fn codes(self, text: &str) -> Result<RangeInclusive<u32>, NoValue> {
        let code = |text: &str| self.code(text.trim());
        if let Some(code) = code(text) {
            return Ok(code..=code);
        }
        let (kind, remedy) = match self {
            Self::Zip => (
                "ZIP code of five digits",
                "write one such as \"43215\", in quotes, or a range such as \"43000-43299\"",
            ),
            Self::Npa => ("area code of three digits", "write one such as \"614\""),
            Self::NpaNxx | Self::State | Self::Text => {
                ("area code and exchange, six digits", "write one such as \"614555\"")
            }
        };
        let no_value = |problem: String| NoValue { problem, remedy };
        let Some((first, last)) = text.split_once('-') else {
            return Err(no_value(format!("is no {kind}")));
        };
        match (code(first), code(last)) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            (Some(_), Some(_)) => Err(no_value("is a range that ends before it begins".to_owned())),
            _ => Err(no_value(format!("is no {kind}, and no range of them"))),
        }
    }
}

impl Bits {
    fn below(length: u32) -> Self {
        Self(vec![0; length.div_ceil(64) as usize].into())
    }

    fn set(&mut self, bit: u32) {
        self.0[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    fn has(&self, bit: u32) -> bool {
        self.0[(bit / 64) as usize] & (1 << (bit % 64)) != 0
    }
}

fn is_digits(text: &str, count: u32) -> bool {
    text.len() == count as usize && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Its two letters, in capitals.
fn state(text: &str) -> Result<SmolStr, NoValue> {
    if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(text.to_ascii_uppercase().into());
    }
    let problem = "is no state or province".to_owned();
    Err(NoValue { problem, remedy: "write its two letters, such as \"OH\"" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_in_the_set_that_was_given_it() {
        for (kind, given, inside, outside) in [
            (
                SetKind::Zip,
                vec!["43215", "02134", "43000-43002"],
                vec!["43215", "43215-1234", "02134", "43000", "43002"],
                vec!["43216", "43003", "2134", "43215-12", "+43215", ""],
            ),
            (SetKind::Npa, vec!["614"], vec!["614"], vec!["615", "0614", "61"]),
            (
                SetKind::NpaNxx,
                vec!["614-555", "740200-740299"],
                vec!["614555", "614-555", "740250"],
                vec!["614556", "740300", "614"],
            ),
            (SetKind::State, vec!["oh", "PA"], vec!["OH", "pa"], vec!["MI", "Ohio", "O"]),
            (SetKind::Text, vec!["Acme"], vec!["Acme"], vec!["acme", "Acm"]),
        ] {
            let set = set(kind, false, &given);
            for value in inside {
                assert!(set.contains(value), "{kind:?} {value}");
            }
            for value in outside {
                assert!(!set.contains(value), "{kind:?} {value}");
            }
        }
        assert!(set(SetKind::Text, true, &["Acme"]).contains("aCME"));
    }

    #[test]
    fn what_is_no_value_of_the_kind_is_refused_with_a_remedy() {
        for (kind, value, problem) in [
            (SetKind::Zip, "2134", "is no ZIP code of five digits"),
            (SetKind::Zip, "43299-43000", "is a range that ends before it begins"),
            (SetKind::Npa, "61-4", "is no area code of three digits, and no range of them"),
            (SetKind::NpaNxx, "614", "is no area code and exchange, six digits"),
            (SetKind::State, "Ohio", "is no state or province"),
        ] {
            let refusal = ValueSet::new(kind, false).add(value).unwrap_err();
            assert_eq!(refusal.problem, problem);
            assert!(!refusal.remedy.is_empty());
        }
    }

    proptest! {
        #[test]
        fn a_bitmap_is_a_set_of_its_codes(
            codes in proptest::collection::btree_set(0_u32..100_000, 0..200),
            asked in proptest::collection::vec(0_u32..100_000, 0..200),
        ) {
            let texts: Vec<_> = codes.iter().map(|code| format!("{code:05}")).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let set = set(SetKind::Zip, false, &texts);
            prop_assert_eq!(set.is_empty(), codes.is_empty());
            for code in asked.iter().chain(&codes) {
                prop_assert_eq!(set.contains(&format!("{code:05}")), codes.contains(code));
            }
        }
    }

    fn set(kind: SetKind, ignore_case: bool, values: &[&str]) -> ValueSet {
        let mut set = ValueSet::new(kind, ignore_case);
        values.iter().for_each(|value| set.add(value).unwrap());
        set
    }
}

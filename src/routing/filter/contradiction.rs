//! Entries of which no call can pass two.

use std::ops::Bound;

use smol_str::{SmolStr, format_smolstr};

use super::operator::{Measure, Test, Text};
use super::{Filter, Filters, Group};

impl Filters {
    /// The places of entries that exclude each other, as far as that can be told from what they say: each
    /// that excludes an earlier one, with the first of those before it.
    pub(in crate::routing) fn contradictions(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.groups.len()).filter_map(|later| {
            let mut earlier = self.groups[..later].iter();
            Some((earlier.position(|it| it.excludes(&self.groups[later]))?, later))
        })
    }
}

impl Group {
    /// For people, with the tag.
    pub(in crate::routing) fn in_words(&self) -> SmolStr {
        match &self.rules[..] {
            [only] => format_smolstr!("{} {}", only.tag, self.want),
            _ => self.want.clone(),
        }
    }

    fn excludes(&self, other: &Self) -> bool {
        let each = |rule: &Filter| other.rules.iter().all(|it| rule.excludes(it));
        self.rules.iter().all(each)
    }
}

impl Filter {
    /// Whether no tag passes both, nor a call that has none. Where it cannot be told they do not.
    fn excludes(&self, other: &Self) -> bool {
        if self.tag != other.tag || self.takes_none() && other.takes_none() {
            return false;
        }
        if self.asks_for_none() || other.asks_for_none() {
            return true;
        }
        let takes = |rule: &Self, value: &str| rule.test.holds(value) == Some(!rule.negated);
        let none_of = |rule: &Self, other: &Self| {
            let all = rule.all_taken(other);
            all.is_some_and(|all| all.iter().all(|value| !takes(other, value)))
        };
        none_of(self, other)
            || none_of(other, self)
            || self.is_opposite(other)
            || self.begins_or_ends_otherwise(other)
            || self.is_apart(other)
    }

    /// Whether one is the negation of the other.
    fn is_opposite(&self, other: &Self) -> bool {
        // Of two regular expressions that are written the same one may ignore the case of letters.
        let is_known = !matches!(self.test, Test::Regex(_));
        is_known && self.negated != other.negated && self.test == other.test
    }

    /// Whether no text has both beginnings, or both ends.
    fn begins_or_ends_otherwise(&self, other: &Self) -> bool {
        let (Test::Text { want, ignore_case }, Test::Text { want: others, ignore_case: also }) =
            (&self.test, &other.test)
        else {
            return false;
        };
        if self.negated || other.negated || ignore_case != also {
            return false;
        }
        match (want, others) {
            (Text::Begins(one), Text::Begins(other)) => {
                !one.starts_with(other.as_str()) && !other.starts_with(one.as_str())
            }
            (Text::Ends(one), Text::Ends(other)) => {
                !one.ends_with(other.as_str()) && !other.ends_with(one.as_str())
            }
            _ => false,
        }
    }

    /// Whether a call without the tag passes.
    fn takes_none(&self) -> bool {
        self.passes_missing || self.asks_for_none()
    }

    /// Whether only calls without the tag pass.
    fn asks_for_none(&self) -> bool {
        self.test == Test::Present && self.negated
    }

    /// All values that pass, as far as the case of letters is anything to `other`. `None`: they cannot be
    /// counted.
    fn all_taken(&self, other: &Self) -> Option<Vec<&SmolStr>> {
        let Test::Text { want, ignore_case } = &self.test else { return None };
        // A number and a date are the same in any case.
        let is_deaf = matches!(other.test, Test::Text { ignore_case: true, .. } | Test::Within(..));
        let is_exact = !ignore_case || is_deaf;
        match want {
            Text::Is(text) if is_exact && !self.negated => Some(vec![text]),
            Text::OneOf(texts) if is_exact && !self.negated => Some(texts.iter().collect()),
            Text::Is(_)
            | Text::OneOf(_)
            | Text::Contains(_)
            | Text::Begins(_)
            | Text::Ends(_)
            | Text::Like(_) => None,
        }
    }

    /// Whether both are ranges without a common part.
    fn is_apart(&self, other: &Self) -> bool {
        let (Some((low, high)), Some((others_low, others_high))) = (self.range(), other.range())
        else {
            return false;
        };
        is_before(&high, &others_low) || is_before(&others_high, &low)
    }

    /// What passes, if that is a range: what is compared with one passes the negation nowhere else.
    fn range(&self) -> Option<(Bound<Measure>, Bound<Measure>)> {
        let Test::Within(low, high) = &self.test else { return None };
        match (low, high) {
            _ if !self.negated => Some((*low, *high)),
            (low, Bound::Unbounded) => Some((Bound::Unbounded, beyond(low))),
            (Bound::Unbounded, high) => Some((beyond(high), Bound::Unbounded)),
            // Two ranges, below and above.
            _ => None,
        }
    }
}

/// Where what lies beyond an end begins, or ends.
fn beyond(end: &Bound<Measure>) -> Bound<Measure> {
    match *end {
        Bound::Included(end) => Bound::Excluded(end),
        Bound::Excluded(end) => Bound::Included(end),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether a range that ends so is over where another begins. A number is no date, and whatever is compared
/// with one is not with the other.
fn is_before(high: &Bound<Measure>, low: &Bound<Measure>) -> bool {
    match (high, low) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(high), Bound::Included(low)) => !high.is_alike(*low) || high < low,
        (
            Bound::Included(high) | Bound::Excluded(high),
            Bound::Included(low) | Bound::Excluded(low),
        ) => !high.is_alike(*low) || high <= low,
    }
}

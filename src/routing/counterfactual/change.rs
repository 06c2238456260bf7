//! What would have been otherwise, and how that is told.

use std::fmt;

use smol_str::SmolStr;

use crate::id::TargetId;
use crate::money::Money;
use crate::routing::hold::Counts;

use super::MINUTE_MS;

/// Of more limits that were not looked at their number is told to people.
const NAMED_MAX: usize = 3;

/// A target that would have been in the plan with these changes, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterfactual {
    pub target: TargetId,
    pub changes: Vec<Change>,
    /// Caps, concurrency and spacing that were not looked at: it would have been called if there was room in
    /// them, too. By their keys, such as `target/tgt_summit/connected/daily`.
    pub unread: Vec<SmolStr>,
}

/// One thing that would have been otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The limit of a cap, or of concurrency, was higher; `hour`: that of the call's hour or day, which has
    /// one of its own.
    Raised { cap: SmolStr, counts: Counts, by: u64, hour: bool },
    /// The limit of a cap, or of concurrency, that is too low for a single call, or for the pace of its
    /// window, was at least this; `hour` as above.
    AtLeast { cap: SmolStr, counts: Counts, limit: u64, hour: bool },
    /// So many more were ready to take a call, of those whose calls a concurrency counts.
    Ready { concurrency: SmolStr, by: u32 },
    /// The call came at another time, so many milliseconds later.
    Shifted { by_ms: i64 },
    /// A tag had this value.
    Tagged { tag: SmolStr, value: SmolStr },
    /// The caller had never called before.
    Unknown,
    /// The caller was on a list, or was not.
    Listed { list: SmolStr, on: bool },
    /// The least that a target has to bring was lower.
    FloorLowered { by: Money },
    /// The target paid so much more.
    PaidMore { by: Money },
    /// It was known here what other servers have taken of a cap, and that there was room.
    RoomKnown { cap: SmolStr },
}

impl Counterfactual {
    /// All changes for people, such as `7 minutes earlier and geo.state OH`.
    pub fn changes_in_words(&self) -> String {
        let changes: Vec<_> = self.changes.iter().map(ToString::to_string).collect();
        changes.join(" and ")
    }

    /// The same, and what was not looked at, such as
    /// `geo.state OH, and there was room in buyer/buy_summit/credit`.
    pub fn in_words(&self) -> String {
        let mut words = self.changes_in_words();
        if let Some((last, others)) = self.unread.split_last() {
            words.push_str(", and there was room in ");
            let shown: Vec<_> = others.iter().take(NAMED_MAX).map(SmolStr::as_str).collect();
            words.push_str(&shown.join(", "));
            let and = if others.is_empty() { "" } else { " and " };
            match self.unread.len() - shown.len() {
                1 => words.extend([and, last]),
                more => words.push_str(&format!("{and}{more} other limits")),
            }
        }
        words
    }
}

impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: would have been called if: {}", self.target, self.in_words())
    }
}

/// For people: `cap target/t/connected/daily +1`, `7 minutes earlier`, `geo.state OH`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raised { cap, counts, by, hour } => {
                write!(f, "cap {cap}{} +{}", of_hour(*hour), counts.show(*by))
            }
            Self::AtLeast { cap, counts, limit, hour } => {
                write!(f, "cap {cap}{} at least {}", of_hour(*hour), counts.show(*limit))
            }
            Self::Ready { concurrency, by: 1 } => write!(f, "1 agent more ready for {concurrency}"),
            Self::Ready { concurrency, by } => {
                write!(f, "{by} agents more ready for {concurrency}")
            }
            Self::Shifted { by_ms } => {
                let minutes = by_ms.abs() / MINUTE_MS;
                let direction = if *by_ms < 0 { "earlier" } else { "later" };
                match (minutes / 60, minutes % 60) {
                    (0, 1) => write!(f, "1 minute {direction}"),
                    (0, minutes) => write!(f, "{minutes} minutes {direction}"),
                    (hours, minutes) => write!(f, "{hours} h {minutes} min {direction}"),
                }
            }
            Self::Tagged { tag, value } => write!(f, "{tag} {value}"),
            Self::Unknown => f.write_str("the caller's first call"),
            Self::FloorLowered { by } => write!(f, "a floor {by} lower"),
            Self::PaidMore { by } => write!(f, "a revenue {by} higher"),
            Self::RoomKnown { cap } => {
                write!(f, "room left in the cap {cap} by other servers, and known here")
            }
            Self::Listed { list, on: true } => write!(f, "the caller on the list {list}"),
            Self::Listed { list, on: false } => write!(f, "the caller not on the list {list}"),
        }
    }
}

impl Change {
    /// This one, and the next upon it, if both are of one thing.
    pub(super) fn followed_by(&self, next: &Self) -> Option<Self> {
        let both = match (self, next) {
            (Self::Raised { cap, by: first, .. }, Self::Raised { cap: of, counts, by, hour })
                if cap == of =>
            {
                let by = first.saturating_add(*by);
                Self::Raised { cap: of.clone(), counts: *counts, by, hour: *hour }
            }
            (Self::Raised { cap, by, .. }, Self::AtLeast { cap: of, counts, limit, hour })
                if cap == of =>
            {
                // Where it is not the limit that was raised, less was used in its place.
                let less_used = if counts.is_concurrency() { 0 } else { *by };
                let limit = limit.saturating_add(less_used);
                Self::AtLeast { cap: of.clone(), counts: *counts, limit, hour: *hour }
            }
            (Self::AtLeast { cap, limit, .. }, Self::Raised { cap: of, counts, by, hour })
                if cap == of =>
            {
                let limit = limit.saturating_add(*by);
                Self::AtLeast { cap: of.clone(), counts: *counts, limit, hour: *hour }
            }
            (Self::AtLeast { cap, .. }, Self::AtLeast { cap: of, .. }) if cap == of => next.clone(),
            (Self::Ready { concurrency, by: first }, Self::Ready { concurrency: of, by })
                if concurrency == of =>
            {
                Self::Ready { concurrency: of.clone(), by: first.saturating_add(*by) }
            }
            (Self::Shifted { by_ms: first }, Self::Shifted { by_ms }) => {
                Self::Shifted { by_ms: first.saturating_add(*by_ms) }
            }
            (Self::Tagged { tag, .. }, Self::Tagged { tag: of, .. }) if tag == of => next.clone(),
            (Self::Listed { list, .. }, Self::Listed { list: of, .. }) if list == of => {
                next.clone()
            }
            (Self::FloorLowered { by: first }, Self::FloorLowered { by }) => {
                Self::FloorLowered { by: *first + *by }
            }
            (Self::PaidMore { by: first }, Self::PaidMore { by }) => {
                Self::PaidMore { by: *first + *by }
            }
            (Self::Unknown, Self::Unknown) => Self::Unknown,
            (Self::RoomKnown { cap }, Self::RoomKnown { cap: of }) if cap == of => next.clone(),
            _ => return None,
        };
        Some(both)
    }
}

fn of_hour(hour: bool) -> &'static str {
    if hour { " at this hour" } else { "" }
}

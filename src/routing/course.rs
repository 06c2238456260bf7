//! What a call came to with the targets of its plan: what happened after the decision, as far as an
//! explanation has to know it.

use smol_str::SmolStr;

use crate::id::TargetId;
use crate::reason::{NoRoute, Reason};
use crate::time::Wall;

use super::decision::Decision;
use super::hold::{BucketRequest, Counts};
use super::limits::Bound;
use super::request::Usage;
use super::shortage::FullLimit;

/// Empty: the call has come to nobody, or not yet. What it does not name was not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    turns: Vec<Turn>,
    /// Why the call got to nobody, once it is over.
    pub(super) no_route: Option<NoRoute>,
}

/// A target whose turn it was. A plan has each target once; one that redirects its call, or asks to be
/// replaced, has several turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    pub target: TargetId,
    pub end: TurnEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// An INVITE was sent to it.
    Dialed,
    /// The carrier was told to call it.
    HandedOver,
    /// Neither, and why.
    Denied { reason: Reason, shortage: Option<Shortage> },
}

/// A limit that had no room for a planned target when its turn came. Amounts are in the unit of what it
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Key of a cap or of concurrency.
    pub cap: SmolStr,
    pub limit: u64,
    pub usage: Usage,
    /// When that was.
    pub at: Wall,
}

impl Course {
    /// Of a call that is over: why it got to nobody, if it did not.
    #[must_use]
    pub fn ended_as(self, no_route: Option<NoRoute>) -> Self {
        Self { no_route, ..self }
    }

    /// What became of a target; `None`: it was not reached. Who was called once was called, whatever
    /// came of it later.
    pub fn of(&self, target: &TargetId) -> Option<&TurnEnd> {
        let mut turns = self.turns.iter().filter(|turn| turn.target == *target);
        let first = turns.clone().next()?;
        let called = turns.find(|turn| !matches!(turn.end, TurnEnd::Denied { .. }));
        Some(&called.unwrap_or(first).end)
    }

    /// Targets that were not called for want of room in a limit that is known.
    pub(super) fn short(&self) -> impl Iterator<Item = (&TargetId, &Shortage)> {
        self.turns.iter().filter_map(|turn| match self.of(&turn.target)? {
            TurnEnd::Denied { shortage, .. } => Some((&turn.target, shortage.as_ref()?)),
            TurnEnd::Dialed | TurnEnd::HandedOver => None,
        })
    }
}

impl FromIterator<Turn> for Course {
    fn from_iter<T: IntoIterator<Item = Turn>>(turns: T) -> Self {
        Self { turns: turns.into_iter().collect(), no_route: None }
    }
}

impl Shortage {
    /// The limit as it stood then, with what was asked of it. `None`: the plan asks nothing of it; the
    /// limit came later.
    pub(super) fn full(&self, decision: &Decision, target: &TargetId) -> Option<FullLimit> {
        let planned = decision.plan.iter().find(|planned| planned.target == *target)?;
        let planned = planned.holds.iter().find(|request| request.bucket.cap == self.cap)?;
        // The time between attempts is asked for by the instant.
        let at = u64::try_from(self.at.0).unwrap_or(0);
        let amount = if planned.counts == Counts::Spacing { at } else { planned.amount };
        // What is written may have been of the hour; nothing here says so.
        let ready = decision.readings.ready.iter().find(|reading| reading.key == self.cap);
        let is_ready = |ready: u32| self.limit == u64::from(ready) || self.limit < planned.limit;
        let bound = match ready.is_some_and(|reading| is_ready(reading.ready)) {
            true => Bound::Ready,
            false => Bound::Limit,
        };
        let request = BucketRequest { limit: self.limit, amount, ..planned.clone() };
        Some(FullLimit::new(request, self.usage, bound))
    }
}

#[cfg(test)]
impl Decision {
    /// What became of every candidate where the first `count` of the plan were dialled, and no more.
    pub(crate) fn outcomes_of_first(&self, count: usize) -> Vec<super::decision::Outcome> {
        self.outcomes(&self.course_of_first(count))
    }

    /// That in words.
    pub(crate) fn explain_first(&self, count: usize) -> Vec<String> {
        self.explain(&self.course_of_first(count))
    }

    fn course_of_first(&self, count: usize) -> Course {
        let dialed = |target: &TargetId| Turn { target: target.clone(), end: TurnEnd::Dialed };
        self.plan.iter().take(count).map(|planned| dialed(&planned.target)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_called_once_was_called_whatever_came_of_it_later() {
        let denied = |reason| TurnEnd::Denied { reason, shortage: None };
        let turn = |target: &str, end| Turn { target: target.into(), end };
        let course: Course = [
            turn("a", denied(Reason::CapFull)),
            turn("b", TurnEnd::Dialed),
            turn("b", denied(Reason::AttemptUnresolved)),
            turn("c", TurnEnd::HandedOver),
        ]
        .into_iter()
        .collect();

        assert_eq!(course.of(&"a".into()), Some(&denied(Reason::CapFull)));
        assert_eq!(course.of(&"b".into()), Some(&TurnEnd::Dialed));
        assert_eq!(course.of(&"c".into()), Some(&TurnEnd::HandedOver));
        assert_eq!(course.of(&"d".into()), None);
    }
}

//! Targets to which there are several ways (spec/domain §2.11): the next one is gone only when the one
//! before has failed before the target was reached, and each target has its turn once.

use super::leg::Leg;
use super::route::Place;
use super::{Audit, Verdict, check};
use crate::sip::call::report::AttemptNumber;

impl Audit {
    /// An attempt may start now: it is the next in the plan, or another way to a target that was not
    /// reached.
    pub(super) fn is_next(&self, attempt: AttemptNumber) -> Verdict {
        if self.route.is_another_way(attempt) {
            let before = attempt - 1;
            let failed = self.attempts.get(&before).is_some_and(|it| it.way_failed);
            check(failed, || {
                format!("attempt {attempt} is another way, and {before} did not fail")
            })?;
            return check(!self.legs_of(before).any(Leg::rings), || {
                String::from("two ways to a target ring at once")
            });
        }
        let last = self.attempts.iter().rev().find(|(_, it)| it.started || it.ended);
        let next = self.route.target_after(last.map_or(0, |(number, _)| *number));
        let next = next.max(self.telling.recovers.unwrap_or(0));
        check(attempt == next, || format!("attempt {attempt} starts, not {next}"))
    }

    /// An attempt is said to have failed on its way.
    pub(super) fn fails_on_its_way(
        &mut self,
        attempt: AttemptNumber,
        status: Option<u16>,
    ) -> Verdict {
        check(self.route.is_another_way(attempt + 1), || String::from("there is no other way"))?;
        check(!self.is_named(attempt), || String::from("a named place has no other way"))?;
        self.speaks_of_the_way(attempt, status)?;
        let has_rung = self.legs_of(attempt).last().is_some_and(Leg::has_rung);
        check(!has_rung, || String::from("a target that has rung is called another way"))?;
        self.attempts.entry(attempt).or_default().way_failed = true;
        Ok(())
    }

    /// With this status an attempt may be made elsewhere.
    pub(super) fn speaks_of_the_way(&self, attempt: AttemptNumber, status: Option<u16>) -> Verdict {
        let leads = |place: &Place, status| place.next_way_on.contains(&status);
        let place = self.route.place(attempt);
        let speaks = |status| place.is_some_and(|place| leads(place, status));
        check(status.is_none_or(speaks), || format!("{status:?} speaks of the target"))
    }
}

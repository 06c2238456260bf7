//! What may be spent on an enricher in a day. A question counts when it is asked: one that is never
//! answered may have to be paid for.

use crate::money::Money;
use crate::time::Wall;

const DAY_MS: i64 = 86_400_000;

/// What questions cost, and how much they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of one question.
    pub cost: Money,
    /// Absent: as many as come.
    pub calls_per_day: Option<u64>,
    /// Absent: as much as they cost.
    pub cost_per_day: Option<Money>,
}

/// What was spent on one day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Counted from the Unix epoch.
    pub day: i64,
    pub asked: u64,
    pub cost: Money,
}

impl Budget {
    /// What is spent with one question more, on the day of `now`; `None`: there is no room for it.
    pub fn spend(&self, spent: Spent, now: Wall) -> Option<Spent> {
        let spent = spent.on(now);
        let asked = spent.asked.saturating_add(1);
        let cost = spent.cost.checked_add(self.cost)?;
        let fits = self.calls_per_day.is_none_or(|most| asked <= most)
            && self.cost_per_day.is_none_or(|most| cost <= most);
        fits.then_some(Spent { asked, cost, ..spent })
    }
}

impl Spent {
    /// Nothing, once the day is another.
    pub fn on(self, now: Wall) -> Self {
        let day = day_of(now);
        if self.day == day { self } else { Self { day, ..Self::default() } }
    }
}

/// Days of UTC since the Unix epoch.
pub fn day_of(at: Wall) -> i64 {
    at.0.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Wall = Wall(20_000 * DAY_MS + DAY_MS / 2);

    #[test]
    fn questions_and_money_have_a_bound_each_of_the_day() {
        let cost = Money(4_000);
        let free = Budget { cost, calls_per_day: None, cost_per_day: None };
        let by_calls = Budget { calls_per_day: Some(3), ..free };
        let by_money = Budget { cost_per_day: Some(Money(9_999)), ..free };
        for (budget, room) in [(free, 1_000), (by_calls, 3), (by_money, 2)] {
            let mut spent = Spent::default();
            let mut asked = 0;
            while asked < 1_000 {
                let Some(more) = budget.spend(spent, NOON) else { break };
                (spent, asked) = (more, asked + 1);
            }
            assert_eq!(asked, room);
            assert_eq!((spent.asked, spent.cost.0), (room, 4_000 * room as i64));

            let tomorrow = Wall(NOON.0 + DAY_MS);
            let anew = budget.spend(spent, tomorrow).unwrap();
            assert_eq!((anew.day, anew.asked, anew.cost), (20_001, 1, cost));
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_no_room() {
        let budget = Budget { cost: Money(i64::MAX), calls_per_day: None, cost_per_day: None };
        let spent = budget.spend(Spent::default(), NOON).unwrap();
        assert_eq!(budget.spend(spent, NOON), None);
    }
}

//! How much of a cap may be used by now if it is to be filled evenly.

use crate::time::Wall;

use super::schedule::Schedule;
use super::window::Window;

/// The limit's share of the part of the window that has passed, rounded up. Only the hours of
/// `schedule` count, if there is one; in a window without such hours all may be used.
pub(super) fn by_now(limit: u64, window: &Window, at: Wall, schedule: Option<&Schedule>) -> u64 {
    let Some((elapsed, whole)) = passed(window, at, schedule) else { return limit };
    let share = (u128::from(limit) * u128::from(elapsed)).div_ceil(u128::from(whole));
    u64::try_from(share).unwrap_or(limit).min(limit)
}

/// The least limit of which so much may be used by now. `None`: of no limit may anything be.
pub(super) fn limit_for(
    wanted: u64,
    window: &Window,
    at: Wall,
    schedule: Option<&Schedule>,
) -> Option<u64> {
    let Some((elapsed, whole)) = passed(window, at, schedule) else { return Some(wanted) };
    let below = u128::from(wanted.saturating_sub(1)) * u128::from(whole);
    let limit = below.checked_div(u128::from(elapsed))? + 1;
    u64::try_from(limit).ok()
}

/// Seconds of the window until then, and all of them. `None`: there is no such part.
fn passed(window: &Window, at: Wall, schedule: Option<&Schedule>) -> Option<(u64, u64)> {
    let (begins, ends) = (window.begins_at?, window.ends_at?);
    let seconds = |from: Wall, to: Wall| match schedule {
        Some(schedule) => schedule.open_s(from, to),
        None => u64::try_from(to.0.saturating_sub(from.0) / 1_000).unwrap_or(0),
    };
    let whole = seconds(begins, ends);
    (whole > 0).then(|| (seconds(begins, at), whole))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::routing::config::WindowKind;
    use crate::routing::schedule::bundled_zone;

    #[test]
    fn of_the_limit_for_so_much_so_much_may_be_used_and_of_one_less_it_may_not() {
        let at = "2026-03-17T15:04:12Z".parse::<Timestamp>().unwrap();
        let (at, zone) = (Wall(at.as_millisecond()), TimeZone::UTC);
        let window = Window::of(WindowKind::Daily, &zone, at).unwrap();
        for wanted in 1..200 {
            let limit = limit_for(wanted, &window, at, None).unwrap();
            assert_eq!(by_now(limit, &window, at, None), wanted);
            assert!(by_now(limit - 1, &window, at, None) < wanted, "{wanted}");
        }
        let midnight = window.begins_at.unwrap();
        assert_eq!(limit_for(2, &window, midnight, None), None, "nothing has passed");
    }

    #[test]
    fn half_of_the_limit_may_be_used_by_noon() {
        let paced = |at| paced(24, WindowKind::Daily, "UTC", at, None);
        assert_eq!(paced("2026-03-17T00:00:00Z"), 0);
        assert_eq!(paced("2026-03-17T00:00:01Z"), 1);
        assert_eq!(paced("2026-03-17T12:00:00Z"), 12);
        assert_eq!(paced("2026-03-17T12:00:01Z"), 13);
        assert_eq!(paced("2026-03-17T23:59:59Z"), 24);
    }

    #[test]
    fn only_the_hours_in_which_the_target_is_open_pass() {
        // Monday to Friday, nine to five with an hour of rest.
        let hours = ["mon", "tue", "wed", "thu", "fri"].map(|day| {
            format!(
                "{{ day = '{day}', open = '09:00', close = '17:00', \
                 breaks = [{{ start = '12:00', end = '13:00' }}] }}"
            )
        });
        let hours = format!(
            "time_zone = 'America/New_York'\nhours = [{}]\nholidays = ['2026-03-18']",
            hours.join(", ")
        );
        let paced = |kind, at| paced(70, kind, "America/New_York", at, Some(&hours));
        let daily = |at| paced(WindowKind::Daily, at);
        assert_eq!(daily("2026-03-17T12:00:00Z"), 0, "eight in the morning");
        assert_eq!(daily("2026-03-17T14:00:00Z"), 10);
        assert_eq!(daily("2026-03-17T16:30:00Z"), 30, "half past noon");
        assert_eq!(daily("2026-03-17T20:00:00Z"), 60);
        assert_eq!(daily("2026-03-17T23:00:00Z"), 70);
        assert_eq!(daily("2026-03-18T23:00:00Z"), 70, "closed all day");
        // Four days are left of this week: Monday is over.
        assert_eq!(paced(WindowKind::Weekly, "2026-03-17T12:00:00Z"), 18);
        assert_eq!(paced(WindowKind::Weekly, "2026-03-19T12:00:00Z"), 35);
    }

    #[test]
    fn an_opening_over_the_end_of_the_week_counts_on_both_sides() {
        let night = "time_zone = 'UTC'\nhours = [{ day = 'sun', open = '22:00', close = '02:00' }]";
        let paced = |at| paced(4, WindowKind::Weekly, "UTC", at, Some(night));
        assert_eq!(paced("2026-03-16T01:00:00Z"), 1);
        assert_eq!(paced("2026-03-20T01:00:00Z"), 2);
        assert_eq!(paced("2026-03-22T23:00:00Z"), 3);
    }

    fn paced(limit: u64, kind: WindowKind, zone: &str, at: &str, hours: Option<&str>) -> u64 {
        let zone = bundled_zone(zone).unwrap_or(TimeZone::UTC);
        let at = Wall(at.parse::<Timestamp>().unwrap().as_millisecond());
        let schedule = hours.map(|hours| {
            let config = toml::from_str(hours).unwrap();
            Schedule::compile(&config, "schedule", &TimeZone::UTC, &mut vec![]).unwrap().0
        });
        by_now(limit, &Window::of(kind, &zone, at).unwrap(), at, schedule.as_ref())
    }
}

//! The span of time a cap counts in, by the wall clock of its owner's zone (spec/domain §2.6).

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::time::Wall;

use super::config::{Every, Period, WindowKind, minute};

/// One window, such as the 22nd of November 2026 in New York.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Such as `d:2026-11-22`. Hours and minutes carry the offset from UTC
    /// (`h:2026-11-01T01-04:00`), so that an hour the clock shows twice is two windows. That of a
    /// rolling window names the slice it ends with (`rolling:3600/29562664`), that of one that begins
    /// when the configuration says how long it is and when it does (`e:14d/2026-01-05T06:00`,
    /// `p:2026-11-23/2026-11-30`).
    pub id: SmolStr,
    /// When it began; absent for all time.
    pub begins_at: Option<Wall>,
    /// When the next one begins; absent for all time. Of a rolling window when what happens now
    /// counts no more.
    pub ends_at: Option<Wall>,
}

impl Window {
    /// The window in which `at` lies; `None`: in none, for it stands alone.
    pub fn of(kind: WindowKind, zone: &TimeZone, at: Wall) -> Option<Self> {
        let at = timestamp(at);
        let local = zone.to_datetime(at);
        let date = local.date();
        let days = |id, first: Date, next: Result<Date, jiff::Error>| Self {
            id,
            begins_at: midnight(zone, first),
            ends_at: next.ok().and_then(|next| midnight(zone, next)),
        };
        Some(match kind {
            WindowKind::Minute => {
                let minute = format_smolstr!("{:02}:{:02}", local.hour(), local.minute());
                Self::within_day("i", &minute, 60, zone, at, local)
            }
            WindowKind::Hourly => {
                let hour = format_smolstr!("{:02}", local.hour());
                Self::within_day("h", &hour, 3_600, zone, at, local)
            }
            WindowKind::Daily => days(format_smolstr!("d:{date}"), date, date.tomorrow()),
            WindowKind::Weekly => {
                let week = date.iso_week_date();
                let days_gone = i64::from(date.weekday().to_monday_zero_offset());
                let id = format_smolstr!("w:{:04}-W{:02}", week.year(), week.week());
                let monday = date.checked_sub(days_gone.days()).unwrap_or(date);
                days(id, monday, date.checked_add((7 - days_gone).days()))
            }
            WindowKind::Monthly => {
                let (id, first) = (
                    format_smolstr!("m:{:04}-{:02}", date.year(), date.month()),
                    date.first_of_month(),
                );
                days(id, first, first.checked_add(1.month()))
            }
            WindowKind::Yearly => {
                let first = date.first_of_year();
                days(format_smolstr!("y:{:04}", date.year()), first, first.checked_add(1.year()))
            }
            WindowKind::Total => Self { id: "total".to_smolstr(), begins_at: None, ends_at: None },
            WindowKind::Rolling(rolling) => {
                let now = Wall(at.as_millisecond());
                let slice = rolling.slice(now);
                Self {
                    id: rolling.name_at(slice),
                    begins_at: Some(Wall(rolling.first_slice(slice) * rolling.slice_ms())),
                    ends_at: Some(rolling.forgets_at(slice)),
                }
            }
            WindowKind::Every(every) => Self::one_of(every, zone, at, local),
            WindowKind::Period(Period { from, to }) => {
                let (begins, ends) = (first_shown(zone, from)?, first_shown(zone, to)?);
                let now = Wall(at.as_millisecond());
                if !(begins..ends).contains(&now) {
                    return None;
                }
                let id = format_smolstr!("p:{}", Period { from, to }.span());
                Self { id, begins_at: Some(begins), ends_at: Some(ends) }
            }
        })
    }

    /// One of several that follow each other: the last that has begun. Where the clock skips all of one
    /// there is none.
    fn one_of(every: Every, zone: &TimeZone, at: Timestamp, local: DateTime) -> Self {
        let Every { step, from } = every;
        let (first, step_s) = (on_the_clock(from), step.seconds());
        let begins = |number: i64| shown_at(first.saturating_add(number.saturating_mul(step_s)));
        let begins_at = |number: i64| first_shown(zone, begins(number)?);
        let has_begun =
            |number: i64| begins_at(number).is_some_and(|it| it.0 <= at.as_millisecond());
        let mut number = (on_the_clock(local) - first).div_euclid(step_s);
        // The clock may have been put back since one began, or forward over the beginning of one.
        while has_begun(number + 1) {
            number += 1;
        }
        while !has_begun(number) && begins(number).is_some() {
            number -= 1;
        }
        let name = begins(number).map(minute).unwrap_or_default();
        let id = format_smolstr!("e:{}/{name}", step.name());
        Self { id, begins_at: begins_at(number), ends_at: begins_at(number + 1) }
    }

    /// An hour or a minute. It ends early where the clock is put forward or back within it.
    fn within_day(
        prefix: &str,
        time: &str,
        length_s: i64,
        zone: &TimeZone,
        at: Timestamp,
        local: DateTime,
    ) -> Self {
        let offset = zone.to_offset(at);
        let offset_s = offset.seconds();
        let sign = if offset_s < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset_s.abs() / 3_600, offset_s.abs() / 60 % 60);
        let id = format_smolstr!("{prefix}:{}T{time}{sign}{hours:02}:{minutes:02}", local.date());
        let on_the_clock = at.as_second() + i64::from(offset_s);
        let begins = on_the_clock - on_the_clock.rem_euclid(length_s);
        let instant = |on_the_clock: i64| (on_the_clock - i64::from(offset_s)) * 1_000;
        let (begins, ends) = (instant(begins), instant(begins + length_s));
        let now_too = at.checked_add(1.nanosecond()).unwrap_or(at);
        let clock_change = zone.preceding(now_too).next().map(|c| c.timestamp().as_millisecond());
        let begins_at = clock_change.map_or(begins, |change| change.max(begins));
        let clock_change = zone.following(at).next().map(|c| c.timestamp().as_millisecond());
        let ends_at = clock_change.map_or(ends, |change| change.min(ends));
        Self { id, begins_at: Some(Wall(begins_at)), ends_at: Some(Wall(ends_at)) }
    }
}

/// The instant, clamped to the years -9999 to 9999.
pub(super) fn timestamp(at: Wall) -> Timestamp {
    let clamped = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(clamped)
}

/// Seconds that a clock that is never put forward or back has gone on since 1970.
fn on_the_clock(local: DateTime) -> i64 {
    TimeZone::UTC.to_timestamp(local).map_or(0, Timestamp::as_second)
}

/// What it shows then; `None` beyond the year 9999.
fn shown_at(on_the_clock: i64) -> Option<DateTime> {
    let shown = Timestamp::from_second(on_the_clock).ok()?;
    Some(TimeZone::UTC.to_datetime(shown))
}

/// When a clock first shows this, or when it is put forward over it.
fn first_shown(zone: &TimeZone, local: DateTime) -> Option<Wall> {
    let shown = zone.to_ambiguous_timestamp(local);
    let at = match shown.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok()?,
        AmbiguousOffset::Gap { after, .. } => {
            let before_it = after.to_timestamp(local).ok()?;
            zone.following(before_it).next()?.timestamp()
        }
    };
    Some(Wall(at.as_millisecond()))
}

/// When a day begins: midnight, or the first time the clock shows after it.
fn midnight(zone: &TimeZone, date: Date) -> Option<Wall> {
    let begins = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(Wall(begins.as_millisecond()))
}

/// So many windows of one kind are known at a time if each is for so long after its end.
pub(super) fn known_at_once(kind: WindowKind, kept: Duration) -> usize {
    let seconds = match kind {
        WindowKind::Minute => 60,
        WindowKind::Hourly => 3_600,
        WindowKind::Every(every) => every.step.seconds().unsigned_abs(),
        WindowKind::Daily | WindowKind::Weekly | WindowKind::Monthly | WindowKind::Yearly => 86_400,
        WindowKind::Total | WindowKind::Rolling(_) | WindowKind::Period(_) => return 1,
    };
    // The current one, the one in which a call began that is counted now, and those that are over.
    usize::try_from(kept.as_secs().div_ceil(seconds)).map_or(usize::MAX, |over| over + 2)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::civil::Weekday;
    use proptest::prelude::*;

    use super::*;
    use crate::rolling::Rolling;
    use crate::routing::config::Step;
    use crate::routing::schedule::bundled_zone;

    #[test]
    fn windows_follow_the_wall_clock_of_their_zone() {
        let cases = [
            // kind, instant, id, end
            (
                WindowKind::Minute,
                "2026-11-22T03:16:30Z",
                "i:2026-11-21T22:16-05:00",
                "2026-11-22T03:17:00.000Z",
            ),
            (
                WindowKind::Hourly,
                "2026-11-22T03:16:30Z",
                "h:2026-11-21T22-05:00",
                "2026-11-22T04:00:00.000Z",
            ),
            (WindowKind::Daily, "2026-11-22T03:16:30Z", "d:2026-11-21", "2026-11-22T05:00:00.000Z"),
            (WindowKind::Weekly, "2026-11-22T03:16:30Z", "w:2026-W47", "2026-11-23T05:00:00.000Z"),
            (WindowKind::Weekly, "2027-01-01T12:00:00Z", "w:2026-W53", "2027-01-04T05:00:00.000Z"),
            (WindowKind::Monthly, "2026-12-01T04:59:59Z", "m:2026-11", "2026-12-01T05:00:00.000Z"),
            (WindowKind::Yearly, "2027-01-01T04:59:59Z", "y:2026", "2027-01-01T05:00:00.000Z"),
        ];
        for (kind, at, id, ends_at) in cases {
            assert_eq!(new_york(kind, at), (id.to_owned(), ends_at.to_owned()));
        }
    }

    #[test]
    fn the_repeated_hour_of_autumn_is_two_windows() {
        assert_eq!(
            new_york(WindowKind::Hourly, "2026-11-01T05:30:00Z"),
            ("h:2026-11-01T01-04:00".into(), "2026-11-01T06:00:00.000Z".into())
        );
        assert_eq!(
            new_york(WindowKind::Hourly, "2026-11-01T06:30:00Z"),
            ("h:2026-11-01T01-05:00".into(), "2026-11-01T07:00:00.000Z".into())
        );
    }

    #[test]
    fn days_of_a_clock_change_have_23_and_25_hours() {
        for (at, ends_at) in [
            ("2026-03-08T05:00:00Z", "2026-03-09T04:00:00.000Z"),
            ("2026-11-01T04:00:00Z", "2026-11-02T05:00:00.000Z"),
        ] {
            assert_eq!(new_york(WindowKind::Daily, at).1, ends_at);
        }
    }

    #[test]
    fn an_hour_in_which_the_clock_is_put_back_by_half_an_hour_ends_there() {
        let lord_howe = bundled_zone("Australia/Lord_Howe").unwrap();
        // 2026-04-04T15:00Z: 02:00 at +11:00 becomes 01:30 at +10:30.
        let before =
            Window::of(WindowKind::Hourly, &lord_howe, wall("2026-04-04T14:45:00Z")).unwrap();
        let after =
            Window::of(WindowKind::Hourly, &lord_howe, wall("2026-04-04T15:10:00Z")).unwrap();
        assert_eq!(before.id, "h:2026-04-05T01+11:00");
        assert_eq!(before.ends_at, Some(wall("2026-04-04T15:00:00Z")));
        assert_eq!(after.id, "h:2026-04-05T01+10:30");
        assert_eq!(after.ends_at, Some(wall("2026-04-04T15:30:00Z")));
    }

    #[test]
    fn all_time_never_ends() {
        let window = Window::of(WindowKind::Total, &TimeZone::UTC, Wall(i64::MAX)).unwrap();
        assert_eq!(window, Window { id: "total".into(), begins_at: None, ends_at: None });
    }

    /// With clock changes of an hour, of half an hour, at midnight, with none, and with odd offsets.
    const ZONES: [&str; 24] = [
        "America/New_York",
        "America/Los_Angeles",
        "America/Phoenix",
        "America/Santiago",
        "America/Asuncion",
        "America/Havana",
        "America/Sao_Paulo",
        "America/Nuuk",
        "America/Caracas",
        "Atlantic/Azores",
        "Europe/London",
        "Europe/Berlin",
        "Europe/Istanbul",
        "Africa/Casablanca",
        "Africa/Cairo",
        "Asia/Beirut",
        "Asia/Gaza",
        "Asia/Tehran",
        "Asia/Kathmandu",
        "Asia/Pyongyang",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
        "Pacific/Apia",
        "UTC",
    ];

    const KINDS: [WindowKind; 6] = [
        WindowKind::Minute,
        WindowKind::Hourly,
        WindowKind::Daily,
        WindowKind::Weekly,
        WindowKind::Monthly,
        WindowKind::Yearly,
    ];

    /// From any minute of 60 years on.
    fn every() -> impl Strategy<Value = WindowKind> {
        let step = prop_oneof![
            (1_u32..=72).prop_map(Step::Hours),
            (1_u32..=400).prop_map(Step::Days),
            Just(Step::Hours(12)),
            Just(Step::Hours(24)),
        ];
        (step, 0_i64..31_556_952).prop_map(|(step, minutes)| {
            let from = shown_at(minutes * 60).unwrap();
            WindowKind::Every(Every { step, from })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// From 2010, the year before a day was skipped in Apia, to 2040; near a clock change half of the time.
        #[test]
        fn windows_follow_each_other_without_gap_or_overlap(
            zone in prop::sample::select(&ZONES[..]),
            kind in prop_oneof![prop::sample::select(&KINDS[..]), every()],
            at in 1_262_304_000_000_i64..2_208_988_800_000,
            near in prop::option::of(-7_200_000_i64..7_200_000),
        ) {
            let zone = bundled_zone(zone).unwrap();
            let change = zone.following(timestamp(Wall(at))).next();
            let change = change.map(|it| it.timestamp().as_millisecond());
            let at = match (near, change) {
                (Some(near), Some(change)) => Wall(change + near),
                _ => Wall(at),
            };
            let window = Window::of(kind, &zone, at).unwrap();
            let (begins, ends) = (window.begins_at.unwrap(), window.ends_at.unwrap());

            prop_assert!(begins <= at && at < ends, "{window:?} does not hold {at:?}");
            prop_assert_eq!(&Window::of(kind, &zone, begins).unwrap(), &window, "its first instant");
            prop_assert_eq!(&Window::of(kind, &zone, Wall(ends.0 - 1)).unwrap(), &window, "its last one");
            let next = Window::of(kind, &zone, ends).unwrap();
            prop_assert_eq!(next.begins_at, Some(ends));
            prop_assert_ne!(&next.id, &window.id);
            let before = Window::of(kind, &zone, Wall(begins.0 - 1)).unwrap();
            prop_assert_eq!(before.ends_at, Some(begins));
            prop_assert_ne!(&before.id, &window.id);
            if !matches!(kind, WindowKind::Minute | WindowKind::Hourly | WindowKind::Every(_)) {
                let first = zone.to_datetime(timestamp(begins));
                let before = zone.to_datetime(timestamp(Wall(begins.0 - 1)));
                prop_assert!(before.date() < first.date(), "{window:?} begins within a day");
            }
        }

        #[test]
        fn an_hour_of_the_clock_is_one_window_and_no_two_have_one_name(
            zone in prop::sample::select(&ZONES[..]),
            kind in prop_oneof![prop::sample::select(&KINDS[..]), every()],
            at in 1_388_534_400_000_i64..2_208_988_800_000,
            ahead in 1_i64..1_000,
        ) {
            let zone = bundled_zone(zone).unwrap();
            let mut ids = BTreeSet::new();
            let mut next = Some(Wall(at));
            for _ in 0..ahead.min(60) {
                let window = Window::of(kind, &zone, next.unwrap()).unwrap();
                prop_assert!(ids.insert(window.id.clone()), "{} comes twice", window.id);
                next = window.ends_at;
            }
        }

        #[test]
        fn a_rolling_window_holds_all_its_seconds(
            seconds in Rolling::SECONDS,
            at in 0_i64..4_000_000_000_000,
        ) {
            let window = Window::of(WindowKind::Rolling(Rolling { seconds }), &TimeZone::UTC, Wall(at));
            let window = window.unwrap();
            let length = i64::from(seconds) * 1_000;
            prop_assert!(window.begins_at.unwrap() <= Wall(at - length));
            prop_assert!(window.ends_at.unwrap() > Wall(at + length));
            let is_named = window.id.starts_with(&format!("rolling:{seconds}/"));
            prop_assert!(is_named, "{}", window.id);
        }
    }

    #[test]
    fn windows_of_so_many_days_or_hours_follow_the_clock_from_their_beginning_on() {
        let pay = "every:14d@2026-01-05T06:00";
        let half = "every:12h@2026-01-05";
        for (kind, at, id, ends_at) in [
            (pay, "2026-01-05T11:00:00Z", "e:14d/2026-01-05T06:00", "2026-01-19T11:00:00.000Z"),
            (pay, "2026-01-05T10:59:59Z", "e:14d/2025-12-22T06:00", "2026-01-05T11:00:00.000Z"),
            // Summer time begins in between: an hour less.
            (pay, "2026-03-10T12:00:00Z", "e:14d/2026-03-02T06:00", "2026-03-16T10:00:00.000Z"),
            (half, "2026-11-22T16:59:59Z", "e:12h/2026-11-22", "2026-11-22T17:00:00.000Z"),
            (half, "2026-11-22T17:00:00Z", "e:12h/2026-11-22T12:00", "2026-11-23T05:00:00.000Z"),
            // Of 11 hours and of 13.
            (half, "2026-03-08T05:00:00Z", "e:12h/2026-03-08", "2026-03-08T16:00:00.000Z"),
            (half, "2026-11-01T04:00:00Z", "e:12h/2026-11-01", "2026-11-01T17:00:00.000Z"),
            // The hour from two to three is not there.
            (
                "every:1h@2026-01-01",
                "2026-03-08T07:00:00Z",
                "e:1h/2026-03-08T03:00",
                "2026-03-08T08:00:00.000Z",
            ),
            // Half past one is shown twice, and begins one window.
            (
                "every:1h@2026-01-01T00:30",
                "2026-11-01T06:10:00Z",
                "e:1h/2026-11-01T01:30",
                "2026-11-01T07:30:00.000Z",
            ),
            (
                "every:2d@2028-02-28",
                "2028-03-01T05:00:00Z",
                "e:2d/2028-03-01",
                "2028-03-03T05:00:00.000Z",
            ),
        ] {
            assert_eq!(new_york(kind.parse().unwrap(), at), (id.to_owned(), ends_at.to_owned()));
        }
    }

    #[test]
    fn a_day_that_is_skipped_has_no_window() {
        let apia = bundled_zone("Pacific/Apia").unwrap();
        let kind: WindowKind = "every:12h@2011-12-01".parse().unwrap();
        // The 30th of December 2011 is not there.
        let before = Window::of(kind, &apia, wall("2011-12-30T09:59:59Z")).unwrap();
        let after = Window::of(kind, &apia, wall("2011-12-30T10:00:00Z")).unwrap();
        assert_eq!(
            (before.id.as_str(), before.ends_at),
            ("e:12h/2011-12-29T12:00", after.begins_at)
        );
        assert_eq!(after.id, "e:12h/2011-12-31");
        assert_eq!(after.ends_at, Some(wall("2011-12-30T22:00:00Z")));
    }

    #[test]
    fn a_period_is_a_window_from_its_beginning_to_its_end_and_at_no_other_time() {
        let kind: WindowKind = "period:2026-11-23/2026-11-30T18:00".parse().unwrap();
        let zone = bundled_zone("America/New_York").unwrap();
        let at = |text| Window::of(kind, &zone, wall(text));
        assert_eq!(at("2026-11-23T04:59:59Z"), None);
        let window = at("2026-11-23T05:00:00Z").unwrap();
        assert_eq!(window.id, "p:2026-11-23/2026-11-30T18:00");
        assert_eq!(window.begins_at, Some(wall("2026-11-23T05:00:00Z")));
        assert_eq!(window.ends_at, Some(wall("2026-11-30T23:00:00Z")));
        assert_eq!(at("2026-11-30T22:59:59Z"), Some(window));
        assert_eq!(at("2026-11-30T23:00:00Z"), None);
    }

    #[test]
    fn windows_end_with_the_calendar() {
        let kind: WindowKind = "every:3660d@9999-12-31".parse().unwrap();
        for at in [Wall(i64::MAX), Wall(i64::MIN)] {
            let window = Window::of(kind, &TimeZone::UTC, at).unwrap();
            assert!(window.begins_at.is_none_or(|begins| begins <= at), "{window:?}");
        }
    }

    #[test]
    fn leap_days_and_the_ends_of_months_belong_to_their_own() {
        for (kind, at, id, begins_at, ends_at) in [
            (WindowKind::Daily, "2028-02-29T23:00:00Z", "d:2028-02-29", "2028-02-29", "2028-03-01"),
            (WindowKind::Monthly, "2028-02-29T23:59:59Z", "m:2028-02", "2028-02-01", "2028-03-01"),
            (WindowKind::Monthly, "2027-02-28T23:59:59Z", "m:2027-02", "2027-02-01", "2027-03-01"),
            (WindowKind::Yearly, "2028-12-31T23:59:59Z", "y:2028", "2028-01-01", "2029-01-01"),
            (WindowKind::Weekly, "2029-01-01T00:00:00Z", "w:2029-W01", "2029-01-01", "2029-01-08"),
        ] {
            let window = Window::of(kind, &TimeZone::UTC, wall(at)).unwrap();
            let day = |wall: Option<Wall>| wall.unwrap().to_rfc3339();
            assert_eq!(window.id, id);
            assert_eq!(day(window.begins_at), format!("{begins_at}T00:00:00.000Z"));
            assert_eq!(day(window.ends_at), format!("{ends_at}T00:00:00.000Z"));
        }
    }

    /// Month ends with those of leap years, and the days about each change of the clock. When a date begins is
    /// found by looking at the clock of the zone quarter by quarter.
    #[test]
    fn days_weeks_months_and_years_begin_with_the_first_instant_of_their_date_in_every_zone() {
        for name in ZONES {
            let zone = bundled_zone(name).unwrap();
            let (mut firsts, mut changes) = (BTreeMap::new(), 0);
            let mut first = |date: Date| *firsts.entry(date).or_insert_with(|| begins(&zone, date));
            let mut dates = BTreeSet::new();
            for (year, month) in (2024..=2032).flat_map(|year| (1..=12).map(move |it| (year, it))) {
                let begins = Date::constant(year, month, 1);
                dates.extend([begins, begins.yesterday().unwrap(), begins.last_of_month()]);
            }
            let until = Date::constant(2033, 1, 1);
            for change in zone.following(timestamp(wall("2024-01-01T00:00:00Z"))) {
                let date = zone.to_datetime(change.timestamp()).date();
                if date >= until {
                    break;
                }
                dates.extend([date.yesterday().unwrap(), date, date.tomorrow().unwrap()]);
                changes += 1;
            }
            assert!(dates.contains(&Date::constant(2024, 2, 29)), "{changes} changes in {name}");
            for date in dates {
                let tomorrow = date.tomorrow().unwrap();
                let mut monday = date;
                while monday.weekday() != Weekday::Monday {
                    monday = monday.yesterday().unwrap();
                }
                let (year, month) = (date.year(), date.month());
                let next_month = date.last_of_month().tomorrow().unwrap();
                let edges = [
                    (WindowKind::Daily, date, tomorrow, Some(format!("d:{date}"))),
                    (WindowKind::Weekly, monday, monday.checked_add(7.days()).unwrap(), None),
                    (
                        WindowKind::Monthly,
                        date.first_of_month(),
                        next_month,
                        Some(format!("m:{year}-{month:02}")),
                    ),
                    (
                        WindowKind::Yearly,
                        Date::constant(year, 1, 1),
                        Date::constant(year + 1, 1, 1),
                        Some(format!("y:{year}")),
                    ),
                ];
                for at in [first(date), Wall(first(tomorrow).0 - 1)] {
                    for (kind, from, to, id) in &edges {
                        let window = Window::of(*kind, &zone, at).unwrap();
                        let found = (window.begins_at, window.ends_at);
                        let wanted = (Some(first(*from)), Some(first(*to)));
                        assert_eq!(found, wanted, "{kind:?} of {date} in {name}");
                        assert!(id.as_ref().is_none_or(|id| window.id == *id), "{window:?}");
                    }
                }
            }
        }
    }

    /// When the clock of a zone first shows a date. All zones are a number of quarters from UTC.
    fn begins(zone: &TimeZone, date: Date) -> Wall {
        let midnight = wall(&format!("{date}T00:00:00Z"));
        let mut quarters = (-64..=64).map(|quarter| Wall(midnight.0 + quarter * 900_000));
        let shows = |at: &Wall| zone.to_datetime(timestamp(*at)).date() == date;
        quarters.find(shows).unwrap()
    }

    fn new_york(kind: WindowKind, at: &str) -> (String, String) {
        let zone = bundled_zone("America/New_York").unwrap();
        let window = Window::of(kind, &zone, wall(at)).unwrap();
        (window.id.to_string(), window.ends_at.unwrap().to_rfc3339())
    }

    fn wall(at: &str) -> Wall {
        Wall(at.parse::<Timestamp>().unwrap().as_millisecond())
    }
}

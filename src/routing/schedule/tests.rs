use proptest::prelude::*;

use super::*;
use crate::routing::config::{BreakConfig, HoursConfig};

#[test]
fn opening_hours_are_those_of_the_wall_clock() {
    let schedule = office();
    for (at, reason) in [
        // Winter: 09:00 in New York is 14:00Z. Summer: 13:00Z.
        ("2026-01-06T13:59:59Z", Some(Reason::ScheduleClosed)),
        ("2026-01-06T14:00:00Z", None),
        ("2026-07-07T12:59:59Z", Some(Reason::ScheduleClosed)),
        ("2026-07-07T13:00:00Z", None),
        // A break, and the end of it.
        ("2026-07-07T16:00:00Z", Some(Reason::ScheduleClosed)),
        ("2026-07-07T16:30:00Z", None),
        // Two minutes before the close at 18:00, and at the close.
        ("2026-07-07T21:57:59Z", None),
        ("2026-07-07T21:58:00Z", Some(Reason::ScheduleClosingSoon)),
        ("2026-07-07T22:00:00Z", Some(Reason::ScheduleClosed)),
        // A Sunday, and a holiday.
        ("2026-07-05T15:00:00Z", Some(Reason::ScheduleClosed)),
        ("2026-12-25T15:00:00Z", Some(Reason::ScheduleHoliday)),
    ] {
        assert_eq!(refusal(&schedule, at), reason, "{at}");
    }
}

#[test]
fn the_hour_that_is_skipped_opens_when_the_clock_is_put_forward() {
    // 2026-03-08 02:00 EST becomes 03:00 EDT at 07:00Z.
    let schedule = compile(&hours("UTC-never", &[])).unwrap_err();
    assert_eq!(schedule[0].path, "s.time_zone");
    let schedule = compile(&hours("America/New_York", &[(Day::Sun, "02:30", "04:00")])).unwrap();
    assert_eq!(refusal(&schedule, "2026-03-08T06:59:59Z"), Some(Reason::ScheduleClosed));
    assert_eq!(refusal(&schedule, "2026-03-08T07:00:00Z"), None);
    assert_eq!(refusal(&schedule, "2026-03-08T07:59:59Z"), None);
    assert_eq!(refusal(&schedule, "2026-03-08T08:00:00Z"), Some(Reason::ScheduleClosed));
}

#[test]
fn the_hour_that_is_repeated_counts_twice() {
    // 2026-11-01 02:00 EDT becomes 01:00 EST at 06:00Z.
    let schedule = compile(&hours("America/New_York", &[(Day::Sun, "00:00", "02:00")])).unwrap();
    assert_eq!(refusal(&schedule, "2026-11-01T04:00:00Z"), None);
    assert_eq!(refusal(&schedule, "2026-11-01T06:59:59Z"), None);
    assert_eq!(refusal(&schedule, "2026-11-01T07:00:00Z"), Some(Reason::ScheduleClosed));
}

#[test]
fn a_clock_change_that_skips_the_rest_of_an_opening_is_seen_coming() {
    let mut config = hours("America/New_York", &[(Day::Sun, "01:00", "02:30")]);
    config.stop_before_close_s = 300;
    let schedule = compile(&config).unwrap();
    assert_eq!(refusal(&schedule, "2026-03-08T06:54:59Z"), None);
    assert_eq!(refusal(&schedule, "2026-03-08T06:55:00Z"), Some(Reason::ScheduleClosingSoon));
}

#[test]
fn an_opening_may_cross_midnight_and_the_end_of_the_week() {
    let config = hours("UTC", &[(Day::Fri, "22:00", "06:00"), (Day::Sun, "20:00", "02:00")]);
    let schedule = compile(&config).unwrap();
    for (at, reason) in [
        ("2026-07-03T22:00:00Z", None),
        ("2026-07-04T05:59:59Z", None),
        ("2026-07-04T06:00:00Z", Some(Reason::ScheduleClosed)),
        ("2026-07-05T23:00:00Z", None),
        ("2026-07-06T01:59:59Z", None),
        ("2026-07-06T02:00:00Z", Some(Reason::ScheduleClosed)),
    ] {
        assert_eq!(refusal(&schedule, at), reason, "{at}");
    }
}

#[test]
fn openings_that_touch_are_one_so_that_midnight_closes_nothing() {
    let mut config = hours("UTC", &[(Day::Mon, "09:00", "24:00"), (Day::Tue, "00:00", "06:00")]);
    config.stop_before_close_s = 600;
    let schedule = compile(&config).unwrap();
    assert_eq!(refusal(&schedule, "2026-07-06T23:59:00Z"), None);
    assert_eq!(refusal(&schedule, "2026-07-07T05:51:00Z"), Some(Reason::ScheduleClosingSoon));
}

#[test]
fn a_week_without_a_gap_never_closes() {
    let days = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    let mut config = hours("UTC", &days.map(|day| (day, "06:00", "06:00")));
    config.stop_before_close_s = 3_600;
    let schedule = compile(&config).unwrap();
    assert_eq!(refusal(&schedule, "2026-07-06T05:59:59Z"), None);
    let all_day = |day: &DayHours| day.own.len() + day.over.len() == 2;
    assert!(schedule.week.iter().all(all_day), "{schedule:?}");
}

#[test]
fn a_holiday_is_seen_coming_at_midnight() {
    let config = ScheduleConfig {
        always_open: true,
        holidays: vec!["2026-12-25".into()],
        stop_before_close_s: 60,
        ..hours("America/New_York", &[])
    };
    let schedule = compile(&config).unwrap();
    assert_eq!(refusal(&schedule, "2026-12-25T04:59:00Z"), Some(Reason::ScheduleClosingSoon));
    assert_eq!(refusal(&schedule, "2026-12-25T05:00:00Z"), Some(Reason::ScheduleHoliday));
    assert_eq!(refusal(&schedule, "2026-12-26T05:00:00Z"), None);
}

#[test]
fn a_day_may_have_hours_of_its_own() {
    let mut config = hours("UTC", &[(Day::Thu, "20:00", "02:00"), (Day::Fri, "09:00", "17:00")]);
    // A Friday; the next begins where the week's hours of the day before end.
    config.exceptions = vec![
        exception("2026-11-27", "10:00", "12:00"),
        exception("2026-11-27", "13:00", "24:00"),
        exception("2026-11-28", "00:00", "01:00"),
    ];
    config.stop_before_close_s = 60;
    let schedule = compile(&config).unwrap();
    let (closed, soon) = (Some(Reason::ScheduleClosed), Some(Reason::ScheduleClosingSoon));
    for (at, reason) in [
        ("2026-11-26T23:58:59Z", None),
        ("2026-11-26T23:59:00Z", soon),
        ("2026-11-27T01:00:00Z", closed),
        ("2026-11-27T09:30:00Z", closed),
        ("2026-11-27T10:00:00Z", None),
        ("2026-11-27T11:59:00Z", soon),
        ("2026-11-27T12:00:00Z", closed),
        ("2026-11-27T16:59:59Z", None),
        ("2026-11-27T23:59:30Z", None),
        ("2026-11-28T00:58:59Z", None),
        ("2026-11-28T01:00:00Z", closed),
        ("2026-12-04T09:00:00Z", None),
    ] {
        assert_eq!(refusal(&schedule, at), reason, "{at}");
    }
    let want = |at| schedule.check(wall(at)).unwrap_err().want;
    assert_eq!(want("2026-11-27T12:30:00Z"), "opens Fri 13:00");
    assert_eq!(want("2026-11-28T01:30:00Z"), "opens Thu 20:00");
    let open = schedule.open_s(wall("2026-11-27T00:00:00Z"), wall("2026-11-28T00:00:00Z"));
    assert_eq!(open, 13 * 3_600);
}

/// Fridays from eight in the evening to two, in New York.
#[test]
fn an_opening_over_midnight_belongs_to_the_day_on_which_it_began() {
    let night = || hours("America/New_York", &[(Day::Fri, "20:00", "02:00")]);
    // Half past midnight on Saturdays: an ordinary one, that after Christmas, and that after a Friday with
    // hours of its own.
    let ordinary = "2026-12-19T05:30:00Z";
    let (after_holiday, after_exception) = ("2026-12-26T05:30:00Z", "2026-11-28T05:30:00Z");
    let unlike = ScheduleConfig {
        holidays: vec!["2026-12-25".into()],
        exceptions: vec![exception("2026-11-27", "10:00", "14:00")],
        ..night()
    };
    for (config, at, is_open) in [
        (night(), ordinary, true),
        (night(), after_holiday, true),
        (night(), after_exception, true),
        (unlike.clone(), ordinary, true),
        (unlike.clone(), after_holiday, false),
        (unlike.clone(), after_exception, false),
    ] {
        let schedule = compile(&config).unwrap();
        let closed = (!is_open).then_some(Reason::ScheduleClosed);
        assert_eq!(refusal(&schedule, at), closed, "{at} {config:?}");
        let open = schedule.open_s(Wall(wall(at).0 - 1_800_000), Wall(wall(at).0 + 7_200_000));
        assert_eq!(open, if is_open { 7_200 } else { 0 }, "{at}");
    }
    // Nor is it open into a holiday, and it is seen coming.
    let config =
        ScheduleConfig { holidays: vec!["2026-12-19".into()], stop_before_close_s: 600, ..night() };
    let schedule = compile(&config).unwrap();
    let soon = Some(Reason::ScheduleClosingSoon);
    assert_eq!(refusal(&schedule, "2026-12-19T04:49:59Z"), None);
    assert_eq!(refusal(&schedule, "2026-12-19T04:50:00Z"), soon);
    assert_eq!(refusal(&schedule, ordinary), Some(Reason::ScheduleHoliday));
}

/// What begins on the next day is not what reaches over into it.
#[test]
fn hours_that_begin_at_midnight_are_those_of_their_own_day() {
    let mut config = hours("UTC", &[(Day::Fri, "20:00", "24:00"), (Day::Sat, "00:00", "02:00")]);
    config.holidays = vec!["2026-12-25".into()];
    let schedule = compile(&config).unwrap();
    assert_eq!(refusal(&schedule, "2026-12-26T01:30:00Z"), None);
}

#[test]
fn the_next_opening_is_that_of_a_day_on_which_there_is_one() {
    let mut config = office_config();
    config.hours = hours("", &[(Day::Mon, "09:00", "18:00"), (Day::Fri, "20:00", "02:00")]).hours;
    config.holidays = vec!["2026-12-28".into(), "2027-01-01".into(), "2027-01-04".into()];
    config.exceptions = vec![exception("2026-11-27", "10:00", "14:00")];
    let schedule = compile(&config).unwrap();
    for (at, want) in [
        // The eve of a Friday with hours of its own, and that day when they are over.
        ("2026-11-27T04:00:00Z", "opens Fri 10:00"),
        ("2026-11-27T19:30:00Z", "opens Mon 09:00"),
        // The eve of a Monday without any, a week in which only the next Friday has.
        ("2026-12-28T04:00:00Z", "opens Fri 20:00 on 2027-01-08"),
        ("2027-01-05T15:00:00Z", "opens Fri 20:00"),
        // Within the hour, on the day a week later.
        ("2026-12-22T01:00:00Z", "opens Fri 20:00"),
    ] {
        assert_eq!(schedule.check(wall(at)).unwrap_err().want, want, "{at}");
    }
    let year = (0..365).map(|n| "2026-01-01".parse::<Date>().unwrap() + n.days());
    config.holidays = year.map(|day| day.to_string()).collect();
    config.exceptions = vec![];
    let never = compile(&config).unwrap();
    assert_eq!(never.next_opening(never.local(wall("2026-03-01T12:00:00Z"))), "closed for 31 days");
}

#[test]
fn hours_that_overlap_are_a_fault_of_their_own() {
    let overlapping = hours(
        "UTC",
        &[(Day::Sun, "20:00", "03:00"), (Day::Mon, "02:00", "05:00"), (Day::Mon, "05:00", "06:00")],
    );
    let faults: Vec<_> = compile(&overlapping).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].to_string(),
        "s.hours[1] = 02:00-05:00: overlaps hours[0]; let each hour stand in one of them"
    );
    let mut config = office_config();
    config.exceptions = vec![
        exception("2026-12-25", "10:00", "12:00"),
        exception("2026-12-24", "10:00", "12:00"),
        exception("2026-12-24", "11:00", "14:00"),
        exception("christmas", "10:00", "9:00"),
        exception("2026-12-31", "22:00", "02:00"),
    ];
    let told: Vec<_> = compile(&config)
        .unwrap_err()
        .into_iter()
        .map(|fault| format!("{} {}", fault.path, fault.problem))
        .collect();
    assert_eq!(
        told,
        [
            "s.exceptions[0].date is a holiday, too",
            "s.exceptions[2] overlaps another opening of the same day",
            "s.exceptions[3].date is no date",
            "s.exceptions[3].close is no time of day",
            "s.exceptions[4].close is not after `open`",
        ]
    );
}

/// Zones of every habit: changes by an hour and by half of one, at midnight, in the south, none.
const ZONES: [&str; 20] = [
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Sao_Paulo",
    "Pacific/Honolulu",
    "Europe/London",
    "Europe/Berlin",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Pacific/Auckland",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// On the days about each change of the clocks of a year, and on one without any.
    #[test]
    fn it_is_open_in_its_blocks_and_never_outside(
        blocks in prop::collection::btree_set(0_u32..95, 2..8),
        is_exception in any::<bool>(),
    ) {
        // Quarters of an hour, of which every second begins a block.
        let ends: Vec<_> = blocks.into_iter().map(|quarter| quarter * 900).collect();
        let blocks: Vec<_> = ends.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let text = |s: u32| format!("{:02}:{:02}", s / 3_600, s / 60 % 60);
        for name in ZONES {
            let zone = bundled_zone(name).unwrap();
            let year = wall("2026-01-01T00:00:00Z");
            let changes = zone.following(timestamp(year)).take(2);
            let changes = changes.map(|it| zone.to_datetime(it.timestamp()).date());
            let dates: Vec<_> = changes
                .flat_map(|day| [day.yesterday().unwrap(), day])
                .chain(["2026-06-17".parse().unwrap()])
                .filter(|day: &Date| day.year() == 2026)
                .collect();
            for date in dates {
                let mut config = hours(name, &[]);
                for (open, close) in &blocks {
                    let (open, close) = (text(*open), text(*close));
                    if is_exception {
                        config.exceptions.push(exception(&date.to_string(), &open, &close));
                    } else {
                        let offset = date.weekday().to_monday_zero_offset();
                        let day = WEEK[usize::from(offset.unsigned_abs())];
                        config.hours.push(HoursConfig { day, open, close, breaks: vec![] });
                    }
                }
                config.always_open = is_exception;
                let schedule = compile(&config).unwrap();
                let begins = date.to_zoned(zone.clone()).unwrap();
                let first = begins.timestamp().as_millisecond();
                let (mut open_s, mut on_clock) = (0, 0);
                for minute in 0..26 * 60 {
                    let at = Wall(first + minute * 60_000);
                    let local = schedule.local(at);
                    if local.date() != date {
                        continue;
                    }
                    let second = second_of_week(local) % DAY_S;
                    let within = blocks.iter().any(|(from, to)| (*from..*to).contains(&second));
                    prop_assert_eq!(schedule.check(at).is_ok(), within, "{} {}", name, local);
                    // And to the millisecond before.
                    let before = schedule.local(Wall(at.0 - 1));
                    if within && before.date() == date {
                        let second = second_of_week(before) % DAY_S;
                        let was = blocks.iter().any(|(from, to)| (*from..*to).contains(&second));
                        prop_assert_eq!(schedule.check(Wall(at.0 - 1)).is_ok(), was);
                    }
                    open_s += u64::from(within) * 60;
                    on_clock += 1;
                }
                let asked: u64 = blocks.iter().map(|(from, to)| u64::from(to - from)).sum();
                if on_clock == 24 * 60 {
                    prop_assert_eq!(open_s, asked, "{} {}", name, date);
                }
            }
        }
    }
}

proptest! {
    /// Whole weeks are reckoned, not walked over: with the same result.
    #[test]
    fn for_how_long_it_is_open_is_the_sum_of_all_days(
        days in prop::collection::vec((0_usize..7, 0_u32..24, 1_u32..24), 1..6),
        marked in prop::collection::btree_map(0_i64..900, prop::bool::ANY, 0..12),
        (from, length) in (0_i64..60 * 24 * 400, 0_i64..60 * 24 * 400),
    ) {
        let clock = |hour: u32| format!("{:02}:00", hour % 24);
        let mut config = hours("Europe/Berlin", &[]);
        for (n, (day, open, for_hours)) in days.iter().enumerate() {
            // The last may reach into the next week; others are cut where the next begins.
            let (open, close) = (clock(*open), clock(open + for_hours));
            let day = WEEK[*day];
            if n == 0 || config.hours.iter().all(|it| it.day != day) {
                config.hours.push(HoursConfig { day, open, close, breaks: vec![] });
            }
        }
        let first: Date = "2026-01-01".parse().unwrap();
        for (after, is_holiday) in marked {
            let date = first.checked_add(after.days()).unwrap().to_string();
            match is_holiday {
                true => config.holidays.extend([date.clone(), date]),
                false => config.exceptions.push(exception(&date, "05:00", "21:00")),
            }
        }
        let Ok(schedule) = compile(&config) else { return Ok(()) };
        let begins = wall("2026-01-01T00:00:00Z").0;
        let (from, to) = (Wall(begins + from * 60_000), Wall(begins + (from + length) * 60_000));

        let mut walked = 0;
        let (begins, ends) = (schedule.local(from), schedule.local(to));
        for day in begins.date().series(1.day()).take_while(|day| *day <= ends.date()) {
            let first = if day == begins.date() { second_of_week(begins) % DAY_S } else { 0 };
            let last = if day == ends.date() { second_of_week(ends) % DAY_S } else { DAY_S };
            walked += u64::from(schedule.open_within(day, first, last));
        }
        prop_assert_eq!(schedule.open_s(from, to), walked, "{} to {}", begins, ends);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Openings of any length, over midnight too, about a change of the clocks, against what each sentence of
    /// the configuration says.
    #[test]
    fn it_is_open_when_an_opening_of_today_or_yesterday_says_so(
        blocks in prop::collection::btree_map(
            (0_usize..7, 0_u32..24), (1_u32..=24, any::<bool>()), 1..8,
        ),
        stop_hours in 0_u32..3,
        unlike in prop::collection::btree_map(0_i64..12, any::<bool>(), 0..5),
        zone in 0..ZONES.len(),
        second_change in any::<bool>(),
    ) {
        let zone_name = ZONES[zone];
        let zone = bundled_zone(zone_name).unwrap();
        let year = timestamp(wall("2026-01-01T00:00:00Z"));
        let change = zone.following(year).nth(usize::from(second_change));
        let change = change.map_or(year, |it| it.timestamp());
        let first = zone.to_datetime(change).date() - 6.days();

        let clock = |hour: u32| format!("{:02}:00", hour % 24);
        let mut config = hours(zone_name, &[]);
        let mut written: Vec<(usize, u32, u32)> = vec![];
        for ((day, open), (length, is_paused)) in blocks {
            let (open_, close) = (clock(open), clock(open + length));
            // In its second hour.
            let is_paused = is_paused && length > 1;
            let pause = BreakConfig { start: clock(open + 1), end: clock(open + 2) };
            let breaks = if is_paused { vec![pause] } else { vec![] };
            config.hours.push(HoursConfig { day: WEEK[day], open: open_, close, breaks });
            match compile(&config) {
                Ok(_) if is_paused => {
                    written.extend([(day, open, 1), (day, open + 2, length - 2)]);
                }
                Ok(_) => written.push((day, open, length)),
                Err(_) => drop(config.hours.pop()),
            }
        }
        let mut own: BTreeMap<Date, bool> = BTreeMap::new();
        for (after, is_holiday) in unlike {
            let date = first + after.days();
            own.insert(date, is_holiday);
            match is_holiday {
                true => config.holidays.push(date.to_string()),
                false => config.exceptions.push(exception(&date.to_string(), "05:00", "21:00")),
            }
        }
        config.stop_before_close_s = stop_hours * 3_600;
        let compiled = compile(&config);
        let is_never_open = compiled.is_err();
        let schedule = compiled.unwrap_or_else(|faults| {
            assert_eq!(faults[0].path, "s.stop_before_close_s");
            compile(&ScheduleConfig { stop_before_close_s: 0, ..config.clone() }).unwrap()
        });
        let is_open = |local: DateTime| {
            let (today, hour) = (local.date(), u32::from(local.hour().unsigned_abs()));
            if let Some(is_holiday) = own.get(&today) {
                return !is_holiday && (5..21).contains(&hour);
            }
            [(today, hour), (today - 1.days(), hour + 24)].into_iter().any(|(day, hour)| {
                let of_week = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
                let says = |&(on, open, length): &(usize, u32, u32)| {
                    on == of_week && (open..open + length).contains(&hour)
                };
                !own.contains_key(&day) && written.iter().any(says)
            })
        };
        let begins = first.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond();
        for quarter in 0..12 * 96 {
            let at = Wall(begins + quarter * 900_000);
            let local = schedule.local(at);
            let mut ahead = (0..=stop_hours * 4).map(|quarter| local + (i64::from(quarter) * 15).minutes());
            let stop = Wall(at.0 + i64::from(stop_hours) * 3_600_000);
            let takes = ahead.all(is_open) && is_open(schedule.local(stop));
            let shown = (zone_name, local);
            match is_never_open {
                true => prop_assert!(!takes, "{:?}", shown),
                false => prop_assert_eq!(schedule.check(at).is_ok(), takes, "{:?}", shown),
            }
        }
        // By the clock on the wall, as paced caps fill.
        let minutes = |day: Date| (0..24).map(move |hour| day.at(hour, 0, 0, 0));
        let days = || first.series(1.day()).take(13);
        let open_s = days().take(12).flat_map(minutes).filter(|it| is_open(*it)).count() * 3_600;
        let last = days().last().unwrap();
        let midnight = |day: Date| Wall(day.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond());
        let (from, to) = (midnight(first), midnight(last));
        // Some zones have no midnight on some days.
        if schedule.local(from).hour() == 0 && schedule.local(to).hour() == 0 {
            prop_assert_eq!(schedule.open_s(from, to), u64::try_from(open_s).unwrap());
        }
    }
}

const WEEK: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];

#[test]
fn a_closed_target_says_when_it_opens() {
    let closed = office().check(wall("2026-07-04T23:04:00Z")).unwrap_err();
    assert_eq!(closed.have, "Sat 19:04 America/New_York");
    assert_eq!(closed.want, "opens Tue 09:00");
}

#[test]
fn all_faults_of_a_schedule_are_told_at_once() {
    let mut config = hours("Mars/Olympus", &[(Day::Mon, "9:00", "25:00")]);
    config.holidays = vec!["us_federal".into()];
    config.hours[0].breaks = vec![BreakConfig { start: "x".into(), end: "12:00".into() }];
    let paths: Vec<_> = compile(&config).unwrap_err().into_iter().map(|fault| fault.path).collect();
    assert_eq!(
        paths,
        [
            "s.time_zone",
            "s.holidays[0]",
            "s.hours[0].open",
            "s.hours[0].close",
            "s.hours[0].breaks[0].start"
        ]
    );
    let never = ScheduleConfig { hours: vec![], ..office_config() };
    assert_eq!(compile(&never).unwrap_err()[0].path, "s.hours");
    let both = ScheduleConfig { always_open: true, ..office_config() };
    assert_eq!(compile(&both).unwrap_err()[0].path, "s.always_open");
}

#[test]
fn an_opening_that_is_all_breaks_is_a_fault() {
    let pause = |start: &str, end: &str| BreakConfig { start: start.into(), end: end.into() };
    let mut config = hours("UTC", &[(Day::Mon, "09:00", "12:00"), (Day::Tue, "22:00", "02:00")]);
    config.hours[0].breaks = vec![pause("09:00", "10:30"), pause("10:30", "12:00")];
    config.hours[1].breaks = vec![pause("22:00", "01:59")];
    let faults: Vec<_> = compile(&config).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "s.hours[0].breaks = 09:00-10:30, 10:30-12:00: leave nothing of the opening; shorten them, or leave \
          the opening out"
        ]
    );
}

#[test]
fn a_fault_of_hours_is_told_alone() {
    let paths = |config: &ScheduleConfig| -> Vec<_> {
        compile(config).unwrap_err().into_iter().map(|fault| fault.path).collect()
    };
    let mut config = hours("UTC", &[(Day::Mon, "09:00", "12:00")]);
    config.hours[0].breaks = vec![BreakConfig { start: "09:00".into(), end: "13:00".into() }];
    assert_eq!(paths(&config), ["s.hours[0].breaks[0]"]);
    // The longest opening may be the one that cannot be read.
    let config = hours("UTC", &[(Day::Mon, "9:00", "18:00"), (Day::Sat, "10:00", "10:30")]);
    let config = ScheduleConfig { stop_before_close_s: 3_600, ..config };
    assert_eq!(paths(&config), ["s.hours[0].open"]);
}

#[test]
fn what_stops_before_any_opening_closes_has_to_leave_some_of_it() {
    let told = |stop_before_close_s, config: ScheduleConfig| {
        let faults = compile(&ScheduleConfig { stop_before_close_s, ..config }).err();
        faults.map(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    let nine_to = |close: &str| hours("UTC", &[(Day::Mon, "09:00", close)]);
    assert_eq!(told(3_599, nine_to("10:00")), None);
    assert_eq!(
        told(3_600, nine_to("10:00")).unwrap(),
        "s.stop_before_close_s = 3600: leaves nothing of the week: it is open for 3600 s in a row \
         at most, and no call comes in the last 3600 s; write less than 3600"
    );
    // Openings that touch are one, over the end of the week, too.
    let touching = [(Day::Sun, "20:00", "24:00"), (Day::Mon, "00:00", "03:00")];
    assert_eq!(told(7 * 3_600 - 1, hours("UTC", &touching)), None);
    assert!(told(7 * 3_600, hours("UTC", &touching)).is_some());
    let paused = |start: &str, end: &str| {
        let mut config = nine_to("12:00");
        config.hours[0].breaks = vec![BreakConfig { start: start.into(), end: end.into() }];
        config
    };
    assert!(told(2 * 3_600, paused("10:00", "11:00")).is_some());
    assert_eq!(told(3_600, paused("11:00", "11:30")), None);
    // A day of its own may be longer, and what never closes has no end to stop before.
    let longer = vec![exception("2026-12-24", "08:00", "14:00")];
    assert_eq!(told(3_600, ScheduleConfig { exceptions: longer, ..nine_to("10:00") }), None);
    let whole = WEEK.map(|day| (day, "00:00", "24:00"));
    assert_eq!(told(86_400, hours("UTC", &whole)), None);
    assert_eq!(told(86_400, ScheduleConfig { always_open: true, ..hours("UTC", &[]) }), None);
}

/// Tuesdays from 09:00 to 18:00 in New York, with a lunch break.
fn office() -> Schedule {
    compile(&office_config()).unwrap()
}

fn office_config() -> ScheduleConfig {
    let mut config =
        hours("America/New_York", &[(Day::Tue, "09:00", "18:00"), (Day::Fri, "09:00", "18:00")]);
    config.hours[0].breaks = vec![BreakConfig { start: "12:00".into(), end: "12:30".into() }];
    config.holidays = vec!["2026-12-25".into()];
    config.stop_before_close_s = 120;
    config
}

fn hours(zone: &str, hours: &[(Day, &str, &str)]) -> ScheduleConfig {
    let hours = hours.iter().map(|&(day, open, close)| HoursConfig {
        day,
        open: open.into(),
        close: close.into(),
        breaks: vec![],
    });
    ScheduleConfig {
        id: SmolStr::default(),
        time_zone: Some(zone.into()),
        always_open: false,
        hours: hours.collect(),
        holidays: vec![],
        exceptions: vec![],
        stop_before_close_s: 0,
    }
}

fn exception(date: &str, open: &str, close: &str) -> ExceptionConfig {
    ExceptionConfig { date: date.into(), open: open.into(), close: close.into() }
}

fn compile(config: &ScheduleConfig) -> Result<Schedule, Vec<ConfigFault>> {
    let mut faults = vec![];
    match Schedule::compile(config, "s", &TimeZone::UTC, &mut faults) {
        Some((schedule, contradictions)) if contradictions.is_empty() => Ok(schedule),
        Some((_, contradictions)) => Err(contradictions),
        None => Err(faults),
    }
}

fn refusal(schedule: &Schedule, at: &str) -> Option<Reason> {
    schedule.check(wall(at)).err().map(|closed| closed.reason)
}

fn wall(at: &str) -> Wall {
    Wall(at.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

//! When a target takes calls.
//!
//! A target is open when the clock on the wall in its zone says so. An opening inside the hour
//! that a clock change skips begins when the clock is put forward; one inside the hour that is
//! repeated takes place twice.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::reason::Reason;
use crate::time::Wall;

use super::config::{ConfigFault, Day, ScheduleConfig};
use super::window::timestamp;

const DAY_S: u32 = 86_400;
const WEEK_S: u32 = 7 * DAY_S;

/// Hours, holidays and the zone they are meant in.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    /// Openings in seconds since Monday 00:00, ascending, neither touching nor overlapping. The
    /// last may reach past the end of the week. One of a whole week means always open.
    openings: Vec<Opening>,
    holidays: Vec<Date>,
    stop_before_close_s: u32,
}

/// Why a target is closed, as facts for the explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub reason: Reason,
    /// Local time, such as `Sun 19:04 America/New_York`.
    pub have: SmolStr,
    /// What the schedule says about it, such as `opens Mon 09:00`.
    pub want: SmolStr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Opening {
    from: u32,
    to: u32,
}

impl Schedule {
    /// `path` is where the schedule stands, for the faults.
    pub(super) fn compile(
        config: &ScheduleConfig,
        path: &str,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Self> {
        let before = faults.len();
        let mut fault = |field: &str, value: &str, problem: &str, remedy: &str| {
            faults.push(ConfigFault {
                path: format!("{path}.{field}"),
                value: value.to_owned(),
                problem: problem.to_owned(),
                remedy: remedy.to_owned(),
            });
        };

        let zone = bundled_zone(&config.time_zone);
        if zone.is_none() {
            fault(
                "time_zone",
                &config.time_zone,
                "is no known time zone",
                "write an IANA name such as America/New_York",
            );
        }
        let mut holidays = vec![];
        for (index, text) in config.holidays.iter().enumerate() {
            match text.parse() {
                Ok(date) => holidays.push(date),
                Err(_) => fault(
                    &format!("holidays[{index}]"),
                    text,
                    "is no date",
                    "write it as YYYY-MM-DD, such as 2026-12-25",
                ),
            }
        }
        holidays.sort_unstable();
        if config.stop_before_close_s > DAY_S {
            fault(
                "stop_before_close_s",
                &config.stop_before_close_s.to_string(),
                "is more than a day",
                "write at most 86400",
            );
        }
        match (config.always_open, config.hours.is_empty()) {
            (true, false) => {
                fault("always_open", "true", "contradicts `hours`", "leave out one of the two")
            }
            (false, true) => fault(
                "hours",
                "[]",
                "leaves the target closed for ever",
                "add hours, or write always_open = true",
            ),
            (true, true) | (false, false) => {}
        }
        let openings = if config.always_open {
            vec![Opening { from: 0, to: WEEK_S }]
        } else {
            openings(config, &mut fault)
        };
        let zone = zone.filter(|_| faults.len() == before)?;
        let stop_before_close_s = config.stop_before_close_s;
        Some(Self { zone, openings, holidays, stop_before_close_s })
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether the target takes calls at `at`.
    pub fn check(&self, at: Wall) -> Result<(), Closed> {
        let local = self.local(at);
        let have = || {
            let zone = self.zone.iana_name().unwrap_or("UTC");
            format_smolstr!("{} {zone}", clock(second_of_week(local)))
        };
        let closed = |reason, want| Err(Closed { reason, have: have(), want });
        if self.is_holiday(local) {
            return closed(Reason::ScheduleHoliday, format_smolstr!("closed on {}", local.date()));
        }
        let now = second_of_week(local);
        let Some(left_s) = self.open_for(now) else {
            return closed(Reason::ScheduleClosed, self.next_opening(now));
        };
        // The first catches a short break, the second a clock change or a holiday at midnight.
        let stop_s = self.stop_before_close_s;
        let soon = self.local(Wall(at.0.saturating_add(i64::from(stop_s) * 1_000)));
        let closes_by_then = self.is_holiday(soon) || self.open_for(second_of_week(soon)).is_none();
        if left_s <= stop_s || closes_by_then {
            return closed(
                Reason::ScheduleClosingSoon,
                format_smolstr!("closes within {stop_s} s"),
            );
        }
        Ok(())
    }

    /// For how many seconds on the clock it is open from `from` to `to`.
    pub(super) fn open_s(&self, from: Wall, to: Wall) -> u64 {
        let (from, to) = (self.local(from), self.local(to));
        let (mut open, mut day) = (0, from.date());
        while day <= to.date() {
            if self.holidays.binary_search(&day).is_err() {
                let begins = if day == from.date() { second_of_week(from) % DAY_S } else { 0 };
                let ends = if day == to.date() { second_of_week(to) % DAY_S } else { DAY_S };
                open += u64::from(self.open_within(day, begins, ends));
            }
            let Ok(next) = day.tomorrow() else { break };
            day = next;
        }
        open
    }

    /// Seconds of a day, from one second of it to another, in which it is open.
    fn open_within(&self, day: Date, begins: u32, ends: u32) -> u32 {
        let midnight = second_of_week(day.at(0, 0, 0, 0));
        let (begins, ends) = (midnight + begins, midnight + ends);
        // That of the end of last week may reach over.
        let last_week = self.openings.last().filter(|last| last.to > WEEK_S);
        let last_week = last_week.map(|last| Opening { from: 0, to: last.to - WEEK_S });
        let openings = last_week.iter().chain(&self.openings);
        openings.map(|it| it.to.min(ends).saturating_sub(it.from.max(begins))).sum()
    }

    fn local(&self, at: Wall) -> DateTime {
        self.zone.to_datetime(timestamp(at))
    }

    fn is_holiday(&self, local: DateTime) -> bool {
        self.holidays.binary_search(&local.date()).is_ok()
    }

    /// Seconds on the clock until it closes; `None` if it is closed.
    fn open_for(&self, now: u32) -> Option<u32> {
        // `now + WEEK_S` finds the opening that reaches over from the end of last week.
        [now, now + WEEK_S].into_iter().find_map(|now| {
            let after = self.openings.partition_point(|opening| opening.from <= now);
            let opening = self.openings.get(after.checked_sub(1)?)?;
            let always = opening.to - opening.from >= WEEK_S;
            if always { Some(u32::MAX) } else { opening.to.checked_sub(now).filter(|s| *s > 0) }
        })
    }

    fn next_opening(&self, now: u32) -> SmolStr {
        let after = self.openings.partition_point(|opening| opening.from <= now);
        match self.openings.get(after).or_else(|| self.openings.first()) {
            Some(opening) => format_smolstr!("opens {}", clock(opening.from)),
            None => "opens never".to_smolstr(),
        }
    }
}

/// A zone by its IANA name, from the data in the binary: the same everywhere, and without I/O.
pub fn bundled_zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// All openings less their breaks, joined where they touch.
fn openings(
    config: &ScheduleConfig,
    fault: &mut impl FnMut(&str, &str, &str, &str),
) -> Vec<Opening> {
    let mut all = vec![];
    for (index, hours) in config.hours.iter().enumerate() {
        let mut read = |field: String, text: &str| {
            let time = second_of_day(text);
            if time.is_none() {
                fault(&field, text, "is no time of day", "write it as HH:MM, 00:00 to 24:00");
            }
            time
        };
        let open = read(format!("hours[{index}].open"), &hours.open);
        let close = read(format!("hours[{index}].close"), &hours.close);
        let breaks: Vec<_> = hours
            .breaks
            .iter()
            .enumerate()
            .map(|(n, pause)| {
                let start = read(format!("hours[{index}].breaks[{n}].start"), &pause.start);
                let end = read(format!("hours[{index}].breaks[{n}].end"), &pause.end);
                (n, start, end)
            })
            .collect();
        let (Some(open), Some(close)) = (open, close) else { continue };
        let day = hours.day.index() * DAY_S;
        let to = if close <= open { close + DAY_S } else { close };
        let mut rest = vec![Opening { from: day + open, to: day + to }];
        for (n, start, end) in breaks {
            let (Some(start), Some(end)) = (start, end) else { continue };
            // A time before the opening is meant on the next day.
            let start = if start < open { start + DAY_S } else { start };
            let end = if end <= start { end + DAY_S } else { end };
            if end > to {
                fault(
                    &format!("hours[{index}].breaks[{n}]"),
                    &format!("{}-{}", hours.breaks[n].start, hours.breaks[n].end),
                    "is not within the opening",
                    "let it begin and end between `open` and `close`",
                );
            }
            rest = rest.into_iter().flat_map(|o| o.without(day + start, day + end)).collect();
        }
        all.extend(rest);
    }
    joined(all)
}

impl Opening {
    fn without(self, start: u32, end: u32) -> impl Iterator<Item = Self> {
        [
            Self { from: self.from, to: self.to.min(start) },
            Self { from: self.from.max(end), to: self.to },
        ]
        .into_iter()
        .filter(|part| part.from < part.to)
    }
}

fn joined(mut all: Vec<Opening>) -> Vec<Opening> {
    all.sort_unstable();
    let mut joined: Vec<Opening> = vec![];
    for opening in all {
        match joined.last_mut() {
            Some(last) if opening.from <= last.to => last.to = last.to.max(opening.to),
            _ => joined.push(opening),
        }
    }
    // What reaches into the next week swallows the openings it meets at the week's beginning.
    while let [first, .., last] = joined.as_mut_slice()
        && first.from + WEEK_S <= last.to
    {
        last.to = last.to.max(first.to + WEEK_S);
        joined.remove(0);
    }
    if let [only] = joined.as_mut_slice()
        && only.to - only.from >= WEEK_S
    {
        *only = Opening { from: 0, to: WEEK_S };
    }
    joined
}

impl Day {
    /// Days since Monday.
    fn index(self) -> u32 {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }
}

fn second_of_week(local: DateTime) -> u32 {
    let time: Time = local.time();
    let day = u32::from(local.date().weekday().to_monday_zero_offset().unsigned_abs());
    let [hour, minute, second] =
        [time.hour(), time.minute(), time.second()].map(|n| u32::from(n.unsigned_abs()));
    day * DAY_S + hour * 3_600 + minute * 60 + second
}

/// `HH:MM` as seconds since midnight; `24:00` is the end of the day.
fn second_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    let valid = minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
    valid.then_some(hour * 3_600 + minute * 60)
}

/// `Tue 09:00`.
fn clock(second_of_week: u32) -> SmolStr {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let second = second_of_week % WEEK_S;
    let day = DAYS[(second / DAY_S) as usize];
    format_smolstr!("{day} {:02}:{:02}", second / 3_600 % 24, second / 60 % 60)
}

#[cfg(test)]
mod tests {
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
        let schedule =
            compile(&hours("America/New_York", &[(Day::Sun, "02:30", "04:00")])).unwrap();
        assert_eq!(refusal(&schedule, "2026-03-08T06:59:59Z"), Some(Reason::ScheduleClosed));
        assert_eq!(refusal(&schedule, "2026-03-08T07:00:00Z"), None);
        assert_eq!(refusal(&schedule, "2026-03-08T07:59:59Z"), None);
        assert_eq!(refusal(&schedule, "2026-03-08T08:00:00Z"), Some(Reason::ScheduleClosed));
    }

    #[test]
    fn the_hour_that_is_repeated_counts_twice() {
        // 2026-11-01 02:00 EDT becomes 01:00 EST at 06:00Z.
        let schedule =
            compile(&hours("America/New_York", &[(Day::Sun, "00:00", "02:00")])).unwrap();
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
        let mut config =
            hours("UTC", &[(Day::Mon, "09:00", "24:00"), (Day::Tue, "00:00", "06:00")]);
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
        assert_eq!(schedule.openings, [Opening { from: 0, to: WEEK_S }]);
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
        let paths: Vec<_> =
            compile(&config).unwrap_err().into_iter().map(|fault| fault.path).collect();
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

    /// Tuesdays from 09:00 to 18:00 in New York, with a lunch break.
    fn office() -> Schedule {
        compile(&office_config()).unwrap()
    }

    fn office_config() -> ScheduleConfig {
        let mut config = hours(
            "America/New_York",
            &[(Day::Tue, "09:00", "18:00"), (Day::Fri, "09:00", "18:00")],
        );
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
            time_zone: zone.into(),
            always_open: false,
            hours: hours.collect(),
            holidays: vec![],
            stop_before_close_s: 0,
        }
    }

    fn compile(config: &ScheduleConfig) -> Result<Schedule, Vec<ConfigFault>> {
        let mut faults = vec![];
        let schedule = Schedule::compile(config, "s", &mut faults);
        schedule.ok_or(faults)
    }

    fn refusal(schedule: &Schedule, at: &str) -> Option<Reason> {
        schedule.check(wall(at)).err().map(|closed| closed.reason)
    }

    fn wall(at: &str) -> Wall {
        Wall(at.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }
}

//! When a target takes calls.
//!
//! A target is open when the clock on the wall in its zone says so. An opening inside the hour
//! that a clock change skips begins when the clock is put forward; one inside the hour that is
//! repeated takes place twice.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::reason::Reason;
use crate::time::Wall;

use super::config::{ConfigFault, Day, ExceptionConfig, ScheduleConfig};
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
    /// Openings of single days, in seconds since midnight, ascending.
    exceptions: BTreeMap<Date, Vec<Opening>>,
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
        let exceptions = exceptions(config, &holidays, &mut fault);
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
        Some(Self { zone, openings, holidays, exceptions, stop_before_close_s })
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
        let Some(left_s) = self.open_at(local) else {
            return closed(Reason::ScheduleClosed, self.next_opening(local));
        };
        // The first catches a short break, the second a clock change, or a day with hours of its own.
        let stop_s = self.stop_before_close_s;
        let soon = self.local(Wall(at.0.saturating_add(i64::from(stop_s) * 1_000)));
        let breaks_off = left_s <= stop_s && self.is_shut(local.saturating_add(seconds(left_s)));
        if breaks_off || self.is_shut(soon) {
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
        if let Some(openings) = self.exceptions.get(&day) {
            let within = |it: &Opening| it.to.min(ends).saturating_sub(it.from.max(begins));
            return openings.iter().map(within).sum();
        }
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

    fn is_shut(&self, local: DateTime) -> bool {
        self.is_holiday(local) || self.open_at(local).is_none()
    }

    /// Seconds on the clock until the opening ends, holidays aside; `None` if it is closed.
    fn open_at(&self, local: DateTime) -> Option<u32> {
        let now = second_of_week(local);
        match self.exceptions.get(&local.date()) {
            None => self.open_for(now),
            Some(openings) => {
                let now = now % DAY_S;
                openings.iter().find(|it| it.from <= now && now < it.to).map(|it| it.to - now)
            }
        }
    }

    /// The same by the week alone.
    fn open_for(&self, now: u32) -> Option<u32> {
        // `now + WEEK_S` finds the opening that reaches over from the end of last week.
        [now, now + WEEK_S].into_iter().find_map(|now| {
            let after = self.openings.partition_point(|opening| opening.from <= now);
            let opening = self.openings.get(after.checked_sub(1)?)?;
            let always = opening.to - opening.from >= WEEK_S;
            if always { Some(u32::MAX) } else { opening.to.checked_sub(now).filter(|s| *s > 0) }
        })
    }

    fn next_opening(&self, local: DateTime) -> SmolStr {
        let now = second_of_week(local);
        if let Some(openings) = self.exceptions.get(&local.date()) {
            let later = openings.iter().find(|it| it.from > now % DAY_S);
            let today = now - now % DAY_S;
            return match later {
                Some(opening) => format_smolstr!("opens {}", clock(today + opening.from)),
                None => format_smolstr!("closed for the rest of {}", local.date()),
            };
        }
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

/// The openings of days that have their own.
fn exceptions(
    config: &ScheduleConfig,
    holidays: &[Date],
    fault: &mut impl FnMut(&str, &str, &str, &str),
) -> BTreeMap<Date, Vec<Opening>> {
    let mut exceptions: BTreeMap<Date, Vec<Opening>> = BTreeMap::new();
    for (index, exception) in config.exceptions.iter().enumerate() {
        let ExceptionConfig { date, open, close } = exception;
        let path = |field: &str| format!("exceptions[{index}].{field}");
        let day: Option<Date> = date.parse().ok();
        match day {
            None => fault(
                &path("date"),
                date,
                "is no date",
                "write it as YYYY-MM-DD, such as 2026-11-27",
            ),
            Some(day) if holidays.contains(&day) => {
                fault(&path("date"), date, "is a holiday, too", "keep one of the two");
            }
            Some(_) => {}
        }
        let mut read = |field: &str, text: &str| {
            let time = second_of_day(text);
            if time.is_none() {
                let remedy = "write it as HH:MM, 00:00 to 24:00";
                fault(&path(field), text, "is no time of day", remedy);
            }
            time
        };
        let (open, close) = (read("open", open), read("close", close));
        let (Some(day), Some(from), Some(to)) = (day, open, close) else { continue };
        if to <= from {
            let remedy =
                "write a later time up to 24:00, and what follows with the next day's date";
            fault(&path("close"), &exception.close, "is not after `open`", remedy);
            continue;
        }
        let openings = exceptions.entry(day).or_default();
        if openings.iter().any(|it| it.from < to && from < it.to) {
            let shown = format!("{}-{}", exception.open, exception.close);
            let problem = "overlaps another opening of the same day";
            fault(&format!("exceptions[{index}]"), &shown, problem, "join the two");
        }
        openings.push(Opening { from, to });
    }
    exceptions.values_mut().for_each(|openings| openings.sort_unstable());
    exceptions
}

/// All openings less their breaks, joined where they touch.
fn openings(
    config: &ScheduleConfig,
    fault: &mut impl FnMut(&str, &str, &str, &str),
) -> Vec<Opening> {
    let mut all = vec![];
    let mut whole: Vec<(usize, Opening)> = vec![];
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
        let opening = Opening { from: day + open, to: day + to };
        if let Some((other, _)) = whole.iter().find(|(_, it)| it.overlaps(opening)) {
            let shown = format!("{}-{}", hours.open, hours.close);
            let problem = format!("overlaps hours[{other}]");
            fault(
                &format!("hours[{index}]"),
                &shown,
                &problem,
                "let each hour stand in one of them",
            );
        }
        whole.push((index, opening));
        let mut rest = vec![opening];
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
    /// Whether they share a second of the week.
    fn overlaps(self, other: Self) -> bool {
        [0, WEEK_S].into_iter().any(|shift| {
            let meets = |a: Self, b: Self| a.from + shift < b.to && b.from < a.to + shift;
            meets(self, other) || meets(other, self)
        })
    }

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

fn seconds(count: u32) -> jiff::Span {
    jiff::Span::new().seconds(i64::from(count.min(2 * WEEK_S)))
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
    fn a_day_may_have_hours_of_its_own() {
        let mut config =
            hours("UTC", &[(Day::Thu, "20:00", "02:00"), (Day::Fri, "09:00", "17:00")]);
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
        assert_eq!(want("2026-11-28T01:30:00Z"), "closed for the rest of 2026-11-28");
        let open = schedule.open_s(wall("2026-11-27T00:00:00Z"), wall("2026-11-28T00:00:00Z"));
        assert_eq!(open, 13 * 3_600);
    }

    #[test]
    fn hours_that_overlap_are_a_fault_of_their_own() {
        let overlapping = hours(
            "UTC",
            &[
                (Day::Sun, "20:00", "03:00"),
                (Day::Mon, "02:00", "05:00"),
                (Day::Mon, "05:00", "06:00"),
            ],
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
            exceptions: vec![],
            stop_before_close_s: 0,
        }
    }

    fn exception(date: &str, open: &str, close: &str) -> ExceptionConfig {
        ExceptionConfig { date: date.into(), open: open.into(), close: close.into() }
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

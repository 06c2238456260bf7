//! When a target takes calls.
//!
//! A target is open when the clock on the wall in its zone says so. An opening inside the hour
//! that a clock change skips begins when the clock is put forward; one inside the hour that is
//! repeated takes place twice.

use std::collections::BTreeMap;

use jiff::ToSpan;
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
    /// `path` is where the schedule stands, for the faults; `zone` is that of one that says none.
    pub(super) fn compile(
        config: &ScheduleConfig,
        path: &str,
        zone: &TimeZone,
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

        let zone = match &config.time_zone {
            None => Some(zone.clone()),
            Some(name) => {
                let zone = bundled_zone(name);
                if zone.is_none() {
                    let remedy = "write an IANA name such as America/New_York";
                    fault("time_zone", name, "is no known time zone", remedy);
                }
                zone
            }
        };
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
        holidays.dedup();
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
        let have = || format_smolstr!("{} {}", clock(second_of_week(local)), zone_name(&self.zone));
        let closed = |reason, want| Err(Closed { reason, have: have(), want });
        if self.is_holiday(local) {
            return closed(Reason::ScheduleHoliday, format_smolstr!("closed on {}", local.date()));
        }
        let Some(left_s) = self.open_at(local) else {
            return closed(Reason::ScheduleClosed, self.next_opening(local));
        };
        if self.stop_before_close_s == 0 {
            return Ok(());
        }
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
    ///
    /// A window may be ten years long, and each candidate with such a cap asks: whole weeks are not
    /// walked over.
    pub(super) fn open_s(&self, from: Wall, to: Wall) -> u64 {
        let (from, to) = (self.local(from), self.local(to));
        let (first, last) = (from.date(), to.date());
        let (begins, ends) = (second_of_week(from) % DAY_S, second_of_week(to) % DAY_S);
        if first >= last {
            return if first == last { self.open_within(first, begins, ends).into() } else { 0 };
        }
        let between = first.tomorrow().map_or(0, |second| self.open_on_days(second, last));
        u64::from(self.open_within(first, begins, DAY_S))
            + between
            + u64::from(self.open_within(last, 0, ends))
    }

    /// Seconds of whole days in which it is open, without the last.
    fn open_on_days(&self, first: Date, last: Date) -> u64 {
        let days = first.until(last).map_or(0, |it| u32::try_from(it.get_days()).unwrap_or(0));
        let by_week = |day: Date| u64::from(self.open_by_week(day, 0, DAY_S));
        let week = || first.series(1.day()).take(7).map(by_week);
        let rest = usize::try_from(days % 7).unwrap_or(0);
        let open = u64::from(days / 7) * week().sum::<u64>() + week().take(rest).sum::<u64>();
        // Days that are unlike others.
        let in_range = |day: &&Date| (first..last).contains(*day);
        let holidays = self.holidays.iter().filter(in_range);
        let closed: u64 = holidays.map(|day| by_week(*day)).sum();
        let exceptions = self.exceptions.range(first..last).map(|(day, _)| *day);
        let (less, more) = exceptions.fold((0, 0), |(less, more), day| {
            (less + by_week(day), more + u64::from(self.open_within(day, 0, DAY_S)))
        });
        open + more - closed - less
    }

    /// Seconds of a day, from one second of it to another, in which it is open.
    fn open_within(&self, day: Date, begins: u32, ends: u32) -> u32 {
        if self.holidays.binary_search(&day).is_ok() {
            return 0;
        }
        if let Some(openings) = self.exceptions.get(&day) {
            let within = |it: &Opening| it.to.min(ends).saturating_sub(it.from.max(begins));
            return openings.iter().map(within).sum();
        }
        self.open_by_week(day, begins, ends)
    }

    /// The same by the week alone.
    fn open_by_week(&self, day: Date, begins: u32, ends: u32) -> u32 {
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

/// The name of a zone that came by one.
pub(super) fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
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
mod tests;

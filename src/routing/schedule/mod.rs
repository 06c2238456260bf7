//! When a target takes calls.
//!
//! A target is open when the clock on the wall in its zone says so. An opening inside the hour
//! that a clock change skips begins when the clock is put forward; one inside the hour that is
//! repeated takes place twice.
//!
//! What reaches over midnight belongs to the day on which it began: there is none of it if that day is a
//! holiday or has hours of its own, or if the day it reaches into is or has.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use smol_str::{SmolStr, format_smolstr};

use crate::reason::Reason;
use crate::time::Wall;

use super::config::{BreakConfig, ConfigFault, Day, ExceptionConfig, ScheduleConfig};
use super::window::timestamp;

const DAY_S: u32 = 86_400;
const WEEK_S: u32 = 7 * DAY_S;
/// How far the next opening is looked for.
const AHEAD_DAYS: usize = 31;

/// Hours, holidays and the zone they are meant in.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    /// By the day of the week, Monday first.
    week: [DayHours; 7],
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

/// The openings that begin on a day, ascending, in seconds since a midnight: the parts before the next
/// midnight, and those after it.
#[derive(Clone, Debug, Default, PartialEq)]
struct DayHours {
    own: Vec<Opening>,
    over: Vec<Opening>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Opening {
    from: u32,
    to: u32,
}

impl Schedule {
    /// `path` is where the schedule stands, for the faults; `zone` is that of one that says none. With it,
    /// what is sound in each part and not together.
    pub(super) fn compile(
        config: &ScheduleConfig,
        path: &str,
        zone: &TimeZone,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<(Self, Vec<ConfigFault>)> {
        let before = faults.len();
        let at = |field: &str, value: &str, problem: &str, remedy: &str| ConfigFault {
            path: format!("{path}.{field}"),
            value: value.to_owned(),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        };
        let mut fault = |field: &str, value: &str, problem: &str, remedy: &str| {
            faults.push(at(field, value, problem, remedy));
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
        let (week, idle) = if config.always_open {
            let all_day = DayHours { own: vec![Opening { from: 0, to: DAY_S }], over: vec![] };
            (std::array::from_fn(|_| all_day.clone()), vec![])
        } else {
            week(config, &mut fault)
        };
        let zone = zone.filter(|_| faults.len() == before)?;
        let stop_s = config.stop_before_close_s;
        let all_breaks = idle.into_iter().map(|index| {
            let shown = |it: &BreakConfig| format!("{}-{}", it.start, it.end);
            let breaks: Vec<_> = config.hours[index].breaks.iter().map(shown).collect();
            let (field, problem) =
                (format!("hours[{index}].breaks"), "leave nothing of the opening");
            at(&field, &breaks.join(", "), problem, "shorten them, or leave the opening out")
        });
        // On days of their own it may be open for longer.
        let longest = longest(&week).filter(|it| *it <= stop_s && exceptions.is_empty());
        let never = longest.map(|longest| {
            let problem = format!(
                "leaves nothing of the week: it is open for {longest} s in a row at most, and no call \
                 comes in the last {stop_s} s"
            );
            let remedy = format!("write less than {longest}");
            at("stop_before_close_s", &stop_s.to_string(), &problem, &remedy)
        });
        let contradictions = all_breaks.chain(never).collect();
        let schedule = Self { zone, week, holidays, exceptions, stop_before_close_s: stop_s };
        Some((schedule, contradictions))
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether the target takes calls at `at`.
    pub fn check(&self, at: Wall) -> Result<(), Closed> {
        let local = self.local(at);
        let have = || format_smolstr!("{} {}", clock(second_of_week(local)), zone_name(&self.zone));
        let closed = |reason, want| Err(Closed { reason, have: have(), want });
        if self.is_holiday(local.date()) {
            return closed(Reason::ScheduleHoliday, format_smolstr!("closed on {}", local.date()));
        }
        let stop_s = self.stop_before_close_s;
        let Some(left_s) = self.open_for(local, stop_s) else {
            return closed(Reason::ScheduleClosed, self.next_opening(local));
        };
        if stop_s == 0 {
            return Ok(());
        }
        // The second catches a clock change.
        let soon = self.local(Wall(at.0.saturating_add(i64::from(stop_s) * 1_000)));
        if left_s <= stop_s || self.is_shut(soon) {
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
        let (begins, ends) = (second_of_day(from), second_of_day(to));
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
        let week = || first.series(1.day()).take(7).map(|day| self.open_by_week(day));
        let rest = usize::try_from(days % 7).unwrap_or(0);
        let open = u64::from(days / 7) * week().sum::<u64>() + week().take(rest).sum::<u64>();
        // Days that are unlike others, and the next: nothing reaches over into it.
        let before = first.yesterday().unwrap_or(first);
        let is_near = |day: &Date| (before..last).contains(day);
        let holidays = self.holidays.iter().copied().filter(is_near);
        let unlike = holidays.chain(self.exceptions.range(before..last).map(|(day, _)| *day));
        let next = |day: Date| day.tomorrow().ok().filter(|next| !self.is_unlike(*next));
        let (less, more) = unlike
            .flat_map(|day| [Some(day), next(day)])
            .flatten()
            .filter(|day| (first..last).contains(day))
            .fold((0, 0), |(less, more), day| {
                let truly = self.open_within(day, 0, DAY_S);
                (less + self.open_by_week(day), more + u64::from(truly))
            });
        open + more - less
    }

    /// Seconds of a day, from one second of it to another, in which it is open.
    fn open_within(&self, day: Date, begins: u32, ends: u32) -> u32 {
        let within = |it: Opening| it.to.min(ends).saturating_sub(it.from.max(begins));
        self.openings(day).map(within).sum()
    }

    /// Seconds of a day in which it is open if neither it nor the day before is unlike others.
    fn open_by_week(&self, day: Date) -> u64 {
        let before = day.yesterday().map_or(&[][..], |before| &self.of_week(before).over);
        let openings = before.iter().chain(&self.of_week(day).own);
        openings.map(|it| u64::from(it.to - it.from)).sum()
    }

    fn local(&self, at: Wall) -> DateTime {
        self.zone.to_datetime(timestamp(at))
    }

    fn is_holiday(&self, day: Date) -> bool {
        self.holidays.binary_search(&day).is_ok()
    }

    /// Whether the week does not say when it is open on that day.
    fn is_unlike(&self, day: Date) -> bool {
        self.is_holiday(day) || self.exceptions.contains_key(&day)
    }

    fn of_week(&self, day: Date) -> &DayHours {
        &self.week[usize::from(day.weekday().to_monday_zero_offset().unsigned_abs())]
    }

    /// The openings of a day in seconds since its midnight, ascending.
    fn openings(&self, day: Date) -> impl Iterator<Item = Opening> {
        let (reaching, own): (&[Opening], &[Opening]) = match self.exceptions.get(&day) {
            Some(openings) => (&[], openings),
            None if self.is_holiday(day) => (&[], &[]),
            None => (self.reaching_into(day), &self.of_week(day).own),
        };
        reaching.iter().chain(own).copied()
    }

    /// What of the openings of the day before reaches into a day.
    fn reaching_into(&self, day: Date) -> &[Opening] {
        let Ok(before) = day.yesterday() else { return &[] };
        let over = &self.of_week(before).over;
        if over.is_empty() || self.is_unlike(before) { &[] } else { over }
    }

    fn is_shut(&self, local: DateTime) -> bool {
        self.closes(local.date(), second_of_day(local)).is_none()
    }

    /// When on that day what is open at this second of it closes; `None`: nothing is.
    fn closes(&self, day: Date, second: u32) -> Option<u32> {
        // Those that touch are one.
        let mut closes = None;
        for it in self.openings(day) {
            let open_until = closes.unwrap_or(second);
            if it.from <= open_until && open_until < it.to {
                closes = Some(it.to);
            }
        }
        closes
    }

    /// Seconds on the clock until it closes, more than `most` if that is not sooner; `None`: it is closed.
    fn open_for(&self, local: DateTime, most: u32) -> Option<u32> {
        let (mut day, now) = (local.date(), second_of_day(local));
        let mut closes = self.closes(day, now)?;
        let mut left = closes - now;
        while closes == DAY_S && left <= most {
            let Ok(next) = day.tomorrow() else { break };
            day = next;
            let Some(then) = self.closes(day, 0) else { break };
            closes = then;
            left += closes;
        }
        Some(left)
    }

    /// The next that begins, with its date where the day of the week alone may be another.
    fn next_opening(&self, local: DateTime) -> SmolStr {
        let (today, now) = (local.date(), second_of_day(local));
        for (ahead, day) in today.series(1.day()).take(AHEAD_DAYS).enumerate() {
            let begins = |it: &Opening| ahead > 0 || it.from > now;
            let Some(opening) = self.openings(day).find(begins) else { continue };
            let midnight = second_of_week(day.at(0, 0, 0, 0));
            let clock = clock(midnight + opening.from);
            return match ahead {
                ..7 => format_smolstr!("opens {clock}"),
                _ => format_smolstr!("opens {clock} on {day}"),
            };
        }
        format_smolstr!("closed for {AHEAD_DAYS} days")
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
            let time = time_of_day(text);
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

/// All openings less their breaks, by the day on which they begin, and the places of those of which nothing
/// is left.
fn week(
    config: &ScheduleConfig,
    fault: &mut impl FnMut(&str, &str, &str, &str),
) -> ([DayHours; 7], Vec<usize>) {
    let mut week: [DayHours; 7] = Default::default();
    let mut idle = vec![];
    let mut whole: Vec<(usize, Opening)> = vec![];
    for (index, hours) in config.hours.iter().enumerate() {
        let mut read = |field: String, text: &str| {
            let time = time_of_day(text);
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
        let to = if close <= open { close + DAY_S } else { close };
        let of_day = Opening { from: open, to };
        let opening = of_day.later(hours.day.index() * DAY_S);
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
        let mut rest = vec![of_day];
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
            rest = rest.into_iter().flat_map(|it| it.without(start, end)).collect();
        }
        if rest.is_empty() {
            idle.push(index);
        }
        let day = &mut week[hours.day.index() as usize];
        for part in rest {
            day.own.extend(part.within(0, DAY_S));
            day.over.extend(part.within(DAY_S, 2 * DAY_S));
        }
    }
    for day in &mut week {
        day.own.sort_unstable();
        day.over.sort_unstable();
    }
    (week, idle)
}

/// For how many seconds of an ordinary week it is open in a row at most. `None`: it never closes.
fn longest(week: &[DayHours; 7]) -> Option<u32> {
    let days = (0..).step_by(DAY_S as usize).zip(week);
    let openings = days.flat_map(|(midnight, day)| {
        let own = day.own.iter().map(move |it| it.later(midnight));
        own.chain(day.over.iter().map(move |it| it.later(midnight + DAY_S)))
    });
    let mut openings: Vec<_> = openings.flat_map(|it| [it, it.later(WEEK_S)]).collect();
    openings.sort_unstable();
    let (mut longest, mut run) = (0, Opening { from: 0, to: 0 });
    for it in openings {
        // Those that touch are one.
        run = Opening { from: if it.from <= run.to { run.from } else { it.from }, ..it };
        longest = longest.max(run.to - run.from);
    }
    (longest < WEEK_S).then_some(longest)
}

impl Opening {
    /// Whether they share a second of the week.
    fn overlaps(self, other: Self) -> bool {
        [0, WEEK_S].into_iter().any(|shift| {
            let meets = |a: Self, b: Self| a.from + shift < b.to && b.from < a.to + shift;
            meets(self, other) || meets(other, self)
        })
    }

    fn later(self, by: u32) -> Self {
        Self { from: self.from + by, to: self.to + by }
    }

    /// What of it lies between two seconds, from the first of them on.
    fn within(self, start: u32, end: u32) -> Option<Self> {
        let (from, to) = (self.from.max(start), self.to.min(end));
        (from < to).then(|| Self { from: from - start, to: to - start })
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
    let day = u32::from(local.date().weekday().to_monday_zero_offset().unsigned_abs());
    day * DAY_S + second_of_day(local)
}

fn second_of_day(local: DateTime) -> u32 {
    let time: Time = local.time();
    let [hour, minute, second] =
        [time.hour(), time.minute(), time.second()].map(|n| u32::from(n.unsigned_abs()));
    hour * 3_600 + minute * 60 + second
}

/// `HH:MM` as seconds since midnight; `24:00` is the end of the day.
fn time_of_day(text: &str) -> Option<u32> {
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

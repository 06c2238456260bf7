//! Windows that begin and end when the configuration says.

use jiff::civil::{DateTime, Time};
use smol_str::{SmolStr, format_smolstr};

/// What the names of windows begin with that follow each other.
const EVERY: &str = "every:";
/// And of one that stands alone.
const PERIOD: &str = "period:";
/// Hours or days of a step at most: ten years.
const HOURS_MAX: u32 = 87_840;
const DAYS_MAX: u32 = 3_660;

/// Windows of one length, each beginning where the one before ends; one of them begins at `from`, by
/// the wall clock. Written `every:14d@2026-01-05T06:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Every {
    pub step: Step,
    pub from: DateTime,
}

/// How long a window is on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// 1 to 87,840.
    Hours(u32),
    /// 1 to 3,660.
    Days(u32),
}

/// A single window, by the wall clock, of ten years at most. Written `period:2026-11-23/2026-11-30T18:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    pub from: DateTime,
    /// It lasts until then; later than `from`.
    pub to: DateTime,
}

impl Every {
    /// Reads a name; `None`: it is no such window.
    pub fn read(window: &str) -> Option<Self> {
        let (step, from) = window.strip_prefix(EVERY)?.split_once('@')?;
        Some(Self { step: Step::read(step)?, from: read_minute(from)? })
    }

    /// Such as `every:14d@2026-01-05T06:00`.
    pub fn name(self) -> SmolStr {
        format_smolstr!("{EVERY}{}@{}", self.step.name(), minute(self.from))
    }
}

impl Step {
    /// Reads `14d` or `12h`.
    pub fn read(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = number.parse().ok().filter(|_| is_plain)?;
        match unit {
            "h" => (1..=HOURS_MAX).contains(&number).then_some(Self::Hours(number)),
            "d" => (1..=DAYS_MAX).contains(&number).then_some(Self::Days(number)),
            _ => None,
        }
    }

    /// Such as `14d`.
    pub fn name(self) -> SmolStr {
        match self {
            Self::Hours(hours) => format_smolstr!("{hours}h"),
            Self::Days(days) => format_smolstr!("{days}d"),
        }
    }

    /// On the clock.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Hours(hours) => i64::from(hours) * 3_600,
            Self::Days(days) => i64::from(days) * 86_400,
        }
    }
}

impl Period {
    /// Reads a name; `None`: it is no such window.
    pub fn read(window: &str) -> Option<Self> {
        Self::read_span(window.strip_prefix(PERIOD)?)
    }

    /// Reads `2026-11-23/2026-11-30T18:00`.
    pub fn read_span(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('/')?;
        let (from, to) = (read_minute(from)?, read_minute(to)?);
        let days = from.date().until(to.date()).ok()?.get_days();
        let is_short = u32::try_from(days).is_ok_and(|days| days <= DAYS_MAX);
        (from < to && is_short).then_some(Self { from, to })
    }

    /// Such as `period:2026-11-23/2026-11-30T18:00`.
    pub fn name(self) -> SmolStr {
        format_smolstr!("{PERIOD}{}", self.span())
    }

    /// Such as `2026-11-23/2026-11-30T18:00`.
    pub fn span(self) -> SmolStr {
        format_smolstr!("{}/{}", minute(self.from), minute(self.to))
    }
}

/// A minute as names have it: a midnight is a day.
pub fn minute(at: DateTime) -> SmolStr {
    match at.time() == Time::midnight() {
        true => format_smolstr!("{}", at.date()),
        false => format_smolstr!("{}T{:02}:{:02}", at.date(), at.hour(), at.minute()),
    }
}

/// Reads `2026-01-05` or `2026-01-05T06:00`, of years with four digits.
fn read_minute(text: &str) -> Option<DateTime> {
    let is_whole = matches!(text.len(), 10 | 16) && text.as_bytes()[0].is_ascii_digit();
    text.parse().ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_named_as_it_is_written_but_for_a_midnight() {
        for name in ["every:14d@2026-01-05T06:00", "every:12h@2026-01-05", "every:1h@1999-12-31"] {
            assert_eq!(Every::read(name).unwrap().name(), name);
        }
        for name in ["period:2026-11-23/2026-11-30T18:00", "period:2026-01-01/2027-01-01"] {
            assert_eq!(Period::read(name).unwrap().name(), name);
        }
        let same = Every::read("every:14d@2026-01-05T00:00").unwrap();
        assert_eq!(same.name(), "every:14d@2026-01-05");
        assert_eq!((Step::Hours(12).seconds(), Step::Days(2).seconds()), (43_200, 172_800));
    }

    #[test]
    fn what_is_no_length_or_no_minute_is_no_window() {
        for wrong in [
            "every:14d",
            "every:d@2026-01-05",
            "every:0d@2026-01-05",
            "every:+1d@2026-01-05",
            "every:3661d@2026-01-05",
            "every:87841h@2026-01-05",
            "every:2w@2026-01-05",
            "every:12\u{e9}@2026-01-05",
            "every:12h@2026-02-30",
            "every:12h@2026-01-05T06",
            "every:12h@2026-01-05T06:00:01",
            "every:12h@-2026-01-5",
        ] {
            assert_eq!(Every::read(wrong), None, "{wrong}");
        }
        for wrong in [
            "period:2026-11-30/2026-11-23",
            "period:2026-11-30/2026-11-30",
            "period:2026-11-30",
            "period:0001-01-01/9999-12-31",
            "period:2026-01-01/2036-01-11",
            "period:/2026-11-30",
        ] {
            assert_eq!(Period::read(wrong), None, "{wrong}");
        }
    }
}

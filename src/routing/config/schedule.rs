//! When targets take calls, as it is written.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// When a target takes calls. Times are those of a clock on the wall in `time_zone`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Of one in `schedules`, which others name.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    pub id: SmolStr,
    /// An IANA name such as `America/New_York`. Absent: the account's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    #[serde(default)]
    pub always_open: bool,
    #[serde(default)]
    pub hours: Vec<HoursConfig>,
    /// Dates (`2026-12-25`) closed from midnight to midnight, and beyond as far as openings that would have begun
    /// then reach over.
    #[serde(default)]
    pub holidays: Vec<String>,
    /// Days with hours of their own, in place of those of the week that begin on them, to their end, and of any
    /// that reach over from the day before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ExceptionConfig>,
    /// No call is offered when the target closes within this many seconds.
    #[serde(default)]
    pub stop_before_close_s: u32,
}

/// One opening. `close` may be `24:00`; at or before `open` it is on the next day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoursConfig {
    pub day: Day,
    /// `HH:MM`.
    pub open: String,
    pub close: String,
    #[serde(default)]
    pub breaks: Vec<BreakConfig>,
}

/// An opening of one day, `HH:MM` each; `close` may be `24:00`. A day may have several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionConfig {
    /// Such as `2026-11-27`.
    pub date: String,
    pub open: String,
    pub close: String,
}

/// A pause within an opening, `HH:MM` each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakConfig {
    pub start: String,
    pub end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

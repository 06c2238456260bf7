//! The span of time a cap counts in, by the wall clock of its owner's zone (spec/domain §2.6).

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::time::Wall;

use super::config::WindowKind;

/// One window, such as the 22nd of November 2026 in New York.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Such as `d:2026-11-22`. Hours and minutes carry the offset from UTC
    /// (`h:2026-11-01T01-04:00`), so that an hour the clock shows twice is two windows.
    pub id: SmolStr,
    /// When the next one begins; absent for all time.
    pub ends_at: Option<Wall>,
}

impl Window {
    /// The window in which `at` lies.
    pub fn of(kind: WindowKind, zone: &TimeZone, at: Wall) -> Self {
        let at = timestamp(at);
        let local = zone.to_datetime(at);
        let date = local.date();
        let ends = |next: Result<Date, jiff::Error>| next.ok().and_then(|d| midnight(zone, d));
        match kind {
            WindowKind::Minute => {
                let minute = format_smolstr!("{:02}:{:02}", local.hour(), local.minute());
                Self::within_day("i", &minute, 60, zone, at, local)
            }
            WindowKind::Hourly => {
                let hour = format_smolstr!("{:02}", local.hour());
                Self::within_day("h", &hour, 3_600, zone, at, local)
            }
            WindowKind::Daily => {
                Self { id: format_smolstr!("d:{date}"), ends_at: ends(date.tomorrow()) }
            }
            WindowKind::Weekly => {
                let week = date.iso_week_date();
                let days_left = 7 - i64::from(date.weekday().to_monday_zero_offset());
                Self {
                    id: format_smolstr!("w:{:04}-W{:02}", week.year(), week.week()),
                    ends_at: ends(date.checked_add(days_left.days())),
                }
            }
            WindowKind::Monthly => Self {
                id: format_smolstr!("m:{:04}-{:02}", date.year(), date.month()),
                ends_at: ends(date.first_of_month().checked_add(1.month())),
            },
            WindowKind::Yearly => Self {
                id: format_smolstr!("y:{:04}", date.year()),
                ends_at: ends(date.first_of_year().checked_add(1.year())),
            },
            WindowKind::Total => Self { id: "total".to_smolstr(), ends_at: None },
        }
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
        let next = on_the_clock - on_the_clock.rem_euclid(length_s) + length_s;
        let next = (next - i64::from(offset_s)) * 1_000;
        let clock_change = zone.following(at).next().map(|c| c.timestamp().as_millisecond());
        let ends_at = clock_change.map_or(next, |change| change.min(next));
        Self { id, ends_at: Some(Wall(ends_at)) }
    }
}

impl WindowKind {
    /// As in the configuration, such as `daily`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Total => "total",
        }
    }
}

/// The instant, clamped to the years -9999 to 9999.
pub(super) fn timestamp(at: Wall) -> Timestamp {
    let clamped = if at.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(at.0).unwrap_or(clamped)
}

/// When a day begins: midnight, or the first time the clock shows after it.
fn midnight(zone: &TimeZone, date: Date) -> Option<Wall> {
    let begins = zone.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(Wall(begins.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let before = Window::of(WindowKind::Hourly, &lord_howe, wall("2026-04-04T14:45:00Z"));
        let after = Window::of(WindowKind::Hourly, &lord_howe, wall("2026-04-04T15:10:00Z"));
        assert_eq!(before.id, "h:2026-04-05T01+11:00");
        assert_eq!(before.ends_at, Some(wall("2026-04-04T15:00:00Z")));
        assert_eq!(after.id, "h:2026-04-05T01+10:30");
        assert_eq!(after.ends_at, Some(wall("2026-04-04T15:30:00Z")));
    }

    #[test]
    fn all_time_never_ends() {
        let window = Window::of(WindowKind::Total, &TimeZone::UTC, Wall(i64::MAX));
        assert_eq!(window, Window { id: "total".into(), ends_at: None });
    }

    fn new_york(kind: WindowKind, at: &str) -> (String, String) {
        let zone = bundled_zone("America/New_York").unwrap();
        let window = Window::of(kind, &zone, wall(at));
        (window.id.to_string(), window.ends_at.unwrap().to_rfc3339())
    }

    fn wall(at: &str) -> Wall {
        Wall(at.parse::<Timestamp>().unwrap().as_millisecond())
    }
}

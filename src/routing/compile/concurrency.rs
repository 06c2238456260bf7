//! How many calls at once.

use std::collections::BTreeMap;

use jiff::civil::Date;
use smol_str::format_smolstr;

use super::Compiler;
use super::caps::Clock;
use crate::routing::config::{ConcurrencyConfig, CountFrom};
use crate::routing::hold::Counts;
use crate::routing::snapshot::{Concurrency, Hours};

const DAYS: usize = 7;
const HOURS: usize = 24;
/// What stands in a matrix for an hour without a limit of its own.
const NONE: i64 = -1;

impl Compiler<'_> {
    /// That of `owner`, such as `campaign/cmp_hvac`, at `path`; in the zone of `clock` unless it says
    /// another.
    pub(super) fn concurrency(
        &mut self,
        path: &str,
        owner: &str,
        config: Option<&ConcurrencyConfig>,
        clock: &Clock<'_>,
    ) -> Option<Concurrency> {
        let config = config?;
        let path = format!("{path}.concurrency");
        self.within(&path, "limit", config.limit, 1..=u32::MAX);
        let zone = match &config.time_zone {
            None => clock.zone,
            Some(name) => self.zone(&path, name),
        };
        let key = format_smolstr!("{owner}/concurrency");
        Some(Concurrency {
            limit: config.limit.into(),
            label: Some(key.clone()),
            key,
            counts: match config.count_from {
                CountFrom::Reservation | CountFrom::Invite => Counts::Live,
                CountFrom::Answer => Counts::Talking,
            },
            hours: self.hours(&path, config).map(Box::new),
            on_store_down: config.on_store_down,
            zone,
        })
    }

    fn hours(&mut self, path: &str, config: &ConcurrencyConfig) -> Option<Hours> {
        if config.matrix.is_empty() && config.exceptions.is_empty() {
            return None;
        }
        let mut week = vec![];
        let is_whole =
            config.matrix.len() == DAYS && config.matrix.iter().all(|it| it.len() == HOURS);
        if !config.matrix.is_empty() && !is_whole {
            let hours: Vec<_> = config.matrix.iter().map(Vec::len).collect();
            let value = format!("{} days with {hours:?} hours", hours.len());
            let remedy = "write seven lists, Sunday first, of 24 numbers each";
            self.fault(path, "matrix", value, "is no week", remedy);
        }
        for (d, day) in config.matrix.iter().enumerate() {
            let mut hours = [None; HOURS];
            for (h, limit) in day.iter().enumerate().take(HOURS) {
                match u32::try_from(*limit) {
                    Ok(limit) => hours[h] = Some(limit),
                    Err(_) if *limit == NONE => {}
                    Err(_) => {
                        let remedy = "write 0 or more, or -1 for `limit`";
                        let field = format!("matrix[{d}][{h}]");
                        self.fault(path, &field, limit, "is out of range", remedy);
                    }
                }
            }
            week.push(hours);
        }
        let mut exceptions = BTreeMap::new();
        for (e, exception) in config.exceptions.iter().enumerate() {
            let field = format!("exceptions[{e}].date");
            match exception.date.parse::<Date>() {
                Err(_) => {
                    let remedy = "write it as YYYY-MM-DD, such as 2026-12-25";
                    self.fault(path, &field, &exception.date, "is no date", remedy);
                }
                Ok(date) => {
                    if exceptions.insert(date, exception.limit).is_some() {
                        let problem = "has a limit already";
                        self.fault(path, &field, date, problem, "keep one of the two");
                    }
                }
            }
        }
        Some(Hours { week, exceptions })
    }
}

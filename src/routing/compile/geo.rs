//! Where numbers are, from what is built in and from a file, and what is on record of lines.

use std::sync::Arc;

use crate::routing::config::RoutingConfig;
use crate::routing::geo::{Geo, LineRows, Lines, Rows};

use super::Compiler;
use super::sets::LINES_TOLD_MAX;

impl Compiler<'_> {
    pub(super) fn geo(&mut self, config: &RoutingConfig) -> Arc<Geo> {
        let Some(file) = &config.geo.file else { return Geo::built_in() };
        let mut rows = Rows::default();
        // Without columns every further line would be at fault.
        let mut is_headless = false;
        let is_sound = self.lines("geo.file", file, config, |line| {
            if is_headless {
                return Ok(());
            }
            let taken = rows.take(line).map_err(|it| (it.problem, it.remedy));
            is_headless = !rows.is_begun();
            taken
        });
        if is_sound && !rows.is_begun() {
            let remedy = "begin with prefix,state,time_zone, or leave the file out";
            self.fault_at("geo.file", file.display(), "is empty", remedy);
        }
        Arc::new(Geo::with(rows))
    }

    /// What is on record of lines; `None`: it is not known any more. No fault repeats a number.
    pub(super) fn line_records(&mut self, config: &RoutingConfig) -> Option<Arc<Lines>> {
        const PATH: &str = "geo.line_records";

        let Some(file) = &config.geo.line_records else { return Some(Arc::default()) };
        if config.is_kept {
            return None;
        }
        let (shown, mut rows, mut faults) = (file.display(), LineRows::default(), 0);
        let text = self.text(PATH, file, config)?;
        let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim));
        for (number, line) in lines.filter(|(_, it)| !it.is_empty() && !it.starts_with('#')) {
            let Err(fault) = rows.take(number, line) else { continue };
            faults += 1;
            if faults <= LINES_TOLD_MAX {
                let problem = format!("line {number} {}", fault.problem);
                self.fault_at(PATH, &shown, &problem, &fault.remedy);
            }
            // Without columns every further line would be at fault.
            if !rows.is_begun() {
                return None;
            }
        }
        if faults > LINES_TOLD_MAX {
            let problem = format!("has {} more such lines", faults - LINES_TOLD_MAX);
            self.fault_at(PATH, &shown, &problem, "correct them too");
        }
        if faults == 0 && !rows.is_begun() {
            let remedy = "begin with number,state,zip or the like, or leave the file out";
            self.fault_at(PATH, &shown, "is empty", remedy);
        }
        match rows.compiled() {
            Ok(lines) => Some(Arc::new(lines)),
            Err(again) => {
                let told: Vec<_> =
                    again.iter().take(LINES_TOLD_MAX).map(ToString::to_string).collect();
                let more = again.len().saturating_sub(LINES_TOLD_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let problem = format!("has a number again on line {}{more}", told.join(", "));
                self.fault_at(PATH, shown, &problem, "keep one row for each number");
                None
            }
        }
    }
}

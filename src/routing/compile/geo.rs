//! Where numbers are, from what is built in and from a file.

use std::sync::Arc;

use crate::routing::config::RoutingConfig;
use crate::routing::geo::{Geo, Rows};

use super::Compiler;

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
}

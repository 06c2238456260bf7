//! Models that rank targets, from the configuration and from files.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::routing::config::{PeerTlsConfig, RoutingConfig, ScorerConfig, ScorerKind};
use crate::routing::scorer::{AskedScorer, KnownScorer, Logistic, ScoredBy, Table, meant_by};

use super::{Compiler, index};

const DEADLINE_MS: u32 = 20;

impl Compiler<'_> {
    pub(super) fn scorers(
        &mut self,
        config: &RoutingConfig,
    ) -> BTreeMap<SmolStr, Arc<KnownScorer>> {
        let ids = config.scorers.iter().map(|scorer| scorer.id.as_str()).collect();
        index("scorers", ids, &mut self.faults);
        let scorers = config.scorers.iter().enumerate();
        let scorers = scorers.map(|(s, scorer)| {
            let by = self.scorer(&format!("scorers[{s}]"), scorer, config);
            (scorer.id.clone(), Arc::new(KnownScorer { id: scorer.id.clone(), by }))
        });
        scorers.collect()
    }

    fn scorer(&mut self, path: &str, config: &ScorerConfig, all: &RoutingConfig) -> ScoredBy {
        let is_asked = config.kind == ScorerKind::Http;
        let file = config.file.as_ref().map(|file| file.display().to_string());
        let deadline = config.deadline_ms.map(|ms| ms.to_string());
        let features = config.features.as_ref().map(|features| format!("{features:?}"));
        let tls = (config.tls != PeerTlsConfig::default()).then(|| format!("of {}", config.id));
        for (field, value, is_meant) in [
            ("file", &file, !is_asked),
            ("url", &config.url, is_asked),
            ("tls", &tls, is_asked),
            ("deadline_ms", &deadline, is_asked),
            ("features", &features, is_asked),
        ] {
            if let Some(value) = value.as_ref().filter(|_| !is_meant) {
                self.fault(path, field, value, "has no meaning for this kind", "leave it out");
            }
        }
        match config.kind {
            ScorerKind::Logistic => {
                let mut model = Logistic::default();
                let is_read = self.model(path, config, all, |line| model.read(line));
                self.unless_empty(path, config, is_read && model.is_empty());
                self.are_meant(path, config, model.features());
                ScoredBy::Logistic(model)
            }
            ScorerKind::Table => {
                let mut model = Table::default();
                let is_read = self.model(path, config, all, |line| model.read(line));
                self.unless_empty(path, config, is_read && model.is_empty());
                self.are_meant(path, config, model.features());
                ScoredBy::Table(model)
            }
            ScorerKind::Http => {
                let deadline_ms = config.deadline_ms.unwrap_or(DEADLINE_MS);
                self.within(path, "deadline_ms", deadline_ms, 1..=200);
                let url = config.url.clone().unwrap_or_default();
                let is_tls = config.speaks_tls();
                if is_tls.is_none() {
                    let problem = "is no http or https URL";
                    let remedy = "write it as https://host/path, or http://host:port/path";
                    self.fault(path, "url", &url, problem, remedy);
                }
                if let Some(tls) = tls.filter(|_| is_tls == Some(false)) {
                    let problem = "has no effect, since the URL does not ask for TLS";
                    self.fault(path, "tls", tls, problem, "write https:// in url, or leave it out");
                }
                let tls = is_tls.unwrap_or(false).then(|| config.tls.clone());
                let usual = || vec!["geo.state".into(), "geo.npa".into()];
                let features = config.features.clone().unwrap_or_else(usual);
                for (f, feature) in features.iter().enumerate() {
                    self.is_no_slip(path, &format!("features[{f}]"), feature, meant_by(feature));
                }
                let id = config.id.clone();
                ScoredBy::Asked(Arc::new(AskedScorer { id, url, tls, deadline_ms, features }))
            }
        }
    }

    /// Whether every line of the model's file was read.
    fn model(
        &mut self,
        path: &str,
        config: &ScorerConfig,
        all: &RoutingConfig,
        read: impl FnMut(&str) -> Result<(), (String, String)>,
    ) -> bool {
        let Some(file) = &config.file else {
            let remedy = "name a `file`";
            self.fault_at(path, &config.id, "is a model without numbers", remedy);
            return false;
        };
        self.lines(&format!("{path}.file"), file, all, read)
    }

    /// That the features of a model's file are none that were written wrongly.
    fn are_meant<'m>(
        &mut self,
        path: &str,
        config: &ScorerConfig,
        features: impl Iterator<Item = &'m SmolStr>,
    ) {
        for feature in features {
            let Some(remedy) = self.slip(feature, meant_by(feature)) else { continue };
            let problem = format!(
                "asks for `{feature}`, which the server does not make and no vertical describes"
            );
            let file = config.file.as_deref().unwrap_or_else(|| "".as_ref()).display();
            self.contradiction(&format!("{path}.file"), file, &problem, &remedy);
        }
    }

    fn unless_empty(&mut self, path: &str, config: &ScorerConfig, is_empty: bool) {
        if is_empty {
            let file = config.file.as_deref().unwrap_or_else(|| "".as_ref()).display();
            self.fault(path, "file", file, "holds nothing", "write a line for each number");
        }
    }
}

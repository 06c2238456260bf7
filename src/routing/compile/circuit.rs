//! When targets are taken out for how their calls go.

use std::sync::Arc;

use super::Compiler;
use crate::routing::config::{CircuitConfig, TargetConfig};

impl Compiler<'_> {
    /// The rules of a target, where it has none those of its buyer, else those that are built in.
    pub(super) fn target_circuit(
        &mut self,
        path: &str,
        config: &TargetConfig,
        of_buyer: Option<&CircuitConfig>,
    ) -> Option<Arc<CircuitConfig>> {
        if let Some(own) = &config.circuit {
            self.circuit(path, own);
        }
        in_use(config.circuit.as_ref().or(of_buyer))
    }

    pub(super) fn circuit(&mut self, path: &str, config: &CircuitConfig) {
        let path = format!("{path}.circuit");
        let fields = [
            ("window_s", config.window_s, 60..=86_400),
            ("min_attempts", config.min_attempts, 5..=10_000),
            ("max_pdd_ms", config.max_pdd_ms, 100..=60_000),
            ("max_failed_percent", config.max_failed_percent, 1..=100),
            ("max_answer_drop_percent", config.max_answer_drop_percent, 1..=100),
            ("short_call_s", config.short_call_s, 1..=600),
            ("max_short_percent", config.max_short_percent.unwrap_or(100), 1..=100),
            ("cool_down_s", config.cool_down_s, 1..=86_400),
            ("trial_percent", config.trial_percent, 1..=100),
            ("trial_attempts", config.trial_attempts, 1..=1_000),
        ];
        for (field, value, range) in fields {
            self.within(&path, field, value, range);
        }
        let off = CircuitConfig { enabled: false, ..CircuitConfig::default() };
        if !config.enabled && *config != off {
            let problem = "switches the circuit off, so that the other fields mean nothing";
            self.fault(&path, "enabled", false, problem, "leave them out, or leave this out");
        }
    }
}

/// These rules, or those that are built in; `None`: they are switched off.
pub(super) fn in_use(rules: Option<&CircuitConfig>) -> Option<Arc<CircuitConfig>> {
    let rules = rules.cloned().unwrap_or_default();
    rules.enabled.then(|| Arc::new(rules))
}

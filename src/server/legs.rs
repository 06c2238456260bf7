//! What is agreed with targets about their legs: the `dialog` tables of the configuration, read
//! with the rules that trunks have for theirs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Config;
use crate::id::TargetId;
use crate::routing::RoutingConfig;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::trunk::profile::Dialog;

use super::StartError;

/// Policies of the targets that have one of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLegs {
    by_target: BTreeMap<TargetId, LegPolicy>,
}

impl TargetLegs {
    /// Reads `targets[].dialog`.
    ///
    /// # Errors
    /// All fields that are not as they must be.
    pub fn compile(config: &Config, routing: &RoutingConfig) -> Result<Self, StartError> {
        let mut legs = Self::default();
        let mut faults = Vec::new();
        for (position, target) in routing.targets.iter().enumerate() {
            match read(&Value::Object(target.dialog.clone())) {
                Ok(policy) if policy == LegPolicy::default() => {}
                Ok(policy) => {
                    legs.by_target.insert(target.id.clone(), policy);
                }
                Err(Fault { field, value, problem, remedy }) => {
                    let path = format!("targets[{position}].dialog.{field}");
                    faults.push((path, value, problem, remedy));
                }
            }
        }
        if faults.is_empty() { Ok(legs) } else { Err(config.faults(faults).into()) }
    }

    pub fn of(&self, target: &TargetId) -> LegPolicy {
        self.by_target.get(target).copied().unwrap_or_default()
    }
}

struct Fault {
    field: String,
    value: String,
    problem: String,
    remedy: String,
}

fn read(dialog: &Value) -> Result<LegPolicy, Fault> {
    let typed: Result<Dialog, _> = serde_path_to_error::deserialize(dialog);
    let typed = typed.map_err(|error| Fault {
        field: error.path().to_string(),
        value: String::new(),
        problem: error.into_inner().to_string(),
        remedy: String::from("see carrier-configs/README.md"),
    })?;
    LegPolicy::compile(&typed).map_err(|fault| Fault {
        field: fault.field.to_owned(),
        value: fault.value.to_string(),
        problem: fault.problem,
        remedy: fault.remedy,
    })
}

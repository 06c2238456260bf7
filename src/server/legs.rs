//! What is agreed with targets about their legs: the `dialog` tables of the configuration, read
//! with the rules that trunks have for theirs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::Config;
use crate::id::TargetId;
use crate::routing::{RoutingConfig, RoutingSnapshot};
use crate::sip::leg::policy::LegPolicy;
use crate::sip::trunk::Trunks;
use crate::sip::trunk::profile::Dialog;

use super::StartError;

/// Policies of the targets that have one of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLegs {
    by_target: BTreeMap<TargetId, LegPolicy>,
    /// Of ways over trunks to targets that have none, by the place of the way.
    by_way: BTreeMap<(TargetId, u8), LegPolicy>,
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

    /// Over a trunk holds what is agreed with its carrier, where the target has no policy of its own.
    pub fn go_over(&mut self, trunks: &Trunks, routing: &RoutingSnapshot) {
        for target in routing.targets() {
            if self.by_target.contains_key(&target.id) {
                continue;
            }
            for (dial, place) in target.dials.iter().zip(0..) {
                let trunk = dial.trunk.as_ref().and_then(|id| trunks.by_id(id));
                if let Some(trunk) = trunk.filter(|it| it.dialog != LegPolicy::default()) {
                    self.by_way.insert((target.id.clone(), place), trunk.dialog);
                }
            }
        }
    }

    /// `way`: by its place in the configuration.
    pub fn of(&self, target: &TargetId, way: u8) -> LegPolicy {
        let own = self.by_target.get(target);
        let of_way = || match self.by_way.is_empty() {
            true => None,
            false => self.by_way.get(&(target.clone(), way)),
        };
        own.or_else(of_way).copied().unwrap_or_default()
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

//! What is agreed with each target about its signalling, and what follows from that and from the
//! trunk for a call: whether we call the target, or tell the carrier to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::config::Config;
use crate::id::TargetId;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::sip::call::plan::{Handover, Referral};
use crate::sip::message::Uri;
use crate::sip::target::{Delivery, TargetConfig, TargetRules};
use crate::sip::trunk::{Trunk, Trunks};

use super::error::StartError;

/// How long a NOTIFY may take, where the carrier file does not say.
const FIRST_NOTIFY: Duration = Duration::from_secs(5);
const FINAL_NOTIFY: Duration = Duration::from_secs(60);

/// The `[targets.sip]` tables.
#[derive(Clone, Debug, Default)]
pub struct Dialing {
    /// Targets without such a table are not in it.
    by_target: BTreeMap<TargetId, Arc<TargetRules>>,
    /// Of ways over trunks with credentials to targets that have none, by the place of the way.
    by_way: BTreeMap<(TargetId, u8), Arc<TargetRules>>,
}

/// As much of a target as is read here.
#[derive(Deserialize)]
struct Section {
    id: TargetId,
    #[serde(default)]
    sip: TargetConfig,
}

impl Dialing {
    /// # Errors
    /// All faults found, each with its place in the file.
    pub fn compile(config: &Config) -> Result<Self, StartError> {
        let sections: Vec<Section> = config.section("targets")?;
        let mut by_target = BTreeMap::new();
        let mut faults = Vec::new();
        for (position, Section { id, sip }) in sections.into_iter().enumerate() {
            if sip == TargetConfig::default() {
                continue;
            }
            match TargetRules::compile(id.as_str(), &sip) {
                Ok(rules) => {
                    by_target.insert(id, Arc::new(rules));
                }
                Err(found) => faults.extend(found.into_iter().map(|it| {
                    let path = format!("targets[{position}].sip.{}", it.path);
                    (path, it.value, it.problem.to_owned(), it.remedy.to_owned())
                })),
            }
        }
        let by_way = BTreeMap::new();
        if faults.is_empty() {
            Ok(Self { by_target, by_way })
        } else {
            Err(config.faults(faults).into())
        }
    }

    /// Over a trunk its credentials answer challenges, where the target has none of its own.
    pub fn go_over(&mut self, trunks: &Trunks, routing: &RoutingSnapshot) {
        for target in routing.targets() {
            let rules = self.by_target.get(&target.id);
            if rules.is_some_and(|rules| rules.account.is_some()) {
                continue;
            }
            let rules = rules.map(|rules| TargetRules::clone(rules)).unwrap_or_default();
            for (dial, place) in target.dials.iter().zip(0..) {
                let trunk = dial.trunk.as_ref().and_then(|id| trunks.by_id(id));
                if let Some(account) = trunk.and_then(|trunk| trunk.account.clone()) {
                    let rules = TargetRules { account: Some(account), ..rules.clone() };
                    self.by_way.insert((target.id.clone(), place), Arc::new(rules));
                }
            }
        }
    }

    /// `way`: by its place in the configuration.
    pub fn rules(&self, target: &TargetId, way: u8) -> Option<&Arc<TargetRules>> {
        let of_way = match self.by_way.is_empty() {
            true => None,
            false => self.by_way.get(&(target.clone(), way)),
        };
        of_way.or_else(|| self.by_target.get(target))
    }

    /// Names of hosts that targets may send their calls on to.
    pub fn host_names(&self) -> BTreeSet<String> {
        self.by_target
            .values()
            .flat_map(|rules| rules.host_names())
            .map(|name| name.to_ascii_lowercase())
            .collect()
    }
}

/// How the carrier is told to call the target at `uri`, where target and trunk want that and the
/// carrier can; absent where we call. `counted`: caps or limits count the target's calls.
pub(super) fn handover(
    trunk: &Trunk,
    rules: Option<&TargetRules>,
    uri: &str,
    counted: bool,
) -> Option<Box<Handover>> {
    let wish = rules.and_then(|rules| rules.delivery).unwrap_or(trunk.delivery);
    let dialog = &trunk.profile.dialog;
    match wish {
        Delivery::Bridge => None,
        Delivery::Redirect => {
            (dialog.redirect_ok == Some(true)).then(|| Box::new(Handover::Redirect { counted }))
        }
        Delivery::Refer => {
            let refer = dialog.refer.as_ref().filter(|refer| refer.send == Some(true))?;
            let refer_to = match &refer.target_template {
                Some(template) => referred(template, uri)?,
                None => uri.to_owned(),
            };
            let ms = |ms: u32| Duration::from_millis(u64::from(ms));
            let seconds = |s: u32| Duration::from_secs(u64::from(s));
            Some(Box::new(Handover::Refer(Referral {
                refer_to: Bytes::from(refer_to),
                referred_by: refer.referred_by == Some(true),
                first_notify: refer.first_notify_ms.map_or(FIRST_NOTIFY, ms),
                final_notify: refer.final_notify_s.map_or(FINAL_NOTIFY, seconds),
            })))
        }
    }
}

/// The carrier's form of Refer-To. `None` if it wants a number and the target has none.
fn referred(template: &str, uri: &str) -> Option<String> {
    if !template.contains("{number}") {
        return Some(template.to_owned());
    }
    let user = Uri::parse(uri.as_bytes()).ok()?.user_part()?;
    let number: PhoneNumber = std::str::from_utf8(user).ok()?.parse().ok()?;
    Some(template.replace("{number}", &format!("+{}", number.digits())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refer_to_is_what_the_carrier_wants() {
        let telnyx = "sip:{number}@sip.telnyx.com";
        let number = "sip:+16145550163@192.0.2.9:5070";

        assert_eq!(referred(telnyx, number).as_deref(), Some("sip:+16145550163@sip.telnyx.com"));
        assert_eq!(referred(telnyx, "sip:queue@192.0.2.9"), None, "no number to put there");
        assert_eq!(referred("sip:fixed@h", number).as_deref(), Some("sip:fixed@h"));
    }
}

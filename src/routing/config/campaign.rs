//! What is advertised, as it is written.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::id::{CampaignId, PublisherId};

use super::{
    CallersConfig, CapConfig, ConcurrencyConfig, Confidence, NamedOr, NoRouteConfig, NumberConfig,
    PriceConfig, RoutingPlanConfig, Setting, built_in,
};

/// What is advertised, and who may take the calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignConfig {
    pub id: CampaignId,
    #[serde(default)]
    pub name: String,
    /// Whose the numbers are that name no publisher themselves.
    #[serde(default)]
    pub publisher: Option<PublisherId>,
    /// What its pings may and must say. Absent: anything.
    #[serde(default)]
    pub vertical: Option<SmolStr>,
    #[serde(default)]
    pub paused: bool,
    #[serde(default)]
    pub numbers: Vec<NumberConfig>,
    /// Who may take the calls, or the name of one of `plans`.
    pub routing: NamedOr<RoutingPlanConfig>,
    /// SIP final responses (300 to 699) after which the next target is tried; any other ends the
    /// hunt. Ring time-out and a dead target always go on.
    #[serde(default = "built_in::advance_on", skip_serializing_if = "Setting::is_inherited")]
    pub advance_on: Setting<Vec<u16>>,
    /// How many targets are tried at most, 1 to 20.
    #[serde(default = "built_in::max_attempts", skip_serializing_if = "Setting::is_inherited")]
    pub max_attempts: Setting<u16>,
    /// How long the caller hears ringing over all attempts, 1 to 600 s.
    #[serde(
        default = "built_in::total_ring_budget_s",
        skip_serializing_if = "Setting::is_inherited"
    )]
    pub total_ring_budget_s: Setting<u32>,
    /// Absent: a target that hangs up ends the call, however soon it does.
    #[serde(default)]
    pub recovery: Option<RecoveryConfig>,
    /// A session matched with less confidence than this is not used, 0 to 1.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub min_match_confidence: Setting<Confidence>,
    /// Whether a ping is refused at once that no target can take, for its tags or its caller.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub ping_filter: Setting<PingFilter>,
    #[serde(default)]
    pub recording: Recording,
    /// On all its calls together.
    #[serde(default)]
    pub caps: Vec<CapConfig>,
    /// Of all its calls. Absent: as many at once as come.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyConfig>,
    /// Which callers it takes.
    #[serde(default, skip_serializing_if = "Setting::is_inherited")]
    pub callers: Setting<CallersConfig>,
    /// What targets have to bring to be offered its calls.
    #[serde(default)]
    pub price: Option<PriceConfig>,
    /// What is done with calls that no target takes.
    #[serde(default, skip_serializing_if = "NoRouteConfig::is_nothing")]
    pub no_route: NoRouteConfig,
    /// Those of `enrichers` that are asked about the callers of its sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrich: Vec<SmolStr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recording {
    #[default]
    None,
}

/// When a target that answered and hung up is followed by the next one of the plan. The caller stays
/// answered, hears nothing while that one rings, and is connected to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// How soon after the answer it has to hang up, 1 to 60 s; sooner than anything is owed for the
    /// call in any case.
    pub within_s: u32,
    /// How often in one call, 1 to 5.
    pub max: u8,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self { within_s: 15, max: 2 }
    }
}

/// Whether pings that are worth nothing are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PingFilter {
    On,
    #[default]
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_its_publisher_or_leaves_it_to_the_campaign() {
        let campaign: CampaignConfig = toml::from_str(
            r#"
            id = "c"
            numbers = ["+18005550100-+18005550149", { number = "+18005550199", publisher = "p" }]
            routing = { tiers = [{ targets = [{ target = "t" }] }] }
            min_match_confidence = 0.95
            "#,
        )
        .unwrap();

        assert_eq!(
            campaign.numbers,
            [
                NumberConfig { number: "+18005550100-+18005550149".into(), publisher: None },
                NumberConfig { number: "+18005550199".into(), publisher: Some("p".into()) },
            ]
        );
        assert_eq!(*campaign.min_match_confidence, Confidence(95));
        assert_eq!(campaign.routing.written().unwrap().tiers[0].targets[0].weight, 100);
    }
}

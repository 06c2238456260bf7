//! What is said of each target: its `sip` table over the `outbound` table of a carrier file, or of the
//! trunk that a way to it goes over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use smol_str::SmolStr;

use super::config::{NumberHeader, ProgressPolicy};
use super::template::Scope;
use super::{Destinations, HeaderRules, IdentityRules, PolicyFault, TargetPolicy};
use crate::sip::locate::ProbeRules;
use crate::sip::message::HeaderName;
use crate::sip::trunk::profile::{CliHeader, Outbound};
use crate::sip::trunk::{Carriers, Overrides, TrunkConfig, outbound_of};

/// A target as the SIP side knows it.
#[derive(Clone, Debug)]
pub struct TargetConfig<'a> {
    pub id: &'a str,
    pub buyer: &'a str,
    /// `carrier` names a carrier file; every other field replaces one of its `outbound` table, but
    /// those that [`crate::sip::target`] reads.
    pub sip: &'a Overrides,
    /// Of its ways that go over trunks, each by its place among all: the trunk in place of `carrier`.
    pub trunks: Vec<(u8, &'a TrunkConfig)>,
}

/// What of a target is not plain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetSettings {
    /// Absent: a plain INVITE.
    pub policy: Option<Arc<TargetPolicy>>,
    pub progress: ProgressPolicy,
    pub destinations: Arc<Destinations>,
    pub limits: Option<OutboundLimits>,
    /// Whether requests too long for a datagram go over TCP; absent: where DNS says that it has it.
    pub long_over_tcp: Option<bool>,
    /// Absent: it is not probed.
    pub probe: Option<ProbeRules>,
    /// Whether a template speaks of what only the server knows.
    pub wants_variables: bool,
}

/// How many calls a target, or the carrier on the way to it, takes (spec/sip C10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Targets behind the same carrier share their limits, and ways over the same trunk.
    pub shared_by: SmolStr,
    /// New calls per second.
    pub cps_max: Option<u32>,
    /// Calls at a time.
    pub channels_max: Option<u32>,
    /// How long a call may wait for its turn.
    pub queue: Duration,
}

/// All targets that are not plain, by id. Immutable; a new configuration makes a new one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    by_id: BTreeMap<SmolStr, TargetSettings>,
    /// Those of ways that go over trunks, by the place of the way.
    by_way: BTreeMap<(SmolStr, u8), TargetSettings>,
}

/// Fields of the `sip` table that are not about policy: [`crate::sip::target`] reads them.
const AGREED: [&str; 4] = ["credentials", "delivery", "redirect", "refer"];

/// How long a call may wait for its turn at most, under a carrier's limits too. A target's calls
/// wait so long if nothing else is said.
pub(crate) const QUEUE_MS_MAX: u32 = 1_000;

impl Targets {
    /// `contact_bytes` is the length of our longest Contact.
    ///
    /// # Errors
    /// All faults at once, each with the position of its target.
    pub fn compile<'a>(
        configs: impl IntoIterator<Item = TargetConfig<'a>>,
        carriers: &Carriers,
        contact_bytes: usize,
    ) -> Result<Self, Vec<(usize, PolicyFault)>> {
        let (mut by_id, mut by_way) = (BTreeMap::new(), BTreeMap::new());
        let mut faults = Vec::new();
        for (position, config) in configs.into_iter().enumerate() {
            if !config.sip.keys().all(|key| AGREED.contains(&key.as_str())) {
                match compile(&config, None, carriers, contact_bytes) {
                    Ok(settings) => {
                        by_id.insert(SmolStr::new(config.id), settings);
                    }
                    Err(found) => {
                        faults.extend(found.into_iter().map(|fault| (position, fault)));
                        // The same would be told of each way.
                        continue;
                    }
                }
            }
            for (place, trunk) in &config.trunks {
                match compile(&config, Some(trunk), carriers, contact_bytes) {
                    Ok(settings) => {
                        by_way.insert((SmolStr::new(config.id), *place), settings);
                    }
                    Err(found) => faults.extend(found.into_iter().map(|fault| {
                        let field = format!("outbound.{} of trunk {}", fault.field, trunk.id);
                        (position, PolicyFault { field, ..fault })
                    })),
                }
            }
        }
        if faults.is_empty() { Ok(Self { by_id, by_way }) } else { Err(faults) }
    }

    /// `None`: a plain target, as far as none of its ways goes over a trunk.
    pub fn get(&self, id: &str) -> Option<&TargetSettings> {
        self.by_id.get(id)
    }

    /// How a target is spoken to in one of its ways, by the place of the way; `None`: plainly.
    pub fn of(&self, id: &str, way: u8) -> Option<&TargetSettings> {
        let of_way = || self.by_way.get(&(SmolStr::new(id), way));
        let of_way = if self.by_way.is_empty() { None } else { of_way() };
        of_way.or_else(|| self.by_id.get(id))
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.by_way.is_empty()
    }

    /// Each that is not plain, with its target, and its way if it is of that way alone.
    pub fn iter(&self) -> impl Iterator<Item = (&SmolStr, Option<u8>, &TargetSettings)> {
        let of_ways = self.by_way.iter().map(|((id, way), settings)| (id, Some(*way), settings));
        self.by_id.iter().map(|(id, settings)| (id, None, settings)).chain(of_ways)
    }

    pub fn all(&self) -> impl Iterator<Item = &TargetSettings> {
        self.iter().map(|(_, _, settings)| settings)
    }
}

/// `trunk`: over whose carrier the target is called, in one of its ways.
fn compile(
    config: &TargetConfig<'_>,
    trunk: Option<&TrunkConfig>,
    carriers: &Carriers,
    contact_bytes: usize,
) -> Result<TargetSettings, Vec<PolicyFault>> {
    let mut overrides = config.sip.clone();
    overrides.retain(|key, _| !AGREED.contains(&key.as_str()));
    let carrier = match overrides.remove("carrier") {
        None => None,
        Some(Value::String(name)) => Some(SmolStr::from(name)),
        Some(other) => {
            let problem = "is no name of a carrier file";
            let fault = PolicyFault::new("carrier", other.to_string(), problem, "write a text");
            return Err(vec![fault]);
        }
    };
    let none = Overrides::new();
    let (carrier, of_trunk) = match trunk {
        Some(trunk) => (trunk.carrier.clone(), &trunk.outbound),
        None => (carrier, &none),
    };
    let outbound = outbound_of(carrier.as_ref(), &[of_trunk, &overrides], carriers);
    let outbound = outbound.map_err(|fault| vec![fault])?;
    let mut faults = checks(&outbound, contact_bytes);
    let constants = [("call.target", config.id), ("call.buyer", config.buyer)];
    let headers = HeaderRules::compile(&outbound.headers, Scope::Invite, &constants);
    let reads = outbound.cli_header.first().map(|header| match header {
        CliHeader::Pai => NumberHeader::Pai,
        CliHeader::Rpid => NumberHeader::Rpid,
        CliHeader::From => NumberHeader::From,
    });
    let identity = IdentityRules::compile(&outbound.identity, reads);
    let destinations = Destinations::compile(&outbound.destinations);
    let headers = headers.unwrap_or_else(|found| {
        faults.extend(found);
        HeaderRules::default()
    });
    let identity = identity.unwrap_or_else(|found| {
        faults.extend(found);
        IdentityRules::default()
    });
    let destinations = destinations.unwrap_or_else(|found| {
        faults.extend(found);
        Destinations::default()
    });
    for name in [HeaderName::Diversion, HeaderName::HistoryInfo] {
        if headers.adds(name) && identity.writes(name) {
            faults.push(PolicyFault::new(
                format!("headers.add.{}", name.name()),
                name.name(),
                "is written by the identity table too",
                "keep one of the two",
            ));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let wants_variables = headers.wants_variables();
    let is_plain = headers.is_empty() && identity.is_plain() && outbound.body_parts.is_empty();
    let body_parts = outbound.body_parts.iter().map(|kind| kind.to_lowercase().into()).collect();
    let limited = outbound.max_cps_per_ip.is_some() || outbound.max_channels.is_some();
    Ok(TargetSettings {
        policy: (!is_plain).then(|| Arc::new(TargetPolicy { headers, identity, body_parts })),
        progress: outbound.progress,
        destinations: Arc::new(destinations),
        limits: limited.then(|| OutboundLimits {
            shared_by: match (trunk, carrier) {
                (Some(trunk), _) => smol_str::format_smolstr!("trunk/{}", trunk.id),
                (None, Some(carrier)) => smol_str::format_smolstr!("carrier/{carrier}"),
                (None, None) => smol_str::format_smolstr!("target/{}", config.id),
            },
            cps_max: outbound.max_cps_per_ip,
            channels_max: outbound.max_channels,
            queue: Duration::from_millis(outbound.queue_ms.unwrap_or(QUEUE_MS_MAX).into()),
        }),
        long_over_tcp: outbound.long_over_tcp,
        probe: outbound.probe.map(|probe| ProbeRules {
            interval: Duration::from_secs(probe.interval_s.into()),
            timeout: Duration::from_millis(probe.timeout_ms.into()),
            down_after: probe.down_after,
            up_after: probe.up_after,
        }),
        wants_variables,
    })
}

fn checks(outbound: &Outbound, contact_bytes: usize) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    let max = outbound.contact_bytes_max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
    if let Some(max) = max.filter(|max| *max < contact_bytes) {
        faults.push(PolicyFault::new(
            "contact_bytes_max",
            max.to_string(),
            format!("is less than our Contact has, {contact_bytes} bytes"),
            "give the listener a shorter name in sip.advertise",
        ));
    }
    if outbound.queue_ms.is_some_and(|ms| ms > QUEUE_MS_MAX) {
        let value = outbound.queue_ms.unwrap_or_default().to_string();
        let remedy = format!("write 0 to {QUEUE_MS_MAX} milliseconds");
        faults.push(PolicyFault::new("queue_ms", value, "is longer than a caller waits", remedy));
    }
    for (field, limit) in
        [("max_cps_per_ip", outbound.max_cps_per_ip), ("max_channels", outbound.max_channels)]
    {
        if limit == Some(0) {
            let remedy = "write 1 or more, or leave it out for no limit";
            faults.push(PolicyFault::new(field, "0", "lets nothing through", remedy));
        }
    }
    if let Some(probe) = &outbound.probe {
        let most_ms = probe.interval_s.saturating_mul(1000).min(32_000);
        for (field, value, least, most) in [
            ("interval_s", probe.interval_s, 1, 3600),
            ("timeout_ms", probe.timeout_ms, 50, most_ms.max(50)),
            ("down_after", probe.down_after.into(), 1, 100),
            ("up_after", probe.up_after.into(), 1, 100),
        ] {
            if !(least..=most).contains(&value) {
                let (field, remedy) =
                    (format!("probe.{field}"), format!("write {least} to {most}"));
                faults.push(PolicyFault::new(field, value.to_string(), "is out of range", remedy));
            }
        }
    }
    for (position, kind) in outbound.body_parts.iter().enumerate() {
        let is_type = kind.split_once('/').is_some_and(|(kind, sub)| {
            [kind, sub].iter().all(|part| HeaderName::is_valid(part.as_bytes()))
        });
        if !is_type {
            faults.push(PolicyFault::new(
                format!("body_parts[{position}]"),
                kind.as_str(),
                "is no content type",
                "write it as application/isup",
            ));
        }
    }
    faults
}

//! From the trunks of the configuration to trunks that can be used, or to all that is wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

use super::carriers::{self, Carriers};
use super::certified::{Certified, NamedSource, SharedName};
use super::failure::{FailureMap, MapFault};
use super::number::NumberRules;
use super::profile::{CarrierTransport, InboundAuth, Limits, Outbound, Profile};
use super::shared;
use super::source::{Ambiguity, Source, Sources};
use super::{Overrides, Said, Trunk, TrunkConfig, TrunkFault, TrunkIndex, TrunkListener, Trunks};
use crate::sip::admission::Rate;
use crate::sip::auth::{Account, RegistrationConfig, Users};
use crate::sip::dialog::transport_of;
use crate::sip::flow::Transport;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::message::{Scheme, Uri};
use crate::sip::policy::targets::QUEUE_MS_MAX;
use crate::sip::policy::template::Scope;
use crate::sip::policy::{AnswerPolicy, Destinations, HeaderRules, PolicyFault};
use crate::sip::target::Delivery;

pub(super) fn compile(
    configs: &[TrunkConfig],
    listeners: &[TrunkListener],
    carriers: &Carriers,
) -> Result<Trunks, Vec<TrunkFault>> {
    let mut faults = repeated_ids(configs);
    let mut trunks = Vec::with_capacity(configs.len());
    let (mut networks, mut named) = (Vec::new(), Vec::new());
    for (position, config) in configs.iter().enumerate() {
        let entry = Entry { config, position };
        match entry.trunk(listeners, carriers) {
            Ok((trunk, claims)) => {
                trunks.push(trunk);
                networks.extend(claims.networks);
                named.extend(claims.names);
            }
            Err(found) => faults.extend(found),
        }
    }
    let sources = Sources::compile(&networks).unwrap_or_else(|ambiguities| {
        faults.extend(ambiguities.iter().map(|it| ambiguous(it, configs, listeners)));
        Sources::default()
    });
    let certified = Certified::compile(named).unwrap_or_else(|shared| {
        faults.extend(shared.iter().map(|it| shared_name(it, configs, listeners)));
        Certified::default()
    });
    if faults.is_empty() {
        faults.extend(shared::faults(&sources, configs));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Trunks { trunks, sources, certified, networks, ..Trunks::default() })
}

/// By what a trunk is known.
#[derive(Default)]
struct Claims {
    networks: Vec<Source>,
    names: Vec<NamedSource>,
}

/// One `[[trunks]]` entry and where it stands.
#[derive(Clone, Copy)]
struct Entry<'a> {
    config: &'a TrunkConfig,
    position: usize,
}

impl Entry<'_> {
    fn trunk(
        self,
        listeners: &[TrunkListener],
        carriers: &Carriers,
    ) -> Result<(Trunk, Claims), Vec<TrunkFault>> {
        let (mut profile, said) = self.profile(carriers).map_err(|fault| vec![fault])?;
        if let Some(header) = &self.config.session_header {
            let kept = &mut profile.inbound.headers_capture;
            if !kept.iter().any(|it| it.eq_ignore_ascii_case(header)) {
                kept.push(header.clone());
            }
        }
        let mut faults = self.unsupported(&profile);
        let listeners = self.listeners(listeners, &mut faults);
        let claims = self.claims(&profile, &listeners, &mut faults);
        let failures = FailureMap::compile(&profile.failover.map).unwrap_or_else(|found| {
            faults.extend(
                found.into_iter().map(|(key, fault)| self.map_fault(&profile, &key, &fault)),
            );
            FailureMap::default()
        });
        let dialog = LegPolicy::compile(&profile.dialog).unwrap_or_else(|fault| {
            let field = format!("dialog.{}", fault.field);
            faults.push(self.fault(&field, fault.value.to_string(), fault.problem, fault.remedy));
            LegPolicy::default()
        });
        let headers = HeaderRules::compile(&profile.inbound.headers, Scope::Answer, &[]);
        let headers = headers.unwrap_or_else(|found| {
            faults.extend(found.into_iter().map(|fault| self.policy_fault(fault)));
            HeaderRules::default()
        });
        let destinations = Destinations::compile(&profile.inbound.destinations);
        let destinations = destinations.unwrap_or_else(|found| {
            faults.extend(found.into_iter().map(|fault| self.policy_fault(fault)));
            Destinations::default()
        });
        let queue_ms = profile.limits.queue_ms.unwrap_or(0);
        if queue_ms > QUEUE_MS_MAX {
            faults.push(self.fault(
                "limits.queue_ms",
                queue_ms.to_string(),
                "is longer than a caller waits",
                format!("write 0 to {QUEUE_MS_MAX} milliseconds"),
            ));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let config = self.config;
        let owner = format_smolstr!("trunk/{}", config.id);
        let asks = profile.inbound.auth == InboundAuth::Digest;
        let trunk = Trunk {
            id: config.id.clone(),
            name: config.name.clone().unwrap_or_else(|| config.id.0.clone()),
            numbers: NumberRules::new(&profile.inbound),
            failures,
            dialog,
            channels_max: config.max_channels.or(profile.limits.max_channels),
            cps_max: config.max_cps.or(profile.limits.max_cps),
            queue: Duration::from_millis(queue_ms.into()),
            answers: (!headers.is_empty()).then(|| Arc::new(AnswerPolicy { headers })),
            destinations: Arc::new(destinations),
            requests: requests(&profile.limits),
            account: config.credentials.as_ref().map(|it| Arc::new(Account::new(owner, it))),
            users: config.digest.as_ref().filter(|_| asks).map(|it| Arc::new(Users::new(it))),
            register: config.register.clone(),
            delivery: config.delivery,
            profile,
            said,
        };
        Ok((trunk, claims))
    }

    /// The carrier file with the fields that the trunk replaces, and who says what of it.
    fn profile(self, carriers: &Carriers) -> Result<(Profile, Vec<Said>), TrunkFault> {
        let config = self.config;
        let mut raw = match &config.carrier {
            Some(name) => carriers
                .carrier(name)
                .map(|carrier| carrier.raw.clone())
                .ok_or_else(|| self.unknown_carrier(name, carriers))?,
            None => serde_json::json!({ "name": config.id, "title": config.id }),
        };
        let tables = [
            ("inbound", &config.inbound),
            ("outbound", &config.outbound),
            ("media", &config.media),
            ("dialog", &config.dialog),
            ("failover", &config.failover),
            ("limits", &config.limits),
        ];
        let mut said = Vec::new();
        let maxima = [("max_channels", config.max_channels), ("max_cps", config.max_cps)];
        for (field, max) in maxima {
            let of_carrier = lookup(&raw, &format!("limits.{field}")).cloned();
            let own = max.map(|max| Said { field: field.into(), value: max.into(), is_own: true });
            let field = SmolStr::new_static(field);
            said.extend(
                own.or_else(|| of_carrier.map(|value| Said { field, value, is_own: false })),
            );
        }
        for (name, overrides) in tables {
            if !overrides.is_empty() {
                let table = raw
                    .as_object_mut()
                    .expect("a carrier file is a table")
                    .entry(name)
                    .or_insert_with(|| Value::Object(serde_json::Map::new()));
                merge(table, overrides);
            }
            if let Some(table) = raw.get(name) {
                let by_trunk = Value::Object(overrides.clone());
                leaves(name, table, Some(&by_trunk), &mut said);
            }
        }
        let profile = carriers::typed(&raw).map_err(|fault| {
            let value = lookup(&raw, &fault.path).map(Value::to_string).unwrap_or_default();
            self.fault(&fault.path, value, fault.problem, "see carrier-configs/README.md")
        })?;
        Ok((profile, said))
    }

    fn unknown_carrier(self, name: &SmolStr, carriers: &Carriers) -> TrunkFault {
        self.fault(
            "carrier",
            name.to_string(),
            "names no carrier file",
            format!("use one of {}, or leave it out", carriers::listed(carriers)),
        )
    }

    fn unsupported(self, profile: &Profile) -> Vec<TrunkFault> {
        let mut faults = Vec::new();
        let config = self.config;
        if profile.inbound.auth == InboundAuth::Digest
            && config
                .digest
                .as_ref()
                .is_none_or(|it| it.users.is_empty() || it.algorithms.is_empty())
        {
            faults.push(self.fault(
                "inbound.auth",
                "digest",
                "asks callers for a proof, but nobody can give one",
                "add digest = { realm = \"…\", users = [{ username = \"…\", password = \"…\" }] }",
            ));
        }
        let bad_realm = |realm: &&SmolStr| {
            realm.is_empty() || realm.contains(['"', '\\']) || realm.contains(char::is_control)
        };
        if let Some(realm) = config.digest.as_ref().map(|it| &it.realm).filter(bad_realm) {
            faults.push(self.fault(
                "digest.realm",
                realm.to_string(),
                "is empty or holds a quote, a backslash or a control character",
                "write a name such as sip.example.com",
            ));
        }
        let dialog = &profile.dialog;
        let takes_refer = dialog.refer.as_ref().is_some_and(|refer| refer.send == Some(true));
        let missing = match config.delivery {
            Delivery::Refer if !takes_refer => Some("dialog.refer.send"),
            Delivery::Redirect if dialog.redirect_ok != Some(true) => Some("dialog.redirect_ok"),
            Delivery::Bridge | Delivery::Refer | Delivery::Redirect => None,
        };
        if let Some(missing) = missing {
            faults.push(self.fault(
                "delivery",
                format!("{:?}", config.delivery).to_lowercase(),
                "is not what the carrier is known to follow",
                format!("set {missing} = true if it does, or use \"bridge\""),
            ));
        }
        if let Some(register) = &config.register {
            self.check_registration(register, &mut faults);
        }
        faults
    }

    fn check_registration(self, register: &RegistrationConfig, faults: &mut Vec<TrunkFault>) {
        if self.config.credentials.is_none() {
            faults.push(self.fault(
                "register",
                "",
                "needs an account",
                "add credentials = { username = \"…\", password = \"…\" }",
            ));
        }
        if register.servers.is_empty() {
            let remedy = "name at least one, such as \"sip:sip.example.com\"";
            faults.push(self.fault("register.servers", "[]", "names no registrar", remedy));
        }
        for (position, server) in register.servers.iter().enumerate() {
            let uri = Uri::parse(server.as_bytes());
            let usable = uri.is_ok_and(|uri| {
                // Over TLS it would have to be said whose certificate to trust.
                uri.scheme() == Scheme::Sip
                    && uri.user().is_none()
                    && transport_of(&uri) != Transport::Tls
            });
            if !usable {
                faults.push(self.fault(
                    &format!("register.servers[{position}]"),
                    server.to_string(),
                    "is no SIP URI of a host over UDP or TCP",
                    "write it as sip:host or sip:host:port;transport=tcp",
                ));
            }
        }
        if !(60..=86_400).contains(&register.expires_s) {
            let value = register.expires_s.to_string();
            faults.push(self.fault(
                "register.expires_s",
                value,
                "is out of range",
                "write 60 to 86400",
            ));
        }
    }

    /// The listeners on which the carrier may call.
    fn listeners<'l>(
        self,
        all: &'l [TrunkListener],
        faults: &mut Vec<TrunkFault>,
    ) -> Vec<&'l TrunkListener> {
        if self.config.listeners.is_empty() {
            return all.iter().collect();
        }
        let mut named = Vec::new();
        for (position, name) in self.config.listeners.iter().enumerate() {
            match all.iter().find(|listener| listener.name == *name) {
                Some(listener) => named.push(listener),
                None => faults.push(self.fault(
                    &format!("listeners[{position}]"),
                    name.to_string(),
                    "is not in sip.listen",
                    "write it as it stands there, or leave listeners out to allow all",
                )),
            }
        }
        named
    }

    /// Over TLS a trunk that names its certificates is known by them, from its networks if it has
    /// any; otherwise and elsewhere by its networks.
    fn claims(
        self,
        profile: &Profile,
        listeners: &[&TrunkListener],
        faults: &mut Vec<TrunkFault>,
    ) -> Claims {
        let allowed = |transport| match transport {
            Transport::Udp => profile.inbound.transports.contains(&CarrierTransport::Udp),
            Transport::Tcp => profile.inbound.transports.contains(&CarrierTransport::Tcp),
            Transport::Tls => profile.inbound.transports.contains(&CarrierTransport::Tls),
        };
        let trunk = TrunkIndex(u16::try_from(self.position).unwrap_or(u16::MAX));
        let usable: Vec<_> =
            listeners.iter().filter(|listener| allowed(listener.transport)).collect();
        if usable.is_empty() && !listeners.is_empty() {
            faults.push(self.fault(
                "inbound.transports",
                format!("{:?}", profile.inbound.transports).to_lowercase(),
                "has none of the transports of the trunk's listeners",
                "add a listener to sip.listen, or a transport here",
            ));
        }
        let inbound = &profile.inbound;
        let is_named = |listener: &TrunkListener| {
            listener.transport == Transport::Tls && !inbound.tls_san.is_empty()
        };
        if inbound.cidrs.is_empty() && !usable.iter().all(|it| is_named(it)) {
            faults.push(self.fault(
                "inbound.cidrs",
                "[]",
                "names no network, so every call would come from a stranger",
                "list the networks the carrier signals from",
            ));
        }
        let mut claims = Claims::default();
        for listener in usable {
            if is_named(listener) {
                claims.names.extend(inbound.tls_san.iter().map(|name| NamedSource {
                    trunk,
                    listener: listener.id,
                    name: name.to_ascii_lowercase().into(),
                    networks: inbound.cidrs.iter().map(|cidr| cidr.0).collect(),
                }));
                continue;
            }
            claims.networks.extend(inbound.cidrs.iter().map(|cidr| Source {
                trunk,
                listener: listener.id,
                transport: listener.transport,
                network: cidr.0,
                proves: inbound.auth == InboundAuth::Digest,
            }));
        }
        claims
    }

    fn map_fault(self, profile: &Profile, key: &SmolStr, fault: &MapFault) -> TrunkFault {
        let status = profile.failover.map.get(key).copied().unwrap_or_default();
        self.fault(
            &format!("failover.map.{key}"),
            status.to_string(),
            fault.to_string(),
            "write \"486\" = 480, \"5xx\" = 500 or \"cap.full\" = 480",
        )
    }

    fn policy_fault(self, fault: PolicyFault) -> TrunkFault {
        let PolicyFault { field, value, problem, remedy } = fault;
        self.fault(&format!("inbound.{field}"), value, problem, remedy)
    }

    fn fault(
        self,
        field: &str,
        value: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> TrunkFault {
        TrunkFault {
            path: format!("trunks[{}].{field}", self.position),
            value: value.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// The `outbound` table of a carrier file, or of none, with the fields that others replace, one after
/// the other.
///
/// # Errors
/// An unknown carrier, or the first field that is not as the schema wants it.
pub(crate) fn outbound_of(
    carrier: Option<&SmolStr>,
    overrides: &[&Overrides],
    carriers: &Carriers,
) -> Result<Outbound, PolicyFault> {
    let mut raw = match carrier {
        Some(name) => {
            carriers.carrier(name).map(|carrier| carrier.raw.clone()).ok_or_else(|| {
                let remedy = format!("use one of {}, or leave it out", carriers::listed(carriers));
                PolicyFault::new("carrier", name.as_str(), "names no carrier file", remedy)
            })?
        }
        None => serde_json::json!({ "name": "target", "title": "target" }),
    };
    let table = raw.as_object_mut().expect("a carrier file is a table").entry("outbound");
    let table = table.or_insert_with(|| Value::Object(serde_json::Map::new()));
    overrides.iter().for_each(|overrides| merge(table, overrides));
    let profile = carriers::typed(&raw).map_err(|fault| {
        let value = lookup(&raw, &fault.path).map(Value::to_string).unwrap_or_default();
        let field = fault.path.strip_prefix("outbound.").unwrap_or(&fault.path);
        PolicyFault::new(field, value, fault.problem, "see carrier-configs/README.md")
    })?;
    Ok(profile.outbound)
}

fn repeated_ids(configs: &[TrunkConfig]) -> Vec<TrunkFault> {
    let mut first = BTreeMap::new();
    let mut faults = Vec::new();
    for (position, config) in configs.iter().enumerate() {
        let earlier = *first.entry(&config.id).or_insert(position);
        if earlier != position {
            faults.push(Entry { config, position }.fault(
                "id",
                config.id.to_string(),
                format!("is also the id of trunks[{earlier}]"),
                "give each trunk its own",
            ));
        }
    }
    faults
}

fn ambiguous(
    ambiguity: &Ambiguity,
    configs: &[TrunkConfig],
    listeners: &[TrunkListener],
) -> TrunkFault {
    let position = usize::from(ambiguity.second.0);
    let id = |index: TrunkIndex| configs[usize::from(index.0)].id.as_str();
    let listener = listeners
        .iter()
        .find(|listener| listener.id == ambiguity.listener)
        .map_or("a listener", |listener| listener.name.as_str());
    Entry { config: &configs[position], position }.fault(
        "inbound.cidrs",
        ambiguity.network.to_string(),
        format!("also belongs to trunk `{}` on {listener}", id(ambiguity.first)),
        "give the trunks different listeners, or a longer prefix to one of them, or ask the \
         callers of both for a proof (inbound.auth = \"digest\")",
    )
}

fn shared_name(
    shared: &SharedName,
    configs: &[TrunkConfig],
    listeners: &[TrunkListener],
) -> TrunkFault {
    let position = usize::from(shared.second.0);
    let first = configs[usize::from(shared.first.0)].id.as_str();
    let listener = listeners
        .iter()
        .find(|listener| listener.id == shared.listener)
        .map_or("a listener", |listener| listener.name.as_str());
    Entry { config: &configs[position], position }.fault(
        "inbound.tls_san",
        shared.name.to_string(),
        format!("also belongs to trunk `{first}` on {listener}"),
        "give the trunks different listeners, names or networks",
    )
}

/// Tables are merged field by field, everything else is replaced.
fn merge(base: &mut Value, overrides: &serde_json::Map<String, Value>) {
    if !base.is_object() {
        *base = Value::Object(serde_json::Map::new());
    }
    let Value::Object(base) = base else { return };
    for (key, value) in overrides {
        match (base.get_mut(key), value) {
            (Some(inner @ Value::Object(_)), Value::Object(replacing)) => merge(inner, replacing),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Each field below `path`, and whether it is among those of the trunk.
fn leaves(path: &str, value: &Value, by_trunk: Option<&Value>, said: &mut Vec<Said>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let by_trunk = by_trunk.and_then(|it| it.get(name));
                leaves(&format!("{path}.{name}"), value, by_trunk, said);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let is_own = by_trunk.is_some();
            said.push(Said { field: path.into(), value: value.clone(), is_own });
        }
    }
}

/// How fast each of the carrier's addresses may ask for something new (spec/sip S2).
fn requests(limits: &Limits) -> Option<Rate> {
    let per_s = limits.max_requests_per_s.unwrap_or(Rate::OF_A_TRUNK.per_s);
    // Four seconds' worth where only the rate is told.
    let burst = limits.max_requests_burst.unwrap_or_else(|| per_s.saturating_mul(4));
    (per_s > 0).then(|| Rate { per_s, burst: burst.max(1) })
}

/// The value at a path such as `inbound.cidrs[0]`.
fn lookup<'v>(root: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '[', ']']).filter(|step| !step.is_empty()).try_fold(root, |value, step| {
        match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => value.get(step),
        }
    })
}

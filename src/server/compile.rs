//! The configuration as what the server runs on: all of it, or all that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::config::{Config, ConfigError, Fault, Fitting, Misfits, Settings};
use crate::routing::attestation::ATTESTATION_TAGS;
use crate::routing::config::{DialConfig, SecretKey};
use crate::routing::revision::pack;
use crate::routing::snapshot::Campaign;
use crate::routing::{RoutingConfig, RoutingSnapshot};
use crate::sip::flow::ListenerId;
use crate::sip::message::Uri;
use crate::sip::policy::{TargetConfig, Targets};
use crate::sip::trunk::carriers::CarrierFault;
use crate::sip::trunk::{Carriers, Trunk, TrunkConfig, TrunkListener, Trunks};

use super::dialing::Dialing;
use super::egress;
use super::error::{Faults, StartError};
use super::fraud;
use super::legs::TargetLegs;
use super::redis::LinkTls;
use super::scoring::{Clients, ScorerPeers};
use super::settings::{tls_of_holds, transport};
use super::shippers;
use super::tls::{TlsFiles, TlsPlan};

/// What each part of the server needs of the configuration.
pub struct Compiled {
    pub routing: RoutingSnapshot,
    /// `routing` as it is kept.
    pub document: Bytes,
    pub trunks: Trunks,
    pub legs: TargetLegs,
    /// How targets are spoken to.
    pub targets: Targets,
    pub dialing: Dialing,
    pub tls: TlsPlan,
    pub scorers: ScorerPeers,
    /// What can be carried out, and will hardly do what was meant.
    pub warnings: Vec<String>,
}

/// Path, value, problem and remedy.
type Found = (String, String, String, String);

/// What stands in the files that TLS needs.
pub struct Loaded {
    pub tls: TlsFiles,
    pub scorers: Clients,
    pub holds: Option<LinkTls>,
}

/// The configuration, if its settings fit.
///
/// # Errors
/// What does not fit, and beside it all that is wrong with the business, whatever the settings are.
pub fn whole(read: Fitting<Config>) -> Result<Config, StartError> {
    let (config, misfits) = read.apart();
    let mut faults = Faults::default();
    if let Some(config) = config {
        if misfits.is_empty() {
            return Ok(config);
        }
        let mut of_business = Faults::default();
        of_business.keep(Dialing::compile(&config))?;
        of_business.keep(fraud::rules(&config))?;
        // They go by the listeners, the addresses and the carrier files that `[sip]` names.
        let carriers = (!misfits.are_in("sip")).then(|| carriers(&config));
        let carriers = carriers.map(|it| of_business.keep(it)).transpose()?.flatten();
        match &carriers {
            Some(carriers) => drop(of_business.keep(trunks(&config, carriers))?),
            None => drop(of_business.keep(config.section::<Vec<TrunkConfig>>("trunks"))?),
        }
        let (written, unfit) = config.routing::<RoutingConfig>().apart();
        if let Some(mut written) = written {
            written.texts = texts(&written);
            written.keys = keys(&written);
            let mut of_routing = Faults::default();
            of_routing.keep(TargetLegs::compile(&config, &written))?;
            if let Some(carriers) = &carriers {
                of_routing.keep(targets(&config, &written, carriers))?;
            }
            of_routing.keep(egress::check(&config, &written))?;
            of_routing.keep(routing_beside(bad_uris(&written), &config, written, 1))?;
            of_business.add(own_faults(&config, &unfit, of_routing));
        }
        of_business.add(unfit.into_faults());
        let found = own_faults(&config, &misfits, of_business);
        faults.add(misfits.into_faults());
        faults.add(found);
    }
    Err(ConfigError::Faults(faults.0).into())
}

/// Those that are there for themselves, not for what does not fit, with their places in the file.
fn own_faults(config: &Config, misfits: &Misfits, found: Faults) -> Vec<Fault> {
    let placed = found.0.into_iter().map(|fault| match misfits.has_lost() {
        true => {
            let path = misfits.placed(&fault.path);
            Fault {
                origin: config.origin_of(&path).clone(),
                path: path.into(),
                problem: misfits.placed(&fault.problem).into(),
                remedy: misfits.placed(&fault.remedy).into(),
                ..fault
            }
        }
        false => fault,
    });
    let is_own = |it: &Fault| {
        !misfits.may_cause(it) && !names_what_is_lost(it, misfits) && !is_of_several(it, misfits)
    };
    placed.filter(is_own).collect()
}

/// Whether a fault is that things do not fit together, one of which may have been meant otherwise: it could
/// not be read.
fn is_of_several(fault: &Fault, misfits: &Misfits) -> bool {
    let has = |part: &str| fault.problem.contains(part);
    let are_in = |sections: &[&str]| sections.iter().any(|it| misfits.are_in(it));
    has("than any target brings") && are_in(&["targets", "plans", "campaigns", "publishers"])
        || has("no vertical describes") && misfits.are_in("verticals")
        || has("leaves nothing of the week") && misfits.are_beside(&fault.path)
        || has("so that no call could pass")
            && (are_in(&["filter_sets", "sets"]) || misfits.are_beside(&fault.path))
}

/// Whether a fault is that a name leads nowhere, and it may be that of something which could not be read.
fn names_what_is_lost(fault: &Fault, misfits: &Misfits) -> bool {
    let name = fault.value.as_deref().unwrap_or_default();
    if let Some(what) = fault.problem.strip_prefix("names no ") {
        return misfits.may_have_lost(name, |section| match section {
            "caller_lists" => what.starts_with("list"),
            _ => what.starts_with(&section.trim_end_matches('s').replace('_', " ")),
        });
    }
    fault.problem.starts_with("is dialled by no call")
        && misfits.has_lost_any(|section| matches!(section, "campaigns" | "pools"))
}

/// Compiles the configuration. The files that TLS needs are not read.
///
/// # Errors
/// All faults found, each once and with its place in the file.
pub fn compile(config: &Config, revision: u64) -> Result<Compiled, StartError> {
    compile_with(config, revision, |_| Ok(()), |_| Ok(())).map(|(compiled, ..)| compiled)
}

/// The same, and reads the files that TLS needs. That takes a while.
///
/// # Errors
/// All faults found in either, each once and with its place in the file.
pub fn compile_and_load(config: &Config, revision: u64) -> Result<(Compiled, Loaded), StartError> {
    let mut faults = Faults::default();
    let compiled = compile_with(
        config,
        revision,
        |tls: &TlsPlan| tls.load(config),
        |scorers: &ScorerPeers| scorers.load(config),
    );
    let compiled = faults.keep(compiled)?;
    let holds = faults.keep(tls_of_holds(config))?;
    faults.keep(shippers::load(config))?;
    faults.none()?;
    let told = "what is not there has told its faults";
    let (compiled, tls, scorers) = compiled.expect(told);
    Ok((compiled, Loaded { tls, scorers, holds: holds.expect(told) }))
}

/// `load` and `load_scorers` read files.
fn compile_with<T, S>(
    config: &Config,
    revision: u64,
    load: impl FnOnce(&TlsPlan) -> Result<T, StartError>,
    load_scorers: impl FnOnce(&ScorerPeers) -> Result<S, StartError>,
) -> Result<(Compiled, T, S), StartError> {
    let mut faults = Faults::default();
    let carriers = faults.keep(carriers(config))?;
    let trunks = carriers.as_ref().map(|it| faults.keep(trunks(config, it))).transpose()?.flatten();
    let mut dialing = faults.keep(Dialing::compile(config))?;
    let (mut legs, mut targets, mut routing, mut document) = (None, None, None, None);
    let mut scorers = None;
    let mut warnings = vec![];
    let (written, misfits) = config.routing::<RoutingConfig>().apart();
    if let Some(mut written) = written {
        written.texts = texts(&written);
        written.keys = keys(&written);
        let mut found = Faults::default();
        legs = found.keep(TargetLegs::compile(config, &written))?;
        if let Some(carriers) = &carriers {
            targets = found.keep(self::targets(config, &written, carriers))?;
        }
        found.keep(egress::check(config, &written))?;
        scorers = found.keep(ScorerPeers::compile(config, &written))?;
        document = Some(pack(&written).into());
        warnings = written.unused();
        routing = found.keep(self::routing(config, written, revision))?;
        faults.add(own_faults(config, &misfits, found));
    }
    if misfits.has_lost() {
        // What they say of places would be of others than those of the file.
        (routing, scorers) = (None, None);
    }
    faults.add(misfits.into_faults());
    if let (Some(trunks), Some(routing)) = (&trunks, &routing) {
        warnings.extend(unattested(trunks, routing));
        if let (Some(legs), Some(dialing)) = (&mut legs, &mut dialing) {
            legs.go_over(trunks, routing);
            dialing.go_over(trunks, routing);
        }
    }
    warnings.extend(scorers.iter().flat_map(ScorerPeers::unverified));
    faults.keep(fraud::rules(config))?;
    let mut tls = None;
    if let (Some(trunks), Some(routing)) = (&trunks, &routing) {
        tls = faults.keep(TlsPlan::new(config, trunks, routing))?;
    }
    let mut loaded = None;
    if let Some(tls) = &tls {
        loaded = faults.keep(load(tls))?;
    }
    let mut scorers_loaded = None;
    if let Some(scorers) = &scorers {
        scorers_loaded = faults.keep(load_scorers(scorers))?;
    }
    faults.none()?;
    let part = "a part that is not there has told its faults";
    let compiled = Compiled {
        routing: routing.expect(part),
        document: document.expect(part),
        trunks: trunks.expect(part),
        legs: legs.expect(part),
        targets: targets.expect(part),
        dialing: dialing.expect(part),
        tls: tls.expect(part),
        scorers: scorers.expect(part),
        warnings,
    };
    Ok((compiled, loaded.expect(part), scorers_loaded.expect(part)))
}

/// The files that routing names, as they are now.
fn texts(written: &RoutingConfig) -> BTreeMap<PathBuf, Result<String, String>> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    written.files().map(|path| (path.to_owned(), read(path))).collect()
}

/// The keys that routing names, as the environment has them.
fn keys(written: &RoutingConfig) -> BTreeMap<SmolStr, SecretKey> {
    let read = |name: &SmolStr| {
        let key = std::env::var(name).ok().filter(|key| !key.is_empty())?;
        Some((name.clone(), SecretKey::new(&key)))
    };
    written.key_names().filter_map(read).collect()
}

/// Trunks of which nothing is kept that campaigns with `min_attestation` could go by.
fn unattested(trunks: &Trunks, routing: &RoutingSnapshot) -> Vec<String> {
    let tells = |trunk: &Trunk| {
        let inbound = &trunk.profile.inbound;
        let headers =
            inbound.headers_capture.iter().map(|it| format!("header.{}", it.to_lowercase()));
        let params =
            inbound.params_capture.iter().map(|it| format!("caller.{}", it.to_lowercase()));
        headers.chain(params).any(|tag| ATTESTATION_TAGS.contains(&tag.as_str()))
    };
    let silent: Vec<_> =
        trunks.iter().filter(|(_, it)| !tells(it)).map(|(_, it)| it.id.as_str()).collect();
    let asks = |it: &&Campaign| it.callers.min_attestation.is_some();
    let campaigns = routing.campaigns().iter().filter(asks).filter(|_| !silent.is_empty());
    let warning = |campaign: &Campaign| {
        format!(
            "campaign {} asks for an attestation, and of calls over {} none is kept: add \
             params_capture = [\"verstat\"] or headers_capture = [\"P-Attestation-Indicator\"] to \
             `inbound` of the trunk or of its carrier file, as the carrier sends it",
            campaign.id,
            silent.join(", "),
        )
    };
    campaigns.map(warning).collect()
}

/// What routing is told, and what routing cannot know: that targets' addresses are SIP URIs, and how long
/// calls of this server last.
pub(super) fn routing(
    config: &Config,
    written: RoutingConfig,
    revision: u64,
) -> Result<RoutingSnapshot, StartError> {
    let mut found = bad_uris(&written);
    found.extend(never_due(&config.settings, &written));
    routing_beside(found, config, written, revision)
}

/// The same, with what was `found` before.
fn routing_beside(
    mut found: Vec<Found>,
    config: &Config,
    written: RoutingConfig,
    revision: u64,
) -> Result<RoutingSnapshot, StartError> {
    match RoutingSnapshot::compile(written, revision) {
        Ok(snapshot) if found.is_empty() => return Ok(snapshot),
        Ok(_) => {}
        Err(faults) => {
            // Of a URI it tells less than is known already.
            let known: BTreeSet<_> = found.iter().map(|(path, ..)| path.clone()).collect();
            let is_new = |path: &String| !path.ends_with(".uri") || !known.contains(path);
            let more = faults.into_iter().filter(|it| is_new(&it.path));
            found.extend(more.map(|it| (it.path, it.value, it.problem, it.remedy)));
        }
    }
    Err(config.faults(found).into())
}

fn bad_uris(written: &RoutingConfig) -> Vec<Found> {
    let bad_uris = written
        .targets
        .iter()
        .enumerate()
        .flat_map(|(position, target)| {
            target.dial.iter().map(move |(field, dial)| (position, field, dial))
        })
        .filter_map(|(position, field, dial)| {
            let example = dial.uri.replace("{number}", "18005550100");
            let fault = Uri::parse(example.as_bytes()).err()?;
            Some((
                format!("targets[{position}].{field}.uri"),
                dial.uri.clone(),
                format!("is no SIP URI: it {fault}"),
                String::from("write it as sip:host:port or sip:user@host"),
            ))
        });
    bad_uris.collect()
}

/// Terms for which no call lasts long enough, whatever its target says.
fn never_due(settings: &Settings, written: &RoutingConfig) -> impl Iterator<Item = Found> {
    let longest = settings.sip.max_call.as_secs();
    let of_targets = written.targets.iter().enumerate().filter_map(|(t, target)| {
        let seconds = target.conversion.as_ref()?.seconds;
        Some((format!("targets[{t}].conversion.seconds"), seconds))
    });
    let of_publishers = written.publishers.iter().enumerate().flat_map(|(p, publisher)| {
        publisher.payouts.iter().enumerate().filter_map(move |(n, payout)| {
            Some((format!("publishers[{p}].payouts[{n}].seconds"), payout.seconds?))
        })
    });
    let never = of_targets.chain(of_publishers).filter(move |(_, it)| u64::from(*it) > longest);
    never.map(move |(path, seconds)| {
        let problem =
            format!("is never reached: no call lasts longer than sip.max_call_s, {longest}");
        let remedy = format!("write {longest} or less, or raise sip.max_call_s");
        (path, seconds.to_string(), problem, remedy)
    })
}

/// The trunks with what their carrier files say.
pub(super) fn trunks(config: &Config, carriers: &Carriers) -> Result<Trunks, StartError> {
    let settings = &config.settings;
    let listeners: Vec<_> = settings
        .sip
        .listeners()
        .iter()
        .enumerate()
        .map(|(position, listener)| TrunkListener {
            id: ListenerId(u16::try_from(position).unwrap_or(u16::MAX)),
            transport: transport(listener.address.transport),
            name: listener.address.to_string().into(),
        })
        .collect();
    let (configs, misfits) = config.section_apart::<Vec<TrunkConfig>>("trunks").apart();
    let compiled = Trunks::compile(&configs.unwrap_or_default(), &listeners, carriers);
    let trunks = match compiled {
        Ok(trunks) if misfits.is_empty() => trunks,
        told => {
            let told = told.err().into_iter().flatten();
            let told = told.map(|it| (it.path, it.value, it.problem, it.remedy));
            let (mut faults, mut found) = (Faults::default(), Faults::default());
            found.keep::<()>(Err(config.faults(told)))?;
            faults.add(own_faults(config, &misfits, found));
            faults.add(misfits.into_faults());
            return Err(ConfigError::Faults(faults.0).into());
        }
    };
    let ours = contact_bytes(settings);
    let too_long: Vec<_> = trunks
        .iter()
        .enumerate()
        .filter_map(|(position, (_, trunk))| {
            let max = trunk.profile.inbound.contact_bytes_max?;
            (usize::try_from(max).unwrap_or(usize::MAX) < ours).then(|| {
                (
                    format!("trunks[{position}].inbound.contact_bytes_max"),
                    max.to_string(),
                    format!("is less than our Contact has, {ours} bytes"),
                    String::from("give the listener a shorter name in sip.advertise"),
                )
            })
        })
        .collect();
    if too_long.is_empty() { Ok(trunks) } else { Err(config.faults(too_long).into()) }
}

/// How targets are spoken to.
fn targets(
    config: &Config,
    written: &RoutingConfig,
    carriers: &Carriers,
) -> Result<Targets, StartError> {
    // What does not fit in them is told where they are compiled.
    let trunks = config.section_apart::<Vec<TrunkConfig>>("trunks").apart().0.unwrap_or_default();
    let over = |(place, dial): (u8, &DialConfig)| {
        let trunk = dial.trunk.as_ref()?;
        Some((place, trunks.iter().find(|it| it.id == *trunk)?))
    };
    let targets = written.targets.iter().map(|target| TargetConfig {
        id: target.id.as_str(),
        buyer: target.buyer.as_str(),
        sip: &target.sip,
        trunks: (0..).zip(target.dial.iter().map(|(_, dial)| dial)).filter_map(over).collect(),
    });
    Targets::compile(targets, carriers, contact_bytes(&config.settings)).map_err(|faults| {
        let faults = faults.into_iter().map(|(position, it)| {
            (format!("targets[{position}].sip.{}", it.field), it.value, it.problem, it.remedy)
        });
        config.faults(faults).into()
    })
}

/// The built-in carrier files and those of the configuration.
fn carriers(config: &Config) -> Result<Carriers, StartError> {
    let mut carriers = Carriers::built_in();
    let Some(dir) = &config.settings.sip.carrier_dir else { return Ok(carriers) };
    let fault = |problem: String, remedy: &str| {
        let value = dir.display().to_string();
        (String::from("sip.carrier_dir"), value, problem, remedy.to_owned())
    };
    let mut found = vec![];
    match crate::config::read_carrier_files(dir) {
        Ok(files) => {
            let told = files.iter().filter_map(|(name, text)| carriers.insert(name, text).err());
            found.extend(told.map(|CarrierFault { name, problem }| {
                let problem: Vec<_> = problem.lines().map(str::trim).collect();
                let problem = format!("has the file `{name}.toml`: {}", problem.join(" "));
                fault(problem, "correct the file, or move it out of the folder")
            }));
        }
        Err((path, cause)) => found.push(fault(
            format!("cannot be read: {}: {cause}", path.display()),
            "name a folder with carrier files that this user may read, or leave it out",
        )),
    }
    if found.is_empty() { Ok(carriers) } else { Err(config.faults(found).into()) }
}

/// Length of our longest Contact, `<sips:HOST:PORT;transport=tls>`.
fn contact_bytes(settings: &Settings) -> usize {
    let listeners = settings.sip.listeners();
    let hosts = listeners.iter().map(|listener| listener.advertised.host.len());
    "<sips::65535;transport=tls>".len() + hosts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    #[test]
    fn a_fault_is_told_once_and_with_it_those_of_all_other_parts() {
        assert_eq!(
            told(
                "[[trunks]]\nid = \"t\"\ncarrier = \"nobody\"\n\
                 [[targets]]\nid = \"a\"\nnonsense = 1\nsip = { delivery = \"pigeon\" }\n"
            ),
            [
                "trunks[0].carrier = nobody",
                "targets[0].sip.delivery = \"pigeon\"",
                "targets[0].nonsense = 1",
                "targets[0]",
            ]
        );
        // Two parts read it.
        assert_eq!(told("[[targets]]\nid = 1\n"), ["targets[0].id = 1"]);
    }

    #[test]
    fn a_mistake_within_what_may_have_a_name_is_told_with_its_place() {
        let target = |rest: &str| {
            let dial = "dial = { kind = \"sip\", uri = \"sip:a\" }";
            let buyer = "[[buyers]]\nid = \"b\"\n";
            told(&format!("{buyer}[[targets]]\nid = \"a\"\nbuyer = \"b\"\n{dial}\n{rest}\n"))
        };
        assert_eq!(
            target(
                "schedule = { hours = [{ day = \"mo\", open = \"09:00\", close = \"18:00\" }] }"
            ),
            ["targets[0].schedule.hours[0].day = \"mo\""]
        );
        assert_eq!(target("schedule = 7"), ["targets[0].schedule = 7"]);
        assert_eq!(
            target("filters.all = [{ tag = \"t\", op = \"is\", value = 7 }]"),
            ["targets[0].filters.all[0].op = \"is\""]
        );
        let campaign = "[[campaigns]]\nid = \"c\"\n\
             routing = { tiers = [], distribution = { new_bonus_pct = -1, by = \"performance\" } }\n";
        let place = String::from("campaigns[0].routing.distribution.new_bonus_pct = -1");
        assert!(told(campaign).contains(&place), "{:?}", told(campaign));
        assert_eq!(
            told("[[schedules]]\nid = \"s\"\nalways = true\n"),
            ["schedules[0].always = true"]
        );
    }

    #[test]
    fn all_that_routing_reads_may_stand_in_the_file() {
        let error = toml::from_str::<RoutingConfig>("nonsense = 1").unwrap_err().to_string();
        let (_, fields) = error.split_once("expected one of").expect("serde names the fields");
        let sections: Vec<_> = fields.split('`').skip(1).step_by(2).collect();
        assert!(sections.contains(&"pairs"), "{error}");
        for section in sections {
            let text = format!("[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[{section}]\n");
            let lists = text.replace(&format!("[{section}]"), &format!("[[{section}]]"));
            let read = |text: &str| {
                let config = Config::parse("c.toml", text, Format::Toml, std::iter::empty(), &[]);
                config.err().map(|error| error.to_string())
            };
            for told in [read(&text), read(&lists)].into_iter().flatten() {
                assert!(!told.contains("is no section"), "{told}");
            }
        }
    }

    #[test]
    fn an_account_that_cannot_be_meant_is_a_fault_with_its_remedy() {
        for (account, fault) in [
            ("id = \"a{b}\"", "account.id = \"a{b}\": is no name for keys: write 1 to 40 letters"),
            ("currency = \"usd\"", "account.currency = \"usd\": is no currency: write the three"),
            ("nmae = \"x\"", "account.nmae = \"x\": is no field that is known here; did you mean"),
            ("time_zone = \"Mars\"", "account.time_zone = Mars: is no known time zone; write an"),
        ] {
            let text = format!("[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[account]\n{account}");
            let none = std::iter::empty();
            let told = match Config::parse("c.toml", &text, Format::Toml, none, &[]) {
                Err(error) => error.to_string(),
                Ok(config) => compile(&config, 1).err().unwrap().to_string(),
            };
            assert!(told.contains(fault), "{told}");
        }
    }

    #[test]
    fn terms_that_no_call_of_this_server_lasts_long_enough_for_are_faults_beside_all_others() {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\nmax_call_s = 100\n\
             [[publishers]]\nid = \"p\"\n\
             payouts = [{ campaign = \"c\", amount = \"1.00\", seconds = SECONDS }]\n\
             price.allow_loss = true\n\
             [[buyers]]\nid = \"b\"\n\
             [[targets]]\nid = \"t\"\nbuyer = \"b\"\ndial = { kind = \"sip\", uri = \"URI\" }\n\
             conversion = { seconds = SECONDS, revenue = \"2.00\" }\n\
             [[campaigns]]\nid = \"c\"\npublisher = \"p\"\nnumbers = [\"+18005550100\"]\n\
             routing.tiers = [{ targets = [{ target = \"TARGET\" }] }]\n";
        let told = |seconds: &str, uri, target| {
            let text =
                text.replace("SECONDS", seconds).replace("URI", uri).replace("TARGET", target);
            let none = std::iter::empty();
            let config = Config::parse("c.toml", &text, Format::Toml, none, &[]).unwrap();
            compile(&config, 1).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(told("100", "sip:a", "t"), "");
        let faults = told("101", "a", "ghost");
        let faults: Vec<_> = faults.lines().collect();
        assert_eq!(
            faults,
            [
                "c.toml:13: targets[0].dial.uri = a: is no SIP URI: it has a URI without a scheme; write it as \
                 sip:host:port or sip:user@host",
                "c.toml:14: targets[0].conversion.seconds = 101: is never reached: no call lasts \
                 longer than sip.max_call_s, 100; write 100 or less, or raise sip.max_call_s",
                "c.toml:6: publishers[0].payouts[0].seconds = 101: is never reached: no call lasts \
                 longer than sip.max_call_s, 100; write 100 or less, or raise sip.max_call_s",
                "c.toml:19: campaigns[0].routing.tiers[0].targets[0].target = ghost: names no target of \
                 this configuration; add the target, or correct the name",
            ]
        );
    }

    /// Where each fault is said to be.
    fn told(entities: &str) -> Vec<String> {
        let text = format!("[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n{entities}");
        let none = std::iter::empty();
        let config = Config::parse("c.toml", &text, Format::Toml, none, &[]).unwrap();
        let faults = compile(&config, 1).err().unwrap().to_string();
        faults.lines().filter_map(|line| line.split(": ").nth(1)).map(str::to_owned).collect()
    }
}

//! Who is asked about callers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::money::Money;
use crate::routing::config::{EnricherConfig, PeerTlsConfig, RoutingConfig, SecretKey};
use crate::routing::enrich::breaker::BreakerRules;
use crate::routing::enrich::budget::Budget;
use crate::routing::enrich::{EMBEDDED, Enricher, ToldCaller};
use crate::routing::ping::TAG_BYTES_MAX;
use crate::routing::vertical::Vertical;
use crate::suggest::suggestion;

use super::{Compiler, index};

/// A key of a hash that is shorter could be guessed, and with it all numbers.
const KEY_CHARS_MIN: usize = 16;

/// What else than enrichers makes tags whose names begin so.
const OF_OTHERS: [&str; 3] = ["geo.", "header.", "caller."];

impl Compiler<'_> {
    pub(super) fn enrichers(&mut self, config: &RoutingConfig) -> BTreeMap<SmolStr, Arc<Enricher>> {
        let ids = config.enrichers.iter().map(|enricher| enricher.id.as_str()).collect();
        index("enrichers", ids, &mut self.faults);
        let enrichers = config.enrichers.iter().enumerate();
        let enrichers = enrichers.map(|(e, enricher)| {
            let compiled = self.enricher(&format!("enrichers[{e}]"), enricher, config);
            (enricher.id.clone(), Arc::new(compiled))
        });
        enrichers.collect()
    }

    /// Those that a campaign names.
    pub(super) fn enrich(&mut self, path: &str, names: &[SmolStr]) -> Vec<Arc<Enricher>> {
        let mut named: Vec<Arc<Enricher>> = vec![];
        for (n, name) in names.iter().enumerate() {
            let path = format!("{path}.enrich[{n}]");
            let Some(enricher) = self.enrichers.get(name).cloned() else {
                let remedy = match self.enrichers.is_empty() {
                    true => String::from("add it to `enrichers`"),
                    false => suggestion(name, self.enrichers.keys().map(SmolStr::as_str)),
                };
                let problem = "names no enricher of this configuration";
                self.fault_at(&path, name, problem, &remedy);
                continue;
            };
            if named.iter().any(|known| known.id == enricher.id) {
                self.fault_at(&path, name, "is named twice", "keep one of the two");
                continue;
            }
            // Which of two were right would depend on who answers first.
            let twice = enricher.tags().find_map(|tag| {
                let other = named.iter().find(|other| other.tags().any(|it| it == tag))?;
                Some((tag.clone(), other.id.clone()))
            });
            if let Some((tag, other)) = twice {
                let problem = format!("tells the tag `{tag}`, which `{other}` tells too");
                self.fault_at(&path, name, &problem, "give one of them another name for it");
            }
            named.push(enricher);
        }
        named
    }

    fn enricher(&mut self, path: &str, config: &EnricherConfig, all: &RoutingConfig) -> Enricher {
        if config.id == EMBEDDED {
            let problem = "is the name of what is built in";
            self.fault(path, "id", &config.id, problem, "choose another name");
        }
        let is_tls = config.speaks_tls();
        if is_tls.is_none() {
            let problem = "is no http or https URL";
            let remedy = "write it as https://host/path, or http://host:port/path";
            self.fault(path, "url", &config.url, problem, remedy);
        }
        if is_tls == Some(false) && config.tls != PeerTlsConfig::default() {
            let (tls, problem) =
                (format!("of {}", config.id), "has no effect, since the URL does not ask for TLS");
            self.fault(path, "tls", tls, problem, "write https:// in url, or leave it out");
        }
        for (field, value, range) in [
            ("deadline_ms", config.deadline_ms, 10..=10_000),
            ("concurrency", config.concurrency, 1..=256),
            ("cache_s", config.cache_s, 0..=2_592_000),
            ("cache_max", config.cache_max, 1..=1_000_000),
            ("failures_max", config.failures_max, 1..=1_000),
            ("rest_s", config.rest_s, 1..=3_600),
        ] {
            self.within(path, field, value, range);
        }
        for (field, money) in [("cost", Some(config.cost)), ("cost_per_day", config.cost_per_day)] {
            let is_amount = |it: &Money| (Money::ZERO..=Money::OF_A_LIMIT_MAX).contains(it);
            if let Some(money) = money.filter(|money| !is_amount(money)) {
                let remedy = format!("write an amount of at most {}", Money::OF_A_LIMIT_MAX);
                self.fault(path, field, money, "is no amount of money to pay", &remedy);
            }
        }
        if config.cost_per_day.is_some() && config.cost == Money::ZERO {
            let (cost, problem) = (config.cost, "is nothing, so that cost_per_day bounds nothing");
            self.fault(path, "cost", cost, problem, "write what a question costs");
        }
        self.told_tags(path, config);
        let token = config.token_env.as_ref().and_then(|env| {
            let token = all.keys.get(env).cloned();
            if token.is_none() && !all.is_kept {
                self.no_key(path, "token_env", env);
            }
            if token.as_ref().is_some_and(|it| !it.bytes().iter().all(u8::is_ascii_graphic)) {
                let problem = "holds what no Authorization header can hold";
                self.fault(path, "token_env", env, problem, "write printable ASCII without blanks");
            }
            token
        });
        Enricher {
            id: config.id.clone(),
            url: config.url.clone(),
            tls: is_tls.unwrap_or(false).then(|| config.tls.clone()),
            token,
            caller: self.told_caller(path, config, all),
            send_tags: config.send_tags.clone(),
            tells: config.tells.clone(),
            deadline: Duration::from_millis(config.deadline_ms.into()),
            concurrency: config.concurrency,
            holds: Duration::from_secs(config.cache_s.into()),
            callers_max: config.cache_max as usize,
            budget: Budget {
                cost: config.cost,
                calls_per_day: config.calls_per_day.map(u64::from),
                cost_per_day: config.cost_per_day,
            },
            breaker: BreakerRules {
                failures_max: config.failures_max,
                rest: Duration::from_secs(config.rest_s.into()),
            },
        }
    }

    fn told_tags(&mut self, path: &str, config: &EnricherConfig) {
        if config.tells.is_empty() {
            let remedy = "write at least one, such as { line_type = \"/carrier/type\" }";
            self.fault(path, "tells", "{}", "says nothing", remedy);
        }
        for (tag, pointer) in &config.tells {
            if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
                let problem = "is no name of a tag";
                self.fault(path, "tells", tag, problem, "write a name such as line_type");
            }
            if let Some(others) = OF_OTHERS.iter().find(|start| tag.starts_with(**start)) {
                let problem = format!("begins with `{others}`, as tags do that are made elsewhere");
                self.fault(path, "tells", tag, &problem, "choose another name");
            }
            if !pointer.starts_with('/') {
                let (field, problem) = (format!("tells.{tag}"), "is no JSON pointer");
                self.fault(path, &field, pointer, problem, "write one such as \"/carrier/type\"");
            }
        }
        for (t, tag) in config.send_tags.iter().enumerate().filter(|(_, tag)| tag.is_empty()) {
            self.fault(path, &format!("send_tags[{t}]"), tag, "names no tag", "write its name");
        }
        for (t, tag) in config.send_tags.iter().enumerate() {
            let near = Vertical::place_meant_by(tag);
            self.is_no_slip(path, &format!("send_tags[{t}]"), tag, near);
        }
    }

    fn told_caller(
        &mut self,
        path: &str,
        config: &EnricherConfig,
        all: &RoutingConfig,
    ) -> ToldCaller {
        match (config.send_caller, &config.key_env) {
            (true, None) => return ToldCaller::Number,
            (true, Some(env)) => {
                let problem = "has no effect, since the number itself is told";
                self.fault(path, "key_env", env, problem, "leave it out, or send_caller");
                return ToldCaller::Number;
            }
            (false, None) => {
                let problem = "tells neither callers' numbers nor hashes of them";
                let remedy = "name in key_env the variable with the key of the hash, or set \
                              send_caller = true";
                self.fault_at(path, &config.id, problem, remedy);
            }
            (false, Some(env)) => match all.keys.get(env) {
                Some(key) => {
                    let chars = String::from_utf8_lossy(key.bytes()).chars().count();
                    if chars < KEY_CHARS_MIN {
                        let (shown, problem) = (format!("{chars} characters"), "can be guessed");
                        let remedy = format!("use {KEY_CHARS_MIN} random characters or more");
                        self.fault(path, "key_env", shown, problem, &remedy);
                    }
                    return ToldCaller::Hash(key.clone());
                }
                None if all.is_kept => {}
                None => self.no_key(path, "key_env", env),
            },
        }
        ToldCaller::Hash(SecretKey::new(""))
    }

    fn no_key(&mut self, path: &str, field: &str, env: &SmolStr) {
        let problem = "is no variable of the environment that holds anything";
        self.fault(path, field, env, problem, "set it, or correct the name");
    }
}

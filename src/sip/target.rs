//! What is agreed with a target: `[targets.sip]` of the configuration, which routing does not read.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use smol_str::SmolStr;

use super::auth::{Account, AccountConfig};
use super::message::Uri;

/// `sip` of a target, as written. What else that table holds is policy, and checked where that is
/// read ([`crate::sip::policy::targets`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetConfig {
    /// What its challenges are answered with; without it a challenge is a refusal.
    pub credentials: Option<AccountConfig>,
    /// How it gets its calls; absent for what the trunk says.
    pub delivery: Option<Delivery>,
    pub redirect: RedirectConfig,
    pub refer: ReferConfig,
}

/// How a call comes to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// We call the target and stay between the two.
    #[default]
    Bridge,
    /// We answer the carrier and tell it by REFER whom to call; if it refuses, we bridge.
    Refer,
    /// We tell the carrier by 302 whom to call. What becomes of the call is not known.
    Redirect,
}

/// What is done when the target answers with 300, 301 or 302.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedirectConfig {
    /// Redirections followed in one call, 0 to 10; 0 takes them for refusals. Default 3.
    pub max: u8,
    /// Hosts it may redirect to besides the one it is called at. Default: none.
    pub hosts: Vec<SmolStr>,
}

/// What is done when the target asks by REFER to be replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferConfig {
    /// Default `reject`.
    pub policy: ReferPolicy,
    /// Hosts it may refer to besides the one it is called at. Default: none.
    pub hosts: Vec<SmolStr>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferPolicy {
    /// 403.
    #[default]
    Reject,
    /// We call the new party and connect the caller to it.
    Accept,
    /// The caller's carrier is asked to do it.
    Relay,
}

/// [`TargetConfig`], ready for use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRules {
    pub account: Option<Arc<Account>>,
    pub delivery: Option<Delivery>,
    pub redirect: RedirectConfig,
    pub refer: ReferConfig,
}

/// A rule that cannot be kept: where below `sip`, with what, why, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFault {
    /// Such as `redirect.hosts[0]`.
    pub path: String,
    pub value: String,
    pub problem: &'static str,
    pub remedy: &'static str,
}

/// More redirections than that are a loop whatever their addresses say.
const REDIRECTS_MAX: u8 = 10;

impl RedirectConfig {
    pub const DEFAULT_MAX: u8 = 3;
}

impl Default for RedirectConfig {
    fn default() -> Self {
        Self { max: Self::DEFAULT_MAX, hosts: Vec::new() }
    }
}

impl TargetRules {
    /// The rules of the target `id`.
    ///
    /// # Errors
    /// All faults found.
    pub fn compile(id: &str, config: &TargetConfig) -> Result<Self, Vec<TargetFault>> {
        let mut faults = Vec::new();
        if config.redirect.max > REDIRECTS_MAX {
            faults.push(TargetFault {
                path: String::from("redirect.max"),
                value: config.redirect.max.to_string(),
                problem: "is out of range",
                remedy: "write 0 to 10",
            });
        }
        let lists = [("redirect", &config.redirect.hosts), ("refer", &config.refer.hosts)];
        for (table, hosts) in lists {
            for (position, host) in hosts.iter().enumerate().filter(|(_, it)| !is_host(it)) {
                faults.push(TargetFault {
                    path: format!("{table}.hosts[{position}]"),
                    value: host.to_string(),
                    problem: "is neither a host name nor an address",
                    remedy: "write it without port, such as sbc.example.com, 192.0.2.7 or [2001:db8::7]",
                });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let name = smol_str::format_smolstr!("target/{id}");
        let account = config.credentials.as_ref().map(|it| Arc::new(Account::new(name, it)));
        Ok(Self {
            account,
            delivery: config.delivery,
            redirect: config.redirect.clone(),
            refer: config.refer.clone(),
        })
    }

    /// The host names that calls to this target may lead to.
    pub fn host_names(&self) -> impl Iterator<Item = &SmolStr> {
        let hosts = self.redirect.hosts.iter().chain(&self.refer.hosts);
        hosts.filter(|host| host_ip(host.as_bytes()).is_none())
    }
}

/// Whether two hosts of URIs are the same, as names in any case or as addresses.
pub fn same_host(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
        || host_ip(one).is_some_and(|address| host_ip(other) == Some(address))
}

fn host_ip(host: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(host).ok()?.trim_matches(['[', ']']).parse().ok()
}

fn is_host(text: &str) -> bool {
    let uri = format!("sip:{text}");
    Uri::parse(uri.as_bytes()).is_ok_and(|uri| uri.host() == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for (host, valid) in [
            ("sbc.example.com", true),
            ("192.0.2.7", true),
            ("[2001:db8::7]", true),
            ("192.0.2.7:5060", false),
            ("user@host", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_host(host), valid, "{host}");
        }
    }

    #[test]
    fn hosts_are_compared_as_names_in_any_case_and_as_addresses() {
        assert!(same_host(b"SBC.example.com", b"sbc.Example.com"));
        assert!(same_host(b"[2001:db8::7]", b"[2001:DB8:0::7]"));
        assert!(!same_host(b"192.0.2.7", b"192.0.2.70"));
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let config: TargetConfig = serde_json::from_value(serde_json::json!({
            "redirect": { "max": 11, "hosts": ["a:1"] }, "refer": { "hosts": ["b", "c d"] }
        }))
        .unwrap();

        let faults = TargetRules::compile("t", &config).unwrap_err();

        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["redirect.max", "redirect.hosts[0]", "refer.hosts[1]"]);
    }
}

//! `[egress]`: whom the server asks over HTTP (spec/data §5.4).

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::network::Network;

use super::fault::Finding;

/// `[egress]`: what holds for every URL that the configuration has asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressSettings {
    /// Whether `http:` URLs may be asked, in clear text. Default false.
    pub allow_http: bool,
    /// Ports that may be asked at. Default 80, 443 and 8443.
    pub ports: Vec<u16>,
    /// Networks that may be asked though they are not public, such as that of a service next to the
    /// server. Default none.
    pub allow_cidrs: Vec<Network>,
    /// The address of this machine that asks; whom it cannot reach is not asked. Default: as the system
    /// chooses.
    pub source_address: Option<IpAddr>,
}

impl Default for EgressSettings {
    fn default() -> Self {
        Self {
            allow_http: false,
            ports: vec![80, 443, 8_443],
            allow_cidrs: vec![],
            source_address: None,
        }
    }
}

impl EgressSettings {
    pub(super) fn check(&self, findings: &mut Vec<Finding>) {
        let mut finding = |path: String, value: String, problem: &str, remedy: &str| {
            let (problem, remedy) = (problem.to_owned(), remedy.to_owned());
            findings.push(Finding { path, value, problem, remedy });
        };
        if self.ports.is_empty() {
            let remedy = "list at least one, such as 443";
            finding(String::from("egress.ports"), String::from("[]"), "names no port", remedy);
        }
        for (position, port) in self.ports.iter().enumerate().filter(|(_, port)| **port == 0) {
            let path = format!("egress.ports[{position}]");
            finding(path, port.to_string(), "is no port", "use 1 to 65535");
        }
        if let Some(source) = self.source_address
            && (source.is_unspecified() || source.is_multicast())
        {
            let (path, problem) = ("egress.source_address", "is no address to ask from");
            let remedy = "write one of this machine, or leave it out";
            finding(path.to_owned(), source.to_string(), problem, remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Format};

    #[test]
    fn all_that_is_wrong_with_it_is_told_with_its_place() {
        let read = |text: &str| {
            let none = std::iter::empty();
            Config::parse("test.toml", text, Format::Toml, none, &[]).unwrap_err().to_string()
        };
        let told = read(
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[egress]\nports = [443, 0]\n\
             source_address = \"::\"\n",
        );
        for fault in [
            "egress.ports[1] = 0: is no port; use 1 to 65535",
            "egress.source_address = ::: is no address to ask from; write one of this machine",
        ] {
            assert!(told.contains(fault), "{told}");
        }
        let told = read("[egress]\nports = []\n");
        assert!(told.contains("egress.ports = []: names no port"), "{told}");
        for (network, fault) in [
            ("10.1.2.3/8", "has bits set behind its prefix; the network is 10.0.0.0/8"),
            ("here", "is no network such as 192.0.2.0/24"),
        ] {
            let told = read(&format!("[egress]\nallow_cidrs = [\"{network}\"]\n"));
            let fault = format!("egress.allow_cidrs[0] = \"{network}\": {fault}");
            assert!(told.contains(&fault), "{told}");
        }
    }
}

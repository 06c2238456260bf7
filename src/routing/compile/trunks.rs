//! Whose calls come over which trunk.

use std::collections::BTreeMap;

use smol_str::format_smolstr;

use crate::id::TrunkId;

use super::Compiler;
use super::circuit::in_use;
use crate::routing::config::{CircuitConfig, RoutingConfig, Source, TrunkConfig};
use crate::routing::snapshot::{NumberRange, Trunk};

impl Compiler<'_> {
    pub(super) fn trunks(
        &mut self,
        configs: &[TrunkConfig],
        of_all: Option<&CircuitConfig>,
    ) -> BTreeMap<TrunkId, Trunk> {
        let mut trunks = BTreeMap::new();
        for (t, config) in configs.iter().enumerate() {
            let path = format!("trunks[{t}]");
            if let Some(publisher) = &config.publisher {
                self.publisher(&format!("{path}.publisher"), publisher.as_str());
            }
            if let Some(header) = &config.session_header {
                if config.publisher.is_none() {
                    let problem = "is believed of a publisher's own trunk alone";
                    let remedy = "add `publisher`, or leave it out";
                    self.fault(&path, "session_header", header, problem, remedy);
                }
                let is_token =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
                if header.is_empty() || !header.bytes().all(is_token) {
                    let remedy = "write a name such as X-Ping-Id";
                    self.fault(&path, "session_header", header, "names no header", remedy);
                }
            }
            let session_tag = config.session_header.as_ref();
            let session_tag = session_tag.map(|it| format_smolstr!("header.{}", it.to_lowercase()));
            if let Some(own) = &config.circuit {
                self.circuit(&path, own);
            }
            let circuit = in_use(config.circuit.as_ref().or(of_all));
            let circuit_from = Source::of(config.circuit.is_some(), false, of_all.is_some());
            self.codes(&path, "next_way_on", config.next_way_on.as_deref());
            self.codes(&path, "advance_on", config.advance_on.as_deref());
            let trunk = Trunk {
                publisher: config.publisher.clone(),
                session_tag,
                stand_in: config.stand_in_number,
                circuit,
                circuit_from,
                next_way_on: config.next_way_on.clone(),
                advance_on: config.advance_on.clone(),
            };
            trunks.insert(config.id.clone(), trunk);
        }
        trunks
    }

    /// Numbers for calls whose session nobody can tell are static, and those of a publisher's own trunk are
    /// the publisher's. `known` are all numbers there are.
    pub(super) fn stand_in_numbers(&mut self, config: &RoutingConfig, known: &[NumberRange]) {
        let of_trunks = config.trunks.iter().enumerate();
        let of_trunks = of_trunks
            .map(|(t, it)| (format!("trunks[{t}]"), it.stand_in_number, it.publisher.as_ref()));
        let of_account = (String::from("account"), config.account.stand_in_number, None);
        for (path, number, publisher) in of_trunks.chain([of_account]) {
            let Some(number) = number else { continue };
            let value = number.to_e164();
            let mut ranges = known.iter().filter(|it| it.pool.is_none());
            let Some(range) = ranges.find(|it| it.digits.contains(&number.digits())) else {
                let problem = "is no static number of a campaign";
                let remedy = "add it to `numbers` of one, or name another";
                self.fault(&path, "stand_in_number", value, problem, remedy);
                continue;
            };
            let place = publisher.and_then(|it| self.publisher_index.get(it.as_str()));
            if place.is_some_and(|it| *it != range.publisher) {
                let problem = "is not a number of the trunk's publisher";
                let remedy = "name one of the publisher's own, or leave it out";
                self.fault(&path, "stand_in_number", value, problem, remedy);
            }
        }
    }
}

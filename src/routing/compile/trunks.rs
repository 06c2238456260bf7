//! Whose calls come over which trunk.

use std::collections::BTreeMap;

use smol_str::format_smolstr;

use crate::id::TrunkId;

use super::Compiler;
use super::circuit::in_use;
use crate::routing::config::{CircuitConfig, Source, TrunkConfig};
use crate::routing::snapshot::Trunk;

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
                circuit,
                circuit_from,
                next_way_on: config.next_way_on.clone(),
                advance_on: config.advance_on.clone(),
            };
            trunks.insert(config.id.clone(), trunk);
        }
        trunks
    }
}

//! Zones for tests, and what is found in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::records::{Kind, Naptr, Question, Records, Srv};
use super::service::Service;
use super::steps::{Location, Speaks, walk};
use crate::sip::flow::Transport;
use crate::sip::message::Uri;

/// Everything that is known; a name that is not in it has no records.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    records: BTreeMap<Question, Records>,
    /// Names of which nothing is known yet.
    unknown: BTreeSet<String>,
    none: BTreeMap<Kind, Records>,
}

/// One record a line: `name naptr ORDER PREFERENCE FLAGS SERVICES REPLACEMENT`, `name srv PRIORITY
/// WEIGHT PORT TARGET`, `name a ADDRESS`, `name aaaa ADDRESS`, or `name unknown`.
pub(super) fn zone(text: &str) -> Zone {
    let mut zone = Zone::default();
    for kind in [Kind::Naptr, Kind::Srv, Kind::A, Kind::Aaaa] {
        zone.none.insert(kind, kind.none());
    }
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = match words[1] {
            "naptr" => Kind::Naptr,
            "srv" => Kind::Srv,
            "a" => Kind::A,
            "aaaa" => Kind::Aaaa,
            _ => {
                zone.unknown.insert(words[0].to_owned());
                continue;
            }
        };
        let question = Question::new(words[0], kind);
        let records = zone.records.entry(question).or_insert_with(|| kind.none());
        let number = |at: usize| words[at].parse().unwrap();
        match records {
            Records::Naptr(all) => all.push(Naptr {
                order: number(2),
                preference: number(3),
                flags: words[4].into(),
                services: words[5].into(),
                replacement: words[6].into(),
            }),
            Records::Srv(all) => all.push(Srv {
                priority: number(2),
                weight: number(3),
                port: number(4),
                target: words[5].into(),
            }),
            Records::Addresses(all) => all.push(words[2].parse().unwrap()),
        }
    }
    for records in zone.records.values_mut() {
        *records = records.clone().settled();
    }
    zone
}

impl Zone {
    pub(super) fn known(&self, question: &Question) -> Option<&Records> {
        if self.unknown.contains(question.name.as_str()) {
            return None;
        }
        self.records.get(question).or_else(|| self.none.get(&question.kind))
    }

    pub(super) fn records(&self, question: &Question) -> Option<&Records> {
        self.records.get(question)
    }

    /// What is found, as text, and what was asked on the way.
    pub(super) fn walk(&self, uri: &str, speaks: &Speaks) -> (Vec<String>, Vec<Question>) {
        let service = Service::of(&Uri::parse(uri.as_bytes()).unwrap()).unwrap();
        let asked = RefCell::new(Vec::new());
        let walk = walk(&service, speaks, |question| {
            asked.borrow_mut().push(question.clone());
            self.known(question)
        });
        assert!(!walk.pending, "{asked:?}");
        (walk.locations.iter().map(shown).collect(), asked.into_inner())
    }
}

impl Speaks {
    /// Everything there is.
    pub(super) fn all() -> Self {
        let v4 = SocketAddr::from(([192, 0, 2, 9], 5060));
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9], 5060));
        let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
        Self::new(transports.into_iter().flat_map(|transport| [(transport, v4), (transport, v6)]))
    }
}

fn shown(location: &Location) -> String {
    let Location { transport, peer, rank, weight, .. } = location;
    let tcp = location.tcp_port.map(|port| format!(" tcp {port}")).unwrap_or_default();
    format!("{transport}:{peer} rank {rank} weight {weight}{tcp}")
}

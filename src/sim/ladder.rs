//! What one call came to, line by line, for whoever has to find out why.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::sip::call::report::Report;
use crate::time::Mono;

use super::party::Party;
#[cfg(test)]
use super::party::Role;
#[cfg(test)]
use super::text::Start;
use super::text::{Glance, show};

/// The course of a call.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    rungs: Vec<(Mono, Rung)>,
}

/// A line of a ladder; written out only if it is read.
#[derive(Debug)]
pub(crate) enum Rung {
    In { party: usize, message: Bytes },
    Out { to: SocketAddr, message: Bytes },
    Word(&'static str, u8),
    Report(Report),
}

impl Ladder {
    pub(crate) fn add(&mut self, at: Mono, rung: Rung) {
        self.rungs.push((at, rung));
    }

    /// The whole of it; times are milliseconds since the call began.
    pub(crate) fn text(&self, parties: &[Party]) -> String {
        let mut text = String::new();
        let Some((start, _)) = self.rungs.first() else { return text };
        for (at, rung) in &self.rungs {
            let us = at.0.saturating_sub(start.0) / 1_000;
            let (ms, us) = (us / 1_000, us % 1_000);
            let line = match rung {
                Rung::In { party, message } => {
                    let Party { role, address, .. } = &parties[*party];
                    format!("{role:?} {address} ─► {}", outline(message))
                }
                Rung::Out { to, message } => format!("    ◄── to {to} {}", outline(message)),
                Rung::Word(word, 0) => format!("  {word}"),
                Rung::Word(word, number) => format!("  {word} {number}"),
                Rung::Report(report) => format!("  {report:?}"),
            };
            let _ = writeln!(text, "{ms:>8}.{us:03} {line}");
        }
        text
    }

    /// What passed the endpoint, without who said it when. `party_of` knows whose a
    /// Call-ID is at an address.
    #[cfg(test)]
    pub(crate) fn lines(
        &self,
        parties: &[Party],
        party_of: impl Fn(&Bytes, SocketAddr) -> usize,
    ) -> Vec<String> {
        let name = |party: usize| match &parties[party] {
            Party { role: Role::Caller, .. } => String::from("caller"),
            Party { role: Role::Target, .. } => format!("target {party}"),
        };
        let what = |message: &Bytes| {
            let glance = Glance::read(message).expect("the audit has read it");
            match glance.start {
                Start::Request { method, .. } => method.name().to_owned(),
                Start::Response { status } => format!("{status} {}", glance.cseq_method.name()),
            }
        };
        let line = |(_, rung): &(Mono, Rung)| match rung {
            Rung::In { party, message } => Some(format!("{}: {}", name(*party), what(message))),
            Rung::Out { to, message } => {
                let call_id = Glance::read(message).expect("the audit has read it").call_id;
                Some(format!("-> {}: {}", name(party_of(&call_id, *to)), what(message)))
            }
            Rung::Word(..) | Rung::Report(_) => None,
        };
        self.rungs.iter().filter_map(line).collect()
    }
}

/// The first line and what tells one message from another.
fn outline(message: &Bytes) -> String {
    let text = show(message);
    let first = text.lines().next().unwrap_or_default();
    let Ok(glance) = Glance::read(message) else { return format!("{first} (malformed)") };
    let (cseq, branch) = (glance.cseq, show(&glance.branch));
    let tag = glance.to_tag.as_deref().map(show).unwrap_or_default();
    let body = if glance.body.is_empty() { "" } else { " with body" };
    format!("{first} | {cseq} {} to tag `{tag}` {branch}{body}", glance.cseq_method.name())
}

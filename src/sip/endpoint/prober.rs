//! OPTIONS to addresses of targets, outside of calls (spec/sip C6). When to ask and what to think of
//! the answers, [`Probe`] says; whose addresses they are, whoever calls there knows.

use bytes::Bytes;

use crate::sip::call::plan::Destination;
use crate::sip::flow::{Flow, ListenerId};
use crate::sip::ids::TransactionKey;
use crate::sip::locate::probe::{Step, Verdict};
use crate::sip::locate::{Probe, ProbeRules};
use crate::sip::message::{HeaderName, Method, Writer};
use crate::time::Mono;

use super::asking::{Head, Row};
use super::wire::{Due, Owner};
use super::{Endpoint, Output};

/// An address that is to be asked now and then whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    pub at: Destination,
    /// Request-URI of the OPTIONS.
    pub uri: Bytes,
    pub rules: ProbeRules,
}

/// What it has come to.
pub(super) struct Prober {
    target: ProbeTarget,
    probe: Probe,
    row: Row,
    /// The OPTIONS that waits for its answer.
    asked: Option<TransactionKey>,
}

impl Endpoint {
    /// These addresses are probed from now on, and no others. One that was probed as it is now
    /// goes on as it was.
    pub(super) fn probe(&mut self, targets: Vec<ProbeTarget>, now: Mono) {
        let wire = &mut self.wire;
        self.probers.retain(|_, prober| {
            let stays = targets.contains(&prober.target);
            if !stays && let Some(asked) = prober.asked {
                wire.forget(asked);
            }
            stays
        });
        for target in targets {
            if self.probers.values().any(|prober| prober.target == target) {
                continue;
            }
            let probe = Probe::new(target.rules, self.wire.ids.random(), now);
            let row = Row::new(&mut self.wire.ids);
            let prober = Prober { target, probe, row, asked: None };
            // Never used again, so that a late answer is taken for nobody else's.
            self.next_prober = self.next_prober.wrapping_add(1);
            self.wire.deadlines.arm(prober.probe.deadline(), Due::Prober(self.next_prober));
            self.probers.insert(self.next_prober, prober);
        }
    }

    pub(super) fn prober_timeout(&mut self, id: u32, now: Mono) {
        let chance = self.wire.ids.random();
        let Some(prober) = self.probers.get_mut(&id) else { return };
        match prober.probe.handle_timeout(chance, now) {
            Some(Step::Ask) => self.ask_whether_there(id, now),
            Some(Step::GiveUp(verdict)) => {
                if let Some(asked) = prober.asked.take() {
                    self.wire.forget(asked);
                }
                self.tell_verdict(id, verdict);
            }
            // It was answered meanwhile, and waits for its next turn.
            None => {}
        }
        self.arm_prober(id);
    }

    /// The OPTIONS of this transaction has its final response, or (`None`) will get none.
    pub(super) fn probe_answered(&mut self, id: u32, key: TransactionKey, status: Option<u16>) {
        let Some(prober) = self.probers.get_mut(&id) else { return };
        if prober.asked.take_if(|asked| *asked == key).is_none() {
            return;
        }
        let verdict = prober.probe.answered(status);
        self.tell_verdict(id, verdict);
        self.arm_prober(id);
    }

    /// Nothing can be sent there: whoever is being asked there will not answer.
    pub(super) fn probes_failed(&mut self, flow: Flow) {
        let is_there = |at: Destination| {
            (at.peer, at.transport, at.tls) == (flow.peer, flow.transport, flow.tls)
        };
        let asked: Vec<_> = self
            .probers
            .iter()
            .filter(|(_, prober)| is_there(prober.target.at))
            .filter_map(|(id, prober)| Some((*id, prober.asked?)))
            .collect();
        for (id, key) in asked {
            self.wire.forget(key);
            self.probe_answered(id, key, None);
        }
    }

    fn tell_verdict(&mut self, id: u32, verdict: Option<Verdict>) {
        if let (Some(verdict), Some(prober)) = (verdict, self.probers.get(&id)) {
            let Destination { transport, peer, .. } = prober.target.at;
            self.wire.out.push(Output::Probed { transport, peer, verdict });
        }
    }

    fn arm_prober(&mut self, id: u32) {
        if let Some(prober) = self.probers.get(&id) {
            self.wire.deadlines.arm(prober.probe.deadline(), Due::Prober(id));
        }
    }

    fn ask_whether_there(&mut self, id: u32, now: Mono) {
        let Some(prober) = self.probers.get_mut(&id) else { return };
        let Destination { transport, peer, tls, .. } = prober.target.at;
        let listener = ListenerId(0);
        let flow = Flow { tls, ..Flow::new(listener, transport, peer) };
        let Some(flow) = self.wire.settings.reach(flow) else {
            let verdict = prober.probe.answered(None);
            self.tell_verdict(id, verdict);
            return;
        };
        let own = self.wire.contact(flow, false);
        let uri = &prober.target.uri[..];
        let to = [b"<", uri, b">"].concat();
        let head = Head { method: Method::Options, uri, from: &own, to: &to, contact: &own };
        let more = |writer: &mut Writer| writer.header(HeaderName::Accept, b"application/sdp");
        let owner = Owner::Prober(id);
        prober.asked = Some(self.wire.ask(flow, owner, &mut prober.row, &head, more, now));
    }
}

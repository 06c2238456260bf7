//! The top of the pure SIP stack: one value that takes datagrams and decisions and gives back
//! datagrams, questions and reports. One per shard; nothing is shared between shards.
//!
//! It owns the tables, the deadlines and the identifiers. Whoever feeds an input drains all
//! outputs before the next one, so messages of a call leave in the order they were made.
//!
//! ```text
//! Received ─► parse ─► requests  ─► transaction ─► caller/target leg ─► Call ─┐
//!                      responses ┘                                            │
//! Send, Admitted, PlaceHold, AwaitDurable, Report ◄── caller, target, relay ◄─┘
//! ```

mod admission;
mod answering;
mod asking;
mod branches;
mod caller;
mod capture;
mod challenge;
mod counters;
mod driving;
mod entry;
mod farewell;
mod handover;
mod informing;
mod inviting;
mod life;
mod long;
mod malformed;
mod orphans;
mod pace;
mod parting;
mod preview;
mod prober;
mod rare;
mod rating;
mod reaper;
mod recovery;
mod redirect;
mod refresh;
mod registrar;
mod relay;
mod reliable;
mod requests;
mod responses;
mod screening;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod transfer;
mod upkeep;
mod wire;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slotmap::SlotMap;

use crate::time::Mono;

use super::admission::{Busy, Gate};
use super::auth::Doorkeeper;
use super::call;
use super::ids::IdSource;
use super::message::Message;
use super::orphan::Orphans;
use super::trunk::{FailureMap, Trunks};

use entry::{CallEntry, Side};
use prober::Prober;
use registrar::Registrar;
use wire::{Due, Wire};

pub use super::ids::CallKey;
pub use counters::{Counters, INVITE_SIZES, LONG_WAYS, METHODS as COUNTED_METHODS};
pub use preview::{Foreseen, Thought, foresee};
pub use prober::ProbeTarget;
pub use reaper::SWEEP_EVERY;
pub use settings::{Listener, Settings};
pub use words::{Admission, Captured, Input, Origin, Output};

pub struct Endpoint {
    calls: SlotMap<CallKey, CallEntry>,
    wire: Wire,
    trunks: Arc<Trunks>,
    /// By trunk.
    failures: Vec<Arc<FailureMap>>,
    draining: bool,
    strain: Option<Busy>,
    gate: Gate,
    /// What the last sweep found overdue.
    suspects: BTreeSet<CallKey>,
    /// Calls of a process that died.
    orphans: Option<Arc<Orphans>>,
    /// Whom we let in on trunks that ask for a proof.
    doorkeeper: Box<Doorkeeper>,
    /// By number; those that were taken back stay until nothing is awaited of them.
    registrars: BTreeMap<u16, Registrar>,
    /// Addresses of targets that are probed, by a number that is used once.
    probers: BTreeMap<u32, Prober>,
    next_prober: u32,
    /// The call whose event is being handled: the one to end if the handler panics.
    current: Option<CallKey>,
}

impl Endpoint {
    pub fn new(settings: Settings, trunks: Arc<Trunks>, ids: IdSource, now: Mono) -> Self {
        let (caps, registers) = (settings.caps, settings.registers);
        let mut wire = Wire::new(settings, ids, now);
        let gate = Gate::new(caps, wire.ids.random());
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&wire.ids.random().to_be_bytes());
        }
        let mut endpoint = Self {
            calls: SlotMap::with_key(),
            wire,
            strain: None,
            gate,
            suspects: BTreeSet::new(),
            failures: failures_of(&trunks),
            trunks,
            draining: false,
            orphans: None,
            doorkeeper: Box::new(Doorkeeper::new(key)),
            registrars: BTreeMap::new(),
            probers: BTreeMap::new(),
            next_prober: 0,
            current: None,
        };
        if registers {
            endpoint.begin_registrations(now);
        }
        endpoint
    }

    /// Takes one input; appends to `out` what it leads to, in order.
    pub fn handle(&mut self, input: Input, now: Mono, out: &mut Vec<Output>) {
        std::mem::swap(&mut self.wire.out, out);
        self.dispatch(input, now);
        std::mem::swap(&mut self.wire.out, out);
        self.current = None;
    }

    /// When to call [`Endpoint::handle_timeouts`] next.
    pub fn deadline(&self) -> Option<Mono> {
        self.wire.deadlines.next()
    }

    pub fn handle_timeouts(&mut self, now: Mono, out: &mut Vec<Output>) {
        std::mem::swap(&mut self.wire.out, out);
        while let Some(due) = self.wire.deadlines.pop(now) {
            self.current = None;
            match due {
                Due::Transaction(key) => self.transaction_timeout(key, now),
                Due::Call(key) => self.call_timeout(key, now),
                Due::Registration(index) => self.registration_timeout(index, now),
                Due::Prober(id) => self.prober_timeout(id, now),
            }
        }
        std::mem::swap(&mut self.wire.out, out);
        self.current = None;
    }

    /// Calls that are up or being set up, and those that still owe a message.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Calls whose caller has not confirmed an answer yet.
    pub fn half_open(&self) -> usize {
        self.gate.half_open()
    }

    pub fn transactions(&self) -> usize {
        self.wire.transactions.len()
    }

    /// Deadlines that are armed, those of calls that ended before them included.
    pub fn deadlines(&self) -> usize {
        self.wire.deadlines.armed()
    }

    /// Counts since the last time this was called.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.wire.counters)
    }

    fn dispatch(&mut self, input: Input, now: Mono) {
        match input {
            Input::Received { flow, origin, wall, message } => {
                match Message::parse(message, &self.wire.settings.limits) {
                    Ok(Message::Request(request)) => self.request(request, flow, origin, wall, now),
                    Ok(Message::Response(response)) => self.response(&response, flow, now),
                    Err(malformed) => {
                        self.wire.counters.malformed(malformed.fault.name());
                        if let Some(refusal) = malformed.refusal {
                            self.refuse_malformed(&refusal, flow, origin);
                        }
                    }
                }
            }
            Input::Unframed { flow, origin, head } => {
                self.wire.counters.malformed("framing");
                self.refuse_unframed(head, flow, origin);
            }
            Input::Decided { call, outcome: Ok(plan) } => {
                self.drive(call, call::Input::Decided(plan), now);
            }
            Input::Decided { call, outcome: Err(refusal) } => {
                self.drive(call, call::Input::Refused(refusal), now);
            }
            Input::Held { call, attempt, outcome } => self.held(call, attempt, outcome, now),
            Input::Durable { call } => self.drive(call, call::Input::Durable, now),
            Input::FlowFailed { flow } => self.flow_failed(flow, now),
            Input::End { call, reason } => self.drive(call, call::Input::End(reason), now),
            Input::Located { registration, destination } => {
                self.registrar_located(registration, destination, now);
            }
            Input::Drain => {
                self.draining = true;
                self.end_registrations(now);
                self.probe(Vec::new(), now);
            }
            Input::Strained(strain) => self.strain = strain,
            Input::Configure(trunks) => self.configure(trunks, now),
            // Of a process that takes no calls nobody is asked whether he is there.
            Input::Probe(_) if self.draining => {}
            Input::Probe(targets) => self.probe(targets, now),
            Input::Farewell { flow, bye } => self.farewell(flow, bye, now),
            Input::Sweep => self.sweep(now),
        }
    }

    fn configure(&mut self, trunks: Arc<Trunks>, now: Mono) {
        self.failures = failures_of(&trunks);
        self.trunks = trunks;
        if self.wire.settings.registers {
            self.register_anew(now);
        }
    }
}

fn failures_of(trunks: &Trunks) -> Vec<Arc<FailureMap>> {
    trunks.iter().map(|(_, trunk)| Arc::new(trunk.failures.clone())).collect()
}

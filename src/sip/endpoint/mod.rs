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
mod farewell;
mod handover;
mod informing;
mod life;
mod long;
mod orphans;
mod pace;
mod prober;
mod rare;
mod rating;
mod reaper;
mod redirect;
mod refresh;
mod registrar;
mod relay;
mod reliable;
mod requests;
mod responses;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod transfer;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slotmap::SlotMap;
use smol_str::SmolStr;

use crate::id::{CallId, TrunkId};
use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::{Mono, Wall};

use super::admission::{Busy, Gate};
use super::auth::Doorkeeper;
use super::call::plan::{Destination, Plan, Refusal};
use super::call::report::{AttemptNumber, Party, Report};
use super::call::{self, Call};
use super::flow::{Flow, Transport};
use super::ids::{IdSource, LegNumber};
use super::leg::event::{Command, LegEvent};
use super::leg::{Leg, LegState};
use super::locate::Failing;
use super::locate::probe::Verdict;
use super::message::{Message, Method, Refusal as MalformedRefusal};
use super::orphan::{DialogPrint, Farewell, Orphans};
use super::trunk::{Caller, FailureMap, NumberFault, TrunkIndex, Trunks};

use prober::Prober;
use rare::Rare;
use registrar::Registrar;
use wire::{Due, Wire};

pub use super::ids::CallKey;
pub use counters::{Counters, INVITE_SIZES, LONG_WAYS, METHODS as COUNTED_METHODS};
pub use prober::ProbeTarget;
pub use reaper::SWEEP_EVERY;
pub use settings::{Listener, Settings};

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A datagram or a framed message, from a source that was found worth reading.
    Received { flow: Flow, origin: Origin, wall: Wall, message: Bytes },
    /// A stream lost its bounds at this message; the connection is about to be closed.
    Unframed { flow: Flow, origin: Origin, head: Bytes },
    /// The routing decision of an admitted call.
    Decided { call: CallKey, outcome: Result<Box<Plan>, Refusal> },
    /// Whether the attempt may be made.
    Held { call: CallKey, outcome: Result<(), Reason> },
    /// What the call reported before it asked is on disk.
    Durable { call: CallKey },
    /// A message could not be sent there, or the connection broke.
    FlowFailed { flow: Flow },
    /// End this call.
    End { call: CallKey, reason: Reason },
    /// Where the registrar is that was asked for with [`Output::Locate`].
    Located { registration: u16, destination: Option<Destination> },
    /// New calls are refused from now on; live ones go on.
    Drain,
    /// New calls are refused for this reason until there is none.
    Strained(Option<Busy>),
    /// The trunks of new calls from now on. Each has the index that its id had before.
    Configure(Arc<Trunks>),
    /// Ask these addresses now and then whether they are there, and no others.
    Probe(Vec<ProbeTarget>),
    /// Send the BYE that a process left behind which died.
    Farewell { flow: Flow, bye: Bytes },
    /// Look for calls that nothing will end; to come every [`SWEEP_EVERY`].
    Sweep,
}

/// Something is wanted.
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        message: Bytes,
    },
    /// A new call: journal it and answer with [`Input::Decided`].
    Admitted(Box<Admission>),
    /// Answer with [`Input::Held`].
    PlaceHold {
        call: CallKey,
        id: CallId,
        attempt: AttemptNumber,
    },
    /// Answer with [`Input::Durable`] once all reports so far are on disk.
    AwaitDurable {
        call: CallKey,
    },
    /// Answer with [`Input::Located`]: where this SIP URI leads.
    Locate {
        registration: u16,
        server: Bytes,
    },
    /// A registration has come to stand, or failed.
    Registration {
        trunk: TrunkId,
        registered: bool,
    },
    Report {
        call: CallKey,
        id: CallId,
        at: Mono,
        report: Report,
        /// Of an end that is only inferred: when the party that is gone was last heard.
        last_heard: Option<Mono>,
    },
    /// What was learnt of an address that a target has besides others: a response came from it, or
    /// how it failed.
    Rated {
        transport: Transport,
        peer: SocketAddr,
        how: Result<(), Failing>,
    },
    /// A call is made to an address that a target has besides others.
    Tried {
        transport: Transport,
        peer: SocketAddr,
    },
    /// The INVITE of an attempt left as a datagram that is too long for one.
    Fragmented {
        call: CallKey,
        attempt: AttemptNumber,
        bytes: usize,
    },
    /// What an address that is probed is thought to be from now on.
    Probed {
        transport: Transport,
        peer: SocketAddr,
        verdict: Verdict,
    },
    /// What names the dialogs of a call whose answer is reported next; to be written with it.
    Dialogs {
        call: CallKey,
        caller: DialogPrint,
        target: DialogPrint,
        /// What they speak, if the answer to the caller's offer is known by then.
        codec: Option<SmolStr>,
        /// The caller's and the target's, if [`Endpoint::write_farewells`] was called.
        farewells: Option<Box<[Farewell; 2]>>,
    },
    /// What a call speaks whose confirmation is reported next, where the caller's ACK said it.
    Spoken {
        call: CallKey,
        codec: SmolStr,
    },
    /// A party hung up on a call whose process died. Told again if it does so again.
    OrphanEnded {
        id: CallId,
        at: Mono,
        party: Party,
        /// Cause of ITU-T Q.850, if the party gave one.
        q850: Option<u8>,
    },
}

/// Who sent a message, judged by its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Trunk(TrunkIndex),
    /// A target: may speak within its calls only.
    Peer,
    /// Anybody else who names a call of ours. Unless it fits that call exactly, it gets no answer.
    Stranger,
}

/// What is known of a call when it is admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    pub call: CallKey,
    pub id: CallId,
    pub at: Mono,
    pub wall: Wall,
    pub trunk: TrunkIndex,
    pub sip_call_id: Bytes,
    /// User part of the Request-URI as dialled.
    pub dialed: Bytes,
    pub number: Result<PhoneNumber, NumberFault>,
    pub caller: Caller,
    pub flow: Flow,
    /// What the trunk wants kept of the INVITE; absent: nothing.
    pub captured: Option<Box<Captured>>,
}

/// What a trunk wants kept of an INVITE (spec/sip C11, C15).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Captured {
    /// By the name of the tag: `header.x-foo`, `caller.verstat`.
    pub tags: Vec<(SmolStr, SmolStr)>,
    /// The carrier's own id of the call.
    pub carrier_call_id: Option<SmolStr>,
}

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

/// A call that has nothing to do for hours is looked at so often all the same: what is armed stays in
/// the wheel after the call has ended, until it has passed.
const LOOK_AGAIN: Duration = Duration::from_secs(32);

/// A call and its legs.
struct CallEntry {
    id: CallId,
    call: Call,
    caller: Leg,
    /// The attempt in progress, or the one that answered. Legs of attempts that are over are gone;
    /// their transactions settle what still comes (see [`responses`]).
    target: Option<Leg>,
    /// What goes on from the caller's INVITE to the targets'.
    onward: Box<caller::Onward>,
    rare: Option<Box<Rare>>,
    armed: Option<Mono>,
}

/// One of the two legs of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Caller,
    Target,
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

    /// After a panic in a handler: ends the call that was being handled through its exit, or, if
    /// that panics too, drops it with its closing report. No other call is touched.
    pub fn recover(&mut self, now: Mono, out: &mut Vec<Output>) {
        // What the handler had put out before it fell is still in `wire`.
        out.append(&mut self.wire.out);
        self.wire.counters.panics += 1;
        let Some(call) = self.current.take() else { return };
        self.handle(Input::End { call, reason: Reason::InternalError }, now, out);
        // The call may have ended in the handler that fell, before the caller was told.
        self.answer_invite(call, now);
        self.settle(call, now);
        out.append(&mut self.wire.out);
    }

    /// The final response of a caller that has none and will get none any more.
    fn answer_invite(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        if entry.call.is_ended() && entry.caller.state == LegState::Early {
            let tag = entry.caller.tag.clone();
            self.wire.respond(entry.caller.invite, 500, Some(&tag), |_, _| {}, None, now);
            entry.caller.state = LegState::Settled;
        }
    }

    /// Drops what [`Endpoint::recover`] could not end. Appends the call's closing report.
    pub fn abandon(&mut self, call: CallKey, now: Mono, out: &mut Vec<Output>) {
        self.drop_call(call, now);
        out.append(&mut self.wire.out);
    }

    fn drop_call(&mut self, call: CallKey, now: Mono) {
        let Some(entry) = self.forget(call) else { return };
        let mut status = entry.onward.failed.unwrap_or(200);
        if entry.caller.state == LegState::Early {
            let tag = entry.caller.tag.clone();
            status = Reason::InternalError.status();
            self.wire.respond(entry.caller.invite, status, Some(&tag), |_, _| {}, None, now);
        }
        let (party, reason) = (Party::System, Reason::InternalError);
        let report = Report::Ended { party, reason, status, q850: None };
        if !entry.call.is_ended() {
            let id = entry.id;
            self.wire.out.push(Output::Report { call, id, at: now, report, last_heard: None });
        }
    }

    /// The call whose event is being handled.
    pub fn current(&self) -> Option<CallKey> {
        self.current
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
            Input::Held { call, outcome: Ok(()) } => {
                self.drive(call, call::Input::HoldPlaced, now);
            }
            Input::Held { call, outcome: Err(reason) } => {
                self.drive(call, call::Input::HoldDenied(reason), now);
            }
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

    /// Feeds the call and does what it says.
    fn drive(&mut self, key: CallKey, input: call::Input, now: Mono) {
        self.current = Some(key);
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(entry) = self.calls.get_mut(key) else { return };
            let mut orders = call::Outputs::new();
            entry.call.handle(input, now, &mut orders);
            next = self.obey(key, orders, now);
        }
        self.settle(key, now);
    }

    /// Does what the call says. Returns what the call must hear of at once.
    fn obey(&mut self, key: CallKey, orders: call::Outputs, now: Mono) -> Option<call::Input> {
        let mut consequence = None;
        for order in orders {
            let entry = self.calls.get_mut(key)?;
            match order {
                call::Output::PlaceHold { attempt } => {
                    let id = entry.id;
                    self.wire.out.push(Output::PlaceHold { call: key, id, attempt });
                }
                call::Output::Dial { attempt } => {
                    match entry.dial(key, attempt, &mut self.wire, now) {
                        Ok(leg) => entry.target = Some(leg),
                        Err(reason) => {
                            consequence = Some(call::Input::Target(LegEvent::Lost { reason }));
                        }
                    }
                }
                call::Output::DialBranch { attempt } => {
                    match entry.dial(key, attempt, &mut self.wire, now) {
                        Ok(leg) => entry.add_branch(leg),
                        Err(reason) => {
                            let lost = LegEvent::Lost { reason };
                            consequence = Some(call::Input::Branch(attempt, lost));
                        }
                    }
                }
                call::Output::AbandonBranch { attempt, why } => {
                    entry.abandon_branch(attempt, why, &mut self.wire, now);
                }
                call::Output::Abandon { why } => {
                    if let Some(leg) = entry.target.take() {
                        self.wire.cancel(leg.invite, why, now);
                    }
                }
                call::Output::ToCaller(command) => match command {
                    Command::Take => consequence = entry.take_caller(&mut self.wire, now),
                    Command::Refer { attempt } => {
                        consequence = entry.refer_caller(attempt, key, &mut self.wire, now);
                    }
                    Command::Redirect { contacts } => {
                        entry.redirect_caller(&contacts, &mut self.wire, now);
                    }
                    Command::Connect { body } => {
                        entry.connect_caller(body, key, &mut self.wire, now);
                    }
                    command @ (Command::Progress { .. }
                    | Command::Answer { .. }
                    | Command::Refuse { .. }
                    | Command::HangUp { .. }) => {
                        entry.command_caller(command, &mut self.wire, now);
                    }
                },
                call::Output::ToTarget(command) => {
                    entry.command_target(command, key, &mut self.wire, now);
                }
                call::Output::AwaitDurable => {
                    self.wire.out.push(Output::AwaitDurable { call: key });
                }
                call::Output::Report(report) => {
                    entry.tell(key, report, &mut self.wire, now);
                }
            }
        }
        consequence
    }

    /// Drops a call that is over and owes nothing, else sees to its next deadline.
    fn settle(&mut self, key: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let target_settled = entry.target.as_ref().is_none_or(Leg::owes_nothing);
        let held = entry.rare.as_ref().is_some_and(|rare| rare.holds());
        if !held && entry.call.is_ended() && entry.caller.owes_nothing() && target_settled {
            self.forget(key);
            return;
        }
        let deadline = entry.deadline().min(now + LOOK_AGAIN);
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.wire.deadlines.arm(deadline, Due::Call(key));
        }
    }

    fn call_timeout(&mut self, key: CallKey, now: Mono) {
        self.current = Some(key);
        let Some(entry) = self.calls.get_mut(key) else { return };
        // Armed again since, for an earlier time that has passed: the later one has its own turn.
        if entry.armed.is_some_and(|armed| now < armed) {
            return;
        }
        entry.armed = None;
        if entry.onward.reap_at <= now {
            self.reap(key, now);
            return;
        }
        for side in [Side::Caller, Side::Target] {
            self.leg_timeout(key, side, now);
        }
        self.rare_timeout(key, now);
        if let Some(entry) = self.calls.get_mut(key) {
            let mut orders = call::Outputs::new();
            entry.call.handle_timeout(now, &mut orders);
            if let Some(consequence) = self.obey(key, orders, now) {
                self.drive(key, consequence, now);
            }
        }
        self.settle(key, now);
    }

    /// Takes away a call that should have ended by itself, and tells both sides (spec/sip D16).
    fn reap(&mut self, key: CallKey, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        self.wire.counters.reaped += 1;
        if entry.caller.state == LegState::Early {
            entry.fail_caller(500, &mut self.wire, now);
        }
        if !entry.call.is_ended() {
            entry.presume_stuck();
            let reason = Reason::MaxDuration;
            let (party, status) = (Party::System, reason.status());
            let ended = Report::Ended { party, reason, status, q850: None };
            entry.tell(key, ended, &mut self.wire, now);
        }
        let why = call::own_reason(Reason::MaxDuration);
        for side in [Side::Caller, Side::Target] {
            entry.say_bye(side, Some(why.clone()), key, &mut self.wire, now);
        }
        let branches = entry.rare.as_mut().map(|rare| std::mem::take(&mut rare.branches));
        let ringing = entry.target.take().filter(|leg| leg.state == LegState::Early);
        for leg in ringing.into_iter().chain(branches.into_iter().flatten()) {
            self.wire.cancel(leg.invite, Some(why.clone()), now);
        }
        drop(self.forget(key));
    }

    fn refuse_malformed(&mut self, refusal: &MalformedRefusal, flow: Flow, origin: Origin) {
        if origin != Origin::Stranger {
            let status = refusal.status;
            self.wire.respond_stateless(&refusal.headers, flow, status, refusal.reason, |_| {});
        }
    }

    /// RFC 3261 §18.3: a stream message without a usable Content-Length is a bad request.
    fn refuse_unframed(&mut self, head: Bytes, flow: Flow, origin: Origin) {
        match Message::parse(head, &self.wire.settings.limits) {
            Ok(Message::Request(request)) if request.method() != Method::Ack => {
                if origin != Origin::Stranger {
                    let reason = "Missing or Malformed Content-Length";
                    self.wire.respond_stateless(&request, flow, 400, reason, |_| {});
                }
            }
            Ok(Message::Request(_) | Message::Response(_)) => {}
            Err(malformed) => {
                if let Some(refusal) = malformed.refusal {
                    self.refuse_malformed(&refusal, flow, origin);
                }
            }
        }
    }
}

fn failures_of(trunks: &Trunks) -> Vec<Arc<FailureMap>> {
    trunks.iter().map(|(_, trunk)| Arc::new(trunk.failures.clone())).collect()
}

impl CallEntry {
    fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Caller => Some(&mut self.caller),
            Side::Target => self.target.as_mut(),
        }
    }

    /// Reports what became of the call.
    fn tell(&mut self, key: CallKey, mut report: Report, wire: &mut Wire, now: Mono) {
        if let (Report::Ended { status, .. }, Some(failed)) = (&mut report, self.onward.failed) {
            *status = failed;
        }
        if self.rare.is_some() && matches!(report, Report::Ended { .. }) {
            self.rare_ended(wire, now);
        }
        self.name_dialogs(key, &report, wire);
        self.rate_report(&report, wire);
        let (id, last_heard) = (self.id, self.last_heard_before(&report, now));
        wire.out.push(Output::Report { call: key, id, at: now, report, last_heard });
    }

    /// The side of a leg number, if that leg is still of this call.
    fn side_of(&self, number: LegNumber) -> Option<Side> {
        match number {
            0 => Some(Side::Caller),
            _ => self.target.as_ref().filter(|leg| leg.number == number).map(|_| Side::Target),
        }
    }

    fn deadline(&self) -> Mono {
        let target = self.target.as_ref().and_then(Leg::deadline);
        let rare = self.rare.as_ref().and_then(|rare| rare.deadline());
        let earlier = [self.call.deadline(), self.caller.deadline(), target, rare];
        earlier.into_iter().flatten().fold(self.onward.reap_at, Mono::min)
    }

    fn both_answered(&self) -> bool {
        self.caller.state == LegState::Answered
            && self.target.as_ref().is_some_and(|leg| leg.state == LegState::Answered)
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Target,
            Self::Target => Self::Caller,
        }
    }

    /// The leg's words as the call hears them.
    fn event(self, event: LegEvent) -> call::Input {
        match self {
            Self::Caller => call::Input::Caller(event),
            Self::Target => call::Input::Target(event),
        }
    }
}

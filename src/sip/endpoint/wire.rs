//! Transactions of an endpoint: the tables that find them, and the way out.

use std::net::SocketAddr;

use bytes::Bytes;
use hashbrown::HashTable;
use slotmap::SlotMap;

use crate::sip::call::report::AttemptNumber;
use crate::sip::deadlines::Deadlines;
use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::{self, CallKey, IdSource, TransactionKey};
use crate::sip::message::{HeaderName, Headers, Method, Request, Writer, reason_phrase};
use crate::sip::transaction::key::KeyMaker;
use crate::sip::transaction::{
    Client, DueCancel, InviteClient, InviteHead, InviteServer, Output as Effect,
    Outputs as Effects, Server, ServerKey, invite_server, server,
};
use crate::time::Mono;

use super::challenge::Challenges;
use super::counters::IN_FRAGMENTS;
use super::pace::Paces;
use super::{Counters, Output, Settings, Side};

/// Methods we take in a dialog or outside; the value of Allow.
pub(super) const ALLOW: &[u8] =
    b"INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, MESSAGE, REFER, NOTIFY";

pub(super) struct Wire {
    pub(super) settings: Settings,
    pub(super) paces: Paces,
    pub(super) transactions: SlotMap<TransactionKey, TransactionEntry>,
    pub(super) deadlines: Deadlines<Due>,
    pub(super) ids: IdSource,
    pub(super) keys: KeyMaker,
    pub(super) writer: Writer,
    pub(super) out: Vec<Output>,
    pub(super) counters: Counters,
    pub(super) writes_farewells: bool,
    pub(super) challenges: Challenges,
    /// Server transactions by what their requests carry, and INVITEs by what merged copies share.
    index: HashTable<(ServerKey, TransactionKey)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Transaction(TransactionKey),
    Call(CallKey),
    Registration(u16),
    Prober(u32),
}

pub(super) struct TransactionEntry {
    pub(super) machine: Machine,
    pub(super) owner: Owner,
    pub(super) flow: Flow,
    /// Of a server transaction whose response is still to be written.
    pub(super) request: Option<Box<Pending>>,
    /// The random part of our branch.
    random: u64,
    keys: [Option<ServerKey>; 2],
    /// When the wheel will ask; [`NEVER`]: not at all.
    armed: Mono,
}

const NEVER: Mono = Mono(u64::MAX);

/// A request that waits for its response.
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) source: SocketAddr,
}

pub(super) enum Machine {
    InviteServer(InviteServer),
    Server(Server),
    InviteClient(InviteClient),
    Client(Client),
}

/// Who wants to know how a transaction of ours ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    /// The caller's INVITE.
    Call(CallKey),
    /// A re-INVITE of the party on `side`.
    Reinvite {
        call: CallKey,
        side: Side,
    },
    /// The INVITE of an attempt.
    Attempt {
        call: CallKey,
        attempt: AttemptNumber,
    },
    /// Our BYE.
    Bye {
        call: CallKey,
        side: Side,
    },
    /// Our OPTIONS within the call.
    Probe {
        call: CallKey,
        side: Side,
    },
    /// Our re-INVITE or UPDATE that refreshes the session of a leg.
    Refresh {
        call: CallKey,
        side: Side,
    },
    /// Our re-INVITE that tells a leg of a description which the other party changed by itself.
    Move {
        call: CallKey,
        side: Side,
    },
    /// Our REFER to the caller.
    Refer {
        call: CallKey,
    },
    /// The re-INVITE that connects a caller who was answered before.
    Connect {
        call: CallKey,
    },
    /// The NOTIFY after which a target that was replaced may go.
    Notify {
        call: CallKey,
    },
    /// Our REGISTER.
    Registration(u16),
    /// Our OPTIONS to an address of a target, outside of calls.
    Prober(u32),
    /// A request that we passed on to `side`; its answer goes to `answer` on the other leg.
    Relay {
        call: CallKey,
        side: Side,
        answer: TransactionKey,
    },
}

impl Owner {
    pub(super) fn call(self) -> Option<CallKey> {
        match self {
            Self::Nobody | Self::Registration(_) | Self::Prober(_) => None,
            Self::Call(call)
            | Self::Reinvite { call, .. }
            | Self::Attempt { call, .. }
            | Self::Bye { call, .. }
            | Self::Probe { call, .. }
            | Self::Refresh { call, .. }
            | Self::Move { call, .. }
            | Self::Refer { call }
            | Self::Connect { call }
            | Self::Notify { call }
            | Self::Relay { call, .. } => Some(call),
        }
    }
}

impl Owner {
    /// The attempt whose INVITE it is.
    pub(super) fn attempt(self) -> Option<(CallKey, AttemptNumber)> {
        let Self::Attempt { call, attempt } = self else { return None };
        Some((call, attempt))
    }

    /// The leg on which we asked something within the call, and go on with it.
    pub(super) fn within_call(self) -> Option<(CallKey, Side)> {
        match self {
            Self::Probe { call, side }
            | Self::Refresh { call, side }
            | Self::Move { call, side }
            | Self::Relay { call, side, .. } => Some((call, side)),
            Self::Refer { call } | Self::Connect { call } => Some((call, Side::Caller)),
            Self::Nobody
            | Self::Call(_)
            | Self::Reinvite { .. }
            | Self::Attempt { .. }
            | Self::Bye { .. }
            | Self::Notify { .. }
            | Self::Prober(_)
            | Self::Registration(_) => None,
        }
    }
}

/// What a machine left for the endpoint to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remains {
    pub(super) pass_up: bool,
    pub(super) forked: Option<Fork>,
    pub(super) timed_out: bool,
}

/// Another branch of a fork answered our INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fork {
    New,
    Known,
}

impl Wire {
    pub(super) fn new(settings: Settings, mut ids: IdSource, now: Mono) -> Self {
        let secret = u128::from(ids.random()) << 64 | u128::from(ids.random());
        Self {
            paces: Paces::new(settings.timers),
            settings,
            transactions: SlotMap::with_key(),
            deadlines: Deadlines::new(now),
            ids,
            keys: KeyMaker::new(secret),
            writer: Writer::new(),
            out: Vec::new(),
            counters: Counters::default(),
            writes_farewells: false,
            challenges: Challenges::default(),
            index: HashTable::new(),
        }
    }

    /// Sends without a transaction.
    pub(super) fn send(&mut self, flow: Flow, message: Bytes) {
        if message.len() > self.settings.udp_request_bytes_max
            && flow.transport == Transport::Udp
            && !message.starts_with(b"SIP/2.0 ")
        {
            self.counters.long_requests[IN_FRAGMENTS] += 1;
        }
        self.put_out(flow, message);
    }

    /// Sends what was sent before.
    pub(super) fn resend(&mut self, flow: Flow, message: Bytes) {
        self.counters.retransmissions_out += 1;
        self.put_out(flow, message);
    }

    fn put_out(&mut self, flow: Flow, message: Bytes) {
        self.counters.sent(&message);
        self.out.push(Output::Send { flow, message });
    }

    pub(super) fn find(&self, key: ServerKey) -> Option<TransactionKey> {
        self.index.find(hash(key), |(known, _)| *known == key).map(|(_, transaction)| *transaction)
    }

    /// The client transaction a response belongs to, by our branch (RFC 3261 §17.1.3).
    pub(super) fn find_client(&self, branch: &[u8]) -> Option<TransactionKey> {
        let (key, random) = ids::read_branch(branch)?;
        self.transactions.get(key).filter(|entry| entry.random == random).map(|_| key)
    }

    /// Takes an INVITE, to be answered later.
    pub(super) fn accept_invite(
        &mut self,
        request: Request,
        flow: Flow,
        owner: Owner,
        keys: [Option<ServerKey>; 2],
        now: Mono,
    ) -> TransactionKey {
        let source = flow.peer;
        let flow = response_flow(&request, flow);
        let mut effects = Effects::new();
        let timers = self.paces.timers_for(flow);
        let machine = InviteServer::new(timers, self.settings.trying_after, now, &mut effects);
        let request = Some(Box::new(Pending { request, source }));
        let machine = Machine::InviteServer(machine);
        let key = self.insert(TransactionEntry {
            machine,
            owner,
            flow,
            request,
            random: 0,
            keys,
            armed: NEVER,
        });
        self.apply(key, effects, now);
        key
    }

    /// Takes a request of another method, to be answered later.
    pub(super) fn accept(&mut self, request: Request, flow: Flow, now: Mono) -> TransactionKey {
        let key = self.keys.of(&request, request.method(), request.method_bytes());
        let source = flow.peer;
        let flow = response_flow(&request, flow);
        let machine = Machine::Server(Server::new(self.paces.timers_for(flow), now));
        let entry = TransactionEntry {
            machine,
            owner: Owner::Nobody,
            flow,
            request: Some(Box::new(Pending { request, source })),
            random: 0,
            keys: [Some(key), None],
            armed: NEVER,
        };
        let key = self.insert(entry);
        self.arm(key);
        key
    }

    /// Writes and sends the response to a request we took. `more` adds header fields; the body, if
    /// any, is what `body` holds. The final response lets go of the request.
    pub(super) fn respond(
        &mut self,
        key: TransactionKey,
        status: u16,
        to_tag: Option<&[u8]>,
        more: impl FnOnce(&mut Writer, &Request),
        body: Option<&crate::sip::leg::event::Body>,
        now: Mono,
    ) -> Option<Bytes> {
        let entry = self.transactions.get_mut(key)?;
        let Pending { request, source } = &**entry.request.as_ref()?;
        begin_response(&mut self.writer, request, *source, status, reason_phrase(status), to_tag);
        if let Some(user_agent) = &self.settings.user_agent {
            self.writer.header(HeaderName::Server, user_agent);
        }
        more(&mut self.writer, request);
        let message = match body {
            Some(body) => self.writer.finish_with(&body.content_type, &body.bytes),
            None => self.writer.finish(),
        };
        if status >= 200 {
            entry.request = None;
        }
        let mut effects = Effects::new();
        let input = message.clone();
        match &mut entry.machine {
            Machine::InviteServer(machine) => machine.handle(
                invite_server::Input::Respond { status, message: input },
                now,
                &mut effects,
            ),
            Machine::Server(machine) => {
                machine.handle(
                    server::Input::Respond { status, message: input },
                    now,
                    &mut effects,
                );
            }
            Machine::InviteClient(_) | Machine::Client(_) => {}
        }
        self.apply(key, effects, now);
        Some(message)
    }

    /// Takes a request and answers it in one go.
    pub(super) fn reply(&mut self, request: Request, flow: Flow, status: u16, now: Mono) {
        self.reply_with(request, flow, status, |_| {}, now);
    }

    pub(super) fn reply_with(
        &mut self,
        request: Request,
        flow: Flow,
        status: u16,
        more: impl FnOnce(&mut Writer),
        now: Mono,
    ) {
        let tag = self.stateless_tag(&request);
        let key = self.accept(request, flow, now);
        self.respond(key, status, Some(&tag), |writer, _| more(writer), None, now);
    }

    /// Answers and forgets: the same request gets the same answer (RFC 3261 §8.2.7).
    pub(super) fn respond_stateless(
        &mut self,
        request: &Headers,
        flow: Flow,
        status: u16,
        reason: &str,
        more: impl FnOnce(&mut Writer),
    ) {
        let tag = self.stateless_tag(request);
        begin_response(&mut self.writer, request, flow.peer, status, reason, Some(&tag));
        more(&mut self.writer);
        let message = self.writer.finish();
        self.send(response_flow(request, flow), message);
    }

    /// Opens an INVITE client transaction. `write` gets the head, with the Via in it, and writes
    /// the request.
    pub(super) fn invite(
        &mut self,
        flow: Flow,
        owner: Owner,
        write: impl FnOnce(&mut Writer, Bytes) -> (InviteHead, Bytes),
        now: Mono,
    ) -> TransactionKey {
        let timers = self.paces.timers_for(flow);
        self.open(flow, owner, now, |wire, via, effects| {
            let (head, request) = write(&mut wire.writer, via);
            Machine::InviteClient(InviteClient::new(head, request, timers, now, effects))
        })
    }

    /// Sends a request in a dialog. `more` adds header fields.
    pub(super) fn request(
        &mut self,
        dialog: &mut Dialog,
        method: Method,
        owner: Owner,
        more: impl FnOnce(&mut Writer),
        body: Option<&crate::sip::leg::event::Body>,
        now: Mono,
    ) -> TransactionKey {
        let flow = dialog.flow();
        let flow = self.settings.reach(flow).unwrap_or(flow);
        let timers = self.paces.timers_for(flow);
        let proofs = self.proofs_in(dialog, method);
        let key = self.open(flow, owner, now, |wire, via, effects| {
            dialog.begin_request(method.name().as_bytes(), &via, &mut wire.writer);
            if let Some(user_agent) = &wire.settings.user_agent {
                wire.writer.header(HeaderName::UserAgent, user_agent);
            }
            for (name, proof) in &proofs {
                wire.writer.header(*name, proof);
            }
            more(&mut wire.writer);
            let request = match body {
                Some(body) => wire.writer.finish_with(&body.content_type, &body.bytes),
                None => wire.writer.finish(),
            };
            Machine::Client(Client::new(request, timers, now, effects))
        });
        self.challenges.entrust(key, dialog.account());
        key
    }

    /// Sends requests again that wait for an answer on a connection that is gone. Their new flow
    /// names no connection, so this happens to each of them once.
    pub(super) fn resend_elsewhere(&mut self, broken: Flow) {
        let lost: Vec<(TransactionKey, Bytes)> = self
            .transactions
            .iter()
            .filter(|(_, entry)| entry.flow.connection == broken.connection)
            .filter_map(|(key, entry)| match &entry.machine {
                Machine::Client(machine) => Some((key, machine.unanswered()?)),
                Machine::InviteServer(_) | Machine::Server(_) | Machine::InviteClient(_) => None,
            })
            .collect();
        for (key, request) in lost {
            let Some(entry) = self.transactions.get_mut(key) else { continue };
            entry.flow.connection = None;
            let flow = entry.flow;
            self.send(flow, request);
        }
    }

    /// Sends the ACK to a success and leaves it with the transaction for repeats.
    pub(super) fn acknowledge(
        &mut self,
        transaction: TransactionKey,
        dialog: &Dialog,
        cseq: u32,
        body: Option<&crate::sip::leg::event::Body>,
    ) {
        let flow = dialog.flow();
        let flow = self.settings.reach(flow).unwrap_or(flow);
        let random = self.ids.random();
        let via = self.via(flow, &ids::branch(transaction, random));
        dialog.begin_ack(cseq, &via, &mut self.writer);
        let ack = match body {
            Some(body) => self.writer.finish_with(&body.content_type, &body.bytes),
            None => self.writer.finish(),
        };
        if let Some(entry) = self.transactions.get_mut(transaction)
            && let Machine::InviteClient(machine) = &mut entry.machine
        {
            machine.acknowledged(ack.clone());
            entry.flow = flow;
        }
        self.send(flow, ack);
    }

    /// Gives up an INVITE of ours: CANCEL goes out now or with the first provisional response.
    pub(super) fn cancel(&mut self, key: TransactionKey, why: Option<Bytes>, now: Mono) {
        let Some(entry) = self.transactions.get_mut(key) else { return };
        let Machine::InviteClient(machine) = &mut entry.machine else { return };
        let (due, flow) = (machine.cancel(why, now), entry.flow);
        self.arm(key);
        if let Some(due) = due {
            self.send_cancel(&due, flow, now);
        }
    }

    /// CANCEL is a transaction of its own on the branch of its INVITE (RFC 3261 §9.1).
    pub(super) fn send_cancel(&mut self, due: &DueCancel, flow: Flow, now: Mono) {
        let DueCancel { head, why } = due;
        let request = head.cancel(why.as_deref(), &mut self.writer);
        let mut effects = Effects::new();
        let timers = self.paces.timers_for(flow);
        let machine = Machine::Client(Client::new(request, timers, now, &mut effects));
        let entry = TransactionEntry {
            machine,
            owner: Owner::Nobody,
            flow,
            request: None,
            random: 0,
            keys: [None, None],
            armed: NEVER,
        };
        let key = self.insert(entry);
        // Its responses carry the INVITE's branch, so the INVITE's entry leads to it.
        if let Some((invite, _)) = head.branch().and_then(ids::read_branch) {
            self.index_cancel(invite, key);
        }
        self.apply(key, effects, now);
    }

    /// The CANCEL that was sent for this INVITE.
    pub(super) fn cancel_of(&self, invite: TransactionKey) -> Option<TransactionKey> {
        self.find(cancel_key(invite))
    }

    /// `SIP/2.0/UDP host:port;rport;branch=…`
    pub(super) fn via(&self, flow: Flow, branch: &[u8]) -> Bytes {
        let sent_by = self.settings.listener(flow.listener).map(|it| &it.advertised[..]);
        let transport = flow.transport.via_token().as_bytes();
        let sent_by = sent_by.unwrap_or_default();
        Bytes::from([b"SIP/2.0/", transport, b" ", sent_by, b";rport;branch=", branch].concat())
    }

    /// `<sip:host:port>`, with the transport where it is not UDP; `secure` where the leg is one of
    /// `sips:` URIs, which need none (RFC 5630 §3.3, §4). No user part: requests find their call by
    /// its tags, and a number would tell one party about the other.
    pub(super) fn contact(&self, flow: Flow, secure: bool) -> Bytes {
        let host = self.settings.listener(flow.listener).map(|it| &it.advertised[..]);
        let (scheme, transport): (&[u8], &[u8]) = match flow.transport {
            Transport::Udp => (b"<sip:", b""),
            Transport::Tcp => (b"<sip:", b";transport=tcp"),
            Transport::Tls if secure => (b"<sips:", b""),
            Transport::Tls => (b"<sip:", b";transport=tls"),
        };
        Bytes::from([scheme, host.unwrap_or_default(), transport, b">"].concat())
    }

    /// Does what a machine asked for and sees to its next deadline.
    pub(super) fn apply(&mut self, key: TransactionKey, effects: Effects, now: Mono) -> Remains {
        let mut remains = Remains::default();
        let Some(entry) = self.transactions.get(key) else { return remains };
        let flow = entry.flow;
        let (mut terminated, mut owes_trying) = (false, false);
        for effect in effects {
            match effect {
                Effect::SendTrying => owes_trying = true,
                Effect::Send(message) => self.send(flow, message),
                Effect::Resend(message) => self.resend(flow, message),
                Effect::PassUp => remains.pass_up = true,
                Effect::Forked => remains.forked = Some(Fork::New),
                Effect::ForkedAgain => remains.forked = Some(Fork::Known),
                Effect::TimedOut => remains.timed_out = true,
                Effect::AckMissing => {}
                Effect::Terminated => terminated = true,
            }
        }
        if terminated {
            self.remove(key);
        } else {
            self.arm_from(key, now);
        }
        if owes_trying {
            self.respond_trying(key, now);
        }
        remains
    }

    fn respond_trying(&mut self, key: TransactionKey, now: Mono) {
        let Some(entry) = self.transactions.get_mut(key) else { return };
        let Some(pending) = &entry.request else { return };
        let Pending { request, source } = &**pending;
        begin_response(&mut self.writer, request, *source, 100, reason_phrase(100), None);
        let message = self.writer.finish();
        let mut effects = Effects::new();
        if let Machine::InviteServer(machine) = &mut entry.machine {
            let input = invite_server::Input::Respond { status: 100, message };
            machine.handle(input, now, &mut effects);
        }
        self.apply(key, effects, now);
    }

    pub(super) fn open(
        &mut self,
        flow: Flow,
        owner: Owner,
        now: Mono,
        make: impl FnOnce(&mut Self, Bytes, &mut Effects) -> Machine,
    ) -> TransactionKey {
        let random = self.ids.random();
        let entry = TransactionEntry {
            machine: Machine::Server(Server::new(self.settings.timers, now)),
            owner,
            flow,
            request: None,
            random,
            keys: [None, None],
            armed: NEVER,
        };
        // The branch names the entry, so the entry comes first and its machine second.
        let key = self.insert(entry);
        let via = self.via(flow, &ids::branch(key, random));
        let mut effects = Effects::new();
        let machine = make(self, via, &mut effects);
        if let Some(entry) = self.transactions.get_mut(key) {
            entry.machine = machine;
        }
        self.apply(key, effects, now);
        key
    }

    fn insert(&mut self, entry: TransactionEntry) -> TransactionKey {
        let keys = entry.keys;
        let transaction = self.transactions.insert(entry);
        for key in keys.into_iter().flatten() {
            self.index.insert_unique(hash(key), (key, transaction), |(key, _)| hash(*key));
        }
        transaction
    }

    fn index_cancel(&mut self, invite: TransactionKey, cancel: TransactionKey) {
        let key = cancel_key(invite);
        self.index.insert_unique(hash(key), (key, cancel), |(key, _)| hash(*key));
        if let Some(entry) = self.transactions.get_mut(cancel) {
            entry.keys[0] = Some(key);
        }
    }

    /// Nobody waits for the answer any more, and none is acknowledged.
    pub(super) fn forget(&mut self, transaction: TransactionKey) {
        self.remove(transaction);
    }

    fn remove(&mut self, transaction: TransactionKey) {
        let Some(entry) = self.transactions.remove(transaction) else { return };
        self.challenges.forget(transaction);
        for key in entry.keys.into_iter().flatten() {
            if let Ok(found) =
                self.index.find_entry(hash(key), |known| *known == (key, transaction))
            {
                found.remove();
            }
        }
    }

    fn arm(&mut self, key: TransactionKey) {
        let Some(entry) = self.transactions.get_mut(key) else { return };
        if let Some(deadline) = entry.machine.deadline()
            && deadline < entry.armed
        {
            entry.armed = deadline;
            self.deadlines.arm(deadline, Due::Transaction(key));
        }
    }

    /// Like [`Wire::arm`]; a machine with nothing left to wait for on a reliable transport is
    /// removed at once.
    fn arm_from(&mut self, key: TransactionKey, now: Mono) {
        let due = self.transactions.get(key).is_some_and(|entry| entry.machine.is_over(now));
        if due {
            self.remove(key);
        } else {
            self.arm(key);
        }
    }

    /// The wheel has let go of this transaction. Runs its machine if it is due.
    pub(super) fn timeout(&mut self, key: TransactionKey, now: Mono) -> Option<(Owner, Remains)> {
        let entry = self.transactions.get_mut(key)?;
        entry.armed = NEVER;
        let owner = entry.owner;
        let mut effects = Effects::new();
        match &mut entry.machine {
            Machine::InviteServer(machine) => machine.handle_timeout(now, &mut effects),
            Machine::Server(machine) => machine.handle_timeout(now, &mut effects),
            Machine::InviteClient(machine) => machine.handle_timeout(now, &mut effects),
            Machine::Client(machine) => machine.handle_timeout(now, &mut effects),
        }
        Some((owner, self.apply(key, effects, now)))
    }

    /// A tag for a response that leaves no state: the same for the same request.
    pub(super) fn stateless_tag(&self, request: &Headers) -> Bytes {
        let digest = self.keys.of_merged(request).low64();
        Bytes::from(format!("{digest:016x}"))
    }
}

impl Machine {
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self {
            Self::InviteServer(machine) => machine.deadline(),
            Self::Server(machine) => machine.deadline(),
            Self::InviteClient(machine) => machine.deadline(),
            Self::Client(machine) => machine.deadline(),
        }
    }

    /// On a reliable transport timers D, I, J and K are zero: a finished transaction goes at once.
    /// One that is merely overdue does not: its deadline has yet to be heard.
    fn is_over(&self, now: Mono) -> bool {
        match self {
            Self::InviteServer(machine) => machine.is_over(now),
            Self::Server(machine) => machine.is_over(now),
            Self::InviteClient(machine) => machine.is_over(now),
            Self::Client(machine) => machine.is_over(now),
        }
    }
}

impl InviteHead {
    /// The branch of our Via.
    fn branch(&self) -> Option<&[u8]> {
        let at = memchr::memmem::rfind(&self.via, b"branch=")?;
        Some(&self.via[at + b"branch=".len()..])
    }
}

/// Begins a response: everything RFC 3261 §8.2.6 copies from the request.
pub(super) fn begin_response(
    writer: &mut Writer,
    request: &Headers,
    source: SocketAddr,
    status: u16,
    reason: &str,
    to_tag: Option<&[u8]>,
) {
    writer.response(status, reason.as_bytes());
    writer.vias_for_response(request, source);
    if (101..300).contains(&status) {
        writer.copy_all(HeaderName::RecordRoute, request);
    }
    writer.copy_all(HeaderName::From, request);
    match (request.line(HeaderName::To), to_tag.filter(|_| request.to_tag().is_none())) {
        (Some(to), Some(tag)) => writer.header_parts(HeaderName::To, &[to, b";tag=", tag]),
        (Some(to), None) => writer.header(HeaderName::To, to),
        (None, _) => {}
    }
    writer.copy_all(HeaderName::CallId, request);
    writer.copy_all(HeaderName::CSeq, request);
}

/// Where a response goes: back on the connection, or to the source address and, unless `rport` was
/// asked for, the port of the Via (RFC 3261 §18.2.2, RFC 3581 §4). `maddr` is not followed: it
/// would let a request send its answer to somebody else.
fn response_flow(request: &Headers, flow: Flow) -> Flow {
    let via = request.via();
    let peer = match flow.transport {
        Transport::Udp if via.rport().is_some() => flow.peer,
        Transport::Udp | Transport::Tcp | Transport::Tls => {
            let port = via.port().unwrap_or_else(|| flow.transport.default_port());
            SocketAddr::new(flow.peer.ip(), port)
        }
    };
    Flow { peer, ..flow }
}

/// Where a CANCEL of ours is found by its INVITE.
fn cancel_key(invite: TransactionKey) -> ServerKey {
    ServerKey::of_cancel(slotmap::Key::data(&invite).as_ffi())
}

fn hash(key: ServerKey) -> u64 {
    key.low64()
}

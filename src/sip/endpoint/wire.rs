//! Transactions of an endpoint: the tables that find them, and the way out.

use std::net::SocketAddr;

use bytes::Bytes;
use hashbrown::HashTable;
use slotmap::SlotMap;

use crate::sip::call::report::AttemptNumber;
use crate::sip::deadlines::Deadlines;
use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::{self, CallKey, IdSource, LegNumber, TransactionKey};
use crate::sip::message::{Request, Writer};
use crate::sip::transaction::key::KeyMaker;
use crate::sip::transaction::{
    Client, InviteClient, InviteServer, Output as Effect, Outputs as Effects, Server, ServerKey,
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

impl TransactionEntry {
    pub(super) fn new(machine: Machine, owner: Owner, flow: Flow) -> Self {
        let (request, keys) = (None, [None, None]);
        Self { machine, owner, flow, request, random: 0, keys, armed: NEVER }
    }

    /// One that is to answer this request, and is found by these.
    pub(super) fn with_request(self, pending: Pending, keys: [Option<ServerKey>; 2]) -> Self {
        Self { request: Some(Box::new(pending)), keys, ..self }
    }
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
    /// A request of ours within the dialog of a leg.
    Leg {
        call: CallKey,
        leg: LegNumber,
        asked: Asked,
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
    /// The BYE that a process left behind which died.
    Farewell,
}

/// What we asked a party within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// BYE.
    Bye,
    /// OPTIONS.
    Probe,
    /// re-INVITE or UPDATE that refreshes the session of the leg.
    Refresh,
    /// re-INVITE that tells of a description which the other party changed by itself.
    Move,
    /// What the other party asked us to pass on; it is answered in this transaction.
    Relay { answer: TransactionKey },
}

impl Owner {
    pub(super) fn call(self) -> Option<CallKey> {
        match self {
            Self::Nobody | Self::Registration(_) | Self::Prober(_) | Self::Farewell => None,
            Self::Call(call)
            | Self::Reinvite { call, .. }
            | Self::Attempt { call, .. }
            | Self::Leg { call, .. }
            | Self::Refer { call }
            | Self::Connect { call }
            | Self::Notify { call } => Some(call),
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
    pub(super) fn within_call(self) -> Option<(CallKey, LegNumber)> {
        match self {
            Self::Leg { asked: Asked::Bye, .. } => None,
            Self::Leg { call, leg, .. } => Some((call, leg)),
            Self::Refer { call } | Self::Connect { call } => Some((call, 0)),
            Self::Nobody
            | Self::Call(_)
            | Self::Reinvite { .. }
            | Self::Attempt { .. }
            | Self::Notify { .. }
            | Self::Prober(_)
            | Self::Farewell
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

    /// The CANCEL that was sent for this INVITE.
    pub(super) fn cancel_of(&self, invite: TransactionKey) -> Option<TransactionKey> {
        self.find(cancel_key(invite))
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

    pub(super) fn open(
        &mut self,
        flow: Flow,
        owner: Owner,
        now: Mono,
        make: impl FnOnce(&mut Self, Bytes, &mut Effects) -> Machine,
    ) -> TransactionKey {
        let random = self.ids.random();
        let machine = Machine::Server(Server::new(self.settings.timers, now));
        let entry = TransactionEntry { random, ..TransactionEntry::new(machine, owner, flow) };
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

    pub(super) fn insert(&mut self, entry: TransactionEntry) -> TransactionKey {
        let keys = entry.keys;
        let transaction = self.transactions.insert(entry);
        for key in keys.into_iter().flatten() {
            self.index.insert_unique(hash(key), (key, transaction), |(key, _)| hash(*key));
        }
        transaction
    }

    pub(super) fn index_cancel(&mut self, invite: TransactionKey, cancel: TransactionKey) {
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

    pub(super) fn arm(&mut self, key: TransactionKey) {
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

/// Where a CANCEL of ours is found by its INVITE.
fn cancel_key(invite: TransactionKey) -> ServerKey {
    ServerKey::of_cancel(slotmap::Key::data(&invite).as_ffi())
}

fn hash(key: ServerKey) -> u64 {
    key.low64()
}

//! Our requests: INVITE, ACK and CANCEL, those in a dialog, and those outside of all.

use bytes::Bytes;

use crate::sip::dialog::Dialog;
use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::{self, IdSource, TransactionKey};
use crate::sip::leg::event::Body;
use crate::sip::message::{HeaderName, Method, Writer};
use crate::sip::transaction::{Client, DueCancel, InviteClient, InviteHead, Outputs as Effects};
use crate::time::Mono;

use super::wire::{Machine, Owner, TransactionEntry, Wire};

/// What the requests of a row outside of dialogs have in common, so that their receiver knows them
/// for one.
pub(super) struct Row {
    call_id: Bytes,
    tag: Bytes,
    cseq: u32,
}

impl Row {
    pub(super) fn new(ids: &mut IdSource) -> Self {
        let call_id = ids.sip_call_id();
        Self { call_id, tag: Bytes::from(format!("{:016x}", ids.random())), cseq: 0 }
    }

    pub(super) fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }
}

/// Whom a request outside of dialogs is for. The addresses are written as in From and To.
pub(super) struct Head<'a> {
    pub(super) method: Method,
    pub(super) uri: &'a [u8],
    pub(super) from: &'a [u8],
    pub(super) to: &'a [u8],
    pub(super) contact: &'a [u8],
}

impl Wire {
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
        body: Option<&Body>,
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

    /// Sends the next request of a row outside of dialogs. `more` adds header fields.
    pub(super) fn ask(
        &mut self,
        flow: Flow,
        owner: Owner,
        row: &mut Row,
        head: &Head<'_>,
        more: impl FnOnce(&mut Writer),
        now: Mono,
    ) -> TransactionKey {
        let timers = self.paces.timers_for(flow);
        let method = head.method.name().as_bytes();
        self.open(flow, owner, now, |wire, via, effects| {
            let writer = &mut wire.writer;
            writer.request(method, head.uri);
            writer.header(HeaderName::Via, &via);
            writer.header(HeaderName::MaxForwards, b"70");
            writer.header_parts(HeaderName::From, &[head.from, b";tag=", &row.tag]);
            writer.header(HeaderName::To, head.to);
            writer.header(HeaderName::CallId, &row.call_id);
            let mut number = itoa::Buffer::new();
            let number = number.format(row.next_cseq()).as_bytes();
            writer.header_parts(HeaderName::CSeq, &[number, b" ", method]);
            writer.header(HeaderName::Contact, head.contact);
            if let Some(user_agent) = &wire.settings.user_agent {
                writer.header(HeaderName::UserAgent, user_agent);
            }
            more(writer);
            Machine::Client(Client::new(writer.finish(), timers, now, effects))
        })
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
        body: Option<&Body>,
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
        let key = self.insert(TransactionEntry::new(machine, Owner::Nobody, flow));
        // Its responses carry the INVITE's branch, so the INVITE's entry leads to it.
        if let Some((invite, _)) = head.branch().and_then(ids::read_branch) {
            self.index_cancel(invite, key);
        }
        self.apply(key, effects, now);
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
}

impl InviteHead {
    /// The branch of our Via.
    fn branch(&self) -> Option<&[u8]> {
        let at = memchr::memmem::rfind(&self.via, b"branch=")?;
        Some(&self.via[at + b"branch=".len()..])
    }
}

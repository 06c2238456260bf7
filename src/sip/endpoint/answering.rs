//! Our responses: requests that wait for one, and those that get it at once, with state or without.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::TransactionKey;
use crate::sip::leg::event::Body;
use crate::sip::message::{HeaderName, Headers, Request, Writer, reason_phrase};
use crate::sip::transaction::{
    InviteServer, Outputs as Effects, Server, ServerKey, invite_server, server,
};
use crate::time::Mono;

use super::wire::{Machine, Owner, Pending, TransactionEntry, Wire};

impl Wire {
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
        let machine = Machine::InviteServer(machine);
        let entry = TransactionEntry::new(machine, owner, flow);
        let key = self.insert(entry.with_request(Pending { request, source }, keys));
        self.apply(key, effects, now);
        key
    }

    /// Takes a request of another method, to be answered later.
    pub(super) fn accept(&mut self, request: Request, flow: Flow, now: Mono) -> TransactionKey {
        let key = self.keys.of(&request, request.method(), request.method_bytes());
        let source = flow.peer;
        let flow = response_flow(&request, flow);
        let machine = Machine::Server(Server::new(self.paces.timers_for(flow), now));
        let entry = TransactionEntry::new(machine, Owner::Nobody, flow);
        let pending = Pending { request, source };
        let key = self.insert(entry.with_request(pending, [Some(key), None]));
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
        body: Option<&Body>,
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

    pub(super) fn respond_trying(&mut self, key: TransactionKey, now: Mono) {
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

    /// A tag for a response that leaves no state: the same for the same request.
    pub(super) fn stateless_tag(&self, request: &Headers) -> Bytes {
        let digest = self.keys.of_merged(request).low64();
        Bytes::from(format!("{digest:016x}"))
    }
}

/// Begins a response: everything RFC 3261 §8.2.6 copies from the request.
fn begin_response(
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

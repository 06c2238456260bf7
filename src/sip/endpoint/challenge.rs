//! Challenges of our peers (spec/sip C7, C8): a request that is refused with 401 or 407 is sent
//! again with a proof, whatever its method, and whoever waits for its answer waits on.
//!
//! The request is read back from its bytes and written with a new branch, the next number and the
//! proofs, so that nothing that makes requests has to know of this. Where nobody has an account,
//! nothing of it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::sip::auth::client::Proofs;
use crate::sip::auth::{Account, Nonces};
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::ids::{self, TransactionKey};
use crate::sip::leg::event::LegEvent;
use crate::sip::leg::{Leg, Reinvite};
use crate::sip::message::{HeaderName, Message, Method, Request, Response, Writer};
use crate::sip::transaction::{Client, InviteHead};
use crate::time::Mono;

use super::Endpoint;
use super::responses::attempt_input;
use super::wire::{Machine, Owner, Wire};

/// What was asked of us, and what it may be asked of.
#[derive(Default)]
pub(super) struct Challenges {
    nonces: Nonces,
    /// Requests to those who know us.
    entrusted: BTreeMap<TransactionKey, Entrusted>,
}

/// A request whose challenges are answered.
#[derive(Clone)]
struct Entrusted {
    account: Arc<Account>,
    /// How often it was sent again.
    rounds: u8,
}

/// A refused request: what is needed to send it again.
pub(super) struct Refused {
    pub(super) transaction: TransactionKey,
    pub(super) owner: Owner,
    /// As it was sent.
    pub(super) request: Bytes,
    pub(super) flow: Flow,
    entrusted: Entrusted,
}

impl Challenges {
    pub(super) fn forget(&mut self, transaction: TransactionKey) {
        if !self.entrusted.is_empty() {
            self.entrusted.remove(&transaction);
        }
    }

    /// The account that challenges of a request are answered with.
    pub(super) fn account_of(&self, transaction: TransactionKey) -> Option<&Arc<Account>> {
        self.entrusted.get(&transaction).map(|it| &it.account)
    }

    /// Challenges of this request are answered with `account`; without one they are refusals.
    pub(super) fn entrust(&mut self, transaction: TransactionKey, account: Option<&Arc<Account>>) {
        if let Some(account) = account {
            let entrusted = Entrusted { account: Arc::clone(account), rounds: 0 };
            self.entrusted.insert(transaction, entrusted);
        }
    }
}

impl Wire {
    /// What a new request of `account` carries to be let in at once.
    pub(super) fn proofs(
        &mut self,
        account: Option<&Arc<Account>>,
        method: Method,
        uri: &[u8],
    ) -> Proofs {
        let Some(account) = account else { return Proofs::new() };
        let random = self.ids.random();
        self.challenges.nonces.proofs(account, method.name().as_bytes(), uri, random)
    }

    pub(super) fn proofs_in(&mut self, dialog: &Dialog, method: Method) -> Proofs {
        match dialog.account() {
            Some(account) => self.proofs(Some(account), method, &dialog.request_uri()),
            None => Proofs::new(),
        }
    }

    /// The request of a transaction that is about to end with this response, if that is a
    /// challenge. To be asked before the transaction is told.
    pub(super) fn refused(
        &self,
        transaction: TransactionKey,
        response: &Response,
    ) -> Option<Refused> {
        if !matches!(response.status(), 401 | 407) {
            return None;
        }
        let entrusted = self.challenges.entrusted.get(&transaction)?.clone();
        let entry = self.transactions.get(transaction)?;
        let request = match &entry.machine {
            Machine::InviteClient(machine) => machine.unanswered()?,
            Machine::Client(machine) => machine.unanswered()?,
            Machine::InviteServer(_) | Machine::Server(_) => return None,
        };
        Some(Refused { transaction, owner: entry.owner, request, flow: entry.flow, entrusted })
    }

    /// Sends a request once more, with another number and proofs.
    fn send_again(
        &mut self,
        request: &Request,
        cseq: u32,
        proofs: &Proofs,
        refused: &Refused,
        now: Mono,
    ) -> TransactionKey {
        let (flow, owner) = (refused.flow, refused.owner);
        if request.method() == Method::Invite {
            let write = |writer: &mut Writer, via: Bytes| {
                let message = rewrite(writer, request, &via, cseq, proofs);
                (head_of(request, via, cseq), message)
            };
            return self.invite(flow, owner, write, now);
        }
        let timers = self.paces.timers_for(flow);
        self.open(flow, owner, now, |wire, via, effects| {
            let message = rewrite(&mut wire.writer, request, &via, cseq, proofs);
            Machine::Client(Client::new(message, timers, now, effects))
        })
    }
}

impl Endpoint {
    /// Answers a challenge. `false` if that cannot be done or is of no use: then the response is
    /// what it is.
    pub(super) fn answer_challenge(
        &mut self,
        refused: &Refused,
        response: &Response,
        now: Mono,
    ) -> bool {
        let Entrusted { account, rounds } = refused.entrusted.clone();
        let limits = &self.wire.settings.limits;
        let Ok(Message::Request(request)) = Message::parse(refused.request.clone(), limits) else {
            return false;
        };
        if !self.still_wanted(refused) {
            return false;
        }
        let nonces = &mut self.wire.challenges.nonces;
        if !nonces.challenged(&account, &request, response, rounds) {
            return false;
        }
        let cseq = self.next_cseq(refused.owner, &request);
        let proofs = self.wire.proofs(Some(&account), request.method(), request.uri());
        let again = self.wire.send_again(&request, cseq, &proofs, refused, now);
        let entrusted = Entrusted { account, rounds: rounds + 1 };
        self.wire.challenges.entrusted.insert(again, entrusted);
        self.replaced(refused, again, cseq, now);
        true
    }

    /// The dialog that a request of ours was made in, as long as its call is there. Our tag names
    /// the call.
    fn dialog_that_made(&mut self, request: &Request) -> Option<&mut Dialog> {
        let (call, _) = ids::read_tag(request.from_tag()?)?;
        self.calls.get_mut(call)?.legs_mut().find_map(|leg| leg.dialog_that_made(request))
    }

    /// Nobody waits for an attempt that was given up.
    fn still_wanted(&mut self, refused: &Refused) -> bool {
        let Some((call, attempt)) = refused.owner.attempt() else { return true };
        self.calls.get_mut(call).is_some_and(|entry| {
            let is_its = |leg: &Leg| leg.invite == refused.transaction;
            entry.new_party().is_some_and(is_its)
                || entry.attempt_leg(attempt).is_some_and(|leg| is_its(leg))
        })
    }

    /// RFC 3261 §22.2: the number rises. In a dialog others may have been used since.
    fn next_cseq(&mut self, owner: Owner, request: &Request) -> u32 {
        if let Owner::Registration(index) = owner
            && let Some(registrar) = self.registrars.get_mut(&index)
        {
            return registrar.row.next_cseq();
        }
        match self.dialog_that_made(request) {
            Some(dialog) => dialog.next_cseq(),
            None => request.cseq().number + 1,
        }
    }

    /// Whoever knew the old transaction knows the new one.
    fn replaced(&mut self, refused: &Refused, again: TransactionKey, cseq: u32, now: Mono) {
        match refused.owner {
            Owner::Attempt { call, attempt } => {
                let Some(entry) = self.calls.get_mut(call) else { return };
                if let Some(leg) = entry.new_party_mut() {
                    (leg.invite, leg.invite_cseq) = (again, cseq);
                    return;
                }
                let is_branch = entry.is_branch(attempt);
                if let Some(leg) = entry.attempt_leg(attempt) {
                    (leg.invite, leg.invite_cseq) = (again, cseq);
                    leg.heard = true;
                    // What the refusal opened is gone with it.
                    leg.reliable = None;
                }
                // A challenge is a sign of life, and nothing else.
                self.drive(call, attempt_input(attempt, is_branch, LegEvent::Trying), now);
            }
            Owner::Leg { call, leg, .. } => {
                let entry = self.calls.get_mut(call);
                if let Some(leg) = entry.and_then(|it| it.leg(it.side_of(leg)?))
                    && leg.reinvite == Some(Reinvite::Ours(refused.transaction))
                {
                    leg.reinvite = Some(Reinvite::Ours(again));
                }
            }
            Owner::Connect { call } => {
                if let Some(entry) = self.calls.get_mut(call) {
                    entry.caller.reinvite = Some(Reinvite::Ours(again));
                }
            }
            Owner::Refer { call } => {
                if let Some(entry) = self.calls.get_mut(call) {
                    entry.rare().refer = Some(cseq);
                }
            }
            Owner::Nobody
            | Owner::Call(_)
            | Owner::Reinvite { .. }
            | Owner::Notify { .. }
            | Owner::Registration(_)
            | Owner::Prober(_)
            | Owner::Farewell => {}
        }
    }
}

/// Fields of a request sent again that are not copied.
const WRITTEN_ANEW: [HeaderName; 4] = [
    HeaderName::Authorization,
    HeaderName::ProxyAuthorization,
    HeaderName::ContentType,
    HeaderName::ContentLength,
];

/// The request with another branch, number and proofs; the rest as it was.
pub(super) fn rewrite(
    writer: &mut Writer,
    request: &Request,
    via: &[u8],
    cseq: u32,
    proofs: &Proofs,
) -> Bytes {
    writer.request(request.method_bytes(), request.uri());
    for (name, written, value) in request.iter() {
        if name == HeaderName::Via {
            writer.header(name, via);
        } else if name == HeaderName::CSeq {
            let mut number = itoa::Buffer::new();
            let number = number.format(cseq).as_bytes();
            writer.header_parts(name, &[number, b" ", request.method_bytes()]);
            for (field, proof) in proofs {
                writer.header(*field, proof);
            }
        } else if name == HeaderName::Other {
            writer.named(written, value);
        } else if !WRITTEN_ANEW.contains(&name) {
            writer.header(name, value);
        }
    }
    match request.content_type() {
        Some(content_type) if !request.body().is_empty() => {
            writer.finish_with(content_type, request.body())
        }
        Some(_) | None => writer.finish(),
    }
}

fn head_of(request: &Request, via: Bytes, cseq: u32) -> InviteHead {
    let line = |name| Bytes::copy_from_slice(request.line(name).unwrap_or_default());
    let routes = request.values(HeaderName::Route).map(Bytes::copy_from_slice);
    InviteHead {
        uri: Bytes::copy_from_slice(request.uri()),
        via,
        from: line(HeaderName::From),
        to: line(HeaderName::To),
        call_id: line(HeaderName::CallId),
        cseq,
        route: routes.collect::<SmallVec<[Bytes; 1]>>(),
    }
}

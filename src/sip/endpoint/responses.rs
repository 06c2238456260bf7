//! Responses from the wire, and deadlines of transactions.
//!
//! A response to an attempt that is over is settled here, without the call: a provisional is
//! dropped, a failure was acknowledged by its transaction, and an answer is acknowledged and ended
//! (spec/sip B9, X8, D10). So a second answer can never be bridged.

use crate::reason::Reason;
use crate::sip::auth::register::Ending;
use crate::sip::call;
use crate::sip::call::report::AttemptNumber;
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::ids::{CallKey, LegNumber, TransactionKey};
use crate::sip::leg::event::LegEvent;
use crate::sip::leg::{Leg, LegState};
use crate::sip::message::{Method, Response};
use crate::sip::transaction::Outputs as Effects;
use crate::time::Mono;

use super::redirect::redirection;
use super::reliable::is_reliable;
use super::requests::reason_of;
use super::wire::{Asked, Fork, Machine, Owner};
use super::{Endpoint, Side};

/// More than we send in an early dialog, of which nothing is left when its answer comes too late: the
/// BYE has a higher number than each PRACK. Gaps are fine (RFC 3261 §12.2.2).
const EARLY_REQUESTS: u32 = 1 << 10;

impl Endpoint {
    pub(super) fn response(&mut self, response: &Response, flow: Flow, now: Mono) {
        self.wire.counters.response_in(response.status());
        // RFC 3261 §17.1.3: our branch, and the method of CSeq, which tells INVITE from CANCEL.
        let branch = response.via().branch().unwrap_or_default();
        let Some(mut key) = self.wire.find_client(branch) else {
            self.wire.counters.strays += 1;
            return;
        };
        if response.cseq().method() == Method::Cancel {
            match self.wire.cancel_of(key) {
                Some(cancel) => key = cancel,
                None => return,
            }
        }
        let refused = self.wire.refused(key, response);
        let Some(entry) = self.wire.transactions.get_mut(key) else { return };
        let owner = entry.owner;
        self.current = owner.call();
        let mut effects = Effects::new();
        let mut held_cancel = None;
        match &mut entry.machine {
            Machine::InviteClient(machine) => {
                let writer = &mut self.wire.writer;
                held_cancel = machine.handle_response(response, now, writer, &mut effects);
            }
            Machine::Client(machine) => {
                machine.handle_response(response.status(), now, &mut effects)
            }
            Machine::InviteServer(_) | Machine::Server(_) => return,
        }
        let sent_to = entry.flow;
        let flow = Flow { pace: sent_to.pace, ..flow };
        let remains = self.wire.apply(key, effects, now);
        if let Some(due) = held_cancel {
            self.wire.send_cancel(&due, sent_to, now);
        }
        match remains.forked {
            Some(Fork::New) => self.refuse_answer(key, true, response, flow, now),
            // Its BYE is on its way; the ACK may have been lost.
            Some(Fork::Known) => {
                if let Some(dialog) = Dialog::with_late_answer(response, flow) {
                    let cseq = response.cseq().number;
                    self.wire.acknowledge(TransactionKey::default(), &dialog, cseq, None);
                }
            }
            None => {}
        }
        if !remains.pass_up {
            return;
        }
        self.heard_of(owner, response.status(), now);
        if refused.is_some_and(|refused| self.answer_challenge(&refused, response, now)) {
            return;
        }
        match owner {
            Owner::Attempt { call, .. }
                if self.transfer_response(call, key, response, flow, now) => {}
            Owner::Attempt { call, attempt } => {
                if self.is_made_by(call, attempt, key) {
                    self.attempt_response(call, attempt, key, response, flow, now);
                } else if (200..300).contains(&response.status()) {
                    self.refuse_answer(key, false, response, flow, now);
                }
            }
            Owner::Leg { call, leg, asked } => {
                self.leg_response(call, leg, asked, key, response, now);
            }
            Owner::Refer { call } => self.refer_answered(call, response.status(), now),
            Owner::Connect { call } => self.connect_answered(call, key, response, now),
            Owner::Notify { call } => self.referrer_told(call, now),
            Owner::Registration(index) => self.registration_answered(index, response, now),
            Owner::Prober(id) => self.probe_answered(id, key, Some(response.status())),
            Owner::Farewell => self.farewell_answered(response, now),
            Owner::Call(_) | Owner::Reinvite { .. } | Owner::Nobody => {}
        }
    }

    pub(super) fn transaction_timeout(&mut self, key: TransactionKey, now: Mono) {
        let Some((owner, remains)) = self.wire.timeout(key, now) else { return };
        self.current = owner.call();
        if !remains.timed_out {
            return;
        }
        match owner {
            Owner::Attempt { call, attempt } => {
                if self.is_made_by(call, attempt, key) {
                    self.attempt_lost(call, attempt, Reason::AttemptNoResponse, now);
                } else {
                    self.transfer_lost(call, key, now);
                }
            }
            Owner::Refer { call } => self.refer_answered(call, 408, now),
            Owner::Connect { call } => self.connect_failed(call, now),
            Owner::Notify { call } => self.referrer_told(call, now),
            Owner::Registration(index) => self.registration_ended(index, Ending::Failed, now),
            Owner::Prober(id) => self.probe_answered(id, key, None),
            Owner::Leg { call, leg, asked } => self.request_timeout(call, leg, asked, key, now),
            Owner::Call(_) | Owner::Reinvite { .. } | Owner::Nobody | Owner::Farewell => {}
        }
    }

    /// A response to a request of ours within a dialog.
    fn leg_response(
        &mut self,
        call: CallKey,
        leg: LegNumber,
        asked: Asked,
        key: TransactionKey,
        response: &Response,
        now: Mono,
    ) {
        let Some(side) = self.calls.get(call).and_then(|entry| entry.side_of(leg)) else {
            if response.status() >= 200 {
                self.answer_for_gone(asked, now);
            }
            return;
        };
        match asked {
            Asked::Bye => self.bye_done(call, side, now),
            Asked::Probe => {
                if matches!(response.status(), 481 | 408) {
                    self.lost(call, side, Reason::DialogLost, now);
                }
            }
            Asked::Refresh => self.refreshed(call, side, key, response, now),
            Asked::Move => self.moved(call, side, key, response, now),
            Asked::Relay { answer } => {
                self.relayed_response(call, side, key, answer, response, now);
            }
        }
    }

    /// A request of ours within a dialog was not answered.
    fn request_timeout(
        &mut self,
        call: CallKey,
        leg: LegNumber,
        asked: Asked,
        key: TransactionKey,
        now: Mono,
    ) {
        let Some(side) = self.calls.get(call).and_then(|entry| entry.side_of(leg)) else {
            self.answer_for_gone(asked, now);
            return;
        };
        match asked {
            Asked::Bye => self.bye_done(call, side, now),
            Asked::Probe => self.lost(call, side, Reason::PeerUnreachable, now),
            Asked::Refresh | Asked::Move => self.refresh_timed_out(call, side, key, now),
            Asked::Relay { answer } => self.relay_timed_out(call, side, key, answer, now),
        }
    }

    /// The party has left the call, which goes on without it: whoever asked it something is told.
    fn answer_for_gone(&mut self, asked: Asked, now: Mono) {
        if let Asked::Relay { answer } = asked {
            self.wire.respond(answer, 481, None, |_, _| {}, None, now);
        }
    }

    /// Nothing can be sent there. An INVITE of ours fails over at once; a request in a dialog is
    /// sent once more, on a new connection if its own broke (spec/sip T8), and then repeated or
    /// timed out as if it had been lost.
    pub(super) fn flow_failed(&mut self, flow: Flow, now: Mono) {
        if flow.connection.is_some() {
            self.wire.resend_elsewhere(flow);
        }
        self.probes_failed(flow);
        let hit: Vec<_> = self
            .wire
            .transactions
            .iter()
            .filter(|(_, entry)| {
                let other = entry.flow;
                (other.peer, other.transport, other.tls) == (flow.peer, flow.transport, flow.tls)
            })
            .filter_map(|(key, entry)| Some((key, entry.owner.attempt()?)))
            .collect();
        for (key, (call, attempt)) in hit {
            let Some(entry) = self.calls.get_mut(call) else { continue };
            let waits = |leg: &Leg| leg.state == LegState::Early && !leg.heard && leg.invite == key;
            if entry.new_party().is_some_and(waits) {
                self.transfer_failed(call, 503, Reason::AttemptCarrierFailed, now);
            } else if entry.attempt_leg(attempt).is_some_and(|leg| waits(leg))
                && !self.falls_back_to_udp(call, attempt, key, flow, now)
            {
                self.attempt_lost(call, attempt, Reason::AttemptCarrierFailed, now);
            }
        }
    }

    /// Whether the attempt is made by this transaction: not by one at an address that was left.
    fn is_made_by(&mut self, call: CallKey, attempt: AttemptNumber, key: TransactionKey) -> bool {
        let leg = self.calls.get_mut(call).and_then(|entry| entry.attempt_leg(attempt));
        leg.is_some_and(|leg| leg.invite == key)
    }

    fn attempt_response(
        &mut self,
        call: CallKey,
        attempt: AttemptNumber,
        transaction: TransactionKey,
        response: &Response,
        flow: Flow,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        let Some(leg) = entry.attempt_leg(attempt) else { return };
        leg.heard = true;
        if response.cseq().number != leg.invite_cseq {
            return;
        }
        entry.rate_response(attempt, response, &mut self.wire);
        let is_branch = entry.is_branch(attempt);
        if (101..300).contains(&response.status()) {
            entry.keep_lines(response);
        }
        if is_branch {
            // As long as it is looked at, it stands where a target stands; there is none yet.
            entry.target = entry.take_leg(attempt);
        }
        let event = match response.status() {
            100 => LegEvent::Trying,
            status @ 101..200 if is_reliable(response) => {
                match entry.hear_reliably(response, flow, &mut self.wire, now) {
                    Some(body) => LegEvent::Progress { status, body },
                    None => {
                        entry.put_back(is_branch);
                        return;
                    }
                }
            }
            status @ 101..200 => {
                let body = entry.preview(response, &self.wire);
                LegEvent::Progress { status, body }
            }
            200..300 => {
                let answered = entry.answered(transaction, response, flow, &mut self.wire, now);
                let Some(body) = answered else {
                    // An answer without a tag or Contact cannot be acknowledged.
                    let reason = Reason::AttemptCarrierFailed;
                    self.attempt_lost_as(call, attempt, is_branch, reason, now);
                    return;
                };
                LegEvent::Answered { body }
            }
            422 if entry.dial_again(call, response, &mut self.wire, now) => {
                entry.put_back(is_branch);
                return;
            }
            status => {
                let leg = entry.target.take();
                let (why, q850) = reason_of(response);
                // Of those that ring side by side one that is elsewhere has refused.
                let serial = leg.filter(|_| !is_branch);
                serial
                    .and_then(|leg| {
                        redirection(&entry.call, leg.number, response, &self.wire.settings)
                    })
                    .unwrap_or(LegEvent::Refused { status, q850, why })
            }
        };
        if !matches!(event, LegEvent::Answered { .. }) {
            entry.put_back(is_branch);
        }
        self.drive(call, attempt_input(attempt, is_branch, event), now);
    }

    /// The attempt is gone without a final response.
    fn attempt_lost(&mut self, call: CallKey, attempt: AttemptNumber, reason: Reason, now: Mono) {
        let is_branch = self.calls.get(call).is_some_and(|entry| entry.is_branch(attempt));
        self.attempt_lost_as(call, attempt, is_branch, reason, now);
    }

    /// The same, for one that has lost its place among those that ring side by side already.
    fn attempt_lost_as(
        &mut self,
        call: CallKey,
        attempt: AttemptNumber,
        is_branch: bool,
        reason: Reason,
        now: Mono,
    ) {
        if let Some(leg) = self.calls.get_mut(call).and_then(|entry| entry.take_leg(attempt)) {
            // Should it be there after all, its first sign of life is answered by a CANCEL.
            self.wire.cancel(leg.invite, None, now);
        }
        let event = LegEvent::Lost { reason };
        self.drive(call, attempt_input(attempt, is_branch, event), now);
    }

    /// Acknowledges and ends an answer to `invite` that nobody waits for any more. The transaction
    /// keeps the ACK for repeats of the answer; a fork's repeats get a new ACK each.
    fn refuse_answer(
        &mut self,
        invite: TransactionKey,
        is_fork: bool,
        response: &Response,
        flow: Flow,
        now: Mono,
    ) {
        let Some(mut dialog) = Dialog::with_late_answer(response, flow) else { return };
        let cseq = response.cseq().number;
        let keeper = if is_fork { TransactionKey::default() } else { invite };
        self.wire.acknowledge(keeper, &dialog, cseq, None);
        dialog.set_account(self.wire.challenges.account_of(invite).cloned());
        dialog.pass_over(EARLY_REQUESTS);
        let reason: &[u8] = b"SIP;cause=487;text=\"Request Terminated\"";
        let more = |writer: &mut crate::sip::message::Writer| {
            writer.header(crate::sip::message::HeaderName::Reason, reason);
        };
        self.wire.request(&mut dialog, Method::Bye, Owner::Nobody, more, None, now);
    }

    /// A side no longer knows the call, or no longer answers or refreshes (spec/sip D7).
    pub(super) fn lost(&mut self, call: CallKey, side: Side, reason: Reason, now: Mono) {
        self.current = Some(call);
        if let Some(entry) = self.calls.get_mut(call) {
            entry.presume_gone(side);
            if reason == Reason::DialogLost {
                entry.end_by_peer(side, &mut self.wire, now);
            }
        }
        self.drive(call, side.event(LegEvent::Lost { reason }), now);
    }

    fn bye_done(&mut self, call: CallKey, side: Side, now: Mono) {
        if let Some(entry) = self.calls.get_mut(call)
            && let Some(leg) = entry.leg(side)
        {
            leg.state = LegState::Settled;
        }
        self.settle(call, now);
    }
}

/// What happened on the leg of an attempt, as the call hears it.
pub(super) fn attempt_input(
    attempt: AttemptNumber,
    is_branch: bool,
    event: LegEvent,
) -> call::Input {
    if is_branch { call::Input::Branch(attempt, event) } else { call::Input::Target(event) }
}

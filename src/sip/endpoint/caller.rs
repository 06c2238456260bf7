//! What the caller is told: our responses to its INVITE.

use bytes::Bytes;

use crate::sip::dialog::{Dialog, is_secure};
use crate::sip::flow::Flow;
use crate::sip::leg::LegState;
use crate::sip::leg::confirmation::Confirmation;
use crate::sip::leg::event::{Body, Command};
use crate::sip::leg::offer_answer::digest;
use crate::sip::leg::provisional::{Provisional, Provisionals};
use crate::sip::message::{HeaderName, Request, Writer};
use crate::sip::policy::write_lines;
use crate::time::Mono;

use super::wire::{ALLOW, Pending, Wire};
use super::{CallEntry, Side};

impl CallEntry {
    pub(super) fn command_caller(&mut self, command: Command, wire: &mut Wire, now: Mono) {
        if self.caller.state != LegState::Early && !matches!(command, Command::HangUp { .. }) {
            return;
        }
        match command {
            Command::Progress { status, body } => {
                self.open_caller_dialog(wire);
                if self.is_reliable_to_caller(wire) {
                    self.progress_reliably(Provisional { status, body }, wire, now);
                } else {
                    self.respond_to_caller(status, body, |_| {}, wire, now);
                }
            }
            Command::Answer { body } => {
                self.open_caller_dialog(wire);
                let body = match self.caller.provisionals_mut() {
                    Some(provisionals) => provisionals.answer(body),
                    None => Some(body),
                };
                if let Some(body) = body {
                    self.answer_caller(body, wire, now);
                }
            }
            Command::Refuse { status, retry_after_s, why } => {
                let more = |writer: &mut Writer, _: &Request| {
                    if let Some(why) = &why {
                        writer.header(HeaderName::Reason, why);
                    }
                    if let Some(seconds) = retry_after_s {
                        writer.header_number(HeaderName::RetryAfter, u64::from(seconds));
                    }
                };
                wire.respond(self.caller.invite, status, Some(&self.caller.tag), more, None, now);
                self.caller.state = LegState::Settled;
                self.caller.rest();
            }
            Command::HangUp { .. } if self.caller.state == LegState::Early => {
                self.fail_caller(500, wire, now);
            }
            // Those are not answers: see `handover`.
            Command::Redirect { .. }
            | Command::Take
            | Command::Refer { .. }
            | Command::Connect { .. } => {}
            Command::HangUp { why } => {
                // A BYE may not overtake the ACK to our answer (RFC 3261 §15).
                match &mut self.caller.confirmation {
                    Some(confirmation) if self.caller.state == LegState::Answered => {
                        confirmation.hang_up = Some(why);
                    }
                    _ => self.hang_up(Side::Caller, why, wire, now),
                }
            }
        }
    }

    /// The 200 to the caller.
    pub(super) fn answer_caller(&mut self, body: Option<Body>, wire: &mut Wire, now: Mono) {
        let Some(entry) = wire.transactions.get(self.caller.invite) else { return };
        let flow = entry.flow;
        let policy = self.onward.policy.session;
        let request = entry.request.as_ref().map(|pending| &pending.request);
        let terms = request.and_then(|request| policy.answer(request, None).ok().flatten());
        let more = |writer: &mut Writer| {
            if let Some(terms) = terms {
                terms.write_answer(writer);
            }
        };
        let body = match self.caller.provisionals_mut() {
            Some(provisionals) => provisionals.description_of_answer(body),
            None => body,
        };
        let ok = self.respond_to_caller(200, body, more, wire, now);
        self.caller.state = LegState::Answered;
        self.caller.last_heard = now;
        self.caller.probe_at = wire.settings.probe_interval.map(|every| now + every);
        let (ok, sent) = ok.map_or((None, None), |(ok, body)| (Some(ok), body));
        if let Some(ok) = ok {
            let timers = wire.paces.timers_for(flow);
            let confirmation = Confirmation::new(self.caller.invite_cseq, ok, flow, timers, now);
            self.caller.confirmation = Some(Box::new(confirmation));
        }
        if let Some(terms) = terms {
            let described = self.caller.provisionals().and_then(Provisionals::described).cloned();
            let heard = digest(self.onward.offer.as_ref());
            self.agree(Side::Caller, Some(terms), wire, now);
            self.describe(Side::Caller, sent.or(described), heard);
        }
        // The offer has done its part.
        self.onward.offer = None;
        self.onward.display = Bytes::new();
    }

    /// A final failure for a caller who still waits for its answer, although the call is over: the
    /// answer was held back, and now it is too late for it.
    pub(super) fn fail_caller(&mut self, status: u16, wire: &mut Wire, now: Mono) {
        wire.respond(self.caller.invite, status, Some(&self.caller.tag), |_, _| {}, None, now);
        self.onward.failed = Some(status);
        self.caller.state = LegState::Settled;
        self.caller.rest();
    }

    /// Our dialog with the caller, from the first response that carries our tag.
    pub(super) fn open_caller_dialog(&mut self, wire: &Wire) {
        if self.caller.dialog.is_some() {
            return;
        }
        let Some(entry) = wire.transactions.get(self.caller.invite) else { return };
        let Some(pending) = &entry.request else { return };
        let Pending { request, source } = &**pending;
        // Requests in the dialog go to the Contact; the flow says from where and over what.
        let flow = Flow { peer: *source, ..entry.flow };
        self.caller.dialog = Dialog::with_caller(request, &self.caller.tag, flow).map(Box::new);
        if let Some(dialog) = &mut self.caller.dialog {
            dialog.set_account(self.onward.account.clone());
        }
    }

    /// Returns the response and the body that went with it.
    pub(super) fn respond_to_caller(
        &mut self,
        status: u16,
        body: Option<Body>,
        more: impl FnOnce(&mut Writer),
        wire: &mut Wire,
        now: Mono,
    ) -> Option<(Bytes, Option<Body>)> {
        let entry = wire.transactions.get(self.caller.invite)?;
        let flow = entry.flow;
        let secure = entry.request.as_ref().is_some_and(|it| is_secure(it.request.uri()));
        let contact = wire.contact(flow, secure);
        let address = wire.settings.listener(flow.listener).map(|listener| listener.address);
        let body = self.caller.sdp.rewrite_any(body, address);
        let rare = &self.rare;
        let more = |writer: &mut Writer, _: &Request| {
            writer.header(HeaderName::Contact, &contact);
            if status >= 200 {
                writer.header(HeaderName::Allow, ALLOW);
            }
            if let Some(rare) = rare {
                write_lines(&rare.lines, writer);
            }
            more(writer);
        };
        let (invite, tag) = (self.caller.invite, &self.caller.tag);
        let response = wire.respond(invite, status, Some(tag), more, body.as_ref(), now)?;
        Some((response, body))
    }
}

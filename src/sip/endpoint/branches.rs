//! Requests in the early dialogs of targets that ring side by side: each is a dialog like any other
//! until one of them has won (RFC 3261 §12, RFC 3311 §5.2).
//!
//! What such a target says of itself is answered. What it wants the caller to hear is refused for
//! now: the caller has one session, and it is nobody's yet.

use crate::sip::call;
use crate::sip::dialog::is_secure;
use crate::sip::flow::Flow;
use crate::sip::ids;
use crate::sip::leg::event::LegEvent;
use crate::sip::message::{HeaderName, Method, Request, Writer};
use crate::time::Mono;

use super::Endpoint;
use super::requests::{capabilities, reason_of};
use super::screening::screen_body;
use super::wire::ALLOW;

impl Endpoint {
    /// Gives the request back if it is of no such dialog.
    pub(super) fn branch_request(
        &mut self,
        request: Request,
        flow: Flow,
        now: Mono,
    ) -> Option<Request> {
        let named = request.to_tag().and_then(ids::read_tag);
        let Some((call, number)) = named else { return Some(request) };
        let Some(entry) = self.calls.get_mut(call) else { return Some(request) };
        let leg = entry.attempt_leg(number);
        let Some(dialog) = leg.and_then(|leg| leg.dialog_of(&request)) else {
            return Some(request);
        };
        self.current = Some(call);
        let (request, flow) = self.wire.take_in_dialog(request, flow, dialog, now)?;
        if request.method() == Method::Bye {
            // RFC 3261 §15 allows it only to the caller of a dialog, but it happens.
            let (why, q850) = reason_of(&request);
            self.wire.reply(request, flow, 200, now);
            let hung_up = LegEvent::HungUp { why, q850 };
            self.drive(call, call::Input::Branch(number, hung_up), now);
            return None;
        }
        match request.method() {
            Method::Options => self.wire.reply_with(request, flow, 200, capabilities, now),
            Method::Update if request.body().is_empty() => {
                dialog.refresh_target(&request);
                let contact = self.wire.contact(flow, is_secure(request.uri()));
                let more = |writer: &mut Writer| {
                    writer.header(HeaderName::Contact, &contact);
                    writer.header(HeaderName::Allow, ALLOW);
                };
                self.wire.reply_with(request, flow, 200, more, now);
            }
            Method::Update => {
                let request = screen_body(request, flow, &mut self.wire, now)?;
                self.wire.reply(request, flow, 488, now);
            }
            // An INVITE within the one that is not answered yet (RFC 3261 §14.2).
            Method::Invite => self.wire.reply(request, flow, 491, now),
            // Before the answer there is nobody to inform.
            Method::Info | Method::Message => self.wire.reply(request, flow, 480, now),
            Method::Notify | Method::Subscribe => self.wire.reply(request, flow, 489, now),
            Method::Refer => self.wire.reply(request, flow, 403, now),
            // It has had no response from us that could want one.
            Method::Prack => self.wire.reply(request, flow, 481, now),
            Method::Bye
            | Method::Register
            | Method::Publish
            | Method::Ack
            | Method::Cancel
            | Method::Other => self.not_allowed(request, flow, now),
        }
        None
    }
}

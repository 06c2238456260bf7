//! What one party tells the other beside the call: INFO, MESSAGE, and NOTIFY of other events than
//! REFER's. The policies of both legs say whether it passes, and the stricter one is followed
//! (spec/sip B18).

use crate::sip::flow::Flow;
use crate::sip::ids::CallKey;
use crate::sip::message::{HeaderName, Headers, Method, Request, Writer};
use crate::sip::trunk::profile::{InfoPassage, Passage};
use crate::time::Mono;

use super::{CallEntry, Endpoint, Side};

impl Endpoint {
    /// `request` arrived on `side` and fits its dialog.
    pub(super) fn inform(
        &mut self,
        call: CallKey,
        side: Side,
        request: Request,
        flow: Flow,
        now: Mono,
    ) {
        let Some(entry) = self.calls.get_mut(call) else { return };
        match entry.passage(&request) {
            _ if entry.call.is_ended() => self.wire.reply(request, flow, 481, now),
            Passage::Pass => self.relay(call, side, request, flow, now),
            Passage::Absorb => self.wire.reply(request, flow, 200, now),
            Passage::Refuse if request.method() == Method::Notify => {
                let more = |writer: &mut Writer| writer.header(HeaderName::AllowEvents, b"refer");
                self.wire.reply_with(request, flow, 489, more, now);
            }
            Passage::Refuse => {
                // RFC 6086 §4.2.2.
                let is_package = request.has(HeaderName::InfoPackage);
                self.wire.reply(request, flow, if is_package { 469 } else { 403 }, now);
            }
        }
    }
}

impl CallEntry {
    fn passage(&self, request: &Request) -> Passage {
        let target = self.target.as_ref().map_or(0, |leg| leg.number);
        let [caller, target] = [0, target].map(|leg| self.policy_of(leg).passages);
        if request.method() == Method::Info {
            match caller.info.max(target.info) {
                InfoPassage::Pass => Passage::Pass,
                InfoPassage::Dtmf if is_digit(request) => Passage::Pass,
                InfoPassage::Absorb => Passage::Absorb,
                InfoPassage::Dtmf | InfoPassage::Refuse => Passage::Refuse,
            }
        } else if request.method() == Method::Message {
            caller.message.max(target.message)
        } else {
            caller.notify.max(target.notify)
        }
    }
}

/// Whether an INFO says that a key was pressed, in one of the ways that are in use.
fn is_digit(info: &Headers) -> bool {
    let is = |value: Option<&[u8]>, names: &[&[u8]]| {
        let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
        let essence = essence.unwrap_or_default().trim_ascii();
        names.iter().any(|name| essence.eq_ignore_ascii_case(name))
    };
    is(info.line(HeaderName::InfoPackage), &[b"dtmf", b"infoDtmf"])
        || is(info.content_type(), &[b"application/dtmf-relay", b"application/dtmf"])
}

//! What cannot be read is refused, if it came from somebody we speak to.

use bytes::Bytes;

use crate::sip::flow::Flow;
use crate::sip::message::{Message, Method, Refusal};

use super::{Endpoint, Origin};

impl Endpoint {
    pub(super) fn refuse_malformed(&mut self, refusal: &Refusal, flow: Flow, origin: Origin) {
        if origin != Origin::Stranger {
            let status = refusal.status;
            self.wire.respond_stateless(&refusal.headers, flow, status, refusal.reason, |_| {});
        }
    }

    /// RFC 3261 §18.3: a stream message without a usable Content-Length is a bad request.
    pub(super) fn refuse_unframed(&mut self, head: Bytes, flow: Flow, origin: Origin) {
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

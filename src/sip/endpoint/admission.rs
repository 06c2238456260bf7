//! Refusing what would open something, in few words and without state (spec/sip O1, O2, S2, S5).

use std::net::IpAddr;

use crate::sip::admission::{Busy, Rate, Verdict};
use crate::sip::call::RETRY_AFTER_S;
use crate::sip::flow::Flow;
use crate::sip::ids::CallKey;
use crate::sip::message::{HeaderName, Headers, Request};
use crate::time::Mono;

use super::{CallEntry, Endpoint, Origin};

/// Those who are refused at one moment are asked to come back over so many seconds.
const RETRY_SPREAD_S: u64 = 6;

impl Endpoint {
    /// Whether a request outside all dialogs is within the rate of its source. If it is not, it has
    /// been answered.
    pub(super) fn is_within_rate(
        &mut self,
        request: &Request,
        flow: Flow,
        origin: Origin,
        now: Mono,
    ) -> bool {
        let rate = match origin {
            Origin::Trunk(trunk) => self.trunks.get(trunk).and_then(|trunk| trunk.requests),
            Origin::Peer | Origin::Stranger => Some(Rate::OF_A_PEER),
        };
        let Some(rate) = rate else { return true };
        match self.gate.take(flow.peer.ip(), rate, now) {
            Verdict::Admit => return true,
            Verdict::Refuse => self.refuse_busy(request, flow, Busy::Rate),
            Verdict::Ignore => self.wire.counters.refused[Busy::Rate as usize] += 1,
        }
        false
    }

    /// Whether there is room for one more call from there.
    pub(super) fn room_for_call(&mut self, ip: IpAddr, now: Mono) -> Result<(), Busy> {
        let caps = &self.wire.settings.caps;
        if self.draining {
            Err(Busy::Draining)
        } else if let Some(strain) = self.strain {
            Err(strain)
        } else if self.calls.len() >= caps.calls_max {
            Err(Busy::Calls)
        } else if self.wire.transactions.len() >= caps.transactions_max {
            Err(Busy::Transactions)
        } else {
            self.gate.room(ip, now)
        }
    }

    /// 503 without state. When to come back is drawn from the Call-ID: the same for the same call,
    /// so that those who are refused together do not return together.
    pub(super) fn refuse_busy(&mut self, request: &Request, flow: Flow, busy: Busy) {
        self.wire.counters.refused[busy as usize] += 1;
        let seconds = self.retry_after_s(request);
        self.wire.respond_stateless(request, flow, 503, "Service Unavailable", |writer| {
            writer.header_number(HeaderName::RetryAfter, seconds);
        });
    }

    fn retry_after_s(&self, request: &Headers) -> u64 {
        let drawn = (self.wire.keys.of_merged(request).low64() >> 32) % RETRY_SPREAD_S;
        u64::from(RETRY_AFTER_S) + drawn
    }

    /// Lets go of a call. It is half-open no longer.
    pub(super) fn forget(&mut self, key: CallKey) -> Option<CallEntry> {
        let mut entry = self.calls.remove(key)?;
        if let Some(ip) = entry.onward.half_open.take() {
            self.gate.settled(ip);
        }
        Some(entry)
    }
}

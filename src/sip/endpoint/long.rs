//! Requests that are too long for a datagram (spec/sip T9; RFC 3261 §18.1.1): an INVITE goes over
//! TCP where the peer is said to take it, and as a datagram after all if nobody takes TCP there.

use std::net::SocketAddr;

use crate::sip::call::plan::Destination;
use crate::sip::call::report::AttemptNumber;
use crate::sip::flow::{Flow, Transport};
use crate::sip::ids::{CallKey, TransactionKey};
use crate::sip::leg::event::Body;
use crate::sip::policy::InviteExtras;
use crate::time::Mono;

use super::counters::{OVER_TCP, TCP_REFUSED};
use super::inviting::Onward;
use super::wire::Wire;
use super::{CallEntry, Endpoint, Output};

/// What every INVITE of ours has, whatever it says: names of fields, our methods, branch, tag, a
/// session timer.
const FIXED_BYTES: usize = 640;

/// A proof that a challenge wants.
const PROOF_BYTES: usize = 400;

/// What makes an INVITE long.
pub(super) struct Parts<'a> {
    pub(super) uri: &'a [u8],
    pub(super) own_host: &'a [u8],
    pub(super) extras: Option<&'a InviteExtras>,
    pub(super) offer: Option<&'a Body>,
    pub(super) has_proof: bool,
}

impl Onward {
    /// About so many bytes the INVITE will have, and hardly ever more.
    fn invite_bytes(&self, parts: &Parts<'_>) -> usize {
        // In the start line and To; in Via, From, Contact and Call-ID; in the loop header.
        let own = 2 * parts.uri.len() + 4 * parts.own_host.len() + self.loop_tokens.len();
        let policy = parts.extras.map_or(0, |extras| {
            let lines = extras.lines.iter().map(|(name, value)| name.len() + value.len() + 4);
            extras.from.len() + lines.sum::<usize>()
        });
        let proof = if parts.has_proof { PROOF_BYTES } else { 0 };
        FIXED_BYTES + own + policy + proof + parts.offer.map_or(0, |offer| offer.bytes.len())
    }

    /// The TCP flow on which an INVITE for `flow` is better sent, if it is too long for it.
    pub(super) fn long_way(
        &self,
        flow: Flow,
        destination: Destination,
        parts: &Parts<'_>,
        wire: &mut Wire,
    ) -> Option<Flow> {
        let port = destination.tcp_port.filter(|_| flow.transport == Transport::Udp)?;
        if self.invite_bytes(parts) <= wire.settings.udp_request_bytes_max {
            return None;
        }
        let peer = SocketAddr::new(flow.peer.ip(), port);
        let over_tcp = wire.settings.reach(Flow { transport: Transport::Tcp, peer, ..flow })?;
        wire.counters.long_requests[OVER_TCP] += 1;
        Some(over_tcp)
    }
}

impl Endpoint {
    /// An INVITE could not be sent on this flow. If it was meant to be a datagram, it becomes one.
    pub(super) fn falls_back_to_udp(
        &mut self,
        call: CallKey,
        attempt: AttemptNumber,
        invite: TransactionKey,
        failed: Flow,
        now: Mono,
    ) -> bool {
        let Some(entry) = self.calls.get_mut(call) else { return false };
        let planned = entry.call.attempt(attempt).and_then(|planned| planned.destination);
        let meant_for_udp = planned.is_some_and(|it| it.transport == Transport::Udp);
        if failed.transport != Transport::Tcp || !meant_for_udp {
            return false;
        }
        self.wire.counters.long_requests[TCP_REFUSED] += 1;
        entry.call.has_no_tcp(attempt);
        let Ok(leg) = entry.dial(call, attempt, &mut self.wire, now) else { return false };
        self.wire.cancel(invite, None, now);
        if let Some(place) = entry.attempt_leg(attempt) {
            *place = leg;
        }
        true
    }
}

impl CallEntry {
    /// An INVITE of so many bytes has left for an attempt.
    pub(super) fn note_length(
        call: CallKey,
        attempt: AttemptNumber,
        flow: Flow,
        bytes: usize,
        wire: &mut Wire,
    ) {
        if flow.transport == Transport::Udp && bytes > wire.settings.udp_request_bytes_max {
            wire.out.push(Output::Fragmented { call, attempt, bytes });
        }
    }
}

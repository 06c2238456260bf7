//! What an endpoint counts. Plain numbers of one shard; the server adds them up.

use std::collections::BTreeMap;

use crate::sip::admission::Busy;
use crate::sip::trunk::TrunkIndex;

/// Methods that are counted by name; the last entry is every other one.
pub const METHODS: [&str; 11] = [
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "UPDATE", "REGISTER", "REFER", "PRACK",
    "other",
];

/// Sizes of INVITEs, in bytes, up to which they are counted together; the last entry of
/// [`Counters::invite_sizes`] is the larger ones. A datagram above 1300 is at risk (RFC 3261 §18.1.1).
pub const INVITE_SIZES: [usize; 5] = [600, 900, 1_300, 1_500, 4_000];

/// What becomes of requests that are too long for a datagram: sent over TCP, sent as a datagram in
/// fragments, or sent so after nobody took TCP.
pub const LONG_WAYS: [&str; 3] = ["tcp", "fragments", "tcp_refused"];

/// Places in [`LONG_WAYS`].
pub(super) const OVER_TCP: usize = 0;
pub(super) const IN_FRAGMENTS: usize = 1;
pub(super) const TCP_REFUSED: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by [`METHODS`].
    pub requests_in: [u64; METHODS.len()],
    pub requests_out: [u64; METHODS.len()],
    /// Responses by class, 1xx to 6xx.
    pub responses_in: [u64; 6],
    pub responses_out: [u64; 6],
    /// INVITEs that opened a leg, by [`INVITE_SIZES`] (spec/sip T10), each under the position of the
    /// trunk whose call it is.
    pub invite_sizes: Vec<[u64; INVITE_SIZES.len() + 1]>,
    /// Requests too long for a datagram, by [`LONG_WAYS`] (spec/sip T9).
    pub long_requests: [u64; LONG_WAYS.len()],
    /// Messages that were sent before.
    pub retransmissions_out: u64,
    /// Requests that had been received before.
    pub retransmissions_in: u64,
    /// Messages that could not be parsed, by fault.
    pub malformed: BTreeMap<&'static str, u64>,
    /// Responses and ACKs that belong to nothing.
    pub strays: u64,
    /// Requests that would have opened something, refused or left without an answer, by [`Busy`].
    pub refused: [u64; Busy::ALL.len()],
    /// Handlers that panicked; each ended one call.
    pub panics: u64,
    /// Calls that did not end by themselves and were taken away.
    pub reaped: u64,
}

impl Counters {
    pub(super) fn malformed(&mut self, fault: &'static str) {
        *self.malformed.entry(fault).or_default() += 1;
    }

    pub(super) fn request_in(&mut self, method: &[u8]) {
        self.requests_in[method_index(method)] += 1;
    }

    pub(super) fn response_in(&mut self, status: u16) {
        if let Some(count) = self.responses_in.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            *count += 1;
        }
    }

    /// `message` is one that we wrote.
    pub(super) fn sent(&mut self, message: &[u8]) {
        if let Some([class, ..]) = message.strip_prefix(b"SIP/2.0 ") {
            if let Some(count) = self.responses_out.get_mut(usize::from(class.wrapping_sub(b'1'))) {
                *count += 1;
            }
        } else {
            let end = memchr::memchr(b' ', message).unwrap_or(0);
            self.requests_out[method_index(&message[..end])] += 1;
        }
    }

    /// An INVITE of so many bytes was sent for a call of this trunk.
    pub(super) fn invite_sent(&mut self, trunk: TrunkIndex, bytes: usize) {
        let trunk = usize::from(trunk.0);
        if self.invite_sizes.len() <= trunk {
            self.invite_sizes.resize(trunk + 1, Default::default());
        }
        let class = INVITE_SIZES.iter().position(|most| bytes <= *most);
        self.invite_sizes[trunk][class.unwrap_or(INVITE_SIZES.len())] += 1;
    }
}

fn method_index(method: &[u8]) -> usize {
    let other = METHODS.len() - 1;
    METHODS.iter().position(|name| name.as_bytes() == method).unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invites_are_counted_by_their_size_and_the_trunk_of_their_call() {
        let mut counters = Counters::default();
        for size in [10, 600, 601, 1_300, 1_301, 9_000] {
            counters.invite_sent(TrunkIndex(2), size);
        }
        counters.invite_sent(TrunkIndex(0), 1_000);

        assert_eq!(counters.invite_sizes, [[0, 0, 1, 0, 0, 0], [0; 6], [2, 1, 1, 1, 0, 1]]);
    }
}

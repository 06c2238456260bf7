//! What leaves.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::sip::endpoint::Input;
use crate::sip::flow::{Flow, Transport};
use crate::sip::transport::{SendFailure, SendFault};

use super::{Shard, Turn};

/// Datagrams that are sent before the turn ends, so that a long turn does not hold them all back.
const FLUSH_AT: usize = 256;

impl Shard {
    pub(super) fn send(&mut self, flow: Flow, message: Bytes, turn: &mut Turn) {
        match flow.transport {
            Transport::Udp => {
                let socket =
                    self.sockets.iter().position(|(listener, _)| *listener == flow.listener);
                if let Some(index) = socket
                    && turn.queues[index].len() >= FLUSH_AT
                {
                    self.sockets[index].1.try_send_batch(&mut turn.queues[index]);
                }
                let queued = socket.map(|index| turn.queues[index].push(message, flow.peer));
                if !matches!(queued, Some(Ok(()))) {
                    self.metrics.dropped_send_queue(1);
                }
            }
            Transport::Tcp | Transport::Tls => {
                if let Err(error) = self.tcp.send(&flow, message) {
                    tracing::debug!(%error, "a message could not be queued on its connection");
                    self.metrics.dropped_send_queue(1);
                    turn.answers.push_back(Input::FlowFailed { flow });
                }
            }
        }
    }

    /// Sends what is queued. Learning that a peer is unreachable may queue more, once.
    pub(super) fn flush(&mut self, turn: &mut Turn) {
        for _ in 0..2 {
            let mut failed = Vec::new();
            for ((listener, socket), queue) in self.sockets.iter().zip(&mut turn.queues) {
                if queue.is_empty() {
                    continue;
                }
                socket.try_send_batch(queue);
                let failures = queue.take_failures();
                self.metrics.dropped_send_fault(failures.len() as u64);
                for peer in dead_peers(&failures) {
                    failed.push(Flow::udp(*listener, peer));
                }
            }
            if failed.is_empty() {
                return;
            }
            for flow in failed {
                self.unreachable(flow, turn);
            }
        }
    }
}

/// Peers that are said not to be there, each once. Other faults concern one datagram, which will be
/// repeated or time out.
pub(super) fn dead_peers(failures: &[SendFailure]) -> BTreeSet<SocketAddr> {
    let is_dead = |failure: &&SendFailure| match failure.fault {
        SendFault::Refused
        | SendFault::Unreachable
        | SendFault::Denied
        | SendFault::WrongAddress => true,
        SendFault::TooLong | SendFault::System(_) => false,
    };
    failures.iter().filter(is_dead).map(|failure| failure.peer).collect()
}

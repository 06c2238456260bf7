//! What comes: letters, messages of connections, datagrams.

use std::sync::Arc;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::endpoint::Input;
use crate::sip::flow::Flow;
use crate::sip::transport::{DatagramKind, RecvBatch, TcpEvent, classify};

use super::super::clock;
use super::super::mailbox::Mail;
use super::super::overload::telling;
use super::feeding::unharmed;
use super::sending::dead_peers;
use super::{LAST_WORDS, Letter, Shard, Turn};

/// Datagrams read from one socket before the others, the mailbox and the deadlines get a turn.
const BATCHES_PER_TURN: usize = 4;
const DATAGRAMS_PER_TURN: usize = BATCHES_PER_TURN * RecvBatch::DATAGRAMS_MAX;

impl Shard {
    pub(super) fn read_letter(&mut self, letter: Letter, turn: &mut Turn) {
        match letter {
            Letter::Mail(Mail::Datagram { flow, origin, message }) => {
                let wall = clock::wall();
                self.feed(Input::Received { flow, origin, wall, message }, turn);
            }
            Letter::Mail(Mail::Unreachable { flow }) => {
                self.feed(Input::FlowFailed { flow }, turn);
            }
            // Every turn looks at what is durable.
            Letter::Mail(Mail::Durable) => {}
            Letter::Mail(Mail::Room(room)) => self.room_came(*room, turn),
            Letter::Mail(Mail::Found(found)) => {
                let (key, call) = found.whose();
                let admitted = unharmed(None, || self.bridge.found(*found));
                self.go_on(key, call, admitted, turn);
            }
            Letter::Mail(Mail::First(first)) => unharmed((), || self.bridge.first(first)),
            Letter::Mail(Mail::HangUp { call }) => {
                if let Some(call) = self.bridge.find(call) {
                    self.feed(Input::End { call, reason: Reason::HungUpByOperator }, turn);
                }
            }
            Letter::Mail(Mail::Scored { key, call, scores }) => {
                let decided = unharmed(None, || self.bridge.scored(key, call, scores));
                if let Some(decided) = decided {
                    self.tell(key, decided, turn);
                }
            }
            Letter::Mail(Mail::Configure(agreed)) => {
                let trunks = Arc::clone(&agreed.trunks);
                self.bridge.configure(*agreed);
                self.feed(Input::Configure(trunks), turn);
            }
            Letter::Mail(Mail::Farewell { flow, bye }) => {
                self.feed(Input::Farewell { flow, bye }, turn);
            }
            Letter::Mail(Mail::Drain) => self.feed(Input::Drain, turn),
            Letter::Mail(Mail::Stop) => {
                self.feed(Input::Drain, turn);
                turn.stop_by = Some(clock::mono() + LAST_WORDS);
                for call in self.bridge.live() {
                    self.feed(Input::End { call, reason: Reason::Draining }, turn);
                }
            }
            Letter::Tcp(TcpEvent::Message { flow, message }) => {
                let origin = self.sources.origin(&flow, &message);
                match origin {
                    Some(origin) => {
                        let wall = clock::wall();
                        self.feed(Input::Received { flow, origin, wall, message }, turn);
                    }
                    None => self.metrics.dropped_unknown_source(1),
                }
            }
            Letter::Tcp(TcpEvent::Unframed { flow, fault }) => {
                // What there is of it goes to the parser, which answers 400 where that can be done.
                if let Some(head) = fault.head()
                    && let Some(origin) = self.sources.origin(&flow, head)
                {
                    self.feed(
                        Input::Unframed { flow, origin, head: Bytes::copy_from_slice(head) },
                        turn,
                    );
                }
            }
            Letter::Tcp(TcpEvent::SendFailed { flow, .. } | TcpEvent::Unheard { flow, .. }) => {
                self.feed(Input::FlowFailed { flow }, turn);
            }
            // Dialogs keep the connection's id; the next request opens a new one (spec/sip T8).
            Letter::Tcp(TcpEvent::Closed { .. }) => {}
        }
    }

    pub(super) fn read_socket(&mut self, index: usize, turn: &mut Turn) {
        let mut left = telling(self.sockets[index].1.receive_buffer_bytes(), DATAGRAMS_PER_TURN);
        for _ in 0..BATCHES_PER_TURN {
            let (listener, socket) = &self.sockets[index];
            let listener = *listener;
            let mut batch = std::mem::take(&mut turn.batch);
            let received = match turn.eager {
                0 => socket.try_recv_batch(&mut batch),
                _ => socket.recv_batch_now(&mut batch),
            };
            let Ok(count) = received else {
                turn.batch = batch;
                return;
            };
            left = left.saturating_sub(count);
            turn.drained &= left > 0;
            let wall = clock::wall();
            for (datagram, peer) in batch.iter() {
                let flow = Flow::udp(listener, peer);
                let Some(origin) = self.sources.origin(&flow, datagram) else {
                    self.metrics.dropped_unknown_source(1);
                    continue;
                };
                match classify(datagram) {
                    DatagramKind::Sip => {}
                    DatagramKind::Ping => {
                        self.send(flow, Bytes::from_static(b"\r\n"), turn);
                        continue;
                    }
                    DatagramKind::Keepalive | DatagramKind::Stun => continue,
                    DatagramKind::Garbage => {
                        self.metrics.dropped_garbage(1);
                        continue;
                    }
                }
                let shard = self.steering.shard_of(datagram);
                if self.shards[usize::from(shard)].lets_go(datagram) {
                    self.metrics.dropped_overload(1);
                    continue;
                }
                let message = Bytes::copy_from_slice(datagram);
                if shard == self.index {
                    self.feed(Input::Received { flow, origin, wall, message }, turn);
                } else if !self.shards[usize::from(shard)].post(Mail::Datagram {
                    flow,
                    origin,
                    message,
                }) {
                    self.metrics.dropped_mailbox_full(1);
                }
            }
            let unreachable = dead_peers(batch.unreachable());
            let full = count == RecvBatch::DATAGRAMS_MAX;
            turn.batch = batch;
            for peer in unreachable {
                self.unreachable(Flow::udp(listener, peer), turn);
            }
            if !full {
                return;
            }
        }
    }

    /// Nobody is there. Which shard's datagram did not arrive cannot be told: the kernel gives an
    /// ICMP error to any of the sockets that share the port.
    pub(super) fn unreachable(&mut self, flow: Flow, turn: &mut Turn) {
        for (index, shard) in self.shards.iter().enumerate() {
            if index != usize::from(self.index) {
                // One whose box is full learns of it by the silence.
                shard.post(Mail::Unreachable { flow });
            }
        }
        self.feed(Input::FlowFailed { flow }, turn);
    }
}

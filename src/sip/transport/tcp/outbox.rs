//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A bounded queue between any number of senders and one writer. When it is full the peer counts
/// as slow: the queue closes and the connection ends.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    bytes_max: usize,
    /// For the writer: something is to be written.
    filled: Notify,
    /// For whoever waits for the last message to leave.
    emptied: Notify,
    overflowed: Notify,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    closed: bool,
    last_message_at: Instant,
}

#[derive(Clone, Debug)]
enum Item {
    Message {
        unwritten: Bytes,
        whole: Bytes,
    },
    /// Pings and pongs: nobody asks what became of them.
    Keepalive {
        unwritten: Bytes,
    },
}

#[derive(Debug)]
pub(super) enum PushError {
    /// The connection is ending; here is the message back.
    Closed(Bytes),
    /// The peer is too slow; the message is dropped and the connection ends.
    Full,
}

/// What one write took out of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub messages: u64,
    pub bytes: u64,
}

impl Outbox {
    /// Messages handed to the kernel in one call.
    pub(super) const BATCH: usize = 64;

    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            closed: false,
            last_message_at: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            bytes_max,
            filled: Notify::new(),
            emptied: Notify::new(),
            overflowed: Notify::new(),
        }
    }

    pub(super) fn push(&self, message: Bytes) -> Result<(), PushError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(PushError::Closed(message));
        }
        if state.bytes + message.len() > self.bytes_max {
            state.closed = true;
            self.overflowed.notify_one();
            return Err(PushError::Full);
        }
        state.bytes += message.len();
        state.last_message_at = Instant::now();
        state.queue.push_back(Item::Message { unwritten: message.clone(), whole: message });
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues a ping or pong, unless the queue is full: a peer that does not read is not kept
    /// alive.
    pub(super) fn push_keepalive(&self, bytes: Bytes) {
        let mut state = self.state.lock();
        if state.closed || state.bytes + bytes.len() > self.bytes_max {
            return;
        }
        state.bytes += bytes.len();
        state.queue.push_back(Item::Keepalive { unwritten: bytes });
        drop(state);
        self.filled.notify_one();
    }

    /// When the last message was queued, or the queue was made.
    pub(super) fn last_message_at(&self) -> Instant {
        self.state.lock().last_message_at
    }

    /// Up to [`Self::BATCH`] items from the front, waiting until there is one. Only the writer
    /// calls this.
    pub(super) async fn front(&self) -> SmallVec<[Bytes; Self::BATCH]> {
        loop {
            let front = self.front_now();
            if !front.is_empty() {
                return front;
            }
            self.filled.notified().await;
        }
    }

    fn front_now(&self) -> SmallVec<[Bytes; Self::BATCH]> {
        let state = self.state.lock();
        state.queue.iter().take(Self::BATCH).map(|item| item.unwritten().clone()).collect()
    }

    /// Removes `bytes` from the front: they were written.
    pub(super) fn consume(&self, bytes: usize) -> Written {
        let mut state = self.state.lock();
        let mut written = Written { messages: 0, bytes: bytes as u64 };
        let mut left = bytes;
        state.bytes -= bytes;
        while left > 0 {
            let item = state.queue.front_mut().expect("what was written is in the queue");
            let unwritten = item.unwritten_mut();
            if unwritten.len() > left {
                unwritten.advance(left);
                break;
            }
            left -= unwritten.len();
            written.messages += u64::from(matches!(item, Item::Message { .. }));
            state.queue.pop_front();
        }
        if state.queue.is_empty() {
            drop(state);
            self.emptied.notify_one();
        }
        written
    }

    /// Waits until everything queued has been written.
    pub(super) async fn empty(&self) {
        while !self.state.lock().queue.is_empty() {
            self.emptied.notified().await;
        }
    }

    /// Waits until a message found the queue full.
    pub(super) async fn overflow(&self) {
        self.overflowed.notified().await;
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Takes no more, and gives the messages that did not leave, partly written ones included.
    pub(super) fn close_and_take(&self) -> Vec<Bytes> {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        let unsent = mem::take(&mut state.queue).into_iter();
        unsent.filter_map(Item::into_message).collect()
    }
}

impl Item {
    fn unwritten(&self) -> &Bytes {
        match self {
            Self::Message { unwritten, .. } | Self::Keepalive { unwritten } => unwritten,
        }
    }

    fn unwritten_mut(&mut self) -> &mut Bytes {
        match self {
            Self::Message { unwritten, .. } | Self::Keepalive { unwritten } => unwritten,
        }
    }

    fn into_message(self) -> Option<Bytes> {
        match self {
            Self::Message { whole, .. } => Some(whole),
            Self::Keepalive { .. } => None,
        }
    }
}

/// The form a vectored write takes.
pub(super) fn slices(front: &[Bytes]) -> SmallVec<[IoSlice<'_>; Outbox::BATCH]> {
    front.iter().map(|bytes| IoSlice::new(bytes)).collect()
}

//! What other threads tell a shard, and how.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::id::CallId;
use crate::routing::selection::ScoreReading;
use crate::sip::endpoint::{CallKey, Origin};
use crate::sip::flow::Flow;
use crate::sip::transport::opens_nothing;

use super::bridge::{First, Found, Room};
use super::reload::Agreed;

/// What other threads tell a shard.
#[derive(Debug)]
pub enum Mail {
    /// A datagram of a call of this shard that arrived at another.
    Datagram {
        flow: Flow,
        origin: Origin,
        message: Bytes,
    },
    /// Datagrams do not arrive there, as another shard was told.
    Unreachable {
        flow: Flow,
    },
    /// Facts this shard waits for are on disk.
    Durable,
    /// Room that an attempt asked for was granted or denied.
    Room(Box<Room>),
    HangUp {
        call: CallId,
    },
    /// The sessions of a call that waits for them.
    Found(Box<Found>),
    /// A call was the first of its session.
    First(First),
    /// What a scorer said of a call that waits for it; nothing if it was late.
    Scored {
        key: CallKey,
        call: CallId,
        scores: Vec<ScoreReading>,
    },
    /// What is agreed with trunks and targets about new calls from now on.
    Configure(Box<Agreed>),
    /// Send the BYE that a process left behind which died.
    Farewell {
        flow: Flow,
        bye: Bytes,
    },
    /// Take no more calls.
    Drain,
    /// End the calls that are left, then stop.
    Stop,
}

/// Letters a shard's mailbox holds. A datagram that finds it full is dropped and counted, as the
/// network would have done; its sender repeats it.
pub const MAILBOX_LETTERS: usize = 8192;

/// How to write to a shard.
#[derive(Clone)]
pub struct Mailbox {
    letters: mpsc::Sender<Mail>,
    /// Whether the shard waits for facts to become durable.
    waiting: Arc<AtomicBool>,
    /// Whether it is so far behind that it wants nothing that opens anything.
    braked: Arc<AtomicBool>,
}

impl Mailbox {
    pub fn new() -> (Self, mpsc::Receiver<Mail>) {
        let (letters, mail) = mpsc::channel(MAILBOX_LETTERS);
        (Self { letters, waiting: Arc::default(), braked: Arc::default() }, mail)
    }

    /// `false` if there was no room.
    pub fn post(&self, mail: Mail) -> bool {
        self.letters.try_send(mail).is_ok()
    }

    /// Tells all of them. `false` if one had no room; the others know then. A shard that has ended
    /// needs no letter.
    pub fn tell_all(shards: &[Self], mail: impl Fn() -> Mail) -> bool {
        let untold = |shard: &&Self| !shard.post(mail()) && !shard.letters.is_closed();
        shards.iter().filter(untold).count() == 0
    }

    /// Waits for room: for what nobody would send again. A shard that has ended needs no letter.
    pub async fn deliver(&self, mail: Mail) {
        let _ended = self.letters.send(mail).await;
    }

    /// Whether this message is to be dropped unread, because the shard is far behind.
    pub(super) fn lets_go(&self, message: &[u8]) -> bool {
        self.braked.load(Ordering::Relaxed) && !opens_nothing(message)
    }

    /// Whether the shard is so far behind that it wants nothing that opens anything.
    pub(super) fn set_braked(&self, braked: bool) {
        if self.braked.load(Ordering::Relaxed) != braked {
            self.braked.store(braked, Ordering::Relaxed);
        }
    }

    /// Facts became durable: wakes the shard if it waits for some. Without room for the letter the
    /// shard is busy with its mail, and looks when it is done with it.
    pub fn durable(&self) {
        if self.waiting.load(Ordering::SeqCst) {
            self.post(Mail::Durable);
        }
    }

    pub fn waiting(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn what_nobody_would_send_again_waits_for_room_in_the_box() {
        let (mailbox, mut mail) = Mailbox::new();
        while mailbox.post(Mail::Durable) {}

        let mut delivery = pin!(mailbox.deliver(Mail::Stop));
        let is_there = poll_fn(|context| Poll::Ready(delivery.as_mut().poll(context).is_ready()));
        assert!(!is_there.await, "the box is full");
        for _ in 0..MAILBOX_LETTERS {
            assert!(matches!(mail.recv().await, Some(Mail::Durable)));
        }
        delivery.await;
        assert!(matches!(mail.recv().await, Some(Mail::Stop)));

        drop(mail);
        mailbox.deliver(Mail::Stop).await;
    }

    #[test]
    fn not_all_are_told_if_one_has_no_room_but_one_that_has_ended_needs_none() {
        let ((full, mut first), (other, mut second)) = (Mailbox::new(), Mailbox::new());
        let both = [full, other];
        while both[0].post(Mail::Durable) {}

        assert!(!Mailbox::tell_all(&both, || Mail::Drain));
        assert!(matches!(second.try_recv(), Ok(Mail::Drain)), "it has room");

        while first.try_recv().is_ok() {}
        assert!(Mailbox::tell_all(&both, || Mail::Drain));
        assert!(matches!(
            (first.try_recv(), second.try_recv()),
            (Ok(Mail::Drain), Ok(Mail::Drain))
        ));

        drop(second);
        assert!(Mailbox::tell_all(&both, || Mail::Drain));
    }
}

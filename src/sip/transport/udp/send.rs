//! Datagrams that wait to leave, and what became of those that could not.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::{array, fmt, mem};

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, sendto};

use super::Sent;

/// A bounded first-in-first-out queue of datagrams, sent by
/// [`try_send_batch`](super::UdpSocket::try_send_batch).
///
/// Made on the thread that sends: it is not `Send`.
pub struct SendQueue {
    /// What was sent already stays in front until the queue is empty: `next` counts it.
    datagrams: Vec<Bytes>,
    /// As the kernel wants them; `Some` throughout.
    peers: Vec<Option<SockaddrStorage>>,
    next: usize,
    datagrams_max: usize,
    headers: MultiHeaders<SockaddrStorage>,
    failures: Vec<SendFailure>,
    failed: u64,
    pub(super) unreachable: Vec<SendFailure>,
}

/// A datagram that did not reach its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFailure {
    pub peer: SocketAddr,
    pub fault: SendFault,
    /// `None` if an ICMP error told us: the kernel no longer has the whole datagram.
    pub datagram: Option<Bytes>,
}

/// Why a datagram did not reach its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFault {
    #[error("nothing listens at the peer's port")]
    Refused,
    #[error("there is no route to the peer")]
    Unreachable,
    #[error("the datagram is longer than the path takes")]
    TooLong,
    #[error("a local firewall or policy forbids it")]
    Denied,
    #[error("the peer's address cannot be sent to from this socket")]
    WrongAddress,
    #[error("the system says {0}")]
    System(Errno),
}

/// The queue holds as many datagrams as it may; the one offered is dropped, as a full network
/// would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the send queue is full")]
pub struct QueueFull;

impl SendQueue {
    /// Enough for a second of 4,000 datagrams while the kernel takes none.
    pub const DATAGRAMS_MAX: usize = 4096;

    /// Datagrams handed to the kernel in one call.
    const BATCH: usize = 32;

    pub fn new() -> Self {
        Self::with_capacity(Self::DATAGRAMS_MAX)
    }

    /// A queue that refuses more than `datagrams_max`.
    pub fn with_capacity(datagrams_max: usize) -> Self {
        Self {
            datagrams: Vec::new(),
            peers: Vec::new(),
            next: 0,
            datagrams_max,
            headers: MultiHeaders::preallocate(Self::BATCH, None),
            failures: Vec::new(),
            failed: 0,
            unreachable: Vec::new(),
        }
    }

    pub fn push(&mut self, datagram: Bytes, peer: SocketAddr) -> Result<(), QueueFull> {
        if self.len() >= self.datagrams_max {
            return Err(QueueFull);
        }
        self.datagrams.push(datagram);
        self.peers.push(Some(peer.into()));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.datagrams.len() - self.next
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What failed since the last call: datagrams the kernel refused, then ICMP errors about
    /// earlier ones. Beyond 1,024 of each the rest is only counted.
    pub fn take_failures(&mut self) -> Vec<SendFailure> {
        let mut failures = mem::take(&mut self.failures);
        failures.append(&mut self.unreachable);
        failures
    }

    /// Datagrams given up since the queue was made.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// One system call. The error is about the first datagram, which stays in the queue.
    pub(super) fn send(&mut self, fd: RawFd) -> Result<Sent, Errno> {
        let sent = match self.len() {
            0 => Sent::default(),
            1 => self.send_one(fd)?,
            _ => self.send_batch(fd)?,
        };
        self.advance(sent.datagrams);
        Ok(sent)
    }

    /// The kernel takes a single datagram a little faster this way.
    fn send_one(&self, fd: RawFd) -> Result<Sent, Errno> {
        let peer = self.peers[self.next].as_ref().expect("push stores an address");
        let bytes = sendto(fd, &self.datagrams[self.next], peer, MsgFlags::MSG_DONTWAIT)?;
        Ok(Sent { datagrams: 1, bytes })
    }

    fn send_batch(&mut self, fd: RawFd) -> Result<Sent, Errno> {
        let end = self.datagrams.len().min(self.next + Self::BATCH);
        let datagrams = &self.datagrams[self.next..end];
        let peers = &self.peers[self.next..end];
        let slices: [[IoSlice<'_>; 1]; Self::BATCH] = array::from_fn(|at| {
            [IoSlice::new(datagrams.get(at).map_or(&[][..], |datagram| datagram))]
        });
        let flags = MsgFlags::MSG_DONTWAIT;
        let count = sendmmsg(fd, &mut self.headers, &slices, peers, [], flags)?.count();
        let bytes = datagrams[..count].iter().map(Bytes::len).sum();
        Ok(Sent { datagrams: count, bytes })
    }

    /// Gives up on the first datagram.
    pub(super) fn fail_first(&mut self, errno: Errno) {
        let peer = self.peers[self.next].as_ref().and_then(to_std);
        let failure = SendFailure {
            peer: peer.expect("push stores an internet address"),
            fault: SendFault::of(errno),
            datagram: Some(self.datagrams[self.next].clone()),
        };
        report(&mut self.failures, failure);
        self.failed += 1;
        self.advance(1);
    }

    fn advance(&mut self, count: usize) {
        self.next += count;
        // Moving the rest costs at most one step for each datagram that left.
        if self.next * 2 >= self.datagrams.len() {
            self.datagrams.drain(..self.next);
            self.peers.drain(..self.next);
            self.next = 0;
        }
    }
}

/// More reports than this that nobody takes are dropped.
const REPORTS_MAX: usize = 1024;

pub(super) fn report(reports: &mut Vec<SendFailure>, failure: SendFailure) {
    if reports.len() < REPORTS_MAX {
        reports.push(failure);
    }
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SendQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl SendFault {
    pub(super) fn of(errno: Errno) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "errno is an open list")]
        match errno {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN => {
                Self::Unreachable
            }
            Errno::EMSGSIZE => Self::TooLong,
            Errno::EPERM | Errno::EACCES => Self::Denied,
            Errno::EAFNOSUPPORT | Errno::EINVAL | Errno::EADDRNOTAVAIL => Self::WrongAddress,
            other => Self::System(other),
        }
    }
}

pub(super) fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}

//! Buffers for one `recvmmsg`, used again and again.

use std::array;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};

use super::send::SendFailure;

/// Up to [`Self::DATAGRAMS_MAX`] received datagrams, each of up to 65,535 bytes.
///
/// Made once, on the thread that receives (it is not `Send`), and handed to every
/// [`try_recv_batch`](super::UdpSocket::try_recv_batch) there, for any number of sockets. The first
/// receive takes 2 MiB of address space, of which only what datagrams touch becomes memory; a batch
/// that never receives costs nothing, so it may stand in for one that is moved out.
#[derive(Debug, Default)]
pub struct RecvBatch {
    buffers: Vec<u8>,
    /// One for each family: the kernel shortens the address length in these to what it wrote, and
    /// nothing lengthens it again.
    headers_v4: Option<MultiHeaders<SockaddrIn>>,
    headers_v6: Option<MultiHeaders<SockaddrIn6>>,
    received: Vec<Received>,
    pub(super) unreachable: Vec<SendFailure>,
}

#[derive(Clone, Copy, Debug)]
struct Received {
    peer: SocketAddr,
    len: usize,
}

impl RecvBatch {
    pub const DATAGRAMS_MAX: usize = 32;
    /// The largest payload RFC 3261 §18.1.1 obliges us to receive.
    pub const DATAGRAM_BYTES_MAX: usize = 65_535;

    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.received.len()
    }

    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The datagrams in the order of arrival, each with its source.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], SocketAddr)> {
        let buffers = self.buffers.chunks_exact(STRIDE);
        self.received
            .iter()
            .zip(buffers)
            .map(|(received, buffer)| (&buffer[..received.len], received.peer))
    }

    /// Peers that an ICMP error said an earlier datagram of ours did not reach. Whoever can send
    /// us packets can forge one: a reason to try the next target, not to end a call.
    pub fn unreachable(&self) -> &[SendFailure] {
        &self.unreachable
    }

    pub(super) fn bytes(&self) -> usize {
        self.received.iter().map(|received| received.len).sum()
    }

    pub(super) fn clear(&mut self) {
        self.received.clear();
        self.unreachable.clear();
    }

    /// One `recvmmsg` on a socket bound to `local`.
    pub(super) fn receive(&mut self, fd: RawFd, local: SocketAddr) -> Result<usize, Errno> {
        let Self { buffers, received, .. } = self;
        if buffers.is_empty() {
            *buffers = vec![0; Self::DATAGRAMS_MAX * STRIDE];
            received.reserve(Self::DATAGRAMS_MAX);
        }
        match local {
            SocketAddr::V4(_) => receive(fd, &mut self.headers_v4, buffers, received),
            SocketAddr::V6(_) => receive(fd, &mut self.headers_v6, buffers, received),
        }
    }
}

/// From one buffer to the next. A power of two would put the start of every datagram into the same
/// few sets of the processor's caches.
const STRIDE: usize = RecvBatch::DATAGRAM_BYTES_MAX + 1 + 1600;

fn receive<S>(
    fd: RawFd,
    headers: &mut Option<MultiHeaders<S>>,
    buffers: &mut [u8],
    received: &mut Vec<Received>,
) -> Result<usize, Errno>
where
    S: SockaddrLike + Copy,
    SocketAddr: From<S>,
{
    let preallocate = || MultiHeaders::preallocate(RecvBatch::DATAGRAMS_MAX, None);
    let headers = headers.get_or_insert_with(preallocate);
    let mut chunks = buffers.chunks_exact_mut(STRIDE);
    let mut slices: [[IoSliceMut<'_>; 1]; RecvBatch::DATAGRAMS_MAX] = array::from_fn(|_| {
        let chunk = chunks.next().expect("there is a chunk for each datagram");
        [IoSliceMut::new(&mut chunk[..RecvBatch::DATAGRAM_BYTES_MAX])]
    });
    let messages = recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    received.extend(messages.map(|message| Received {
        peer: message.address.expect("a UDP datagram has a source").into(),
        len: message.bytes,
    }));
    Ok(received.len())
}

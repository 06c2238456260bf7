//! A UDP socket that receives and sends in batches: one `recvmmsg` and one `sendmmsg` per wake.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{Interest, Ready};

use super::bind::BindError;
use super::stats::UdpStats;
use crate::sip::flow::Transport;

mod icmp;
mod kernel_drops;
mod receive;
mod send;
#[cfg(test)]
mod tests;

pub use receive::RecvBatch;
pub use send::{QueueFull, SendFailure, SendFault, SendQueue};

/// A bound, non-blocking UDP socket registered with the tokio runtime it was bound in.
///
/// Bound to an unspecified address, the kernel picks the source address of each datagram by route;
/// bind one socket per address where peers check it.
#[derive(Debug)]
pub struct UdpSocket {
    io: tokio::net::UdpSocket,
    local: SocketAddr,
    /// Names the socket in `/proc/net/udp`.
    inode: u64,
    receive_buffer_bytes: usize,
    stats: Arc<UdpStats>,
}

/// How a [`UdpSocket`] is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Asked of the kernel for datagrams that wait to be read. Without `CAP_NET_ADMIN` it grants
    /// at most `net.core.rmem_max`.
    pub receive_buffer_bytes: usize,
    /// Asked of the kernel for datagrams that wait to leave; at most `net.core.wmem_max`.
    pub send_buffer_bytes: usize,
    /// Lets several sockets of this user share the address (`SO_REUSEPORT`); the kernel spreads
    /// peers, not calls, over them.
    pub reuse_port: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: 8 * 1024 * 1024,
            send_buffer_bytes: 2 * 1024 * 1024,
            reuse_port: false,
        }
    }
}

impl UdpSocket {
    /// Opens and binds a socket; port 0 takes a free one. An IPv6 socket takes IPv6 only, so that
    /// `0.0.0.0` and `[::]` can be listened on side by side. Called inside a tokio runtime.
    pub fn bind(address: SocketAddr, options: UdpOptions) -> Result<Self, BindError> {
        Self::open(address, options).map_err(|error| BindError::new(address, Transport::Udp, error))
    }

    fn open(address: SocketAddr, options: UdpOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            }
        }
        socket.set_reuse_port(options.reuse_port)?;
        let receive_buffer_bytes = size_buffers(&socket, options)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;

        let inode = kernel_drops::inode_of(&socket)?;
        let io = tokio::net::UdpSocket::from_std(socket.into())?;
        let local = io.local_addr()?;
        Ok(Self { io, local, inode, receive_buffer_bytes, stats: Arc::default() })
    }

    /// The address bound, with the port the system chose if none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel granted of [`UdpOptions::receive_buffer_bytes`]; its own bookkeeping takes
    /// from it, about 1 KiB per datagram.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    pub fn stats(&self) -> &Arc<UdpStats> {
        &self.stats
    }

    /// Waits until [`Self::try_recv_batch`] has something to say: a datagram, or an ICMP error.
    /// Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.ready(Interest::READABLE | Interest::ERROR).await.map(drop)
    }

    /// Like [`Self::readable`] for a caller that polls, but not woken by ICMP errors alone.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(context)
    }

    /// Waits until [`Self::try_send_batch`] can go on after it left datagrams in the queue. Cancel
    /// safe.
    pub async fn writable(&self) -> io::Result<()> {
        let ready = self.io.ready(Interest::WRITABLE).await?;
        // One ICMP error makes tokio believe for good that the sending side is closed, and hence
        // always ready.
        if ready == Ready::WRITE_CLOSED {
            let pause = tokio::time::Instant::now() + Duration::from_millis(1);
            tokio::time::sleep_until(pause).await;
        }
        Ok(())
    }

    /// [`UdpSocket::try_recv_batch`] without asking first whether anything came: for those who
    /// look again so soon that waiting for the answer would cost more than a look in vain.
    pub fn recv_batch_now(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        let result = self.receive(batch).map(|_| ());
        self.arrived(batch, result)
    }

    /// Replaces what `batch` holds by up to [`RecvBatch::DATAGRAMS_MAX`] datagrams, in one system
    /// call, and gives their number. Zero if only ICMP errors arrived, see
    /// [`RecvBatch::unreachable`]; `WouldBlock` if nothing did. Any other error is about the
    /// socket itself and will not go away.
    pub fn try_recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.clear();
        // Runs only if tokio has seen an error, and makes it forget that.
        let _ = self.io.try_io(Interest::ERROR, || {
            icmp::drain(self.io.as_raw_fd(), &mut batch.unreachable);
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        // A batch that is not full has emptied the socket. Saying so spares the system call that
        // would only learn it; what arrives later wakes `readable` again.
        let result = self.io.try_io(Interest::READABLE, || match self.receive(batch)? {
            Remaining::Unknown => Ok(()),
            Remaining::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        });
        self.arrived(batch, result)
    }

    /// Counts what `batch` holds; being blocked after something came is no error.
    fn arrived(&self, batch: &RecvBatch, result: io::Result<()>) -> io::Result<usize> {
        let arrived = !batch.is_empty() || !batch.unreachable().is_empty();
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && arrived => {}
            other => other?,
        }
        self.stats.datagrams_in.add(batch.len() as u64);
        self.stats.bytes_in.add(batch.bytes() as u64);
        self.stats.unreachable.add(batch.unreachable().len() as u64);
        Ok(batch.len())
    }

    fn receive(&self, batch: &mut RecvBatch) -> io::Result<Remaining> {
        // Each failed attempt takes at least one ICMP error from the kernel.
        for _ in 0..RecvBatch::DATAGRAMS_MAX {
            self.stats.receive_calls.add(1);
            match batch.receive(self.io.as_raw_fd(), self.local) {
                Ok(RecvBatch::DATAGRAMS_MAX) => return Ok(Remaining::Unknown),
                Ok(_) => return Ok(Remaining::Nothing),
                Err(Errno::EINTR) => {}
                Err(errno) if icmp::is_reported_late(errno) => {
                    icmp::drain(self.io.as_raw_fd(), &mut batch.unreachable);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Remaining::Unknown)
    }

    /// Sends what is queued, in order, and gives the number of datagrams that left. What does not
    /// fit into the kernel's buffer stays queued (wait for [`Self::writable`]); what the kernel
    /// refuses to send is dropped and reported by [`SendQueue::take_failures`], and the rest goes
    /// on.
    pub fn try_send_batch(&self, queue: &mut SendQueue) -> usize {
        let mut sent = Sent::default();
        let failed_before = queue.failed();
        let blocked = self.send(queue, &mut sent) == Progress::Blocked
            // Asked again under tokio's eyes, which alone makes `writable` wait.
            && self.io.try_io(Interest::WRITABLE, || match self.send(queue, &mut sent) {
                Progress::Done => Ok(()),
                Progress::Blocked => Err(io::ErrorKind::WouldBlock.into()),
            }).is_err();
        self.stats.datagrams_out.add(sent.datagrams as u64);
        self.stats.bytes_out.add(sent.bytes as u64);
        self.stats.send_blocked.add(u64::from(blocked));
        self.stats.send_failed.add(queue.failed() - failed_before);
        sent.datagrams
    }

    fn send(&self, queue: &mut SendQueue, sent: &mut Sent) -> Progress {
        let mut retried = false;
        while !queue.is_empty() {
            self.stats.send_calls.add(1);
            match queue.send(self.io.as_raw_fd()) {
                Ok(batch) => {
                    sent.datagrams += batch.datagrams;
                    sent.bytes += batch.bytes;
                    retried = false;
                }
                Err(Errno::EAGAIN) => return Progress::Blocked,
                Err(Errno::EINTR) => {}
                // An ICMP error about an earlier datagram fails whichever is sent next; that one
                // is not at fault and goes out at the second attempt.
                Err(errno) if !retried && icmp::is_reported_late(errno) => {
                    icmp::drain(self.io.as_raw_fd(), &mut queue.unreachable);
                    retried = true;
                }
                Err(errno) => {
                    queue.fail_first(errno);
                    retried = false;
                }
            }
        }
        Progress::Done
    }

    /// Datagrams the kernel dropped since the socket was bound because its receive buffer was
    /// full. Reads `/proc/net/udp`, whose length grows with the sockets of the machine: for a
    /// metrics reader, not for each wake.
    pub fn kernel_drops(&self) -> io::Result<u64> {
        kernel_drops::read(self.local, self.inode)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    Nothing,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Blocked,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    datagrams: usize,
    bytes: usize,
}

/// Asks for buffers and gives what was granted for receiving.
fn size_buffers(socket: &Socket, options: UdpOptions) -> io::Result<usize> {
    let (receive, send) = (options.receive_buffer_bytes, options.send_buffer_bytes);
    // The forced form goes past `rmem_max`, but needs a capability.
    if setsockopt(socket, sockopt::RcvBufForce, &receive).is_err() {
        socket.set_recv_buffer_size(receive)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &send).is_err() {
        socket.set_send_buffer_size(send)?;
    }
    // Linux doubles what it is asked for, to cover its bookkeeping, and reports the double.
    let granted = socket.recv_buffer_size()? / 2;
    if granted < receive {
        tracing::warn!(
            asked_bytes = receive,
            granted_bytes = granted,
            "the kernel grants a smaller receive buffer than asked; raise net.core.rmem_max or \
             grant CAP_NET_ADMIN",
        );
    }
    Ok(granted)
}

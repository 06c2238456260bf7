//! ICMP errors about datagrams we sent, from the socket's error queue (`IP_RECVERR`, ip(7)).
//!
//! Without the queue an unconnected socket hears nothing of a closed port, and a call waits for
//! Timer B where the next target could be tried at once (spec/sip T16).

use std::io::IoSliceMut;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg};

use super::send::{SendFailure, SendFault, report, to_std};

/// Errors read in one go; the kernel drops more by itself when the receive buffer is full.
const ERRORS_MAX: usize = 256;

/// Whether the kernel uses this error, on any later call, to say that the error queue has
/// something.
pub(super) fn is_reported_late(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EPROTO
            | Errno::EACCES
            | Errno::EMSGSIZE
    )
}

/// Empties the error queue of a socket into `unreachable`. Errors that do not mean the peer is
/// unreachable (a shorter path MTU: the kernel fragments from then on) are only removed.
pub(super) fn drain(fd: RawFd, unreachable: &mut Vec<SendFailure>) {
    let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    for _ in 0..ERRORS_MAX {
        let mut quoted = [0; 1];
        let mut slices = [IoSliceMut::new(&mut quoted)];
        match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags) {
            Ok(message) => {
                if let Some(failure) = failure(&message) {
                    report(unreachable, failure);
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn failure(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<SendFailure> {
    let peer = message.address.as_ref().and_then(to_std)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "other control messages are not asked for")]
    let error = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            Some(error)
        }
        _ => None,
    })?;
    // What we did wrong ourselves came back from the call that sent it.
    if error.ee_origin == libc::SO_EE_ORIGIN_LOCAL {
        return None;
    }
    let errno = i32::try_from(error.ee_errno).map_or(Errno::UnknownErrno, Errno::from_raw);
    match SendFault::of(errno) {
        fault @ (SendFault::Refused | SendFault::Unreachable | SendFault::Denied) => {
            Some(SendFailure { peer, fault, datagram: None })
        }
        SendFault::TooLong | SendFault::WrongAddress | SendFault::System(_) => None,
    }
}

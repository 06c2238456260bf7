//! Why a listening address cannot be had, in words an operator can act on.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::sip::flow::Transport;

/// A configured listening address could not be opened. Configuration or the machine is at fault.
#[derive(Debug, thiserror::Error)]
#[error("listen on {transport} {address}: {cause}")]
pub struct BindError {
    pub address: SocketAddr,
    pub transport: Transport,
    pub cause: BindCause,
}

/// What stands in the way; the text says what to do about it.
#[derive(Debug)]
pub enum BindCause {
    /// Another process, or another listener of this one, has the port.
    InUse { transport: Transport, port: u16 },
    /// The process may not open ports below 1024, or a security policy forbids it.
    Permission,
    /// The address is on no interface of this machine.
    NotLocal,
    /// IPv6 (or IPv4) is switched off on this machine.
    FamilyUnsupported,
    /// Anything else, as the system words it.
    System(io::Error),
}

impl BindError {
    pub(super) fn new(address: SocketAddr, transport: Transport, error: io::Error) -> Self {
        let cause = BindCause::of(error, transport, address.port());
        Self { address, transport, cause }
    }
}

impl BindCause {
    fn of(error: io::Error, transport: Transport, port: u16) -> Self {
        use nix::libc::{EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EPERM};
        match error.raw_os_error() {
            Some(EADDRINUSE) => Self::InUse { transport, port },
            Some(EACCES | EPERM) => Self::Permission,
            Some(EADDRNOTAVAIL) => Self::NotLocal,
            Some(EAFNOSUPPORT) => Self::FamilyUnsupported,
            _ => Self::System(error),
        }
    }
}

impl fmt::Display for BindCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { transport, port } => {
                let letter = match transport {
                    Transport::Udp => 'u',
                    Transport::Tcp | Transport::Tls => 't',
                };
                write!(
                    f,
                    "the port is in use; find its owner with `ss -{letter}lnp sport = :{port}`, \
                     then stop it or choose another port"
                )
            }
            Self::Permission => f.write_str(
                "permission denied; choose a port above 1023 or grant CAP_NET_BIND_SERVICE",
            ),
            Self::NotLocal => f.write_str(
                "this machine does not have that address; choose one that `ip addr` lists, \
                 0.0.0.0 or [::]",
            ),
            Self::FamilyUnsupported => f.write_str(
                "this machine has that address family switched off; enable it or remove the \
                 listener",
            ),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

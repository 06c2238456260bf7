//! How many datagrams the kernel dropped for want of buffer space, from `/proc/net/udp`.
//!
//! `SO_RXQ_OVFL` would tell the same with each datagram, at the price of a control message on
//! every receive.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::{fs, io};

/// The number under which the kernel's tables list a socket.
pub(super) fn inode_of(socket: &impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(socket)?.st_ino)
}

pub(super) fn read(local: SocketAddr, inode: u64) -> io::Result<u64> {
    let table = match local {
        SocketAddr::V4(_) => "/proc/thread-self/net/udp",
        SocketAddr::V6(_) => "/proc/thread-self/net/udp6",
    };
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the kernel does not list the socket");
    drops_of(&fs::read_to_string(table)?, inode).ok_or_else(missing)
}

/// The last column of the row whose tenth is `inode` (proc(5)).
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|row| {
        let mut columns = row.split_ascii_whitespace();
        let inode_here: u64 = columns.nth(9)?.parse().ok()?;
        (inode_here == inode).then(|| columns.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_socket_is_read() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7701 2 0000000000000000 0
  101: 0100007F:13C5 00000000:0000 07 00000000:00000300 00:00000000 00000000     0        0 7702 2 0000000000000000 42
";
        assert_eq!(drops_of(table, 7702), Some(42));
        assert_eq!(drops_of(table, 7703), None);
    }
}

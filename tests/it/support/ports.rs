//! Free loopback ports for processes that bind them later.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};

use super::wait_for;

/// Below the range the kernel gives to outgoing sockets (32768 on Linux), so that nothing takes a
/// port between our look and its use.
const LOWEST: u16 = 16_400;
const HIGHEST: u16 = 32_000;

/// Blocks handed out by this process so far, in ports.
static TAKEN: AtomicU16 = AtomicU16::new(0);

/// The first of `count` consecutive ports that nobody in this process was given before and that
/// are free for UDP and TCP on both loopback addresses.
pub(crate) fn block(count: u16) -> Result<u16> {
    let span = HIGHEST - LOWEST;
    // Test binaries that run beside each other begin in different places.
    let offset = (std::process::id().wrapping_mul(977) % u32::from(span)) as u16;
    for _ in 0..200 {
        let place = TAKEN.fetch_add(count, Ordering::Relaxed);
        let first = LOWEST + (u32::from(place) + u32::from(offset)).rem_euclid(span.into()) as u16;
        if first + count <= HIGHEST && (first..first + count).all(is_free) {
            return Ok(first);
        }
    }
    bail!("no {count} consecutive free ports between {LOWEST} and {HIGHEST}")
}

fn is_free(port: u16) -> bool {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .iter()
        .all(|&ip| UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok())
}

/// Waits until somebody, called `name` in the failure, has a socket at `local`.
pub(crate) fn wait_until_bound(name: &str, local: SocketAddr, tcp: bool) -> Result<()> {
    let table = match (local.ip(), tcp) {
        (IpAddr::V4(_), false) => "/proc/net/udp",
        (IpAddr::V4(_), true) => "/proc/net/tcp",
        (IpAddr::V6(_), false) => "/proc/net/udp6",
        (IpAddr::V6(_), true) => "/proc/net/tcp6",
    };
    let socket = format!(":{:04X} ", local.port());
    wait_for(&format!("{name} at {local}"), Duration::from_secs(5), || {
        Ok(fs::read_to_string(table)?.contains(&socket).then_some(()))
    })
}

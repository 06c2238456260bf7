//! The sockets that SIP is listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{ListenTransport, Settings};
use crate::sip::flow::{ListenerId, Transport};
use crate::sip::transport::{Tcp, UdpOptions, UdpSocket};

use super::error::StartError;
use super::sources::Sources;
use super::tls;

/// UDP sockets by shard, each set in the runtime that will poll it.
pub(super) struct Sockets {
    /// Where is listened, in the order of the configuration.
    pub(super) addresses: Vec<(Transport, SocketAddr)>,
    pub(super) by_shard: Vec<ShardSockets>,
}

pub(super) fn bind(
    settings: &Settings,
    shards: u16,
    tcp: &Tcp,
    sources: &Arc<Sources>,
) -> Result<Sockets, StartError> {
    let mut by_shard = Vec::new();
    let bound = bind_all(settings, shards, tcp, sources, &mut by_shard);
    if bound.is_err() {
        for (runtime, sockets) in by_shard.drain(..) {
            drop(sockets);
            // Dropping it would block, which is not allowed here.
            tokio::runtime::Runtime::shutdown_background(runtime);
        }
    }
    bound.map(|addresses| Sockets { addresses, by_shard })
}

pub(super) type ShardSockets = (tokio::runtime::Runtime, Vec<(ListenerId, UdpSocket)>);

fn bind_all(
    settings: &Settings,
    shards: u16,
    tcp: &Tcp,
    sources: &Arc<Sources>,
    by_shard: &mut Vec<ShardSockets>,
) -> Result<Vec<(Transport, SocketAddr)>, StartError> {
    for _ in 0..shards {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        by_shard.push((runtime, Vec::new()));
    }
    let mut addresses = Vec::new();
    for (position, listener) in settings.sip.listeners().iter().enumerate() {
        let id = ListenerId(u16::try_from(position).unwrap_or(u16::MAX));
        let wanted = listener.address.address;
        match listener.address.transport {
            ListenTransport::Udp => {
                // Port 0 is the system's choice, made once; the other shards share it.
                let mut address = wanted;
                if shards > 1 && wanted.port() != 0 {
                    // The shards share the port, and so could a second server, unnoticed.
                    let alone = UdpOptions { reuse_port: false, ..UdpOptions::default() };
                    drop(UdpSocket::bind(wanted, alone)?);
                }
                for (runtime, sockets) in by_shard.iter_mut() {
                    let _inside = runtime.enter();
                    let options = UdpOptions {
                        receive_buffer_bytes: settings.sip.receive_buffer_bytes,
                        send_buffer_bytes: settings.sip.receive_buffer_bytes,
                        reuse_port: shards > 1,
                    };
                    let socket = UdpSocket::bind(address, options)?;
                    address = socket.local_addr();
                    sockets.push((id, socket));
                }
                addresses.push((Transport::Udp, address));
            }
            ListenTransport::Tcp => {
                addresses.push((Transport::Tcp, tcp.listen(id, wanted)?));
            }
            ListenTransport::Tls => {
                let check = tls::peer_check(Arc::clone(sources));
                addresses.push((Transport::Tls, tcp.listen_tls(id, wanted, check)?));
            }
        }
    }
    Ok(addresses)
}

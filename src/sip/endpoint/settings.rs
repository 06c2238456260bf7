//! What an endpoint is told once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::sip::admission::Caps;
use crate::sip::call::CallLimits;
use crate::sip::call::plan::Destination;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::transaction::Timers;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where nothing else was agreed with a peer; `reliable` is set per flow.
    pub timers: Timers,
    /// How long an INVITE may go unanswered before it gets 100 (RFC 3261 §17.2.1: 200 ms).
    pub trying_after: Duration,
    pub limits: Limits,
    /// The longest request that is not better sent over TCP (RFC 3261 §18.1.1), bytes.
    pub udp_request_bytes_max: usize,
    /// In the order of their ids. At least one.
    pub listeners: Vec<Listener>,
    pub call: CallLimits,
    /// What may be open at a time; an INVITE beyond that is refused without state.
    pub caps: Caps,
    /// How often an answered leg is asked whether it still knows the call (spec/sip D15).
    pub probe_interval: Option<Duration>,
    /// Value of Server and User-Agent; neither is sent without it.
    pub user_agent: Option<Bytes>,
    /// Whether this endpoint registers where trunks say so; of a process only one does.
    pub registers: bool,
    /// Names this node in a request that may come back to it (spec/sip B2). Not guessable.
    pub loop_token: Bytes,
}

/// A listening socket as the peers see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub transport: Transport,
    pub local: SocketAddr,
    /// `host[:port]` for Via and Contact.
    pub advertised: Bytes,
    /// Address for the origin of session descriptions.
    pub address: IpAddr,
}

impl Settings {
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::from(id.0))
    }

    /// Whether a request sent there would come back to one of our own listeners.
    pub fn is_ours(&self, destination: &Destination) -> bool {
        let (ip, port) = (destination.peer.ip().to_canonical(), destination.peer.port());
        self.listeners.iter().any(|listener| {
            let local = listener.local.ip().to_canonical();
            let is_here = ip == local
                || ip == listener.address.to_canonical()
                || (local.is_unspecified() && ip.is_loopback());
            listener.transport == destination.transport && listener.local.port() == port && is_here
        })
    }

    /// The flow from a listener that can reach the peer: its own if that fits, else the first that
    /// speaks the transport and address family. `None` if there is none.
    pub fn reach(&self, flow: Flow) -> Option<Flow> {
        let fits = |listener: &Listener| {
            listener.transport == flow.transport && listener.local.is_ipv4() == flow.peer.is_ipv4()
        };
        if self.listener(flow.listener).is_some_and(fits) {
            return Some(flow);
        }
        let position = self.listeners.iter().position(fits)?;
        Some(Flow { listener: ListenerId(u16::try_from(position).ok()?), ..flow })
    }
}

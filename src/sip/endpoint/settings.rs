//! What an endpoint is told once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use crate::sip::admission::Caps;
use crate::sip::call::CallLimits;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::transaction::Timers;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where nothing else was agreed with a peer; `reliable` is set per flow.
    pub timers: Timers,
    pub limits: Limits,
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

//! Where the simulated edge stands: its listener, its trunk, its limits. The same for every world.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::sip::admission::Caps;
use crate::sip::call::CallLimits;
use crate::sip::endpoint::{Listener, Settings};
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::transaction::Timers;
use crate::sip::trunk::{Carriers, TrunkConfig, TrunkListener, Trunks};

/// An address where nobody lives: what is sent there comes back as unreachable.
pub(crate) const NOWHERE: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 250)), 5060);

/// One trunk of a carrier without rules of its own.
pub(crate) fn trunks() -> Arc<Trunks> {
    static TRUNKS: OnceLock<Arc<Trunks>> = OnceLock::new();
    let trunks = TRUNKS.get_or_init(|| {
        let config: TrunkConfig = serde_json::from_value(serde_json::json!({
            "id": "sim", "carrier": "loopback",
            "inbound": { "cidrs": ["192.0.2.0/24"], "headers": { "pass": ["X-Pass"] } },
            "dialog": { "100rel": "supported" },
        }))
        .expect("the simulated trunk is well formed");
        let trunks = Trunks::compile(&[config], &listeners(), &Carriers::built_in());
        Arc::new(trunks.expect("the simulated trunk has no faults"))
    });
    Arc::clone(trunks)
}

/// That of [`settings`], as trunks refer to it.
pub(crate) fn listeners() -> [TrunkListener; 1] {
    [TrunkListener {
        id: ListenerId(0),
        transport: Transport::Udp,
        name: "udp:203.0.113.1:5060".into(),
    }]
}

pub(crate) fn settings() -> Settings {
    Settings {
        trying_after: Duration::ZERO,
        udp_request_bytes_max: 1300,
        timers: Timers::default(),
        limits: Limits::default(),
        listeners: vec![Listener {
            transport: Transport::Udp,
            local: SocketAddr::from(([203, 0, 113, 1], 5060)),
            advertised: Bytes::from_static(b"203.0.113.1:5060"),
            address: IpAddr::from([203, 0, 113, 1]),
        }],
        call: CallLimits {
            decision: Duration::from_secs(3),
            answer_wait: Duration::from_millis(20),
            max_call: Duration::from_secs(55),
        },
        caps: Caps {
            calls_max: 1_000,
            half_open_max: 1_000,
            half_open_per_source_max: 1_000,
            transactions_max: 100_000,
            shares: 1,
        },
        probe_interval: Some(Duration::from_secs(7)),
        user_agent: None,
        registers: false,
        loop_token: Bytes::from_static(b"f00d"),
    }
}

pub(crate) fn flow(peer: SocketAddr) -> Flow {
    Flow::udp(ListenerId(0), peer)
}

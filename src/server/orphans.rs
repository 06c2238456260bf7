//! Calls that a crash left up, between the journal that remembers them and the shards to which their
//! parties will speak (spec/sip O8).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cdr::projection::{Awaited, Parting};
use crate::id::CallId;
use crate::sip::call::report::Party;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::orphan::{DialogPrint, Orphan, Orphans};
use crate::sip::trunk::Trunks;
use crate::time::Mono;

use super::tls::TlsParties;

/// Those of which nobody has hung up yet. Both parties do, and on different shards; the end is
/// written once.
#[derive(Debug, Default)]
pub(super) struct OpenOrphans {
    /// With how long each counts as talked as long as nobody says otherwise, milliseconds.
    calls: Mutex<BTreeMap<CallId, u64>>,
}

impl OpenOrphans {
    pub(super) fn new(awaited: &[Awaited]) -> Self {
        Self { calls: Mutex::new(awaited.iter().map(|it| (it.call, it.talk_ms)).collect()) }
    }

    /// How long it counts as talked, milliseconds; `None` but for the first time.
    pub(super) fn end(&self, call: CallId) -> Option<u64> {
        self.calls.lock().remove(&call)
    }
}

/// What the endpoints know them by. `longest` is how long a call may take.
pub(super) fn dialogs(awaited: &[Awaited], now: Mono, longest: Duration) -> Orphans {
    let both = awaited.iter().flat_map(|Awaited { call, dialogs, .. }| {
        let orphan = |party| Orphan { call: *call, party };
        [
            (DialogPrint(dialogs.caller), orphan(Party::Caller)),
            (DialogPrint(dialogs.target), orphan(Party::Target)),
        ]
    });
    Orphans::new(both, now + longest)
}

/// Messages to both ends of calls that a crash has cut off, and where they go.
pub(super) fn farewells(
    partings: &[Parting],
    trunks: &Trunks,
    tls: &TlsParties,
) -> Vec<(Flow, Bytes)> {
    let mut found = Vec::new();
    for Parting { trunk, target, farewells } in partings {
        let index = trunks.iter().find(|(_, known)| Some(&known.id) == trunk.as_ref());
        let caller = index.and_then(|(index, _)| tls.peer_of(index));
        let target = target.as_ref().and_then(|id| tls.target(id));
        for (farewell, peer) in [(&farewells.caller, caller), (&farewells.target, target)] {
            let flow = flow_to(&farewell.to).map(|flow| match flow.transport {
                Transport::Tls => Flow { tls: peer, ..flow },
                Transport::Udp | Transport::Tcp => flow,
            });
            found.extend(flow.map(|flow| (flow, farewell.message.clone())));
        }
    }
    found
}

/// Reads `udp:192.0.2.7:5060`.
fn flow_to(text: &str) -> Option<Flow> {
    let (transport, peer) = text.split_once(':')?;
    let known = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let transport = known.into_iter().find(|known| known.name() == transport)?;
    Some(Flow::new(ListenerId(0), transport, peer.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fact::Dialogs;

    #[test]
    fn the_end_of_an_orphan_is_told_once_whoever_of_the_two_hangs_up_first() {
        let call = CallId::from_bytes([7; 16]);
        let named = Dialogs { caller: 1, target: 2 };
        let awaited = [Awaited { call, dialogs: named, talk_ms: 7 }];
        let open = OpenOrphans::new(&awaited);
        let dialogs = dialogs(&awaited, Mono(0), Duration::from_secs(60));

        let target = Orphan { call, party: Party::Target };
        assert_eq!(dialogs.find(DialogPrint(2)), Some(target));
        assert_eq!(dialogs.find(DialogPrint(3)), None);
        assert_eq!(open.end(call), Some(7));
        assert_eq!(open.end(call), None);
        assert!(!dialogs.is_over(Mono(59_999_999_999)));
        assert!(dialogs.is_over(Mono(60_000_000_000)));
    }

    #[test]
    fn a_farewell_goes_where_its_dialog_went() {
        let flow = flow_to("tcp:[2001:db8::1]:5060").unwrap();

        assert_eq!(
            (flow.transport, flow.peer),
            (Transport::Tcp, "[2001:db8::1]:5060".parse().unwrap())
        );
        assert_eq!(flow_to("udp:nowhere"), None);
        assert_eq!(flow_to("sctp:192.0.2.1:5060"), None);
    }
}

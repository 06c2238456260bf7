//! Calls that a crash left up, between the journal that remembers them and the shards to which their
//! parties will speak (spec/sip O8).

use std::collections::{BTreeMap, VecDeque};
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

/// How long a party repeats a BYE that nobody answers (RFC 3261 §17.1.2.2, Timer F). One that has
/// answered ours may have sent its own before, to nobody: the repetition tells the true end.
const BYE_REPEATED: Duration = Duration::from_secs(32);

/// Those of which nobody has hung up yet. Both parties do, and on different shards; the end is
/// written once.
#[derive(Debug, Default)]
pub(super) struct OpenOrphans {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// With how long each counts as talked as long as nobody says otherwise, milliseconds.
    calls: BTreeMap<CallId, u64>,
    /// Those of which a party has answered our BYE, and until when a BYE of its own is waited for.
    left: VecDeque<(Mono, CallId)>,
}

impl OpenOrphans {
    pub(super) fn new(awaited: &[Awaited]) -> Self {
        let calls = awaited.iter().map(|it| (it.call, it.talk_ms)).collect();
        Self { state: Mutex::new(State { calls, left: VecDeque::new() }) }
    }

    /// A party hangs up. False but for the first time.
    pub(super) fn end(&self, call: CallId) -> bool {
        self.state.lock().calls.remove(&call).is_some()
    }

    /// A party has answered our BYE.
    pub(super) fn leave(&self, call: CallId, at: Mono) {
        let mut state = self.state.lock();
        if state.calls.contains_key(&call) {
            state.left.push_back((at + BYE_REPEATED, call));
        }
    }

    /// Takes one of which no BYE will come any more, with how long it counts as talked, milliseconds.
    pub(super) fn overdue(&self, now: Mono) -> Option<(CallId, u64)> {
        let mut state = self.state.lock();
        while let Some((_, call)) = state.left.pop_front_if(|(until, _)| *until <= now) {
            if let Some(talk_ms) = state.calls.remove(&call) {
                return Some((call, talk_ms));
            }
        }
        None
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
        let target = target.as_ref().and_then(|(id, way)| tls.target(id, *way));
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
        assert!(open.end(call));
        assert!(!open.end(call));
        assert!(!dialogs.is_over(Mono(59_999_999_999)));
        assert!(dialogs.is_over(Mono(60_000_000_000)));
    }

    #[test]
    fn a_party_that_has_answered_our_bye_may_still_tell_the_true_end_for_32_seconds() {
        let calls = [7, 8].map(|byte| CallId::from_bytes([byte; 16]));
        let named = Dialogs { caller: 1, target: 2 };
        let open =
            OpenOrphans::new(&calls.map(|call| Awaited { call, dialogs: named, talk_ms: 9 }));
        let answered = Mono(1_000_000_000);
        for call in calls {
            // The other party as well.
            open.leave(call, answered);
            open.leave(call, answered + Duration::from_secs(1));
        }

        assert_eq!(open.overdue(answered + Duration::from_millis(31_999)), None);
        assert!(open.end(calls[0]), "its BYE comes again");

        let later = answered + Duration::from_secs(60);
        assert_eq!(open.overdue(later), Some((calls[1], 9)));
        assert_eq!(open.overdue(later), None, "once");
        assert!(!open.end(calls[1]), "it is told already");
        open.leave(calls[1], later);
        assert_eq!(open.overdue(later + Duration::from_secs(60)), None);
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

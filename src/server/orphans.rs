//! Calls that a crash left up, between the journal that remembers them and the shards to which their
//! parties will speak (spec/sip O8).

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cdr::fact::Dialogs;
use crate::id::CallId;
use crate::sip::call::report::Party;
use crate::sip::orphan::{DialogPrint, Orphan, Orphans};
use crate::time::Mono;

/// Those of which nobody has hung up yet. Both parties do, and on different shards; the end is
/// written once.
#[derive(Debug, Default)]
pub(super) struct OpenOrphans {
    calls: Mutex<BTreeSet<CallId>>,
}

impl OpenOrphans {
    pub(super) fn new(awaited: &[(CallId, Dialogs)]) -> Self {
        Self { calls: Mutex::new(awaited.iter().map(|(call, _)| *call).collect()) }
    }

    /// `true` the first time.
    pub(super) fn end(&self, call: CallId) -> bool {
        self.calls.lock().remove(&call)
    }
}

/// What the endpoints know them by. `longest` is how long a call may take.
pub(super) fn dialogs(awaited: &[(CallId, Dialogs)], now: Mono, longest: Duration) -> Orphans {
    let both = awaited.iter().flat_map(|(call, dialogs)| {
        let orphan = |party| Orphan { call: *call, party };
        [
            (DialogPrint(dialogs.caller), orphan(Party::Caller)),
            (DialogPrint(dialogs.target), orphan(Party::Target)),
        ]
    });
    Orphans::new(both, now + longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_orphan_is_told_once_whoever_of_the_two_hangs_up_first() {
        let call = CallId::from_bytes([7; 16]);
        let awaited = [(call, Dialogs { caller: 1, target: 2 })];
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
}

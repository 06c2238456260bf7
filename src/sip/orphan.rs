//! Calls that were up when their process died, as the next process knows them: by a print of each
//! of their two dialogs, read from the journal (spec/sip O8). Their parties still believe in them,
//! and one of them will hang up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::id::CallId;
use crate::time::Mono;

use super::call::report::Party;
use super::flow::Transport;

/// What names a dialog, in 64 bits that stay the same from version to version: FNV-1a over Call-ID
/// and both tags. Our tag is in it, and 64 bits of that nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DialogPrint(pub u64);

impl DialogPrint {
    /// `ours` and `theirs` are the tags.
    pub fn of(call_id: &[u8], ours: &[u8], theirs: &[u8]) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        // A line feed is in none of the three.
        let parts = [call_id, b"\n", ours, b"\n", theirs];
        Self(parts.into_iter().flatten().fold(OFFSET, step))
    }
}

/// The BYE that ends a dialog, to be sent should its process die, with another Via.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub transport: Transport,
    pub peer: SocketAddr,
    pub bye: Bytes,
}

/// A dialog of a dead process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    pub call: CallId,
    /// Who is at the other end of this dialog.
    pub party: Party,
}

/// All of them. Immutable: who has hung up is known to whoever writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphans {
    dialogs: BTreeMap<DialogPrint, Orphan>,
    /// When the last of them has passed the longest time a call may take.
    forget_at: Mono,
}

impl Orphans {
    pub fn new(dialogs: impl IntoIterator<Item = (DialogPrint, Orphan)>, forget_at: Mono) -> Self {
        Self { dialogs: dialogs.into_iter().collect(), forget_at }
    }

    pub fn find(&self, print: DialogPrint) -> Option<Orphan> {
        self.dialogs.get(&print).copied()
    }

    pub fn is_over(&self, now: Mono) -> bool {
        now >= self.forget_at || self.dialogs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal outlives the version that wrote it.
    #[test]
    fn the_print_of_a_dialog_never_changes() {
        assert_eq!(DialogPrint::of(b"a84b4c76e66710", b"1928", b"314"), PRINT);
        assert_ne!(DialogPrint::of(b"a84b4c76e66710", b"192", b"8314"), PRINT);
        assert_ne!(DialogPrint::of(b"a84b4c76e66710", b"314", b"1928"), PRINT);
    }

    const PRINT: DialogPrint = DialogPrint(0x84ca_68a5_62bd_256d);
}

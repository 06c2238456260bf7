//! Sessions from before they are at the desk until others see them.

use crate::cdr::journal::Lsn;
use crate::id::SessionId;
use crate::server::control::Control;

use super::SharedSessions;

/// A session that is about to be opened. No other server sees it before it is on disk, also if whoever asked
/// goes away meanwhile: then others are told by and by.
pub(in crate::server) struct Opening<'a> {
    session: SessionId,
    shared: Option<&'a SharedSessions>,
    /// Where it is in the journal; absent: nowhere.
    up_to: Option<Lsn>,
}

impl Opening<'_> {
    pub(in crate::server) fn session(&self) -> SessionId {
        self.session
    }

    /// It is on its way to the disk.
    pub(in crate::server) fn on_its_way(&mut self, up_to: Lsn) {
        self.up_to = Some(up_to);
    }

    /// Others have been told, or it did not get to the disk.
    pub(in crate::server) fn is_over(&mut self) {
        self.up_to = None;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        match (self.shared, self.up_to) {
            (Some(shared), Some(up_to)) => shared.opened_for_nobody(self.session, up_to),
            (Some(shared), None) => shared.opening_ended(self.session),
            (None, _) => {}
        }
    }
}

impl Control {
    pub(in crate::server) fn opening(&self, session: SessionId) -> Opening<'_> {
        let shared = self.deciding.sessions().map(|shared| &**shared);
        if let Some(shared) = shared {
            shared.opening(session);
        }
        Opening { session, shared, up_to: None }
    }
}

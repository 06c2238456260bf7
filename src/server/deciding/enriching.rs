//! What enrichers answer, on its way to the calls of the session.

use smol_str::SmolStr;

use crate::id::SessionId;
use crate::routing::ping::EnrichedBy;
use crate::time::Wall;

use super::Deciding;

impl Deciding {
    /// Who has answered for a session; `None`: it is over.
    pub(in crate::server) fn enriched_by(
        &self,
        session: SessionId,
        now: Wall,
    ) -> Option<Vec<SmolStr>> {
        let state = self.state.lock();
        let session = state.desk.session(session).filter(|it| now < it.expires_at)?;
        Some(session.enriched.iter().map(|by| by.enricher.clone()).collect())
    }

    /// Calls of the session go by this answer from now on. To be said once it is on disk. Returns when its
    /// first call came, for which it is too late.
    pub(in crate::server) fn enrich(&self, session: SessionId, by: EnrichedBy) -> Option<Wall> {
        let first_call = self.state.lock().desk.enrich(session, by)?.consumed_at;
        if let Some(shared) = self.sessions() {
            shared.untold(session);
        }
        first_call
    }
}

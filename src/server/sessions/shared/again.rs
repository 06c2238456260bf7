//! What the store says afterwards of a call that could not wait for it.

use crate::routing::RouteRequest;
use crate::routing::snapshot::{NumberOwner, RoutingSnapshot};
use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::server::sessions::redis::Then;

use super::{SharedSessions, State};

impl SharedSessions {
    /// Whether the store knows what the servers know that live: it has been open for a lease, in which each of
    /// them has found it and told it.
    pub(in crate::server) fn is_settled(&self) -> bool {
        let inner = self.inner.lock();
        inner.state == State::Open
            && inner.all_untold.is_none()
            && clock::mono().since(inner.told_since.max(inner.opens_at)) >= self.lease
    }

    /// What is known of the sessions that a call may have belonged to at its instant, which is over.
    ///
    /// # Errors
    /// The store could not be asked, or not all of it answered.
    pub(in crate::server) async fn lookup_then(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Result<Then, StoreFault> {
        let then = self.store.candidates_then(snapshot, request, owner).await;
        then.inspect_err(|fault| self.metrics.fault(fault))
    }
}

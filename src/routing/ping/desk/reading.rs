//! Which sessions a call may belong to.

use crate::id::{CampaignId, PublisherId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::request::{FormerLease, RouteRequest, SessionReading};
use crate::routing::snapshot::RoutingSnapshot;
use crate::time::Wall;

use super::{Desk, Session};

/// Sessions that are read of those that share a number.
const SHARING_READ_MAX: usize = 8;

impl Desk {
    /// The session that has this pool number.
    pub fn by_number(&self, did: PhoneNumber, now: Wall) -> Option<SessionReading> {
        let lease = self.leases.holder(did, now)?;
        let session = self.sessions.get(&lease.session)?;
        // While a call is on the number its lease outlives the time it was lent for.
        let expires_at = session.expires_at.max(Wall(now.0.saturating_add(1)));
        Some(SessionReading { expires_at, ..self.read(session) })
    }

    /// Live sessions of the campaign that named this caller, newest first.
    pub fn by_caller(
        &self,
        campaign: &CampaignId,
        caller: PhoneNumber,
        now: Wall,
    ) -> Vec<SessionReading> {
        let live = self.of_caller(campaign, caller).filter(|session| now < session.expires_at);
        live.rev().map(|session| self.read(session)).collect()
    }

    /// Every session a call may belong to, for [`decide`](crate::routing::decide).
    pub fn candidates(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Vec<SessionReading> {
        let (dialed, now) = (request.dialed, request.at);
        let Some(owner) = snapshot.number(dialed) else { return vec![] };
        let (campaign, publisher) = (&owner.campaign.id, &owner.publisher.id);
        let mut found: Vec<_> = self.by_number(dialed, now).into_iter().collect();
        let mut add = |reading: SessionReading| {
            if found.iter().all(|known| known.session != reading.session) {
                found.push(reading);
            }
        };
        let named = request.named.map(|named| named.key).into_iter();
        for key in named.chain(snapshot.named_by_trunk(request)) {
            self.by_key(key).map(|it| self.read(it)).into_iter().for_each(&mut add);
        }
        if owner.pool.is_some() {
            self.former(dialed, now).into_iter().for_each(&mut add);
        }
        if let Some(sharing) = self.by_shared.get(&dialed) {
            let newest = sharing.iter().rev().take(SHARING_READ_MAX);
            newest.filter_map(|id| self.session(*id)).map(|it| self.read(it)).for_each(&mut add);
        }
        if let Some(caller) = request.caller {
            self.by_caller(campaign, caller, now).into_iter().for_each(&mut add);
            if self.past.knows_callers_of(campaign) {
                let earlier = self.earlier(campaign, publisher, caller);
                earlier.map(|it| self.read(it)).into_iter().for_each(add);
            }
        }
        found
    }

    /// The session that an id names, if it is live.
    pub fn by_key(&self, key: SessionKey) -> Option<&Session> {
        match key {
            SessionKey::Ping(ping) => self.by_ping(ping),
            SessionKey::Session(session) => self.session(session),
            SessionKey::Alias(alias) => self.of_alias(alias).next(),
        }
    }

    /// What attribution wants to know of a session.
    fn read(&self, session: &Session) -> SessionReading {
        let (number, former) = self.number_of(session);
        let sharing = number.filter(|_| former.is_none()).and_then(|it| self.by_shared.get(&it));
        let sharing = sharing.map(|all| u32::try_from(all.len()).unwrap_or(u32::MAX));
        session.reading(number, former, sharing)
    }

    /// The number the session has, or has had and lost; `None`: it has had it too long ago.
    fn number_of(&self, session: &Session) -> (Option<PhoneNumber>, Option<FormerLease>) {
        let lent = session.number.filter(|did| session.pool.is_some() && self.leases.knows(*did));
        let Some(did) = lent else { return (session.number, None) };
        if self.leases.owner(did) == Some(session.session) {
            return (lent, None);
        }
        let ended = self.leases.ended(did, session.session);
        (lent.filter(|_| ended.is_some()), ended)
    }

    /// The last session that had the number and has it no more.
    fn former(&self, did: PhoneNumber, now: Wall) -> Option<SessionReading> {
        let past = self.leases.former(did, now)?;
        let is_it = |session: &&Session| session.session == past.session;
        let session =
            self.session(past.session).or_else(|| self.past.of_number(did).filter(is_it))?;
        // It may have come to another number since.
        let number = Some(did);
        Some(SessionReading { number, former: Some(past.ended), ..self.read(session) })
    }

    /// The last session of the publisher's caller that is over, or about to be noticed to be.
    fn earlier(
        &self,
        campaign: &CampaignId,
        publisher: &PublisherId,
        caller: PhoneNumber,
    ) -> Option<&Session> {
        let of_caller = self.of_caller(campaign, caller);
        let last = of_caller.rev().find(|session| session.publisher == *publisher);
        last.or_else(|| self.past.of_caller(campaign, publisher, caller))
    }
}

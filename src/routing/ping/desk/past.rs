//! Sessions that are over, as far as calls may still be matched to them (spec/domain §2.2, orders 6
//! and 7).

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CampaignId, PublisherId};
use crate::phone::PhoneNumber;
use crate::routing::attribution::EARLIER_MAX;
use crate::routing::snapshot::RoutingSnapshot;
use crate::time::Wall;

use super::Session;

/// The last visitor of each pool number, and the last session of each caller with each publisher of
/// the campaigns that ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PastSessions {
    callers_max: usize,
    /// At most as many as there are numbers.
    by_number: BTreeMap<PhoneNumber, Session>,
    /// Campaigns that are content with so little.
    asked_for: BTreeSet<CampaignId>,
    by_caller: BTreeMap<Key, Session>,
    /// The oldest session first.
    order: BTreeSet<(Wall, Key)>,
}

/// Whose caller.
type Key = (CampaignId, PublisherId, PhoneNumber);

impl PastSessions {
    /// Remembers at most `callers_max` callers; of more, those with the oldest sessions are forgotten.
    pub(super) fn new(callers_max: usize) -> Self {
        Self {
            callers_max,
            by_number: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            by_caller: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }

    pub(super) fn configure(&mut self, snapshot: &RoutingSnapshot) {
        let is_pooled =
            |did: &PhoneNumber| snapshot.number(*did).is_some_and(|owner| owner.pool.is_some());
        self.by_number.retain(|did, _| is_pooled(did));
        self.asked_for = snapshot.content_with_earlier().cloned().collect();
        let asked_for = &self.asked_for;
        self.by_caller.retain(|(campaign, ..), _| asked_for.contains(campaign));
        self.order.retain(|(_, (campaign, ..))| asked_for.contains(campaign));
    }

    /// Whether a caller is known by an earlier session of the campaign.
    pub(super) fn knows_callers_of(&self, campaign: &CampaignId) -> bool {
        self.asked_for.contains(campaign)
    }

    /// A session is over, and was the last that had these numbers.
    pub(super) fn add(&mut self, session: Session, numbers: &[PhoneNumber]) {
        if let Some(caller) = session.caller
            && self.asked_for.contains(&session.campaign)
        {
            self.add_of_caller(caller, session.clone());
        }
        for number in numbers {
            self.by_number.insert(*number, session.clone());
        }
    }

    /// The last that had the number and has it no more.
    pub(super) fn of_number(&self, did: PhoneNumber) -> Option<&Session> {
        self.by_number.get(&did)
    }

    /// The newest of the publisher's caller.
    pub(super) fn of_caller(
        &self,
        campaign: &CampaignId,
        publisher: &PublisherId,
        caller: PhoneNumber,
    ) -> Option<&Session> {
        self.by_caller.get(&(campaign.clone(), publisher.clone(), caller))
    }

    /// Forgets callers by sessions that are too old.
    pub(super) fn forget(&mut self, now: Wall) {
        while let Some((created_at, ..)) = self.order.first()
            && (*created_at + EARLIER_MAX).0 < now.0
        {
            self.forget_oldest();
        }
    }

    fn add_of_caller(&mut self, caller: PhoneNumber, session: Session) {
        let key = (session.campaign.clone(), session.publisher.clone(), caller);
        if let Some(known) = self.by_caller.get(&key) {
            if session.created_at < known.created_at {
                return;
            }
            self.order.remove(&(known.created_at, key.clone()));
        }
        self.order.insert((session.created_at, key.clone()));
        self.by_caller.insert(key, session);
        if self.by_caller.len() > self.callers_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_first() {
            self.by_caller.remove(&key);
        }
    }
}

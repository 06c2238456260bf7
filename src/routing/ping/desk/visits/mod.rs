//! Sessions of visitors: opened, brought back, kept by signs of life, and let go (spec/domain §2.3).

use std::time::Duration;

use smol_str::{SmolStr, ToSmolStr};

use crate::id::{CampaignId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::request::Tags;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::time::Wall;

use super::{Accepted, Checked, DEFAULT_TTL, Desk, NewIds, SessionKind, check, unknown};
use crate::routing::ping::request::{PingRefusal, PingRefusals, RefusalCode, TAGS_MAX};
use crate::routing::ping::visit::{Told, VisitKind, VisitRequest, VisitUpdate};

/// How often a page gives a sign of life where no pool says.
const HEARTBEAT_S: u32 = 60;
/// How long a session without a pool goes on once its page is closed.
const CLOSED_BROWSER_DELAY: Duration = Duration::from_secs(300);
/// A session that lives on by less has nothing new to be written down.
const NEWS_MS: i64 = 1_000;

/// Whose visitor it is that has this id.
pub type VisitorKey = (PublisherId, CampaignId, Option<PoolId>, SmolStr);

/// A session of a visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    pub accepted: Accepted,
    pub visitor: SmolStr,
    /// Seconds between signs of life.
    pub heartbeat_s: u32,
    /// What the page said and that is not kept.
    pub left_out: Vec<SmolStr>,
    /// What has changed, if the session was there before.
    pub moved: Option<Moved>,
}

/// What has changed of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub session: SessionId,
    pub expires_at: Wall,
    /// One that was lent only now.
    pub number: Option<PhoneNumber>,
    /// All tags, if some are new.
    pub tags: Option<Tags>,
}

/// A session after a sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub session: SessionId,
    pub number: Option<PhoneNumber>,
    pub expires_at: Wall,
    pub heartbeat_s: u32,
    pub left_out: Vec<SmolStr>,
    /// Absent: nothing to write down.
    pub moved: Option<Moved>,
}

impl Desk {
    /// Opens a session for a visitor, or brings back the one it has. A new one only if `has_room`.
    pub fn visit(
        &mut self,
        snapshot: &RoutingSnapshot,
        visit: &VisitRequest,
        ids: NewIds,
        now: Wall,
        has_room: impl FnOnce(&PublisherId, &CampaignId) -> Result<(), PingRefusal>,
    ) -> Result<Visit, PingRefusals> {
        self.expire(now);
        visit.check()?;
        let mut ping = visit.as_ping();
        if visit.wants_number() && ping.pool.is_none() {
            ping.pool = Some(only_pool(snapshot, visit)?);
        }
        let mut left_out = vec![];
        let checked = check(snapshot, &ping, |_, vertical| {
            let told = visit.told(vertical)?;
            left_out = told.left_out;
            Ok(told.tags)
        })?;
        let heartbeat_s = heartbeat_s(snapshot, checked.pool.as_ref());
        let key = |visitor: &SmolStr| {
            let (publisher, campaign) = (checked.publisher.clone(), checked.campaign.clone());
            (publisher, campaign, checked.pool.clone(), visitor.clone())
        };
        let known = visit.visitor_id.as_ref().and_then(|id| self.by_visitor.get(&key(id)));
        if let Some(&known) = known {
            let (accepted, moved) = self.bring_back(snapshot, known, &checked, now);
            let visitor = visit.visitor_id.clone().expect("was found by it");
            return Ok(Visit { accepted, visitor, heartbeat_s, left_out, moved });
        }
        let made = || ids.session.to_smolstr();
        let visitor = visit.visitor_id.clone().unwrap_or_else(made);
        let kind = match visit.kind {
            VisitKind::PageView => SessionKind::PageView,
            VisitKind::Form => SessionKind::Form,
        };
        let who = (kind, Some(visitor.clone()));
        let accepted = self.open(checked, None, who, ids, now, has_room)?;
        Ok(Visit { accepted, visitor, heartbeat_s, left_out, moved: None })
    }

    /// A sign of life: the session lives on as if it had just begun, and keeps its number. `None`: no
    /// such session is live.
    pub fn touch(
        &mut self,
        snapshot: &RoutingSnapshot,
        id: SessionId,
        update: &VisitUpdate,
        now: Wall,
    ) -> Result<Option<Touched>, PingRefusals> {
        self.expire(now);
        let Some(session) = self.sessions.get(&id) else { return Ok(None) };
        let campaign = snapshot.campaign(&session.campaign);
        let vertical = campaign.and_then(|it| it.vertical.as_deref());
        let Told { tags, mut left_out } = update.told(vertical)?;
        let heartbeat_s = heartbeat_s(snapshot, session.pool.as_ref());
        let until = now + lasting(snapshot, session.pool.as_ref());
        let moved = self.extend(id, until, tags, &mut left_out, now);
        let session = self.sessions.get(&id).expect("was there a moment ago");
        let (number, expires_at) = (session.number, session.expires_at);
        Ok(Some(Touched { session: id, number, expires_at, heartbeat_s, left_out, moved }))
    }

    /// The page was closed: the session ends after the delay of its pool unless it gives another sign
    /// of life, and then its number rests. `None`: no such session is live.
    pub fn release(
        &mut self,
        snapshot: &RoutingSnapshot,
        id: SessionId,
        now: Wall,
    ) -> Option<Moved> {
        self.expire(now);
        let session = self.sessions.get_mut(&id)?;
        let pool = session.pool.as_ref().and_then(|pool| snapshot.pool(pool));
        let delay = pool.map_or(CLOSED_BROWSER_DELAY, |pool| pool.closed_browser_delay);
        let until = session.expires_at.min(now + delay);
        self.expiries.remove(&(session.expires_at, id));
        session.expires_at = until;
        self.expiries.insert((until, id));
        if let Some(number) = session.number {
            self.lease_ends(id, number, until, now);
        }
        Some(Moved { session: id, expires_at: until, number: None, tags: None })
    }

    fn bring_back(
        &mut self,
        snapshot: &RoutingSnapshot,
        id: SessionId,
        checked: &Checked,
        now: Wall,
    ) -> (Accepted, Option<Moved>) {
        let until = now + lasting(snapshot, checked.pool.as_ref());
        let moved = self.extend(id, until, checked.tags.clone(), &mut vec![], now);
        let session = self.sessions.get(&id).expect("a visitor's session is live");
        (self.answer(session, true), moved)
    }

    /// Lets a live session live until then, if that is longer. One that was lent no number, or has lost
    /// it, may get one now.
    fn extend(
        &mut self,
        id: SessionId,
        until: Wall,
        tags: Tags,
        left_out: &mut Vec<SmolStr>,
        now: Wall,
    ) -> Option<Moved> {
        let session = self.sessions.get_mut(&id)?;
        let before = session.expires_at;
        let until = until.max(before);
        let lease = session.pool.as_ref().and_then(|pool| {
            let ttl = span(now, until);
            self.leases.lease(pool, id, ttl, now)
        });
        let lent = lease.map(|lease| lease.number);
        let number = lent.filter(|number| session.number != Some(*number));
        if let Some(number) = number {
            let shown = session.number.replace(number);
            self.share_no_more(id, shown);
        }
        let mut has_new_tags = false;
        let session = self.sessions.get_mut(&id)?;
        for (name, value) in tags {
            if session.tags.get(&name) == Some(&value) {
                continue;
            }
            if session.tags.len() >= TAGS_MAX && !session.tags.contains_key(&name) {
                left_out.push(name);
                continue;
            }
            has_new_tags = true;
            session.tags.insert(name, value);
        }
        let tags = has_new_tags.then(|| session.tags.clone());
        self.prolong(id, until);
        let is_news = until.0 - before.0 >= NEWS_MS || number.is_some() || tags.is_some();
        is_news.then_some(Moved { session: id, expires_at: until, number, tags })
    }
}

/// How long a session lives from a sign of life on.
fn lasting(snapshot: &RoutingSnapshot, pool: Option<&PoolId>) -> Duration {
    pool.and_then(|pool| snapshot.pool(pool)).map_or(DEFAULT_TTL, |pool| pool.session_ttl)
}

fn heartbeat_s(snapshot: &RoutingSnapshot, pool: Option<&PoolId>) -> u32 {
    pool.and_then(|pool| snapshot.pool(pool)).map_or(HEARTBEAT_S, |pool| pool.heartbeat_s)
}

/// The pool that is meant where none is named.
fn only_pool(snapshot: &RoutingSnapshot, visit: &VisitRequest) -> Result<PoolId, PingRefusal> {
    let campaign = match &visit.campaign {
        Some(id) => Some(snapshot.campaign(id).ok_or_else(|| unknown("campaign", id.as_str()))?),
        None => None,
    };
    let publisher = visit.publisher.as_ref().or_else(|| campaign?.publisher.as_ref());
    let is_meant = |pool: &&Pool| {
        publisher.is_none_or(|it| *it == pool.publisher)
            && campaign.is_none_or(|it| it.id == pool.campaign)
    };
    let mut meant = snapshot.pools().iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only.id.clone()),
        (None, _) => {
            let detail =
                "no pool of the configuration has numbers for it; want \"nothing\", or add one";
            Err(PingRefusal::new("pool", RefusalCode::Unknown, detail))
        }
        (Some(_), Some(_)) => {
            let detail = "several pools have numbers for it; name one";
            Err(PingRefusal::new("pool", RefusalCode::Missing, detail))
        }
    }
}

fn span(from: Wall, until: Wall) -> Duration {
    Duration::from_millis(u64::try_from(until.0.saturating_sub(from.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests;

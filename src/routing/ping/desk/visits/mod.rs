//! Sessions of visitors: opened, brought back, kept by signs of life, and let go (spec/domain §2.3).

use std::time::Duration;

use smol_str::{SmolStr, ToSmolStr};

use crate::id::{CampaignId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::request::Tags;
use crate::routing::snapshot::{Pool, RoutingSnapshot};
use crate::time::Wall;

use super::{
    Accepted, Checked, DEFAULT_TTL, Desk, Lent, NewIds, Session, SessionKind, check, unknown,
};
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

/// A visit that passed all checks, with its names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visiting {
    pub checked: Checked,
    kind: SessionKind,
    /// What the page calls its visitor.
    visitor: Option<SmolStr>,
    left_out: Vec<SmolStr>,
    heartbeat_s: u32,
}

/// What a sign of life changes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOfLife {
    /// The session lives until then at least.
    pub until: Wall,
    heartbeat_s: u32,
    tags: Tags,
    left_out: Vec<SmolStr>,
}

impl Visiting {
    /// # Errors
    /// All that is wrong with the visit.
    pub fn of(snapshot: &RoutingSnapshot, visit: &VisitRequest) -> Result<Self, PingRefusals> {
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
        let kind = match visit.kind {
            VisitKind::PageView => SessionKind::PageView,
            VisitKind::Form => SessionKind::Form,
        };
        let heartbeat_s = heartbeat_s(snapshot, checked.pool.as_ref());
        let visitor = visit.visitor_id.clone();
        Ok(Self { checked, kind, visitor, left_out, heartbeat_s })
    }

    /// By which the visitor is known again; `None`: nobody knows it.
    pub fn key(&self) -> Option<VisitorKey> {
        let Checked { publisher, campaign, pool, .. } = &self.checked;
        Some((publisher.clone(), campaign.clone(), pool.clone(), self.visitor.clone()?))
    }

    /// What the visit changes of a session that the visitor has.
    pub fn sign_of_life(&self, snapshot: &RoutingSnapshot, now: Wall) -> SignOfLife {
        SignOfLife {
            until: now + lasting(snapshot, self.checked.pool.as_ref()),
            heartbeat_s: self.heartbeat_s,
            tags: self.checked.tags.clone(),
            left_out: vec![],
        }
    }

    /// The answer to it. `accepted`: what it is with its session.
    pub fn answer(self, accepted: Accepted, moved: Option<Moved>) -> Visit {
        let Self { visitor, heartbeat_s, left_out, .. } = self;
        let visitor = visitor.unwrap_or_else(|| accepted.session.to_smolstr());
        Visit { accepted, visitor, heartbeat_s, left_out, moved }
    }
}

impl SignOfLife {
    /// # Errors
    /// What is wrong with what the page says.
    pub fn of(
        snapshot: &RoutingSnapshot,
        session: &Session,
        update: &VisitUpdate,
        now: Wall,
    ) -> Result<Self, PingRefusals> {
        let campaign = snapshot.campaign(&session.campaign);
        let vertical = campaign.and_then(|it| it.vertical.as_deref());
        let Told { tags, left_out } = update.told(vertical)?;
        let heartbeat_s = heartbeat_s(snapshot, session.pool.as_ref());
        let until = now + lasting(snapshot, session.pool.as_ref());
        Ok(Self { until, heartbeat_s, tags, left_out })
    }

    /// Lets the session live on. `lent`: the number it has now, if it was lent one.
    pub fn apply(self, session: &mut Session, lent: Option<PhoneNumber>) -> Touched {
        let Self { until, heartbeat_s, tags, mut left_out } = self;
        let (id, before) = (session.session, session.expires_at);
        let expires_at = until.max(before);
        let number = lent.filter(|number| session.number != Some(*number));
        session.number = number.or(session.number);
        session.expires_at = expires_at;
        let mut has_new_tags = false;
        for (name, value) in tags {
            if session.tags.get(&name) == Some(value.as_str()) {
                continue;
            }
            if session.tags.len() >= TAGS_MAX && !session.tags.contains_key(&name) {
                left_out.push(name);
                continue;
            }
            has_new_tags = true;
            session.tags.insert(&name, &value);
        }
        let tags = has_new_tags.then(|| session.tags.to_tags());
        let is_news = expires_at.0 - before.0 >= NEWS_MS || number.is_some() || tags.is_some();
        let moved = is_news.then_some(Moved { session: id, expires_at, number, tags });
        let number = session.number;
        Touched { session: id, number, expires_at, heartbeat_s, left_out, moved }
    }
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
        let visiting = Visiting::of(snapshot, visit)?;
        Ok(self.visit_lent(snapshot, visiting, (ids, None), now, has_room)?)
    }

    /// The same for one whose number, if it is new, was lent elsewhere.
    pub fn visit_lent(
        &mut self,
        snapshot: &RoutingSnapshot,
        visiting: Visiting,
        (ids, lent): (NewIds, Option<Lent>),
        now: Wall,
        has_room: impl FnOnce(&PublisherId, &CampaignId) -> Result<(), PingRefusal>,
    ) -> Result<Visit, PingRefusal> {
        self.expire(now);
        let known = visiting.key().and_then(|key| self.by_visitor.get(&key));
        if let Some(&known) = known {
            let sign = visiting.sign_of_life(snapshot, now);
            let moved = self.live_on(known, sign, now).and_then(|it| it.moved);
            let session = self.sessions.get(&known).expect("a visitor's session is live");
            let accepted = self.answer(session, true);
            return Ok(visiting.answer(accepted, moved));
        }
        let made = || ids.session.to_smolstr();
        let visitor = visiting.visitor.clone().unwrap_or_else(made);
        let who = (visiting.kind, Some(visitor));
        let checked = visiting.checked.clone();
        let accepted = self.open(checked, None, who, (ids, lent), now, has_room)?;
        Ok(visiting.answer(accepted, None))
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
        let sign = SignOfLife::of(snapshot, session, update, now)?;
        Ok(self.live_on(id, sign, now))
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
        let until = ends_when_closed(snapshot, session, now);
        self.expiries.remove(&(session.expires_at, id));
        session.expires_at = until;
        self.expiries.insert((until, id));
        if let Some(number) = session.number {
            self.lease_ends(id, number, until, now);
        }
        Some(Moved { session: id, expires_at: until, number: None, tags: None })
    }

    /// What an open session is to whoever asks for it again.
    pub fn as_before(&self, session: &Session) -> Accepted {
        self.answer(session, true)
    }

    /// Lets a live session live on. One that was lent no number, or has lost it, may get one now.
    fn live_on(&mut self, id: SessionId, sign: SignOfLife, now: Wall) -> Option<Touched> {
        let session = self.sessions.get_mut(&id)?;
        let (shown, before) = (session.number, session.expires_at);
        let ttl = span(now, sign.until.max(before));
        let lease = session.pool.as_ref().and_then(|pool| self.leases.lease(pool, id, ttl, now));
        let touched = sign.apply(session, lease.map(|lease| lease.number));
        self.expiries.remove(&(before, id));
        self.expiries.insert((touched.expires_at, id));
        if touched.number != shown {
            self.share_no_more(id, shown);
        }
        Some(touched)
    }
}

/// When a session ends whose page was closed.
pub fn ends_when_closed(snapshot: &RoutingSnapshot, session: &Session, now: Wall) -> Wall {
    let pool = session.pool.as_ref().and_then(|pool| snapshot.pool(pool));
    let delay = pool.map_or(CLOSED_BROWSER_DELAY, |pool| pool.closed_browser_delay);
    session.expires_at.min(now + delay)
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

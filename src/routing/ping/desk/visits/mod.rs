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
/// Names of what is left out, in an answer.
const LEFT_OUT_MAX: usize = 8;
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
    pub shows: Shows,
    /// Who calls, if that was not known.
    pub caller: Option<PhoneNumber>,
    /// All tags, if some are new.
    pub tags: Option<Tags>,
}

/// The number that a visitor is shown after a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// That of before, if one was shown.
    AsBefore,
    /// One that was lent only now, or that of those for whom the pool has none.
    Number(PhoneNumber),
    /// None: another visitor has the one of before.
    Nothing,
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
    caller: Option<PhoneNumber>,
    tags: Tags,
    /// What is not known here: of a session that there is nothing more is kept of it.
    extra: Tags,
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
            caller: self.checked.caller,
            tags: self.checked.tags.clone(),
            extra: self.checked.extra.clone(),
            left_out: self.left_out.clone(),
        }
    }

    /// The answer to it. `accepted`: what it is with its session.
    fn answer(self, accepted: Accepted) -> Visit {
        let Self { visitor, heartbeat_s, left_out, .. } = self;
        let visitor = visitor.unwrap_or_else(|| accepted.session.to_smolstr());
        Visit { accepted, visitor, heartbeat_s, left_out, moved: None }
    }

    /// The answer to a visitor whose session there was. `touched`: what has come of that.
    pub fn answer_again(self, accepted: Accepted, touched: Touched) -> Visit {
        let Touched { left_out, moved, .. } = touched;
        Visit { left_out, moved, ..self.answer(accepted) }
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
        let (caller, extra) = (None, Tags::new());
        Ok(Self { until, heartbeat_s, caller, tags, extra, left_out })
    }

    /// Lets the session live on, which shows this from now on.
    pub fn apply(self, session: &mut Session, shows: Shows) -> Touched {
        let Self { until, heartbeat_s, caller, tags, extra, mut left_out } = self;
        let (id, before) = (session.session, session.expires_at);
        let expires_at = until.max(before);
        let shows = shows.besides(session.number);
        match shows {
            Shows::AsBefore => {}
            Shows::Number(number) => session.number = Some(number),
            Shows::Nothing => session.number = None,
        }
        session.expires_at = expires_at;
        let mut leave_out = |name: SmolStr| {
            if left_out.len() < LEFT_OUT_MAX {
                left_out.push(name);
            }
        };
        if caller.is_some() && session.caller.is_some_and(|known| Some(known) != caller) {
            leave_out("caller_id".into());
        }
        let caller = caller.filter(|_| session.caller.is_none());
        session.caller = session.caller.or(caller);
        let is_new =
            |(name, value): &(SmolStr, SmolStr)| session.extra.get(name) != Some(value.as_str());
        extra.into_iter().filter(is_new).for_each(|(name, _)| leave_out(name));
        let mut has_new_tags = false;
        for (name, value) in tags {
            if session.tags.get(&name) == Some(value.as_str()) {
                continue;
            }
            if session.tags.len() >= TAGS_MAX && !session.tags.contains_key(&name) {
                leave_out(name);
                continue;
            }
            has_new_tags = true;
            session.tags.insert(&name, &value);
        }
        let tags = has_new_tags.then(|| session.tags.to_tags());
        let moved = Moved { session: id, expires_at, shows, caller, tags };
        let is_news = expires_at.0 - before.0 >= NEWS_MS || !moved.is_sign_of_life();
        let moved = is_news.then_some(moved);
        let number = session.number;
        Touched { session: id, number, expires_at, heartbeat_s, left_out, moved }
    }
}

impl Moved {
    /// It says nothing but that somebody is still there.
    pub fn is_sign_of_life(&self) -> bool {
        self.shows == Shows::AsBefore && self.caller.is_none() && self.tags.is_none()
    }
}

impl Shows {
    /// What is shown to who has none of the pool's own numbers.
    pub fn without_lease(overflow: Option<PhoneNumber>) -> Self {
        overflow.map_or(Self::Nothing, Self::Number)
    }

    /// What is new where this was shown before.
    fn besides(self, before: Option<PhoneNumber>) -> Self {
        let is_new = match self {
            Self::AsBefore => false,
            Self::Number(number) => before != Some(number),
            Self::Nothing => before.is_some(),
        };
        if is_new { self } else { Self::AsBefore }
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
            let touched = self.live_on(snapshot, known, sign, now);
            let session = self.sessions.get(&known).expect("a visitor's session is live");
            let accepted = self.answer(session, true);
            let touched = touched.expect("a visitor's session is live");
            return Ok(visiting.answer_again(accepted, touched));
        }
        let made = || ids.session.to_smolstr();
        let visitor = visiting.visitor.clone().unwrap_or_else(made);
        let who = (visiting.kind, Some(visitor));
        let checked = visiting.checked.clone();
        let accepted = self.open(checked, None, who, (ids, lent), now, has_room)?;
        Ok(visiting.answer(accepted))
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
        Ok(self.live_on(snapshot, id, sign, now))
    }

    /// The page was closed: the session ends after the delay of its pool unless it gives another sign
    /// of life, and then its number rests; but not too soon behind a call. `None`: no such session is live.
    pub fn release(
        &mut self,
        snapshot: &RoutingSnapshot,
        id: SessionId,
        now: Wall,
    ) -> Option<Moved> {
        self.expire(now);
        let session = self.sessions.get(&id)?;
        let closed = ends_when_closed(snapshot, session, now);
        let lease = session.number.and_then(|number| self.lease_ends(id, number, closed, now));
        let until = lease.map_or(closed, |lease| closed.max(lease.expires_at));
        let session = self.sessions.get_mut(&id)?;
        self.expiries.remove(&(session.expires_at, id));
        session.expires_at = until;
        self.expiries.insert((until, id));
        Some(Moved {
            session: id,
            expires_at: until,
            shows: Shows::AsBefore,
            caller: None,
            tags: None,
        })
    }

    /// What an open session is to whoever asks for it again.
    pub fn as_before(&self, session: &Session) -> Accepted {
        self.answer(session, true)
    }

    /// Lets a live session live on. One that was lent no number, or has lost it, may get one now; else it
    /// shows that of others, or none.
    fn live_on(
        &mut self,
        snapshot: &RoutingSnapshot,
        id: SessionId,
        sign: SignOfLife,
        now: Wall,
    ) -> Option<Touched> {
        let session = self.sessions.get_mut(&id)?;
        let (shown, before) = (session.number, session.expires_at);
        let ttl = span(now, sign.until.max(before));
        let pool = session.pool.as_ref();
        let shows = pool.map_or(Shows::AsBefore, |pool| {
            let lease = self.leases.lease(pool, id, ttl, now);
            let overflow = snapshot.pool(pool).and_then(|pool| pool.overflow);
            lease.map_or_else(|| Shows::without_lease(overflow), |it| Shows::Number(it.number))
        });
        let touched = sign.apply(session, shows);
        let caller = touched.moved.as_ref().and_then(|moved| moved.caller);
        let calls = caller.map(|caller| (session.campaign.clone(), caller));
        let shares = self.sessions.get(&id).and_then(|session| self.shared_number(session));
        self.expiries.remove(&(before, id));
        self.expiries.insert((touched.expires_at, id));
        if touched.number != shown {
            self.share_no_more(id, shown);
        }
        if let Some(number) = shares {
            self.by_shared.entry(number).or_default().insert(id);
        }
        if let Some((campaign, caller)) = calls {
            self.calls(&campaign, caller, id);
        }
        Some(touched)
    }
}

/// When a session ends whose page was closed, unless a call on its number keeps that for longer.
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

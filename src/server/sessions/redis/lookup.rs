//! The sessions a call may belong to, in two rounds: what names them, then they themselves.

use std::collections::BTreeMap;

use redis::Value;

use crate::id::{CampaignId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::RouteRequest;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::Session;
use crate::routing::pool::PastLease;
use crate::routing::request::SessionReading;
use crate::routing::snapshot::{NumberOwner, RoutingSnapshot};
use crate::server::redis::{StoreFault, unread};
use crate::time::Wall;

use super::super::store::Candidates;
use super::kept;
use super::numbers::NumberRead;
use super::servers::Asked;
use super::{PER_CALLER_MAX, RedisSessions, SHARING_READ_MAX, live, read};

/// What names sessions.
#[derive(Default)]
pub(super) struct Names {
    pub(super) number: NumberRead,
    /// The newest first.
    pub(super) callers: Vec<SessionId>,
    sharing: Vec<SessionId>,
    sharing_count: usize,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// All of this is as it was at an instant that is over: a session may have come to another number since.
    is_past: bool,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Number,
    Caller,
    Sharing,
    SharingCount,
    Session,
}

impl RedisSessions {
    pub(super) async fn candidates(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Result<Candidates, StoreFault> {
        let Some(owner) = snapshot.number(request.dialed) else {
            return Ok(Candidates { readings: vec![], are_all: true });
        };
        let limit = self.settings.call_timeout;
        let (mut about, mut asked) = self.questions(snapshot, request, &owner);
        // Who was named the last time is asked for as well: it may be the same.
        let before = self.names_before(&about, &asked, request, &owner);
        let guessed =
            before.wanted(request, &owner).into_iter().map(|id| self.get(SessionKey::Session(id)));
        for get in guessed {
            if asked.iter().all(|known| known.kept_as() != get.kept_as()) {
                about.push(About::Session);
                asked.push(get);
            }
        }
        let mut names = Names::default();
        let (answers, mut are_all) = self.see_surely(asked, limit).await;
        for (about, answer) in about.into_iter().zip(answers) {
            names.hear(about, answer?, request, &owner)?;
        }
        let wanted = names.wanted(request, &owner);
        let gets: Vec<_> = wanted.iter().map(|id| self.get(SessionKey::Session(*id))).collect();
        if !gets.is_empty() {
            let (answers, are_sure) = self.see_surely(gets, limit).await;
            are_all &= are_sure;
            for answer in answers {
                names.hear(About::Session, answer?, request, &owner)?;
            }
        }
        Ok(Candidates { readings: names.readings(snapshot, request, &owner), are_all })
    }

    /// Live sessions of a campaign that named the caller, the newest first.
    ///
    /// # Errors
    /// As [`SessionStore::lookup`](crate::server::sessions::SessionStore::lookup).
    pub async fn of_caller(
        &self,
        campaign: &CampaignId,
        caller: PhoneNumber,
        now: Wall,
    ) -> Result<Vec<Session>, StoreFault> {
        let limit = self.settings.timeout;
        let answer = self.see(&[self.newest_of(campaign, caller)], limit).await.pop();
        let ids = ids(read(answer.unwrap_or_else(|| Err(unread()))?)?);
        let gets: Vec<_> = ids.iter().map(|id| self.get(SessionKey::Session(*id))).collect();
        let mut sessions = vec![];
        for (id, answer) in ids.iter().zip(self.see(&gets, limit).await) {
            sessions.extend(live(answer?, SessionKey::Session(*id), now)?);
        }
        Ok(sessions)
    }

    fn newest_of(&self, campaign: &CampaignId, caller: PhoneNumber) -> Asked {
        let key = self.keys.caller(campaign, caller);
        let newest = redis::cmd("ZREVRANGE").arg(&key).arg(0).arg(PER_CALLER_MAX - 1).take();
        Asked::what_is(key, newest)
    }

    /// What was read here lately of the sessions a call may belong to: while the servers do not answer.
    pub fn candidates_before(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
    ) -> Vec<SessionReading> {
        let Some(owner) = snapshot.number(request.dialed) else { return vec![] };
        let (about, asked) = self.questions(snapshot, request, &owner);
        let mut names = self.names_before(&about, &asked, request, &owner);
        for id in names.wanted(request, &owner) {
            let get = self.get(SessionKey::Session(id));
            let kept = get.kept_as().and_then(|key| self.near.lately(key));
            let read = kept.map(|it| names.hear(About::Session, it, request, &owner));
            debug_assert!(!matches!(read, Some(Err(_))), "it was read before");
        }
        names.readings(snapshot, request, &owner)
    }

    fn names_before(
        &self,
        about: &[About],
        asked: &[Asked],
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Names {
        let mut names = Names::default();
        for (about, asked) in about.iter().zip(asked) {
            let Some(kept) = asked.kept_as().and_then(|key| self.near.lately(key)) else {
                continue;
            };
            let read = names.hear(*about, kept, request, owner);
            debug_assert!(read.is_ok(), "it was read before");
        }
        names
    }

    /// What names the sessions a call may belong to.
    fn questions(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> (Vec<About>, Vec<Asked>) {
        let (dialed, now) = (request.dialed, request.at);
        let (mut about, mut asked) = (vec![], vec![]);
        let mut ask = |what, question| {
            about.push(what);
            asked.push(question);
        };
        if let Some(pool) = owner.pool {
            let key = self.keys.pool(&pool.id).number(dialed);
            let all = redis::cmd("HGETALL").arg(&key).take();
            ask(About::Number, Asked::what_is(key, all));
        } else if snapshot.pools().iter().any(|pool| pool.overflow == Some(dialed)) {
            let key = self.keys.sharing(dialed);
            let live = format!("({}", now.0);
            let mut newest = redis::cmd("ZREVRANGEBYSCORE");
            newest.arg(&key).arg("+inf").arg(&live).arg("LIMIT").arg(0).arg(SHARING_READ_MAX);
            ask(About::Sharing, Asked::plain(&key, newest));
            let count = redis::cmd("ZCOUNT").arg(&key).arg(&live).arg("+inf").take();
            ask(About::SharingCount, Asked::plain(&key, count));
        }
        if let Some(caller) = request.caller {
            ask(About::Caller, self.newest_of(&owner.campaign.id, caller));
        }
        let named = request.named.map(|named| named.key);
        for key in named.into_iter().chain(snapshot.named_by_trunk(request)) {
            ask(About::Session, self.get(key));
        }
        (about, asked)
    }

    pub(super) fn get(&self, key: SessionKey) -> Asked {
        let key = self.keys.session(key);
        let get = redis::cmd("GET").arg(&key).take();
        Asked::what_is(key, get)
    }
}

impl Names {
    /// Nothing is known yet.
    pub(super) fn of_the_past() -> Self {
        Self { is_past: true, ..Self::default() }
    }

    fn hear(
        &mut self,
        about: About,
        answer: Value,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Result<(), StoreFault> {
        match about {
            About::Number => {
                let rests = owner.pool.map(|pool| pool.quarantine).unwrap_or_default();
                self.number = NumberRead::of(&read(answer)?, rests, request.at);
            }
            About::Caller => self.callers = ids(read(answer)?),
            About::Sharing => self.sharing = ids(read(answer)?),
            About::SharingCount => self.sharing_count = read(answer)?,
            About::Session => {
                let kept: Option<Vec<u8>> = read(answer)?;
                let session = kept.as_deref().and_then(kept::read);
                self.sessions.extend(session.map(|it| (it.session, it)));
            }
        }
        Ok(())
    }

    /// Who had the number last and has it no more.
    fn former(&self, request: &RouteRequest, owner: &NumberOwner<'_>) -> Option<&PastLease> {
        let past = self.number.past.last().filter(|_| owner.pool.is_some());
        past.filter(|past| past.is_remembered(request.at))
    }

    /// Sessions that are named, and have yet to be read.
    pub(super) fn wanted(&self, request: &RouteRequest, owner: &NumberOwner<'_>) -> Vec<SessionId> {
        let former = self.former(request, owner);
        let of_number = self.number.holder.into_iter().chain(former.map(|it| it.session));
        let named = of_number.chain(self.sharing.iter().copied());
        let mut wanted: Vec<SessionId> = named.chain(self.callers.iter().copied()).collect();
        wanted.retain(|it| !self.sessions.contains_key(it));
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// In the order in which a desk has them.
    pub(super) fn readings(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Vec<SessionReading> {
        let now = request.at;
        let mut found: Vec<SessionReading> = vec![];
        let mut add = |reading: SessionReading| {
            if found.iter().all(|known| known.session != reading.session) {
                found.push(reading);
            }
        };
        let session = |id: &SessionId| self.sessions.get(id);
        let read = |it: &Session| self.reading(it, request, owner);
        if let Some(holder) = self.number.holder.as_ref().and_then(session) {
            // While a call is on the number its lease outlives the time it was lent for.
            let expires_at = holder.expires_at.max(Wall(now.0.saturating_add(1)));
            add(SessionReading { expires_at, ..read(holder) });
        }
        let named = request.named.map(|named| named.key);
        for key in named.into_iter().chain(snapshot.named_by_trunk(request)) {
            let is_it = |it: &&Session| key.names(it.session, it.ping) && now < it.expires_at;
            self.sessions.values().find(is_it).map(read).into_iter().for_each(&mut add);
        }
        if let Some(past) = self.former(request, owner) {
            // It may have come to another number since.
            let (number, former) = (Some(request.dialed), Some(past.ended));
            let reading = session(&past.session).map(read);
            let reading = reading.map(|it| SessionReading { number, former, ..it });
            reading.into_iter().for_each(&mut add);
        }
        self.sharing.iter().filter_map(session).map(read).for_each(&mut add);
        let is_caller = |it: &&Session| {
            it.caller.is_some() && it.caller == request.caller && it.campaign == owner.campaign.id
        };
        let callers: Vec<_> = self.callers.iter().filter_map(session).filter(is_caller).collect();
        let is_live = |it: &&&Session| now < it.expires_at;
        callers.iter().filter(is_live).map(|it| read(it)).for_each(&mut add);
        if snapshot.content_with_earlier().any(|it| *it == owner.campaign.id) {
            let last = callers.iter().find(|it| it.publisher == owner.publisher.id);
            last.map(|it| read(it)).into_iter().for_each(add);
        }
        found
    }

    fn reading(
        &self,
        session: &Session,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> SessionReading {
        if self.is_past {
            return self.reading_then(session, request, owner);
        }
        let is_dialed = session.number == Some(request.dialed);
        let (mut number, mut former, mut sharing) = (session.number, None, None);
        if is_dialed && session.pool.is_some() {
            if owner.pool.is_none() {
                sharing = Some(u32::try_from(self.sharing_count.max(1)).unwrap_or(u32::MAX));
            } else if self.number.holder != Some(session.session) {
                former = self.number.ended(session.session);
                number = number.filter(|_| former.is_some());
            }
        }
        session.reading(number, former, sharing)
    }

    fn reading_then(
        &self,
        session: &Session,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> SessionReading {
        if owner.pool.is_none() {
            return session.reading(session.number, None, None);
        }
        let has = self.number.holder == Some(session.session);
        let former = self.number.ended(session.session).filter(|_| !has);
        let had = (has || former.is_some()).then_some(request.dialed);
        let other = session.number.filter(|number| *number != request.dialed);
        session.reading(had.or(other), former, None)
    }
}

pub(super) fn ids(members: Vec<Vec<u8>>) -> Vec<SessionId> {
    let ids = members.into_iter().filter_map(|id| <[u8; 16]>::try_from(id).ok());
    ids.map(SessionId::from_bytes).collect()
}

//! The sessions a call may belong to, in two rounds: what names them, then they themselves.

use std::collections::BTreeMap;

use crate::id::SessionId;
use crate::routing::RouteRequest;
use crate::routing::attribution::SessionKey;
use crate::routing::ping::Session;
use crate::routing::request::SessionReading;
use crate::routing::snapshot::{NumberOwner, RoutingSnapshot};
use crate::server::redis::StoreFault;
use crate::time::Wall;

use super::kept;
use super::numbers::NumberRead;
use super::servers::{Asked, For};
use super::{PER_CALLER_MAX, RedisSessions, SHARING_READ_MAX, read};

/// What names sessions.
#[derive(Default)]
struct Names {
    number: NumberRead,
    /// The newest first.
    callers: Vec<SessionId>,
    sharing: Vec<SessionId>,
    sharing_count: usize,
    sessions: BTreeMap<SessionId, Session>,
}

/// What a question of the first round is about.
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
    ) -> Result<Vec<SessionReading>, StoreFault> {
        let Some(owner) = snapshot.number(request.dialed) else { return Ok(vec![]) };
        let mut names = self.names(snapshot, request, &owner).await?;
        let former = names.number.past.last().filter(|_| owner.pool.is_some());
        let of_number = names.number.holder.into_iter().chain(former.map(|it| it.session));
        let named = of_number.chain(names.sharing.iter().copied());
        let mut wanted: Vec<SessionId> = named.chain(names.callers.iter().copied()).collect();
        wanted.retain(|it| !names.sessions.contains_key(it));
        wanted.sort_unstable();
        wanted.dedup();
        let gets = wanted.iter().map(|id| self.get(SessionKey::Session(*id)));
        let gets: Vec<_> = gets.collect();
        for (id, answer) in wanted.iter().zip(self.ask(&gets, For::Call).await) {
            let kept: Option<Vec<u8>> = read(answer?)?;
            let session = kept.as_deref().and_then(kept::read).filter(|it| it.session == *id);
            names.sessions.extend(session.map(|it| (*id, it)));
        }
        Ok(names.readings(snapshot, request, &owner))
    }

    async fn names(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Result<Names, StoreFault> {
        let (dialed, now) = (request.dialed, request.at);
        let (mut about, mut asked) = (vec![], vec![]);
        let mut ask = |what, question| {
            about.push(what);
            asked.push(question);
        };
        if let Some(pool) = owner.pool {
            let key = self.keys.pool(&pool.id).number(dialed);
            let all = redis::cmd("HGETALL").arg(&key).take();
            ask(About::Number, Asked::plain(&key, all));
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
            let key = self.keys.caller(&owner.campaign.id, caller);
            let newest = redis::cmd("ZREVRANGE").arg(&key).arg(0).arg(PER_CALLER_MAX - 1).take();
            ask(About::Caller, Asked::plain(&key, newest));
        }
        let named = request.named.map(|named| named.key);
        for key in named.into_iter().chain(snapshot.named_by_trunk(request)) {
            ask(About::Session, self.get(key));
        }
        let mut names = Names::default();
        for (about, answer) in about.into_iter().zip(self.ask(&asked, For::Call).await) {
            let answer = answer?;
            match about {
                About::Number => {
                    let rests = owner.pool.map(|pool| pool.quarantine).unwrap_or_default();
                    names.number = NumberRead::of(&read(answer)?, rests, now);
                }
                About::Caller => names.callers = ids(read(answer)?),
                About::Sharing => names.sharing = ids(read(answer)?),
                About::SharingCount => names.sharing_count = read(answer)?,
                About::Session => {
                    let kept: Option<Vec<u8>> = read(answer)?;
                    let session = kept.as_deref().and_then(kept::read);
                    names.sessions.extend(session.map(|it| (it.session, it)));
                }
            }
        }
        Ok(names)
    }

    fn get(&self, key: SessionKey) -> Asked {
        let key = self.keys.session(key);
        Asked::plain(&key, redis::cmd("GET").arg(&key).take())
    }
}

impl Names {
    /// In the order in which a desk has them.
    fn readings(
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
        if let Some(past) = self.number.past.last().filter(|_| owner.pool.is_some()) {
            let former = session(&past.session).map(read);
            let former = former.map(|it| SessionReading { former: Some(past.ended), ..it });
            former.into_iter().for_each(&mut add);
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
        SessionReading {
            session: session.session,
            ping: session.ping,
            publisher: session.publisher.clone(),
            campaign: session.campaign.clone(),
            number,
            caller: session.caller,
            created_at: session.created_at,
            expires_at: session.expires_at,
            tags: session.tags.to_tags(),
            former,
            sharing,
            promise: session.promise_now(),
            enriched: session.enriched_tags(),
        }
    }
}

fn ids(members: Vec<Vec<u8>>) -> Vec<SessionId> {
    let ids = members.into_iter().filter_map(|id| <[u8; 16]>::try_from(id).ok());
    ids.map(SessionId::from_bytes).collect()
}

//! The sessions that a call of before may have belonged to, as they were at its instant.
//!
//! A number knows who had it, and a session when it began and how long it lived; who shared an overflow number
//! is forgotten as they go.

use redis::Value;

use crate::id::SessionId;
use crate::routing::RouteRequest;
use crate::routing::attribution::{Afterwards, SessionKey};
use crate::routing::ping::Session;
use crate::routing::snapshot::{NumberOwner, RoutingSnapshot};
use crate::server::redis::{StoreFault, unread};
use crate::time::Wall;

use super::lookup::{Names, ids};
use super::numbers::NumberRead;
use super::servers::{Asked, For};
use super::{PER_CALLER_MAX, RedisSessions, kept, read};

/// What Redis knows of the sessions that a call of before may have belonged to.
pub struct Then {
    names: Names,
    /// Sessions that are named, and not there any more.
    lacking: Vec<SessionId>,
    has_forgotten: bool,
}

impl RedisSessions {
    /// What is known of the sessions that the call may have belonged to at the instant of `request.at`, which is
    /// over. `owner`: whose call it is.
    ///
    /// # Errors
    /// The store could not be asked, or not all of it answered, or it may have lost some of what it was told.
    pub async fn candidates_then(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Result<Then, StoreFault> {
        let at = request.at;
        let mut then = Then { names: Names::of_the_past(), lacking: vec![], has_forgotten: false };
        if let Some(pool) = owner.pool {
            let keys = self.keys.pool(&pool.id);
            let (number, gate) = (keys.number(request.dialed), keys.gate());
            let all = redis::cmd("HGETALL").arg(&number).take();
            let first = redis::cmd("HGET").arg(&gate).arg("first").take();
            let asked = [Asked::plain(&number, all), Asked::plain(&gate, first)];
            let [number, first] = self.told(&asked).await?;
            let since: Option<String> = read(first)?;
            let since = since.and_then(|since| since.parse().ok()).map(Wall);
            let number = NumberRead::then(&read(number)?, pool.quarantine, at);
            then.has_forgotten = number.is_none() || since.is_none_or(|since| at < since);
            then.names.number = number.unwrap_or_default();
        }
        if let Some(caller) = request.caller {
            let key = self.keys.caller(&owner.campaign.id, caller);
            let mut newest = redis::cmd("ZREVRANGEBYSCORE");
            newest.arg(&key).arg(at.0).arg("-inf").arg("LIMIT").arg(0).arg(PER_CALLER_MAX);
            let mut later = redis::cmd("ZCOUNT");
            later.arg(&key).arg(format!("({}", at.0)).arg("+inf");
            let [newest, later] =
                self.told(&[Asked::plain(&key, newest), Asked::plain(&key, later)]).await?;
            then.names.callers = ids(read(newest)?);
            then.has_forgotten |= read::<isize>(later)? >= PER_CALLER_MAX;
        }
        let named = request.named.map(|named| named.key);
        for key in named.into_iter().chain(snapshot.named_by_trunk(request)) {
            let session = self.kept(key).await?;
            then.know(session.into_iter().filter(|it| it.created_at <= at));
        }
        for id in then.names.wanted(request, owner) {
            match self.kept(SessionKey::Session(id)).await?.filter(|it| it.session == id) {
                Some(session) => then.know([session]),
                None => then.lacking.push(id),
            }
        }
        self.all_are_sure().await?;
        Ok(then)
    }

    async fn told<const N: usize>(&self, asked: &[Asked; N]) -> Result<[Value; N], StoreFault> {
        let answers: Result<Vec<Value>, StoreFault> =
            self.ask(asked, For::Upkeep).await.into_iter().collect();
        answers?.try_into().map_err(|_| unread())
    }

    /// The session that an id names, live or not.
    async fn kept(&self, key: SessionKey) -> Result<Option<Session>, StoreFault> {
        let [answer] = self.told(&[self.get(key)]).await?;
        let kept: Option<Vec<u8>> = read(answer)?;
        let session = kept.as_deref().and_then(kept::read);
        Ok(session.filter(|it| key.names(it.session, it.ping)))
    }
}

impl Then {
    /// Sessions that it may have been of and that Redis knows no more.
    pub fn lacking(&self) -> &[SessionId] {
        &self.lacking
    }

    /// What somebody else knows of sessions.
    pub fn know(&mut self, sessions: impl IntoIterator<Item = Session>) {
        for session in sessions {
            self.lacking.retain(|it| *it != session.session);
            self.names.sessions.insert(session.session, session);
        }
    }

    /// What all that comes to.
    pub fn afterwards(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        owner: &NumberOwner<'_>,
    ) -> Afterwards {
        Afterwards {
            sessions: self.names.readings(snapshot, request, owner),
            lacks_some: !self.lacking.is_empty(),
            has_forgotten: self.has_forgotten,
        }
    }
}

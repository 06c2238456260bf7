//! What a ping or a visitor has opened.

use smol_str::SmolStr;
use thin_vec::ThinVec;

use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::quote::Promise;
use crate::routing::request::{FormerLease, SessionReading, Tags};
use crate::time::Wall;

use super::{KeptTags, VisitorKey};
use crate::routing::ping::request::TAGS_MAX;

/// What a ping opened. There may be millions: what most do not have is kept in pieces of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub session: SessionId,
    pub ping: PingId,
    pub publisher: PublisherId,
    pub campaign: CampaignId,
    pub caller: Option<PhoneNumber>,
    pub pool: Option<PoolId>,
    pub number: Option<PhoneNumber>,
    pub tags: KeptTags,
    /// What its ping said in fields that are not known here. Nothing goes by it.
    pub extra: KeptTags,
    pub request_id: Option<SmolStr>,
    pub kind: SessionKind,
    /// By which the visitor is known again.
    pub visitor: Option<SmolStr>,
    pub created_at: Wall,
    pub expires_at: Wall,
    /// When a call that uses it up was first attributed to it: one of another caller than it promises a price
    /// to does not.
    pub consumed_at: Option<Wall>,
    /// What its publisher was promised for a call, as it was told.
    pub promise: Option<Box<Promise>>,
    /// What enrichers answered, in the order in which they did.
    pub enriched: ThinVec<EnrichedBy>,
}

/// What an enricher answered of a session's caller, if only that it knows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrichedBy {
    pub enricher: SmolStr,
    pub tags: Tags,
}

/// What opened a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionKind {
    #[default]
    Ping,
    PageView,
    Form,
}

impl Session {
    /// What was promised, and whether it was for a call that came.
    pub fn promise_now(&self) -> Option<Promise> {
        let promise = self.promise.as_deref()?;
        Some(Promise { spent: self.consumed_at.is_some(), ..*promise })
    }

    /// The session as a call of it would find it, with nothing promised yet.
    pub fn announced(&self) -> SessionReading {
        SessionReading { promise: None, ..self.reading(self.number, None, None) }
    }

    /// The session as a call finds it. Of its number others know more: whether it has it, or has lost it
    /// (`former`), and how many see it (`sharing`).
    pub fn reading(
        &self,
        number: Option<PhoneNumber>,
        former: Option<FormerLease>,
        sharing: Option<u32>,
    ) -> SessionReading {
        SessionReading {
            session: self.session,
            ping: self.ping,
            publisher: self.publisher.clone(),
            campaign: self.campaign.clone(),
            number,
            caller: self.caller,
            created_at: self.created_at,
            expires_at: self.expires_at,
            tags: self.tags.to_tags(),
            former,
            sharing,
            promise: self.promise_now(),
            enriched: self.enriched_tags(),
        }
    }

    /// The same session with what another copy of it knows besides: the earlier use, who calls, what enrichers
    /// answered, and tags that it has none of.
    pub(super) fn with(mut self, other: &Self) -> Self {
        self.consumed_at = self.consumed_at.into_iter().chain(other.consumed_at).min();
        self.caller = self.caller.or(other.caller);
        for by in &other.enriched {
            if !self.enriched.iter().any(|known| known.enricher == by.enricher) {
                self.enriched.push(by.clone());
            }
        }
        for (name, value) in other.tags.iter() {
            if self.tags.len() < TAGS_MAX && !self.tags.contains_key(name) {
                self.tags.insert(name, value);
            }
        }
        self
    }

    /// All that enrichers told; where two told the same tag, what the first did.
    pub fn enriched_tags(&self) -> Tags {
        let mut told = Tags::new();
        for (tag, value) in self.enriched.iter().flat_map(|by| &by.tags) {
            told.entry(tag.clone()).or_insert_with(|| value.clone());
        }
        told
    }

    /// By which its visitor is known, if it has one.
    pub fn visitor_key(&self) -> Option<VisitorKey> {
        let visitor = self.visitor.clone()?;
        Some((self.publisher.clone(), self.campaign.clone(), self.pool.clone(), visitor))
    }
}

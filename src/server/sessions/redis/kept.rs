//! A session as Redis has it: when it ends and when it was first used, 16 digits each, then its ping,
//! then the rest as CBOR. Scripts change the digits where they stand.

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use crate::codec;
use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::Tags;
use crate::routing::ping::{EnrichedBy, Session, SessionKind};
use crate::routing::quote::Promise;
use crate::time::Wall;

const DIGITS: usize = 16;
const ID: usize = 16;

/// See the module.
#[derive(Encode, Decode)]
struct Rest {
    #[n(0)]
    publisher: PublisherId,
    #[n(1)]
    campaign: CampaignId,
    #[n(2)]
    created_at: Wall,
    #[cbor(n(3), with = "codec::tag_map")]
    tags: Tags,
    #[n(4)]
    caller: Option<PhoneNumber>,
    #[n(5)]
    pool: Option<PoolId>,
    #[n(6)]
    number: Option<PhoneNumber>,
    #[cbor(n(7), with = "codec::optional_text", has_nil)]
    request_id: Option<SmolStr>,
    #[cbor(n(8), with = "codec::optional_text", has_nil)]
    visitor: Option<SmolStr>,
    /// Absent: a ping.
    #[n(9)]
    kind: Option<u8>,
    #[n(10)]
    promise: Option<Promise>,
    #[n(11)]
    enriched: Vec<Answered>,
    #[cbor(n(12), with = "codec::tag_map")]
    extra: Tags,
}

/// What an enricher answered.
#[derive(Encode, Decode)]
struct Answered {
    #[cbor(n(0), with = "codec::text")]
    enricher: SmolStr,
    #[cbor(n(1), with = "codec::tag_map")]
    tags: Tags,
}

/// The parts that scripts are told.
pub(super) struct Written {
    pub(super) ends: String,
    pub(super) used: String,
    /// Begins with [`head`].
    pub(super) rest: Vec<u8>,
}

/// An instant as scripts compare them.
pub(super) fn digits(at: Wall) -> String {
    format!("{:0DIGITS$}", at.0.max(0))
}

/// By which a session is told from another that has the same key.
pub(super) fn head(session: SessionId) -> Vec<u8> {
    session.as_bytes().to_vec()
}

pub(super) fn write(session: &Session) -> Written {
    let mut rest = head(session.session);
    let body = Rest {
        publisher: session.publisher.clone(),
        campaign: session.campaign.clone(),
        created_at: session.created_at,
        tags: session.tags.to_tags(),
        caller: session.caller,
        pool: session.pool.clone(),
        number: session.number,
        request_id: session.request_id.clone(),
        visitor: session.visitor.clone(),
        kind: match session.kind {
            SessionKind::Ping => None,
            SessionKind::PageView => Some(1),
            SessionKind::Form => Some(2),
        },
        promise: session.promise.as_deref().copied(),
        enriched: session.enriched.iter().cloned().map(Answered::from).collect(),
        extra: session.extra.to_tags(),
    };
    minicbor::encode(&body, &mut rest).expect("memory takes all");
    let used = session.consumed_at.unwrap_or(Wall(0));
    Written { ends: digits(session.expires_at), used: digits(used), rest }
}

/// The session was used then, unless it was before; another that has the same key was not.
pub(super) fn use_first(kept: &mut [u8], session: SessionId, at: Wall) {
    let is_it = kept.get(2 * DIGITS..2 * DIGITS + ID) == Some(&session.as_bytes()[..]);
    let used = kept.get_mut(DIGITS..2 * DIGITS).filter(|used| used.iter().all(|it| *it == b'0'));
    if let Some(used) = used.filter(|_| is_it) {
        used.copy_from_slice(digits(at).as_bytes());
    }
}

/// `None`: nobody of ours wrote that.
pub(super) fn read(kept: &[u8]) -> Option<Session> {
    let (ends, kept) = kept.split_at_checked(DIGITS)?;
    let (used, kept) = kept.split_at_checked(DIGITS)?;
    let (id, rest) = kept.split_at_checked(ID)?;
    let at = |digits: &[u8]| str::from_utf8(digits).ok()?.parse().ok().map(Wall);
    let rest: Rest = minicbor::decode(rest).ok()?;
    let session = SessionId::from_bytes(id.try_into().ok()?);
    Some(Session {
        session,
        ping: PingId(session.0),
        publisher: rest.publisher,
        campaign: rest.campaign,
        caller: rest.caller,
        pool: rest.pool,
        number: rest.number,
        tags: rest.tags.into(),
        extra: rest.extra.into(),
        request_id: rest.request_id,
        kind: match rest.kind {
            Some(1) => SessionKind::PageView,
            Some(2) => SessionKind::Form,
            Some(_) | None => SessionKind::Ping,
        },
        visitor: rest.visitor,
        created_at: rest.created_at,
        expires_at: at(ends)?,
        consumed_at: at(used).filter(|at| at.0 > 0),
        promise: rest.promise.map(Box::new),
        enriched: rest.enriched.into_iter().map(EnrichedBy::from).collect(),
    })
}

impl From<EnrichedBy> for Answered {
    fn from(EnrichedBy { enricher, tags }: EnrichedBy) -> Self {
        Self { enricher, tags }
    }
}

impl From<Answered> for EnrichedBy {
    fn from(Answered { enricher, tags }: Answered) -> Self {
        Self { enricher, tags }
    }
}

#[cfg(test)]
mod tests {
    use thin_vec::ThinVec;

    use super::*;
    use crate::money::Money;
    use crate::routing::ping::KeptTags;

    #[test]
    fn a_session_is_read_as_it_was_written() {
        let id = [7; 16];
        let bare = Session {
            session: SessionId::from_bytes(id),
            ping: PingId::from_bytes(id),
            publisher: "pub_a".into(),
            campaign: "cmp_a".into(),
            caller: None,
            pool: None,
            number: None,
            tags: KeptTags::default(),
            extra: KeptTags::default(),
            request_id: None,
            kind: SessionKind::Ping,
            visitor: None,
            created_at: Wall(1_773_759_600_000),
            expires_at: Wall(1_773_759_700_000),
            consumed_at: None,
            promise: None,
            enriched: ThinVec::new(),
        };
        let full = Session {
            caller: PhoneNumber::from_digits(16_145_550_163),
            pool: Some("pool_a".into()),
            number: PhoneNumber::from_digits(18_005_550_100),
            tags: [("zip".into(), "43215".into())].into(),
            extra: [("colour".into(), "red".into())].into(),
            request_id: Some("r1".into()),
            kind: SessionKind::Form,
            visitor: Some("v1".into()),
            consumed_at: Some(Wall(1_773_759_650_000)),
            promise: Some(Box::new(Promise {
                payout: Money(24_000_000),
                payout_seconds: 90,
                until: Wall(1_773_759_660_000),
                no_duplicates: true,
                spent: false,
            })),
            enriched: [EnrichedBy {
                enricher: "lineinfo".into(),
                tags: [("line_type".into(), "mobile".into())].into(),
            }]
            .into(),
            ..bare.clone()
        };
        for session in [bare, full] {
            let Written { ends, used, rest } = write(&session);
            let mut kept = format!("{ends}{used}").into_bytes();
            kept.extend(rest);
            assert_eq!(read(&kept), Some(session.clone()));
            assert_eq!(read(&kept[..40]), None);

            let (mut others, at) = (kept.clone(), Wall(1_773_759_655_000));
            use_first(&mut others, SessionId::from_bytes([8; 16]), at);
            assert_eq!(others, kept);
            use_first(&mut kept, session.session, at);
            let first = session.consumed_at.unwrap_or(at);
            assert_eq!(read(&kept).unwrap().consumed_at, Some(first));
        }
    }
}

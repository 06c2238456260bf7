//! Which session a call belongs to (spec/domain §2.2).
//!
//! Campaign and publisher always come from the dialled number; only a call that dials a session's
//! own address and nothing else has them from the session. A session adds what is known about the
//! caller; it never moves the call. It is its publisher's: a call to a number of another knows nothing
//! of it and leaves it unused.

mod again;
mod named;

use std::cmp::Reverse;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};
use crate::time::Wall;

use super::config::Confidence;
use super::request::{RouteRequest, SessionReading};
use super::snapshot::{NumberOwner, RoutingSnapshot};

pub use again::{Afterwards, Again, again, owner_then, request_again};
pub use named::{Named, SessionKey};

/// A caller whose number is lent to someone else since less than this is taken for the former
/// visitor, and one who is not known is doubted (spec/data §3.3).
const RACE: Duration = Duration::from_secs(60);
/// A visitor who lost the number longer ago than this has no part in such a race.
pub const FORMER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long a caller is known by an earlier session.
pub const EARLIER_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Whose call it is, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attribution {
    #[n(0)]
    pub campaign: CampaignId,
    #[n(1)]
    pub publisher: PublisherId,
    /// Absent: a static number.
    #[n(2)]
    pub pool: Option<PoolId>,
    #[n(3)]
    pub method: Method,
    /// Zero when only the number is known.
    #[n(4)]
    pub confidence: Confidence,
    #[n(5)]
    pub session: Option<SessionId>,
    #[n(6)]
    pub ping: Option<PingId>,
    /// Age of the session.
    #[n(7)]
    pub age_ms: Option<u64>,
    /// More than one live session matched.
    #[n(8)]
    pub ambiguous: bool,
    /// The surest first, of those equally sure the newest, then those that do not match.
    #[n(9)]
    pub candidates: Vec<Candidate>,
    /// The number was lent again less than a minute before, so it may be its former visitor's call.
    #[cbor(n(10), default)]
    pub race: bool,
}

/// By what a call was matched, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Method {
    /// The address that was called names the session.
    #[n(3)]
    Address,
    /// A header that a publisher's trunk sends names it.
    #[n(4)]
    Header,
    /// The dialled number is lent to the session for calls of this caller.
    #[n(5)]
    CallerLease,
    /// It was until a moment ago, and is somebody else's since.
    #[n(6)]
    FormerLease,
    /// The dialled pool number is lent to the session.
    #[n(0)]
    PoolLease,
    /// A static number was dialled by the caller a live ping of the campaign named.
    #[n(1)]
    CallerPing,
    /// The dialled pool number rests, and was last lent to the session.
    #[n(7)]
    Quarantine,
    /// The dialled number is shown to the session and to others, since its pool had none left.
    #[n(9)]
    SharedNumber,
    /// An earlier session of the campaign named the caller.
    #[n(8)]
    EarlierSession,
    /// Only the number is known.
    #[n(2)]
    StaticMapping,
}

/// A session that was considered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Candidate {
    #[n(0)]
    pub session: SessionId,
    #[n(1)]
    pub verdict: CandidateVerdict,
    /// By what it matched; absent: it did not.
    #[n(2)]
    pub method: Option<Method>,
    /// How surely.
    #[n(3)]
    pub confidence: Option<Confidence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum CandidateVerdict {
    #[n(0)]
    Used,
    /// A surer or newer session matched.
    #[n(1)]
    Outranked,
    /// The match is less sure than the campaign asks for.
    #[n(2)]
    BelowMinimum,
    #[n(3)]
    Expired,
    #[n(4)]
    OtherCampaign,
    /// Neither its number nor its caller is that of the call.
    #[n(5)]
    NoMatch,
    /// It is not of the publisher whose number was dialled, or whose trunk named it.
    #[n(6)]
    OtherPublisher,
}

impl CandidateVerdict {
    /// Each of them.
    pub const ALL: &[Self] = &[
        Self::Used,
        Self::Outranked,
        Self::BelowMinimum,
        Self::Expired,
        Self::OtherCampaign,
        Self::OtherPublisher,
        Self::NoMatch,
    ];
}

impl Method {
    /// Each of them, the surest first.
    pub const ALL: &[Self] = &[
        Self::Address,
        Self::Header,
        Self::CallerLease,
        Self::FormerLease,
        Self::PoolLease,
        Self::CallerPing,
        Self::Quarantine,
        Self::SharedNumber,
        Self::EarlierSession,
        Self::StaticMapping,
    ];

    /// As in CDRs, such as `pool_lease`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Header => "header",
            Self::CallerLease => "caller_lease",
            Self::FormerLease => "former_lease",
            Self::PoolLease => "pool_lease",
            Self::CallerPing => "caller_ping",
            Self::Quarantine => "quarantine",
            Self::SharedNumber => "shared_number",
            Self::EarlierSession => "earlier_session",
            Self::StaticMapping => "static_mapping",
        }
    }

    /// How sure it is, of a shared number at best.
    pub fn confidence(self) -> Confidence {
        match self {
            Self::Address | Self::Header => Confidence(100),
            Self::CallerLease | Self::PoolLease | Self::SharedNumber => Confidence(99),
            Self::FormerLease | Self::CallerPing => Confidence(90),
            Self::Quarantine => Confidence(70),
            Self::EarlierSession => Confidence(50),
            Self::StaticMapping => Confidence(0),
        }
    }

    /// How sure it is that the call is of this session.
    fn confidence_in(self, session: &SessionReading) -> Confidence {
        let sharing = session.sharing.filter(|_| self == Self::SharedNumber).unwrap_or(1);
        let part = u8::try_from(100 / sharing.max(1)).unwrap_or(100);
        self.confidence().min(Confidence(part))
    }

    /// Whether it takes a session that is live.
    fn is_of_live(self) -> bool {
        match self {
            Self::Address
            | Self::Header
            | Self::CallerLease
            | Self::PoolLease
            | Self::CallerPing
            | Self::SharedNumber => true,
            Self::FormerLease | Self::Quarantine | Self::EarlierSession | Self::StaticMapping => {
                false
            }
        }
    }
}

impl Attribution {
    /// The session that was found and is not used since the match is less sure than the campaign asks
    /// for.
    pub fn below_minimum(&self) -> Option<&Candidate> {
        self.candidates.iter().find(|it| it.verdict == CandidateVerdict::BelowMinimum)
    }
}

/// Whose call it is: by the dialled number, or, where the call names a session and no number, by
/// that.
pub fn owner<'a>(
    snapshot: &'a RoutingSnapshot,
    request: &RouteRequest,
    sessions: &[SessionReading],
) -> Option<NumberOwner<'a>> {
    let of_number = snapshot.number(request.dialed);
    let Some(Named { key, is_all: true }) = request.named else { return of_number };
    let Some(session) = sessions.iter().find(|it| key.is_of(it)) else { return of_number };
    let (campaign, publisher) =
        (snapshot.campaign(&session.campaign)?, snapshot.publisher(&session.publisher)?);
    let is_same =
        |it: &NumberOwner<'_>| it.campaign.id == campaign.id && it.publisher.id == publisher.id;
    let pool = of_number.filter(is_same).and_then(|it| it.pool);
    Some(NumberOwner { campaign, publisher, pool })
}

/// Finds the session of a call among `sessions`. Their order does not matter.
pub fn attribute<'s>(
    owner: &NumberOwner<'_>,
    trunk: TrunkWord<'_>,
    request: &RouteRequest,
    sessions: &'s [SessionReading],
) -> (Attribution, Option<&'s SessionReading>) {
    let call = Matching { owner, trunk, request, lent_at: lent_at(request, sessions) };
    let mut found: Vec<_> =
        sessions.iter().map(|session| (session, call.matches(session))).collect();
    found.sort_by_key(|(session, matched)| {
        let rank = matched.map_err(|_| ());
        (rank.is_err(), rank.ok(), Reverse(session.created_at), Reverse(session.session))
    });
    let is_sure = |(session, method): &(&SessionReading, Method)| {
        method.confidence_in(session) >= owner.campaign.min_match_confidence
    };
    let matching = found.iter().filter_map(|(session, it)| Some((*session, it.ok()?)));
    // A number's former caller is not its new visitor, however surely that one has it.
    let may_be_another = matching.clone().next().is_none_or(|(_, it)| it != Method::FormerLease);
    let considered = if may_be_another { usize::MAX } else { 1 };
    let place = matching.clone().take(considered).position(|it| is_sure(&it));
    let used = place.and_then(|place| matching.clone().nth(place));
    let candidates = found.iter().enumerate().map(|(at, (session, matched))| Candidate {
        session: session.session,
        verdict: match matched {
            Err(verdict) => *verdict,
            Ok(_) if Some(at) == place => CandidateVerdict::Used,
            Ok(_) if at < place.unwrap_or(1) => CandidateVerdict::BelowMinimum,
            Ok(_) => CandidateVerdict::Outranked,
        },
        method: matched.ok(),
        confidence: matched.ok().map(|method| method.confidence_in(session)),
    });
    let candidates = candidates.collect();
    let live = found.iter().filter(|(_, it)| it.is_ok_and(Method::is_of_live));
    let method = used.map_or(Method::StaticMapping, |(_, method)| method);
    let session = used.map(|(session, _)| session);
    let attribution = Attribution {
        campaign: owner.campaign.id.clone(),
        publisher: owner.publisher.id.clone(),
        pool: owner.pool.map(|pool| pool.id.clone()),
        method,
        confidence: session.map_or_else(|| method.confidence(), |it| method.confidence_in(it)),
        session: session.map(|session| session.session),
        ping: session.map(|session| session.ping),
        age_ms: session.map(|session| {
            u64::try_from(request.at.0.saturating_sub(session.created_at.0)).unwrap_or(0)
        }),
        ambiguous: live.count() > 1,
        candidates,
        race: method == Method::PoolLease && sessions.iter().any(|it| call.may_be_former(it)),
    };
    (attribution, session)
}

/// What the trunk of a call says of its session.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrunkWord<'a> {
    /// Whose trunk it is; absent: a carrier's.
    pub publisher: Option<&'a PublisherId>,
    /// What its header names.
    pub key: Option<SessionKey>,
}

/// A call that is compared with sessions.
struct Matching<'a> {
    owner: &'a NumberOwner<'a>,
    trunk: TrunkWord<'a>,
    request: &'a RouteRequest,
    /// Since when the dialled number is lent to whom it is lent to.
    lent_at: Option<Wall>,
}

impl Matching<'_> {
    fn matches(&self, session: &SessionReading) -> Result<Method, CandidateVerdict> {
        let Self { owner, trunk, request, .. } = self;
        if session.campaign != owner.campaign.id {
            return Err(CandidateVerdict::OtherCampaign);
        }
        if session.publisher != owner.publisher.id {
            return Err(CandidateVerdict::OtherPublisher);
        }
        let is_live = request.at < session.expires_at;
        let by_address = request.named.is_some_and(|named| named.key.is_of(session));
        if by_address || trunk.key.is_some_and(|key| key.is_of(session)) {
            if trunk.publisher.is_some_and(|publisher| *publisher != session.publisher) {
                return Err(CandidateVerdict::OtherPublisher);
            }
            if is_live {
                return Ok(if by_address { Method::Address } else { Method::Header });
            }
        }
        let is_pool = owner.pool.is_some();
        let (is_number, is_caller) = (self.has_number(session), self.has_caller(session));
        let is_its = is_number && session.former.is_none();
        match is_live {
            true if is_its && is_caller => return Ok(Method::CallerLease),
            true if is_its && is_pool => return Ok(Method::PoolLease),
            true if is_caller && !is_pool => return Ok(Method::CallerPing),
            true if is_its && session.sharing.is_some() => return Ok(Method::SharedNumber),
            true | false => {}
        }
        if is_caller && self.may_be_former(session) {
            return Ok(Method::FormerLease);
        }
        let rests = session.former.is_some_and(|former| request.at < former.rests_until);
        if is_number && is_pool && rests && self.lent_at.is_none() {
            return Ok(Method::Quarantine);
        }
        if is_caller && request.at.0 <= (session.created_at + EARLIER_MAX).0 {
            return Ok(Method::EarlierSession);
        }
        Err(if is_live { CandidateVerdict::NoMatch } else { CandidateVerdict::Expired })
    }

    /// Whether the number was lent again so shortly before the call that this session, which had it
    /// before, may be the one behind it.
    fn may_be_former(&self, session: &SessionReading) -> bool {
        let Self { owner, request, .. } = self;
        let Some((lent_at, former)) = self.lent_at.zip(session.former) else { return false };
        owner.pool.is_some()
            && session.campaign == owner.campaign.id
            && session.publisher == owner.publisher.id
            && self.has_number(session)
            && request.at.0 < (lent_at + RACE).0
            && request.at.0 <= (former.ended_at + FORMER_MAX).0
    }

    fn has_number(&self, session: &SessionReading) -> bool {
        session.number == Some(self.request.dialed)
    }

    fn has_caller(&self, session: &SessionReading) -> bool {
        self.request.caller.is_some() && session.caller == self.request.caller
    }
}

/// Since when the dialled number is lent to its visitor.
fn lent_at(request: &RouteRequest, sessions: &[SessionReading]) -> Option<Wall> {
    let holds = |it: &&SessionReading| {
        it.number == Some(request.dialed) && it.former.is_none() && request.at < it.expires_at
    };
    sessions.iter().filter(holds).map(|it| it.created_at).max()
}

impl SessionKey {
    fn is_of(self, session: &SessionReading) -> bool {
        self.names(session.session, session.ping)
    }

    /// Whether it is the session's, or that of the ping which opened it.
    pub fn names(self, session: SessionId, of: PingId) -> bool {
        match self {
            Self::Ping(ping) => ping == of,
            Self::Session(id) => id == session,
            Self::Alias(alias) => alias == Self::alias_of(of),
        }
    }
}

#[cfg(test)]
mod tests;

//! Which session a call belongs to (spec/domain §2.2, orders 4, 5 and 8).
//!
//! Campaign and publisher always come from the dialled number. A session adds what is known about
//! the caller; it never moves the call.

use std::cmp::Reverse;

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::id::{CampaignId, PingId, PoolId, PublisherId, SessionId};

use super::config::Confidence;
use super::request::{RouteRequest, SessionReading};
use super::snapshot::NumberOwner;

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
    #[n(9)]
    pub candidates: Vec<Candidate>,
}

/// By what a call was matched, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Method {
    /// The dialled pool number is lent to the session.
    #[n(0)]
    PoolLease,
    /// A static number was dialled by the caller a live ping of the campaign named.
    #[n(1)]
    CallerPing,
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
}

impl Method {
    /// As in CDRs, such as `pool_lease`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PoolLease => "pool_lease",
            Self::CallerPing => "caller_ping",
            Self::StaticMapping => "static_mapping",
        }
    }

    pub fn confidence(self) -> Confidence {
        match self {
            Self::PoolLease => Confidence(99),
            Self::CallerPing => Confidence(90),
            Self::StaticMapping => Confidence(0),
        }
    }
}

/// Finds the session of a call among `sessions`. Their order does not matter.
pub fn attribute<'s>(
    owner: &NumberOwner<'_>,
    request: &RouteRequest,
    sessions: &'s [SessionReading],
) -> (Attribution, Option<&'s SessionReading>) {
    let found: Vec<_> =
        sessions.iter().map(|session| (session, matching(owner, request, session))).collect();
    let best = found
        .iter()
        .filter_map(|(session, matched)| matched.ok().map(|method| (*session, method)))
        .min_by_key(|(session, method)| {
            (*method, Reverse(session.created_at), Reverse(session.session))
        });
    let used =
        best.filter(|(_, method)| method.confidence() >= owner.campaign.min_match_confidence);
    let candidates = found
        .iter()
        .map(|(session, matched)| Candidate {
            session: session.session,
            verdict: match matched {
                Err(verdict) => *verdict,
                Ok(_) if best.is_some_and(|(best, _)| best.session != session.session) => {
                    CandidateVerdict::Outranked
                }
                Ok(_) if used.is_none() => CandidateVerdict::BelowMinimum,
                Ok(_) => CandidateVerdict::Used,
            },
        })
        .collect();
    let method = used.map_or(Method::StaticMapping, |(_, method)| method);
    let session = used.map(|(session, _)| session);
    let attribution = Attribution {
        campaign: owner.campaign.id.clone(),
        publisher: owner.publisher.id.clone(),
        pool: owner.pool.map(|pool| pool.id.clone()),
        method,
        confidence: method.confidence(),
        session: session.map(|session| session.session),
        ping: session.map(|session| session.ping),
        age_ms: session.map(|session| {
            u64::try_from(request.at.0.saturating_sub(session.created_at.0)).unwrap_or(0)
        }),
        ambiguous: found.iter().filter(|(_, matched)| matched.is_ok()).count() > 1,
        candidates,
    };
    (attribution, session)
}

fn matching(
    owner: &NumberOwner<'_>,
    request: &RouteRequest,
    session: &SessionReading,
) -> Result<Method, CandidateVerdict> {
    if session.campaign != owner.campaign.id {
        return Err(CandidateVerdict::OtherCampaign);
    }
    if request.at >= session.expires_at {
        return Err(CandidateVerdict::Expired);
    }
    match owner.pool {
        Some(_) if session.number == Some(request.dialed) => Ok(Method::PoolLease),
        None if request.caller.is_some() && session.caller == request.caller => {
            Ok(Method::CallerPing)
        }
        Some(_) | None => Err(CandidateVerdict::NoMatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CallId;
    use crate::phone::PhoneNumber;
    use crate::routing::config::RoutingConfig;
    use crate::routing::request::Tags;
    use crate::routing::snapshot::RoutingSnapshot;
    use crate::time::Wall;

    const POOL: &str = "+16145550101";
    const STATIC: &str = "+18005550100";
    const CALLER: &str = "+16145550188";

    #[test]
    fn a_live_lease_of_the_dialled_pool_number_is_surest() {
        let lent = SessionReading { number: number(POOL), ..session(1) };
        let (attribution, used) = attributed(POOL, Some(CALLER), std::slice::from_ref(&lent));
        assert_eq!(used, Some(lent.clone()));
        assert_eq!(
            attribution,
            Attribution {
                campaign: "cmp".into(),
                publisher: "pub".into(),
                pool: Some("pool".into()),
                method: Method::PoolLease,
                confidence: Confidence(99),
                session: Some(lent.session),
                ping: Some(lent.ping),
                age_ms: Some(9_000),
                ambiguous: false,
                candidates: vec![Candidate {
                    session: lent.session,
                    verdict: CandidateVerdict::Used
                }],
            }
        );
    }

    #[test]
    fn a_caller_is_recognised_on_a_static_number_only() {
        let pinged = SessionReading { caller: number(CALLER), ..session(1) };
        let on = |dialed| attributed(dialed, Some(CALLER), std::slice::from_ref(&pinged)).0.method;
        assert_eq!(on(STATIC), Method::CallerPing);
        assert_eq!(on(POOL), Method::StaticMapping);
    }

    #[test]
    fn an_anonymous_caller_matches_no_anonymous_ping() {
        let (attribution, used) = attributed(STATIC, None, &[session(1)]);
        assert_eq!((attribution.method, used), (Method::StaticMapping, None));
    }

    #[test]
    fn of_two_that_match_the_newest_is_used_and_the_doubt_is_noted() {
        let pinged = |n, created| SessionReading {
            caller: number(CALLER),
            created_at: Wall(created),
            ..session(n)
        };
        let sessions = [pinged(1, 5_000), pinged(2, 7_000), pinged(3, 6_000)];

        let (attribution, used) = attributed(STATIC, Some(CALLER), &sessions);

        assert_eq!(used.as_ref(), Some(&sessions[1]));
        assert!(attribution.ambiguous);
        let verdicts: Vec<_> = attribution.candidates.iter().map(|c| c.verdict).collect();
        let outranked = CandidateVerdict::Outranked;
        assert_eq!(verdicts, [outranked, CandidateVerdict::Used, outranked]);
    }

    #[test]
    fn what_is_expired_or_of_another_campaign_is_not_used() {
        let expired =
            SessionReading { caller: number(CALLER), expires_at: Wall(10_000), ..session(1) };
        let elsewhere =
            SessionReading { caller: number(CALLER), campaign: "other".into(), ..session(2) };
        let (attribution, used) = attributed(STATIC, Some(CALLER), &[expired, elsewhere]);
        assert_eq!((used, attribution.ambiguous), (None, false));
        let verdicts: Vec<_> = attribution.candidates.iter().map(|c| c.verdict).collect();
        assert_eq!(verdicts, [CandidateVerdict::Expired, CandidateVerdict::OtherCampaign]);
    }

    #[test]
    fn a_session_of_another_publisher_does_not_move_the_call() {
        let pinged =
            SessionReading { caller: number(CALLER), publisher: "someone".into(), ..session(1) };
        let (attribution, used) = attributed(STATIC, Some(CALLER), &[pinged]);
        assert!(used.is_some());
        assert_eq!(attribution.publisher, "pub".into());
    }

    #[test]
    fn a_match_below_the_minimum_is_not_used() {
        let pinged = SessionReading { caller: number(CALLER), ..session(1) };
        let snapshot = snapshot("min_match_confidence = 0.95");
        let owner = snapshot.number(STATIC.parse().unwrap()).unwrap();
        let sessions = [pinged];

        let (attribution, used) = attribute(&owner, &request(STATIC, Some(CALLER)), &sessions);

        assert_eq!((attribution.method, used), (Method::StaticMapping, None));
        assert_eq!(attribution.candidates[0].verdict, CandidateVerdict::BelowMinimum);
    }

    fn attributed(
        dialed: &str,
        caller: Option<&str>,
        sessions: &[SessionReading],
    ) -> (Attribution, Option<SessionReading>) {
        let snapshot = snapshot("");
        let owner = snapshot.number(dialed.parse().unwrap()).unwrap();
        let (attribution, used) = attribute(&owner, &request(dialed, caller), sessions);
        (attribution, used.cloned())
    }

    fn snapshot(campaign_setting: &str) -> RoutingSnapshot {
        let config: RoutingConfig = toml::from_str(&format!(
            r#"
            publishers = [{{ id = "pub" }}]
            buyers = [{{ id = "buy" }}]
            targets = [{{ id = "t", buyer = "buy", dial = {{ kind = "sip", uri = "sip:a" }} }}]
            [[pools]]
            id = "pool"
            campaign = "cmp"
            publisher = "pub"
            numbers = ["{POOL}"]
            [[campaigns]]
            id = "cmp"
            publisher = "pub"
            numbers = ["{STATIC}"]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            {campaign_setting}
            "#
        ))
        .unwrap();
        RoutingSnapshot::compile(config, 1).unwrap()
    }

    fn request(dialed: &str, caller: Option<&str>) -> RouteRequest {
        RouteRequest {
            call: CallId::from_bytes([9; 16]),
            at: Wall(10_000),
            dialed: dialed.parse().unwrap(),
            caller: caller.and_then(number),
            trunk: "trk".into(),
            tags: Tags::new(),
        }
    }

    fn session(n: u8) -> SessionReading {
        SessionReading {
            session: SessionId::from_bytes([n; 16]),
            ping: PingId::from_bytes([n; 16]),
            publisher: "pub".into(),
            campaign: "cmp".into(),
            number: None,
            caller: None,
            created_at: Wall(1_000),
            expires_at: Wall(60_000),
            tags: Tags::new(),
        }
    }

    fn number(text: &str) -> Option<PhoneNumber> {
        text.parse().ok()
    }
}

//! Whose a call was that had to be matched without the store of sessions: by the same rules, from what the
//! store says afterwards of the instant of its INVITE (spec/data §3.5).
//!
//! A call keeps its campaign and its publisher, whatever is found.

use crate::id::SessionId;
use crate::routing::request::{RouteRequest, SessionReading};
use crate::routing::snapshot::{NumberOwner, RoutingSnapshot};

use super::{Attribution, Method, Named, SessionKey, attribute};

/// What is known afterwards of the sessions that a call may have been of, as they were at its instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Afterwards {
    pub sessions: Vec<SessionReading>,
    /// There are others, of which nothing is known but that they were.
    pub lacks_some: bool,
    /// More may have been by then than is remembered.
    pub has_forgotten: bool,
}

/// What comes of looking at a call again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// As it was matched.
    Same,
    Found(Attribution),
    /// It may be of a session of which too little is known.
    SessionGone,
    /// It may be of a session that nobody remembers.
    Forgotten,
}

/// Whose the call is, as it was decided; `None`: that configuration is not this one.
pub fn owner_then<'a>(snapshot: &'a RoutingSnapshot, was: &Attribution) -> Option<NumberOwner<'a>> {
    let pool = match &was.pool {
        Some(pool) => Some(snapshot.pool(pool)?),
        None => None,
    };
    let campaign = snapshot.campaign(&was.campaign)?;
    Some(NumberOwner { campaign, publisher: snapshot.publisher(&was.publisher)?, pool })
}

/// The call as it asks again: one to the address of a session that nobody could find had only its number to
/// go by. `dialed` is the user part of its address.
pub fn request_again(request: &RouteRequest, dialed: &str) -> RouteRequest {
    let key = SessionKey::from_user(dialed.as_bytes());
    let named = request.named.or_else(|| key.map(|key| Named { key, is_all: false }));
    RouteRequest { named, ..request.clone() }
}

/// Matches the call of `was` again.
pub fn again(
    snapshot: &RoutingSnapshot,
    owner: &NumberOwner<'_>,
    request: &RouteRequest,
    was: &Attribution,
    then: &Afterwards,
) -> Again {
    let trunk = snapshot.trunk_word(request);
    let (attribution, _) = attribute(owner, trunk, request, &then.sessions);
    // No session that is not known could be surer.
    let is_sure = attribution.session.is_some() && attribution.method <= Method::PoolLease;
    if then.has_forgotten && !is_sure {
        return Again::Forgotten;
    }
    let is_known = |session: SessionId| then.sessions.iter().any(|it| it.session == session);
    // A session is taken from a call only by who knows how it was with it.
    let is_taken = attribution.session.is_none() && was.session.is_some_and(|it| !is_known(it));
    if then.lacks_some && !is_sure || is_taken {
        return Again::SessionGone;
    }
    let told = |it: &Attribution| (it.session, it.method, it.confidence);
    if told(&attribution) == told(was) { Again::Same } else { Again::Found(attribution) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        CALLER, NOW, POOL, STATIC, ago, number, request, rests, session, snapshot,
    };
    use super::*;
    use crate::routing::config::Confidence;

    fn lent(n: u8) -> SessionReading {
        SessionReading { number: number(POOL), ..session(n) }
    }

    fn whole(sessions: &[SessionReading]) -> Afterwards {
        Afterwards { sessions: sessions.to_vec(), ..Afterwards::default() }
    }

    /// Of a call that was matched with these.
    fn looked(
        call: &RouteRequest,
        before: &[SessionReading],
        then: &Afterwards,
    ) -> (Attribution, Again) {
        let snapshot = snapshot("");
        let of_number = snapshot.number(call.dialed).unwrap();
        let (was, _) = attribute(&of_number, snapshot.trunk_word(call), call, before);
        let owner = owner_then(&snapshot, &was).unwrap();
        assert_eq!(owner, of_number);
        let found = again(&snapshot, &owner, call, &was, then);
        (was, found)
    }

    fn found(again: Again) -> (Option<SessionId>, Method, Confidence) {
        match again {
            Again::Found(it) => (it.session, it.method, it.confidence),
            other @ (Again::Same | Again::SessionGone | Again::Forgotten) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_is_of_who_had_its_number_and_stays_with_its_publisher() {
        let call = request(POOL, None);
        let (was, looked_at) = looked(&call, &[], &whole(&[lent(1)]));
        assert_eq!((was.session, was.method), (None, Method::StaticMapping));
        let expected = (Some(session(1).session), Method::PoolLease, Confidence(99));
        assert_eq!(found(looked_at), expected);

        let others = SessionReading { publisher: "someone".into(), ..lent(1) };
        assert_eq!(looked(&call, &[], &whole(&[others])).1, Again::Same);
        let others = SessionReading { campaign: "other".into(), ..lent(1) };
        assert_eq!(looked(&call, &[], &whole(&[others])).1, Again::Same);
    }

    #[test]
    fn who_was_thought_to_have_a_number_gives_the_call_back() {
        let call = request(POOL, None);
        let (_, looked_at) = looked(&call, &[lent(1)], &whole(&[lent(2)]));
        assert_eq!(found(looked_at).0, Some(session(2).session));

        let former = SessionReading { former: rests(60, 900), ..lent(1) };
        let (_, looked_at) = looked(&call, &[lent(1)], &whole(&[former]));
        assert_eq!(found(looked_at), (None, Method::StaticMapping, Confidence(0)));

        assert_eq!(looked(&call, &[lent(1)], &whole(&[lent(1)])).1, Again::Same);
        assert_eq!(looked(&call, &[lent(1)], &whole(&[])).1, Again::SessionGone);
    }

    #[test]
    fn what_is_not_known_any_more_leaves_a_call_as_it_is_unless_somebody_is_sure() {
        let call = request(STATIC, Some(CALLER));
        let pinged = SessionReading { caller: number(CALLER), ..session(1) };
        let found_by_caller = found(looked(&call, &[], &whole(std::slice::from_ref(&pinged))).1);
        assert_eq!(found_by_caller.1, Method::CallerPing);
        for sessions in [vec![], vec![pinged]] {
            let lacking = Afterwards { lacks_some: true, ..whole(&sessions) };
            assert_eq!(looked(&call, &[], &lacking).1, Again::SessionGone);
            let forgetful = Afterwards { has_forgotten: true, ..whole(&sessions) };
            assert_eq!(looked(&call, &[], &forgetful).1, Again::Forgotten);
        }

        let sure = Afterwards { lacks_some: true, has_forgotten: true, ..whole(&[lent(1)]) };
        let found = found(looked(&request(POOL, None), &[], &sure).1);
        assert_eq!(found.0, Some(session(1).session));
    }

    #[test]
    fn a_call_to_an_address_asks_for_its_session_though_it_had_to_go_by_a_number() {
        let named = session(1);
        let call = request(STATIC, None);
        let again = request_again(&call, &SessionKey::address_of(named.ping));
        assert_eq!(
            found(looked(&again, &[], &whole(std::slice::from_ref(&named))).1).1,
            Method::Address
        );

        let over = SessionReading { expires_at: ago(1), ..named };
        assert_eq!(looked(&again, &[], &whole(&[over])).1, Again::Same);
        assert_eq!(request_again(&call, STATIC), call);
        assert!(NOW.0 > ago(1).0);
    }

    #[test]
    fn what_the_configuration_does_not_have_owns_nothing() {
        let snapshot = snapshot("");
        let call = request(POOL, None);
        let owner = snapshot.number(call.dialed).unwrap();
        let (was, _) = attribute(&owner, snapshot.trunk_word(&call), &call, &[]);
        for other in [
            Attribution { campaign: "gone".into(), ..was.clone() },
            Attribution { publisher: "gone".into(), ..was.clone() },
            Attribution { pool: Some("gone".into()), ..was },
        ] {
            assert_eq!(owner_then(&snapshot, &other), None);
        }
    }
}

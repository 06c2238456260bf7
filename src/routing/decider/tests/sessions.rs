//! Calls that name their session, and trunks nobody knows.

use super::*;
use crate::routing::attribution::{Named, SessionKey};

#[test]
fn a_call_that_dials_nothing_but_a_dead_session_goes_nowhere() {
    let live = session(Wall(i64::MAX));
    let over = session(OPEN);
    for (session, refused) in [(live, None), (over, Some(Reason::SessionUnknown))] {
        let key = SessionKey::Ping(session.ping);
        let request =
            RouteRequest { named: Some(Named { key, is_all: true }), ..request("+18005550100") };
        let sessions = std::slice::from_ref(&session);
        let known = Known { sessions, calls: &[] };
        let mut rotation = Rotation::default();
        let decision = decide(&snapshot(CONFIG), &request, known, &nothing_used(), &mut rotation);
        assert_eq!(decision.refused, refused);
        let said = decision.explain_first(0).join("\n");
        assert_eq!(said.contains("the address names no session that is live"), refused.is_some());
        // With a number beside it, it is a call to the number.
        let request = RouteRequest { named: Some(Named { key, is_all: false }), ..request };
        let decision = decide(&snapshot(CONFIG), &request, known, &nothing_used(), &mut rotation);
        assert_eq!(decision.refused, None);
    }
}

#[test]
fn a_call_over_a_trunk_that_is_not_configured_is_refused() {
    let config = format!("trunks = [{{ id = \"known\" }}]\n{CONFIG}");
    for (trunk, refused) in [("known", None), ("gone", Some(Reason::TrunkUnknown)), ("", None)] {
        let request = RouteRequest { trunk: trunk.into(), ..request("+18005550100") };
        assert_eq!(decide_with(&config, &request, &nothing_used()).refused, refused, "{trunk}");
        assert_eq!(decide_with(CONFIG, &request, &nothing_used()).refused, None);
    }
}

fn session(expires_at: Wall) -> SessionReading {
    SessionReading {
        session: SessionId::from_bytes([1; 16]),
        ping: PingId::from_bytes([1; 16]),
        publisher: "pub_bright".into(),
        campaign: "cmp_hvac".into(),
        number: None,
        caller: None,
        created_at: Wall(OPEN.0 - 1_000),
        expires_at,
        tags: Tags::new(),
        former: None,
        sharing: None,
        promise: None,
        enriched: Tags::new(),
    }
}

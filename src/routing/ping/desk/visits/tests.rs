//! Visitors: known again, kept, let go.

use super::super::tests::{at, desk, desk_of, ids};
use super::*;
use crate::routing::ping::NumberStatus;

fn visit(visitor: &str) -> VisitRequest {
    let visitor_id = Some(visitor.into());
    VisitRequest { pool: Some("pool".into()), visitor_id, ..VisitRequest::default() }
}

fn opened(desk: &mut Desk, snapshot: &RoutingSnapshot, visitor: &str, n: u8, s: i64) -> Visit {
    desk.visit(snapshot, &visit(visitor), ids(n), at(s), |_, _| Ok(())).unwrap()
}

#[test]
fn a_visitor_keeps_session_and_number_for_as_long_as_it_shows_itself() {
    let (snapshot, mut desk) = desk();
    let first = opened(&mut desk, &snapshot, "v", 1, 0);
    let number = first.accepted.number;
    assert_eq!(first.accepted.expires_at, at(1_800));

    let nothing = VisitUpdate::default();
    let id = first.accepted.session;
    let touched = desk.touch(&snapshot, id, &nothing, at(1_700)).unwrap().unwrap();
    assert_eq!((touched.number, touched.expires_at), (number, at(3_500)));

    let again = opened(&mut desk, &snapshot, "v", 2, 3_400);
    assert_eq!((again.accepted.session, again.accepted.number), (id, number));
    assert_eq!(again.moved.unwrap().expires_at, at(5_200));
    assert!(desk.touch(&snapshot, id, &nothing, at(5_200)).unwrap().is_none(), "it is over");
    assert_ne!(opened(&mut desk, &snapshot, "v", 3, 5_200).accepted.number, number, "it rests");
}

#[test]
fn a_closed_page_lets_the_number_go_after_a_while_and_into_its_rest() {
    let (snapshot, mut desk) = desk();
    let one = opened(&mut desk, &snapshot, "a", 1, 0).accepted;
    opened(&mut desk, &snapshot, "b", 2, 0);

    assert_eq!(desk.release(&snapshot, one.session, at(100)).unwrap().expires_at, at(400));

    let number = one.number.unwrap();
    assert!(desk.by_number(number, at(399)).is_some());
    assert!(desk.by_number(number, at(400)).is_none());
    let resting = opened(&mut desk, &snapshot, "c", 3, 1_299).accepted;
    assert_eq!(resting.number, None);
    assert_eq!(opened(&mut desk, &snapshot, "d", 4, 1_300).accepted.number, Some(number));
}

#[test]
fn a_closed_page_leaves_the_number_to_its_visitor_for_a_while_after_a_call() {
    let (snapshot, mut desk) = desk_of("", "closed_browser_delay_s = 5");
    let one = opened(&mut desk, &snapshot, "a", 1, 0).accepted;
    let number = one.number.unwrap();
    desk.call_started(number, at(10));
    desk.call_ended(number, at(100));

    assert_eq!(desk.release(&snapshot, one.session, at(107)).unwrap().expires_at, at(400));
    assert_eq!(desk.by_number(number, at(399)).unwrap().session, one.session);
    assert!(desk.by_number(number, at(400)).is_none());

    let other = opened(&mut desk, &snapshot, "b", 2, 500).accepted;
    assert_eq!(desk.release(&snapshot, other.session, at(501)).unwrap().expires_at, at(506));
}

#[test]
fn a_visitor_whose_number_another_has_is_shown_it_no_more() {
    let idle = "take_idle_after_s = 60, closed_browser_delay_s = 1, quarantine_s = 1";
    for (of_pool, instead, status) in [
        (idle.to_owned(), None, NumberStatus::Exhausted),
        (
            format!("{idle}, overflow_number = \"+16145550199\""),
            Some("+16145550199".parse().unwrap()),
            NumberStatus::Shared,
        ),
    ] {
        let (snapshot, mut desk) = desk_of("", &of_pool);
        let first = opened(&mut desk, &snapshot, "a", 1, 0).accepted;
        opened(&mut desk, &snapshot, "b", 2, 1);
        let taking = opened(&mut desk, &snapshot, "c", 3, 62).accepted;
        opened(&mut desk, &snapshot, "d", 4, 62);
        assert_eq!(taking.number, first.number);

        let nothing = VisitUpdate::default();
        let touched = desk.touch(&snapshot, first.session, &nothing, at(63)).unwrap().unwrap();
        assert_eq!(touched.number, instead);
        assert_eq!(touched.moved.unwrap().shows, Shows::without_lease(instead));
        let again = opened(&mut desk, &snapshot, "a", 5, 64);
        assert_eq!((again.accepted.session, again.accepted.number), (first.session, instead));
        assert_eq!(again.accepted.number_status, status);
        assert_eq!(again.moved.unwrap().shows, Shows::AsBefore, "it was said");
        let sharing = instead.map_or(0, |number| desk.number_state(number, at(64)).sharing);
        assert_eq!(sharing, usize::from(instead.is_some()));

        desk.release(&snapshot, taking.session, at(65));
        let back = opened(&mut desk, &snapshot, "a", 6, 70);
        assert_eq!((back.accepted.session, back.accepted.number), (first.session, first.number));
        assert_eq!(back.moved.unwrap().shows, Shows::Number(first.number.unwrap()));
        let sharing = instead.map_or(0, |number| desk.number_state(number, at(70)).sharing);
        assert_eq!(sharing, 0);
    }
}

#[test]
fn a_form_tells_who_the_visitor_of_a_page_is() {
    let (snapshot, mut desk) = desk();
    let page = opened(&mut desk, &snapshot, "v", 1, 0).accepted;
    let form = |caller: &str| VisitRequest {
        kind: VisitKind::Form,
        caller_id: Some(caller.into()),
        extra: [("colour".into(), "red".into())].into(),
        ..visit("v")
    };
    let send = |desk: &mut Desk, caller: &str, s| {
        desk.visit(&snapshot, &form(caller), ids(9), at(s), |_, _| Ok(())).unwrap()
    };
    let caller: PhoneNumber = "+16145550188".parse().unwrap();
    let of_caller = |desk: &Desk, caller| -> Vec<SessionId> {
        let found = desk.by_caller(&"cmp".into(), caller, at(3));
        found.into_iter().map(|it| it.session).collect()
    };

    let sent = send(&mut desk, "+16145550188", 1);
    assert_eq!((sent.accepted.session, sent.accepted.number), (page.session, page.number));
    assert_eq!(sent.left_out, ["colour"]);
    assert_eq!(sent.moved.unwrap().caller, Some(caller));
    assert_eq!(of_caller(&desk, caller), [page.session]);

    let again = send(&mut desk, "+16145550188", 1);
    assert_eq!((again.left_out, again.moved), (vec!["colour".into()], None));
    let other = send(&mut desk, "+16145550177", 2);
    assert_eq!(other.left_out, ["caller_id", "colour"]);
    assert_eq!(of_caller(&desk, caller), [page.session]);
    assert!(of_caller(&desk, "+16145550177".parse().unwrap()).is_empty());
}

#[test]
fn a_sign_of_life_that_says_nothing_new_is_not_written_down() {
    let (snapshot, mut desk) = desk();
    let id = opened(&mut desk, &snapshot, "v", 1, 0).accepted.session;
    let nothing = VisitUpdate::default();
    assert!(desk.touch(&snapshot, id, &nothing, at(0)).unwrap().unwrap().moved.is_none());

    let page =
        VisitUpdate { page_url: Some("https://a.example/b".into()), ..VisitUpdate::default() };
    let moved = desk.touch(&snapshot, id, &page, at(0)).unwrap().unwrap().moved.unwrap();
    assert_eq!(moved.tags.unwrap().len(), 2);
    assert!(desk.touch(&snapshot, id, &page, at(0)).unwrap().unwrap().moved.is_none());
}

#[test]
fn a_visitor_is_known_again_after_a_restart_and_not_to_another_publisher() {
    let (snapshot, mut before) = desk();
    let first = opened(&mut before, &snapshot, "v", 1, 0).accepted;
    let (_, mut after) = desk();
    after.restore(before.session(first.session).unwrap().clone(), at(10));

    assert_eq!(opened(&mut after, &snapshot, "v", 2, 20).accepted.session, first.session);
    let elsewhere = VisitRequest {
        visitor_id: Some("v".into()),
        publisher: Some("other".into()),
        campaign: Some("cmp".into()),
        caller_id: Some("+16145550188".into()),
        want: Some(crate::routing::ping::Want::Nothing),
        ..VisitRequest::default()
    };
    let other = after.visit(&snapshot, &elsewhere, ids(3), at(20), |_, _| Ok(())).unwrap();
    assert_eq!(other.accepted.session, ids(3).session);
}

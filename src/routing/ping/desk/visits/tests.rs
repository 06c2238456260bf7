//! Visitors: known again, kept, let go.

use super::super::tests::{at, desk, ids};
use super::*;

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

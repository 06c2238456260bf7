//! What an endpoint does in bad times: after a crash, under a flood, behind its work.

use super::*;
use crate::sip::orphan::Orphan;

/// spec/sip O8.
#[test]
fn the_next_process_knows_whose_bye_it_is_and_answers_481_to_all_else() {
    let mut dead = Rig::new();
    let (mut caller, mut target) = dead.connected();
    let [[by_caller, by_target]] = dead.dialogs[..] else { panic!("not one call was answered") };
    let mut rig = Rig::new();
    let call = CallId::from_bytes([7; 16]);
    let orphan = |party| Orphan { call, party };
    let known = [(by_caller, orphan(Party::Caller)), (by_target, orphan(Party::Target))];
    rig.endpoint.adopt(Arc::new(Orphans::new(known, rig.now + Duration::from_secs(60))));
    (caller.seen, target.seen) = ([0; 2], [0; 2]);

    caller.request(&mut rig, "INFO", "Signal=5");
    caller.request(&mut rig, "BYE", "");
    target.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [481, 200]);
    assert_eq!(target.statuses(&mut rig), [200]);
    assert_eq!(rig.orphans, [(call, Party::Caller), (call, Party::Target)]);

    let mut forged = rig.caller("a");
    forged.peer_tag = format!("{}0", &caller.peer_tag[..33]);
    forged.request(&mut rig, "BYE", "");
    assert_eq!(forged.statuses(&mut rig).last(), Some(&481));

    rig.pass(Duration::from_secs(61));
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig).last(), Some(&481), "no call takes that long");
    assert_eq!(rig.orphans.len(), 2);
}

/// spec/sip O1, O2.
#[test]
fn new_calls_are_refused_while_behind_and_come_back_at_different_times() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    rig.input(Input::Strained(Some(Busy::Behind)));

    let names = ["b", "c", "d", "e", "f", "g", "h", "i"];
    let refused: BTreeSet<String> = names.iter().map(|name| refusal(&mut rig, name)).collect();
    assert!(refused.len() > 2, "{refused:?}");
    assert!(refused.iter().all(|seconds| (5..=10).contains(&seconds.parse().unwrap())));
    assert_eq!(refusal(&mut rig, "b"), refusal(&mut rig, "b"), "a repetition hears the same");
    assert_eq!(
        (rig.endpoint.calls(), rig.endpoint.take_counters().refused),
        (1, {
            let mut refused = [0; Busy::ALL.len()];
            refused[Busy::Behind as usize] = 10;
            refused
        })
    );
    caller.seen = [rig.all.len(); 2];
    caller.request(&mut rig, "INVITE", SDP_A);
    assert_eq!(target.requests(&mut rig), ["INVITE"], "what belongs to a call goes on");
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    caller.ack(&mut rig);
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);

    rig.input(Input::Strained(None));
    let mut later = rig.invite("later");
    assert_eq!(later.statuses(&mut rig), [100]);
}

/// spec/sip S2, S3, S6.
#[test]
fn a_trunk_over_its_rate_hears_503_a_few_times_and_is_never_cut_off() {
    let limits = serde_json::json!({ "max_requests_per_s": 10, "max_requests_burst": 20 });
    let mut rig = rig_with(|_| {}, serde_json::json!({ "limits": limits }));
    let (mut caller, mut target) = rig.connected();
    let transactions = rig.endpoint.transactions();
    let mut sent = 0;

    for n in 0..200 {
        let scan = rig.caller("scan").invite_like("OPTIONS").replace("scan", &format!("scan{n}"));
        sent += scan.len();
        rig.receive(CARRIER, &scan);
    }

    let answers: Vec<_> =
        rig.to(CARRIER).into_iter().filter(|text| text.contains("scan")).collect();
    let of = |status: &str| answers.iter().filter(|text| text.starts_with(status)).count();
    assert_eq!((of("SIP/2.0 200 "), of("SIP/2.0 503 "), answers.len()), (19, 16, 35));
    assert!(answers.iter().map(String::len).sum::<usize>() < sent);
    assert_eq!(rig.endpoint.transactions(), transactions, "none of it leaves any state");
    caller.seen = [rig.all.len(); 2];
    caller.request(&mut rig, "BYE", "");
    assert_eq!(caller.statuses(&mut rig), [200]);
    target.respond_to_all(&mut rig, 200);
    rig.pass(Duration::from_millis(150));
    let mut next = rig.invite("next");
    assert_eq!(next.statuses(&mut rig), [100], "its rate is its own at all times");
}

/// spec/sip S5.
#[test]
fn a_flood_of_invites_that_nobody_confirms_stops_at_the_cap() {
    let mut rig = rig_with(|caps| caps.half_open_per_source_max = 3, serde_json::json!({}));
    let mut first = rig.invite("a");
    for name in ["b", "c"] {
        rig.invite(name);
    }
    let mut fourth = rig.caller("d");
    fourth.send_invite(&mut rig);
    assert_eq!(fourth.statuses(&mut rig), [503]);
    assert_eq!((rig.endpoint.calls(), rig.endpoint.half_open()), (3, 3));

    first.cancel(&mut rig);
    assert_eq!(rig.endpoint.half_open(), 2);
    rig.invite("e");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    assert_eq!(rig.endpoint.half_open(), 3, "answered, but not confirmed");
    rig.pass(Duration::from_secs(300));
    assert_eq!(rig.endpoint.half_open(), 0);
}

/// spec/sip C5.
#[test]
fn options_tell_in_service_from_draining_and_strangers_nothing() {
    let mut rig = Rig::new();
    let options = |rig: &mut Rig, name| {
        let text = rig.caller(name).invite_like("OPTIONS");
        let before = rig.all.len();
        rig.receive(CARRIER, &text);
        rig.all[before..].iter().map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };

    let [serving] = &options(&mut rig, "o1")[..] else { panic!("one answer") };
    assert!(serving.starts_with("SIP/2.0 200 ") && serving.ends_with("\r\n\r\n"), "{serving}");
    rig.input(Input::Drain);
    let [draining] = &options(&mut rig, "o2")[..] else { panic!("one answer") };
    assert!(draining.starts_with("SIP/2.0 503 ") && draining.contains("Retry-After: "));
    rig.origin = Origin::Stranger;
    assert_eq!(options(&mut rig, "o3"), Vec::<String>::new());
    assert_eq!(rig.endpoint.transactions(), 0, "without state");
}

/// spec/sip O11, X18.
#[test]
fn a_wedged_call_is_ended_through_its_exit_at_the_second_look() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    let mut waiting = rig.caller("waiting");
    let text = waiting.invite_like("INVITE");
    let peer = addr(CARRIER);
    let (listener, transport) = (ListenerId(0), Transport::Udp);
    let flow = Flow::new(listener, transport, peer);
    let origin = rig.origin;
    // Nobody ever decides.
    rig.input(Input::Received { flow, origin, wall: Wall(1_000), message: Bytes::from(text) });
    rig.other.clear();
    rig.reports.clear();
    rig.input(Input::Sweep);
    // No deadline is heard from here on.
    rig.now = rig.now + Duration::from_secs(5 * 3600);
    rig.input(Input::Sweep);
    assert_eq!(rig.reports(), [], "once may be chance");

    rig.now = rig.now + SWEEP_EVERY;
    rig.input(Input::Sweep);

    assert_eq!(waiting.statuses(&mut rig), [100, 500]);
    assert_eq!(
        (caller.requests(&mut rig), target.requests(&mut rig)),
        (vec![String::from("BYE")], vec![String::from("BYE")],)
    );
    let ends = rig
        .reports()
        .iter()
        .filter(|report| matches!(report, Report::Ended { reason: Reason::InternalError, .. }));
    assert_eq!(ends.count(), 2);
    assert_eq!((rig.endpoint.calls(), rig.endpoint.take_counters().reaped), (1, 2));
    for _ in 0..2 {
        rig.now = rig.now + SWEEP_EVERY;
        rig.input(Input::Sweep);
    }
    assert_eq!(rig.endpoint.calls(), 0, "what does not go even so is dropped");
    assert_eq!(rig.reports().len(), 2);
}

/// `limits` are fields of the trunk.
fn rig_with(change: impl FnOnce(&mut Caps), limits: serde_json::Value) -> Rig {
    let mut rig = Rig::new();
    let mut caps = *rig.endpoint.gate.caps();
    change(&mut caps);
    rig.endpoint.gate = Gate::new(caps, 7);
    let mut config = serde_json::json!({
        "id": "trk", "carrier": "loopback", "inbound": { "cidrs": ["192.0.2.0/24"] }
    });
    config.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let config: TrunkConfig = serde_json::from_value(config).unwrap();
    let listeners = [TrunkListener {
        id: ListenerId(0),
        transport: Transport::Udp,
        name: "udp:203.0.113.1:5060".into(),
    }];
    let trunks = Trunks::compile(&[config], &listeners, &Carriers::built_in()).unwrap();
    rig.endpoint.trunks = Arc::new(trunks);
    rig
}

/// What a new call of that name is refused with: the seconds of Retry-After.
fn refusal(rig: &mut Rig, name: &str) -> String {
    let call = rig.caller("refused");
    let text = call.invite_like("INVITE").replace("refused", name);
    rig.receive(CARRIER, &text);
    let answer = rig.to(CARRIER).pop().unwrap();
    assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    header(&answer, "Retry-After").to_owned()
}

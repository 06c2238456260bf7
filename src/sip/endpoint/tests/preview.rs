//! The INVITE of a call that is only thought of.

use super::*;
use crate::sip::trunk::Caller;

#[test]
fn what_is_foreseen_is_what_a_call_sends() {
    let mut rig = Rig::new();
    rig.invite("a");
    let sent = rig.target(TARGET).invite;

    let Foreseen { flow, invite } = foreseen(&rig, thought(&rig)).unwrap();

    assert_eq!((flow.peer, flow.transport), (addr(TARGET), Transport::Udp));
    let foreseen = String::from_utf8(invite.to_vec()).unwrap();
    assert_eq!(foreseen.lines().next(), sent.lines().next());
    // All but the three that are drawn, and who and what the caller of a thought is.
    for name in ["Max-Forwards", "To", "CSeq", "Contact", "Allow", "X-Loop-Token", "Content-Type"] {
        assert_eq!(header(&foreseen, name), header(&sent, name), "{name}");
    }
    let names = |text: &str| {
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let fields = head.lines().skip(1).filter_map(|line| line.split(':').next());
        fields.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&foreseen), names(&sent));
    assert!(header(&foreseen, "From").starts_with("<sip:+16145550163@203.0.113.1:5060>;tag="));
}

#[test]
fn a_call_over_no_trunk_is_foreseen_and_says_what_it_may() {
    let rig = Rig::new();
    let passes: Vec<SmolStr> = vec!["X-Lead".into()];
    let policy = serde_json::json!({ "headers": { "pass": passes } });
    let mut asked = Thought { trunk: None, ..thought(&rig) };
    asked.plan.attempts[0].manner = policy::manner(policy);
    asked.fields = vec![
        ("X-Lead".into(), "4711\r\nX-Forged: 1".into()),
        ("Call-ID".into(), "forged".into()),
        ("no name".into(), "1".into()),
    ];
    let settings = rig.endpoint.wire.settings.clone();
    let ids = IdSource::new(1, 0);

    let foreseen = foresee(settings, Arc::default(), ids, asked).unwrap();

    let text = String::from_utf8(foreseen.invite.to_vec()).unwrap();
    assert_eq!(header(&text, "X-Lead"), "4711  X-Forged: 1");
    assert!(!text.contains("forged") && !text.contains("no name"), "{text}");
}

#[test]
fn nothing_is_foreseen_where_nothing_would_leave() {
    let rig = Rig::new();
    let mut nowhere = thought(&rig);
    nowhere.plan.attempts[0].destination = None;
    assert_eq!(foreseen(&rig, nowhere), Err(Reason::AttemptUnresolved));

    let mut barred = thought(&rig);
    barred.plan.attempts[0].manner.barred = true;
    assert_eq!(foreseen(&rig, barred), Err(Reason::AttemptBarred));

    // No listener speaks what it would be spoken to in.
    let mut unreached = thought(&rig);
    let destination = unreached.plan.attempts[0].destination.as_mut().unwrap();
    destination.transport = Transport::Tls;
    assert_eq!(foreseen(&rig, unreached), Err(Reason::AttemptUnresolved));
}

fn thought(rig: &Rig) -> Thought {
    Thought {
        trunk: Some(TrunkIndex(0)),
        dialed: "+18005550100".parse().unwrap(),
        caller: Caller { number: "+16145550163".parse().ok(), withheld: false },
        fields: vec![],
        at: Wall(1_000),
        plan: rig.plan.clone(),
    }
}

fn foreseen(rig: &Rig, thought: Thought) -> Result<Foreseen, Reason> {
    let settings = rig.endpoint.wire.settings.clone();
    foresee(settings, Arc::clone(&rig.endpoint.trunks), IdSource::new(1, 0), thought)
}

//! OPTIONS to addresses of targets (spec/sip C6).

use super::*;
use crate::sip::call::plan::Destination;
use crate::sip::locate::ProbeRules;

const RULES: ProbeRules = ProbeRules {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(2),
    down_after: 2,
    up_after: 2,
};

#[test]
fn an_address_is_asked_at_intervals_in_a_row_of_its_own() {
    let mut rig = probing(&[TARGET, SECOND]);

    rig.pass(Duration::from_secs(31));
    let asked = options(&rig, TARGET);
    let first = &asked[0];
    assert!(first.starts_with("OPTIONS sip:b.example SIP/2.0\r\n"), "{first}");
    assert_eq!(header(first, "To"), "<sip:b.example>");
    assert_eq!(header(first, "CSeq"), "1 OPTIONS");
    answer(&mut rig, TARGET, 200);
    rig.pass(Duration::from_secs(34));
    let again = options(&rig, TARGET).last().unwrap().clone();
    assert_eq!(header(&again, "CSeq"), "2 OPTIONS");
    assert_eq!(header(&again, "Call-ID"), header(first, "Call-ID"));
    assert_ne!(header(&again, "Call-ID"), header(&options(&rig, SECOND)[0], "Call-ID"));
}

#[test]
fn silence_and_503_are_failures_and_every_other_answer_a_sign_of_life() {
    let mut rig = probing(&[TARGET]);

    for (status, expected) in [
        (Some(404), None),
        (Some(503), None),
        (Some(405), None),
        (None, None),
        (Some(503), Some(Verdict::Down)),
        (Some(481), None),
        (Some(200), Some(Verdict::Up)),
    ] {
        await_question(&mut rig);
        match status {
            Some(status) => answer(&mut rig, TARGET, status),
            None => rig.pass(Duration::from_millis(2_100)),
        }
        assert_eq!(rig.verdicts.pop().map(|(_, verdict)| verdict), expected, "{status:?}");
    }
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn nobody_there_is_a_failure_at_once() {
    let mut rig = probing(&[TARGET]);

    for _ in 0..2 {
        await_question(&mut rig);
        rig.input(Input::FlowFailed { flow: Flow::udp(ListenerId(0), addr(TARGET)) });
    }

    assert_eq!(rig.verdicts, [(addr(TARGET), Verdict::Down)]);
}

#[test]
fn an_answer_that_comes_too_late_is_no_answer() {
    let mut rig = probing(&[TARGET]);
    await_question(&mut rig);
    rig.pass(Duration::from_millis(2_100));
    await_question(&mut rig);
    let late = options(&rig, TARGET)[0].clone();

    respond(&mut rig, TARGET, &late, 200);
    rig.pass(Duration::from_millis(2_100));

    assert_eq!(rig.verdicts, [(addr(TARGET), Verdict::Down)]);
}

#[test]
fn others_to_be_probed_leave_those_that_stay_as_they_were() {
    let mut rig = probing(&[TARGET, SECOND]);
    await_question(&mut rig);
    answer(&mut rig, TARGET, 503);

    rig.input(Input::Probe(vec![target(TARGET)]));
    let before = options(&rig, SECOND).len();
    await_question(&mut rig);
    answer(&mut rig, TARGET, 503);

    assert_eq!(rig.verdicts, [(addr(TARGET), Verdict::Down)], "both failures counted");
    rig.pass(Duration::from_secs(120));
    assert_eq!(options(&rig, SECOND).len(), before, "nobody asks it any more");
}

#[test]
fn nobody_is_asked_while_the_server_is_taken_out_of_service() {
    let mut rig = probing(&[TARGET]);
    await_question(&mut rig);

    rig.input(Input::Drain);

    assert_eq!(rig.endpoint.transactions(), 0);
    let before = rig.all.len();
    // Word of new addresses may be under way.
    rig.input(Input::Probe(vec![target(SECOND)]));
    rig.pass(Duration::from_secs(120));
    assert_eq!(rig.all.len(), before);
}

fn probing(addresses: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.input(Input::Probe(addresses.iter().map(|address| target(address)).collect()));
    rig
}

fn target(address: &str) -> ProbeTarget {
    let at =
        Destination { transport: Transport::Udp, peer: addr(address), tls: None, tcp_port: None };
    ProbeTarget { at, uri: Bytes::from_static(b"sip:b.example"), rules: RULES }
}

/// Lets time pass until [`TARGET`] is asked once more.
fn await_question(rig: &mut Rig) {
    let before = numbers(rig);
    for _ in 0..400 {
        if numbers(rig) > before {
            return;
        }
        rig.pass(Duration::from_millis(100));
    }
    panic!("no question");
}

/// Of the last question.
fn numbers(rig: &Rig) -> u32 {
    let last = options(rig, TARGET).last().map(|it| header(it, "CSeq").to_owned());
    last.map_or(0, |cseq| cseq.split(' ').next().unwrap().parse().unwrap())
}

fn options(rig: &Rig, address: &str) -> Vec<String> {
    rig.to(address).into_iter().filter(|text| text.starts_with("OPTIONS")).collect()
}

/// Answers the last question.
fn answer(rig: &mut Rig, address: &str, status: u16) {
    let question = options(rig, address).pop().expect("a question");
    respond(rig, address, &question, status);
}

fn respond(rig: &mut Rig, address: &str, question: &str, status: u16) {
    let line = |name| format!("{name}: {}\r\n", header(question, name));
    let text = format!(
        "SIP/2.0 {status} Whatever\r\n{}{}To: <sip:b.example>;tag=x\r\n{}{}Content-Length: 0\r\n\r\n",
        line("Via"),
        line("From"),
        line("Call-ID"),
        line("CSeq")
    );
    rig.receive(address, &text);
}

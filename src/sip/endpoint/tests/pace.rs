//! Trunks and targets with timers of their own (spec/sip X1).

use super::*;
use crate::sip::leg::policy::PeerTimers;

#[test]
fn a_trunk_s_own_t1_rules_all_that_is_repeated_to_it_and_nothing_else() {
    let timers = serde_json::json!({ "timers": { "t1_ms": 100, "t2_ms": 400 } });
    let mut rig = Rig::with(timers, LegPolicy::default());
    let mut caller = rig.invite("a");
    let mut target = rig.target(TARGET);
    target.respond(&mut rig, 200, SDP_B);
    target.requests(&mut rig);
    let answered = rig.now;

    // Its answer, until the ACK that does not come: 64 T1.
    assert_eq!(
        repeats(&mut rig, answered, CARRIER, "SIP/2.0 200 ", 8)[..5],
        [100, 300, 700, 1100, 1500]
    );
    let reason = Reason::AckMissing;
    let ended = Report::Ended { party: Party::System, reason, status: 200, q850: None };
    assert_eq!(rig.reports().last(), Some(&ended));
    caller.statuses(&mut rig);

    // The BYEs that end the two legs.
    let both: Vec<_> = [CARRIER, TARGET]
        .map(|to| rig.to(to).iter().filter(|text| text.starts_with("BYE ")).count())
        .into();
    assert_eq!(both, [6, 3], "1.6 s by steps of 100 to 400 ms, and by 500 ms");
}

#[test]
fn a_failure_of_a_trunk_with_its_own_t1_is_repeated_by_it() {
    let timers = serde_json::json!({ "timers": { "t1_ms": 100, "t2_ms": 400 } });
    let mut rig = Rig::with(timers, LegPolicy::default());
    let mut caller = rig.invite("a");
    caller.cancel(&mut rig);
    let refused = rig.now;

    assert_eq!(repeats(&mut rig, refused, CARRIER, "SIP/2.0 487 ", 2)[..4], [100, 300, 700, 1100]);
}

#[test]
fn a_target_s_own_t1_rules_its_invite() {
    let timers = Some(PeerTimers { t1_ms: Some(200), ..PeerTimers::default() });
    let policy = LegPolicy { timers, ..LegPolicy::default() };
    let mut rig = Rig::with(serde_json::json!({}), policy);
    rig.invite("a");
    let sent = rig.now;

    assert_eq!(repeats(&mut rig, sent, TARGET, "INVITE ", 1), [200, 600]);
}

#[test]
fn requests_of_a_peer_linger_by_its_own_timers() {
    let timers = serde_json::json!({ "timers": { "t1_ms": 50, "t4_ms": 100 } });
    let mut rig = Rig::with(timers, LegPolicy::default());
    let (mut caller, mut target) = rig.connected();
    rig.pass(Duration::from_secs(60));
    let before = rig.endpoint.transactions();
    caller.request(&mut rig, "INFO", "Signal=1");
    target.respond(&mut rig, 200, "");

    assert_eq!(rig.endpoint.transactions(), before + 2);
    rig.pass(Duration::from_millis(64 * 50 + 20));
    assert_eq!(rig.endpoint.transactions(), before + 1, "the target's has the usual timers");
    rig.pass(Duration::from_secs(40));
    caller.statuses(&mut rig);

    // One that is out of its turn, too.
    caller.cseq -= 2;
    caller.request(&mut rig, "INFO", "Signal=1");
    assert_eq!(caller.statuses(&mut rig), [500]);
    assert_eq!(rig.endpoint.transactions(), before + 1);
    rig.pass(Duration::from_millis(64 * 50 + 20));
    assert_eq!(rig.endpoint.transactions(), before);
}

/// When messages that begin so were sent to this party in the next `seconds`, in milliseconds since
/// `start`.
fn repeats(rig: &mut Rig, start: Mono, to: &str, beginning: &str, seconds: u64) -> Vec<u64> {
    let mut seen = vec![];
    let count = |rig: &Rig| rig.to(to).iter().filter(|text| text.starts_with(beginning)).count();
    let mut known = count(rig);
    for _ in 0..seconds * 100 {
        rig.pass(Duration::from_millis(10));
        let sent = count(rig);
        if sent > known {
            seen.push(rig.now.ms_since(start) / 100 * 100);
        }
        known = sent;
    }
    seen
}

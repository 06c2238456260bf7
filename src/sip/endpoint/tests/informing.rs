//! INFO, MESSAGE and NOTIFY by policy (spec/sip B18).

use super::*;
use crate::sip::leg::policy::Passages;
use crate::sip::trunk::profile::{InfoPassage, Passage};

#[test]
fn without_a_policy_info_and_message_pass_and_notify_does_not() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    for method in ["INFO", "MESSAGE"] {
        caller.request(&mut rig, method, "Signal=1");
        assert_eq!(target.requests(&mut rig), [method]);
        target.respond(&mut rig, 200, "");
    }
    caller.fields = String::from("Event: telephone-event\r\n");
    caller.request(&mut rig, "NOTIFY", "");

    assert_eq!(caller.statuses(&mut rig), [200, 200, 489]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn the_stricter_of_both_legs_policies_is_followed_in_both_directions() {
    let dialog = serde_json::json!({ "relay": { "message": "absorb" } });
    let passages =
        Passages { info: InfoPassage::Refuse, message: Passage::Pass, notify: Passage::Pass };
    let mut rig = Rig::with(dialog, LegPolicy { passages, ..LegPolicy::default() });
    let (mut caller, mut target) = rig.connected();
    for party in [&mut caller, &mut target] {
        party.request(&mut rig, "INFO", "Signal=1");
        party.request(&mut rig, "MESSAGE", "hello");
        party.fields = String::from("Event: talk\r\n");
        party.request(&mut rig, "NOTIFY", "");
        party.fields = String::from("Info-Package: x\r\n");
        party.request(&mut rig, "INFO", "");
        assert_eq!(party.statuses(&mut rig), [403, 200, 489, 469]);
    }

    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
    assert_eq!(caller.requests(&mut rig), Vec::<String>::new());
    assert_eq!(rig.endpoint.calls(), 1);
}

#[test]
fn a_notify_that_passes_says_what_of_and_its_answer_comes_back() {
    let dialog = serde_json::json!({ "relay": { "notify": "pass" } });
    let passages = Passages { notify: Passage::Pass, ..Passages::default() };
    let mut rig = Rig::with(dialog, LegPolicy { passages, ..LegPolicy::default() });
    let (mut caller, mut target) = rig.connected();
    caller.fields = String::from("Event: telephone-event\r\nSubscription-State: active\r\n");
    caller.request(&mut rig, "NOTIFY", "digit");

    let notify = target.news(&mut rig, 1).pop().unwrap();
    assert_eq!(header(&notify, "Event"), "telephone-event");
    assert_eq!(header(&notify, "Subscription-State"), "active");
    target.respond(&mut rig, 200, "");
    assert_eq!(caller.statuses(&mut rig), [200]);
}

#[test]
fn where_only_digits_pass_other_info_is_refused() {
    let dialog = serde_json::json!({ "relay": { "info": "dtmf" } });
    let mut rig = Rig::with(dialog, LegPolicy::default());
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INFO", "Signal=5");
    assert_eq!(target.requests(&mut rig), ["INFO"]);
    target.respond(&mut rig, 200, "");
    caller.fields = String::from("Info-Package: dtmf\r\n");
    caller.request(&mut rig, "INFO", "");
    assert_eq!(target.requests(&mut rig), ["INFO"]);
    target.respond(&mut rig, 200, "");
    caller.fields = String::from("Info-Package: location\r\n");
    caller.request(&mut rig, "INFO", "");
    caller.fields = String::new();
    caller.request(&mut rig, "INFO", "");

    assert_eq!(caller.statuses(&mut rig), [200, 200, 469, 403]);
    assert_eq!(target.requests(&mut rig), Vec::<String>::new());
}

#[test]
fn an_info_and_an_offer_at_the_same_time_are_both_answered() {
    let mut rig = Rig::new();
    let (mut caller, mut target) = rig.connected();
    caller.request(&mut rig, "INFO", "Signal=5");
    caller.request(&mut rig, "INVITE", SDP_A);
    let requests = target.news(&mut rig, 1);
    target.respond_to(&mut rig, &requests[1], 200, SDP_B);
    target.respond_to(&mut rig, &requests[0], 200, "");

    assert_eq!(caller.statuses(&mut rig), [100, 200, 200]);
}

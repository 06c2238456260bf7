//! Targets that say that they are elsewhere (spec/sip B23).

use super::*;
use crate::sip::call::report::Place;
use crate::sip::target::{TargetConfig, TargetRules};

const ELSEWHERE: &str = "198.51.100.1:5099";

#[test]
fn a_redirected_call_goes_to_the_places_named_in_the_order_of_their_preference() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let contacts = "Contact: <sip:late@198.51.100.1:5098>;q=0.2, <sip:moved@198.51.100.1:5099>\r\n";
    redirect(&mut rig, TARGET, contacts);
    let mut first = rig.target(ELSEWHERE);
    first.respond(&mut rig, 486, "");
    let mut second = rig.target("198.51.100.1:5098");
    second.respond(&mut rig, 200, SDP_B);

    assert_eq!(caller.statuses(&mut rig), [100, 200]);
    assert!(rig.to(SECOND).is_empty(), "the next target is not tried before");
    let uris = ["sip:moved@198.51.100.1:5099", "sip:late@198.51.100.1:5098"];
    let failed = |attempt, status, reason| Report::AttemptFailed {
        attempt,
        status: Some(status),
        q850: None,
        reason,
    };
    assert_eq!(
        rig.reports(),
        [
            Report::AttemptStarted { attempt: 1 },
            Report::Extended { after: 1, uris: uris.map(|uri| Place(uri.into())).to_vec() },
            failed(1, 302, Reason::AttemptRedirected),
            Report::AttemptStarted { attempt: 2 },
            failed(2, 486, Reason::AttemptBusy),
            Report::AttemptStarted { attempt: 3 },
            Report::Answered { attempt: 3 },
        ]
    );
}

#[test]
fn a_redirection_elsewhere_is_a_refusal() {
    for contacts in [
        "Contact: <sip:+447911123456@premium.example>\r\n",
        "Contact: <sip:x@203.0.113.200>\r\n",
        "Contact: <tel:+447911123456>\r\n",
        "Contact: <sip:x@198.51.100.1?Replaces=a>\r\n",
        "Contact: *\r\n",
    ] {
        let mut rig = Rig::new();
        let mut caller = rig.invite("a");
        redirect(&mut rig, TARGET, contacts);

        assert_eq!(caller.statuses(&mut rig), [100, 480], "{contacts}");
        assert_eq!(rig.all.iter().filter(|(_, it)| it.starts_with("INVITE")).count(), 1);
    }
}

#[test]
fn a_target_that_redirects_to_itself_has_refused() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    redirect(&mut rig, TARGET, "Contact: <sip:+18005550100@198.51.100.1:5070>\r\n");

    assert_eq!(caller.statuses(&mut rig), [100, 480]);
}

#[test]
fn a_target_may_not_send_its_call_back_to_us() {
    for (contact, status) in [("203.0.113.1", 480), ("203.0.113.1:5060;transport=udp", 480)] {
        let mut rig = Rig::new();
        rule(&mut rig, serde_json::json!({ "redirect": { "hosts": ["203.0.113.1"] } }));
        let mut caller = rig.invite("a");
        let line = format!("Contact: <sip:+18005550100@{contact}>\r\n");
        redirect(&mut rig, TARGET, line.leak());

        assert_eq!(caller.statuses(&mut rig), [100, status], "{contact}");
        assert!(rig.to("203.0.113.1:5060").is_empty());
    }
}

#[test]
fn a_chain_of_redirections_ends() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    let contacts = [
        "Contact: <sip:1@198.51.100.1:5070>\r\n",
        "Contact: <sip:2@198.51.100.1:5070>\r\n",
        "Contact: <sip:3@198.51.100.1:5070>\r\n",
        "Contact: <sip:4@198.51.100.1:5070>\r\n",
    ];
    for contacts in contacts {
        redirect(&mut rig, TARGET, contacts);
    }

    assert_eq!(rig.to(TARGET).iter().filter(|it| it.starts_with("INVITE")).count(), 4);
    assert_eq!(caller.statuses(&mut rig), [100, 480]);
}

#[test]
fn two_places_that_name_each_other_are_tried_once_each() {
    let mut rig = Rig::new();
    let mut caller = rig.invite("a");
    redirect(&mut rig, TARGET, "Contact: <sip:b@198.51.100.1:5099>\r\n");
    redirect(&mut rig, ELSEWHERE, "Contact: <sip:+18005550100@198.51.100.1:5070>\r\n");

    assert_eq!(caller.statuses(&mut rig), [100, 480]);
    assert_eq!(rig.all.iter().filter(|(_, it)| it.starts_with("INVITE")).count(), 2);
}

#[test]
fn a_listed_host_may_be_named_and_a_target_may_be_taken_at_its_word() {
    let mut listed = Rig::new();
    rule(&mut listed, serde_json::json!({ "redirect": { "hosts": ["203.0.113.200"] } }));
    listed.invite("a");
    redirect(&mut listed, TARGET, "Contact: <sip:x@203.0.113.200>\r\n");
    assert_eq!(listed.to("203.0.113.200:5060").len(), 1);

    let mut never = Rig::new();
    rule(&mut never, serde_json::json!({ "redirect": { "max": 0 } }));
    let mut caller = never.invite("a");
    redirect(&mut never, TARGET, "Contact: <sip:x@198.51.100.1:5099>\r\n");
    assert_eq!(caller.statuses(&mut never), [100, 480]);
}

#[test]
fn use_proxy_and_alternative_service_are_refusals() {
    for status in [305, 380] {
        let mut rig = Rig::new();
        let mut caller = rig.invite("a");
        let mut target = rig.target(TARGET);
        target.fields = String::from("Contact: <sip:x@198.51.100.1:5099>\r\n");
        target.respond(&mut rig, status, "");

        assert_eq!(caller.statuses(&mut rig), [100, 480], "{status}");
    }
}

/// The target at `address` answers 302.
fn redirect(rig: &mut Rig, address: &str, contacts: &'static str) {
    let mut target = rig.target(address);
    target.fields = contacts.to_owned();
    target.respond(rig, 302, "");
    assert_eq!(target.requests(rig)[..1], ["ACK"]);
}

fn rule(rig: &mut Rig, config: serde_json::Value) {
    let config: TargetConfig = serde_json::from_value(config).unwrap();
    rig.plan.attempts[0].rules = Some(Arc::new(TargetRules::compile("t", &config).unwrap()));
}

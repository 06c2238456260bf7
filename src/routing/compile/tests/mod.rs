//! What is resolved, and every fault that is found.

mod caps;
mod contradictions;
mod files;
mod numbers;

use super::*;
use crate::id::{CampaignId, PublisherId};
use crate::routing::hold::Bucket;
use crate::routing::request::Usage;
use crate::time::Wall;

const UNUSED: BTreeMap<Bucket, Usage> = BTreeMap::new();
/// 2026-11-22T03:16:30Z: still the 21st in New York.
const EVENING: Wall = Wall(1_795_317_390_000);

const SOUND: &str = r#"
    publishers = [
        { id = "pub_a", payouts = [{ campaign = "cmp", amount = "24.00", seconds = 60 }],
          price = { allow_loss = true } },
        { id = "pub_b" },
    ]
    buyers = [{ id = "buy" }]

    [[targets]]
    id = "tgt_a"
    buyer = "buy"
    dial = { kind = "sip", uri = "sip:127.0.0.1:5070" }
    caps = [{ metric = "connected", window = "daily", limit = 80 }]
    concurrency = { limit = 8, count_from = "invite" }
    schedule = { time_zone = "America/New_York", always_open = true }
    conversion = { on = "call_length", start = "on_answer", seconds = 60, revenue = "42.00" }

    [[targets]]
    id = "tgt_b"
    buyer = "buy"
    dial = { kind = "sip", uri = "sip:127.0.0.1:5080" }

    [[campaigns]]
    id = "cmp"
    publisher = "pub_a"
    numbers = [
        "+18005550100-+18005550149",
        { number = "+18005550199", publisher = "pub_b" },
    ]
    [[campaigns.routing.tiers]]
    tier = 2
    targets = [{ target = "tgt_b" }]
    [[campaigns.routing.tiers]]
    tier = -1
    targets = [{ target = "tgt_a", weight = 70 }]

    [[pools]]
    id = "pool"
    campaign = "cmp"
    publisher = "pub_b"
    numbers = ["+16145550101"]
"#;

const DIAL: &str = "dial = { kind = \"sip\", uri = \"sip:127.0.0.1:5070\" }";

#[test]
fn tiers_stand_in_their_order_and_payouts_by_campaign() {
    let snapshot = RoutingSnapshot::compile(config(SOUND), 1).unwrap();
    let campaign = snapshot.campaign(&CampaignId::new("cmp")).unwrap();
    assert_eq!(campaign.tiers.iter().map(|tier| tier.tier).collect::<Vec<_>>(), [-1, 2]);
    let publisher = snapshot.publisher(&PublisherId::new("pub_a")).unwrap();
    let payout = publisher.payouts[&campaign.id];
    assert_eq!((payout.amount.to_string(), payout.seconds), ("24.00".into(), Some(60)));
}

#[test]
fn every_fault_is_found_with_its_place_and_a_remedy() {
    let cases = [
        ("id = \"pub_b\" }", "id = \"pub_a\" }", "publishers[1].id"),
        (
            "campaign = \"cmp\", amount",
            "campaign = \"cmq\", amount",
            "publishers[0].payouts[0].campaign",
        ),
        ("\"24.00\"", "\"-24.00\"", "publishers[0].payouts[0].amount"),
        (
            "buyers = [{ id = \"buy\" }]",
            "buyers = [{ id = \"\" }, { id = \"buy\" }]",
            "buyers[0].id",
        ),
        ("sip:127.0.0.1:5070", "http://x", "targets[0].dial.uri"),
        (DIAL, "dial = []", "targets[0].dial"),
        (
            DIAL,
            "dial = [{ kind = \"sip\", uri = \"sip:a\" }, { kind = \"sip\", uri = \"http:b\" }]",
            "targets[0].dial[1].uri",
        ),
        (
            DIAL,
            "dial = [{ kind = \"sip\", uri = \"sip:a\", trunk = \"nobody\" }]",
            "targets[0].dial[0].trunk",
        ),
        (
            DIAL,
            "dial = { kind = \"sip\", uri = \"sip:a\", weight = 1001 }",
            "targets[0].dial.weight",
        ),
        ("limit = 80", "limit = 0", "targets[0].caps[0].limit"),
        ("limit = 8,", "limit = 0,", "targets[0].concurrency.limit"),
        ("America/New_York", "New York", "targets[0].schedule.time_zone"),
        ("buyers = [", "history = { callers_max = 999 }\nbuyers = [", "history.callers_max"),
        ("buyers = [", "history = { calls_max = 1 }\nbuyers = [", "history.calls_max"),
        ("buyers = [", "account = { time_zone = \"Mars\" }\nbuyers = [", "account.time_zone"),
        (
            "buyers = [",
            "account = { caps = [{ metric = \"minutes\", window = \"daily\", limit = 0 }] }\nbuyers = [",
            "account.caps[0].limit",
        ),
        (
            "buyers = [",
            "account = { concurrency = { limit = 0 } }\nbuyers = [",
            "account.concurrency.limit",
        ),
        ("\"42.00\"", "\"-1\"", "targets[0].conversion.revenue"),
        ("id = \"tgt_b\"", "id = \"tgt_b\"\nring_timeout_s = 0", "targets[1].ring_timeout_s"),
        ("id = \"cmp\"\n", "id = \"cmp\"\nmax_attempts = 0\n", "campaigns[0].max_attempts"),
        ("id = \"cmp\"\n", "id = \"cmp\"\nadvance_on = [200]\n", "campaigns[0].advance_on[0]"),
        ("publisher = \"pub_a\"", "publisher = \"pub_c\"", "campaigns[0].publisher"),
        ("-+18005550149", "-+18005550099", "campaigns[0].numbers[0]"),
        ("-+18005550149", "-+28005550149", "campaigns[0].numbers[0]"),
        ("\"+18005550199\"", "\"+18005550149\"", "campaigns[0].numbers[1]"),
        ("[\"+16145550101\"]", "[\"+18005550123\"]", "pools[0].numbers[0]"),
        ("[\"+16145550101\"]", "[]", "pools[0].numbers"),
        ("weight = 70", "weight = 1001", "campaigns[0].routing.tiers[1].targets[0].weight"),
        (
            "[{ target = \"tgt_b\" }]",
            "[{ target = \"tgt_c\" }]",
            "campaigns[0].routing.tiers[0].targets[0].target",
        ),
        (
            "[{ target = \"tgt_b\" }]",
            "[{ target = \"tgt_a\" }]",
            "campaigns[0].routing.tiers[1].targets[0].target",
        ),
        ("[{ target = \"tgt_b\" }]", "[]", "campaigns[0].routing.tiers[0].targets"),
        ("tier = 2", "tier = -1", "campaigns[0].routing.tiers[1].tier"),
    ];
    for (sound, faulty, path) in cases {
        assert!(SOUND.contains(sound), "{sound}");
        let faults = RoutingSnapshot::compile(config(&SOUND.replacen(sound, faulty, 1)), 1);
        let faults = faults.expect_err(faulty);
        assert!(faults.iter().any(|fault| fault.path == path), "{path}: {faults:?}");
        assert!(faults.iter().all(|fault| !fault.remedy.is_empty()));
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = SOUND
        .replace("limit = 80", "limit = 0")
        .replace("America/New_York", "Mars")
        .replace("id = \"pool\"\n    campaign = \"cmp\"", "id = \"pool\"\n    campaign = \"x\"");
    let faults = RoutingSnapshot::compile(config(&text), 1).unwrap_err();
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "targets[0].schedule.time_zone = Mars: is no known time zone; write an IANA name such as America/New_York",
            "targets[0].caps[0].limit = 0: is out of range; write 1 or more, or leave it out for no limit",
            "pools[0].campaign = x: names no campaign of this configuration; add the campaign, or correct the name",
        ]
    );
}

fn config(text: &str) -> RoutingConfig {
    toml::from_str(text).unwrap()
}

#[test]
fn what_cannot_be_done_with_a_call_that_gets_to_nobody_is_a_fault_with_its_remedy() {
    for (action, says) in [
        ("status = 200", "status = 200: is out of range; write 400 to 699"),
        (
            "status = 407",
            "status = 407: would ask the carrier for credentials it has nobody to send to; write 403 or 480",
        ),
        (
            "overflow = 'tgt_a'",
            "overflow = tgt_a: is one of the campaign's own targets, and would be tried before; name another target",
        ),
        (
            "overflow = 'tgt_c'",
            "overflow = tgt_c: names no target of this configuration; add the target, or correct the name",
        ),
        (
            "announce = 'closed.wav'",
            "announce = closed.wav: is not done: this server plays and records nothing; leave it out, or name a target that does it as `overflow`",
        ),
        (
            "voicemail = 'box@example.com'",
            "voicemail = box@example.com: is not done: this server plays and records nothing; leave it out, or name a target that does it as `overflow`",
        ),
    ] {
        let own = format!("id = \"cmp\"\n    no_route = {{ all_closed = {{ {action} }} }}");
        let text = SOUND.replacen("id = \"cmp\"", &own, 1);
        assert_fault(&text, &format!("campaigns[0].no_route.all_closed.{says}"));
    }
}

fn assert_fault(text: &str, says: &str) {
    let faults = RoutingSnapshot::compile(config(text), 1).expect_err(says);
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains(says)), "{says}: {faults:?}");
}

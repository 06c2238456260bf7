//! Every carrier file is read, its address lists are usable, and its numbers come out as the
//! carrier means them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tollbridge::phone::PhoneNumber;
use tollbridge::reason::Reason;
use tollbridge::sip::flow::{ListenerId, Transport};
use tollbridge::sip::trunk::profile::{MediaSources, Profile};
use tollbridge::sip::trunk::{
    Carriers, Cause, Identity, IdentityHeader, NumberRules, TrunkConfig, TrunkFault, TrunkIndex,
    TrunkListener, Trunks,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/carrier-configs");

#[test]
fn every_file_of_the_folder_is_built_in() {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "toml") {
            files.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }

    let built_in: BTreeSet<String> =
        Carriers::built_in().iter().map(|carrier| carrier.name.to_string()).collect();
    assert_eq!(built_in, files);
}

#[test]
fn every_file_tells_where_its_facts_are_from_and_how_old_they_are() {
    for carrier in Carriers::built_in().iter() {
        let name = &carrier.name;
        assert!(!carrier.title.is_empty() && !carrier.sources.is_empty(), "{name}");
        let undated =
            carrier.quirks.iter().any(|it| it.contains("no date") || it.contains("without a date"));
        let needs_none = carrier.name == "loopback";
        assert!(carrier.checked_on.is_some() || undated || needs_none, "{name}: no date, no word");
    }
}

#[test]
fn every_file_shows_a_dialled_number_and_a_caller() {
    for carrier in Carriers::built_in().iter() {
        let name = &carrier.name;
        carrier.check_samples().unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert!(carrier.tests.iter().any(|sample| sample.did.is_some()), "{name}");
        assert!(carrier.tests.iter().any(|sample| sample.caller.is_some()), "{name}");
    }
}

/// Carrier, user parts of Request-URI, P-Asserted-Identity, Remote-Party-ID, From; dialled number
/// and caller.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
    Option<u64>,
    Option<u64>,
);

#[rustfmt::skip]
const NUMBERS: &[Row] = &[
    ("twilio-elastic", "+18005550100", None, None, "+16145550163", Some(18005550100), Some(16145550163)),
    ("twilio-elastic", "+442071838750", None, None, "anonymous", Some(442071838750), None),
    ("telnyx", "+18005550100", Some("+16145550163;verstat=No-TN-Validation"), None, "+16145550199", Some(18005550100), Some(16145550163)),
    ("telnyx", "18005550100", None, None, "16145550199", Some(18005550100), Some(16145550199)),
    ("bandwidth", "8005550100", None, None, "6145550199", Some(18005550100), Some(16145550199)),
    ("bandwidth", "+18005550100;rn=+16145550000;npdi", Some("+16145550163"), None, "+16145550199", Some(18005550100), Some(16145550163)),
    ("vonage", "18005550100", None, None, "447700900000", Some(18005550100), Some(447700900000)),
    ("flowroute", "18005550100", Some("16145550163"), Some("16145550164"), "16145550165", Some(18005550100), Some(16145550163)),
    ("flowroute", "+18005550100", None, Some("16145550164"), "16145550165", Some(18005550100), Some(16145550164)),
    ("plivo", "+18005550100", None, None, "+16145550163", Some(18005550100), Some(16145550163)),
    ("sinch", "18005550100", None, None, "16145550163", Some(18005550100), Some(16145550163)),
    ("voipms", "8005550100", None, None, "6145550163", Some(18005550100), Some(16145550163)),
    ("voipms", "18005550100", None, None, "anonymous", Some(18005550100), None),
    ("didww", "442071838750", None, None, "+442079460958", Some(442071838750), Some(442079460958)),
    ("loopback", "+18005550100", None, None, "+12125550111", Some(18005550100), Some(12125550111)),
    ("loopback", "18005550100", None, None, "sipp", Some(18005550100), None),
    ("loopback", "%2B18005550100", None, None, "12125550111", Some(18005550100), Some(12125550111)),
    ("loopback", "nobody", None, None, "12125550111", None, Some(12125550111)),
];

#[test]
fn numbers_are_read_as_each_carrier_writes_them() {
    let carriers = Carriers::built_in();
    let mut shown = BTreeSet::new();
    for (carrier, ruri, pai, rpid, from, did, caller) in NUMBERS {
        let rules = NumberRules::new(&carriers.get(carrier).unwrap().inbound);
        let identity = |header, user: &'static str| Identity { header, user: user.as_bytes() };
        let identities: Vec<Identity<'_>> = [
            Some(identity(IdentityHeader::From, from)),
            rpid.map(|user| identity(IdentityHeader::Rpid, user)),
            pai.map(|user| identity(IdentityHeader::Pai, user)),
        ]
        .into_iter()
        .flatten()
        .collect();

        let dialed = rules.dialed_number(ruri.as_bytes(), b"").ok();
        let calling = rules.caller_number(&identities, None);

        assert_eq!(dialed.map(PhoneNumber::digits), *did, "{carrier} {ruri}");
        assert_eq!(calling.number.map(PhoneNumber::digits), *caller, "{carrier} {from}");
        shown.insert(*carrier);
    }
    assert_eq!(shown.len(), carriers.iter().count(), "a carrier is missing from the table");
}

#[test]
fn every_published_address_is_let_in_and_its_neighbour_is_not() {
    for (carrier, inside, outside) in [
        ("twilio-elastic", "54.172.60.3", "54.172.60.4"),
        ("twilio-elastic", "177.71.206.195", "177.71.206.196"),
        ("telnyx", "192.76.120.10", "192.76.120.11"),
        ("telnyx", "64.16.250.10", "64.16.250.9"),
        ("vonage", "216.147.5.2", "216.147.5.3"),
        ("didww", "185.238.173.14", "185.238.173.15"),
        ("loopback", "127.255.255.255", "128.0.0.0"),
        ("loopback", "::1", "::2"),
    ] {
        let trunks = trunks(&[trunk(carrier, carrier)]).unwrap();
        let identify = |ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            trunks.identify(ListenerId(0), Transport::Udp, ip)
        };
        assert_eq!(identify(inside), Some(TrunkIndex(0)), "{carrier}");
        assert_eq!(identify(outside), None, "{carrier}");
    }
}

#[test]
fn every_region_of_a_carrier_is_let_in() {
    for carrier in Carriers::built_in().iter().filter(|it| !it.inbound.cidrs.is_empty()) {
        let trunks = trunks(&[trunk(&carrier.name, &carrier.name)]).unwrap();
        for cidr in &carrier.inbound.cidrs {
            for ip in [cidr.0.network(), cidr.0.broadcast()] {
                let found = trunks.identify(ListenerId(0), Transport::Udp, ip);
                assert_eq!(found, Some(TrunkIndex(0)), "{} {ip}", carrier.name);
            }
        }
    }
}

#[test]
fn all_carriers_with_public_addresses_live_side_by_side() {
    let carriers = Carriers::built_in();
    let configs: Vec<TrunkConfig> = carriers
        .iter()
        .filter(|carrier| !carrier.inbound.cidrs.is_empty())
        .map(|carrier| trunk(&carrier.name, &carrier.name))
        .collect();

    assert_eq!(trunks(&configs).unwrap().iter().len(), configs.len());
}

#[test]
fn a_carrier_without_public_addresses_needs_them_from_the_trunk() {
    let without = trunks(&[trunk("west", "bandwidth")]).unwrap_err();
    assert_eq!(
        without,
        [TrunkFault {
            path: "trunks[0].inbound.cidrs".into(),
            value: "[]".into(),
            problem: "names no network, so every call would come from a stranger".into(),
            remedy: "list the networks the carrier signals from".into(),
        }]
    );

    let mut config = trunk("west", "bandwidth");
    config.inbound.insert("cidrs".into(), serde_json::json!(["192.0.2.8/30"]));
    let with = trunks(&[config]).unwrap();
    let ip = "192.0.2.11".parse().unwrap();
    assert_eq!(with.identify(ListenerId(0), Transport::Udp, ip), Some(TrunkIndex(0)));
    // What the trunk does not replace is still the carrier's: ten digits are a number here.
    let (_, west) = with.iter().next().unwrap();
    assert!(west.numbers.dialed_number(b"8005550100", b"").is_ok());
}

#[test]
fn two_trunks_of_one_carrier_need_listeners_of_their_own() {
    let both = [trunk("east", "telnyx"), trunk("west", "telnyx")];
    let faults = trunks(&both).unwrap_err();
    assert_eq!(faults.len(), 6, "two addresses on UDP, TCP and TLS each: {faults:?}");
    assert_eq!(
        faults[0],
        TrunkFault {
            path: "trunks[1].inbound.cidrs".into(),
            value: "192.76.120.10/32".into(),
            problem: "also belongs to trunk `east` on udp:192.0.2.1:5060".into(),
            remedy: "give the trunks different listeners, or a longer prefix to one of them, or ask the \
                     callers of both for a proof (inbound.auth = \"digest\")".into(),
        }
    );

    let [mut east, mut west] = both;
    east.listeners = vec!["udp:192.0.2.1:5060".into()];
    west.listeners = vec!["tcp:192.0.2.1:5060".into()];
    let trunks = trunks(&[east, west]).unwrap();
    let ip = "64.16.250.10".parse().unwrap();
    assert_eq!(trunks.identify(ListenerId(0), Transport::Udp, ip), Some(TrunkIndex(0)));
    assert_eq!(trunks.identify(ListenerId(1), Transport::Tcp, ip), Some(TrunkIndex(1)));
}

#[test]
fn no_carrier_is_answered_with_a_challenge_or_a_target_s_overload() {
    for carrier in Carriers::built_in().iter() {
        let Ok(trunks) = trunks(&[trunk_with_network(carrier)]) else {
            panic!("{} does not compile", carrier.name)
        };
        let (_, trunk) = trunks.iter().next().unwrap();
        for (target, answered) in [(401, 500), (407, 500), (422, 500), (503, 500), (302, 480)] {
            let status = trunk.failures.carrier_status(Cause::Target(target), None);
            assert_eq!(status, answered, "{} {target}", carrier.name);
        }
    }
}

#[test]
fn a_port_range_runs_upwards_and_a_media_network_is_one() {
    for carrier in Carriers::built_in().iter() {
        if let Some((first, last)) = carrier.media.port_range {
            assert!(first < last, "{}", carrier.name);
        }
        match &carrier.media.cidrs {
            MediaSources::Unknown | MediaSources::Any => {}
            MediaSources::Networks(networks) => assert!(!networks.is_empty(), "{}", carrier.name),
        }
    }
}

#[test]
fn a_file_of_one_s_own_takes_the_place_of_a_built_in_one() {
    let mut carriers = Carriers::built_in();
    let own = "name = \"telnyx\"\ntitle = \"Ours\"\n[inbound]\ncidrs = [\"192.0.2.1\"]\n";

    carriers.insert("telnyx", own).unwrap();

    assert_eq!(carriers.get("telnyx").unwrap().title, "Ours");
    for (text, complaint) in [
        ("name = \"other\"\ntitle = \"x\"", "calls itself `other`"),
        ("name = \"telnyx\"\ntitle = \"x\"\n[inbound]\ncidr = []", "inbound.cidr: unknown field"),
        ("name = \"telnyx\"\ntitle = \"x\"\n[inbound]\ncidrs = [\"192.0.2.1/24\"]", "192.0.2.0/24"),
        ("name = \"telnyx\"", "missing field `title`"),
        ("name = ", "line 1"),
        (
            "name = \"telnyx\"\ntitle = \"x\"\n[[tests]]\nruri = \"+18005550100\"",
            "tests[0]: expected did none, caller none, read did +18005550100, caller none",
        ),
    ] {
        let fault = carriers.insert("telnyx", text).unwrap_err().to_string();
        assert!(fault.contains(complaint), "{fault}");
    }
    assert_eq!(carriers.get("telnyx").unwrap().title, "Ours", "a bad file changes nothing");
}

#[test]
fn a_trunk_may_say_everything_itself() {
    let config: TrunkConfig = serde_json::from_value(serde_json::json!({
        "id": "pbx",
        "inbound": { "cidrs": ["192.0.2.7"], "transports": ["tcp"], "did_from": "to", "did_format": "national" },
        "failover": { "map": { "4xx": 480, "cap.full": 404 } },
    }))
    .unwrap();

    let trunks = trunks(&[config]).unwrap();

    let ip = "192.0.2.7".parse().unwrap();
    assert_eq!(trunks.identify(ListenerId(0), Transport::Udp, ip), None);
    let index = trunks.identify(ListenerId(1), Transport::Tcp, ip).unwrap();
    let trunk = trunks.get(index).unwrap();
    assert_eq!(trunk.name, "pbx");
    let dialed = trunk.numbers.dialed_number(b"extension", b"8005550100").unwrap();
    assert_eq!(dialed.digits(), 18_005_550_100);
    assert_eq!(trunk.failures.carrier_status(Cause::Target(486), None), 480);
    assert_eq!(trunk.failures.carrier_status(Cause::Own(Reason::CapFull), None), 404);
}

#[test]
fn each_field_of_a_trunk_is_told_with_who_says_it() {
    let mut own = trunk("a", "vonage");
    own.inbound.insert("cidrs".into(), serde_json::json!(["192.0.2.7"]));
    own.failover.insert("map".into(), serde_json::json!({ "486": 480 }));
    own.max_channels = Some(9);

    let trunks = trunks(&[own, trunk("b", "vonage")]).unwrap();

    let said = |id: &str, field: &str| {
        let (_, trunk) = trunks.iter().find(|(_, trunk)| trunk.id.as_str() == id).unwrap();
        let said = trunk.said.iter().find(|said| said.field == field);
        said.map(|said| (said.value.clone(), said.is_own))
    };
    assert_eq!(said("a", "inbound.cidrs"), Some((serde_json::json!(["192.0.2.7"]), true)));
    assert_eq!(said("a", "failover.map.486"), Some((480.into(), true)));
    assert_eq!(said("a", "max_channels"), Some((9.into(), true)));
    assert_eq!(said("b", "failover.map.486"), None, "written nowhere");
    let (_, networks_own) = said("b", "inbound.cidrs").unwrap();
    assert!(!networks_own);
    // All that the carrier's file says holds for the one that says nothing.
    let (_, b) = trunks.iter().find(|(_, trunk)| trunk.id.as_str() == "b").unwrap();
    assert!(b.said.iter().all(|said| !said.is_own), "{:?}", b.said);
}

#[test]
fn every_fault_of_the_trunks_is_told_at_once() {
    let mut digest = trunk("a", "twilio-elastic");
    digest.inbound.insert("auth".into(), serde_json::json!("digest"));
    let mut listener = trunk("b", "didww");
    listener.listeners = vec!["udp:198.51.100.1:5060".into()];
    let mut cidr = trunk("c", "didww");
    cidr.inbound.insert("cidrs".into(), serde_json::json!(["192.0.2.0/24", "192.0.2.300"]));
    let mut map = trunk("c", "vonage");
    map.failover.insert("map".into(), serde_json::json!({ "486": 401 }));
    let unknown = trunk("d", "telnix");

    let faults = trunks(&[digest, listener, cidr, map, unknown]).unwrap_err();

    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "trunks[3].id",
            "trunks[0].inbound.auth",
            "trunks[1].listeners[0]",
            "trunks[2].inbound.cidrs[1]",
            "trunks[3].failover.map.486",
            "trunks[4].carrier",
        ]
    );
    assert_eq!(faults[3].value, "\"192.0.2.300\"");
    assert!(faults.iter().all(|fault| !fault.problem.is_empty() && !fault.remedy.is_empty()));
}

#[test]
fn a_trunk_s_limits_go_before_those_of_its_carrier() {
    let mut carriers = Carriers::built_in();
    let text = "name = \"own\"\ntitle = \"x\"\n[inbound]\ncidrs = [\"192.0.2.1\"]\n\
                [limits]\nmax_channels = 30\nmax_cps = 3\n";
    carriers.insert("own", text).unwrap();
    let mut config = trunk("own", "own");
    config.max_channels = Some(10);

    let trunks = Trunks::compile(&[config], &listeners(), &carriers).unwrap();

    let trunk = trunks.get(TrunkIndex(0)).unwrap();
    assert_eq!((trunk.channels_max, trunk.cps_max), (Some(10), Some(3)));
}

#[test]
fn a_trunk_with_names_is_known_over_tls_by_its_certificate_alone() {
    let named = |id: &str, inbound: serde_json::Value| -> TrunkConfig {
        serde_json::from_value(serde_json::json!({ "id": id, "inbound": inbound })).unwrap()
    };
    let tls = serde_json::json!({ "transports": ["tls"], "tls_san": ["A.example"] });
    let both = serde_json::json!({ "cidrs": ["192.0.2.0/24"], "tls_san": ["b.example"] });
    let trunks = trunks(&[named("a", tls.clone()), named("b", both)]).unwrap();
    let ip = "192.0.2.7".parse().unwrap();
    let certified = |ip: &str, name: &str| {
        trunks.identify_certified(ListenerId(2), ip.parse().unwrap(), [name])
    };

    assert_eq!(certified("203.0.113.1", "a.example"), Some(TrunkIndex(0)));
    assert_eq!(certified("192.0.2.7", "b.example"), Some(TrunkIndex(1)));
    assert_eq!(certified("203.0.113.1", "b.example"), None);
    assert_eq!(trunks.identify(ListenerId(2), Transport::Tls, ip), None);
    assert_eq!(trunks.identify(ListenerId(0), Transport::Udp, ip), Some(TrunkIndex(1)));
    assert!(trunks.may_connect(ListenerId(2), Transport::Tls, "203.0.113.1".parse().unwrap()));
    assert!(!trunks.may_connect(ListenerId(1), Transport::Tcp, "203.0.113.1".parse().unwrap()));

    let shared = self::trunks(&[named("a", tls.clone()), named("c", tls)]).unwrap_err();
    assert_eq!(
        shared,
        [TrunkFault {
            path: "trunks[1].inbound.tls_san".into(),
            value: "a.example".into(),
            problem: "also belongs to trunk `a` on tls:192.0.2.1:5061".into(),
            remedy: "give the trunks different listeners, names or networks".into(),
        }]
    );
}

fn trunk(id: &str, carrier: &str) -> TrunkConfig {
    serde_json::from_value(serde_json::json!({ "id": id, "carrier": carrier })).unwrap()
}

fn trunk_with_network(carrier: &Profile) -> TrunkConfig {
    let mut config = trunk(&carrier.name, &carrier.name);
    config.inbound.insert("cidrs".into(), serde_json::json!(["192.0.2.0/24"]));
    config
}

fn trunks(configs: &[TrunkConfig]) -> Result<Trunks, Vec<TrunkFault>> {
    Trunks::compile(configs, &listeners(), &Carriers::built_in())
}

fn listeners() -> [TrunkListener; 3] {
    [
        TrunkListener {
            id: ListenerId(0),
            transport: Transport::Udp,
            name: "udp:192.0.2.1:5060".into(),
        },
        TrunkListener {
            id: ListenerId(1),
            transport: Transport::Tcp,
            name: "tcp:192.0.2.1:5060".into(),
        },
        TrunkListener {
            id: ListenerId(2),
            transport: Transport::Tls,
            name: "tls:192.0.2.1:5061".into(),
        },
    ]
}

//! The configuration as a user meets it: the example files, overrides, and messages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tollbridge::config::{
    Config, ConfigError, EventForm, Format, HostPort, KafkaSettings, ListenAddress,
    ListenTransport, LogFormat, OrphanBill, Settings, ShipperSettings,
};
use tollbridge::id::{CallId, CampaignId, PoolId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::hold::Bucket;
use tollbridge::routing::{
    Decision, Known, Rotation, RouteRequest, RoutingConfig, RoutingSnapshot, Tags, Usage, decide,
};
use tollbridge::sip::flow::{ListenerId, Transport};
use tollbridge::sip::trunk::{Carriers, TrunkConfig, TrunkIndex, TrunkListener, Trunks};
use tollbridge::time::Wall;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.toml");
const LOOPBACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/loopback.toml");

#[test]
fn the_loopback_file_shows_every_setting_with_its_default() {
    let text = std::fs::read_to_string(LOOPBACK).unwrap();
    let shown: BTreeMap<String, Value> =
        leaves(&serde_json::to_value(read(&text).unwrap().settings).unwrap());
    let defaults = leaves(&serde_json::to_value(Settings::default()).unwrap());
    // What the file sets otherwise, as its own text says.
    let other = [
        "sip.probe_interval_s",
        "api.keys",
        "journal.low_water_bytes",
        "journal.reserve_water_bytes",
    ];

    for (path, default) in &defaults {
        let field = path.rsplit('.').next().unwrap();
        let is_written = text.lines().any(|line| {
            line.strip_prefix('#').unwrap_or(line).starts_with(&format!("{field} = "))
                || [format!("[{path}]"), format!("#[[{path}]]")].contains(&line.to_owned())
        });
        assert!(is_written, "{path} is not in the file");
        if !other.contains(&path.as_str()) {
            assert_eq!(shown.get(path), Some(default), "{path}");
        }
    }
}

#[test]
fn the_shippers_that_the_loopback_file_shows_are_as_it_says() {
    let text = std::fs::read_to_string(LOOPBACK).unwrap();
    let (_, shown) = text.split_once("#[[shippers]]\n").unwrap();
    let (shown, _) = shown.split_once("\n# Sums over").unwrap();
    let (common, places) = shown.split_once("#[shippers.redis]").unwrap();
    let (redis, kafka) = places.split_once("#[shippers.kafka]").unwrap();
    let shipper = |table: &str, fields: &str| -> Result<ShipperSettings, String> {
        let text = format!("#[[shippers]]\n{common}#[shippers.{table}]{fields}");
        let lines = text.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
        let read = read(&lines.collect::<Vec<_>>().join("\n")).map_err(|it| it.to_string())?;
        Ok(read.settings.shippers[0].clone())
    };
    let bare = |table: &str, servers: &str| -> ShipperSettings {
        let text = format!("id = \"a\"\ncallers = {{ tell = \"nothing\" }}\n[{table}]\n{servers}");
        toml::from_str(&text).unwrap()
    };

    let plain = redis.replace("redis://10", "rediss://10");
    let read = shipper("redis", &plain).unwrap();
    let (shown, default) = (read.redis.unwrap(), bare("redis", "urls = []").redis.unwrap());
    assert_eq!((read.form, read.tags), (EventForm::Protobuf, vec![]));
    assert_eq!(
        (shown.prefix, shown.connect_timeout, shown.timeout, shown.keep),
        (default.prefix, default.connect_timeout, default.timeout, default.keep)
    );
    assert_eq!((shown.entries_max, shown.repeat), (default.entries_max, default.repeat));

    let read = shipper("kafka", kafka);
    if cfg!(feature = "kafka") {
        let (shown, default) = (read.unwrap().kafka.unwrap(), bare("kafka", "brokers = []"));
        let default = KafkaSettings {
            brokers: shown.brokers.clone(),
            tls: shown.tls.clone(),
            sasl: shown.sasl.clone(),
            ..default.kafka.unwrap()
        };
        assert_eq!(shown, default);
    } else {
        assert!(read.unwrap_err().contains("needs a build with Kafka"));
    }
}

#[test]
fn the_loopback_file_is_what_the_tests_of_the_product_expect() {
    let config = Config::load(Path::new(LOOPBACK), no_env(), &[]).unwrap();
    let settings = &config.settings;

    let listen: Vec<String> = settings.sip.listen.iter().map(ListenAddress::to_string).collect();
    assert_eq!(
        listen,
        ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060", "udp:[::1]:5060", "tcp:[::1]:5060"]
    );
    assert_eq!(settings.api.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.api.keys[0].key.reveal(), "dev");
    assert_eq!(settings.store.dir, Path::new("./data"));
    assert_eq!(settings.sip.probe_interval, None);
}

#[test]
fn in_the_loopback_file_whoever_is_on_this_machine_may_call() {
    let config = Config::load(Path::new(LOOPBACK), no_env(), &[]).unwrap();
    let trunks = trunks(&config);

    for (listener, transport) in
        [(0, Transport::Udp), (1, Transport::Tcp), (2, Transport::Udp), (3, Transport::Tcp)]
    {
        let identify = |ip: &str| {
            let ip: IpAddr = ip.parse().unwrap();
            trunks.identify(ListenerId(listener), transport, ip)
        };
        assert_eq!(identify("127.0.0.1"), Some(TrunkIndex(0)));
        assert_eq!(identify("127.255.0.9"), Some(TrunkIndex(0)));
        assert_eq!(identify("::1"), Some(TrunkIndex(0)));
        assert_eq!(identify("192.0.2.1"), None);
        assert_eq!(identify("::2"), None);
    }
}

#[test]
fn the_loopback_numbers_go_where_the_file_says() {
    let config = Config::load(Path::new(LOOPBACK), no_env(), &[]).unwrap();
    let (trunks, snapshot) = (trunks(&config), snapshot(&config));
    let (_, trunk) = trunks.iter().next().unwrap();
    let first = "sip:127.0.0.1:5070";
    let second = "sip:127.0.0.1:5080";

    for number in 18_005_550_100..=18_005_550_199_u64 {
        let plain = number.to_string();
        for user in [plain.clone(), format!("+{plain}"), format!("+{plain};npdi")] {
            let dialed = trunk.numbers.dialed_number(user.as_bytes(), b"").unwrap();
            let decision = decision(&snapshot, dialed);
            let dialled: Vec<String> =
                decision.plan.iter().map(|attempt| host_of(&attempt.uri)).collect();

            let expected: &[&str] =
                if number < 18_005_550_150 { &[first, second] } else { &[first] };
            assert_eq!(dialled, expected, "{number}");
            let is_single = number == 18_005_550_198;
            assert_eq!(decision.plan[0].holds.len(), usize::from(is_single), "{number}");
        }
    }
    for outside in [18_005_550_099, 18_005_550_200] {
        let dialed = PhoneNumber::from_digits(outside).unwrap();
        assert!(decision(&snapshot, dialed).plan.is_empty());
    }
}

#[test]
fn the_loopback_hunt_goes_on_after_these_codes_and_times_only() {
    let config = Config::load(Path::new(LOOPBACK), no_env(), &[]).unwrap();
    let snapshot = snapshot(&config);

    let campaign = snapshot.campaign(&CampaignId::new("failover")).unwrap();
    assert_eq!(*campaign.advance_on, [408, 480, 486, 500, 503]);
    let dialed = PhoneNumber::from_digits(18_005_550_100).unwrap();
    for attempt in decision(&snapshot, dialed).plan {
        assert_eq!((attempt.ring_timeout_ms, attempt.first_response_ms), (6000, 2000));
    }
}

#[test]
fn the_targets_of_an_example_can_be_moved() {
    let sets = [String::from("targets.first.dial.uri=sip:127.0.0.1:6070")];
    let env = [("TOLLBRIDGE_TARGETS__SECOND__DIAL__URI", "sip:127.0.0.1:6080")];
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = Config::load(Path::new(LOOPBACK), env, &sets).unwrap();

    let dialed = PhoneNumber::from_digits(18_005_550_100).unwrap();
    let decision = decision(&snapshot(&config), dialed);

    let dialled: Vec<String> = decision.plan.iter().map(|it| host_of(&it.uri)).collect();
    assert_eq!(dialled, ["sip:127.0.0.1:6070", "sip:127.0.0.1:6080"]);
}

#[test]
fn the_demo_is_a_business_that_works() {
    let config = Config::load(Path::new(DEMO), no_env(), &[]).unwrap();
    let (trunks, snapshot) = (trunks(&config), snapshot(&config));

    assert_eq!(trunks.get(TrunkIndex(0)).unwrap().channels_max, Some(200));
    for (number, targets) in [
        (18_005_550_199, &["tgt_summit", "tgt_coolbreeze"][..]),
        (18_005_550_125, &["tgt_statewide"]),
        (16_145_550_104, &["tgt_summit", "tgt_coolbreeze"]),
    ] {
        let decision = decision(&snapshot, PhoneNumber::from_digits(number).unwrap());
        let dialled: Vec<&str> = decision.plan.iter().map(|it| it.target.as_str()).collect();
        assert_eq!(dialled, targets, "{number}");
        for attempt in &decision.plan {
            let terms = attempt.terms.unwrap();
            assert!(terms.revenue > terms.payout, "{number}: a call must be worth its price");
        }
    }
    assert_eq!(snapshot.pool(&PoolId::new("pool_hvac")).unwrap().numbers.len(), 8);
}

#[test]
fn a_set_goes_before_the_environment_and_that_before_the_file() {
    let text = "[sip]\nt1_ms = 100\nt2_ms = 1000\nt4_ms = 1000\n";
    let env = [("TOLLBRIDGE_SIP__T1_MS", "200"), ("TOLLBRIDGE_SIP__T2_MS", "2000")];

    let config = parse(text, &env, &["sip.t1_ms=300"]).unwrap();

    let sip = config.settings.sip;
    assert_eq!(
        (sip.t1, sip.t2, sip.t4),
        (Duration::from_millis(300), Duration::from_secs(2), Duration::from_secs(1))
    );
}

#[test]
fn an_override_is_read_as_what_it_replaces() {
    let config = parse(
        "[log]\nformat = \"json\"\n[api]\nkeys = [{ id = \"ops\", key = \"k\" }]\n",
        &[
            ("TOLLBRIDGE_NODE__NAME", "12"),
            ("TOLLBRIDGE_API__KEYS__OPS__KEY", "34"),
            ("TOLLBRIDGE__LOG__FILTER", "debug"),
            ("TOLLBRIDGE_SIP__LISTEN", "udp:127.0.0.1:6060, tcp:127.0.0.1:6060"),
            ("PATH", "/bin"),
            ("TOLLBRIDGE_CRASH_ROUNDS", "200"),
        ],
        &[
            "log.format = text",
            "cdr.orphan_bill=\"zero\"",
            "sip.advertise.\"udp:127.0.0.1:6060\"=sip.example.com:5070",
            "sip.user_agent=Tollbridge 1",
            "sip.tcp.idle_s=0",
        ],
    )
    .unwrap();

    let settings = &config.settings;
    assert_eq!(settings.node.name, "12");
    assert_eq!(settings.api.keys[0].key.reveal(), "34");
    assert_eq!(settings.log.filter, "debug");
    assert_eq!(settings.log.format, LogFormat::Text);
    assert_eq!(settings.cdr.orphan_bill, OrphanBill::Zero);
    assert_eq!(settings.sip.listen.len(), 2);
    assert_eq!(settings.sip.user_agent.as_deref(), Some("Tollbridge 1"));
    assert_eq!(settings.sip.tcp.idle, None);
    let told: Vec<(String, u16)> = settings
        .sip
        .listeners()
        .into_iter()
        .map(|listener| (listener.advertised.host.to_string(), listener.advertised.port))
        .collect();
    assert_eq!(told, [("sip.example.com".into(), 5070), ("127.0.0.1".into(), 6060)]);
    assert_eq!(
        settings.sip.advertise.values().next(),
        Some(&HostPort { host: "sip.example.com".into(), port: Some(5070) })
    );
}

/// Stands for the sections of others.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Target {
    id: String,
    dial: Dial,
    #[serde(default)]
    limit: u32,
    #[serde(default)]
    codes: Vec<u16>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Dial {
    uri: String,
}

const TARGETS: &str = "\
[[targets]]
id = \"tgt_a\"
dial = { uri = \"sip:127.0.0.1:5070\" }

[[targets]]
id = \"tgt-b\"
codes = [486]
[targets.dial]
uri = \"sip:127.0.0.1:5080\"
";

#[test]
fn entries_of_a_list_are_called_by_their_id() {
    let config = parse(
        TARGETS,
        &[
            ("TOLLBRIDGE_TARGETS__TGT_A__DIAL__URI", "sip:127.0.0.1:6070"),
            ("TOLLBRIDGE_TARGETS__TGT_B__LIMIT", "3"),
        ],
        &["targets.tgt-b.dial.uri=sip:127.0.0.1:6080", "targets[1].codes=408,480"],
    )
    .unwrap();

    let targets: Vec<Target> = config.section("targets").unwrap();
    let target = |id: &str, uri: &str, limit, codes| Target {
        id: id.into(),
        dial: Dial { uri: uri.into() },
        limit,
        codes,
    };
    assert_eq!(
        targets,
        [
            target("tgt_a", "sip:127.0.0.1:6070", 0, vec![]),
            target("tgt-b", "sip:127.0.0.1:6080", 3, vec![408, 480]),
        ]
    );
}

#[test]
fn sections_that_are_absent_are_empty() {
    #[derive(Deserialize)]
    struct Routing {
        targets: Vec<Target>,
        pools: Vec<Target>,
    }

    let config = parse(TARGETS, &[], &[]).unwrap();
    let routing: Routing = config.sections(&["targets", "pools"]).unwrap();

    assert_eq!((routing.targets.len(), routing.pools.len()), (2, 0));
    assert_eq!(config.section::<Vec<Target>>("buyers").unwrap(), []);
}

/// The file, the environment and the `--set`s, and what is said about them.
type Mistake =
    (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static str);

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    ("[sip]\nt1_ms = \"abc\"\n", &[], &[],
     "test.toml:2: sip.t1_ms = \"abc\": is not a whole number from 0 up that fits; write digits without quotes, such as 500"),
    ("[sip]\nt1_ms = -5\n", &[], &[],
     "test.toml:2: sip.t1_ms = -5: is negative; write 0 or more"),
    ("[sip]\n\nt1ms = 500\n", &[], &[],
     "test.toml:3: sip.t1ms = 500: is no field that is known here; did you mean `t1_ms`?"),
    ("[sip]\nt1_ms = 1\n", &[], &[],
     "test.toml:2: sip.t1_ms = 1: is out of range; use 10 to 5000 milliseconds"),
    ("[spi]\n", &[], &[],
     "test.toml:1: spi: is no section; did you mean `sip`?"),
    ("[[target]]\nid = \"a\"\n", &[], &[],
     "test.toml:1: target: is no section; did you mean `targets`?"),
    ("[sip]\nlisten = [\"udp:127.0.0.1:5060\",\n  \"ws:127.0.0.1:5061\"]\n", &[], &[],
     "test.toml:3: sip.listen[1] = \"ws:127.0.0.1:5061\": is not TRANSPORT:ADDRESS:PORT, such as udp:127.0.0.1:5060, tcp:[::1]:5060 or tls:127.0.0.1:5061"),
    ("[sip]\nlisten = [\"tls:127.0.0.1:5061\"]\n", &[], &[],
     "test.toml:2: sip.listen[0] = tls:127.0.0.1:5061: needs a certificate to show; add [sip.tls] certificates = [{ chain_file = \"…\", key_file = \"…\" }]"),
    ("[sip.tls]\nclient_ca_file = \"ca.pem\"\n", &[], &[],
     "test.toml:2: sip.tls.client_ca_file = ca.pem: has no effect while client_auth is \"none\"; set client_auth to \"optional\" or \"required\""),
    ("[sip.tls]\nmin_version = \"1.1\"\n", &[], &[],
     "test.toml:2: sip.tls.min_version = \"1.1\": is none of the words that are known here; did you mean `1.2`?"),
    ("[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n", &[], &[],
     "test.toml:2: sip.listen[0] = udp:0.0.0.0:5060: is every address, which no peer can answer to; name one, or add sip.advertise = { \"udp:0.0.0.0:5060\" = \"HOST\" }"),
    ("[sip.advertise]\n\"udp:127.0.0.1:5061\" = \"a.example\"\n", &[], &[],
     "test.toml:2: sip.advertise.udp:127.0.0.1:5061 = udp:127.0.0.1:5061: is no listener; write it as it stands in sip.listen"),
    ("[log]\nformat = \"jsn\"\n", &[], &[],
     "test.toml:2: log.format = \"jsn\": is none of the words that are known here; did you mean `json`?"),
    ("[api]\nlisten = \"0.0.0.0:8080\"\nkeys = [{ id = \"dev\", key = \"hunter2\" }]\n", &[], &[],
     "test.toml:3: api.keys[0].key: is too short for 0.0.0.0:8080, which is open to others; use 16 random characters or more"),
    ("[api]\nkeys = [{ id = \"dev\", key = 7 }]\n", &[], &[],
     "test.toml:2: api.keys[0].key: is not a text; put it in quotes"),
    ("[api]\nkeys = [{ id = \"dev\" }]\n", &[], &[],
     "test.toml:2: api.keys[0]: lacks `key`; add it"),
    ("[sip\n", &[], &[],
     "test.toml:1: is no TOML: unclosed table, expected `]`"),
    ("sip = 5\n", &[], &[],
     "test.toml:1: sip = 5: is not a table; write { field = value }"),
    ("", &[("TOLLBRIDGE_SIP__T1_MSS", "5")], &[],
     "environment variable TOLLBRIDGE_SIP__T1_MSS: sip.t1_mss = 5: is no field that is known here; did you mean `t1_ms`?"),
    ("", &[("TOLLBRIDGE_SIP_T1_MS", "5")], &[],
     "environment variable TOLLBRIDGE_SIP_T1_MS: sets nothing; did you mean TOLLBRIDGE_SIP__T1_MS?"),
    ("", &[("TOLLBRIDGE_SPI__T1_MS", "5")], &[],
     "environment variable TOLLBRIDGE_SPI__T1_MS: spi: is no section; did you mean `sip`?"),
    ("", &[], &["sip.t1_ms=soon"],
     "--set sip.t1_ms: sip.t1_ms = \"soon\": is not a whole number from 0 up that fits; write digits without quotes, such as 500"),
    ("", &[], &["sip.t1_ms"],
     "--set sip.t1_ms: has no key or no value; write --set key.path=value"),
    ("", &[], &["sip.t1_ms.x=5"],
     "--set sip.t1_ms.x: sip.t1_ms: is no table, it has no `x`; set sip.t1_ms itself"),
    ("", &[], &["sip=5"],
     "--set sip: sip: is a whole table; set one field of it"),
    (TARGETS, &[], &["targets.tgt_c.limit=5"],
     "--set targets.tgt_c.limit: targets: has no entry `tgt_c`; did you mean `tgt_a`?"),
    (TARGETS, &[], &["targets.tgt_a.id.x=5"],
     "--set targets.tgt_a.id.x: targets[0].id: is no table, it has no `x`; set targets[0].id itself"),
    ("[journal]\nlow_water_bytes = 10\n", &[], &[],
     "test.toml:1: journal.reserve_water_bytes = 268435456: is above low_water_bytes, 10; pings are given up before calls; set it to that or less"),
    ("[redis]\nurls = [\"redis://10.0.0.5:6379\"]\ncall_timeout_ms = 1000\n", &[], &[],
     "test.toml:3: redis.call_timeout_ms = 1000: with replica_timeout_ms and timeout_ms a call may wait for the store for 6860 ms, and decision.deadline_ms is 3000; lower one of the three, or raise decision.deadline_ms"),
    ("[pressure]\ncpu_percent = 5\n", &[], &[],
     "test.toml:2: pressure.cpu_percent = 5: is out of range; use 20 to 100 percent"),
];

#[test]
fn a_mistake_is_told_with_place_field_value_and_remedy() {
    for (text, env, sets, message) in MISTAKES {
        let error = parse(text, env, sets).err().unwrap_or_else(|| panic!("{message}"));
        assert_eq!(error.to_string(), *message);
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = parse("[spi]\n[sip]\nt1_ms = 1\nt2_ms = 1\n", &[], &["foo.bar=1"]).unwrap_err();
    let ConfigError::Faults(faults) = &error else { panic!("{error}") };
    assert_eq!(faults.len(), 4);
    assert_eq!(error.to_string().lines().count(), 4);
}

#[test]
fn mistakes_in_the_sections_of_others_are_told_in_the_same_way() {
    let told = |sets: &[&str]| {
        let config = parse(TARGETS, &[], sets).unwrap();
        config.section::<Vec<Target>>("targets").unwrap_err().to_string()
    };
    assert_eq!(
        told(&["targets.tgt-b.limt=5"]),
        "--set targets.tgt-b.limt: targets[1].limt = 5: is no field that is known here; \
         did you mean `limit`?"
    );
    assert_eq!(
        told(&["targets.tgt-b.codes=408,busy"]),
        "--set targets.tgt-b.codes: targets[1].codes[1] = \"busy\": is not a whole number from 0 up \
         that fits; write digits without quotes, such as 500"
    );

    let config = parse(TARGETS, &[], &["targets.tgt_a.limit=7"]).unwrap();
    let found = |path: &str| {
        let owned = |text: &str| text.to_owned();
        let fault = (owned(path), owned("v"), owned("is wrong"), owned("fix it"));
        config.faults([fault]).to_string()
    };
    assert_eq!(
        found("targets[1].dial.uri"),
        "test.toml:9: targets[1].dial.uri = v: is wrong; fix it"
    );
    assert_eq!(found("targets[1].caps[0].limit").split_once(": ").unwrap().0, "test.toml:5");
    assert_eq!(found("targets[0].limit").split_once(": ").unwrap().0, "--set targets.tgt_a.limit");
    assert_eq!(found("pools[0]").split_once(": ").unwrap().0, "test.toml");
    assert_eq!(config.fault_at("targets[1].dial.uri"), Some(9));
    assert_eq!(config.fault_at("targets[0].limit"), None);
}

#[test]
fn what_is_agreed_with_a_target_is_checked_with_its_place() {
    let told = |set: &str| {
        let config = Config::load(Path::new(LOOPBACK), no_env(), &[set.to_owned()]).unwrap();
        tollbridge::server::compile(&config, 1).err().unwrap().to_string()
    };
    for (set, place) in [
        ("targets.second.sip.redirect.max=11", "targets[1].sip.redirect.max = 11"),
        ("targets.second.sip.refer.hosts=[\"a:1\"]", "targets[1].sip.refer.hosts[0] = a:1"),
        ("targets.second.sip.redirekt=1", "targets[1].sip.redirekt"),
        ("targets.second.sip.delivery=pigeon", "targets[1].sip.delivery"),
    ] {
        let text = told(set);
        assert!(text.contains(place), "{text}");
    }
    let secret = told("targets.second.sip.credentials={ username = \"u\", password = 77123 }");
    assert!(!secret.contains("77123"), "{secret}");
}

#[test]
fn json_is_read_like_toml_and_keeps_its_lines() {
    let parse = |text: &str| {
        let config = Config::parse("test.json", text, Format::Json, no_env(), &[]);
        config.map_err(|error| error.to_string())
    };
    let config = parse(
        "{\n \"sip\": { \"t1_ms\": 250, \"user_agent\": null },\n \"targets\": [\n  { \"id\": \"a\",\n    \
         \"dial\": { \"uri\": 7 } } ] }",
    )
    .unwrap();

    assert_eq!(config.settings.sip.t1, Duration::from_millis(250));
    assert_eq!(
        config.section::<Vec<Target>>("targets").unwrap_err().to_string(),
        "test.json:5: targets[0].dial.uri = 7: is not a text; put it in quotes"
    );
    assert_eq!(
        parse("{\n \"sip\": { \"t1ms\": 5 } }").unwrap_err(),
        "test.json:2: sip.t1ms = 5: is no field that is known here; did you mean `t1_ms`?"
    );
    assert_eq!(
        parse("[]").unwrap_err(),
        "test.json: is not a JSON object; write { \"sip\": { … }, … }"
    );
    let twice = parse("{\n \"sip\": {},\n \"sip\": {} }").unwrap_err();
    assert!(twice.contains("`sip` is written twice"), "{twice}");
    let broken = parse("{\n \"sip\": {,} }").unwrap_err();
    assert!(broken.starts_with("test.json:2: is no JSON"), "{broken}");
}

#[test]
fn a_file_that_is_not_there_is_told_with_its_name() {
    let error = Config::load(Path::new("no/such.toml"), no_env(), &[]).unwrap_err().to_string();
    assert!(error.starts_with("no/such.toml: ") && error.contains("--config"), "{error}");
}

#[test]
fn no_secret_is_printed() {
    let config = parse("[api]\nkeys = [{ id = \"dev\", key = \"hunter2\" }]\n", &[], &[]).unwrap();

    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.to_json()["api"]["keys"][0]["key"], "…");
}

fn trunks(config: &Config) -> Trunks {
    let configs: Vec<TrunkConfig> = config.section("trunks").unwrap();
    let listen = config.settings.sip.listen.iter().zip(0..);
    let listeners: Vec<TrunkListener> = listen
        .map(|(address, id)| TrunkListener {
            id: ListenerId(id),
            transport: match address.transport {
                ListenTransport::Udp => Transport::Udp,
                ListenTransport::Tcp => Transport::Tcp,
                ListenTransport::Tls => Transport::Tls,
            },
            name: address.to_string().into(),
        })
        .collect();
    Trunks::compile(&configs, &listeners, &Carriers::built_in()).unwrap()
}

fn snapshot(config: &Config) -> RoutingSnapshot {
    let routing: RoutingConfig = config.routing().whole().unwrap();
    RoutingSnapshot::compile(routing, 1).unwrap()
}

fn decision(snapshot: &RoutingSnapshot, dialed: PhoneNumber) -> Decision {
    let request = RouteRequest {
        call: CallId::from_bytes([7; 16]),
        at: Wall(1_773_759_852_318),
        dialed,
        caller: None,
        trunk: "".into(),
        named: None,
        tags: Tags::new(),
        announced: false,
    };
    let unused = BTreeMap::<Bucket, Usage>::new();
    decide(snapshot, &request, Known::default(), &unused, &mut Rotation::default())
}

/// The URI without the dialled number, which routing puts in front of the host.
fn host_of(uri: &str) -> String {
    match uri.split_once('@') {
        Some((_, host)) => format!("sip:{host}"),
        None => uri.to_owned(),
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    parse(text, &[], &[])
}

fn parse(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse("test.toml", text, Format::Toml, env, &sets)
}

fn no_env() -> impl Iterator<Item = (String, String)> {
    std::iter::empty()
}

/// Every value that is no table, by its path.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    let mut open = vec![(String::new(), value)];
    while let Some((path, value)) = open.pop() {
        match value.as_object().filter(|fields| !fields.is_empty()) {
            Some(fields) => open.extend(fields.iter().map(|(name, value)| {
                (if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, value)
            })),
            None => {
                leaves.insert(path, value.clone());
            }
        }
    }
    leaves
}

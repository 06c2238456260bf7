//! How the program starts, and how it does not; and how it goes out of service.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tollbridge::cdr::journal::format::{self, HEADER_LEN, Parsed};

use crate::support::server::repository;
use crate::support::{api, http, ports, wait_for};
use crate::wire::peer::{SDP, request, response, with_body};
use crate::wire::program::Program;
use crate::wire::{Call, Setup, play, play_with};

/// What a run of the program came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    text: String,
}

impl Run {
    /// It refused with this code, and said all of this.
    fn refuses(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "`{word}` is not in: {}", self.text);
        }
        assert!(!self.text.contains("panicked"), "{}", self.text);
    }
}

fn run(arguments: &[&str]) -> Run {
    run_with(arguments, &[])
}

/// What the program says of a configuration, in a file `wrong.toml`.
fn check(config: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wrong.toml");
    fs::write(&path, config).unwrap();
    run(&["check", "--config", &path.display().to_string()])
}

/// Runs the program to its end, which must come by itself.
fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let work = tempfile::tempdir().unwrap();
    let (out, log) = (work.path().join("out"), work.path().join("log"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_tollbridge"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let ended = wait_for("the program to end", Duration::from_secs(60), || Ok(child.try_wait()?));
    if ended.is_err() {
        child.kill().and_then(|()| child.wait()).unwrap();
    }
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let text = read(&out) + &read(&log);
    let status = ended.unwrap_or_else(|error| panic!("{error:#}:\n{text}"));
    Run { code: status.code(), text }
}

fn loopback() -> String {
    repository("examples/loopback.toml").display().to_string()
}

/// The example on ports of its own, and its arguments for `serve`.
struct Place {
    sip: SocketAddr,
    api: SocketAddr,
    data: PathBuf,
    work: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let first = ports::block(2).unwrap();
        let work = tempfile::tempdir().unwrap();
        let [sip, api] =
            [first, first + 1].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Self { sip, api, data: work.path().join("data"), work }
    }

    fn arguments(&self) -> Vec<String> {
        let Self { sip, api, data, .. } = self;
        let sets = [
            format!("sip.listen=udp:{sip},tcp:{sip}"),
            format!("api.listen={api}"),
            format!("store.dir={}", data.display()),
        ];
        let mut arguments = vec!["serve".to_owned(), "--config".to_owned(), loopback()];
        arguments.extend(sets.into_iter().flat_map(|set| ["--set".to_owned(), set]));
        arguments
    }

    fn run(&self) -> Run {
        run(&self.arguments().iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn serve(&self) -> Result<Program> {
        let mut program = Program::spawn(&self.arguments(), &self.work.path().join("log"))?;
        program.until_ready(self.api)?;
        Ok(program)
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_place_value_and_remedy() {
    let work = tempfile::tempdir().unwrap();
    let example = fs::read_to_string(loopback()).unwrap();
    for (n, (right, wrong, words)) in [
        ("t1_ms = 500 ", "t1_ms = \"soon\" ", &["sip.t1_ms = \"soon\"", "number"][..]),
        ("t1_ms = 500 ", "t1_ms = 0 ", &["sip.t1_ms = 0"]),
        ("t1_ms = 500 ", "t1_sm = 500 ", &["sip.t1_sm", "t1_ms"]),
        ("id = 1  ", "id = -1  ", &["node.id = -1"]),
        ("\"tcp:127.0.0.1:5060\"", "\"tls:127.0.0.1:5060\"", &["sip.listen", "tls:127.0.0.1:5060"]),
        ("format = \"text\"", "format = \"xml\"", &["log.format", "xml", "json"]),
        ("filter = \"info\"", "filter = \"a=b=c\"", &["log.filter = a=b=c", "such as info"]),
        ("carrier = \"loopback\"", "carrier = \"nobody\"", &["trunks[0].carrier", "nobody"]),
        ("uri = \"sip:127.0.0.1:5080\"", "uri = \"127.0.0.1:5080\"", &["dial.uri", "sip:"]),
        ("buyer = \"tests\"", "buyer = \"ghost\"", &["buyer", "ghost"]),
        (
            "carrier = \"loopback\"",
            "dialog.session_timer.se_s = 60\ncarrier = \"loopback\"",
            &["trunks[0].dialog.session_timer.se_s = 60", "90 to 86400"],
        ),
        (
            "name = \"5080\"",
            "dialog.session_timer.min_se_s = 5\nname = \"5080\"",
            &["targets[1].dialog.session_timer.min_se_s = 5", "90 to 86400"],
        ),
        (
            "name = \"5080\"",
            "dialog.100rel = \"maybe\"\nname = \"5080\"",
            &["targets[1].dialog.100rel", "maybe", "required"],
        ),
        ("listen = \"127.0.0.1:8080\"", "listen = \"everywhere\"", &["api.listen", "everywhere"]),
        ("listen = \"127.0.0.1:8080\"", "listen = \"0.0.0.0:8080\"", &["api.keys", "16"]),
        ("[journal]", "[journal", &["]"]),
    ]
    .into_iter()
    .enumerate()
    {
        let line = example.lines().position(|line| line.contains(right));
        let line = line.unwrap_or_else(|| panic!("{right} is not in the example")) + 1;
        let path = work.path().join(format!("wrong{n}.toml"));
        fs::write(&path, example.replacen(right, wrong, 1)).unwrap();
        let path = path.display().to_string();
        for command in ["check", "serve"] {
            let run = run(&[command, "--config", &path]);
            run.refuses(2, words);
            // A key that is too short is at fault where it stands, not where the address does.
            if !wrong.contains("0.0.0.0") {
                run.refuses(2, &[&format!("{path}:{line}: ")]);
            }
        }
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let file = loopback();
    // The settings first, then what they are to make.
    for sets in [
        &["sip.t1_ms=0", "sip.t2_ms=0"][..],
        &["log.filter=a=b=c", "targets.alone.buyer=ghost", "trunks.loopback.carrier=nobody"],
    ] {
        let arguments: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let run = run(&[&["check", "--config", &file][..], &arguments].concat());
        for set in sets {
            let key = set.split('=').next().unwrap();
            run.refuses(2, &[&format!("--set {key}: ")]);
        }
    }
}

/// What does not fit hides nothing of what does, and says no more.
#[test]
fn faults_of_every_kind_are_told_at_once_and_each_by_its_place() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("wrong.toml");
    let config = r#"publishers = [{ id = "p" }]
buyers = [{ id = "b" }]
[[targets]]
id = "negative"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
caps = [{ metric = "connected", window = "daily", limit = -5 }]
[[targets]]
id = "dangling"
buyer = "ghost"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
[[targets]]
id = "unknown"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
filters = { all = [{ tag = "geo.state", op = "resembles", value = "OH" }] }
colour = "red"
[[targets]]
id = "elsewhere"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
schedule = { time_zone = "Mars/Olympus", always_open = true }
[[campaigns]]
id = "c"
publisher = "p"
numbers = ["+18005550100"]
routing = { tiers = [{ tier = 1, targets = [{ target = "negative", weight = -3 }] }] }
"#;
    fs::write(&path, config).unwrap();
    let run = run(&["check", "--config", &path.display().to_string()]);
    run.refuses(
        2,
        &[
            "wrong.toml:7: targets[0].caps[0].limit = -5: is negative; write 1 or more",
            "targets[1].buyer = ghost",
            "targets[2].filters.all[0].op = \"resembles\": is none of the words",
            "targets[2].colour = \"red\": is no field",
            "Mars/Olympus",
            "campaigns[0].routing.tiers[0].targets[0].weight = -3: is negative",
        ],
    );
    let told = run.text.lines().filter(|line| line.contains("wrong.toml:")).count();
    assert_eq!(told, 6, "{}", run.text);
}

#[test]
fn what_goes_by_other_settings_is_told_beside_faults_of_these() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"
[sip]
listen = ["udp:127.0.0.1:0"]
[journal]
linger_ms = 5000
[fraud.points]
tol_fraud = 5
[[scorers]]
id = "model"
kind = "http"
url = "http://192.0.2.9/score"
[[trunks]]
id = "loop"
carrier = "loopbak"
[[buyers]]
id = "b"
[[targets]]
id = "t"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
sip = { headers = { add = { "Via" = "x" } } }
"#;
    let of_sip = ["trunks[0].carrier = loopbak: ", "targets[0].sip.headers.add"];
    let others = [
        "journal.linger_ms = 5000: is out of",
        "fraud.points.tol_fraud = 5: is of no reason",
        "scorers[0].url = http://192.0.2.9/score: would be asked in clear text",
    ];
    let check = |config: &str, told: &[&str]| {
        let run = check(config);
        run.refuses(2, told);
        for part in told {
            assert_eq!(run.text.matches(part).count(), 1, "`{part}` in: {}", run.text);
        }
        run.text
    };
    check(config, &[&of_sip[..], &others].concat());
    // Of listeners that cannot be read nobody says what is missing there.
    let settings = config.replace("listen = ", "t1_ms = 1\nlisten = ");
    let told = check(&settings, &[&["sip.t1_ms = 1: is out of range"], &others[..]].concat());
    assert!(!of_sip.iter().any(|it| told.contains(it)), "{told}");
    // Carrier files that cannot be read hide nothing but what goes by them.
    let folder = dir.path().join("carriers");
    let files = config.replace(
        "[journal]",
        &format!("carrier_dir = {:?}\n[journal]", folder.display().to_string()),
    );
    let told = check(&files, &[&["sip.carrier_dir = "], &others[..]].concat());
    assert!(told.contains("cannot be read: ") && !told.contains(of_sip[0]), "{told}");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("odd.toml"), "x = [").unwrap();
    let sound = files.replace("linger_ms = 5000", "");
    for files in [files, sound] {
        check(&files, &["has the file `odd.toml`: TOML parse error", others[1]]);
    }
    // One trunk that cannot be read hides no other.
    let trunks = config.replace(
        "[[trunks]]",
        "[[trunks]]\nid = \"odd\"\ninbound = { max_cps = \"many\" }\n[[trunks]]",
    );
    let trunks = trunks.replace("linger_ms = 5000", "");
    check(
        &trunks,
        &["trunks[0].inbound.max_cps = \"many\"", "trunks[1].carrier = loopbak", of_sip[1]],
    );
}

#[test]
fn all_that_is_wrong_in_the_lists_of_an_entry_is_told() {
    let config = r#"
[sip]
listen = ["udp:127.0.0.1:0"]
[[buyers]]
id = "b"
[[targets]]
id = "t"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
filters = { all = [
    { tag = "a", op = "eqq", value = "OH" },
    { tag = "geo.stat", op = "eq", value = "OH" },
    [{ tag = "b", op = "required" }, { tag = "c", op = "inn", value = "PA" }],
] }
schedule = { hours = [
    { day = "mo", open = "09:00", close = "10:00" },
    { day = "tue", open = "09:00", close = "10:00" },
    { day = "tues", open = "09:00", close = "10:00" },
] }
[[targets]]
id = "both"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
filters = { all = [
    { tag = "geo.state", op = "eq", value = "OH" },
    { tag = "lead.age", op = "gt", value = 80 },
    { tag = "geo.state", op = "eq", value = "PA" },
    { tag = "lead.age", op = "lt", value = 50 },
] }
"#;
    let run = check(config);
    run.refuses(
        2,
        &[
            "targets[0].filters.all[0].op = \"eqq\"",
            "targets[0].filters.all[2][1].op = \"inn\"",
            "targets[0].schedule.hours[0].day = \"mo\"",
            "targets[0].schedule.hours[2].day = \"tues\"",
            "targets[1].filters.all[2] = geo.state eq PA: lets nobody through",
            "targets[1].filters.all[3] = lead.age lt 50: lets nobody through",
        ],
    );
    assert_eq!(run.text.matches("wrong.toml:").count(), 6, "{}", run.text);
}

#[test]
fn what_may_be_meant_otherwise_is_not_told_before_all_of_it_can_be_read() {
    let config = r#"
[sip]
listen = ["udp:127.0.0.1:0"]
[[publishers]]
id = "p"
[[buyers]]
id = "b"
[[verticals]]
id = "legal"
tags = [{ name = "geo.states", type = "text" }]
[[targets]]
id = "t"
buyer = "b"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
conversion = { seconds = 60, revenue = "25.00" }
filters = { all = [
    { tag = "geo.state", op = "eq", value = "OH", ignore_case = true },
    { tag = "geo.state", op = "eq", value = "oh", ignore_case = true },
    { tag = "geo.states", op = "required" },
    { tag = "geo.state", op = "in_set", value = "some" },
] }
schedule = { stop_before_close_s = 1800, hours = [
    { day = "mon", open = "09:00", close = "18:00" },
    { day = "sat", open = "10:00", close = "10:30" },
] }
[[sets]]
id = "some"
kind = "text"
values = ["OH", "oh"]
[[campaigns]]
id = "c"
publisher = "p"
numbers = ["+18005550100"]
price = { min_revenue = "25.00" }
routing = { tiers = [{ targets = [{ target = "t" }] }] }
"#;
    for (sound, wrong, fault) in [
        ("", "", ""),
        ("revenue = \"25.00\"", "revenue = \"abc\"", "targets[0].conversion.revenue"),
        ("ignore_case = true", "ignore_case = \"yes\"", "targets[0].filters.all[0]"),
        ("type = \"text\"", "type = \"txt\"", "verticals[0].tags[0].type"),
        ("id = \"t\"\n", "id = 5\n", "targets[0].id"),
        ("{ target = \"t\" }", "{ target = \"u\" }", "campaigns[0].routing.tiers[0].targets[0]"),
        ("close = \"18:00\"", "close = \"6pm\"", "targets[0].schedule.hours[0].close"),
        ("day = \"mon\"", "day = \"monday\"", "targets[0].schedule.hours[0].day"),
        ("values = [\"OH\", \"oh\"]", "file = \"/nowhere\"", "sets[0].file"),
    ] {
        assert!(config.contains(sound), "{sound}");
        let run = check(&config.replacen(sound, wrong, 1));
        if fault.is_empty() {
            assert_eq!(run.code, Some(0), "{}", run.text);
            continue;
        }
        run.refuses(2, &[fault]);
        assert_eq!(run.text.matches("wrong.toml:").count(), 1, "{}", run.text);
    }
}

#[test]
fn no_fault_hides_another() {
    let config = r#"
[sip]
listen = ["udp:127.0.0.1:0"]
[account]
currency = "USD"
[journal]
linger_ms = 2
[[trunks]]
id = "loop"
carrier = "loopback"
[[publishers]]
id = "p"
[[buyers]]
id = "other"
[[buyers]]
id = "b"
[[targets]]
id = "first"
buyer = "other"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
[[targets]]
id = "second"
buyer = "ghost"
dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
conversion = { seconds = 60, revenue = "-2.00" }
[[sets]]
id = "zips"
kind = "zip"
values = ["43215"]
[[campaigns]]
id = "c"
publisher = "p"
numbers = ["+18005550100"]
routing = { tiers = [{ tier = 1, targets = [{ target = "first" }, { target = "second" }] }] }
"#;
    const BUSINESS: [&str; 2] = [
        "targets[1].buyer = ghost: names no buyer",
        "targets[1].conversion.revenue = -2.00: is negative",
    ];
    for (sound, wrong, fault) in [
        ("listen = ", "t1ms = 5\nlisten = ", "sip.t1ms = 5: is no field"),
        ("listen = ", "t1_ms = 1\nlisten = ", "sip.t1_ms = 1: is out of range"),
        ("\"USD\"", "\"usd\"", "account.currency = \"usd\": is no currency"),
        ("[[sets]]", "[[set]]", "set: is no section"),
        ("kind = \"zip\"", "kind = \"x\"", "sets[0].kind = \"x\": is none of the words"),
        ("id = \"other\"", "name = \"other\"", "buyers[0]: lacks `id`"),
        ("id = \"first\"", "id = \"first\"\ncolour = \"red\"", "targets[0].colour = \"red\": is"),
        (
            "id = \"second\"",
            "id = \"second\"\nmax_duration_s = \"x\"",
            "targets[1].max_duration_s = \"x\"",
        ),
        (
            "id = \"second\"",
            "id = \"second\"\ncaps = [{ metric = \"connected\", window = \"daily\", limit = -1 }]",
            "targets[1].caps[0].limit = -1: is",
        ),
    ] {
        assert!(config.contains(sound), "{sound}");
        let config = config.replacen(sound, wrong, 1);
        // A buyer that cannot be read may be the one that is named.
        let told = if wrong.starts_with("name") { &BUSINESS[1..] } else { &BUSINESS };
        for (linger, more) in [("2", &[][..]), ("5000", &["journal.linger_ms = 5000: is out of"])] {
            let run = check(&config.replace("linger_ms = 2", &format!("linger_ms = {linger}")));
            run.refuses(2, &[&[fault], told, more].concat());
            let lines: Vec<_> = run.text.lines().filter(|it| it.contains("wrong.toml:")).collect();
            assert_eq!(lines.len(), 1 + told.len() + more.len(), "{}", run.text);
        }
    }
}

#[test]
fn what_is_set_for_nothing_is_refused() {
    let file = loopback();
    for (set, words) in [
        ("sip.t1=5", &["--set sip.t1", "did you mean"][..]),
        ("spi.t1_ms=5", &["--set spi.t1_ms", "sip"]),
        ("targets.nobody.buyer=tests", &["--set targets.nobody", "nobody"]),
        ("sip.t1_ms", &["--set sip.t1_ms", "key.path=value"]),
    ] {
        for command in ["check", "serve"] {
            run(&[command, "--config", &file, "--set", set]).refuses(2, words);
        }
    }
    let environment = [("TOLLBRIDGE_SIP__T1", "5")];
    run_with(&["check", "--config", &file], &environment)
        .refuses(2, &["TOLLBRIDGE_SIP__T1", "did you mean"]);
    run_with(&["check", "--config", &file], &[("TOLLBRIDGE_SIP_T1_MS", "5")])
        .refuses(2, &["TOLLBRIDGE_SIP__T1_MS"]);
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [&[][..], &["serve"], &["dance"], &["serve", "--config", "a", "--loud"]] {
        run(arguments).refuses(2, &["Usage"]);
    }
    run(&["serve", "--config", "/nowhere/a.toml"]).refuses(2, &["/nowhere/a.toml", "--config"]);
    assert_eq!(run(&["--version"]).code, Some(0));
    assert_eq!(run(&["--help"]).code, Some(0));
}

#[test]
fn check_says_what_a_configuration_comes_to() {
    for name in ["loopback", "demo"] {
        let path = repository(&format!("examples/{name}.toml")).display().to_string();
        let run = run(&["check", "--config", &path]);
        run.refuses(0, &[&path, ": ok; 1 trunk, "]);
    }
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let place = Place::new();
    let sip = place.sip.to_string();
    let remedy = ["in use", "choose another port"];

    let taken = UdpSocket::bind(place.sip).unwrap();
    place.run().refuses(1, &[&["udp", sip.as_str()][..], &remedy].concat());
    drop(taken);

    let taken = TcpListener::bind(place.sip).unwrap();
    place.run().refuses(1, &[&["tcp", sip.as_str()][..], &remedy].concat());
    drop(taken);

    let _taken = TcpListener::bind(place.api).unwrap();
    place.run().refuses(1, &[&place.api.to_string(), "api.listen"]);
}

#[test]
fn an_address_of_another_machine_is_told() {
    let place = Place::new();
    let mut arguments = place.arguments();
    arguments.extend(["--set".to_owned(), "sip.listen=udp:192.0.2.1:5060".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).refuses(1, &["192.0.2.1:5060", "does not have that address"]);
}

#[test]
fn two_servers_do_not_share_a_udp_port() {
    let (first, second) = (Place::new(), Place::new());
    let _running = first.serve().unwrap();
    // UDP alone, with data and an API of its own.
    let mut arguments = second.arguments();
    arguments.extend(["--set".to_owned(), format!("sip.listen=udp:{}", first.sip)]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).refuses(1, &["udp", &first.sip.to_string(), "in use"]);
}

#[test]
fn a_data_folder_that_cannot_be_used_is_told_with_what_to_do() {
    let place = Place::new();
    fs::write(&place.data, "a file is in the way").unwrap();
    place.run().refuses(1, &[&place.data.display().to_string(), "store.dir"]);
    fs::remove_file(&place.data).unwrap();

    // Not even the superuser makes files there.
    let proc = Place { data: PathBuf::from("/proc/tollbridge"), ..Place::new() };
    proc.run().refuses(1, &["/proc/tollbridge", "store.dir"]);

    fs::create_dir_all(&place.data).unwrap();
    fs::write(place.data.join("journal"), "a file is in the way").unwrap();
    place.run().refuses(1, &["journal", "store.dir"]);
    fs::remove_file(place.data.join("journal")).unwrap();

    fs::remove_dir_all(&place.data).unwrap();
    fs::create_dir_all(place.data.join("tollbridge.db")).unwrap();
    place.run().refuses(1, &["tollbridge.db", "store.dir"]);
}

#[test]
fn a_data_folder_has_one_server() {
    let (first, second) = (Place::new(), Place::new());
    let mut running = first.serve().unwrap();
    let second = Place { data: first.data.clone(), ..second };
    second.run().refuses(1, &["another process", "store.dir"]);
    assert!(running.has_ended().unwrap().is_none());
    assert_eq!(http::get(first.api, "/readyz").unwrap().status, 200);
    running.stop().unwrap();
    // The folder is free again.
    second.serve().unwrap().stop().unwrap();
}

/// The newest segment of the journal, and where its records end.
fn newest_segment(data: &Path) -> Result<(PathBuf, usize)> {
    let mut segments: Vec<PathBuf> = fs::read_dir(data.join("journal"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    segments.sort_by_key(|path| fs::metadata(path).and_then(|it| it.modified()).ok());
    let path = segments.pop().context("no segment")?;
    let bytes = fs::read(&path)?;
    let mut end = HEADER_LEN;
    while let Parsed::Record(_, length) = format::parse(&bytes[end..], true) {
        end += length;
    }
    Ok((path, end))
}

#[test]
fn a_journal_that_was_torn_at_its_end_is_mended_and_told() {
    play(&[], |stage| {
        let data = stage.work.path().join("data");
        stage.is_well("kept")?;
        stage.end(Program::kill)?;
        // Half a record behind the last one, as a write leaves it that was cut off.
        let (path, end) = newest_segment(&data)?;
        let mut bytes = fs::read(&path)?;
        let half = bytes[HEADER_LEN..HEADER_LEN + 40].to_vec();
        bytes.resize(bytes.len().max(end + half.len()), 0);
        bytes[end..end + half.len()].copy_from_slice(&half);
        fs::write(&path, bytes)?;
        stage.serve()?;
        let calls = wait_for("the records", Duration::from_secs(5), || {
            let calls = api::calls(stage.api)?;
            let is_whole = calls.len() == 1 && calls.iter().all(api::Call::is_over);
            Ok(is_whole.then_some(calls))
        })?;
        ensure!(calls.iter().all(api::Call::is_answered), "{calls:#?}");
        let log = stage.log();
        ensure!(log.contains("cut off an unfinished write at the end"), "nothing is told of it");
        stage.is_well("after")?;
        stage.is_clean()?;
        stage.restart(Program::stop)?;
        let run = run(&["journal", "inspect", &data.display().to_string()]);
        ensure!(run.code == Some(0) && run.text.contains("no gaps"), "{}", run.text);
        Ok(())
    });
}

#[test]
fn out_of_service_a_live_call_goes_on_and_a_new_one_is_sent_away() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let call = Call::up(stage, &mut caller, &mut target, "stays", &[])?;
        stage.server()?.terminate()?;
        wait_for("/readyz to say no", Duration::from_secs(3), || {
            let reply = http::get(stage.api, "/readyz")?;
            Ok((reply.status == 503).then_some(()))
        })?;
        let mut line = stage.udp()?;
        line.send(with_body(&line, &stage.invite(), "too-late", &[], SDP))?;
        let refused = line.expect("503 INVITE")?;
        ensure!(refused.header("Retry-After").is_some(), "{}", refused.text);
        let to = format!("To: {}", refused.header("To").unwrap_or_default());
        line.send(request(&line, &stage.invite().replace("INVITE", "ACK"), "too-late", &[&to]))?;
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        line.send(request(&line, &start, "probe", &[]))?;
        let refused = line.expect("503 OPTIONS")?;
        ensure!(refused.header("Retry-After").is_some(), "{}", refused.text);
        let ping = r#"{"campaign":"alone","caller_id":"+16145550188"}"#;
        ensure!(http::post(stage.api, "/v1/pings", ping)?.status == 503, "a ping was taken");

        target.expect_silence(Duration::from_millis(100)).context("the call should go on")?;
        ensure!(stage.server()?.has_ended()?.is_none(), "it did not wait for the call");
        call.end(&mut caller, &mut target)?;
        let status = stage.server()?.ended(Duration::from_secs(5))?;
        ensure!(status.code() == Some(0), "{status}");
        Ok(())
    });
}

#[test]
fn out_of_service_a_live_call_is_ended_when_its_time_is_up() {
    play_with(Setup { arguments: &["--grace", "1"], ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "cut-short", &[])?;
        stage.server()?.terminate()?;
        let mut lines = [caller, target];
        for line in &mut lines {
            let bye = line.expect("BYE")?;
            ensure!(bye.header("Reason").is_some(), "{}", bye.text);
            line.send(response(line, &bye, "200 OK", &[], ""))?;
        }
        // An answer may come to a thread that is ending, and then the BYE comes again.
        let status = wait_for("the server to end", Duration::from_secs(10), || {
            for line in &mut lines {
                while let Some(bye) = line.hear(Duration::from_millis(5))? {
                    line.send(response(line, &bye, "200 OK", &[], ""))?;
                }
            }
            stage.server()?.has_ended()
        })?;
        ensure!(status.code() == Some(0), "{status}");
        stage.serve()?;
        let calls = api::calls(stage.api)?;
        let [call] = &calls[..] else { anyhow::bail!("{calls:#?}") };
        ensure!(call.state == "closed" && call.is_answered(), "{call:#?}");
        ensure!(call.end_party.as_deref() == Some("system"), "{call:#?}");
        Ok(())
    });
}

#[test]
fn a_second_signal_ends_it_at_once_and_the_call_is_closed_by_the_next_start() {
    play(&[], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "cut-off", &[])?;
        stage.server()?.terminate()?;
        wait_for("/readyz to say no", Duration::from_secs(3), || {
            Ok((http::get(stage.api, "/readyz")?.status == 503).then_some(()))
        })?;
        stage.server()?.terminate()?;
        let status = stage.server()?.ended(Duration::from_secs(3))?;
        ensure!(status.code() == Some(1), "{status}");
        stage.serve()?;
        let calls = wait_for("the record", Duration::from_secs(3), || {
            let calls = api::calls(stage.api)?;
            Ok((!calls.is_empty()).then_some(calls))
        })?;
        ensure!(calls[0].state == "orphan_closed", "{calls:#?}");
        Ok(())
    });
}

#[test]
fn an_unfinished_request_to_the_api_does_not_keep_it_from_ending() {
    play(&[], |stage| {
        let mut stream = TcpStream::connect(stage.api)?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")?;
        ensure!(http::get(stage.api, "/healthz")?.status == 200, "it should answer others");
        stage.end(Program::stop)
    });
}

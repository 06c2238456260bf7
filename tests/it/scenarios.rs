//! Runs the folders of sipp-scenarios/: SIPp plays the carrier and the advertisers, the built
//! server stands between them. Checked are SIPp's exit code, its statistics, what it logged of the
//! wire, the call records the REST API gives, and that the server ends well.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::support::api::{self, Call};
use crate::support::kamailio::Proxy;
use crate::support::server::{PORT_A, PORT_B, Server, Setup, example, repository};
use crate::support::sipp::{self, Party, Running, Verdict};
use crate::support::software::Software;
use crate::support::{ports, wait_for, wire};

/// One test per folder, and one that no folder is forgotten.
macro_rules! scenarios {
    ($($test:ident = $folder:literal,)*) => {
        $(#[test] fn $test() { run($folder); })*

        #[test]
        fn every_folder_has_its_test() {
            let mut listed = vec![$($folder),*];
            listed.sort_unstable();
            let folders = fs::read_dir(repository("sipp-scenarios")).unwrap();
            let mut folders: Vec<_> = folders
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.path().is_dir())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            folders.sort_unstable();
            assert_eq!(folders, listed);
        }
    };
}

scenarios! {
    a_call_is_billed_from_the_answer = "answer",
    a_busy_target_is_reported_as_busy = "busy",
    a_target_that_rings_out_is_cancelled = "no_answer",
    a_decline_ends_the_hunt = "reject",
    a_busy_target_is_followed_by_the_next = "failover_486",
    a_target_out_of_service_is_followed_by_the_next = "failover_503",
    a_silent_target_is_followed_by_the_next = "failover_silence",
    the_last_failure_reaches_the_carrier = "all_fail",
    a_cancel_while_ringing_settles_both_sides = "cancel_ringing",
    an_answer_that_crosses_the_cancel_is_ended = "cancel_crosses_200",
    an_answer_never_acknowledged_is_ended = "lost_ack",
    a_vanished_callee_is_found_out = "lost_bye",
    a_call_ends_at_its_longest_duration = "max_duration",
    the_caller_hangs_up = "bye_from_caller",
    the_callee_hangs_up = "bye_from_callee",
    both_hang_up_at_once = "bye_both",
    early_media_reaches_the_carrier = "early_media",
    what_is_repeated_has_no_second_effect = "retransmissions",
    a_carrier_over_tcp_reaches_a_target_over_udp = "tcp",
    an_answer_after_the_failover_is_ended = "late_200_after_failover",
    an_unknown_number_is_not_found = "unknown_did",
    an_unknown_source_hears_nothing = "unknown_source",
    a_carrier_may_ask_whether_we_live = "options",
    both_legs_work_over_ipv6 = "ipv6",
    a_concurrency_limit_of_one_lets_one_call_through = "cap_concurrency",
    five_hundred_calls_are_up_at_once = "500_concurrent",
    each_leg_keeps_its_own_route_set = "route_set",
    what_is_said_within_a_call_passes_the_proxy_of_its_leg = "proxies",
    a_proxy_that_changes_transports_is_on_the_route_twice = "proxies_tcp",
    each_leg_refreshes_its_own_session = "session_timer",
    each_leg_confirms_its_own_ringing = "prack",
    ringing_is_confirmed_on_one_leg_only = "prack_caller_only",
    an_offer_in_the_200_is_answered_in_the_ack = "late_offer",
    digits_by_info_reach_the_other_side = "info",
    an_offer_by_update_passes_and_a_refresh_does_not = "update_tcp",
    a_tel_uri_names_the_number = "tel_uri",
    a_number_without_plus_is_the_same_number = "plain_number",
    of_two_that_ring_the_first_to_answer_has_the_call = "parallel_ring",
    a_redirected_call_is_answered_elsewhere = "redirect_302",
    a_target_may_ask_for_proofs = "challenged",
    a_carrier_may_be_asked_for_a_proof = "digest_trunk",
    a_referred_call_ends_with_what_the_carrier_says = "refer_notify",
    a_refused_refer_is_bridged = "refer_refused",
}

/// `expect.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The rows of the specification the scenario shows to be met.
    shows: Vec<String>,
    /// For the SIPp processes; the whole takes a few seconds more.
    time_limit_s: u64,
    /// `--set` arguments. `{a}` and `{b}` stand for the ids of the example's targets at its two
    /// addresses (the argument is repeated if there are several), `{trunk}` for its trunk.
    #[serde(default)]
    set: Vec<String>,
    carrier: ExpectParty,
    target_a: Option<ExpectParty>,
    target_b: Option<ExpectParty>,
    /// All records there must be; none if absent.
    #[serde(default)]
    cdr: Vec<ExpectCdr>,
}

/// One SIPp process: `uac.xml` for the carrier, `uas.xml` and `uas2.xml` for the targets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectParty {
    /// The user part the carrier dials.
    #[serde(default)]
    dial: String,
    #[serde(default)]
    transport: PartyTransport,
    /// Kamailio, between the party and the server; the second target has none.
    proxy: Option<ExpectProxy>,
    #[serde(default = "loopback")]
    address: IpAddr,
    #[serde(default = "one")]
    calls: u32,
    /// Calls a second.
    #[serde(default = "one")]
    rate: u32,
    /// No SIPp but a socket that must not receive anything.
    #[serde(default)]
    silent: bool,
    #[serde(default)]
    retransmissions_max: u64,
    /// Least and most messages received, by kind: `BYE`, `200 INVITE`.
    #[serde(default)]
    received: BTreeMap<String, (u64, u64)>,
    /// The same over all kinds.
    received_any: Option<(u64, u64)>,
    /// How many of the calls must have been up at the same time.
    #[serde(default)]
    concurrent_min: u64,
}

/// `harbor` before the carrier, `polaris` before the target: see `support/kamailio.cfg`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectProxy {
    /// How it passes the call on; it is reached over UDP.
    next: PartyTransport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PartyTransport {
    #[default]
    Udp,
    Tcp,
}

/// What `count` of the call records must look like; what is absent is not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectCdr {
    #[serde(default = "one")]
    count: u32,
    answered: bool,
    #[serde(default)]
    end_reason: OneOf,
    #[serde(default)]
    end_party: OneOf,
    #[serde(default)]
    outcome: OneOf,
    talk_ms: Option<(i64, i64)>,
    ring_ms: Option<(i64, i64)>,
    #[serde(default)]
    flags: Vec<String>,
    attempts: Option<Vec<ExpectAttempt>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectAttempt {
    /// `a` or `b`.
    target: char,
    /// See [`api::Attempt::outcome`].
    result: String,
    sip: Option<u16>,
}

/// A text, or several of which one must be met. Empty: anything.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum OneOf {
    #[default]
    Any,
    This(String),
    Either(Vec<String>),
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

fn one() -> u32 {
    1
}

fn run(folder: &str) {
    if let Err(error) = try_run(folder) {
        panic!("sipp-scenarios/{folder}: {error:#}");
    }
}

fn try_run(folder: &str) -> Result<()> {
    let folder = repository("sipp-scenarios").join(folder);
    let expect = fs::read_to_string(folder.join("expect.toml")).context("expect.toml")?;
    let expect: Expect = toml::from_str(&expect).context("expect.toml")?;
    ensure!(!expect.shows.is_empty(), "`shows` names no row of the specification");
    let work = tempfile::tempdir()?;
    let stage = Stage { folder: &folder, work: work.path(), expect: &expect, ports: Ports::new()? };

    let _proxies = stage.start_proxies()?;
    let target_a = stage.start_target("target_a", &expect.target_a, "uas.xml", stage.ports.a)?;
    let target_b = stage.start_target("target_b", &expect.target_b, "uas2.xml", stage.ports.b)?;
    let server = Server::start(&stage.setup()?)?;
    let outcome = stage.play(&server, target_a, target_b);

    let log = server.log();
    let stopped = server.stop().and_then(|status| {
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    });
    outcome.and(stopped).with_context(|| format!("log of the server:\n{log}\n"))?;
    ensure!(!log.contains("panicked"), "the server panicked:\n{log}");
    Ok(())
}

/// The ports of one scenario.
#[derive(Clone, Copy)]
struct Ports {
    sip: u16,
    api: u16,
    carrier: u16,
    a: u16,
    b: u16,
    /// Of the proxies before the carrier and before the first target.
    harbor: u16,
    polaris: u16,
    /// First of three blocks for SIPp's own use.
    media: u16,
}

/// A scenario that is being played.
struct Stage<'a> {
    folder: &'a Path,
    work: &'a Path,
    expect: &'a Expect,
    ports: Ports,
}

/// What stands at a target's address.
enum Target<'a> {
    Nobody,
    /// Must not receive anything.
    Silent(UdpSocket),
    Sipp(Running, &'a ExpectParty),
}

impl Ports {
    fn new() -> Result<Self> {
        let sip = ports::block(7 + 3 * sipp::PORTS)?;
        let [api, carrier, a, b, harbor, polaris, media] = [1, 2, 3, 4, 5, 6, 7].map(|n| sip + n);
        Ok(Self { sip, api, carrier, a, b, harbor, polaris, media })
    }
}

impl<'a> Stage<'a> {
    fn setup(&self) -> Result<Setup> {
        let mut set = Vec::new();
        let addresses = [
            (PORT_A, self.ports.a, &self.expect.target_a),
            (PORT_B, self.ports.b, &self.expect.target_b),
        ];
        for (example_port, port, party) in addresses {
            let ip = party.as_ref().map_or_else(loopback, |party| party.address);
            let has_proxy = party.as_ref().is_some_and(|party| party.proxy.is_some());
            let address = SocketAddr::new(ip, if has_proxy { self.ports.polaris } else { port });
            for target in example()?.targets_at(example_port) {
                set.push(format!("targets.{target}.dial.uri=sip:{address}"));
            }
        }
        for text in &self.expect.set {
            let text = text.replace("{trunk}", &example()?.trunk);
            let named = [("{a}", PORT_A), ("{b}", PORT_B)];
            match named.into_iter().find(|(name, _)| text.contains(name)) {
                Some((name, port)) => {
                    set.extend(example()?.targets_at(port).map(|id| text.replace(name, id)));
                }
                None => set.push(text),
            }
        }
        Ok(Setup {
            data: self.work.join("data"),
            sip_port: self.ports.sip,
            api_port: self.ports.api,
            set,
            more: String::new(),
        })
    }

    fn start_proxies(&self) -> Result<Vec<Software>> {
        let Ports { sip, a, harbor, polaris, .. } = self.ports;
        let target_a = self.expect.target_a.as_ref();
        let places = [
            ("harbor", harbor, sip, Some(&self.expect.carrier)),
            ("polaris", polaris, a, target_a),
        ];
        let mut started = Vec::new();
        for (name, port, next, party) in places {
            let Some(proxy) = party.and_then(|party| party.proxy.as_ref()) else { continue };
            let next = SocketAddr::new(loopback(), next);
            let tcp = proxy.next == PartyTransport::Tcp;
            started.push(Proxy { name, port, next, tcp, work: self.work }.start()?);
        }
        Ok(started)
    }

    fn start_target<'p>(
        &self,
        name: &str,
        party: &'p Option<ExpectParty>,
        scenario: &str,
        port: u16,
    ) -> Result<Target<'p>> {
        let Some(party) = party else { return Ok(Target::Nobody) };
        if party.silent {
            let socket = UdpSocket::bind((party.address, port))?;
            socket.set_nonblocking(true)?;
            return Ok(Target::Silent(socket));
        }
        let media = self.ports.media + if name == "target_a" { 1 } else { 2 } * sipp::PORTS;
        let running = self.start_sipp(name, party, scenario, port, media, None)?;
        Ok(Target::Sipp(running, party))
    }

    fn start_sipp(
        &self,
        name: &str,
        party: &ExpectParty,
        scenario: &str,
        port: u16,
        media: u16,
        remote: Option<SocketAddr>,
    ) -> Result<Running> {
        Party {
            name,
            scenario: &self.folder.join(scenario),
            local: SocketAddr::new(party.address, port),
            remote,
            tcp: party.transport == PartyTransport::Tcp,
            dial: &party.dial,
            calls: party.calls,
            rate: party.rate,
            ports: media,
            limit: Duration::from_secs(self.expect.time_limit_s),
            work: self.work,
            keys: &[("target_b", SocketAddr::new(loopback(), self.ports.b))],
        }
        .start()
    }

    /// Plays the call with everybody in place, and checks everything but the server's end.
    fn play(&self, server: &Server, target_a: Target<'_>, target_b: Target<'_>) -> Result<()> {
        let carrier = &self.expect.carrier;
        // A stranger on another loopback address still calls the server where it listens.
        let ip = if carrier.address.is_ipv6() { carrier.address } else { loopback() };
        let Ports { sip, harbor, carrier: port, media, .. } = self.ports;
        let first = if carrier.proxy.is_some() { harbor } else { sip };
        let remote = Some(SocketAddr::new(ip, first));
        let running = self.start_sipp("carrier", carrier, "uac.xml", port, media, remote)?;
        let seen_by_carrier = running.finish()?;
        let seen_by_a = target_a.finish();
        let seen_by_b = target_b.finish();

        // All of them are heard: what one found wrong is often explained by another.
        let mut faults = Vec::new();
        let mut hear = |result: Result<()>| faults.extend(result.err().map(|e| format!("{e:#}")));
        hear(check_party("carrier", carrier, &seen_by_carrier));
        for (name, seen) in [("target_a", seen_by_a), ("target_b", seen_by_b)] {
            let (party, verdict) = match seen {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(error) => {
                    hear(Err(error));
                    continue;
                }
            };
            hear(check_party(name, party, &verdict));
            hear(wire::nothing_leaks(&seen_by_carrier.messages, &verdict.messages));
            hear(wire::nothing_leaks(&verdict.messages, &seen_by_carrier.messages));
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        self.check_records(server)?;
        check_counters(server)
    }

    /// The projection is a moment behind the wire, so the records are looked at until they fit.
    fn check_records(&self, server: &Server) -> Result<()> {
        let mut reason = String::new();
        let outcome = wait_for("the call records", Duration::from_secs(4), || {
            let calls = api::calls(server.api)?;
            for call in &calls {
                call.audit()?;
            }
            match fit(&self.expect.cdr, &calls) {
                Ok(()) => Ok(Some(())),
                Err(error) => {
                    reason = format!("{error:#}");
                    Ok(None)
                }
            }
        });
        outcome.context(reason)
    }
}

impl<'a> Target<'a> {
    fn finish(self) -> Result<Option<(&'a ExpectParty, Verdict)>> {
        match self {
            Target::Nobody => Ok(None),
            Target::Silent(socket) => {
                let mut datagram = [0; 2048];
                if let Ok((length, _)) = socket.recv_from(&mut datagram) {
                    let text = String::from_utf8_lossy(&datagram[..length]);
                    anyhow::bail!("a target that must not be dialled received:\n{text}");
                }
                Ok(None)
            }
            Target::Sipp(running, party) => Ok(Some((party, running.finish()?))),
        }
    }
}

fn check_party(name: &str, party: &ExpectParty, verdict: &Verdict) -> Result<()> {
    let check = || -> Result<()> {
        let stats = &verdict.stats;
        ensure!(verdict.exit == Some(0), "exit code {:?}", verdict.exit);
        ensure!(stats.successful == u64::from(party.calls), "not every call succeeded: {stats:?}");
        ensure!(
            (stats.failed, stats.unexpected, stats.out_of_call) == (0, 0, 0),
            "unexpected messages: {stats:?}"
        );
        ensure!(stats.retransmissions <= party.retransmissions_max, "repeated itself: {stats:?}");
        for (kind, &(least, most)) in &party.received {
            let count = wire::received(&verdict.messages, Some(kind));
            ensure!((least..=most).contains(&count), "{count} x {kind}, not {least} to {most}");
        }
        if let Some((least, most)) = party.received_any {
            let count = wire::received(&verdict.messages, None);
            ensure!((least..=most).contains(&count), "{count} messages, not {least} to {most}");
        }
        let peak = wire::peak(&verdict.messages);
        ensure!(peak >= party.concurrent_min, "only {peak} calls were up at the same time");
        wire::is_well_formed(&verdict.messages)
    };
    check().with_context(|| {
        format!("sipp `{name}`\n{}\nits messages:\n{}", verdict.errors, ladder(&verdict.messages))
    })
}

/// The messages one per line, for a person to read.
fn ladder(messages: &[wire::Message]) -> String {
    messages
        .iter()
        .take(60)
        .map(|message| format!("  {:?} {}\n", message.direction, message.kind()))
        .collect()
}

/// A call that has ended leaves nothing behind.
fn check_counters(server: &Server) -> Result<()> {
    let counters = wait_for("no call to be active", Duration::from_secs(4), || {
        let counters = api::metrics(server.api)?;
        Ok((counters.get("tollbridge_calls_active") == Some(&0.0)).then_some(counters))
    })?;
    api::no_fault_is_counted(&counters)
}

/// Whether the records are exactly those expected.
fn fit(expected: &[ExpectCdr], calls: &[Call]) -> Result<()> {
    let total: u32 = expected.iter().map(|cdr| cdr.count).sum();
    ensure!(calls.len() as u64 == u64::from(total), "{} records, not {total}", calls.len());
    let mut left: Vec<u32> = expected.iter().map(|cdr| cdr.count).collect();
    for call in calls {
        let fitting =
            expected.iter().zip(&mut left).find(|(cdr, left)| **left > 0 && cdr.fits(call));
        let (_, left) = fitting.with_context(|| format!("not expected: {call:#?}"))?;
        *left -= 1;
    }
    Ok(())
}

impl ExpectCdr {
    fn fits(&self, call: &Call) -> bool {
        let within = |range: Option<(i64, i64)>, value: Option<i64>| {
            range.is_none_or(|(least, most)| {
                value.is_some_and(|value| (least..=most).contains(&value))
            })
        };
        call.state == "closed"
            && call.is_answered() == self.answered
            && self.end_reason.admits(call.end_reason.as_deref())
            && self.end_party.admits(call.end_party.as_deref())
            && self.outcome.admits(call.outcome.as_deref())
            && within(self.talk_ms, call.talk_ms)
            && within(self.ring_ms, call.ring_ms)
            && self.flags.iter().all(|flag| call.flags.contains(flag))
            && self.attempts.as_ref().is_none_or(|expected| {
                expected.len() == call.attempts.len()
                    && expected.iter().zip(&call.attempts).all(|(e, found)| e.fits(found))
            })
    }
}

impl ExpectAttempt {
    fn fits(&self, attempt: &api::Attempt) -> bool {
        let port = if self.target == 'a' { PORT_A } else { PORT_B };
        let Ok(example) = example() else { return false };
        example.targets_at(port).any(|id| id == attempt.target)
            && attempt.outcome() == self.result
            && (self.sip.is_none() || attempt.sip == self.sip)
    }
}

impl OneOf {
    fn admits(&self, found: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::This(text) => found == Some(text.as_str()),
            Self::Either(texts) => texts.iter().any(|text| found == Some(text.as_str())),
        }
    }
}

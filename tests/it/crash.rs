//! The server is killed (SIGKILL) in the middle of traffic, again and again, on the same data
//! folder, and must find again whatever it had acknowledged: spec/data §0.4, invariants I1 to I4,
//! and I5 for a cap.
#![expect(clippy::print_stderr, reason = "the seed is told, so that a failure can be repeated")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::api::{self, Call};
use crate::support::load::{Ledger, Load, Plan};
use crate::support::server::{PORT_A, Server, Setup, example};
use crate::support::{ports, wait_for};

/// Goes to a target without a limit.
const UNLIMITED: &str = "+18005550150";
/// Goes to a target of its own, which gets a cap here.
const CAPPED: &str = "+18005550198";

/// Rounds in CI; `TOLLBRIDGE_CRASH_ROUNDS` asks for more.
const ROUNDS: u32 = 20;
/// Connected calls the capped target takes in all its life.
const CAP: u32 = 150;

#[test]
fn a_killed_server_keeps_what_it_acknowledged() {
    let rounds = number_from_env("TOLLBRIDGE_CRASH_ROUNDS").map_or(ROUNDS, |n| n as u32);
    let seed = number_from_env("TOLLBRIDGE_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("crash: {rounds} rounds, TOLLBRIDGE_CRASH_SEED={seed}");
    let mut crashes = Crashes::new(seed).unwrap();
    let mut server = Some(Server::start(&crashes.setup).unwrap());
    for round in 1..=rounds {
        let outcome = server.take().map(|server| crashes.round(round, server)).transpose();
        server = outcome.unwrap_or_else(|error| {
            panic!("TOLLBRIDGE_CRASH_SEED={seed}, round {round} of {rounds}: {error:#}")
        });
    }
    let Acknowledged { answered, ended, pings, .. } = &crashes.acknowledged;
    eprintln!(
        "crash: {} answered calls, {} of them ended, and {} pings were acknowledged; none is lost",
        answered.len(),
        ended.len(),
        pings.len()
    );
    assert!(answered.len() >= 20 * rounds as usize, "the load is too small to prove anything");
    assert!(pings.len() >= 5 * rounds as usize, "too few pings to prove anything");
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The server's life over all rounds, and what it owes.
struct Crashes {
    setup: Setup,
    capped_target: String,
    carrier_port: u16,
    advertiser_port: u16,
    draw: fastrand::Rng,
    acknowledged: Acknowledged,
    /// Removed at the end.
    _work: tempfile::TempDir,
}

/// All rounds' ledgers in one.
#[derive(Default)]
struct Acknowledged {
    answered: BTreeMap<String, &'static str>,
    ended: BTreeSet<String>,
    pings: BTreeSet<String>,
}

impl Crashes {
    fn new(seed: u64) -> Result<Self> {
        let work = tempfile::tempdir()?;
        let first = ports::block(4)?;
        let [sip_port, api_port, carrier_port, advertiser_port] = [0, 1, 2, 3].map(|n| first + n);
        let limited = example()?.targets.iter().find(|target| target.has_concurrency_limit);
        let capped_target = limited.context("no target with a concurrency limit")?.id.clone();
        let mut set: Vec<String> = example()?
            .targets_at(PORT_A)
            .map(|id| format!("targets.{id}.dial.uri=sip:127.0.0.1:{advertiser_port}"))
            .collect();
        set.extend([
            format!("targets.{capped_target}.concurrency.limit=10000"),
            format!(
                "targets.{capped_target}.caps=[{{ metric = \"connected\", window = \"total\", \
                 limit = {CAP} }}]"
            ),
            // A slow disk of a test machine must not turn into an answer relayed unsaved.
            "journal.answer_wait_ms=5000".to_owned(),
        ]);
        Ok(Self {
            setup: Setup {
                data: work.path().join("data"),
                sip_port,
                api_port,
                set,
                more: String::new(),
            },
            capped_target,
            carrier_port,
            advertiser_port,
            draw: fastrand::Rng::with_seed(seed),
            acknowledged: Acknowledged::default(),
            _work: work,
        })
    }

    /// Puts load on, kills the server at a random moment, and has the next one account for all
    /// that was acknowledged, in this round and before.
    fn round(&mut self, round: u32, server: Server) -> Result<Server> {
        let load = Load::start(&self.plan(round))?;
        std::thread::sleep(Duration::from_millis(self.draw.u64(300..1_500)));
        server.kill()?;
        let ledger = load.stop()?;
        let mut pings = self.some_older_pings();
        pings.extend(ledger.pings.iter().cloned());
        self.acknowledged.add(ledger);

        let mut server = Server::start(&self.setup)?;
        // Now and then the recovery itself is cut short.
        if self.draw.u8(..4) == 0 {
            server.kill()?;
            server = Server::start(&self.setup)?;
        }
        self.verify(&server, &pings)
            .with_context(|| format!("log of the server:\n{}", server.log()))?;
        Ok(server)
    }

    fn some_older_pings(&mut self) -> Vec<String> {
        let known: Vec<&String> = self.acknowledged.pings.iter().collect();
        let count = known.len().min(20);
        (0..count).map(|_| known[self.draw.usize(..known.len())].clone()).collect()
    }

    fn plan(&mut self, round: u32) -> Plan {
        Plan {
            name: format!("crash{round}"),
            seed: self.draw.u64(..),
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.sip_port)),
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.api_port)),
            carrier_port: self.carrier_port,
            advertiser_port: self.advertiser_port,
            numbers: vec![UNLIMITED, CAPPED, UNLIMITED],
            calls_per_second: 100,
            pings_per_second: 60,
            talk: (Duration::from_millis(20), Duration::from_millis(600)),
        }
    }

    fn verify(&self, server: &Server, pings: &[String]) -> Result<()> {
        // Records of the killed process are completed while the new one serves already.
        let calls = wait_for("every call to be closed", Duration::from_secs(5), || {
            let calls = api::calls(server.api)?;
            let is_settled = calls.iter().all(Call::is_over) && self.missing(&calls).is_empty();
            Ok(is_settled.then_some(calls))
        });
        let calls = calls.or_else(|error| {
            let calls = api::calls(server.api)?;
            let open: Vec<_> = calls.iter().filter(|call| !call.is_over()).take(3).collect();
            let missing: Vec<_> = self.missing(&calls).into_iter().take(3).collect();
            Err(error.context(format!("I3: open {open:#?}; I1: without a record {missing:?}")))
        })?;

        self.no_call_is_doubled(&calls)?;
        for call in &calls {
            call.audit()?;
            if self.acknowledged.answered.contains_key(&call.sip_call_id) {
                ensure!(call.is_answered(), "I1: acknowledged as answered, recorded {call:#?}");
            }
        }
        self.cap_holds(&calls)?;
        for ping in pings {
            ensure!(api::knows_ping(server.api, ping)?, "I1: ping {ping} is gone");
        }
        let metrics = api::metrics(server.api)?;
        ensure!(metrics.contains_key("tollbridge_fact_gap_total"), "I2: gaps are not counted");
        api::no_fault_is_counted(&metrics)
    }

    /// Acknowledged calls that have no record.
    fn missing(&self, calls: &[Call]) -> Vec<&str> {
        let recorded: BTreeSet<&str> = calls.iter().map(|call| call.sip_call_id.as_str()).collect();
        let answered = self.acknowledged.answered.keys().map(String::as_str);
        answered.filter(|call_id| !recorded.contains(call_id)).collect()
    }

    fn no_call_is_doubled(&self, calls: &[Call]) -> Result<()> {
        let mut ids = BTreeSet::new();
        let mut dialogs = BTreeSet::new();
        for call in calls {
            ensure!(ids.insert(&call.call_id), "I3: two records {}", call.call_id);
            ensure!(dialogs.insert(&call.sip_call_id), "I3: two calls of {}", call.sip_call_id);
        }
        Ok(())
    }

    /// I5: neither the records nor the carrier ever saw more answered calls than the cap allows.
    fn cap_holds(&self, calls: &[Call]) -> Result<()> {
        let is_capped = |call: &&Call| {
            let attempts = &call.attempts;
            call.is_answered()
                && attempts.iter().any(|attempt| attempt.target == self.capped_target)
        };
        let recorded = calls.iter().filter(is_capped).count();
        let seen = self.acknowledged.answered.values().filter(|number| **number == CAPPED).count();
        ensure!(
            recorded.max(seen) <= CAP as usize,
            "I5: {recorded} calls recorded and {seen} seen on a cap of {CAP}"
        );
        Ok(())
    }
}

impl Acknowledged {
    fn add(&mut self, ledger: Ledger) {
        self.answered.extend(ledger.answered);
        self.ended.extend(ledger.ended);
        self.pings.extend(ledger.pings);
    }
}

//! A server whose disk, peers and memory fail it, while calls go on (spec/sip T19, X17, S13).

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::peer::{SDP, request, response, with_body};
use super::{Call, Setup, Stage, play, play_with};
use crate::support::load::{Ledger, Load, Plan};
use crate::support::{http, ports, wait_for};

const CALLS: usize = 100;
/// Of [`CALLS`], the slowest may be the machine's fault.
const OUTLIERS: usize = 2;
/// A machine that does other things besides is given five times what spec/sip T19 and X17 ask for.
const SOON: Duration = Duration::from_millis(100);

/// 100 comes at once, so that it shows how soon a thread comes to it.
const AT_ONCE: &str = "sip.trying_after_ms=0";

/// Facts are on disk a second after they were written, and nobody waits for them so long.
const SLOW_DISK: [&str; 3] = ["journal.linger_ms=1000", "journal.answer_wait_ms=5", AT_ONCE];

/// Targets whose names are all asked for at a time; as many questions as may wait at once.
const NAMES: usize = 40;
const CALLS_PER_SECOND: u32 = 200;

#[test]
fn no_disk_and_no_peer_holds_up_a_call() {
    // It is asked, and never answers.
    let name_server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = name_server.local_addr().unwrap();
    let dns = format!("sip.dns={{servers=[\"{address}\"],timeout_ms=1000,attempts=2}}");
    let named = (0..NAMES).map(|n| {
        format!(
            "[[targets]]\nid = \"named{n}\"\nbuyer = \"tests\"\n\
             dial = {{ kind = \"sip\", uri = \"sip:host{n}.test\" }}\n"
        )
    });
    let more: String = named.collect();
    let set = [&SLOW_DISK[..], &[&dns, "targets.first.dial.uri=sip:first.test"]].concat();
    play_with(Setup { set: &set, more: &more, ..Setup::default() }, |stage| {
        let load = Load::start(&Plan {
            name: String::from("strain"),
            seed: 1,
            server: stage.sip,
            api: stage.api,
            carrier_port: ports::block(1)?,
            advertiser_port: stage.spare_port,
            // First to a name that nobody knows, then to the advertiser.
            numbers: vec!["+18005550100"],
            calls_per_second: CALLS_PER_SECOND,
            pings_per_second: 5,
            talk: (Duration::from_millis(10), Duration::from_millis(50)),
        })?;
        let deaf = (0..5).map(|n| Deaf::ask(stage, n)).collect::<Result<Vec<_>>>()?;
        let dripping = (0..20).map(|_| half_a_question(stage)).collect::<Result<Vec<_>>>()?;
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut waits = Vec::new();
        for n in 0..CALLS {
            let asked = Instant::now();
            caller.send(with_body(&caller, &stage.invite(), &format!("strained{n}"), &[], SDP))?;
            let first = caller.hear(Duration::from_secs(5))?.context("no 100 came")?;
            waits.push(asked.elapsed());
            ensure!(first.status() == Some(100), "{}", first.text);
            let call = Call::answered(&mut caller, &mut target)?;
            call.end(&mut caller, &mut target).with_context(|| format!("call {n}"))?;
        }
        waits.sort_unstable();
        let slowest = waits[CALLS - 1 - OUTLIERS];
        ensure!(slowest < SOON, "100 came after {slowest:?}");
        drop((deaf, dripping));
        load.calm_down();
        stage.is_clean()?;
        let Ledger { offered, answered, .. } = load.stop()?;
        ensure!(offered >= 100 && answered.len() as u64 * 10 >= offered * 9, "of {offered} calls");
        name_server.set_nonblocking(true)?;
        ensure!(name_server.recv(&mut [0; 512]).is_ok(), "nobody asked the name server");
        Ok(())
    });
}

#[test]
fn timers_fire_in_time_and_how_late_they_do_is_told() {
    play(&["sip.t1_ms=20", "targets.alone.first_response_ms=1000"], |stage| {
        // Nobody answers these; each is repeated many times.
        let mut caller = stage.udp()?;
        for n in 0..50 {
            caller.send(with_body(&caller, &stage.invite(), &format!("late{n}"), &[], SDP))?;
        }
        let (all, soon) = wait_for("timers to fire", Duration::from_secs(10), || {
            let (all, soon) = lateness(stage)?;
            Ok((all >= 50).then_some((all, soon)))
        })?;
        ensure!(soon * 10 >= all * 9, "{soon} of {all} timers came within {SOON:?}");
        Ok(())
    });
}

/// How many turns had something due, and how many of them within [`SOON`].
fn lateness(stage: &Stage) -> Result<(u64, u64)> {
    let text = http::get(stage.api, "/metrics")?.body;
    let count = |rest: &str| {
        let name = format!("tollbridge_sip_timer_lateness_seconds_{rest} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let soon = format!("bucket{{le=\"{}\"}}", SOON.as_secs_f64());
    Ok((count("count"), count(&soon)))
}

/// A carrier that asks and asks, each time it is cut off again, and reads no answer.
struct Deaf {
    over: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Deaf {
    fn ask(stage: &Stage, n: usize) -> Result<Self> {
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        let question = request(&stage.tcp()?, &start, &format!("deaf{n}"), &[]).repeat(10);
        let over = Arc::new(AtomicBool::new(false));
        let (server, stop) = (stage.sip, Arc::clone(&over));
        let asking = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = connect_with_small_buffer(server) else { continue };
                while !stop.load(Ordering::Relaxed) && stream.write_all(question.as_bytes()).is_ok()
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Ok(Self { over, asking: Some(asking) })
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Its panic would be its own.
        let _over = self.asking.take().map(JoinHandle::join);
    }
}

/// What fills up soon if nobody reads it.
fn connect_with_small_buffer(server: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect(&server.into())?;
    let stream = TcpStream::from(socket);
    stream.set_write_timeout(Some(SOON))?;
    Ok(stream)
}

/// A client of the API that never comes to the end of what it wants.
fn half_a_question(stage: &Stage) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(stage.api)?;
    stream.write_all(b"GET /v1/calls HTTP/1.1\r\nHost: a\r\nX-And")?;
    Ok(stream)
}

/// Half of what the server may have is its own at the start; in this way the other half is the
/// flood's.
const MEMORY_MIB: u64 = 128;
const MIB: u64 = 1 << 20;
/// What may come in the quarter of a second until the server looks again, and what else it needs.
const MARGIN_MIB: u64 = 64;

/// Whose calls stay up as long as the test.
const PATIENT: [&str; 9] = [
    "sip.overload.memory_max_mib=128",
    "sip.overload.refuse_after_ms=10000",
    "sip.overload.brake_after_ms=60000",
    "sip.overload.half_open_max=1000000",
    "sip.overload.half_open_per_source_max=1000000",
    "sip.calls_max=1000000",
    "targets.alone.first_response_ms=32000",
    "targets.alone.ring_timeout_s=60",
    "sip.t1_ms=1000",
];

#[test]
fn a_server_short_of_memory_refuses_calls_and_keeps_those_it_has() {
    play(&PATIENT, |stage| {
        // It may not have twice the memory it is told to live with, whatever happens.
        let pid = stage.server()?.id().to_string();
        let limit = format!("--as={}", stage.server()?.reserved_bytes()? + MEMORY_MIB * MIB);
        let limited = Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
        ensure!(limited.success(), "prlimit: {limited}");
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut before = Call::up(stage, &mut caller, &mut target, "before", &[])?;

        let refused_at = flood_until_refused(stage)?;
        let used = stage.server()?.resident_bytes()?;
        ensure!(used < (MEMORY_MIB + MARGIN_MIB) * MIB, "{} MiB are used", used / MIB);
        ensure!(refused_at > 100, "call {refused_at} was refused already");
        wait_for("a call to be counted as refused for memory", SOON * 50, || {
            let metrics = http::get(stage.api, "/metrics")?.body;
            let for_memory = "tollbridge_sip_refused_total{reason=\"memory\"}";
            let line = metrics.lines().find(|line| line.starts_with(for_memory));
            Ok(line.filter(|line| !line.ends_with(" 0")).map(drop))
        })?;
        // However many still come.
        flood(stage, refused_at, refused_at + 2_000)?;
        let after = stage.server()?.resident_bytes()?;
        ensure!(after < (MEMORY_MIB + MARGIN_MIB) * MIB, "{} MiB are used", after / MIB);

        let mut line = stage.udp()?;
        stage.is_alive(&mut line, "short")?;
        caller.send(before.caller.next(&caller, "BYE"))?;
        caller.expect("200 BYE")?;
        // INVITEs that nobody answered go on coming.
        let bye = loop {
            let heard = target.hear(SOON * 100)?.context("no BYE came")?;
            if heard.kind() == "BYE" {
                break heard;
            }
        };
        target.send(response(&target, &bye, "200 OK", &[], ""))
    });
}

/// Long INVITEs that nobody answers, until one is answered 503. Returns how many that took.
fn flood_until_refused(stage: &Stage) -> Result<usize> {
    const BATCH: usize = 50;
    for n in (0..20_000).step_by(BATCH) {
        if flood(stage, n, n + BATCH)? {
            return Ok(n);
        }
    }
    anyhow::bail!("no call was refused");
}

/// `true` if one of them was answered 503.
fn flood(stage: &Stage, from: usize, to: usize) -> Result<bool> {
    let mut line = stage.udp()?;
    let filler = format!("X-Filler: {}", "z".repeat(15_000));
    let mut refused = false;
    for n in from..to {
        line.send(with_body(&line, &stage.invite(), &format!("hoard{n}"), &[&filler], SDP))?;
        if n % 10 == 0 {
            while let Some(heard) = line.hear(Duration::from_millis(1))? {
                refused |= heard.status() == Some(503);
            }
        }
    }
    Ok(refused)
}

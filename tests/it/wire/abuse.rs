//! Those who mean harm: what they get is what is stated here, and everybody else is served
//! meanwhile (spec/sip S1, S6, T5, X3).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::peer::{Line, PATIENCE, SDP, request, response, with_body};
use super::{Call, Crowd, Setup, Stage, play, play_with};
use crate::support::{api, http, wait_for};

/// Of this machine, but no trunk, no target and none of ours.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The carrier is at 127.0.0.1 and nowhere else.
const ONE_ADDRESS: &str = "trunks.loopback.inbound.cidrs=[\"127.0.0.1/32\"]";

/// Another carrier has the other address.
const OTHER_TRUNK: &str = "[[trunks]]\nid = \"other\"\ncarrier = \"loopback\"\n\
                           inbound = { cidrs = [\"127.0.0.9/32\"] }\n";

fn from_elsewhere(stage: &Stage) -> Result<Line> {
    Line::udp(UdpSocket::bind((ELSEWHERE, 0))?, stage.sip)
}

#[test]
fn a_cancel_that_does_not_fit_cancels_nothing() {
    play_with(Setup { set: &[ONE_ADDRESS], more: OTHER_TRUNK, ..Setup::default() }, |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut other = from_elsewhere(stage)?;
        caller.send(with_body(&caller, &stage.invite(), "forged", &[], SDP))?;
        let offered = target.expect("INVITE")?;
        target.send(response(&target, &offered, "180 Ringing", &[], ""))?;
        caller.expect("180 INVITE")?;
        let start = stage.invite().replace("INVITE", "CANCEL");
        // The branch of `request` is made of the Call-ID; this is that of the INVITE.
        let via =
            |line: &Line| format!("Via: SIP/2.0/UDP {};branch=z9hG4bKforgedINVITE", line.local);
        let branch = format!("Via: SIP/2.0/UDP {};branch=z9hG4bKguessed", caller.local);
        let from = format!("From: <sip:+16145550188@{}>;tag=guessed", caller.local);
        for (what, call_id, fields) in [
            ("branch", "forged", [&*branch, "Max-Forwards: 70"]),
            ("Call-ID", "forged2", [&*via(&caller), "Max-Forwards: 70"]),
            ("tag", "forged", [&*via(&caller), &*from]),
            ("number", "forged", [&*via(&caller), "CSeq: 7 CANCEL"]),
        ] {
            caller.send(request(&caller, &start, call_id, &fields))?;
            caller.expect("481 CANCEL").with_context(|| format!("another {what}"))?;
        }
        // All of it is right, but that it comes from another carrier.
        let from = format!("From: <sip:+16145550188@{}>;tag=cforged", caller.local);
        other.send(request(&other, &start, "forged", &[&via(&other), &from]))?;
        other.expect("481 CANCEL").context("from another carrier")?;
        target.expect_silence(Duration::from_millis(100)).context("at the target")?;

        caller.send(request(&caller, &start, "forged", &[]))?;
        caller.expect("200 CANCEL").context("the true one")?;
        let cancelled = target.expect("CANCEL")?;
        target.send(response(&target, &cancelled, "200 OK", &[], ""))?;
        target.send(response(&target, &offered, "487 Request Terminated", &[], ""))?;
        target.expect("ACK")?;
        let ended = caller.expect("487 INVITE")?;
        let to = format!("To: {}", ended.header("To").context("no To")?);
        let start = stage.invite().replace("INVITE", "ACK");
        caller.send(request(&caller, &start, "forged", &[&to]))?;
        stage.is_clean()
    });
}

#[test]
fn a_bye_that_does_not_fit_ends_nothing() {
    play(&[ONE_ADDRESS], |stage| {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let mut other = from_elsewhere(stage)?;
        let call = Call::up(stage, &mut caller, &mut target, "held", &[])?;
        let mut forged = call.caller.clone();
        forged.cseq = 50;
        let swapped = [format!("From: {}", forged.to), format!("To: {}", forged.from)];
        let theirs = [format!("From: {}", call.target.from), format!("To: {}", call.target.to)];
        let alien = format!("Call-ID: {}", call.target.call_id);
        let untagged = String::from("To: <sip:a@example.org>");
        for (what, fields) in [
            ("tags swapped", vec![&swapped[0], &swapped[1]]),
            ("tags of the other leg", vec![&theirs[0], &theirs[1]]),
            ("Call-ID of the other leg", vec![&alien]),
            ("no tag of ours", vec![&untagged]),
        ] {
            let fields: Vec<&str> = fields.iter().map(|field| field.as_str()).collect();
            caller.send(forged.next_with(&caller, "BYE", &fields, ""))?;
            caller.expect("481 BYE").context(what)?;
            // A stranger is not even told that there is nothing.
            other.send(forged.next_with(&other, "BYE", &fields, ""))?;
        }
        other.expect_silence(Duration::from_millis(100)).context("at the stranger")?;
        target.expect_silence(Duration::from_millis(50)).context("at the target")?;
        call.end(&mut caller, &mut target)?;
        stage.is_clean()
    });
}

/// Random bytes, and messages that are broken in some place.
fn junk(draw: &mut fastrand::Rng, local: SocketAddr) -> Vec<u8> {
    let mut bytes: Vec<u8> = match draw.u8(..4) {
        0 => (0..draw.usize(1..8_000)).map(|_| draw.u8(..)).collect(),
        1 => b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        _ => format!(
            "OPTIONS sip:{}@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{}\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\n\
             X-Pad: {:p<4000}\r\nContent-Length: 0\r\n\r\n",
            draw.u32(..),
            draw.u64(..),
            draw.u64(..),
            ""
        )
        .into_bytes(),
    };
    for _ in 0..draw.u8(..3) {
        let at = draw.usize(..bytes.len());
        bytes[at] = draw.u8(..);
    }
    bytes
}

/// Datagrams of one flood.
const FLOOD: usize = 50_000;

/// More than the server may grow by in a flood: about a third of the 150 MB that are sent.
const GROWTH_MAX: u64 = 48 << 20;

const DROPPED_BY_SOURCE: &str = r#"tollbridge_sip_dropped_total{reason="acl"}"#;

/// Sends a flood while calls are up; somebody else is answered all the while.
fn flood(stage: &mut Stage, mut source: Line) -> Result<Line> {
    let mut crowd = Crowd::up(stage, 20)?;
    let before = stage.server()?.resident_bytes()?;
    let seed = fastrand::u64(..);
    eprintln!("flood: seed {seed}");
    let mut draw = fastrand::Rng::with_seed(seed);
    // On a stream nothing is lost; asked often, it keeps us from sending what the kernel drops.
    let mut other = stage.tcp()?;
    for n in 0..FLOOD {
        source.send(junk(&mut draw, source.local))?;
        if n % 100 == 0 {
            stage.is_alive(&mut other, &format!("flooded{n}"))?;
        }
    }
    let grown = stage.server()?.resident_bytes()?.saturating_sub(before);
    ensure!(grown < GROWTH_MAX, "the server grew by {grown} bytes");
    let transactions = api::metrics(stage.api)?["tollbridge_sip_transactions_active"];
    ensure!(transactions < 500.0, "{transactions} transactions");
    crowd.is_unharmed()?;
    crowd.end()?;
    Ok(source)
}

#[test]
fn a_flood_from_a_stranger_costs_no_byte_and_no_call() {
    play(&[ONE_ADDRESS], |stage| {
        let mut source = flood(stage, from_elsewhere(stage)?)?;
        // Nor does who writes without a fault, or names what may be a call of ours.
        for n in 0..1_000 {
            let id = if n % 2 == 0 { format!("whole{n}") } else { format!("tb00-{n:016x}") };
            source.send(with_body(&source, &stage.invite(), &id, &[], SDP))?;
        }
        source.expect_silence(Duration::from_millis(300)).context("at the stranger")?;
        let dropped = api::series(stage.api)?[DROPPED_BY_SOURCE];
        ensure!(dropped > 500.0, "{dropped} dropped as a stranger's");
        stage.is_well("after-flood")?;
        stage.is_clean()
    });
}

#[test]
fn a_flood_of_broken_messages_from_a_carrier_keeps_nothing_in_memory() {
    play(&[], |stage| {
        flood(stage, stage.udp()?)?;
        stage.is_well("after-flood")?;
        stage.is_clean()
    });
}

#[test]
fn whoever_speaks_http_in_datagrams_hears_nothing() {
    play(&[], |stage| {
        let mut line = stage.udp()?;
        for probe in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"POST /sip HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\n\r\n",
        ] {
            line.send(probe)?;
        }
        line.expect_silence(Duration::from_millis(100))?;
        stage.is_well("after-http")
    });
}

/// A connection from an address of its own.
fn connect(stage: &Stage) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((ELSEWHERE, 0)).into())?;
    socket.connect_timeout(&stage.sip.into(), PATIENCE)?;
    Ok(socket.into())
}

#[test]
fn who_never_ends_a_message_is_closed_and_delays_nobody() {
    const CONNECTIONS: usize = 200;
    play(&["sip.tcp.header_timeout_ms=1500"], |stage| {
        let mut dripping =
            (0..CONNECTIONS).map(|_| connect(stage)).collect::<Result<Vec<TcpStream>>>()?;
        let head = stage.invite() + "\r\nVia: SIP/2.0/TCP 127.0.0.9;branch=z9hG4bKdrip\r\nX-A: ";
        let begun = Instant::now();
        let mut n = 0;
        // A byte at a time, as long as the connection takes one.
        let closed_after = loop {
            dripping.retain_mut(|stream| {
                stream.write_all(if n == 0 { head.as_bytes() } else { b"a" }).is_ok()
            });
            if dripping.is_empty() {
                break begun.elapsed();
            }
            ensure!(begun.elapsed() < Duration::from_secs(15), "{} are left", dripping.len());
            let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
            let call = Call::up(stage, &mut caller, &mut target, &format!("beside{n}"), &[])?;
            call.end(&mut caller, &mut target)?;
            n += 1;
        };
        ensure!(closed_after >= Duration::from_secs(1), "closed after {closed_after:?}");
        stage.is_clean()
    });
}

#[test]
fn connections_that_say_nothing_take_no_others_place_at_the_rest_service() {
    let set = ["api.connections_max=4", "api.connections_per_source_max=3"];
    play(&set, |stage| {
        let mut kept = Kept::open(stage.api, Ipv4Addr::LOCALHOST)?;
        kept.asks()?;
        // Another address has as many as it may have; each has to be taken before the next counts.
        let mut silent = vec![];
        for n in 0..6 {
            let stream = from(ELSEWHERE, stage.api)?;
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
            silent.push(stream);
            if n >= 3 {
                let oldest = &mut silent[n - 3];
                ensure!(closed(oldest, PATIENCE)?, "connection {} is still open", n - 3);
            }
            kept.asks().with_context(|| format!("beside {n} silent ones"))?;
        }
        // And of all together, who has said nothing for longest goes: not who is served.
        for n in 0..4 {
            let reply = http::get(stage.api, "/healthz").with_context(|| format!("request {n}"))?;
            ensure!(reply.status == 200, "{}", reply.body);
            kept.asks()?;
        }
        let refused = api::metrics(stage.api)?;
        let refused = refused.get("tollbridge_api_connections_refused_total");
        ensure!(refused >= Some(&4.0), "{refused:?}");
        ensure!(stage.log().contains("more connections to the REST service come"));
        stage.is_clean()
    });
}

#[test]
fn a_connection_that_says_nothing_at_all_is_closed_after_five_seconds() {
    play(&[], |stage| {
        let begun = Instant::now();
        let mut silent = TcpStream::connect(stage.api)?;
        let mut kept = Kept::open(stage.api, Ipv4Addr::LOCALHOST)?;
        kept.asks()?;
        ensure!(closed(&mut silent, Duration::from_secs(30))?, "it is still open");
        ensure!(begun.elapsed() >= Duration::from_secs(4), "it had no time");
        // One that was answered may rest for longer.
        std::thread::sleep(Duration::from_secs(6).saturating_sub(begun.elapsed()));
        kept.asks()?;
        stage.is_clean()
    });
}

/// A connection that is kept between requests.
struct Kept(TcpStream);

impl Kept {
    fn open(api: SocketAddr, source: Ipv4Addr) -> Result<Self> {
        let stream = from(source, api)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    fn asks(&mut self) -> Result<()> {
        self.0.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")?;
        let mut answer = [0; 8_192];
        let length = self.0.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        Ok(())
    }
}

fn from(source: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Whether the other end closes it in time, having said nothing.
fn closed(stream: &mut TcpStream, in_time: Duration) -> Result<bool> {
    stream.set_read_timeout(Some(in_time))?;
    match stream.read(&mut [0; 1]) {
        Ok(length) => Ok(length == 0),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(true),
        Err(_) => Ok(false),
    }
}

#[test]
fn one_address_has_no_more_connections_than_it_may() {
    play(&["sip.tcp.connections_per_source_max=5"], |stage| {
        // Whoever is closed at once may learn it while it still connects.
        let connections: Vec<_> = (0..30).filter_map(|_| connect(stage).ok()).collect();
        let mut open = vec![];
        for mut stream in connections {
            stream.set_read_timeout(Some(PATIENCE))?;
            // A ping: whoever is let in is answered, whoever is not is closed.
            let answered = stream.write_all(b"\r\n\r\n").and_then(|()| stream.read(&mut [0; 2]));
            if answered.is_ok_and(|length| length == 2) {
                open.push(stream);
            }
        }
        ensure!(open.len() == 5, "{} were let in", open.len());
        let (mut caller, mut target) = (stage.tcp()?, stage.target()?);
        Call::up(stage, &mut caller, &mut target, "beside", &[])?.end(&mut caller, &mut target)?;
        drop(open);
        wait_for("room for another connection", PATIENCE, || {
            let Ok(mut stream) = connect(stage) else { return Ok(None) };
            stream.set_read_timeout(Some(PATIENCE))?;
            let answered = stream.write_all(b"\r\n\r\n").and_then(|()| stream.read(&mut [0; 2]));
            Ok(answered.is_ok_and(|length| length == 2).then_some(()))
        })
    });
}

#[test]
fn what_is_too_large_is_refused_with_its_status() {
    play(&[], |stage| {
        let start = format!("OPTIONS {} SIP/2.0", stage.uri("tollbridge"));
        let long = format!("X-Long: {}", "a".repeat(20_000));
        let many = vec!["X-Many: a"; 400];
        let vias = vec!["v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx"; 100];
        let uri = format!("OPTIONS sip:{}@example.org SIP/2.0", "a".repeat(9_000));
        for (n, (start, fields, status)) in [
            (&start, vec![long.as_str()], 513),
            (&start, many, 513),
            (&start, vias, 483),
            (&uri, vec!["To: <sip:a@b>"], 414),
        ]
        .into_iter()
        .enumerate()
        {
            for is_stream in [false, true] {
                let mut line = if is_stream { stage.tcp()? } else { stage.udp()? };
                let id = format!("large{n}{is_stream}");
                // The first Via is ours, so that the answer comes back.
                let via =
                    format!("V: SIP/2.0/{} {};branch=z9hG4bK{id}", line.transport(), line.local);
                let fields = [&[via.as_str()][..], &fields].concat();
                line.send(request(&line, start, &id, &fields))?;
                if is_stream && status == 414 {
                    // Where such a line ends is not waited for.
                    line.expect_end()?;
                } else {
                    line.expect(&format!("{status} OPTIONS")).with_context(|| id)?;
                }
            }
        }
        // A head that is too long ends a connection; a body that is, after its answer.
        let mut line = stage.tcp()?;
        let fields = ["X-Long: a"; 6].map(|field| field.to_owned() + &"b".repeat(10_000));
        line.send(request(&line, &start, "head", &fields.each_ref().map(String::as_str)))?;
        line.expect_end()?;
        let mut line = stage.tcp()?;
        line.send(request(&line, &start, "body", &["Content-Length: 100000"]))?;
        line.expect("413 OPTIONS")?;
        line.expect_end()?;
        stage.is_well("after-large")?;
        stage.is_clean()
    });
}

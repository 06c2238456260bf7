//! Calls between two telephones (baresip) through the running server, over every transport, and
//! with a proxy (Kamailio) before each of them (spec/sip T1, T11, D1, B14).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::stage::NUMBER;
use super::{Setup, Stage, play_with};
use crate::support::api::{self, Call};
use crate::support::authority::{Authority, Issued};
use crate::support::baresip::{self, Phone};
use crate::support::kamailio::Proxy;
use crate::support::wire::{self, Direction, Message};
use crate::support::{ports, wait_for};

#[test]
fn a_telephone_over_udp_calls_telephones_over_udp_tcp_and_tls() {
    call_all_over("udp");
}

#[test]
fn a_telephone_over_tcp_calls_telephones_over_udp_tcp_and_tls() {
    call_all_over("tcp");
}

#[test]
fn a_telephone_over_tls_calls_telephones_over_udp_tcp_and_tls() {
    call_all_over("tls");
}

#[test]
fn a_telephone_that_gives_up_or_refuses_ends_the_call_on_both_sides() {
    World::new().play(|stage, phones| {
        for (n, (transport, number)) in ["udp", "tcp", "tls"].into_iter().zip(NUMBERS).enumerate() {
            let uri = stage_uri(stage, number, transport);
            phones.give_up(&uri)?;
            gave_up(stage, 2 * n + 1)?;
            phones.refuse(&uri)?;
            refused(stage, 2 * n + 2)?;
        }
        Ok(())
    });
}

#[test]
fn telephones_behind_proxies_talk_hold_and_hang_up_along_the_routes() {
    let world = World::new();
    let (front, behind) = (world.ports + 2 * baresip::PORTS, world.ports + 2 * baresip::PORTS + 1);
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let aside = format!("targets.alone.dial.uri=sip:polaris@127.0.0.1:{behind}");
    let (phone, work) = (world.callee(), world.folder.path().to_owned());
    world.play_with(&[&aside], |stage, phones| {
        // The first goes on over TCP, and so names itself twice in Record-Route.
        let (sip, work) = (stage.sip, work.as_path());
        let harbor = Proxy { name: "harbor", port: front, next: sip, tcp: true, work };
        let polaris = Proxy { name: "polaris", port: behind, next: phone, tcp: false, work };
        let _proxies = (harbor.start()?, polaris.start()?);
        let uri = format!("sip:{NUMBER}@{}", at(front));
        phones.talk(&uri, Side::Caller).context("ended by the caller")?;
        talked(stage, 1, Side::Caller)?;
        phones.talk(&uri, Side::Callee).context("ended by the callee")?;
        talked(stage, 2, Side::Callee)?;
        phones.give_up(&uri)?;
        gave_up(stage, 3)?;
        phones.refuse(&uri)?;
        refused(stage, 4)
    });
}

/// Of the targets over UDP, TCP and TLS.
const NUMBERS: [&str; 3] = ["+18005550100", "+18005550150", "+18005550198"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Caller,
    Callee,
}

/// Two calls to each target, of which each side holds and ends one.
fn call_all_over(transport: &str) {
    World::new().play(|stage, phones| {
        for (n, number) in NUMBERS.into_iter().enumerate() {
            let uri = stage_uri(stage, number, transport);
            for (m, side) in [Side::Caller, Side::Callee].into_iter().enumerate() {
                phones.talk(&uri, side).with_context(|| format!("{number}, {side:?}"))?;
                talked(stage, 2 * n + m + 1, side)?;
            }
        }
        Ok(())
    });
}

fn stage_uri(stage: &Stage, number: &str, transport: &str) -> String {
    let listener = if transport == "tls" { stage.tls } else { stage.sip };
    format!("sip:{number}@{listener};transport={transport}")
}

/// The record of the `count`th call, the last one so far.
fn record(stage: &Stage, count: usize) -> Result<Call> {
    wait_for("the call record", Duration::from_secs(5), || {
        let mut calls = api::calls(stage.api)?;
        calls.iter().try_for_each(Call::audit)?;
        // Newest first.
        Ok((calls.len() == count && calls[0].is_over()).then(|| calls.swap_remove(0)))
    })
}

fn talked(stage: &Stage, count: usize, ended: Side) -> Result<()> {
    let call = record(stage, count)?;
    let (party, reason) = match ended {
        Side::Caller => ("caller", "end.caller_hung_up"),
        Side::Callee => ("target", "end.target_hung_up"),
    };
    ensure!(call.end_party.as_deref() == Some(party), "{call:?}");
    ensure!(call.end_reason.as_deref() == Some(reason), "{call:?}");
    ensure!(call.talk_ms.is_some_and(|talk| talk > 0 && talk < 20_000), "{call:?}");
    ensure!(call.ring_ms.is_some_and(|ring| ring < 20_000), "{call:?}");
    Ok(())
}

fn gave_up(stage: &Stage, count: usize) -> Result<()> {
    let call = record(stage, count)?;
    ensure!(!call.is_answered() && call.end_party.as_deref() == Some("caller"), "{call:?}");
    ensure!(call.attempts.len() == 1 && call.attempts[0].result == "abandoned", "{call:?}");
    Ok(())
}

fn refused(stage: &Stage, count: usize) -> Result<()> {
    let call = record(stage, count)?;
    ensure!(!call.is_answered() && call.end_reason.as_deref() == Some("attempt.busy"), "{call:?}");
    ensure!(call.attempts.len() == 1 && call.attempts[0].sip == Some(486), "{call:?}");
    Ok(())
}

/// Ports and certificates of a server and two telephones.
struct World {
    authority: Authority,
    ours: Issued,
    /// Those of the caller, those of the callee, and two more.
    ports: u16,
    folder: tempfile::TempDir,
}

struct Phones {
    caller: Phone,
    callee: Phone,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let ours = authority.issue(&["127.0.0.1"]);
        let ports = ports::block(2 * baresip::PORTS + 2).unwrap();
        Self { authority, ours, ports, folder }
    }

    /// Where the callee is called, one port further over TLS.
    fn callee(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports + baresip::PORTS).into()
    }

    fn play(&self, part: impl FnOnce(&Stage, &mut Phones) -> Result<()>) {
        self.play_with(&[], part);
    }

    /// Plays a test with both telephones switched on; then looks at all that they heard.
    fn play_with(&self, set: &[&str], part: impl FnOnce(&Stage, &mut Phones) -> Result<()>) {
        let Issued { chain, key } = &self.ours;
        let (udp, tls) = (self.callee(), self.callee().port() + 1);
        let usual = [
            format!("sip.tls.certificates=[{{chain_file = {chain:?}, key_file = {key:?}}}]"),
            format!("targets.first.dial.uri=sip:polaris@{udp}"),
            format!("targets.alone.dial.uri=sip:polaris@{udp};transport=tcp"),
            format!("targets.single.dial.uri=sip:polaris@127.0.0.1:{tls};transport=tls"),
            format!("targets.single.dial.tls.extra_ca={}", self.authority.file.display()),
            // A refusal of the first is the end.
            "campaigns.failover.advance_on=[503]".to_owned(),
        ];
        let set: Vec<&str> = set.iter().copied().chain(usual.iter().map(String::as_str)).collect();
        play_with(Setup { set: &set, tls: true, ..Setup::default() }, |stage| {
            let phone = |user: &str, ports: u16| {
                Phone::start(user, ports, &self.authority, self.folder.path())
            };
            let caller = phone("+16145550188", self.ports)?;
            let callee = phone("polaris", self.ports + baresip::PORTS)?;
            let mut phones = Phones { caller, callee };
            part(stage, &mut phones)?;
            phones.leave()?;
            stage.is_clean()
        });
    }
}

impl Phones {
    /// A call until it rings on both sides.
    fn ring(&mut self, uri: &str) -> Result<()> {
        self.caller.dial(uri)?;
        self.callee.until("CALL_INCOMING")?;
        self.caller.until("CALL_RINGING").map(drop)
    }

    /// A call that one side holds, resumes and ends.
    fn talk(&mut self, uri: &str, side: Side) -> Result<()> {
        self.ring(uri)?;
        self.callee.press("accept")?;
        self.callee.until("CALL_ESTABLISHED")?;
        self.caller.until("CALL_ESTABLISHED")?;
        let (ours, theirs) = match side {
            Side::Caller => (&mut self.caller, &mut self.callee),
            Side::Callee => (&mut self.callee, &mut self.caller),
        };
        for key in ["hold", "resume"] {
            ours.press(key)?;
            theirs.until("CALL_REMOTE_SDP offer").context(key)?;
            ours.until("CALL_REMOTE_SDP answer").context(key)?;
        }
        ours.press("hangup")?;
        ours.until("CALL_CLOSED")?;
        theirs.until("CALL_CLOSED").map(drop)
    }

    /// The caller hangs up while it rings.
    fn give_up(&mut self, uri: &str) -> Result<()> {
        self.ring(uri)?;
        self.caller.press("hangup")?;
        self.caller.until("CALL_CLOSED")?;
        self.callee.until("CALL_CLOSED").map(drop).context("after a CANCEL")
    }

    /// The callee does not take the call.
    fn refuse(&mut self, uri: &str) -> Result<()> {
        self.ring(uri)?;
        self.callee.press("hangup")?;
        self.callee.until("CALL_CLOSED")?;
        let told = self.caller.until("CALL_CLOSED")?;
        ensure!(told.starts_with("486"), "the caller was told {told}");
        Ok(())
    }

    /// Switches both off. What they heard was well-formed, of nobody's leg but their own, and after
    /// each `sendonly` the other way was open again.
    fn leave(self) -> Result<()> {
        let (caller, callee) = (self.caller.leave()?, self.callee.leave()?);
        for messages in [&caller, &callee] {
            let is_read = messages.iter().any(|it| it.direction == Direction::Received);
            ensure!(is_read, "no message was read from the trace");
            wire::is_well_formed(messages)?;
            let (held, open) = (offers(messages, "a=sendonly"), offers(messages, "a=sendrecv"));
            ensure!(held <= open, "{held} offers to hold, {open} to speak");
        }
        let heads = |messages: &[Message]| -> Vec<Message> {
            let head = |text: &str| text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
            messages.iter().map(|it| Message { text: head(&it.text), ..it.clone() }).collect()
        };
        // Descriptions pass as they are, and these telephones put their address into them.
        let (caller, callee) = (heads(&caller), heads(&callee));
        wire::nothing_leaks(&caller, &callee)?;
        wire::nothing_leaks(&callee, &caller)
    }
}

/// How many offers were received with this line.
fn offers(messages: &[Message], line: &str) -> usize {
    let received = messages.iter().filter(|message| message.direction == Direction::Received);
    received
        .filter(|message| message.kind() == "INVITE")
        .filter(|message| message.text.lines().any(|found| found.trim_end() == line))
        .count()
}

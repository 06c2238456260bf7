//! A server with free ports, and calls through it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::peer::{Dialog, Heard, Line, SDP, request, response, with_body};
use super::program::Program;
use crate::support::server::{PORT_A, PORT_B, repository};
use crate::support::{api, http, ports, wait_for};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Goes to one target.
pub(crate) const NUMBER: &str = "+18005550150";

/// Makes strangers of everybody on this machine: no trunk and no target is at 127.0.0.1.
pub(crate) const STRANGERS: [&str; 5] = [
    "trunks.loopback.inbound.cidrs=[\"192.0.2.0/24\"]",
    "targets.first.dial.uri=sip:192.0.2.1",
    "targets.second.dial.uri=sip:192.0.2.1",
    "targets.alone.dial.uri=sip:192.0.2.1",
    "targets.single.dial.uri=sip:192.0.2.1",
];

/// What a server is started with: examples/loopback.toml on ports of its own, and more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup<'a> {
    /// Further `--set` arguments.
    pub(crate) set: &'a [&'a str],
    /// TOML behind that of the example.
    pub(crate) more: &'a str,
    /// Whether it listens for TLS, too.
    pub(crate) tls: bool,
    /// Further arguments of `serve`.
    pub(crate) arguments: &'a [&'a str],
}

/// A running server and the ports about it.
pub(crate) struct Stage {
    /// Absent only while it restarts.
    server: Option<Program>,
    arguments: Vec<String>,
    /// Its SIP listener on 127.0.0.1, UDP and TCP.
    pub(crate) sip: SocketAddr,
    /// Its TLS listener, if it has one.
    pub(crate) tls: SocketAddr,
    /// The REST API.
    pub(crate) api: SocketAddr,
    /// Where the targets are called, but for the one behind the first; bound as long as the server
    /// runs, so that nobody else takes the port.
    target: UdpSocket,
    /// Where that one is called; nobody's.
    pub(crate) spare_port: u16,
    /// Removed at the end.
    pub(crate) work: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn start(setup: Setup<'_>) -> Result<Self> {
        let work = tempfile::tempdir()?;
        let first = ports::block(5)?;
        let at = |port| SocketAddr::from((LOCALHOST, port));
        let (sip, api, tls) = (at(first), at(first + 1), at(first + 4));
        let target = UdpSocket::bind((LOCALHOST, first + 2))?;
        let spare_port = first + 3;
        let config = work.path().join("config.toml");
        let example = fs::read_to_string(repository("examples/loopback.toml"))?;
        fs::write(&config, format!("{example}\n{}", setup.more))?;
        let also = if setup.tls { format!(",tls:{tls}") } else { String::new() };
        let mut set = vec![
            format!("sip.listen=udp:{sip},tcp:{sip}{also}"),
            format!("api.listen={api}"),
            format!("store.dir={}", work.path().join("data").display()),
        ];
        for (example_port, port) in [(PORT_A, first + 2), (PORT_B, spare_port)] {
            for id in crate::support::server::example()?.targets_at(example_port) {
                set.push(format!("targets.{id}.dial.uri=sip:127.0.0.1:{port}"));
            }
        }
        // What a test sets goes before what is set for all.
        set.extend(setup.set.iter().map(|&set| set.to_owned()));
        let mut arguments = vec!["serve".to_owned(), "--config".to_owned()];
        arguments.push(config.display().to_string());
        arguments.extend(set.into_iter().flat_map(|set| ["--set".to_owned(), set]));
        arguments.extend(setup.arguments.iter().map(|&argument| argument.to_owned()));
        let mut stage = Self { server: None, arguments, sip, tls, api, target, spare_port, work };
        stage.serve()?;
        Ok(stage)
    }

    /// Starts the server, again if it has ended.
    pub(crate) fn serve(&mut self) -> Result<()> {
        let mut server = Program::spawn(&self.arguments, &self.work.path().join("server.log"))?;
        server.until_ready(self.api)?;
        self.server = Some(server);
        Ok(())
    }

    /// Writes the configuration anew with `to` in the place of `from`, and has it read again. Returns the
    /// answer to that.
    pub(crate) fn reload_with(&self, from: &str, to: &str) -> Result<Value> {
        self.rewrite(from, to)?;
        let reply = http::post(self.api, "/v1/config:reload", "")?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.body);
        reply.json()
    }

    /// Puts `to` in the place of `from` in the configuration.
    pub(crate) fn rewrite(&self, from: &str, to: &str) -> Result<()> {
        let path = self.work.path().join("config.toml");
        let config = fs::read_to_string(&path)?;
        ensure!(config.contains(from), "the configuration has `{from}`");
        Ok(fs::write(&path, config.replace(from, to))?)
    }

    /// A call of before is on record.
    pub(crate) fn has_a_record(&self) -> Result<()> {
        wait_for("the call to be on record", Duration::from_secs(5), || {
            Ok(api::calls(self.api)?.iter().any(api::Call::is_over).then_some(()))
        })
    }

    /// Ends the server and starts another on the same data.
    pub(crate) fn restart(&mut self, end: fn(Program) -> Result<()>) -> Result<()> {
        self.end(end)?;
        self.serve()
    }

    pub(crate) fn end(&mut self, end: fn(Program) -> Result<()>) -> Result<()> {
        self.server.take().map_or(Ok(()), end)
    }

    pub(crate) fn server(&mut self) -> Result<&mut Program> {
        self.server.as_mut().context("the server is not running")
    }

    pub(crate) fn log(&self) -> String {
        self.server.as_ref().map(Program::log).unwrap_or_default()
    }

    pub(crate) fn udp(&self) -> Result<Line> {
        Line::udp(UdpSocket::bind((LOCALHOST, 0))?, self.sip)
    }

    pub(crate) fn tcp(&self) -> Result<Line> {
        Line::tcp(self.sip)
    }

    pub(crate) fn target(&self) -> Result<Line> {
        Line::udp(self.target.try_clone()?, self.sip)
    }

    /// A URI of a number at the server.
    pub(crate) fn uri(&self, number: &str) -> String {
        format!("sip:{number}@{}", self.sip)
    }

    /// The start line of an INVITE.
    pub(crate) fn invite(&self) -> String {
        self.invite_to(NUMBER)
    }

    pub(crate) fn invite_to(&self, number: &str) -> String {
        format!("INVITE {} SIP/2.0", self.uri(number))
    }

    /// Brings up a call and checks that it ends well.
    pub(crate) fn is_well(&self, call_id: &str) -> Result<()> {
        let (mut caller, mut target) = (self.udp()?, self.target()?);
        let call = Call::up(self, &mut caller, &mut target, call_id, &[])?;
        call.end(&mut caller, &mut target)
    }

    /// Whoever asks gets an answer. Each time another Call-ID is needed.
    pub(crate) fn is_alive(&self, line: &mut Line, call_id: &str) -> Result<()> {
        let start = format!("OPTIONS {} SIP/2.0", self.uri("tollbridge"));
        line.send(request(line, &start, &format!("alive-{call_id}"), &[]))?;
        line.expect("200 OPTIONS").map(drop).context("the server should be alive")
    }

    /// All calls are over, and no fault was counted.
    pub(crate) fn is_clean(&self) -> Result<()> {
        let metrics = wait_for("no call to be active", Duration::from_secs(4), || {
            let metrics = api::metrics(self.api)?;
            Ok((metrics.get("tollbridge_calls_active") == Some(&0.0)).then_some(metrics))
        })?;
        api::no_fault_is_counted(&metrics)?;
        ensure!(!self.log().contains("panicked"), "the server panicked");
        Ok(())
    }
}

/// Plays a test on a server of its own; a failure shows the server's log.
pub(crate) fn play(set: &[&str], part: impl FnOnce(&mut Stage) -> Result<()>) {
    play_with(Setup { set, ..Setup::default() }, part);
}

pub(crate) fn play_with(setup: Setup<'_>, part: impl FnOnce(&mut Stage) -> Result<()>) {
    let mut stage = Stage::start(setup).unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = part(&mut stage) {
        panic!("{error:#}\nlog of the server:\n{}", stage.log());
    }
}

/// A call that is up.
pub(crate) struct Call {
    /// As the target got it.
    pub(crate) offered: Heard,
    pub(crate) caller: Dialog,
    pub(crate) target: Dialog,
}

impl Call {
    /// A call to [`NUMBER`]; `fields` of the INVITE as in [`with_body`].
    pub(crate) fn up(
        stage: &Stage,
        caller: &mut Line,
        target: &mut Line,
        call_id: &str,
        fields: &[&str],
    ) -> Result<Self> {
        caller.send(with_body(caller, &stage.invite(), call_id, fields, SDP))?;
        Self::answered(caller, target)
    }

    /// The rest of a call whose INVITE is under way.
    pub(crate) fn answered(caller: &mut Line, target: &mut Line) -> Result<Self> {
        Self::answered_with(caller, target, &[])
    }

    /// The same; `fields` are added to the target's 200.
    pub(crate) fn answered_with(
        caller: &mut Line,
        target: &mut Line,
        fields: &[&str],
    ) -> Result<Self> {
        let offered = target.expect("INVITE").context("at the target")?;
        let answer = response(target, &offered, "200 OK", fields, SDP);
        target.send(&answer)?;
        target.expect("ACK").context("at the target")?;
        let answered = caller.expect("200 INVITE").context("at the caller")?;
        let call = Self {
            caller: Dialog::of_caller(&answered)?,
            target: Dialog::of_target(&offered, &answer)?,
            offered,
        };
        caller.send(call.caller.ack(caller))?;
        Ok(call)
    }

    /// The caller hangs up; the target hears of it.
    pub(crate) fn end(mut self, caller: &mut Line, target: &mut Line) -> Result<()> {
        caller.send(self.caller.next(caller, "BYE"))?;
        caller.expect("200 BYE").context("at the caller")?;
        let bye = target.expect("BYE").context("at the target")?;
        target.send(response(target, &bye, "200 OK", &[], ""))
    }
}

/// Many calls of one caller to one target that are up at the same time.
pub(crate) struct Crowd {
    caller: Line,
    target: Line,
    calls: Vec<Call>,
}

impl Crowd {
    pub(crate) fn up(stage: &Stage, count: usize) -> Result<Self> {
        let (mut caller, mut target) = (stage.udp()?, stage.target()?);
        let calls = (0..count)
            .map(|n| Call::up(stage, &mut caller, &mut target, &format!("crowd{n}"), &[]))
            .collect::<Result<_>>()?;
        Ok(Self { caller, target, calls })
    }

    /// Nobody heard anything since the calls came up, or since this was last asked.
    pub(crate) fn is_unharmed(&mut self) -> Result<()> {
        let moment = Duration::from_millis(50);
        self.caller.expect_silence(moment).context("at the caller of many calls")?;
        self.target.expect_silence(moment).context("at the target of many calls")
    }

    /// Each of them is there to be ended.
    pub(crate) fn end(mut self) -> Result<()> {
        self.calls.into_iter().try_for_each(|call| call.end(&mut self.caller, &mut self.target))
    }
}

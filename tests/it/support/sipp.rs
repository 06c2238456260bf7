//! SIPp as a process: how it is started, and what it says when it ends.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::wire::Message;
use super::{ports, wait_for};

/// Ports of one SIPp process: its media sockets and its control socket.
pub(crate) const PORTS: u16 = 10;

/// One SIPp process to start.
#[derive(Debug)]
pub(crate) struct Party<'a> {
    pub(crate) name: &'a str,
    pub(crate) scenario: &'a Path,
    pub(crate) local: SocketAddr,
    /// Whom to call; `None` waits for calls.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) tcp: bool,
    pub(crate) dial: &'a str,
    pub(crate) calls: u32,
    /// Calls a second.
    pub(crate) rate: u32,
    /// First of [`PORTS`] ports it may use besides `local`.
    pub(crate) ports: u16,
    pub(crate) limit: Duration,
    /// Where its logs go.
    pub(crate) work: &'a Path,
    /// What `[name]` stands for in the scenario.
    pub(crate) keys: &'a [(&'a str, SocketAddr)],
}

pub(crate) struct Running {
    child: Child,
    name: String,
    limit: Duration,
    files: Files,
}

/// What a SIPp process left behind.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) exit: Option<i32>,
    pub(crate) stats: Stats,
    pub(crate) messages: Vec<Message>,
    /// What SIPp found wrong, in its words.
    pub(crate) errors: String,
}

/// Cumulative counts of the last line of `-trace_stat`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) successful: u64,
    pub(crate) failed: u64,
    pub(crate) unexpected: u64,
    pub(crate) out_of_call: u64,
    pub(crate) retransmissions: u64,
}

struct Files {
    stats: PathBuf,
    messages: PathBuf,
    errors: PathBuf,
}

impl Party<'_> {
    pub(crate) fn start(&self) -> Result<Running> {
        let file = |kind: &str| self.work.join(format!("{}.{kind}", self.name));
        let files =
            Files { stats: file("csv"), messages: file("messages"), errors: file("errors") };
        let mut sipp = Command::new("sipp");
        if let Some(remote) = self.remote {
            sipp.arg(remote.to_string())
                .args(["-s", self.dial])
                .args(["-r", &self.rate.to_string()]);
        }
        sipp.arg("-sf").arg(self.scenario);
        for (name, address) in self.keys {
            sipp.args(["-key", name, &address.to_string()]);
        }
        sipp.args(["-i", &self.local.ip().to_string(), "-p", &self.local.port().to_string()]);
        sipp.args(["-t", if self.tcp { "t1" } else { "u1" }]);
        sipp.args(["-m", &self.calls.to_string(), "-l", &self.calls.max(10).to_string()]);
        sipp.args(["-mp", &self.ports.to_string(), "-cp", &(self.ports + PORTS - 1).to_string()]);
        sipp.args(["-timeout", &format!("{}s", self.limit.as_secs()), "-timeout_error"]);
        sipp.args(["-nostdin", "-trace_stat", "-fd", "1", "-stf"]).arg(&files.stats);
        sipp.args(["-trace_msg", "-message_file"]).arg(&files.messages);
        sipp.args(["-trace_err", "-error_file"]).arg(&files.errors);
        let child = sipp
            .current_dir(self.work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                if error.kind() == ErrorKind::NotFound {
                    return anyhow!("sipp is not installed: apt-get install sip-tester");
                }
                error.into()
            })?;
        let running = Running { child, name: self.name.to_owned(), limit: self.limit, files };
        // A caller over TCP binds no listening socket to wait for.
        if self.remote.is_none() || !self.tcp {
            ports::wait_until_bound(self.name, self.local, self.tcp)?;
        }
        Ok(running)
    }
}

impl Running {
    /// Waits for the end, which SIPp's own time limit brings about in any case.
    pub(crate) fn finish(mut self) -> Result<Verdict> {
        let limit = self.limit + Duration::from_secs(5);
        let name = format!("sipp `{}` to end", self.name);
        let status = wait_for(&name, limit, || Ok(self.child.try_wait()?))?;
        let read = |path: &Path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into());
        let messages: String = read(&self.files.messages).unwrap_or_default();
        Ok(Verdict {
            exit: status.code(),
            stats: Stats::parse(&fs::read_to_string(&self.files.stats).unwrap_or_default())
                .with_context(|| format!("statistics of `{}`", self.name))?,
            messages: Message::parse_log(&messages),
            errors: read(&self.files.errors).unwrap_or_default(),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Stats {
    fn parse(csv: &str) -> Result<Self> {
        let mut lines = csv.lines();
        let names: Vec<&str> = lines.next().context("an empty file")?.split(';').collect();
        let last: Vec<&str> = lines.last().context("no line of figures")?.split(';').collect();
        let count = |name: &str| -> Result<u64> {
            let column = names.iter().position(|found| *found == name);
            let column = column.with_context(|| format!("no column {name}"))?;
            ensure!(column < last.len(), "a short line of figures");
            Ok(last[column].trim().parse()?)
        };
        Ok(Self {
            successful: count("SuccessfulCall(C)")?,
            failed: count("FailedCall(C)")?,
            unexpected: count("FailedUnexpectedMessage(C)")?,
            out_of_call: count("OutOfCallMsgs(C)")?,
            retransmissions: count("Retransmissions(C)")?,
        })
    }
}

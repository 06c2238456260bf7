//! The built program as a process, with a configuration of one's own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::support::{http, wait_for};

/// A running process. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it with these arguments. What it prints is appended to this file.
    pub(crate) fn spawn(arguments: &[String], log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_tollbridge"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting the program")?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Waits until its API says that it takes work.
    pub(crate) fn until_ready(&mut self, api: SocketAddr) -> Result<()> {
        let ready = wait_for("/readyz", Duration::from_secs(20), || {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at start: {status}");
            }
            // Refused until the listener is up.
            Ok(http::get(api, "/readyz").ok().filter(|reply| reply.status == 200).map(drop))
        });
        ready.with_context(|| self.log())
    }

    /// SIGTERM, as a service manager would.
    pub(crate) fn terminate(&self) -> Result<()> {
        self.signal("-TERM")
    }

    /// `name` is as `kill` takes it.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status()?;
        ensure!(sent.success(), "kill {name} {pid}: {sent}");
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory it holds.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.bytes("VmRSS:")
    }

    /// Bytes of addresses it has taken, with memory behind them or not.
    pub(crate) fn reserved_bytes(&self) -> Result<u64> {
        self.bytes("VmSize:")
    }

    fn bytes(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.with_context(|| format!("no {field}"))?.parse::<u64>()? * 1024)
    }

    /// How it ended, within `limit`.
    pub(crate) fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_for("the program to end", limit, || self.has_ended())
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// SIGKILL: nothing is flushed, nothing is closed.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the end that is due with no call up.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = self.ended(Duration::from_secs(10))?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

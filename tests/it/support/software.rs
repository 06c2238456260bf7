//! Software of others that a test starts, and ends again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::wait_for;

/// Nothing outlives its test for longer, even if that is killed.
const LIFETIME_S: &str = "120";

/// A running process. Dropping it ends it, with all it has started.
pub(crate) struct Software {
    child: Child,
    log: PathBuf,
}

impl Software {
    /// Starts `program` of a Debian `package`; what it prints is appended to `log`.
    pub(crate) fn start(
        program: &str,
        package: &str,
        arguments: impl IntoIterator<Item = String>,
        log: &Path,
    ) -> Result<Self> {
        let path = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
            .map(|folder| Path::new(folder).join(program))
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("{program} is not installed: apt-get install {package}"))?;
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new("timeout")
            .args(["--kill-after=5", LIFETIME_S])
            .arg(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("timeout, of the package coreutils")?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(crate) fn is_running(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "ended too early ({ended:?}):\n{}", self.log());
        Ok(())
    }

    /// SIGTERM, which `timeout` hands on, and the end.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        }
        wait_for("a program to end", Duration::from_secs(10), || Ok(self.child.try_wait()?))?;
        Ok(())
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Software {
    fn drop(&mut self) {
        // What does not end on request is killed by `timeout` when its time is over.
        let _ended = self.end();
    }
}

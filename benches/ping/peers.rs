//! Who is beside the server: Redis, and SIPp as carrier and as advertiser.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// A call is talked for so long.
const TALK_MS: &str = "500";

/// A `redis-server` that writes down what it does. Killed when this is dropped.
pub(crate) struct Redis {
    process: Child,
    pub(crate) port: u16,
    folder: PathBuf,
}

impl Redis {
    pub(crate) fn start(folder: &Path, port: u16) -> Result<Self> {
        let process = Self::spawn(folder, port)?;
        let this = Self { process, port, folder: folder.to_owned() };
        this.until_ready()?;
        Ok(this)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// The same again, with what it had written down.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.process = Self::spawn(&self.folder, self.port)?;
        self.until_ready()
    }

    fn spawn(folder: &Path, port: u16) -> Result<Child> {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes"]);
        command.args(["--save", "", "--dir"]).arg(folder).stdout(Stdio::null());
        command.spawn().context("redis-server cannot be started: scripts/install-test-deps.sh")
    }

    fn until_ready(&self) -> Result<()> {
        let give_up = Instant::now() + READY_WITHIN;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            ensure!(Instant::now() < give_up, "redis-server is not ready");
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A `sipp`. Killed when this is dropped.
pub(crate) struct Sipp {
    process: Child,
    counted: PathBuf,
}

impl Sipp {
    /// Rings and answers.
    pub(crate) fn advertiser(work: &Path, port: u16) -> Result<Self> {
        Self::spawn(work, "uas", &["-p", &port.to_string()])
    }

    /// Makes so many calls, at so many a second.
    pub(crate) fn carrier(work: &Path, server: u16, rate: u32, calls: u32) -> Result<Self> {
        let numbers = work.join("numbers.csv");
        let callers = (0..10_000).map(|n| format!("+18005550100;1614{:07}", 2_000_000 + n));
        let lines: Vec<_> = std::iter::once(String::from("SEQUENTIAL")).chain(callers).collect();
        fs::write(&numbers, lines.join("\n"))?;
        let (server, numbers) = (format!("127.0.0.1:{server}"), numbers.display().to_string());
        let (rate, calls) = (rate.to_string(), calls.to_string());
        let arguments = [&*server, "-inf", &numbers, "-r", &rate, "-m", &calls, "-d", TALK_MS];
        Self::spawn(work, "uac", &arguments)
    }

    /// How many calls went as they should, and how many did not, once all are over.
    pub(crate) fn told(mut self) -> Result<(u32, u32)> {
        self.process.wait()?;
        let text = fs::read_to_string(&self.counted)?;
        let mut lines = text.lines();
        let names: Vec<_> = lines.next().context("sipp counts")?.split(';').collect();
        let last: Vec<_> = lines.last().context("sipp has counted")?.split(';').collect();
        let count = |name: &str| -> Result<u32> {
            let place = names.iter().position(|it| *it == name).context("sipp counts it")?;
            Ok(last.get(place).context("a count for each name")?.parse()?)
        };
        Ok((count("SuccessfulCall(C)")?, count("FailedCall(C)")?))
    }

    fn spawn(work: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let scenario =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/sip/{name}.xml"));
        let counted = work.join(format!("{name}.csv"));
        let mut command = Command::new("sipp");
        command.args(arguments).arg("-sf").arg(scenario).args(["-i", "127.0.0.1", "-l", "1000000"]);
        command.args(["-nostdin", "-trace_stat", "-fd", "1", "-stf"]).arg(&counted);
        command.args(["-buff_size", "4194304", "-watchdog_interval", "0"]).current_dir(work);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.context("sipp cannot be started: scripts/install-test-deps.sh")?;
        Ok(Self { process, counted })
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

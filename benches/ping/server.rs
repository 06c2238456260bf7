//! The server that is measured, and the floor: each a process of its own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

use tollbridge::server::serving::{ConnectionLimits, serve};

/// In the environment of this program when it is the floor.
pub(crate) const FLOOR: &str = "TOLLBRIDGE_BENCH_FLOOR";
/// A process is ready by then.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Of the floor, as of the server.
const CONNECTIONS_MAX: ConnectionLimits = ConnectionLimits { most: 8192, of_source_most: 8192 };
/// Of a clock tick, by which Linux counts the time of processes.
const TICKS_A_SECOND: f64 = 100.0;

const CONFIG: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    api.keys = [{ id = "dev", key = "dev" }]
    [[targets]]
    id = "t"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:127.0.0.1:9" }
    [[campaigns]]
    id = "pinged"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = { tiers = [{ tier = 1, targets = [{ target = "t" }] }] }
    [[pools]]
    id = "lent"
    campaign = "pinged"
    publisher = "p"
    numbers = ["+18012000000-+18012049999"]
"#;

/// A process, killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// Absent: it is the floor.
    data: Option<tempfile::TempDir>,
}

impl Server {
    /// This program again, as the floor.
    pub(crate) fn floor() -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        let mut process = command.env(FLOOR, "1").stdout(Stdio::piped()).spawn()?;
        let told = process.stdout.take().context("it has an output")?;
        let mut line = String::new();
        BufReader::new(told).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the floor said `{line}`"))?;
        Ok(Self { process, address, data: None })
    }

    /// A server that has its data on the disk of this folder.
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        Self::with(folder, CONFIG, free_port()?)
    }

    /// One with this configuration, which takes calls at this port.
    pub(crate) fn with(folder: &Path, config: &str, sip: u16) -> Result<Self> {
        let data = tempfile::tempdir_in(folder)?;
        fs::write(data.path().join("config.toml"), config)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let process = spawn(data.path(), address, sip)?;
        let mut this = Self { process, address, data: Some(data) };
        this.until_ready()?;
        Ok(this)
    }

    /// Another process on the same data.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.process.wait()?;
        let data = self.data.as_ref().context("the floor keeps nothing")?;
        self.process = spawn(data.path(), self.address, free_port()?)?;
        self.until_ready()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |place: usize| -> Result<f64> {
            Ok(after_name.split_whitespace().nth(place).context("a process has times")?.parse()?)
        };
        Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_A_SECOND))
    }

    /// Memory in use.
    pub(crate) fn memory_mib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("it has one")?;
        Ok(line.split_whitespace().nth(1).context("it has a value")?.parse::<u64>()? / 1024)
    }

    fn until_ready(&mut self) -> Result<()> {
        let give_up = Instant::now() + READY_WITHIN;
        while TcpStream::connect(self.address).is_err() {
            ensure!(
                self.process.try_wait()?.is_none(),
                "the server has ended; its output is above"
            );
            ensure!(Instant::now() < give_up, "the server is not ready");
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn spawn(data: &Path, api: SocketAddr, sip: u16) -> Result<Child> {
    let config = data.join("config.toml");
    let set = [
        format!("store.dir={}", data.join("data").display()),
        format!("api.listen={api}"),
        format!("sip.listen=udp:127.0.0.1:{sip}"),
        String::from("log.filter=warn"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollbridge"));
    command.arg("serve").arg("--config").arg(config);
    command.args(set.into_iter().flat_map(|set| [String::from("--set"), set]));
    Ok(command.spawn()?)
}

pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Reads the body, answers as if it were a ping, and does nothing else.
pub(crate) fn be_the_floor() -> Result<()> {
    const ANSWER: &str = r#"{"ping_id":"png_01954f2e7d1e70008000000000000001","session_id":"ses_01954f2e7d1e70008000000000000001","number_status":"not_asked","expires_at":"2026-11-22T00:00:00.000Z"}"#;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        let nothing = post(|_body: Bytes| async { (StatusCode::ACCEPTED, ANSWER) });
        let router = Router::new().route("/v1/pings", nothing);
        serve(listener, router, CONNECTIONS_MAX, std::future::pending()).await;
        Ok(())
    })
}

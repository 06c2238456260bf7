//! The server under test: the built binary, with examples/loopback.toml moved to free ports.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::{http, wait_for};

/// Where the example's two targets listen.
pub(crate) const PORT_A: u16 = 5070;
pub(crate) const PORT_B: u16 = 5080;

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What the tests need to know of examples/loopback.toml.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) trunk: String,
    pub(crate) campaign: String,
    pub(crate) publisher: String,
    /// Ids and URIs of the targets at each address; several may share one.
    pub(crate) targets: Vec<ExampleTarget>,
}

#[derive(Debug)]
pub(crate) struct ExampleTarget {
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) has_concurrency_limit: bool,
}

impl Example {
    fn read() -> Result<Self> {
        let path = repository("examples/loopback.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let file: toml::Table = text.parse()?;
        let ids = |section: &str| -> Vec<String> {
            let rows = file.get(section).and_then(toml::Value::as_array).into_iter().flatten();
            rows.filter_map(|row| row.get("id")?.as_str().map(str::to_owned)).collect()
        };
        let first = |section: &str| -> Result<String> {
            ids(section).into_iter().next().with_context(|| format!("no [[{section}]] with an id"))
        };
        let targets = file.get("targets").and_then(toml::Value::as_array).into_iter().flatten();
        let targets = targets
            .map(|target| {
                let id = target.get("id").and_then(toml::Value::as_str)?;
                let uri = target.get("dial")?.get("uri")?.as_str()?;
                let port = uri.split(';').next()?.rsplit(':').next()?.parse().ok()?;
                let has_concurrency_limit = target.get("concurrency").is_some();
                Some(ExampleTarget { id: id.to_owned(), port, has_concurrency_limit })
            })
            .collect::<Option<Vec<_>>>()
            .context("a target without id or dial.uri with a port")?;
        Ok(Self {
            trunk: first("trunks")?,
            campaign: first("campaigns")?,
            publisher: first("publishers")?,
            targets,
        })
    }

    /// Ids of the targets the example has at `port`.
    pub(crate) fn targets_at(&self, port: u16) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(move |target| target.port == port).map(|t| t.id.as_str())
    }
}

pub(crate) fn example() -> Result<&'static Example> {
    static EXAMPLE: OnceLock<std::result::Result<Example, String>> = OnceLock::new();
    EXAMPLE
        .get_or_init(|| Example::read().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("examples/loopback.toml: {error}"))
}

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Journal and stores; kept when the server ends.
    pub(crate) data: PathBuf,
    pub(crate) sip_port: u16,
    pub(crate) api_port: u16,
    /// Further `--set` arguments.
    pub(crate) set: Vec<String>,
    /// TOML behind that of the example.
    pub(crate) more: String,
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) api: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts the server and waits until it is ready. The log is appended to `server.log` in the
    /// data folder's parent.
    pub(crate) fn start(setup: &Setup) -> Result<Self> {
        let Setup { data, sip_port, api_port, set, more } = setup;
        let log = data.with_file_name("server.log");
        let output = File::options().create(true).append(true).open(&log)?;
        let example = fs::read_to_string(repository("examples/loopback.toml"))?;
        let config = data.with_file_name("config.toml");
        fs::write(&config, format!("{example}\n{more}"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollbridge"));
        command.arg("serve").arg("--config").arg(config);
        let listen = ["udp:127.0.0.1", "tcp:127.0.0.1", "udp:[::1]", "tcp:[::1]"]
            .map(|address| format!("\"{address}:{sip_port}\""))
            .join(", ");
        let ours = [
            format!("sip.listen=[{listen}]"),
            format!("api.listen=127.0.0.1:{api_port}"),
            format!("store.dir={}", data.display()),
        ];
        for set in ours.iter().chain(set) {
            command.arg("--set").arg(set);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting the server")?;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, *api_port));
        let mut server = Self { child, api, log };
        server.wait_until_ready().with_context(|| server.log())?;
        Ok(server)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        wait_for("/readyz", Duration::from_secs(20), || {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server ended at start: {status}");
            }
            // Refused until the listener is up.
            Ok(http::get(self.api, "/readyz").ok().filter(|reply| reply.status == 200).map(drop))
        })
    }

    /// SIGKILL: nothing is flushed, nothing is closed.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, as a service manager would.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status()?;
        ensure!(sent.success(), "kill -TERM {pid}: {sent}");
        wait_for("the server to end", Duration::from_secs(10), || Ok(self.child.try_wait()?))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

//! Redis as tests have it: a server alone, or three masters with a replica each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tollbridge::server::redis::Address;

use super::authority::Authority;
use super::{ports, wait_for};

/// Nothing outlives its test for longer, even if that is killed.
const LIFETIME_S: &str = "1800";

/// A `redis-server`. Dropping it kills it.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    folder: PathBuf,
    options: Vec<String>,
}

impl Redis {
    /// A server alone, that keeps nothing on disk.
    pub(crate) fn alone(folder: &Path) -> Result<Self> {
        Self::start(ports::block(1)?, folder, &[])
    }

    /// A server alone that has on disk what it acknowledges.
    pub(crate) fn lasting(folder: &Path) -> Result<Self> {
        Self::start(ports::block(1)?, folder, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server alone that is also at this port, with TLS, for those who show a certificate of the
    /// same authority.
    pub(crate) fn encrypted(folder: &Path, authority: &Authority) -> Result<(Self, u16)> {
        let shown = authority.issue(&["127.0.0.1"]);
        let first = ports::block(2)?;
        let port = (first + 1).to_string();
        let files = [&shown.chain, &shown.key, &authority.file];
        let [chain, key, ca] = files.map(|it| it.display().to_string());
        let options = ["--tls-port", &port, "--tls-cert-file", &chain, "--tls-key-file", &key];
        let options = [&options[..], &["--tls-ca-cert-file", &ca]].concat();
        Ok((Self::start(first, folder, &options)?, first + 1))
    }

    pub(crate) fn replica_of(master: &Self, folder: &Path) -> Result<Self> {
        let port = master.port.to_string();
        let options = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"];
        Self::start(ports::block(1)?, folder, &options)
    }

    fn start(port: u16, folder: &Path, options: &[&str]) -> Result<Self> {
        let options = options.iter().map(|it| (*it).to_owned()).collect();
        let folder = folder.join(format!("redis{port}"));
        fs::create_dir_all(&folder)?;
        let child = spawn(port, &folder, &options)?;
        let mut redis = Self { child, port, folder, options };
        redis.wait()?;
        Ok(redis)
    }

    /// The same again, with what it had written down.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = spawn(self.port, &self.folder, &self.options)?;
        self.wait()
    }

    /// The same again, while it reads what it had written down: until it is read, all it says is that
    /// it is loading. Returns when it is done.
    pub(crate) async fn load_again(&mut self) -> Result<()> {
        // Enough to read for half a second, with looks at its clients in between.
        self.ask(&["eval", "for n = 1, 500 do redis.call('set', 'filler' .. n, 'x') end", "0"])?;
        self.ask(&["save"])?;
        self.kill()?;
        let slowly =
            ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];
        let slowly = slowly.map(str::to_owned);
        let options = [&self.options[..], &slowly].concat();
        self.child = spawn(self.port, &self.folder, &options)?;
        let give_up = Instant::now() + Duration::from_secs(10);
        let mut has_said_so = false;
        loop {
            let told = self.ask(&["ping"])?;
            has_said_so |= told.contains("LOADING");
            if told == "PONG" {
                break;
            }
            ensure!(Instant::now() < give_up, "redis-server loads for ever: {told}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ensure!(has_said_so, "it was never seen loading");
        Ok(())
    }

    /// Runs a script of somebody else's until it is told to end; all that others hear meanwhile is
    /// that the server is busy.
    pub(crate) fn keep_busy(&self) -> Result<Busy<'_>> {
        self.ask(&["config", "set", "busy-reply-threshold", "50"])?;
        let port = self.port.to_string();
        let script = "while true do redis.call('time') end";
        let child = Command::new("redis-cli")
            .args(["-p", &port, "eval", script, "0"])
            .stdout(Stdio::null())
            .spawn()?;
        let busy = Busy { redis: self, child };
        wait_for("the script", Duration::from_secs(10), || {
            Ok(self.ask(&["ping"])?.starts_with("BUSY").then_some(()))
        })?;
        Ok(busy)
    }

    /// Every write has come to its replica.
    pub(crate) fn wait_for_replica(&self) -> Result<()> {
        wait_for("the replica", Duration::from_secs(10), || {
            let told = self.ask(&["info", "replication"])?;
            Ok(told.contains("state=online").then_some(()))
        })
    }

    /// `FAILOVER`: the replica is the master, and this server its replica.
    pub(crate) fn hand_over_to(&self, replica: &Self) -> Result<()> {
        let told = self.ask(&["failover", "to", "127.0.0.1", &replica.port.to_string()])?;
        ensure!(told == "OK", "failover: {told}");
        wait_for("the failover", Duration::from_secs(10), || {
            let is_replica = self.ask(&["role"])?.starts_with("slave");
            Ok((is_replica && is_master(replica.ask(&["role"])?)).then_some(()))
        })?;
        replica.wait_for_replica()
    }

    /// Whether replicas hear of what is done here.
    pub(crate) fn tell_replicas(&self, is_told: bool) -> Result<()> {
        let rights = if is_told { ["+psync", "+sync"] } else { ["-psync", "-sync"] };
        let told = self.ask(&[&["acl", "setuser", "default"], &rights[..]].concat())?;
        ensure!(told == "OK", "acl setuser: {told}");
        if !is_told {
            self.ask(&["client", "kill", "type", "replica"])?;
        }
        Ok(())
    }

    pub(crate) fn is_master(&self) -> bool {
        self.ask(&["role"]).is_ok_and(is_master)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.signal("KILL")?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// `STOP`: connections stay, and nothing answers; `CONT`: everything that was sent is done.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("pid"))?;
        let sent = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status()?;
        ensure!(sent.success(), "kill -{signal} {pid}: {sent}");
        Ok(())
    }

    pub(crate) fn address(&self) -> Address {
        Address { host: "127.0.0.1".into(), port: self.port }
    }

    /// What `redis-cli` prints.
    pub(crate) fn ask(&self, command: &[&str]) -> Result<String> {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command).output();
        let output = output.context("redis-cli, of the package redis-tools")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn wait(&mut self) -> Result<()> {
        wait_for("redis-server", Duration::from_secs(10), || {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "redis-server ended ({ended:?}):\n{}", self.log());
            Ok((self.ask(&["ping"])? == "PONG").then_some(()))
        })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// A script that runs for as long as this is kept.
pub(crate) struct Busy<'a> {
    redis: &'a Redis,
    child: Child,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let _ended = self.redis.ask(&["script", "kill"]);
        let _status = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended = self.kill();
    }
}

fn spawn(port: u16, folder: &Path, options: &Vec<String>) -> Result<Child> {
    let pid = folder.join("pid");
    let _none_yet = fs::remove_file(&pid);
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let program = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("redis-server is not installed: apt-get install redis-server")?;
    Command::new("timeout")
        .args(["--kill-after=5", LIFETIME_S, program, "--bind", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--save", "", "--daemonize", "no"])
        .arg("--dir")
        .arg(folder)
        .arg("--pidfile")
        .arg(&pid)
        .args(options)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("timeout, of the package coreutils")
}

/// Three masters and a replica of each.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
    _folder: TempDir,
}

impl Cluster {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(ports::block(12)?, |_| vec![])
    }

    /// On six ports from `first` on, and six more on which they talk to each other; each with options
    /// of its own.
    pub(crate) fn start_with(first: u16, own: impl Fn(usize) -> Vec<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let nodes = (first..first + 6).enumerate().map(|(place, port)| {
            let (own, bus) = (own(place), (port + 6).to_string());
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let options = [&options[..], &["--cluster-port", &bus], &own].concat();
            Redis::start(port, folder.path(), &options)
        });
        let cluster = Self { nodes: nodes.collect::<Result<_>>()?, _folder: folder };
        let places = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .context("redis-cli, of the package redis-tools")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        wait_for("the cluster", Duration::from_secs(20), || cluster.is_whole())?;
        Ok(cluster)
    }

    /// Each master has its replica, and all know it.
    fn is_whole(&self) -> Result<Option<()>> {
        let is_whole = |node: &Redis| -> Result<bool> {
            let state = node.ask(&["cluster", "info"])?.contains("cluster_state:ok");
            let replication = node.ask(&["info", "replication"])?;
            let linked = replication.contains("master_link_status:up")
                || replication.contains("slave0:") && replication.contains("state=online");
            Ok(state && linked)
        };
        let whole = self.nodes.iter().map(is_whole).collect::<Result<Vec<_>>>()?;
        Ok(whole.into_iter().all(|it| it).then_some(()))
    }

    pub(crate) fn seeds(&self) -> Vec<Address> {
        self.nodes.iter().take(3).map(Redis::address).collect()
    }

    /// The place of the master that has the slot.
    pub(crate) fn master_of(&self, slot: u16) -> Result<usize> {
        for (place, node) in self.nodes.iter().enumerate() {
            let told = node.ask(&["cluster", "nodes"])?;
            let Some(own) = told.lines().find(|line| line.contains("myself,master")) else {
                continue;
            };
            let has = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let within = |(first, last): (u16, u16)| (first..=last).contains(&slot);
                first.parse().ok().zip(last.parse().ok()).is_some_and(within)
            };
            if own.split(' ').skip(8).any(has) {
                return Ok(place);
            }
        }
        anyhow::bail!("no master has slot {slot}")
    }

    /// The replica of a master.
    pub(crate) fn replica_of(&self, master: &Redis) -> Result<&Redis> {
        let port = master.port.to_string();
        let follows = |node: &&Redis| -> bool {
            let told = node.ask(&["role"]).unwrap_or_default();
            let mut lines = told.lines();
            lines.next() == Some("slave") && lines.nth(1) == Some(&port)
        };
        self.nodes.iter().find(follows).context("a master without a replica")
    }

    /// The replica of the master that has the slot takes over from it.
    pub(crate) fn fail_over(&self, slot: u16) -> Result<()> {
        let replica = self.replica_of(&self.nodes[self.master_of(slot)?])?;
        let told = replica.ask(&["cluster", "failover"])?;
        ensure!(told == "OK", "cluster failover: {told}");
        wait_for("the failover", Duration::from_secs(10), || {
            Ok(is_master(replica.ask(&["role"])?).then_some(()))
        })
    }

    /// Moves a slot with all its keys to another master, slowly enough for others to come between.
    pub(crate) async fn move_slot(&self, slot: u16) -> Result<()> {
        let moving = self.start_moving(slot)?;
        loop {
            let keys = moving.from.ask(&["cluster", "getkeysinslot", &moving.slot, "100"])?;
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            moving.carry(&keys)?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        moving.end()
    }

    /// The slot is on its way to another master; its keys are where they were.
    pub(crate) fn start_moving(&self, slot: u16) -> Result<Moving<'_>> {
        let from = &self.nodes[self.master_of(slot)?];
        let masters = self.nodes.iter().filter(|it| it.ask(&["role"]).is_ok_and(is_master));
        let masters: Vec<&Redis> = masters.collect();
        let other = masters.iter().find(|it| it.port != from.port);
        let moving =
            Moving { slot: slot.to_string(), from, to: other.context("another master")?, masters };
        moving.set(moving.to, &["importing", &moving.from.ask(&["cluster", "myid"])?])?;
        moving.set(moving.from, &["migrating", &moving.to.ask(&["cluster", "myid"])?])?;
        Ok(moving)
    }
}

fn is_master(role: String) -> bool {
    role.starts_with("master")
}

/// A slot on its way from one master to another.
pub(crate) struct Moving<'a> {
    slot: String,
    from: &'a Redis,
    to: &'a Redis,
    masters: Vec<&'a Redis>,
}

impl Moving<'_> {
    pub(crate) fn carry(&self, keys: &[&str]) -> Result<()> {
        let port = self.to.port.to_string();
        let migrate = ["migrate", "127.0.0.1", &port, "", "0", "5000", "keys"];
        let told = self.from.ask(&[&migrate[..], keys].concat())?;
        ensure!(told == "OK", "migrate: {told}");
        Ok(())
    }

    /// It is there, and everybody is told.
    pub(crate) fn end(self) -> Result<()> {
        let owner = self.to.ask(&["cluster", "myid"])?;
        self.set(self.to, &["node", &owner])?;
        for master in &self.masters {
            self.set(master, &["node", &owner])?;
        }
        Ok(())
    }

    fn set(&self, node: &Redis, words: &[&str]) -> Result<()> {
        let told = node.ask(&[&["cluster", "setslot", &self.slot], words].concat())?;
        ensure!(told == "OK", "cluster setslot {words:?}: {told}");
        Ok(())
    }
}

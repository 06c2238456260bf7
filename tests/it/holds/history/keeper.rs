//! What keeps the holds.

use anyhow::{Result, ensure};
use tollbridge::server::redis::Address;

use super::super::ways::Ways;
use crate::support::redis::{Cluster, Redis};
use crate::support::{ports, wait_for};

pub(super) enum Keeper {
    InProcess,
    Redis(Redis),
    /// A server and its replica.
    Pair(Redis, Redis),
    Cluster(Cluster),
    /// One whose nodes can be cut off from each other.
    Divisible(Cluster, Ways),
}

impl Keeper {
    pub(super) async fn divisible() -> Result<Self> {
        let first = ports::block(18)?;
        let [buses, announced]: [Vec<u16>; 2] =
            [6, 12].map(|more| (first + more..first + more + 6).collect());
        let ways = Ways::between(&announced, &buses).await?;
        let cluster = Cluster::start_with(first, |place| {
            let source = Ways::source(place);
            let options = ["--bind-source-addr", source.as_str(), "--protected-mode", "no"];
            let announced = announced[place].to_string();
            let announce = [
                "--cluster-announce-ip",
                "127.0.0.1",
                "--cluster-announce-bus-port",
                announced.as_str(),
                // It gives room for so long before it sees that it is alone.
                "--cluster-node-timeout",
                "2500",
            ];
            [&options[..], &announce].concat().into_iter().map(str::to_owned).collect()
        })?;
        Ok(Self::Divisible(cluster, ways))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Redis(_) => "redis",
            Self::Pair(..) => "pair",
            Self::Cluster(_) | Self::Divisible(..) => "cluster",
        }
    }

    /// All of them.
    pub(super) fn servers(&self) -> Vec<Address> {
        match self {
            Self::InProcess => vec![],
            Self::Redis(redis) => vec![redis.address()],
            Self::Pair(redis, replica) => vec![redis.address(), replica.address()],
            Self::Cluster(cluster) | Self::Divisible(cluster, _) => {
                cluster.nodes.iter().map(Redis::address).collect()
            }
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_) | Self::Divisible(..))
    }

    /// The process with the keys of a slot.
    pub(super) fn server(&mut self, slot: u16) -> Result<Option<&mut Redis>> {
        match self {
            Self::InProcess => Ok(None),
            Self::Redis(redis) | Self::Pair(redis, _) => Ok(Some(redis)),
            Self::Cluster(cluster) | Self::Divisible(cluster, _) => {
                let place = cluster.master_of(slot)?;
                Ok(cluster.nodes.get_mut(place))
            }
        }
    }

    /// A replica takes over from its master, which lives on as a replica.
    pub(super) fn fail_over(&mut self, slot: u16) -> Result<()> {
        match self {
            Self::InProcess | Self::Redis(_) => Ok(()),
            Self::Pair(redis, replica) => {
                redis.hand_over_to(replica)?;
                std::mem::swap(redis, replica);
                Ok(())
            }
            Self::Cluster(cluster) | Self::Divisible(cluster, _) => cluster.fail_over(slot),
        }
    }

    /// The master that has the slot is cut off from all other servers. Returns its place.
    pub(super) fn isolate(&self, slot: u16) -> Result<usize> {
        let Self::Divisible(cluster, ways) = self else { anyhow::bail!("it is in one piece") };
        let place = cluster.master_of(slot)?;
        ways.cut([place]);
        cluster.nodes[place].tell_replicas(false)?;
        Ok(place)
    }

    /// Both the isolated master and the one in its place say that they are masters; the isolated one
    /// has found out that it is alone.
    pub(super) fn is_divided(&self, isolated: usize, replica: usize) -> Result<()> {
        let Self::Divisible(cluster, _) = self else { anyhow::bail!("it is in one piece") };
        let [old, new] = [isolated, replica].map(|place| &cluster.nodes[place]);
        wait_for("the replica to take over", std::time::Duration::from_secs(15), || {
            Ok(new.is_master().then_some(()))
        })?;
        wait_for("the isolated master to see it is", std::time::Duration::from_secs(15), || {
            let told = old.ask(&["cluster", "info"])?;
            Ok(told.contains("cluster_state:fail").then_some(()))
        })?;
        ensure!(old.is_master(), "the isolated master heard of the other");
        Ok(())
    }

    /// The place of the replica of the master at `place`.
    pub(super) fn replica(&self, place: usize) -> Result<usize> {
        let Self::Divisible(cluster, _) = self else { anyhow::bail!("it is in one piece") };
        let port = cluster.replica_of(&cluster.nodes[place])?.port;
        let is_it = |node: &Redis| node.port == port;
        cluster
            .nodes
            .iter()
            .position(is_it)
            .ok_or_else(|| anyhow::anyhow!("no node has port {port}"))
    }

    pub(super) fn join(&self, isolated: usize) -> Result<()> {
        let Self::Divisible(cluster, ways) = self else { anyhow::bail!("it is in one piece") };
        cluster.nodes[isolated].tell_replicas(true)?;
        ways.mend();
        Ok(())
    }
}

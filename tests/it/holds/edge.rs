//! A server as far as its holds go: the ledger of its decisions, and the store it shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tollbridge::id::{CallId, HoldId};
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::config::RoutingConfig;
use tollbridge::routing::hold::BucketRequest;
use tollbridge::server::clock;
use tollbridge::server::deciding::Deciding;
use tollbridge::server::holds::redis::{RedisStore, RedisStoreSettings};
use tollbridge::server::holds::shared::OwnHolds;
use tollbridge::server::holds::{SharedHolds, State};

/// A server's part that matters here.
pub(super) struct Edge {
    pub(super) deciding: Arc<Deciding>,
    pub(super) shared: Option<Arc<SharedHolds>>,
    pub(super) ending: watch::Sender<bool>,
    pub(super) running: Option<JoinHandle<()>>,
    /// Killed: nothing it does reaches anybody.
    pub(super) dead: AtomicBool,
}

impl Edge {
    pub(super) async fn start(
        settings: Option<RedisStoreSettings>,
        number: u8,
        lease: Duration,
    ) -> Result<Self> {
        Self::configured("", settings, number, lease).await
    }

    /// With these limits and what they are of.
    pub(super) async fn configured(
        config: &str,
        settings: Option<RedisStoreSettings>,
        number: u8,
        lease: Duration,
    ) -> Result<Self> {
        let config: RoutingConfig = toml::from_str(config)?;
        let snapshot =
            RoutingSnapshot::compile(config, 1).map_err(|it| anyhow::anyhow!("{it:?}"))?;
        let deciding = Arc::new(Deciding::new(snapshot));
        let (ending, ended) = watch::channel(false);
        let (mut shared, mut running) = (None, None);
        if let Some(settings) = settings {
            let process = CallId::from_bytes([number; 16]);
            let holds = Arc::new(SharedHolds::new(RedisStore::new(settings), lease, process));
            deciding.share(Arc::clone(&holds));
            holds.begin(&*deciding).await;
            ensure!(holds.state() == State::Open, "the store should be open");
            let own: Arc<dyn OwnHolds> = Arc::clone(&deciding) as Arc<dyn OwnHolds>;
            running = Some(tokio::spawn(Arc::clone(&holds).run(own, ended)));
            shared = Some(holds);
        }
        Ok(Self { deciding, shared, ending, running, dead: AtomicBool::new(false) })
    }

    pub(super) async fn place(&self, hold: HoldId, request: &BucketRequest) -> bool {
        self.place_in(hold, std::slice::from_ref(request)).await
    }

    /// In all buckets or in none.
    pub(super) async fn place_in(&self, hold: HoldId, requests: &[BucketRequest]) -> bool {
        match &self.shared {
            Some(shared) => self.deciding.ask(shared, hold, requests).await.is_ok(),
            None => self.deciding.reserve(hold, requests, clock::mono()).is_ok(),
        }
    }

    /// It keeps its holds itself, or the store is open to it.
    pub(super) fn is_open(&self) -> bool {
        self.shared.as_ref().is_none_or(|it| it.state() == State::Open)
    }

    /// Ends as it should.
    pub(super) async fn end(&self) -> Result<()> {
        self.ending.send_replace(true);
        let give_up = Instant::now() + Duration::from_secs(5);
        while self.running.as_ref().is_some_and(|it| !it.is_finished()) {
            ensure!(Instant::now() < give_up, "an edge does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
}

//! The configuration is read again while calls go on (spec/sip O7): all of it or nothing.
//!
//! What routes calls and who may send them can change: publishers, buyers, targets, campaigns,
//! pools, trunks, carrier files, and whom TLS is spoken with and how. A call goes on with the plan
//! it has, a connection with the handshake it made; a decision is made on one snapshot. The settings
//! of the process are what its sockets and files were opened with, and cannot change.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;

use arc_swap::ArcSwap;
use metrics::counter;
use tokio::sync::Mutex;

use crate::api::{Configuration, InForce, Metered, Reload};
use crate::cdr::store::StoreError;
use crate::config::{Config, ConfigError};
use crate::id::TrunkId;
use crate::routing::meter::{self, Meter};
use crate::sip::policy::Targets;
use crate::sip::trunk::{TrunkIndex, Trunks};

use super::accounting::{OfOpen, Past, stamp};
use super::addresses::Wanted;
use super::clock;
use super::deciding::Deciding;
use super::dialing::Dialing;
use super::error::{Faults, StartError};
use super::holds::State;
use super::legs::TargetLegs;
use super::limits::{TargetLimits, TrunkLimits};
use super::mailbox::{Mail, Mailbox};
use super::metrics::RELOADS;
use super::resolver::Resolver;
use super::revisions::Revisions;
use super::scoring::Scoring;
use super::sources::Sources;
use super::tls::{TlsInForce, TlsParties};
use super::{Compiled, Loaded, compile_and_load, whole};

/// Everything that a new configuration reaches.
pub struct Reloader {
    pub(super) deciding: Arc<Deciding>,
    pub(super) past: Past,
    pub(super) revisions: Arc<Revisions>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) sources: Arc<Sources>,
    pub(super) limits: Arc<TrunkLimits>,
    pub(super) tls: Arc<TlsInForce>,
    pub(super) scoring: Scoring,
    pub(super) shards: Vec<Mailbox>,
    /// What the shards were told last.
    pub(super) agreed: Arc<ArcSwap<Agreed>>,
    /// One at a time.
    pub(super) running: Mutex<Running>,
}

/// What is in force.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) revision: u64,
}

/// A configuration that can be put in force, but for the numbers its trunks and peers have here.
struct Coming {
    config: Config,
    compiled: Compiled,
    loaded: Loaded,
}

impl Coming {
    /// Reads it from where the one before came from.
    fn read(before: &Config, revision: u64) -> Result<Self, StartError> {
        let config = whole(before.read_again()?)?;
        let mut faults = Faults::default();
        faults.keep(config.changed_settings(before))?;
        let compiled = faults.keep(compile_and_load(&config, revision))?;
        faults.none()?;
        let (compiled, loaded) = compiled.expect("what is not compiled has told its faults");
        Ok(Self { config, compiled, loaded })
    }
}

/// What a shard needs of a new configuration.
#[derive(Clone)]
pub struct Agreed {
    pub trunks: Arc<Trunks>,
    pub legs: Arc<TargetLegs>,
    pub dialing: Arc<Dialing>,
    pub targets: Arc<Targets>,
    pub(super) target_limits: Arc<TargetLimits>,
    pub(super) tls: Arc<TlsParties>,
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Agreed")
    }
}

impl Reloader {
    /// Reads the configuration from where it came from, and puts it in force. Returns its revision.
    ///
    /// # Errors
    /// All that is wrong with it, or what cannot change while the server runs. Then nothing has
    /// changed.
    pub async fn reload(&self) -> Result<InForce, StartError> {
        let mut running = self.running.lock().await;
        let outcome = self.replace(&mut running).await;
        let result = if outcome.is_ok() { "done" } else { "refused" };
        counter!(RELOADS, "result" => result).increment(1);
        match &outcome {
            Ok(Metered { meters: closed, hold_store }) => {
                tracing::info!(revision = running.revision, "the configuration is in force");
                tell_closed(closed, *hold_store);
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not taken; nothing changed")
            }
        }
        outcome.map(|closed| InForce { revision: running.revision, closed })
    }

    async fn replace(&self, running: &mut Running) -> Result<Metered, StartError> {
        let (before, next) = (running.config.clone(), running.revision + 1);
        // Files are read, and certificates checked: other tasks of this thread must not wait for it.
        let coming = tokio::task::spawn_blocking(move || Coming::read(&before, next)).await;
        let coming = coming.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()));
        let Coming { config, compiled, loaded } = coming?;
        let Compiled { routing, document, trunks, legs, targets, dialing, tls, warnings, .. } =
            compiled;
        let ids: Vec<TrunkId> = trunks.iter().map(|(_, trunk)| trunk.id.clone()).collect();
        let former = self.agreed.load_full();
        let trunks = Arc::new(trunks.following(&former.trunks));
        let places: BTreeMap<&TrunkId, TrunkIndex> =
            trunks.iter().map(|(index, trunk)| (&trunk.id, index)).collect();
        let place = |TrunkIndex(position)| places[&ids[usize::from(position)]];
        let tls = self.tls.follow(&config, tls, loaded.tls, place).await?;
        let parties = Arc::new(tls.parties().clone());
        let target_limits = Arc::new(TargetLimits::following(&targets, &former.target_limits));
        let agreed = Agreed {
            trunks: Arc::clone(&trunks),
            legs: Arc::new(legs),
            dialing: Arc::new(dialing),
            targets: Arc::new(targets),
            target_limits,
            tls: Arc::clone(&parties),
        };
        let wanted = Wanted::of(&routing, &agreed.dialing, &trunks);
        self.resolver.prepare(&wanted).await;
        let number = self.revisions.number(document).await;
        let revision = number.map_err(|cause| StartError::store(&config.settings, cause))?;

        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        // Nothing fails from here on. A shard is told of a target before a call is routed to it, and
        // of a trunk before a message is said to be of it.
        self.tls.replace(tls).await;
        self.scoring.configure(loaded.scorers);
        if let Some(shared) = self.deciding.shared() {
            shared.secure(loaded.holds.clone());
        }
        if let Some(shared) = self.deciding.sessions() {
            shared.secure(loaded.holds);
        }
        self.resolver.configure(wanted);
        for shard in &self.shards {
            shard.deliver(Mail::Configure(Box::new(agreed.clone()))).await;
        }
        self.agreed.store(Arc::new(agreed));
        let (looked_back, before) = (self.deciding.history(), self.deciding.meters(clock::wall()));
        let remembered = self.deciding.snapshot().history_limits();
        let (counted_days, until) = (self.deciding.performance_days(), stamp().wall());
        self.deciding.configure(routing.numbered(revision));
        self.limits.configure(&trunks);
        self.sources.configure(Arc::clone(&trunks), parties);
        *running = Running { config, revision };
        if self.deciding.performance_days() > counted_days
            && let Err(error) = self.past.count(&self.deciding, OfOpen::GoOn, until).await
        {
            tracing::error!(
                %error,
                "the calls of before could not be read: tiers by performance know only new ones"
            );
        }
        let remembers = self.deciding.snapshot().history_limits();
        if (self.deciding.history() > looked_back || remembers.is_more_than(remembered))
            && let Err(error) = self.tell_all().await
        {
            tracing::error!(
                %error,
                "the calls of before could not be read: rules about earlier calls know only new ones"
            );
        }
        let (now, store) = self.deciding.meters_of_all(clock::wall()).await;
        let meters = meter::closed(&before, &now);
        Ok(Metered { meters, hold_store: store.map(State::name) })
    }
}

/// Tells of limits that are below what is used and held.
pub(super) fn tell_closed(meters: &[Meter], hold_store: Option<&'static str>) {
    for meter in meters {
        let show = |amount| meter.counts.show(amount);
        tracing::warn!(
            cap = %meter.key,
            used = %show(meter.used),
            held = %show(meter.held),
            limit = %show(meter.limit),
            hold_store,
            "a limit is below what is used and held: the cap is closed"
        );
    }
}

impl Reloader {
    async fn tell_all(&self) -> Result<(), StoreError> {
        self.past.tell(&self.deciding, OfOpen::GoOn).await?;
        self.past.tell_rest(&self.deciding).await
    }
}

impl Configuration for Arc<Reloader> {
    fn reload(&self) -> Reload<'_> {
        let this = Self::clone(self);
        // A client that goes away must not leave it half done.
        let done = tokio::spawn(async move { Reloader::reload(&this).await });
        Box::pin(async move {
            match done.await {
                Ok(Ok(in_force)) => Ok(in_force),
                Ok(Err(StartError::Config(ConfigError::Faults(faults)))) => {
                    Err(faults.iter().map(ToString::to_string).collect())
                }
                Ok(Err(error)) => Err(vec![error.to_string()]),
                Err(_) => Err(vec![String::from("reading the configuration panicked")]),
            }
        })
    }
}

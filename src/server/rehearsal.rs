//! A process without sockets, threads and a clock of its own, for whoever turns it by hand: the
//! simulator. It is started as a server is, and made of the same parts.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;

use crate::cdr::fact::{Fact, NodeStarted, Stamp};
use crate::cdr::journal::Durability;
use crate::cdr::journal::file::disk::Disk;
use crate::cdr::journal::file::{Hooks, Journal, JournalError, Recovery, Steps};
use crate::cdr::projection::{self, Opening, Projection, ProjectionError};
use crate::cdr::store::{Book, StoreError};
use crate::config::{Config, Settings};
use crate::routing::RoutingSnapshot;
use crate::sip::endpoint::{Endpoint, Input};
use crate::sip::ids::IdSource;
use crate::sip::locate::directory::Located;
use crate::sip::policy::Targets;
use crate::sip::trunk::Trunks;
use crate::time::Mono;

use super::accounting::{
    begin_anew, correct, give_back, journal_settings, keep_room, projection_settings,
};
use super::addresses::{Addresses, Wanted};
use super::bridge::{Bridge, DurableMark, Parts};
use super::clock::{Clock, SetClock};
use super::deciding::Deciding;
use super::dialing::Dialing;
use super::error::StartError;
use super::legs::TargetLegs;
use super::limits::{TargetLimits, TrunkLimits};
use super::metrics::CallMetrics;
use super::orphans::{self, OpenOrphans};
use super::reach::Reach;
use super::settings::{endpoint_settings, health_rules, transport};
use super::standing::Standing;
use super::tls::TlsParties;
use super::{Compiled, compile};

/// A compiled configuration, from which processes are started.
pub struct Blueprint {
    settings: Settings,
    snapshot: RoutingSnapshot,
    trunks: Arc<Trunks>,
    legs: Arc<TargetLegs>,
    dialing: Arc<Dialing>,
    targets: Arc<Targets>,
    addresses: Arc<ArcSwap<Addresses>>,
}

/// What outlives a process.
pub struct Ground {
    pub disk: Arc<dyn Disk>,
    pub book: Arc<dyn Book>,
    pub clock: Arc<SetClock>,
}

/// A process that does nothing by itself, but for its endpoint. Dropped, it was killed.
pub struct Rehearsal {
    pub bridge: Bridge,
    pub deciding: Arc<Deciding>,
    pub durable: Arc<DurableMark>,
    pub steps: Steps,
    pub projection: Projection,
    pub journal: Journal,
    /// What the start found in the journal…
    pub recovery: Recovery,
    /// …and in the book. Its sessions and usage were given back to routing.
    pub opening: Opening,
    /// What the endpoint is to hear first: how the ends of calls are told that a crash cut off.
    pub farewells: Vec<Input>,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the book made its reader wait")]
    SlowBook,
}

impl Blueprint {
    /// Names are not looked up: they lead where `located` says.
    ///
    /// # Errors
    /// All faults of the configuration.
    pub fn new(config: &Config, located: Located) -> Result<Self, StartError> {
        let Compiled { routing: snapshot, trunks, legs, targets, dialing, .. } =
            compile(config, 1)?;
        let wanted = Wanted::of(&snapshot, &dialing, &trunks);
        let addresses = Addresses::new(&wanted.literals, located);
        Ok(Self {
            settings: config.settings.clone(),
            snapshot,
            trunks: Arc::new(trunks),
            legs: Arc::new(legs),
            dialing: Arc::new(dialing),
            targets: Arc::new(targets),
            addresses: Arc::new(ArcSwap::from_pointee(addresses)),
        })
    }

    pub fn snapshot(&self) -> &RoutingSnapshot {
        &self.snapshot
    }

    /// Recovers what the process before left in `dir`, and starts. The book must answer at once.
    ///
    /// # Errors
    /// The disk or the book failed.
    pub fn start(
        &self,
        ground: &Ground,
        dir: &Path,
        seed: u128,
    ) -> Result<(Endpoint, Rehearsal), RehearsalError> {
        let Self { settings, trunks, targets, .. } = self;
        let Ground { disk, book, clock } = ground;
        let now = Clock::Set(Arc::clone(clock));
        let stamp = {
            let now = now.clone();
            move || Stamp::new(now.wall(), now.mono())
        };
        let deciding = Arc::new(Deciding::new(self.snapshot.clone()));
        let standing = Arc::new(Standing::new(health_rules(settings)));
        let (addresses, rated) = (Arc::clone(&self.addresses), Arc::clone(&standing));
        deciding.reaches(Reach { addresses, standing: rated });
        let durable = Arc::new(DurableMark::default());
        let progress = at_once(book.progress()).ok_or(RehearsalError::SlowBook)??;
        let mark = Arc::clone(&durable);
        let hooks = Hooks {
            on_durable: Box::new(move |reached| mark.set(reached.up_to)),
            ..Hooks::silent(Arc::new(stamp.clone()))
        };
        let (journal, steps, recovery) = Journal::stepped(
            Arc::clone(disk),
            dir,
            settings.node.id,
            journal_settings(settings, progress),
            hooks,
        )?;
        let sessions_back = self.snapshot.sessions_back();
        let how = projection::Settings { sessions_back, ..projection_settings(settings) };
        let opened = Projection::open(Arc::clone(book), &journal, how, stamp());
        let (projection, mut opening) = at_once(opened).ok_or(RehearsalError::SlowBook)??;
        let started = NodeStarted { version: env!("CARGO_PKG_VERSION").into() };
        // A journal that is full at its start is no reason not to start.
        let _ = journal.appender().append(Fact::of_node(stamp(), started), Durability::Durable);
        let (sessions, usage) =
            (std::mem::take(&mut opening.sessions), std::mem::take(&mut opening.usage));
        give_back(&deciding, sessions, usage, stamp().wall());
        begin_anew(&deciding, std::mem::take(&mut opening.resets));
        keep_room(&deciding, &opening.held_back, stamp());

        let awaited = &opening.awaited;
        let adopted = orphans::dialogs(awaited, now.mono(), settings.sip.max_call);
        let listen: Vec<_> =
            settings.sip.listen.iter().map(|it| (transport(it.transport), it.address)).collect();
        let mut endpoint = Endpoint::new(
            endpoint_settings(settings, &listen, 1, seed),
            Arc::clone(trunks),
            IdSource::new(seed, 0),
            now.mono(),
        );
        endpoint.adopt(Arc::new(adopted));
        let farewells = orphans::farewells(&opening.farewells, trunks, &TlsParties::default());
        let farewells =
            farewells.into_iter().map(|(flow, bye)| Input::Farewell { flow, bye }).collect();
        if settings.cdr.orphan_bye {
            endpoint.write_farewells();
        }
        let parts = Parts {
            deciding: Arc::clone(&deciding),
            addresses: Arc::clone(&self.addresses),
            standing,
            trunks: Arc::clone(trunks),
            legs: Arc::clone(&self.legs),
            dialing: Arc::clone(&self.dialing),
            appender: journal.appender(),
            clock: now.clone(),
            durable: Arc::clone(&durable),
            currency: settings.account.currency.as_str().into(),
            checkpoint_every: settings.journal.checkpoint_interval,
            live: Arc::default(),
            limits: Arc::new(TrunkLimits::new(trunks)),
            tls: Arc::new(TlsParties::default()),
            target_limits: Arc::new(TargetLimits::new(targets)),
            targets: Arc::clone(targets),
            orphans: Arc::new(OpenOrphans::new(awaited)),
        };
        let bridge = Bridge::new(parts, Arc::default(), CallMetrics::register(), now.mono());
        let process = Rehearsal {
            bridge,
            deciding,
            durable,
            steps,
            projection,
            journal,
            recovery,
            opening,
            farewells,
        };
        Ok((endpoint, process))
    }
}

/// Writes to the book what the journal has, as far as both let it, and tells routing what became of
/// calls that a crash had left up.
pub fn keep_book(projection: &mut Projection, deciding: &Deciding, now: Mono) {
    while let Some(Ok(true)) = at_once(projection.step()) {}
    correct(deciding, projection.take_corrections(), now);
}

/// What `future` gives without waiting; `None` if it would wait.
pub fn at_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

//! Enriches sessions behind the journal: a consumer of pings that writes down what the numbers of callers
//! tell, and one that asks enrichers about them (spec/data §2.3).
//!
//! Owns: what is built in ([`EmbeddedConsumer`]), which sessions enrichers are asked about and in which order
//! ([`EnrichmentConsumer`]), and asking ([`asking`]). Does not own: whom a session is told to, what of an answer is kept, what may be spent
//! and who rests, which are `routing::enrich`'s.
//!
//! ```text
//! PingAccepted ─► built in ─► Effects, with the offset
//! PingAccepted ─► enricher ─► budget ─► HTTP ─► fact SessionEnriched ─► calls of the session
//! ```
//!
//! Invariants: an answer is on disk before a call can go by it; a session that has one is not asked about
//! again, by this process or the next; money is written down as spent before it is. No call waits for
//! any of it, nor does what is built in wait for an enricher.

mod asking;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::Enrichers;
use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Work};
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{FactBody, Lookup, PingAccepted};
use crate::cdr::journal::file::Appender;
use crate::cdr::store::StoreError;
use crate::cdr::store::enrichments::Spending;
use crate::id::SessionId;
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::RoutingSnapshot;
use crate::routing::enrich::{Announced, EMBEDDED, Enricher};
use crate::time::Wall;

use super::clock;
use super::consumers::Post;
use super::deciding::Deciding;
use super::scoring::Scoring;

use asking::Asking;

/// The consumer that asks.
const NAME: &str = "enrichment";

/// Most facts that are looked at together: none of the next is before all of these are done with.
const PORTION_MAX: usize = 256;

/// How long facts may gather. A call may come any moment.
const PACE: Duration = Duration::from_millis(10);

/// Most facts of which it is written down together what their numbers tell, and how long they may gather: no
/// call goes by it.
const EMBEDDED_PORTION_MAX: usize = 4_096;
const EMBEDDED_PACE: Duration = Duration::from_millis(100);

/// What enriching works with.
pub(super) struct Means {
    pub(super) deciding: Arc<Deciding>,
    pub(super) appender: Appender,
    pub(super) scoring: Scoring,
    pub(super) spending: Arc<dyn Spending>,
    pub(super) ended: watch::Receiver<bool>,
}

/// A session that an enricher is to be asked about.
#[derive(Clone)]
struct Asked {
    ping: Arc<PingAccepted>,
    caller: PhoneNumber,
    at: Wall,
}

/// Both consumers. What is known of enrichers outlives the one that asks, which is made anew after a failure.
pub(super) fn posts(means: Means) -> ([Post; 2], Arc<dyn Enrichers>) {
    let deciding = Arc::clone(&means.deciding);
    let asking = Arc::new(Asking::new(means));
    let known: Arc<dyn Enrichers> = Arc::clone(&asking) as Arc<dyn Enrichers>;
    let post = |name: &'static str, portion, pace, consumer: fn(&Both) -> Box<dyn Consumer>| {
        let both = Both { deciding: Arc::clone(&deciding), asking: Arc::clone(&asking) };
        Post {
            name: name.into(),
            portion,
            reads_records: false,
            ordered_strict: false,
            pace,
            open: Box::new(move || {
                let opened: Result<_, StoreError> = Ok(consumer(&both));
                Box::pin(std::future::ready(opened))
            }),
        }
    };
    let embedded = post(EMBEDDED, EMBEDDED_PORTION_MAX, EMBEDDED_PACE, |both| {
        Box::new(EmbeddedConsumer { deciding: Arc::clone(&both.deciding) })
    });
    let asks = post(NAME, PORTION_MAX, PACE, |both| {
        Box::new(EnrichmentConsumer { asking: Arc::clone(&both.asking) })
    });
    ([embedded, asks], known)
}

/// What consumers are made of.
struct Both {
    deciding: Arc<Deciding>,
    asking: Arc<Asking>,
}

struct EmbeddedConsumer {
    deciding: Arc<Deciding>,
}

impl Consumer for EmbeddedConsumer {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        let snapshot = self.deciding.snapshot();
        let told = facts.iter().filter_map(|entry| {
            let FactBody::PingAccepted(ping) = &entry.fact.body else { return None };
            Some(embedded(&snapshot, ping.session, ping.caller?, entry.fact.at.wall()))
        });
        let effects = Effects { enriched: told.collect(), ..Effects::default() };
        Box::pin(std::future::ready(Ok(effects)))
    }
}

struct EnrichmentConsumer {
    asking: Arc<Asking>,
}

impl Consumer for EnrichmentConsumer {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(self.enrich(facts))
    }
}

impl EnrichmentConsumer {
    async fn enrich(&self, facts: &Facts) -> Result<Effects, Fault> {
        let deciding = &self.asking.means.deciding;
        let (snapshot, now) = (deciding.snapshot(), clock::wall());
        let mut enriched = vec![];
        let mut wanted: BTreeMap<(SmolStr, PhoneNumber), (Arc<Enricher>, Vec<Asked>)> =
            BTreeMap::new();
        for entry in facts.iter() {
            let FactBody::PingAccepted(ping) = &entry.fact.body else { continue };
            let Some(caller) = ping.caller else { continue };
            let at = entry.fact.at.wall();
            let enrichers = snapshot.campaign(&ping.campaign).map(|it| &it.enrich[..]);
            let enrichers = enrichers.unwrap_or_default();
            if enrichers.is_empty() {
                continue;
            }
            let done = deciding.enriched_by(ping.session, now);
            let asked = Asked { ping: Arc::new(ping.clone()), caller, at };
            let without = match &done {
                None => Some(Lookup::Expired),
                Some(_) if !is_wanted(&snapshot, &asked) => Some(Lookup::Unwanted),
                Some(_) => None,
            };
            let done = done.unwrap_or_default();
            for enricher in enrichers.iter().filter(|enricher| !done.contains(&enricher.id)) {
                if let Some(lookup) = without {
                    enriched.push(self.asking.unasked(enricher, &asked, lookup, now));
                    continue;
                }
                let key = (enricher.id.clone(), caller);
                let group = wanted.entry(key).or_insert_with(|| (Arc::clone(enricher), vec![]));
                group.1.push(asked.clone());
            }
        }
        let mut tasks = JoinSet::new();
        for (enricher, sessions) in wanted.into_values() {
            let asking = Arc::clone(&self.asking);
            tasks.spawn(async move { asking.ask_about(&enricher, sessions).await });
        }
        let mut failed = None;
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(Ok(found)) => enriched.extend(found),
                Ok(Err(fault)) => failed = Some(fault),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The server ends: the next one goes on here.
                    Err(cancelled) => failed = Some(Fault::Outage(cancelled.to_string())),
                },
            }
        }
        match failed {
            // Those that were answered for are known by that.
            Some(fault) => Err(fault),
            None => Ok(Effects { enriched, ..Effects::default() }),
        }
    }
}

/// What is built in tells of a number.
fn embedded(
    snapshot: &RoutingSnapshot,
    session: SessionId,
    caller: PhoneNumber,
    at: Wall,
) -> Enrichment {
    Enrichment {
        session,
        source: SmolStr::new_static(EMBEDDED),
        at,
        lookup: Lookup::Derived,
        tags: snapshot.embedded(caller).into_iter().collect(),
        cost: Money::ZERO,
    }
}

/// Whether a target may take a call of the session, so that it is worth a question.
fn is_wanted(snapshot: &RoutingSnapshot, asked: &Asked) -> bool {
    snapshot.may_be_taken(&asked.announced(), Wall(asked.ping.expires_at_ms))
}

impl Asked {
    fn announced(&self) -> Announced<'_> {
        Announced {
            session: self.ping.session,
            at: self.at,
            campaign: &self.ping.campaign,
            publisher: &self.ping.publisher,
            caller: self.caller,
            tags: &self.ping.tags,
        }
    }
}

//! Enriches sessions behind the journal: a consumer of pings that writes down what the numbers of callers
//! tell, and asks enrichers about them (spec/data §2.3).
//!
//! Owns: which sessions are looked at and in which order ([`EnrichmentConsumer`]), and asking
//! ([`asking`]). Does not own: whom a session is told to, what of an answer is kept, what may be spent
//! and who rests, which are `routing::enrich`'s.
//!
//! ```text
//! PingAccepted ─► built in ─────────────────────────► Effects, with the offset
//!              └► enricher ─► budget ─► HTTP ─► fact SessionEnriched ─► calls of the session
//! ```
//!
//! Invariants: an answer is on disk before a call can go by it; a session that has one is not asked about
//! again, by this process or the next; money is written down as spent before it is. No call waits for
//! any of it.

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

/// The consumer's name.
const NAME: &str = "enrichment";

/// Most facts that are looked at together: none of the next is before all of these are done with.
const PORTION_MAX: usize = 256;

/// How long facts may gather. A call may come any moment.
const PACE: Duration = Duration::from_millis(10);

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

/// What is known of enrichers outlives the consumer, which is made anew after a failure.
pub(super) fn post(means: Means) -> (Post, Arc<dyn Enrichers>) {
    let asking = Arc::new(Asking::new(means));
    let known: Arc<dyn Enrichers> = Arc::clone(&asking) as Arc<dyn Enrichers>;
    let post = Post {
        name: NAME.into(),
        portion: PORTION_MAX,
        reads_records: false,
        ordered_strict: false,
        pace: PACE,
        open: Box::new(move || {
            let consumer = EnrichmentConsumer { asking: Arc::clone(&asking) };
            let opened: Result<Box<dyn Consumer>, StoreError> = Ok(Box::new(consumer));
            Box::pin(std::future::ready(opened))
        }),
    };
    (post, known)
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
            enriched.push(embedded(&snapshot, ping.session, caller, at));
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
                Err(error) => std::panic::resume_unwind(error.into_panic()),
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

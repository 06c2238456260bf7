//! Asks one enricher about sessions of one caller: by what it said before, if that still holds, else over
//! HTTP, if it is not resting and the day's budget has room.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::api::Enrichers;
use crate::cdr::consumer::Fault;
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{Fact, Lookup, SessionEnriched};
use crate::cdr::journal::Durability;
use crate::cdr::store::{Answer, StoreError};
use crate::money::Money;
use crate::routing::Tags;
use crate::routing::enrich::breaker::{Breaker, Turn};
use crate::routing::enrich::budget::{Spent, day_of};
use crate::routing::enrich::cache::Cache;
use crate::routing::enrich::{Enricher, Standing};
use crate::routing::ping::EnrichedBy;
use crate::server::accounting::stamp;
use crate::server::clock;
use crate::server::egress::Refused;
use crate::server::http::{BodyError, body, whole};
use crate::server::metrics as names;
use crate::time::Wall;

use super::{Asked, Means};

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1_024;

/// Asks, and knows how those are doing that it asks.
pub(super) struct Asking {
    pub(super) means: Means,
    known: Mutex<BTreeMap<SmolStr, Arc<Known>>>,
}

/// What is known of one enricher.
#[derive(Default)]
struct Known {
    breaker: Mutex<Breaker>,
    /// Absent: it has not been read. Held while it is written down, so that one question goes after the
    /// other.
    spent: tokio::sync::Mutex<Option<Spent>>,
    asked: Mutex<Option<AskedSo>>,
    outcomes: Mutex<BTreeMap<&'static str, u64>>,
}

/// What holds as long as the enricher is asked in the same way.
struct AskedSo {
    rules: Arc<Enricher>,
    cache: Arc<Mutex<Cache>>,
    room: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("its tls is of another configuration, which this process has not loaded")]
    NoClient,
    #[error("it answered {0}, and not 200 with JSON or 204")]
    Status(reqwest::StatusCode),
    #[error("its answer is no JSON: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Asking {
    pub(super) fn new(means: Means) -> Self {
        Self { means, known: Mutex::default() }
    }

    /// Asks about sessions of one caller, one after the other: what is said about the first may hold for
    /// the others. Returns what there is no fact of.
    pub(super) async fn ask_about(
        &self,
        enricher: &Arc<Enricher>,
        sessions: Vec<Asked>,
    ) -> Result<Vec<Enrichment>, Fault> {
        let known = self.known_of(&enricher.id);
        let mut without_fact = vec![];
        for asked in sessions {
            let looked = self.look(enricher, &known, &asked).await?;
            if let Err(lookup) = looked {
                without_fact.push(self.unasked(enricher, &asked, lookup, clock::wall()));
            }
        }
        Ok(without_fact)
    }

    /// What is written down where nobody was asked. Counted, too.
    pub(super) fn unasked(
        &self,
        enricher: &Enricher,
        asked: &Asked,
        lookup: Lookup,
        at: Wall,
    ) -> Enrichment {
        self.count(enricher, lookup);
        let (session, source) = (asked.ping.session, enricher.id.clone());
        Enrichment { session, source, at, lookup, tags: vec![], cost: Money::ZERO }
    }

    fn known_of(&self, enricher: &SmolStr) -> Arc<Known> {
        Arc::clone(self.known.lock().entry(enricher.clone()).or_default())
    }

    fn count(&self, enricher: &Enricher, lookup: Lookup) {
        let labels = [("enricher", enricher.id.to_string()), ("outcome", lookup.name().to_owned())];
        counter!(names::ENRICHMENTS, &labels).increment(1);
        *self.known_of(&enricher.id).outcomes.lock().entry(lookup.name()).or_default() += 1;
    }

    async fn standing(&self, enricher: Arc<Enricher>) -> Result<Standing, StoreError> {
        let known = self.known_of(&enricher.id);
        let (now, day) = (clock::wall(), day_of(clock::wall()));
        let read = *known.spent.lock().await;
        let spent = match read {
            Some(spent) => spent.on(now),
            None => {
                let (asked, cost) = self.means.spending.spent(&enricher.id, day).await?;
                Spent { day, asked, cost }
            }
        };
        let condition = known.breaker.lock().condition(clock::mono());
        let cached = known.asked.lock().as_ref().map_or(0, |asked| asked.cache.lock().len());
        let outcomes = known.outcomes.lock().clone();
        Ok(Standing { enricher, condition, spent, cached, outcomes })
    }

    /// `Err`: nobody was asked.
    async fn look(
        &self,
        enricher: &Arc<Enricher>,
        known: &Known,
        asked: &Asked,
    ) -> Result<Result<(), Lookup>, Fault> {
        let (cache, room) = known.asked_as(enricher);
        let held = cache.lock().get(asked.caller, clock::mono());
        if let Some(said) = held {
            self.tell(enricher, asked, Lookup::Cached, &said, Money::ZERO).await?;
            return Ok(Ok(()));
        }
        let room = room.acquire_owned().await;
        let _place = room.map_err(|error| Fault::Outage(error.to_string()))?;
        // The wait may have been long.
        if *self.means.ended.borrow() {
            return Err(Fault::Outage(String::from("the server ends: the next one goes on here")));
        }
        if self.means.deciding.enriched_by(asked.ping.session, clock::wall()).is_none() {
            return Ok(Err(Lookup::Expired));
        }
        if !known.breaker.lock().lets_ask(&enricher.breaker, clock::mono()) {
            return Ok(Err(Lookup::Resting));
        }
        if !self.spend(enricher, known).await? {
            return Ok(Err(Lookup::OverBudget));
        }
        let begun = clock::mono();
        let answer = timeout(enricher.deadline, self.answer(enricher, asked)).await;
        let now = clock::mono();
        histogram!(names::ENRICHER_SECONDS, "enricher" => enricher.id.to_string())
            .record(now.since(begun));
        let (lookup, said) = match answer {
            Ok(Ok(answer)) => {
                let read = enricher.read(&answer);
                refused(enricher, &read.refused);
                let said = Arc::new(read.tags);
                if !enricher.holds.is_zero() {
                    let (until, most) = (now + enricher.holds, enricher.callers_max);
                    cache.lock().keep(asked.caller, Arc::clone(&said), until, now, most);
                }
                (Lookup::Told, said)
            }
            Ok(Err(error)) => {
                let why = whole(&error);
                tracing::debug!(enricher.id = %enricher.id, why, "an enricher gave no answer");
                (Lookup::Failed, Arc::default())
            }
            Err(_) => (Lookup::Late, Arc::default()),
        };
        heard(enricher, known, lookup == Lookup::Told);
        self.tell(enricher, asked, lookup, &said, enricher.budget.cost).await?;
        Ok(Ok(()))
    }

    /// Writes down that one question more is paid for. False: there is no room for it.
    async fn spend(&self, enricher: &Enricher, known: &Known) -> Result<bool, Fault> {
        let outage = |error: StoreError| Fault::Outage(error.to_string());
        let now = clock::wall();
        let mut spent = known.spent.lock().await;
        let before = match *spent {
            Some(spent) => spent,
            None => {
                let day = day_of(now);
                let (asked, cost) =
                    self.means.spending.spent(&enricher.id, day).await.map_err(outage)?;
                Spent { day, asked, cost }
            }
        };
        let Some(Spent { day, asked, cost }) = enricher.budget.spend(before, now) else {
            *spent = Some(before);
            return Ok(false);
        };
        self.means.spending.spend(&enricher.id, day, asked, cost).await.map_err(outage)?;
        *spent = Some(Spent { day, asked, cost });
        let micros = enricher.budget.cost.0.unsigned_abs();
        counter!(names::ENRICHER_COST, "enricher" => enricher.id.to_string()).increment(micros);
        Ok(true)
    }

    async fn answer(&self, enricher: &Enricher, asked: &Asked) -> Result<Value, NoAnswer> {
        let client = self.means.scoring.client(enricher.tls.as_ref()).ok_or(NoAnswer::NoClient)?;
        let mut request = client.post(&enricher.url)?;
        if let Some(token) = &enricher.token {
            request = request.bearer_auth(String::from_utf8_lossy(token.bytes()));
        }
        let inquiry = enricher.inquiry(&asked.announced());
        let response = request.json(&inquiry).send().await?;
        match response.status() {
            reqwest::StatusCode::NO_CONTENT => Ok(Value::Null),
            reqwest::StatusCode::OK => {
                Ok(serde_json::from_slice(&body(response, ANSWER_MAX).await?)?)
            }
            other => Err(NoAnswer::Status(other)),
        }
    }

    /// Writes down what came of a question or of an earlier answer, and has calls go by it.
    async fn tell(
        &self,
        enricher: &Enricher,
        asked: &Asked,
        lookup: Lookup,
        said: &Tags,
        cost: Money,
    ) -> Result<(), Fault> {
        let snapshot = self.means.deciding.snapshot();
        let campaign = snapshot.campaign(&asked.ping.campaign);
        let kept = campaign.map(|campaign| campaign.keeps(said)).unwrap_or_default();
        refused(enricher, &kept.refused);
        let (session, source) = (asked.ping.session, enricher.id.clone());
        let fact = SessionEnriched {
            session,
            source: source.clone(),
            lookup,
            tags: kept.tags.clone().into_iter().collect(),
            cost,
        };
        let outage = |error: &dyn std::error::Error| Fault::Outage(error.to_string());
        let appender = &self.means.appender;
        let appended = appender.append(Fact::of_node(stamp(), fact), Durability::Durable);
        let lsn = appended.map_err(|error| outage(&error))?;
        appender.wait(lsn).await.map_err(|error| outage(&error))?;
        self.count(enricher, lookup);
        let by = EnrichedBy { enricher: source, tags: kept.tags };
        if self.means.deciding.enrich(session, by).is_some() {
            counter!(names::ENRICHMENTS_LATE, "enricher" => enricher.id.to_string()).increment(1);
        }
        Ok(())
    }
}

impl Enrichers for Asking {
    fn standings(&self) -> Answer<'_, Vec<Standing>> {
        Box::pin(async {
            let mut standings = vec![];
            for enricher in self.means.deciding.snapshot().enrichers() {
                standings.push(self.standing(enricher).await?);
            }
            Ok(standings)
        })
    }
}

impl Known {
    /// What was said of callers, and room for questions. A configuration that has it asked otherwise than
    /// the one before begins anew.
    fn asked_as(&self, enricher: &Arc<Enricher>) -> (Arc<Mutex<Cache>>, Arc<Semaphore>) {
        let mut asked = self.asked.lock();
        let is_as_before = asked.as_ref().is_some_and(|it| it.rules == *enricher);
        let asked = match &mut *asked {
            Some(asked) if is_as_before => asked,
            place => place.insert(AskedSo {
                rules: Arc::clone(enricher),
                cache: Arc::default(),
                room: Arc::new(Semaphore::new(enricher.concurrency as usize)),
            }),
        };
        (Arc::clone(&asked.cache), Arc::clone(&asked.room))
    }
}

fn refused(enricher: &Enricher, tags: &[SmolStr]) {
    if !tags.is_empty() {
        counter!(names::ENRICHER_REFUSED, "enricher" => enricher.id.to_string())
            .increment(tags.len() as u64);
    }
}

fn heard(enricher: &Enricher, known: &Known, is_well: bool) {
    let turn = known.breaker.lock().heard(is_well, &enricher.breaker, clock::mono());
    let rests = |rests: f64| {
        gauge!(names::ENRICHER_RESTS, "enricher" => enricher.id.to_string()).set(rests);
    };
    match turn {
        None => {}
        Some(Turn::Rests) => {
            rests(1.0);
            tracing::warn!(
                enricher.id = %enricher.id,
                rest_s = enricher.breaker.rest.as_secs(),
                "an enricher fails, and is not asked for a while"
            );
        }
        Some(Turn::Recovered) => {
            rests(0.0);
            tracing::info!(enricher.id = %enricher.id, "an enricher answers again");
        }
    }
}

//! Asks scorers elsewhere about calls, off the shards' threads (spec/domain §2.5).
//!
//! The shard keeps the deadline itself: what comes later, or not at all, changes nothing for it.

mod clients;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::counter;
use parking_lot::Mutex;
use serde::Deserialize;
use smol_str::SmolStr;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::Config;
use crate::id::{CallId, TargetId};
use crate::routing::config::PeerTlsConfig;
use crate::routing::scorer::{Heard, Outcome, Question, millionths_of};
use crate::routing::selection::ScoreReading;
use crate::sip::endpoint::CallKey;

use super::egress::{EgressClient, Refused};
use super::error::StartError;
use super::http::{BodyError, body, whole};
use super::mailbox::{Mail, Mailbox};
use super::metrics::SCORER_ANSWERS;

pub(super) use clients::{Clients, ScorerPeers};

/// Calls that are asked about at the same time; beyond that they go on without scores.
const ASKED_MAX: usize = 1_024;
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1_024;

/// For how long a question that was late may go on, for the sake of its connection.
const LATE_MAX: Duration = Duration::from_secs(2);

/// Asks for one shard. Clones share what they ask with.
#[derive(Clone)]
pub(super) struct Scoring {
    runtime: Handle,
    asking: Arc<Asking>,
    room: Arc<Semaphore>,
    shard: Option<Mailbox>,
}

/// What is asked with.
struct Asking {
    clients: ArcSwap<Clients>,
    /// Scorers of which a late question goes on.
    late: Mutex<BTreeSet<SmolStr>>,
}

#[derive(Deserialize)]
struct Answer {
    scores: BTreeMap<SmolStr, f64>,
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
enum NoScores {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("its tls is of another configuration, which this process has not loaded")]
    NoClient,
    #[error("it answered {0}")]
    Status(reqwest::StatusCode),
    #[error("its answer is not {{\"scores\": {{\"target\": 0.5}}}}: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a score is no number up to a billion")]
    OutOfRange,
}

impl Scoring {
    /// To be called within the runtime that asks.
    pub(super) fn new(clients: Clients) -> Self {
        let clients = ArcSwap::from_pointee(clients);
        Self {
            runtime: Handle::current(),
            asking: Arc::new(Asking { clients, late: Mutex::default() }),
            room: Arc::new(Semaphore::new(ASKED_MAX)),
            shard: None,
        }
    }

    /// From now on scorers are asked with these.
    pub(super) fn configure(&self, clients: Clients) {
        let before = self.asking.clients.load();
        self.asking.clients.store(Arc::new(clients.following(&before)));
    }

    /// What is asked with that speaks TLS so; `None`: no configuration of this process did.
    pub(super) fn client(&self, tls: Option<&PeerTlsConfig>) -> Option<EgressClient> {
        self.asking.clients.load().of(tls)
    }

    /// Tells this shard.
    pub(super) fn telling(&self, shard: Mailbox) -> Self {
        Self { shard: Some(shard), ..self.clone() }
    }

    /// Asks, and writes to the shard what each says, or that it says nothing in its time. Whether there
    /// was room.
    pub(super) fn ask(&self, key: CallKey, call: CallId, questions: Vec<Question>) -> bool {
        let (Some(shard), Ok(place)) =
            (self.shard.clone(), Arc::clone(&self.room).try_acquire_owned())
        else {
            questions.iter().for_each(|question| drop(unasked(question)));
            return false;
        };
        let place = Arc::new(place);
        for question in questions {
            let (asking, shard) = (Arc::clone(&self.asking), shard.clone());
            let place = Arc::clone(&place);
            self.runtime.spawn(async move {
                let scores = asking.ask(question).await.scores;
                shard.post(Mail::Scored { key, call, scores });
                drop(place);
            });
        }
        true
    }
}

impl Scoring {
    /// Asks for the sake of an answer, and tells what came of each, in the order of the questions.
    pub(super) async fn hear(&self, questions: Vec<Question>) -> Vec<Heard> {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned().map(Arc::new) else {
            return questions.iter().map(unasked).collect();
        };
        let asked = questions.into_iter().map(|question| {
            let (asking, place) = (Arc::clone(&self.asking), Arc::clone(&place));
            self.runtime.spawn(async move {
                let heard = asking.ask(question).await;
                drop(place);
                heard
            })
        });
        let mut heard = vec![];
        for answer in asked.collect::<Vec<_>>() {
            heard.push(answer.await.unwrap_or_else(|ended| resume_unwind(ended.into_panic())));
        }
        heard
    }
}

/// Asks scorers of a configuration without a server, as one would.
///
/// # Errors
/// All that is wrong with the files that TLS to them needs.
pub async fn ask_scorers(
    config: &Config,
    peers: &ScorerPeers,
    questions: Vec<Question>,
) -> Result<Vec<Heard>, StartError> {
    Ok(Scoring::new(peers.load(config)?).hear(questions).await)
}

/// There was no room for it.
fn unasked(question: &Question) -> Heard {
    told(&question.scorer.id, Outcome::NoRoom, vec![])
}

/// Counted, too.
fn told(scorer: &SmolStr, outcome: Outcome, scores: Vec<ScoreReading>) -> Heard {
    let labels = [("scorer", scorer.to_string()), ("outcome", outcome.name().to_owned())];
    counter!(SCORER_ANSWERS, &labels).increment(1);
    Heard { scorer: scorer.clone(), outcome, scores }
}

impl Asking {
    /// What one scorer says in its time.
    async fn ask(self: Arc<Self>, question: Question) -> Heard {
        let scorer = Arc::clone(&question.scorer);
        let client = self.clients.load().of(scorer.tls.as_ref());
        let deadline = Duration::from_millis(scorer.deadline_ms.into());
        let mut answer = Box::pin(answer(client, question));
        let (outcome, scores) = match timeout(deadline, &mut answer).await {
            Ok(Ok(scores)) => (Outcome::Scored, scores),
            Ok(Err(error)) => {
                let why = whole(&error);
                tracing::debug!(scorer.id = %scorer.id, why, "a scorer gave no scores");
                (Outcome::Failed(why), vec![])
            }
            Err(_) => {
                self.let_finish(scorer.id.clone(), answer);
                (Outcome::Late, vec![])
            }
        };
        told(&scorer.id, outcome, scores)
    }

    /// A connection may take longer to be made than a call can wait. One of those that were begun is
    /// finished, so that it is there for calls to come.
    fn let_finish(
        self: Arc<Self>,
        scorer: SmolStr,
        answer: impl Future<Output = Result<Vec<ScoreReading>, NoScores>> + Send + 'static,
    ) {
        if !self.late.lock().insert(scorer.clone()) {
            return;
        }
        tokio::spawn(async move {
            // Nobody waits for what it says.
            let _said = timeout(LATE_MAX, answer).await;
            self.late.lock().remove(&scorer);
        });
    }
}

async fn answer(
    client: Option<EgressClient>,
    question: Question,
) -> Result<Vec<ScoreReading>, NoScores> {
    let client = client.ok_or(NoScores::NoClient)?;
    let response = client.post(&question.scorer.url)?.json(&question).send().await?;
    if !response.status().is_success() {
        return Err(NoScores::Status(response.status()));
    }
    let body = body(response, ANSWER_MAX).await?;
    let Answer { scores } = serde_json::from_slice(&body)?;
    let reading = |(target, score): (SmolStr, f64)| {
        let score = millionths_of(score).ok_or(NoScores::OutOfRange)?;
        Ok(ScoreReading { scorer: question.scorer.id.clone(), target: TargetId(target), score })
    };
    scores.into_iter().map(reading).collect()
}

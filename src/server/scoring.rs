//! Asks scorers elsewhere about calls, off the shards' threads (spec/domain §2.5).
//!
//! The shard keeps the deadline itself: what comes later, or not at all, changes nothing for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde::Deserialize;
use smol_str::SmolStr;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::id::{CallId, TargetId};
use crate::routing::scorer::Question;
use crate::routing::selection::ScoreReading;
use crate::sip::endpoint::CallKey;

use super::mailbox::{Mail, Mailbox};
use super::metrics::SCORER_ANSWERS;

/// Calls that are asked about at the same time; beyond that they go on without scores.
const ASKED_MAX: usize = 1_024;
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1_024;
/// No score is farther from zero.
const SCORE_MAX: f64 = 1e9;

/// Asks for one shard.
#[derive(Clone)]
pub(super) struct Scoring {
    runtime: Handle,
    client: reqwest::Client,
    room: Arc<Semaphore>,
    shard: Option<Mailbox>,
}

#[derive(Deserialize)]
struct Answer {
    scores: BTreeMap<SmolStr, f64>,
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
enum NoScores {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("it answered {0}")]
    Status(reqwest::StatusCode),
    #[error("its answer is longer than {ANSWER_MAX} bytes")]
    TooLong,
    #[error("its answer is not {{\"scores\": {{\"target\": 0.5}}}}: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("a score is no number up to {SCORE_MAX}")]
    OutOfRange,
}

impl Scoring {
    /// To be called within the runtime that asks.
    pub(super) fn new() -> Self {
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self {
            runtime: Handle::current(),
            client: client.build().expect("a client without TLS needs nothing of the machine"),
            room: Arc::new(Semaphore::new(ASKED_MAX)),
            shard: None,
        }
    }

    /// Tells this shard.
    pub(super) fn telling(&self, shard: Mailbox) -> Self {
        Self { shard: Some(shard), ..self.clone() }
    }

    /// Asks, and writes to the shard when all have answered in time or not. Whether there was room.
    pub(super) fn ask(&self, key: CallKey, call: CallId, questions: Vec<Question>) -> bool {
        let (Some(shard), Ok(place)) =
            (self.shard.clone(), Arc::clone(&self.room).try_acquire_owned())
        else {
            for question in &questions {
                count(&question.scorer.id, "no_room");
            }
            return false;
        };
        let client = self.client.clone();
        self.runtime.spawn(async move {
            let mut answers = JoinSet::new();
            for question in questions {
                answers.spawn(ask(client.clone(), question));
            }
            let scores = answers.join_all().await.into_iter().flatten().collect();
            shard.post(Mail::Scored { key, call, scores });
            drop(place);
        });
        true
    }
}

/// What one scorer says in its time; nothing if it is not understood.
async fn ask(client: reqwest::Client, question: Question) -> Vec<ScoreReading> {
    let scorer = Arc::clone(&question.scorer);
    let deadline = Duration::from_millis(scorer.deadline_ms.into());
    let answer = tokio::time::timeout(deadline, answer(client, &question)).await;
    let (outcome, scores) = match answer {
        Ok(Ok(scores)) => ("scored", scores),
        Ok(Err(error)) => {
            tracing::debug!(scorer.id = %scorer.id, %error, "a scorer gave no scores");
            ("failed", vec![])
        }
        Err(_) => ("late", vec![]),
    };
    count(&scorer.id, outcome);
    scores
}

async fn answer(
    client: reqwest::Client,
    question: &Question,
) -> Result<Vec<ScoreReading>, NoScores> {
    let mut response = client.post(&question.scorer.url).json(question).send().await?;
    if !response.status().is_success() {
        return Err(NoScores::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(NoScores::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let Answer { scores } = serde_json::from_slice(&body)?;
    let reading = |(target, score): (SmolStr, f64)| {
        if !score.is_finite() || score.abs() > SCORE_MAX {
            return Err(NoScores::OutOfRange);
        }
        Ok(ScoreReading {
            scorer: question.scorer.id.clone(),
            target: TargetId(target),
            // In range by the check above, so the cast only rounds.
            score: (score * 1e6).round() as i64,
        })
    };
    scores.into_iter().map(reading).collect()
}

fn count(scorer: &SmolStr, outcome: &'static str) {
    counter!(SCORER_ANSWERS, "scorer" => scorer.to_string(), "outcome" => outcome).increment(1);
}

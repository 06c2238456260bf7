//! Where consumers stand, for metrics and whoever asks.

use std::sync::Arc;

use metrics::gauge;
use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::api::Standings;
use crate::cdr::consumer::Standing;
use crate::cdr::consumer::letter::LetterCount;
use crate::cdr::journal::Lsn;
use crate::server::metrics as names;
use crate::time::Wall;

use super::feed::{Feed, Reached};

/// Where a consumer stands.
pub(super) struct ConsumerStanding {
    name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    position: Lsn,
    /// When the fact there happened.
    at: Option<Wall>,
    /// Absent: it is at work.
    waits_for: Option<String>,
    letters: LetterCount,
}

impl ConsumerStanding {
    pub(super) fn new(name: Arc<str>) -> Arc<Self> {
        Arc::new(Self { name, state: Mutex::default() })
    }

    /// `at` is when the fact there happened.
    pub(super) fn stands_at(&self, position: Lsn, at: Option<Wall>) {
        let mut state = self.state.lock();
        state.position = position;
        state.at = at.or(state.at);
    }

    pub(super) fn waits_for(&self, what: Option<String>) {
        self.state.lock().waits_for = what;
    }

    /// `reached` is how far the book has come.
    fn standing(&self, reached: Reached) -> Standing {
        let state = self.state.lock().clone();
        Standing {
            consumer: SmolStr::new(&self.name),
            position: state.position,
            at: state.at,
            lag_facts: state.behind(reached),
            waits_for: state.waits_for,
            letters: state.letters,
        }
    }

    pub(super) fn has_letters(&self, letters: LetterCount) {
        self.state.lock().letters = letters;
    }

    /// Tells the metrics, `reached` being how far the book has come.
    pub(super) fn publish(&self, reached: Reached, now: Wall) {
        let state = self.state.lock().clone();
        let behind = state.behind(reached);
        let behind_s = match state.at {
            Some(at) if behind > 0 => now.0.saturating_sub(at.0).max(0) / 1_000,
            Some(_) | None => 0,
        };
        let consumer = &self.name;
        gauge!(names::CONSUMER_LAG, "consumer" => consumer.clone()).set(behind as f64);
        gauge!(names::CONSUMER_LAG_SECONDS, "consumer" => consumer.clone()).set(behind_s as f64);
        let stopped = f64::from(u8::from(state.waits_for.is_some()));
        gauge!(names::CONSUMER_STOPPED, "consumer" => consumer.clone()).set(stopped);
        for (state, count) in [("retrying", state.letters.retrying), ("dead", state.letters.dead)] {
            gauge!(names::CONSUMER_LETTERS, "consumer" => consumer.clone(), "state" => state)
                .set(count as f64);
        }
    }
}

impl State {
    /// Facts that were not read.
    fn behind(&self, reached: Reached) -> u64 {
        reached.lsn.seq.saturating_sub(self.position.seq)
    }
}

/// Where all of them stand, for whoever asks.
pub(in crate::server) struct StandingDesk {
    pub(super) standings: Vec<Arc<ConsumerStanding>>,
    pub(super) feed: Arc<Feed>,
}

impl Standings for StandingDesk {
    fn standings(&self) -> Vec<Standing> {
        let reached = self.feed.reached();
        self.standings.iter().map(|standing| standing.standing(reached)).collect()
    }
}

//! What calls show of a target, or of a way to targets: its circuit opens when they go badly, and closes
//! when some on trial have gone well (spec/domain §2.11).
//!
//! ```text
//! closed ── too slow, too many failed, too few answered, too short ──► open
//!    ▲                                                                  │ cool-down
//!    └──── attempts on trial went well ──── on trial ◄──────────────────┘
//!                                              └── they did not ──► open, twice as long
//! ```
//!
//! A target that is not closed is never lost to a call that has no other: it is then tried last. So is a
//! way to a target, which is a trunk or a host that targets share.

mod delays;
mod tally;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::id::{CallId, TargetId};
use crate::reason::Reason;
use crate::time::Mono;

use super::config::CircuitConfig;
use super::snapshot::RoutingSnapshot;

pub use ways::{WaySeen, Ways};

use tally::{Baseline, Recent, Tally};

/// What is thought of a target. Decisions read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Condition {
    #[default]
    #[n(0)]
    Well,
    /// Probes find none of its addresses.
    #[n(1)]
    Down,
    /// Its calls went badly.
    #[n(2)]
    Open(#[n(0)] Trip),
    /// They did, and so many calls of a hundred try whether they still do.
    #[n(3)]
    OnTrial(#[n(0)] Trip, #[n(1)] u32),
}

/// Why a circuit opened: `seen` of `of` attempts or answered calls were bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Trip {
    #[n(0)]
    pub cause: Cause,
    #[n(1)]
    pub seen: u32,
    #[n(2)]
    pub of: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum Cause {
    /// Silence, no address, or 5xx.
    #[n(0)]
    Failed,
    /// Too long before it rang.
    #[n(1)]
    Slow,
    /// Not answered, more often than it used to be.
    #[n(2)]
    Unanswered,
    /// Answered and ended at once.
    #[n(3)]
    Short,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    pub end: AttemptEnd,
    /// From the INVITE to the first sign that it rings, or the answer; absent: there was none.
    pub pdd_ms: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    Answered,
    Unanswered,
    Failed,
}

/// How attempts at a target went on a day before, as far as a drop is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How many whole days ago.
    pub days_ago: u32,
    pub attempts: u32,
    pub answered: u32,
}

/// The circuits of all targets that were tried, or of all ways.
#[derive(Clone, Debug)]
pub struct Circuits<K = TargetId> {
    circuits: BTreeMap<K, Circuit>,
    /// Those that are not closed, so that a decision need look no further.
    tripped: BTreeSet<K>,
}

/// What has changed for a target or a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Opened(Trip, Duration),
    Closed,
}

#[derive(Clone, Debug)]
struct Circuit {
    rules: Arc<CircuitConfig>,
    recent: Recent,
    baseline: Baseline,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Closed,
    /// Until then, and from then on on trial.
    Open {
        trip: Trip,
        until: Mono,
        /// How often it has opened without closing.
        times: u32,
        trial: Tally,
    },
}

/// A cool-down is doubled so often at most.
const DOUBLED_MAX: u32 = 5;

impl Condition {
    /// Whether this call goes there, to what has this name, as if nothing were wrong.
    pub fn takes(self, call: CallId, name: &str) -> bool {
        match self {
            Self::Well => true,
            Self::Down | Self::Open(_) => false,
            Self::OnTrial(_, percent) => call.draw(name) % 100 < u64::from(percent),
        }
    }

    /// Why a call that it does not take goes elsewhere.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Well => None,
            Self::Down => Some(Reason::TargetDown),
            Self::Open(_) => Some(Reason::TargetCircuitOpen),
            Self::OnTrial(..) => Some(Reason::TargetOnProbation),
        }
    }

    /// Why a call tries a way like this after the others.
    pub fn way_reason(self) -> Option<Reason> {
        match self {
            Self::Well => None,
            Self::Down | Self::Open(_) => Some(Reason::WayCircuitOpen),
            Self::OnTrial(..) => Some(Reason::WayOnProbation),
        }
    }
}

/// For people: `circuit open: 31 of 60 attempts failed`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("well"),
            Self::Down => f.write_str("down"),
            Self::Open(trip) => write!(f, "circuit open: {trip}"),
            Self::OnTrial(trip, percent) => write!(f, "on trial with {percent} % of calls: {trip}"),
        }
    }
}

impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cause, seen, of } = self;
        match cause {
            Cause::Failed => write!(f, "{seen} of {of} attempts failed"),
            Cause::Slow => write!(f, "{seen} of {of} attempts rang too late"),
            Cause::Unanswered => write!(f, "{seen} of {of} attempts were not answered"),
            Cause::Short => write!(f, "{seen} of {of} answered calls were short"),
        }
    }
}

impl<K> Default for Circuits<K> {
    fn default() -> Self {
        Self { circuits: BTreeMap::new(), tripped: BTreeSet::new() }
    }
}

impl Circuits {
    /// Rules that have changed hold from now on; targets that are gone are forgotten.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        self.follow(|id| snapshot.target(id).and_then(|it| it.circuit.as_ref()));
    }
}

impl<K: Ord + Clone> Circuits<K> {
    /// These rules hold from now on; whatever has none is forgotten.
    fn follow<'a>(&mut self, rules: impl Fn(&K) -> Option<&'a Arc<CircuitConfig>>) {
        self.circuits.retain(|key, circuit| match rules(key) {
            Some(rules) => {
                if rules.window_s != circuit.rules.window_s {
                    circuit.recent = Recent::default();
                }
                circuit.rules = Arc::clone(rules);
                // Short calls are counted no more, so none on trial could ever close it.
                if rules.max_short_percent.is_none() && circuit.opened_for(Cause::Short) {
                    circuit.state = State::Closed;
                    self.tripped.remove(key);
                }
                true
            }
            None => false,
        });
        self.tripped.retain(|key| self.circuits.contains_key(key));
    }

    /// What a decision at `now` reads.
    pub fn condition(&self, key: &K, now: Mono) -> Condition {
        if self.tripped.is_empty() || !self.tripped.contains(key) {
            return Condition::Well;
        }
        self.circuits.get(key).map_or(Condition::Well, |circuit| circuit.condition(now))
    }

    /// An attempt is over, or was answered. `rules` are its own.
    pub fn attempted(
        &mut self,
        key: &K,
        rules: &Arc<CircuitConfig>,
        attempted: Attempted,
        now: Mono,
    ) -> Option<Turn> {
        self.observe(key, rules, now, |tally, rules| tally.attempted(attempted, rules))
    }

    /// An answered call is over. `by_target`: the target hung up, after so long a talk.
    pub fn talked(
        &mut self,
        key: &K,
        rules: &Arc<CircuitConfig>,
        talk: Duration,
        by_target: bool,
        now: Mono,
    ) -> Option<Turn> {
        let is_short = by_target && talk <= Duration::from_secs(u64::from(rules.short_call_s));
        self.observe(key, rules, now, |tally, _| tally.talked(is_short))
    }

    /// Puts back what was before this process; what lies a week back is left out. `rules` are its
    /// own.
    pub fn restore(&mut self, key: &K, rules: &Arc<CircuitConfig>, before: Before, now: Mono) {
        let new = || Circuit::new(Arc::clone(rules));
        let circuit = self.circuits.entry(key.clone()).or_insert_with(new);
        circuit.baseline.restore(now, before);
    }

    /// Those that are not closed.
    pub fn tripped(&self, now: Mono) -> impl Iterator<Item = (&K, Condition)> {
        self.tripped.iter().map(move |key| (key, self.condition(key, now)))
    }

    /// What a circuit goes by; `None`: there is none.
    fn rules(&self, key: &K) -> Option<&Arc<CircuitConfig>> {
        self.circuits.get(key).map(|circuit| &circuit.rules)
    }

    /// What was counted in the window, and in the week.
    fn seen(&mut self, key: &K, now: Mono) -> Option<(Tally, Tally)> {
        let circuit = self.circuits.get_mut(key)?;
        let window = Duration::from_secs(circuit.rules.window_s.into());
        Some((circuit.recent.total(now, window), circuit.baseline.before(now)))
    }

    fn observe(
        &mut self,
        key: &K,
        rules: &Arc<CircuitConfig>,
        now: Mono,
        count: impl FnOnce(&mut Tally, &CircuitConfig),
    ) -> Option<Turn> {
        if !self.circuits.contains_key(key) {
            self.circuits.insert(key.clone(), Circuit::new(Arc::clone(rules)));
        }
        let turn = self.circuits.get_mut(key)?.observe(now, count)?;
        match turn {
            Turn::Opened(..) => self.tripped.insert(key.clone()),
            Turn::Closed => self.tripped.remove(key),
        };
        Some(turn)
    }
}

impl Circuit {
    fn new(rules: Arc<CircuitConfig>) -> Self {
        let (recent, baseline) = (Recent::default(), Baseline::default());
        Self { rules, recent, baseline, state: State::Closed }
    }

    fn opened_for(&self, cause: Cause) -> bool {
        matches!(self.state, State::Open { trip, .. } if trip.cause == cause)
    }

    fn condition(&self, now: Mono) -> Condition {
        match &self.state {
            State::Closed => Condition::Well,
            State::Open { trip, until, .. } if now < *until => Condition::Open(*trip),
            State::Open { trip, .. } => Condition::OnTrial(*trip, self.rules.trial_percent),
        }
    }

    fn observe(
        &mut self,
        now: Mono,
        count: impl FnOnce(&mut Tally, &CircuitConfig),
    ) -> Option<Turn> {
        let rules = &self.rules;
        let window = Duration::from_secs(u64::from(rules.window_s));
        let mut one = Tally::default();
        count(&mut one, rules);
        self.recent.at(now, window).add(&one);
        let State::Open { until, trial, trip, times } = &mut self.state else {
            let seen = self.recent.total(now, window);
            let trip = trip(&seen, &self.baseline.before(now), rules);
            self.baseline.add(now, &one);
            return trip.map(|trip| self.open(trip, 0, now));
        };
        // What was under way when it opened says nothing new.
        if now < *until {
            return None;
        }
        trial.add(&one);
        let (trip, times) = (*trip, *times);
        match verdict(trial, &self.baseline.before(now), trip.cause, rules)? {
            Ok(()) => {
                self.state = State::Closed;
                self.recent = Recent::default();
                Some(Turn::Closed)
            }
            Err(trip) => Some(self.open(trip, times, now)),
        }
    }

    fn open(&mut self, trip: Trip, times: u32, now: Mono) -> Turn {
        let cool_down = Duration::from_secs(u64::from(self.rules.cool_down_s));
        let cool_down = cool_down * (1 << times.min(DOUBLED_MAX));
        let until = now + cool_down;
        self.state = State::Open { trip, until, times: times + 1, trial: Tally::default() };
        Turn::Opened(trip, cool_down)
    }
}

/// The first thing that is wrong, the surest first.
fn trip(seen: &Tally, before: &Tally, rules: &CircuitConfig) -> Option<Trip> {
    let enough = |of: u32| of >= rules.min_attempts;
    if enough(seen.attempts) && is_share(seen.failed, seen.attempts, rules.max_failed_percent) {
        return Some(Trip { cause: Cause::Failed, seen: seen.failed, of: seen.attempts });
    }
    // P99 is above a limit when more than one in a hundred is.
    if enough(seen.rang) && u64::from(seen.slow) * 100 > u64::from(seen.rang) {
        return Some(Trip { cause: Cause::Slow, seen: seen.slow, of: seen.rang });
    }
    if enough(seen.attempts) && has_dropped(seen, before, rules) {
        let unanswered = seen.attempts - seen.answered;
        return Some(Trip { cause: Cause::Unanswered, seen: unanswered, of: seen.attempts });
    }
    let max_short = rules.max_short_percent?;
    (enough(seen.talks) && is_share(seen.short, seen.talks, max_short)).then_some(Trip {
        cause: Cause::Short,
        seen: seen.short,
        of: seen.talks,
    })
}

/// What the attempts on trial say; `None`: nothing yet.
fn verdict(
    trial: &Tally,
    before: &Tally,
    cause: Cause,
    rules: &CircuitConfig,
) -> Option<Result<(), Trip>> {
    let of_talks = cause == Cause::Short;
    let (seen, of, is_bad) = match cause {
        Cause::Failed => {
            let is_bad = is_share(trial.failed, trial.attempts, rules.max_failed_percent);
            (trial.failed, trial.attempts, is_bad)
        }
        Cause::Slow => (trial.slow, trial.attempts, trial.slow > 0),
        Cause::Unanswered => {
            let is_bad = falls_short(trial, before, rules) && is_unlikely(trial, before, 2);
            (trial.attempts - trial.answered, trial.attempts, is_bad)
        }
        Cause::Short => {
            let max = rules.max_short_percent.unwrap_or(100);
            (trial.short, trial.talks, is_share(trial.short, trial.talks, max))
        }
    };
    let so_far = if of_talks { trial.talks } else { trial.attempts };
    if so_far < rules.trial_attempts {
        return None;
    }
    if is_bad {
        return Some(Err(Trip { cause, seen, of }));
    }
    // It may be worse now than it was.
    if is_share(trial.failed, trial.attempts, rules.max_failed_percent) {
        let (seen, of) = (trial.failed, trial.attempts);
        return Some(Err(Trip { cause: Cause::Failed, seen, of }));
    }
    Some(Ok(()))
}

fn is_share(part: u32, of: u32, percent: u32) -> bool {
    part > 0 && u64::from(part) * 100 >= u64::from(of) * u64::from(percent)
}

/// Below the share of before by more than is allowed.
fn falls_short(seen: &Tally, before: &Tally, rules: &CircuitConfig) -> bool {
    let kept = u64::from(100_u32.saturating_sub(rules.max_answer_drop_percent));
    let is = u64::from(seen.answered) * u64::from(before.attempts) * 100;
    let was = u64::from(before.answered) * u64::from(seen.attempts) * kept;
    is < was
}

/// Whether fewer attempts are answered than before, by more than is allowed and more than chance
/// explains: three standard deviations of as many draws from the share of before.
fn has_dropped(seen: &Tally, before: &Tally, rules: &CircuitConfig) -> bool {
    before.attempts >= rules.min_attempts.saturating_mul(4)
        && falls_short(seen, before, rules)
        && is_unlikely(seen, before, 3)
}

/// Whether so few answers lie more than so many standard deviations below what as many draws from the
/// share of before bring.
fn is_unlikely(seen: &Tally, before: &Tally, deviations: u128) -> bool {
    let wide = u128::from;
    let (n, k) = (wide(seen.attempts), wide(seen.answered));
    let (of, hits) = (wide(before.attempts), wide(before.answered));
    let missing = (n * hits).saturating_sub(k * of);
    missing * missing >= deviations * deviations * n * hits * (of - hits)
}

#[cfg(test)]
mod tests;

//! The process under test, but for its endpoint: deciding, holds, journal, projection and book are
//! the server's own, turned by hand as a shard turns them. Its disk, its book and its clock fail.
//!
//! Owns: what a process is started from and what outlives it, when it is killed and started again,
//! and the oracle that watches its facts, records and caps. Does not own messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use smol_str::format_smolstr;

use crate::cdr::journal::Lsn;
use crate::id::CallId;
use crate::routing::hold::Bucket;
use crate::server::bridge::{Admitted, Answer};
use crate::server::clock::{Clock, SetClock};
use crate::server::rehearsal::{Ground, Rehearsal, keep_book};
use crate::sip::call::report::{AttemptNumber, Report};
use crate::sip::endpoint::{Admission, CallKey, Endpoint, Input, Output};
use crate::time::{Mono, Wall};

use super::faults::{Fault, Faults};
use super::habits::{ms, one_in};
use super::mind;
use super::sabotage::Sabotage;

mod book;
mod disk;
mod market;
mod moving;
mod oracle;
mod standing;
#[cfg(test)]
mod tests;

use book::MemoryBook;
use disk::SimDisk;
use market::Market;
use oracle::Oracle;
use standing::Standing;

pub(crate) use market::number;
pub(crate) use oracle::Handed;

/// How often a shard keeps house.
const UPKEEP: Duration = Duration::from_secs(1);

/// How often what is over is cleared away.
const SWEEP: Duration = Duration::from_secs(20);

/// Where the journal is.
const DIR: &str = "/journal";

/// What befalls an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Kill,
    /// Follows each [`Mishap::Kill`].
    Start,
    DiskFull(bool),
    BadSyncs(u32),
    BookRefuses(bool),
    /// The wall clock is set by so many milliseconds.
    WallStep(i64),
}

pub(crate) struct Edge {
    market: &'static Market,
    faults: Faults,
    sabotage: Option<Sabotage>,
    rng: Rng,
    disk: SimDisk,
    book: Arc<MemoryBook>,
    clock: Arc<SetClock>,
    ground: Ground,
    wall_offset_ms: i64,
    start: Mono,
    process: Option<Process>,
    oracle: Oracle,
    standing: Standing,
}

struct Process {
    parts: Rehearsal,
    /// Answers to calls that wait for their turn, by when it comes.
    waiting: BTreeMap<(Mono, u64), Waiting>,
    waited: u64,
    conversions: BinaryHeap<Reverse<(Mono, CallKey)>>,
    commit_at: Option<Mono>,
    upkeep_at: Mono,
    sweep_at: Mono,
}

enum Waiting {
    Decided(Input),
    Held(CallKey, AttemptNumber),
}

/// What broke an invariant, and of which call if of one.
pub(crate) type Verdict = Result<(), (Option<CallId>, String)>;

impl Edge {
    /// A machine with an empty disk, and what will befall it.
    pub(crate) fn new(
        faults: Faults,
        sabotage: Option<Sabotage>,
        mut rng: Rng,
        start: Mono,
        span: Duration,
    ) -> (Self, Vec<(Mono, Mishap)>) {
        let market = market::market(rng.usize(..1000));
        let mishaps = mishaps(faults, sabotage, &mut rng, start, span);
        let disk = SimDisk::default();
        let book = Arc::new(MemoryBook::default());
        let clock = Arc::new(SetClock::default());
        let ground = Ground {
            disk: Arc::new(disk.clone()),
            book: Arc::clone(&book) as Arc<_>,
            clock: Arc::clone(&clock),
        };
        if sabotage == Some(Sabotage::DoubledBatch) {
            book.double_batches();
        }
        if sabotage == Some(Sabotage::LostRecord) {
            book.lose_a_record();
        }
        if sabotage == Some(Sabotage::LostSlices) {
            book.forget_windows("rolling:");
        }
        if sabotage == Some(Sabotage::LostGap) {
            book.forget_windows("gap/");
        }
        let edge = Self {
            market,
            faults,
            sabotage,
            rng,
            disk,
            book,
            clock,
            ground,
            wall_offset_ms: 0,
            start,
            process: None,
            oracle: Oracle::default(),
            standing: Standing::default(),
        };
        (edge, mishaps)
    }

    /// The same in another market.
    #[cfg(test)]
    pub(crate) fn in_market(self, number: usize) -> Self {
        Self { market: market::market(number), ..self }
    }

    /// Starts the process on what the last one left, and says what the endpoint is to hear first;
    /// `None` if the disk or the book did not let it.
    ///
    /// # Errors
    /// What the last process left is not what it promised.
    pub(crate) fn start(&mut self, now: Mono) -> Result<Option<(Endpoint, Vec<Input>)>, String> {
        self.set_clock(now);
        let seed = u128::from(self.rng.u64(..));
        let started = self.market.blueprint.start(&self.ground, Path::new(DIR), seed);
        let Ok((endpoint, mut parts)) = started else { return Ok(None) };
        self.oracle.started(&parts.recovery, &parts.opening)?;
        let farewells = std::mem::take(&mut parts.farewells);
        self.process = Some(Process {
            parts,
            waiting: BTreeMap::new(),
            waited: 0,
            conversions: BinaryHeap::new(),
            commit_at: None,
            upkeep_at: now + UPKEEP,
            sweep_at: now + SWEEP,
        });
        self.plan_commit(now);
        Ok(Some((endpoint, farewells)))
    }

    /// Ends the process as `kill -9` or a power cut do, in the middle of a write perhaps.
    pub(crate) fn kill(&mut self, now: Mono) {
        self.set_clock(now);
        let Some(mut process) = self.process.take() else { return };
        self.oracle.died(process.parts.durable.get());
        self.standing = Standing::default();
        let power_is_cut = self.faults.has(Fault::Disk) && self.rng.bool();
        if power_is_cut {
            self.disk.stop_after(self.rng.usize(..2_000));
            process.parts.steps.turn();
        }
        drop(process);
        if power_is_cut {
            self.disk.cut_power(&mut self.rng);
        } else {
            self.disk.go_on();
        }
        if self.sabotage == Some(Sabotage::LostFact) {
            self.disk.forget_synced(400);
        }
    }

    /// Whether there is a process.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// All but [`Mishap::Kill`] and [`Mishap::Start`], which the world sees to.
    pub(crate) fn befall(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Kill | Mishap::Start => {}
            Mishap::DiskFull(full) => self.disk.set_full(full),
            Mishap::BadSyncs(count) => self.disk.fail_syncs(count),
            Mishap::BookRefuses(refuses) => self.book.set_refusing(refuses),
            Mishap::WallStep(by_ms) => {
                self.wall_offset_ms += by_ms;
                self.oracle.clock_was_set();
            }
        }
    }

    /// Says what time it is.
    pub(crate) fn set_clock(&mut self, now: Mono) {
        let wall = self.wall(now);
        self.clock.set(now, wall);
    }

    pub(crate) fn wall(&self, now: Mono) -> Wall {
        let since_start = i64::try_from(now.ms_since(self.start)).unwrap_or(i64::MAX);
        Wall(1_700_000_000_000 + since_start + self.wall_offset_ms)
    }

    /// Decides on a new call. Its targets are given names that tell of which call they are.
    pub(crate) fn admit(&mut self, call: usize, admission: &Admission) -> Option<Input> {
        let process = self.process.as_mut()?;
        self.oracle.admitted(admission.id, call);
        let Admitted::Decided((mut outcome, told_at)) = process.parts.bridge.admit(admission)
        else {
            unreachable!("a rehearsal asks no scorers");
        };
        if let Ok(plan) = &mut outcome {
            self.standing.planned(plan, admission.at);
            for (n, attempt) in plan.attempts.iter_mut().enumerate() {
                attempt.uri = mind::target_uri(call, n + 1);
            }
        }
        let answer = Input::Decided { call: admission.call, outcome };
        match told_at {
            None => Some(answer),
            Some(at) => {
                process.wait(at, Waiting::Decided(answer));
                None
            }
        }
    }

    pub(crate) fn place_hold(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        now: Mono,
    ) -> Option<Input> {
        let process = self.process.as_mut()?;
        let answer = match process.parts.bridge.place_hold(key, attempt, now) {
            Answer::Now(outcome) => Some(Input::Held { call: key, attempt, outcome }),
            // Nobody shares its limits.
            Answer::WhenDurable | Answer::ByMail => None,
            Answer::At(at) => {
                process.wait(at, Waiting::Held(key, attempt));
                None
            }
        };
        match self.sabotage {
            Some(Sabotage::OverReserved) => self.over_reserve(),
            Some(Sabotage::OverRolled) => self.over_roll(now),
            Some(Sabotage::TooSoon) => self.attempt_too_soon(now),
            _ => {}
        }
        answer
    }

    /// What else the endpoint wants of those behind it.
    pub(crate) fn obey(&mut self, output: Output) {
        let Some(process) = self.process.as_mut() else { return };
        let bridge = &mut process.parts.bridge;
        let now = Clock::Set(Arc::clone(&self.clock)).mono();
        match output {
            Output::AwaitDurable { call } => bridge.await_durable(call),
            Output::Spoken { call, codec } => bridge.spoken(call, codec),
            Output::Dialogs { call, caller, target, codec, farewells } => {
                bridge.dialogs(call, caller, target, codec);
                if let Some(farewells) = farewells {
                    bridge.farewells(call, &farewells, now);
                }
            }
            Output::OrphanEnded { id, at, party, q850 } => {
                bridge.orphan_ended(id, at, party, q850);
            }
            Output::Report { call, id, at, report, last_heard } => {
                let ends = matches!(report, Report::Ended { .. });
                let hands = matches!(report, Report::HandedOver { .. });
                if (ends && self.sabotage == Some(Sabotage::LostEnd))
                    || (hands && self.sabotage == Some(Sabotage::LostHandover))
                {
                    return;
                }
                let converts_at = bridge.report(call, id, at, report, last_heard);
                process.conversions.extend(converts_at.map(|at| Reverse((at, call))));
            }
            Output::Tried { transport, peer } => bridge.tried((transport, peer), now),
            Output::Rated { transport, peer, how } => {
                if self.sabotage != Some(Sabotage::DeadFirst) {
                    bridge.rate((transport, peer), how, now);
                }
                self.standing.rated(peer, how, now);
            }
            Output::Send { .. }
            | Output::Admitted(_)
            | Output::PlaceHold { .. }
            | Output::Locate { .. }
            | Output::Probed { .. }
            | Output::Fragmented { .. }
            | Output::Registration { .. } => {}
        }
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let process = self.process.as_ref()?;
        let waiting = process.waiting.first_key_value().map(|((at, _), _)| *at);
        let converts = process.conversions.peek().map(|Reverse((at, _))| *at);
        [process.commit_at, waiting, converts, Some(process.upkeep_at)].into_iter().flatten().min()
    }

    /// Whether something is left to be written, or somebody waits.
    pub(crate) fn is_busy(&self) -> bool {
        let is_busy =
            |process: &Process| process.commit_at.is_some() || !process.waiting.is_empty();
        self.process.as_ref().is_some_and(is_busy)
    }

    /// Does what is due, and returns what the endpoint is to hear.
    pub(crate) fn handle_timeouts(&mut self, now: Mono) -> Vec<Input> {
        let mut inputs = vec![];
        let wall = self.wall(now);
        let Some(process) = self.process.as_mut() else { return inputs };
        while let Some(Reverse((at, call))) = process.conversions.peek().copied()
            && at <= now
        {
            process.conversions.pop();
            process.parts.bridge.converted(call, at);
        }
        while let Some(entry) = process.waiting.first_entry()
            && entry.key().0 <= now
        {
            match entry.remove() {
                Waiting::Decided(input) => inputs.push(input),
                Waiting::Held(call, attempt) => {
                    inputs.extend(process.parts.bridge.turn_came(call, attempt));
                }
            }
        }
        if process.upkeep_at <= now {
            process.upkeep_at = now + UPKEEP;
            process.parts.bridge.housekeep(now);
            process.commit_at = Some(now);
        }
        if process.sweep_at <= now {
            process.sweep_at = now + SWEEP;
            process.parts.deciding.sweep(now, wall);
        }
        self.commit(now, &mut inputs);
        inputs
    }

    fn commit(&mut self, now: Mono, inputs: &mut Vec<Input>) {
        let Some(process) = self.process.as_mut() else { return };
        if process.commit_at.is_some_and(|at| at <= now) {
            process.commit_at = None;
            process.parts.steps.turn();
            // What it cannot write now it tries again at the next turn.
            let Rehearsal { projection, deciding, .. } = &mut process.parts;
            keep_book(projection, deciding, now);
        }
        while let Some(input) = process.parts.bridge.next_durable() {
            inputs.push(input);
        }
    }

    /// Plans the next commit if something was appended since the last.
    pub(crate) fn plan_commit(&mut self, now: Mono) {
        let Some(process) = self.process.as_mut() else { return };
        if process.commit_at.is_some() {
            return;
        }
        let next = process.parts.steps.next();
        if next < UPKEEP {
            let slow = self.faults.has(Fault::Disk) && one_in(&mut self.rng, 30);
            let sync = ms(&mut self.rng, 1, if slow { 400 } else { 8 });
            process.commit_at = Some(now + next + sync);
        }
    }

    /// I5, I6: what caps hold at any instant. And that no call began where nobody is.
    pub(crate) fn caps_hold(&mut self) -> Verdict {
        self.standing.verdict()?;
        let Some(process) = &self.process else { return Ok(()) };
        let wall = Clock::Set(Arc::clone(&self.clock)).wall();
        process.parts.deciding.ledger(|ledger| self.oracle.caps(ledger, self.market, wall))
    }

    /// All calls are over: the book, the journal and the ledger say the same. `answered` are calls
    /// whose caller got 200 after the answer was on disk, `handed` those whose carrier has them, as
    /// far as the process that is up has reported it.
    pub(crate) fn at_rest(&mut self, now: Mono, answered: &[CallId], handed: &[Handed]) -> Verdict {
        // What keeps the disk and the book from working has passed; what waited is written.
        self.disk.set_full(false);
        self.disk.fail_syncs(0);
        self.book.set_refusing(false);
        let mut now = now;
        for _ in 0..5 {
            now = now + Duration::from_millis(1_100);
            self.set_clock(now);
            if let Some(process) = &mut self.process {
                process.parts.bridge.housekeep(now);
                process.commit_at = Some(now);
            }
            self.commit(now, &mut vec![]);
        }
        let Some(process) = &self.process else { return Ok(()) };
        let Rehearsal { deciding, projection, journal, .. } = &process.parts;
        let mut entries = vec![];
        let end = Lsn { epoch: u64::MAX, seq: u64::MAX };
        let mut reader = journal.reader(Lsn::default());
        loop {
            match reader.read(10_000, end, &mut entries) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err((None, format!("the journal cannot be read: {error}"))),
            }
        }
        let live = projection.live().count();
        let told = oracle::Told {
            entries: &entries,
            gaps: reader.gaps(),
            undecodable: reader.undecodable(),
            records: self.book.records(),
            used: self.book.used(),
            live_records: live,
            epoch: journal.epoch(),
            answered,
            handed,
        };
        deciding.ledger(|ledger| self.oracle.at_rest(&told, ledger, self.market))
    }

    /// The call of the world that has this id.
    pub(crate) fn call_of(&self, id: CallId) -> Option<usize> {
        self.oracle.call_of(id)
    }

    pub(crate) fn starts(&self) -> u64 {
        self.oracle.starts()
    }

    fn over_reserve(&self) {
        let Some(process) = &self.process else { return };
        let Some((cap, limit)) = self.market.limits.first_key_value() else { return };
        process.use_up(Bucket { cap: cap.clone(), window: "total".into() }, limit.max + 1);
    }

    /// More than its limit is used in a window that moves along.
    fn over_roll(&self, now: Mono) {
        let Some(process) = &self.process else { return };
        let limits = &self.market.limits;
        let Some((cap, limit)) = limits.iter().find(|(cap, _)| cap.ends_with("rolling:60")) else {
            return;
        };
        let window = format_smolstr!("rolling:60/{}", self.wall(now).0 / 1_000);
        process.use_up(Bucket { cap: cap.clone(), window }, limit.max + 1);
    }

    /// There is another attempt within the time there has to be between two.
    fn attempt_too_soon(&self, now: Mono) {
        let Some(process) = &self.process else { return };
        let Some((cap, _)) = self.market.gaps.first_key_value() else { return };
        let at = self.wall(now).0;
        let bucket = Bucket { cap: cap.clone(), window: format_smolstr!("gap/{at}") };
        process.use_up(bucket, u64::try_from(at).unwrap_or(0));
    }
}

impl Process {
    fn use_up(&self, bucket: Bucket, used: u64) {
        self.parts.deciding.restore([], [(bucket, used, None)], Wall(0));
    }

    fn wait(&mut self, until: Mono, what: Waiting) {
        self.waited += 1;
        self.waiting.insert((until, self.waited), what);
    }
}

fn mishaps(
    faults: Faults,
    sabotage: Option<Sabotage>,
    rng: &mut Rng,
    start: Mono,
    span: Duration,
) -> Vec<(Mono, Mishap)> {
    let mut mishaps = vec![];
    let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX) + 20_000;
    let at = |rng: &mut Rng| start + ms(rng, 100, span_ms);
    let minutes = span.as_secs().div_ceil(60).max(1);
    for _ in 0..minutes {
        // Drawn whether or not it may happen, so that the rest is the same without it.
        let (crash, down) = (at(rng), ms(rng, 50, 5_000));
        let crashes = one_in(rng, 3) || sabotage == Some(Sabotage::LostFact);
        if faults.has(Fault::Crash) && crashes {
            mishaps.push((crash, Mishap::Kill));
            mishaps.push((crash + down, Mishap::Start));
        }
        let (full, for_) = (at(rng), ms(rng, 100, 8_000));
        if one_in(rng, 6) && faults.has(Fault::Disk) {
            mishaps.push((full, Mishap::DiskFull(true)));
            mishaps.push((full + for_, Mishap::DiskFull(false)));
        }
        let (bad, count) = (at(rng), rng.u32(1..5));
        if one_in(rng, 4) && faults.has(Fault::Disk) {
            mishaps.push((bad, Mishap::BadSyncs(count)));
        }
        let (refuses, for_) = (at(rng), ms(rng, 100, 20_000));
        if one_in(rng, 4) && faults.has(Fault::Store) {
            mishaps.push((refuses, Mishap::BookRefuses(true)));
            mishaps.push((refuses + for_, Mishap::BookRefuses(false)));
        }
        let (step, by_ms) = (at(rng), rng.i64(-7_200_000..7_200_000));
        if one_in(rng, 4) && faults.has(Fault::Clock) {
            mishaps.push((step, Mishap::WallStep(by_ms)));
        }
    }
    mishaps
}

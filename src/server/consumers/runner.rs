//! Runs one consumer: gives it facts, writes what they come to, and deals with what fails.
//!
//! A portion that fails is given again in halves, until it is one fact that fails. That one is set
//! aside in the transaction that goes past it, tried again by itself, and given up after a number of
//! tries; a consumer that keeps strictly to the order waits in front of it instead. After any failure
//! the consumer is made anew, so that it knows nothing of facts that have had no effect.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::cdr::consumer::letter::{LETTERS_MAX, Letter, LetterCount, LetterState, SealedFact};
use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, retry};
use crate::cdr::fact::Stamp;
use crate::cdr::journal::file::{ReadError, Watermark};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::store::consumers::{Advance, Commit, Committed, ConsumerBook, LetterChange};
use crate::cdr::store::{Answer, Progress, StoreError};
use crate::server::metrics as names;
use crate::sip::ids::IdSource;
use crate::time::Wall;

use super::feed::{Feed, Follower};
use super::standing::ConsumerStanding;

/// Facts that are recalled at once.
const RECALLED_MAX: usize = 20_000;

/// How long a consumer waits that nothing but an operator can help.
const STOPPED_WAIT: Duration = Duration::from_secs(60);

/// A consumer, and how it is run.
pub(in crate::server) struct Post {
    pub(in crate::server) name: Arc<str>,
    /// Most facts it is given at once, and of one transaction.
    pub(in crate::server) portion: usize,
    /// It is given the records of the calls that end in its facts.
    pub(in crate::server) reads_records: bool,
    /// It stops in front of a fact that fails.
    pub(in crate::server) ordered_strict: bool,
    /// How long it lets facts gather before it works from them.
    pub(in crate::server) pace: Duration,
    /// Makes it from what it has in the store.
    pub(in crate::server) open: Box<dyn Fn() -> Answer<'static, Box<dyn Consumer>> + Send + Sync>,
}

/// What a consumer works with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) feed: Arc<Feed>,
    pub(super) book: Arc<dyn ConsumerBook>,
    pub(super) clock: Arc<dyn Fn() -> Stamp + Send + Sync>,
    /// Changes when somebody said what should become of facts that failed.
    pub(super) word: watch::Receiver<u64>,
}

pub(super) struct Runner {
    post: Post,
    means: Means,
    mark: Watermark,
    standing: Arc<ConsumerStanding>,
    chance: IdSource,
    /// How far it has come; `None` before that was read.
    position: Option<Position>,
    open: Option<Open>,
    /// What the store did not take.
    unwritten: Option<Commit>,
    /// A portion up to here failed: it is given so many facts at a time.
    narrow: Option<(Lsn, usize)>,
    /// The fact in front of which it waits, if it keeps strictly to the order.
    blocked: Option<Lsn>,
    letters: Option<LetterCount>,
    /// The last turn was for a fact that had failed before: the next one is not.
    tried_again: bool,
    /// How often somebody had said something of facts that failed.
    word_heard: u64,
    /// When the last fact happened that was taken.
    last_at: Option<Wall>,
    outages: u32,
}

#[derive(Clone, Copy)]
struct Position {
    /// Absent: it has committed nothing yet.
    stored: Option<Lsn>,
    progress: Progress,
}

struct Open {
    consumer: Box<dyn Consumer>,
    follower: Follower,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go on at once.
    Worked,
    /// There is nothing to work from.
    Idle,
    /// Something is out of order: look again after so long, or when there is word.
    Wait(Duration),
    /// All facts there will ever be have been worked from.
    Over,
}

/// Why facts had no effects.
enum Failure {
    /// The fault of the store, of the disk, or of somebody all facts need.
    Outage(String),
    OfFact {
        class: &'static str,
        detail: String,
        is_permanent: bool,
    },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_) => Self::Outage(error.to_string()),
            StoreError::Damaged { .. } | StoreError::Outdated { .. } => {
                let detail = error.to_string();
                Self::OfFact { class: "record_damaged", detail, is_permanent: true }
            }
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Outage(error.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Outage(detail) => Self::Outage(detail),
            Fault::Transient { class, detail } => {
                Self::OfFact { class, detail, is_permanent: false }
            }
            Fault::Permanent { class, detail } => {
                Self::OfFact { class, detail, is_permanent: true }
            }
        }
    }
}

impl Runner {
    pub(super) fn new(
        post: Post,
        means: Means,
        mark: Watermark,
        standing: Arc<ConsumerStanding>,
        chance: IdSource,
    ) -> Self {
        Self {
            post,
            means,
            mark,
            standing,
            chance,
            position: None,
            open: None,
            unwritten: None,
            narrow: None,
            blocked: None,
            letters: None,
            tried_again: false,
            word_heard: 0,
            last_at: None,
            outages: 0,
        }
    }

    /// Runs until there are no more facts, or until `ended`.
    pub(super) async fn run(mut self, mut ended: watch::Receiver<bool>) {
        loop {
            let turn = self.turn().await;
            if !matches!(turn, Turn::Wait(_)) {
                self.standing.waits_for(None);
            }
            let wait = match turn {
                Turn::Worked => continue,
                Turn::Over => return,
                Turn::Idle => None,
                Turn::Wait(wait) => Some(wait),
            };
            let due = wait.or_else(|| self.until_next_letter());
            let follower = self.open.as_mut().filter(|_| wait.is_none());
            let more = async {
                match follower {
                    Some(open) => {
                        open.follower.ready().await;
                    }
                    None => std::future::pending().await,
                }
            };
            let has_more = tokio::select! {
                () = more => true,
                () = pause(due) => {
                    self.letters = None;
                    false
                }
                _ = self.means.word.changed() => false,
                _ = ended.wait_for(|ended| *ended), if wait.is_some() => return,
            };
            if has_more {
                // At the end nobody waits for company.
                tokio::select! {
                    () = pause(Some(self.post.pace)) => {}
                    _ = ended.wait_for(|ended| *ended) => {}
                }
            }
        }
    }

    /// Does the next thing there is to do.
    pub(super) async fn turn(&mut self) -> Turn {
        match self.try_turn().await {
            Ok(turn) => {
                if turn == Turn::Worked {
                    self.outages = 0;
                }
                turn
            }
            Err(Failure::Outage(detail)) => self.wait(&detail),
            Err(Failure::OfFact { class, detail, .. }) => self.wait(&format!("{class}: {detail}")),
        }
    }

    fn wait(&mut self, detail: &str) -> Turn {
        self.outages = self.outages.saturating_add(1);
        let wait = retry::wait_in_outage(self.outages);
        tracing::error!(consumer = &*self.post.name, error = detail, "a consumer has to wait");
        self.standing.waits_for(Some(detail.to_owned()));
        Turn::Wait(wait)
    }

    async fn try_turn(&mut self) -> Result<Turn, Failure> {
        if self.unwritten.is_some() {
            return self.write().await;
        }
        let position = self.locate().await?;
        let said = *self.means.word.borrow_and_update();
        if said != self.word_heard {
            self.word_heard = said;
            self.letters = None;
        }
        let letters = self.count_letters().await?;
        if let Some(lsn) = self.blocked {
            return self.look_at_blocked(lsn, position).await;
        }
        let now = self.now().wall();
        let is_due = letters.next_due.is_some_and(|due| due <= now);
        if is_due && !self.tried_again {
            self.tried_again = true;
            self.letters = None;
            if let Some(letter) = self.means.book.due(&self.post.name, now).await? {
                return self.try_again(letter, None).await;
            }
        }
        self.tried_again = false;
        if letters.dead + letters.retrying >= LETTERS_MAX {
            let (consumer, facts) = (&*self.post.name, LETTERS_MAX);
            tracing::error!(consumer, facts, "a consumer stops: too many facts failed at it");
            let why = format!("{facts} facts failed at it: say what is to become of them");
            self.standing.waits_for(Some(why));
            return Ok(Turn::Wait(STOPPED_WAIT));
        }
        let turn = self.go_on(position).await?;
        Ok(if turn == Turn::Idle && is_due { Turn::Worked } else { turn })
    }

    /// Works from the next facts.
    async fn go_on(&mut self, position: Position) -> Result<Turn, Failure> {
        if let Some((until, _)) = self.narrow
            && position.progress.offset >= until
        {
            self.narrow = None;
        }
        self.make(position).await?;
        let open = self.open.as_mut().expect("it was made just now");
        let facts = match self.narrow {
            Some((until, size)) => open.follower.take(size, Some(until))?,
            None => open.follower.take(self.post.portion, None)?,
        };
        let lost = open.follower.take_lost();
        if lost > 0 {
            let consumer = self.post.name.clone();
            tracing::error!(
                consumer = &*consumer,
                facts = lost,
                "facts were gone before a consumer read them"
            );
            counter!(names::CONSUMER_LOST, "consumer" => consumer).increment(lost);
        }
        let Some(last) = facts.last().cloned() else {
            return Ok(if open.follower.is_over() { Turn::Over } else { Turn::Idle });
        };
        self.last_at = Some(last.fact.at.wall());
        let worked =
            match with_records(&*self.means.book, self.post.reads_records, facts.clone()).await {
                Ok(whole) => self.work(whole).await,
                Err(failure) => Err(failure),
            };
        let failure = match worked {
            Ok(effects) => {
                let recall = self.open.as_ref().and_then(|open| open.consumer.recall_after());
                self.commit(position, last.lsn, recall, effects, None);
                let name = self.post.name.clone();
                counter!(names::CONSUMER_FACTS, "consumer" => name).increment(facts.len() as u64);
                return self.write().await;
            }
            Err(failure) => failure,
        };
        self.open = None;
        match failure {
            Failure::Outage(_) => Err(failure),
            Failure::OfFact { .. } if facts.len() > 1 => {
                self.narrow = Some((last.lsn, facts.len() / 2));
                Ok(Turn::Worked)
            }
            Failure::OfFact { class, detail, is_permanent } => {
                let change = self.failed(&last, 1, class, detail, is_permanent);
                if self.post.ordered_strict {
                    self.blocked = Some(last.lsn);
                    self.unwritten = Some(self.of_letter(change));
                } else {
                    let effects = Effects::default();
                    self.commit(position, last.lsn, None, effects, Some(change));
                }
                self.write().await
            }
        }
    }

    /// What becomes of a consumer that waits in front of a fact.
    async fn look_at_blocked(&mut self, lsn: Lsn, position: Position) -> Result<Turn, Failure> {
        let letter = self.means.book.letter(&self.post.name, lsn).await?;
        let Some(letter) = letter else {
            self.blocked = None;
            return Ok(Turn::Worked);
        };
        let now = self.now().wall();
        if matches!(letter.state, LetterState::Retrying | LetterState::Dead) {
            let (id, error) = (letter.id, &letter.error);
            self.standing.waits_for(Some(format!("the fact of dead letter {id}: {error}")));
        }
        match letter.state {
            LetterState::Retrying => match letter.next_at {
                Some(due) if due > now => {
                    let ms = u64::try_from(due.0 - now.0).unwrap_or(0);
                    Ok(Turn::Wait(Duration::from_millis(ms)))
                }
                Some(_) | None => self.try_again(letter, Some(position)).await,
            },
            LetterState::Dead => Ok(Turn::Wait(STOPPED_WAIT)),
            LetterState::Done | LetterState::Discarded => {
                self.blocked = None;
                self.commit(position, lsn, None, Effects::default(), None);
                self.open = None;
                self.write().await
            }
        }
    }

    /// Works from a fact that failed before. `position` is that of a consumer that waits in front of
    /// it, and goes past it with this.
    async fn try_again(
        &mut self,
        letter: Letter,
        position: Option<Position>,
    ) -> Result<Turn, Failure> {
        counter!(names::CONSUMER_RETRIES, "consumer" => self.post.name.clone()).increment(1);
        let located = self.locate().await?;
        self.make(located).await?;
        let opened = letter.fact.open().map_err(|error| Failure::OfFact {
            class: "fact_damaged",
            detail: error.to_string(),
            is_permanent: true,
        });
        let tried = match opened {
            Ok(fact) => {
                let entry = Entry { lsn: letter.lsn, fact };
                let facts = Facts::new([entry].into(), 0..1, []);
                match with_records(&*self.means.book, self.post.reads_records, facts).await {
                    Ok(facts) => self.work(facts).await,
                    Err(failure) => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        };
        let commit = match tried {
            Ok(effects) => {
                let change = LetterChange::Done { lsn: letter.lsn };
                match position {
                    Some(position) => {
                        self.blocked = None;
                        self.open = None;
                        self.commit(position, letter.lsn, None, effects, Some(change));
                        return self.write().await;
                    }
                    None => Commit { effects, ..self.of_letter(change) },
                }
            }
            Err(failure @ Failure::Outage(_)) => {
                self.open = None;
                return Err(failure);
            }
            Err(Failure::OfFact { class, detail, is_permanent }) => {
                self.open = None;
                let tries = letter.tries.saturating_add(1);
                let next_at = self.next_try(tries, is_permanent);
                let change = LetterChange::Failed {
                    lsn: letter.lsn,
                    call: None,
                    fact: letter.fact,
                    tries,
                    class: class.into(),
                    error: detail,
                    next_at,
                };
                self.of_letter(change)
            }
        };
        self.unwritten = Some(commit);
        self.write().await
    }

    /// Has the consumer work from `facts`; one that panics is gone.
    async fn work(&mut self, facts: Facts) -> Result<Effects, Failure> {
        let Some(Open { mut consumer, follower }) = self.open.take() else {
            return Err(Failure::Outage(String::from("it is not open")));
        };
        let worked = tokio::spawn(async move {
            let effects = consumer.work(&facts).await;
            (consumer, effects)
        });
        match joined(worked).await {
            Ok((consumer, effects)) => {
                self.open = Some(Open { consumer, follower });
                Ok(effects?)
            }
            Err(panic) => {
                let detail = self.panicked(&*panic);
                Err(Failure::OfFact { class: "panic", detail, is_permanent: false })
            }
        }
    }

    /// What a consumer said that panicked.
    fn panicked(&self, panic: &(dyn Any + Send)) -> String {
        let consumer = self.post.name.clone();
        tracing::error!(consumer = &*consumer, "a consumer panicked, and is started again");
        counter!(names::CONSUMER_RESTARTS, "consumer" => consumer).increment(1);
        said(panic)
    }

    async fn locate(&mut self) -> Result<Position, Failure> {
        if let Some(position) = self.position {
            return Ok(position);
        }
        let stored = self.means.book.position(&self.post.name).await?;
        let none = Progress { offset: Lsn::default(), replay_after: Lsn::default() };
        let position = Position {
            stored: stored.map(|progress| progress.offset),
            progress: stored.unwrap_or(none),
        };
        self.standing.stands_at(position.progress.offset, None);
        self.mark.advance(position.progress.replay_after);
        self.position = Some(position);
        Ok(position)
    }

    async fn count_letters(&mut self) -> Result<LetterCount, Failure> {
        if let Some(letters) = self.letters {
            return Ok(letters);
        }
        let letters = self.means.book.count_letters(&self.post.name).await?;
        self.standing.has_letters(letters);
        self.letters = Some(letters);
        Ok(letters)
    }

    /// Makes the consumer, and has it recall what it has to.
    async fn make(&mut self, position: Position) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        let mut consumer = (self.post.open)().await?;
        let Progress { offset, replay_after } = position.progress;
        if replay_after < offset {
            let mut past = self.means.feed.follow(replay_after);
            loop {
                let facts = past.take(RECALLED_MAX, Some(offset))?;
                if facts.is_empty() {
                    break;
                }
                let facts = with_records(&*self.means.book, self.post.reads_records, facts).await?;
                consumer = self.recall(consumer, facts).await?;
            }
        }
        let follower = self.means.feed.follow(offset);
        self.open = Some(Open { consumer, follower });
        Ok(())
    }

    /// No fact is at fault where recalling fails: it had its effects. All wait until it succeeds.
    async fn recall(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        facts: Facts,
    ) -> Result<Box<dyn Consumer>, Failure> {
        let recalled = tokio::spawn(async move {
            let recalled = consumer.recall(&facts).await;
            (consumer, recalled)
        });
        match joined(recalled).await {
            Ok((consumer, Ok(()))) => Ok(consumer),
            Ok((_, Err(fault))) => Err(Failure::Outage(fault.to_string())),
            Err(panic) => Err(Failure::Outage(self.panicked(&*panic))),
        }
    }

    fn commit(
        &mut self,
        position: Position,
        to: Lsn,
        recall: Option<Lsn>,
        effects: Effects,
        letter: Option<LetterChange>,
    ) {
        // Without word of the consumer what it had to recall before it still has to.
        let recall = match recall {
            // What was given up is not there any more.
            Some(recall) => recall.max(position.progress.replay_after).min(to),
            None if self.open.is_some() => to,
            None if position.progress.replay_after < position.progress.offset => {
                position.progress.replay_after
            }
            None => to,
        };
        let to = Progress { offset: to, replay_after: recall };
        self.unwritten = Some(Commit {
            consumer: self.post.name.clone().into(),
            advance: Some(Advance { from: position.stored, to }),
            effects,
            letter,
            at: self.now().wall(),
        });
    }

    fn of_letter(&self, letter: LetterChange) -> Commit {
        Commit {
            consumer: self.post.name.clone().into(),
            advance: None,
            effects: Effects::default(),
            letter: Some(letter),
            at: self.now().wall(),
        }
    }

    async fn write(&mut self) -> Result<Turn, Failure> {
        let Some(commit) = &self.unwritten else { return Ok(Turn::Worked) };
        let committed = match self.means.book.commit(commit.clone()).await {
            Err(error @ StoreError::Damaged { .. }) => {
                // What stands in the way is in the store, whatever is written.
                return Err(Failure::Outage(error.to_string()));
            }
            committed => committed?,
        };
        let Some(commit) = self.unwritten.take() else { return Ok(Turn::Worked) };
        if commit.letter.is_some() {
            self.letters = None;
        }
        match (committed, commit.advance) {
            (Committed::Written, Some(Advance { to, .. })) => {
                self.position = Some(Position { stored: Some(to.offset), progress: to });
                self.mark.advance(to.replay_after);
                self.standing.stands_at(to.offset, self.last_at);
            }
            (Committed::Written, None) => {}
            (Committed::Stale, _) => {
                self.position = None;
                self.open = None;
            }
        }
        Ok(Turn::Worked)
    }

    fn failed(
        &mut self,
        entry: &Entry,
        tries: u32,
        class: &'static str,
        detail: String,
        is_permanent: bool,
    ) -> LetterChange {
        let consumer = self.post.name.clone();
        tracing::error!(
            consumer = &*consumer,
            class,
            error = detail,
            fact = entry.fact.body.name(),
            epoch = entry.lsn.epoch,
            seq = entry.lsn.seq,
            "a consumer failed at a fact"
        );
        counter!(names::CONSUMER_FAILURES, "consumer" => consumer, "class" => class).increment(1);
        LetterChange::Failed {
            lsn: entry.lsn,
            call: entry.fact.call,
            fact: SealedFact::of(entry),
            tries,
            class: SmolStr::new_static(class),
            error: detail,
            next_at: self.next_try(tries, is_permanent),
        }
    }

    fn next_try(&mut self, tries: u32, is_permanent: bool) -> Option<Wall> {
        let chance = u32::try_from(self.chance.random() & u64::from(u32::MAX)).unwrap_or(0);
        let wait = retry::wait_after(tries, chance).filter(|_| !is_permanent)?;
        Some(self.now().wall() + wait)
    }

    fn until_next_letter(&self) -> Option<Duration> {
        let due = self.letters?.next_due?;
        let ms = due.0.saturating_sub(self.now().wall_ms);
        Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }

    fn now(&self) -> Stamp {
        (self.means.clock)()
    }
}

/// The same facts, with the records of all calls that end in them if their consumer is given these.
async fn with_records(
    book: &dyn ConsumerBook,
    reads_records: bool,
    mut facts: Facts,
) -> Result<Facts, Failure> {
    let calls = if reads_records { facts.without_record() } else { vec![] };
    if !calls.is_empty() {
        let records = book.records(calls).await?;
        facts.add_records(records.into_iter().map(Arc::new));
    }
    Ok(facts)
}

/// What a task of ours came to, or what it said that panicked. Nobody takes one away but the runtime, when
/// the process ends: then there is nothing to go on with, and no fault of anybody.
async fn joined<T>(task: JoinHandle<T>) -> Result<T, Box<dyn Any + Send>> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => Ok(done),
        Err(Ok(panic)) => Err(panic),
        Err(Err(_taken_away)) => std::future::pending().await,
    }
}

/// What a panic was about.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("it did not say why"))
}

/// Waits for so long; forever if nothing is said.
async fn pause(wait: Option<Duration>) {
    let Some(wait) = wait else { return std::future::pending().await };
    let mut pause = tokio::time::interval(wait.max(Duration::from_millis(1)));
    pause.tick().await;
    pause.tick().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_is_taken_away_has_not_panicked() {
        let taken_away = tokio::spawn(std::future::pending::<()>());
        taken_away.abort();
        let mut waits = Box::pin(joined(taken_away));
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = &mut waits => panic!("nobody has panicked"),
                () = tokio::task::yield_now() => {}
            }
        }

        let panicked = joined(tokio::spawn(async { panic!("of its own") })).await;

        assert_eq!(panicked.map_err(|panic| said(&*panic)), Err::<(), _>("of its own".into()));
        assert!(matches!(joined(tokio::spawn(async { 7 })).await, Ok(7)));
    }
}

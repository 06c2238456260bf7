//! One endpoint, its parties, and time.
//!
//! Here a world begins, goes from one thing that happens to the next, and is at rest. What passes
//! between the endpoint and the parties is in `messages`, what it asks of those behind it in `behind`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use foldhash::fast::FixedState;

use crate::id::CallId;
use crate::reason::Reason;
use crate::sip::endpoint::{CallKey, Endpoint, Input, Output, Settings};
use crate::sip::ids::IdSource;
use crate::time::Mono;

use super::Course;
use super::audit::Audit;
use super::edge::{self, Edge, Mishap};
use super::habits::{Habits, ms, one_in};
use super::ladder::{Ladder, Rung};
use super::net::{Agenda, Weather};
use super::party::{self, Act, Deed, PATIENCE, Party, Serials};
use super::sabotage::Saboteur;
use super::stage;
use super::tally::Tally;
use super::text::Glance;
#[cfg(test)]
use super::{Faults, mind};

mod behind;
mod messages;

/// After the last call has begun. What still moves then moves for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// What is left of a call that is over does not stir later than this…
const SILENCE: Duration = PATIENCE.saturating_add(Duration::from_millis(100));
/// …and a call that nobody speaks in ends before this.
const PATIENT_SILENCE: Duration = Duration::from_secs(100);

pub(crate) struct World {
    course: Course,
    weather: Weather,
    endpoint: Endpoint,
    mind: Mind,
    now: Mono,
    start: Mono,
    agenda: Agenda<Event>,
    parties: Vec<Party>,
    /// By Call-ID and address: a target is called under one name at all its addresses.
    by_name: BTreeMap<(Bytes, SocketAddr), usize>,
    calls: Vec<Watched>,
    keys: BTreeMap<CallKey, usize>,
    serials: Serials,
    out: Vec<Output>,
    acts: Vec<Act>,
    /// What the endpoint asked and was answered at once, to be fed when all it wants is done.
    answers: VecDeque<Input>,
    /// When the endpoint last did something that can be seen.
    last_sign: Mono,
    tally: Tally,
    saboteur: Option<Saboteur>,
    /// Who plays, where the edge is the real one all the same.
    #[cfg(test)]
    cast: Option<Box<mind::Scene>>,
    digest: <FixedState as std::hash::BuildHasher>::Hasher,
}

/// Who decides, holds and writes.
enum Mind {
    Drawn,
    Real(Box<Edge>),
    #[cfg(test)]
    Planned(Box<mind::Scene>),
}

/// A call, whether or not it has begun.
struct Watched {
    /// All luck of this call, so that it takes the same course when others are left out.
    rng: Rng,
    /// Of its caller.
    address: SocketAddr,
    audit: Audit,
    ladder: Ladder,
    has_begun: bool,
    /// Its caller got 200 after the answer was on disk.
    answered: Option<CallId>,
    /// The process that is up has reported that the carrier has it.
    handed: Option<edge::Handed>,
}

#[derive(Debug)]
enum Event {
    Caller { call: usize },
    Operator { call: usize },
    Mishap(Mishap),
    ToEndpoint { party: usize, message: Bytes },
    ToParty { party: usize, message: Rc<Glance> },
    Deed { party: usize, deed: Deed },
    Tell { call: usize, word: &'static str, number: u8, input: Input },
}

/// A rule that was broken, the call that is to blame, if one is, and what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) call: Option<usize>,
    pub(crate) what: String,
    pub(crate) ladder: String,
}

/// What a world came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) tally: Tally,
    /// Of every byte that passed the endpoint, and when.
    pub(crate) digest: u64,
}

impl World {
    pub(crate) fn new(course: Course) -> Self {
        let mut rng = Rng::with_seed(course.seed);
        let start = Mono(1_000_000_000_000);
        let ids = IdSource::new(u128::from(rng.u64(..)), 3);
        let weather = Weather::of_the_day(&mut rng, course.faults);
        // Planned calls have an even seed: their ladders show each 100.
        let trying_after = Duration::from_millis(course.seed % 2 * 100);
        let settings = Settings { trying_after, ..stage::settings() };
        let answer_wait = stage::settings().call.answer_wait;
        let by_lot = !one_in(&mut rng, 4);
        let is_real = course.sabotage.map_or(by_lot, |it| !it.is_of_drawn_plans());
        let span = Duration::from_secs(60) * course.minutes;
        let rng_of_edge = Rng::with_seed(rng.u64(..));
        let (edge, mishaps) = Edge::new(course.faults, course.sabotage, rng_of_edge, start, span);
        let span_ms = u64::from(course.minutes) * 60_000;
        let mut agenda = Agenda::new();
        let mut calls = vec![];
        for call in 0..course.calls() {
            let mut rng = Rng::with_seed(rng.u64(..));
            let begins = start + ms(&mut rng, 0, span_ms);
            if course.has(call) {
                agenda.note(begins, Event::Caller { call });
            }
            let address = SocketAddr::from(([192, 0, 2, rng.u8(1..5)], 5060));
            let audit = Audit::new(party::call_id_of(call, address), address, answer_wait);
            calls.push(Watched {
                rng,
                address,
                audit,
                ladder: Ladder::default(),
                has_begun: false,
                answered: None,
                handed: None,
            });
        }
        if is_real {
            for (at, mishap) in mishaps {
                agenda.note(at, Event::Mishap(mishap));
            }
        }
        Self {
            weather,
            endpoint: Endpoint::new(settings, stage::trunks(), ids, start),
            mind: if is_real { Mind::Real(Box::new(edge)) } else { Mind::Drawn },
            answers: VecDeque::new(),
            now: start,
            start,
            agenda,
            parties: vec![],
            by_name: BTreeMap::new(),
            saboteur: course.sabotage.map(Saboteur::new),
            #[cfg(test)]
            cast: None,
            calls,
            keys: BTreeMap::new(),
            serials: 0,
            out: vec![],
            acts: vec![],
            last_sign: start,
            tally: Tally::default(),
            digest: std::hash::BuildHasher::build_hasher(&FixedState::with_seed(1)),
            course,
        }
    }

    /// A world with one planned call in it.
    #[cfg(test)]
    pub(crate) fn of(scene: mind::Scene) -> Self {
        let mut world = Self::new(Course { seed: 0, faults: Faults::NONE, ..Course::default() });
        world.agenda = Agenda::new();
        world.agenda.note(world.start, Event::Caller { call: 0 });
        world.weather = scene.weather;
        world.mind = Mind::Planned(Box::new(scene));
        world
    }

    /// A world whose edge is the real one, in this market, with one call between these.
    #[cfg(test)]
    pub(crate) fn in_market(market: usize, seed: u64, cast: mind::Scene) -> Self {
        let mut world = Self::new(Course { seed, faults: Faults::NONE, ..Course::default() });
        let (rng, span) = (Rng::with_seed(seed), Duration::from_secs(60));
        let (edge, _) = Edge::new(Faults::NONE, None, rng, world.start, span);
        world.agenda = Agenda::new();
        world.agenda.note(world.start, Event::Caller { call: 0 });
        world.weather = cast.weather;
        world.mind = Mind::Real(Box::new(edge.in_market(market)));
        world.cast = Some(Box::new(cast));
        world
    }

    /// Like [`World::live`], and tells what passed the endpoint.
    #[cfg(test)]
    pub(crate) fn play(mut self) -> Result<Vec<String>, Breach> {
        self.run().and_then(|()| self.rest()).map_err(|breach| self.with_ladder(breach))?;
        let party_of = |call_id: &Bytes, at| self.by_name[&(call_id.clone(), at)];
        Ok(self.calls[0].ladder.lines(&self.parties, party_of))
    }

    /// From the first call to the last trace of it. Fails with the rule that was broken and the
    /// ladder of the call that broke it.
    pub(crate) fn live(mut self) -> Result<Life, Breach> {
        self.run().and_then(|()| self.rest()).map_err(|breach| self.with_ladder(breach))?;
        for (number, call) in self.calls.iter().enumerate() {
            if self.course.has(number) {
                self.tally.calls += 1;
                self.tally.note(&call.audit);
            }
        }
        Ok(Life { tally: self.tally, digest: self.digest.finish() })
    }

    fn run(&mut self) -> Result<(), Breach> {
        if matches!(self.mind, Mind::Real(_)) {
            self.befall(Mishap::Start)?;
        }
        let end = self.start + Duration::from_secs(60) * self.course.minutes + LONGEST;
        while let Some(next) = self.next() {
            if next > end {
                return Err(Breach::of_all("it does not end"));
            }
            self.now = self.now.max(next);
            self.tell_time();
            if self.endpoint.deadline().is_some_and(|deadline| deadline <= self.now) {
                self.endpoint.handle_timeouts(self.now, &mut self.out);
                self.obey()?;
            } else if self.edge_deadline().is_some_and(|deadline| deadline <= self.now) {
                self.turn_edge()?;
            } else if let Some(event) = self.agenda.pop() {
                self.happen(event)?;
            }
            self.answer()?;
        }
        Ok(())
    }

    /// When the next thing happens; `None` once nothing will.
    fn next(&self) -> Option<Mono> {
        let (event, deadline) = (self.agenda.next(), self.endpoint.deadline());
        let silence = if self.endpoint.calls() > 0 { PATIENT_SILENCE } else { SILENCE };
        let is_busy = matches!(&self.mind, Mind::Real(edge) if edge.is_busy());
        let quiet = event.is_none() && !is_busy && self.now.since(self.last_sign) > silence;
        [event, deadline, self.edge_deadline()].into_iter().flatten().min().filter(|_| !quiet)
    }

    /// Nothing is left, and nothing more comes.
    fn rest(&mut self) -> Result<(), Breach> {
        for (number, call) in self.calls.iter().enumerate() {
            call.audit.at_rest().map_err(|what| Breach::of(number, what))?;
        }
        let left = (self.endpoint.calls(), self.endpoint.transactions());
        if left != (0, 0) {
            let what = format!("calls and transactions are left: {left:?}");
            let call = self.left_behind();
            return Err(Breach { call, ..Breach::of_all(what) });
        }
        while let Some(deadline) = self.endpoint.deadline() {
            self.now = self.now.max(deadline);
            self.endpoint.handle_timeouts(self.now, &mut self.out);
            if !self.out.is_empty() {
                return Err(Breach::of_all(format!("it stirs again: {:?}", self.out)));
            }
        }
        let answered: Vec<_> = self.calls.iter().filter_map(|call| call.answered).collect();
        let handed: Vec<_> = self.calls.iter().filter_map(|call| call.handed).collect();
        if let Mind::Real(edge) = &mut self.mind {
            edge.at_rest(self.now, &answered, &handed)
                .map_err(|(id, what)| breach(edge, id, what))?;
            self.tally.crashes += edge.starts() - 1;
        }
        Ok(())
    }

    /// A call that the endpoint still has, else one whose audit misses a response.
    fn left_behind(&mut self) -> Option<usize> {
        for (key, call) in &self.keys {
            let before = self.endpoint.calls();
            self.endpoint.abandon(*key, self.now, &mut self.out);
            if self.endpoint.calls() < before {
                return Some(*call);
            }
        }
        self.calls.iter().position(|call| call.audit.has_open_transaction())
    }

    fn happen(&mut self, event: Event) -> Result<(), Breach> {
        match event {
            Event::Caller { call } => {
                self.begin(call);
                Ok(())
            }
            Event::Operator { call } => {
                let key =
                    self.keys.iter().find(|(_, number)| **number == call).map(|(key, _)| *key);
                let Some(key) = key else { return Ok(()) };
                self.calls[call].ladder.add(self.now, Rung::Word("ended by operator", 0));
                let input = Input::End { call: key, reason: Reason::HungUpByOperator };
                self.handle(input, Some(call))
            }
            Event::Mishap(mishap) => self.befall(mishap),
            Event::ToParty { party, message } => {
                let mut acts = std::mem::take(&mut self.acts);
                self.parties[party].hear(&message, &mut self.serials, self.now, &mut acts);
                self.carry_out(party, acts);
                Ok(())
            }
            Event::Deed { party, deed } => {
                let mut acts = std::mem::take(&mut self.acts);
                self.parties[party].act(deed, &mut self.serials, self.now, &mut acts);
                self.carry_out(party, acts);
                Ok(())
            }
            Event::ToEndpoint { party, message } => self.deliver(party, message),
            Event::Tell { call, word, number, input } => self.hear(call, word, number, input),
        }
    }

    fn befall(&mut self, mishap: Mishap) -> Result<(), Breach> {
        let Mind::Real(edge) = &mut self.mind else { return Ok(()) };
        let word = match mishap {
            Mishap::Kill => "killed",
            Mishap::Start => "started again",
            Mishap::DiskFull(true) => "the disk is full",
            Mishap::DiskFull(false) => "the disk has room",
            Mishap::BadSyncs(_) => "syncs will fail",
            Mishap::BookRefuses(true) => "the book refuses",
            Mishap::BookRefuses(false) => "the book takes",
            Mishap::WallStep(_) => "the wall clock is set",
        };
        match mishap {
            Mishap::Kill => {
                edge.kill(self.now);
                let ids = IdSource::new(0, 0);
                self.endpoint = Endpoint::new(stage::settings(), stage::trunks(), ids, self.now);
                self.keys.clear();
                self.answers.clear();
                let begun = self.calls.iter_mut().filter(|call| call.has_begun);
                for call in begun {
                    self.tally.note(&call.audit);
                    call.audit.process_died();
                    call.handed = None;
                }
            }
            Mishap::Start => match edge.start(self.now).map_err(Breach::of_all)? {
                Some((endpoint, farewells)) => {
                    self.endpoint = endpoint;
                    for farewell in farewells {
                        self.endpoint.handle(farewell, self.now, &mut self.out);
                    }
                    self.obey()?;
                }
                // Whoever looks after the process tries again.
                None => {
                    let again = self.now + Duration::from_secs(1);
                    self.agenda.note(again, Event::Mishap(Mishap::Start));
                    return Ok(());
                }
            },
            _ => edge.befall(mishap),
        }
        for call in self.calls.iter_mut().filter(|call| call.has_begun) {
            call.ladder.add(self.now, Rung::Word(word, 0));
        }
        Ok(())
    }

    fn begin(&mut self, call: usize) {
        let Watched { rng, address, .. } = &mut self.calls[call];
        let address = *address;
        let number = edge::number(rng);
        let habits = match &self.mind {
            Mind::Drawn | Mind::Real(_) => {
                if one_in(rng, 40) {
                    let at = self.now + ms(rng, 0, 10_000);
                    self.agenda.note(at, Event::Operator { call });
                }
                Habits::of_a_caller(rng)
            }
            #[cfg(test)]
            Mind::Planned(scene) => scene.caller.clone(),
        };
        #[cfg(test)]
        let habits = self.cast.as_ref().map_or(habits, |cast| cast.caller.clone());
        self.calls[call].has_begun = true;
        let mut acts = std::mem::take(&mut self.acts);
        let party = Party::caller(call, address, number, habits, &mut acts);
        let name = (Bytes::from(party.call_id.clone()), address);
        self.by_name.insert(name, self.parties.len());
        self.parties.push(party);
        self.carry_out(self.parties.len() - 1, acts);
    }

    fn judge(
        &mut self,
        call: usize,
        rule: impl FnOnce(&mut Audit) -> Result<(), String>,
    ) -> Result<(), Breach> {
        rule(&mut self.calls[call].audit).map_err(|what| Breach::of(call, what))
    }

    fn with_ladder(&self, breach: Breach) -> Breach {
        let alone = self.course.only.as_deref().filter(|only| only.len() == 1);
        let call = breach.call.or_else(|| alone.and_then(|only| only.first().copied()));
        let ladder = call.and_then(|call| self.calls.get(call));
        let ladder = ladder.map(|call| call.ladder.text(&self.parties)).unwrap_or_default();
        Breach { ladder, ..breach }
    }
}

impl Breach {
    fn of(call: usize, what: impl Into<String>) -> Self {
        Self { call: Some(call), what: what.into(), ladder: String::new() }
    }

    fn of_all(what: impl Into<String>) -> Self {
        Self { call: None, what: what.into(), ladder: String::new() }
    }
}

fn breach(edge: &Edge, id: Option<CallId>, what: String) -> Breach {
    Breach { call: id.and_then(|id| edge.call_of(id)), ..Breach::of_all(what) }
}

//! One endpoint, its parties, and time.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use foldhash::fast::FixedState;

use crate::reason::Reason;
use crate::sip::endpoint::{CallKey, Endpoint, Input, Origin, Output, Settings};
use crate::sip::flow::Flow;
use crate::sip::ids::IdSource;
use crate::sip::message::Method;
use crate::sip::trunk::TrunkIndex;
use crate::time::{Mono, Wall};

use super::Course;
#[cfg(test)]
use super::Faults;
use super::audit::Audit;
use super::habits::{Habits, ms, one_in};
use super::ladder::{Ladder, Rung};
use super::mind;
use super::net::{Agenda, Weather};
use super::party::{self, Act, Deed, PATIENCE, Party, Role, Serials};
use super::stage::{self, NOWHERE};
use super::tally::Tally;
use super::text::{Glance, show};

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
    by_call_id: BTreeMap<Bytes, usize>,
    calls: Vec<Watched>,
    keys: BTreeMap<CallKey, usize>,
    serials: Serials,
    out: Vec<Output>,
    acts: Vec<Act>,
    /// When the endpoint last did something that can be seen.
    last_sign: Mono,
    tally: Tally,
    digest: <FixedState as std::hash::BuildHasher>::Hasher,
}

/// Who decides, holds and writes.
enum Mind {
    Drawn,
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
}

#[derive(Debug)]
enum Event {
    Caller { call: usize },
    Operator { call: usize },
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
            calls.push(Watched { rng, address, audit, ladder: Ladder::default() });
        }
        Self {
            weather,
            endpoint: Endpoint::new(settings, stage::trunks(), ids, start),
            mind: Mind::Drawn,
            now: start,
            start,
            agenda,
            parties: vec![],
            by_call_id: BTreeMap::new(),
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

    /// Like [`World::live`], and tells what passed the endpoint.
    #[cfg(test)]
    pub(crate) fn play(mut self) -> Result<Vec<String>, Breach> {
        self.run().and_then(|()| self.rest()).map_err(|breach| self.with_ladder(breach))?;
        Ok(self.calls[0].ladder.lines(&self.parties, |call_id| self.by_call_id[call_id]))
    }

    /// From the first call to the last trace of it. Fails with the rule that was broken and the
    /// ladder of the call that broke it.
    pub(crate) fn live(mut self) -> Result<Life, Breach> {
        self.run().and_then(|()| self.rest()).map_err(|breach| self.with_ladder(breach))?;
        for (number, call) in self.calls.iter().enumerate() {
            if self.course.has(number) {
                self.tally.count(&call.audit);
            }
        }
        Ok(Life { tally: self.tally, digest: self.digest.finish() })
    }

    fn run(&mut self) -> Result<(), Breach> {
        let end = self.start + Duration::from_secs(60) * self.course.minutes + LONGEST;
        loop {
            let (event, deadline) = (self.agenda.next(), self.endpoint.deadline());
            let silence = if self.endpoint.calls() > 0 { PATIENT_SILENCE } else { SILENCE };
            let quiet = event.is_none() && self.now.since(self.last_sign) > silence;
            let Some(next) = event.into_iter().chain(deadline).min().filter(|_| !quiet) else {
                return Ok(());
            };
            if next > end {
                return Err(Breach::of_all("it does not end"));
            }
            self.now = self.now.max(next);
            if deadline == Some(next) {
                self.endpoint.handle_timeouts(self.now, &mut self.out);
                self.obey()?;
                continue;
            }
            if let Some(event) = self.agenda.pop() {
                self.happen(event)?;
            }
        }
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
            Event::Tell { call, word, number, input } => {
                let watched = &mut self.calls[call];
                watched.ladder.add(self.now, Rung::Word(word, number));
                if matches!(input, Input::Durable { .. }) {
                    watched.audit.made_durable();
                }
                if matches!(input, Input::Held { outcome: Ok(()), .. }) {
                    watched.audit.granted(number);
                }
                self.handle(input, Some(call))
            }
        }
    }

    fn begin(&mut self, call: usize) {
        let Watched { rng, address, .. } = &mut self.calls[call];
        let address = *address;
        let habits = match &self.mind {
            Mind::Drawn => {
                if one_in(rng, 40) {
                    let at = self.now + ms(rng, 0, 10_000);
                    self.agenda.note(at, Event::Operator { call });
                }
                Habits::of_a_caller(rng)
            }
            #[cfg(test)]
            Mind::Planned(scene) => scene.caller.clone(),
        };
        let mut acts = std::mem::take(&mut self.acts);
        let party = Party::caller(call, address, habits, &mut acts);
        self.by_call_id.insert(Bytes::from(party.call_id.clone()), self.parties.len());
        self.parties.push(party);
        self.carry_out(self.parties.len() - 1, acts);
    }

    fn deliver(&mut self, party: usize, message: Bytes) -> Result<(), Breach> {
        let Party { role, call, address, .. } = self.parties[party];
        let glance = Glance::read(&message).expect("a party writes well-formed messages");
        self.note(&message);
        let watched = &mut self.calls[call];
        watched.ladder.add(self.now, Rung::In { party, message: message.clone() });
        watched.audit.received(&glance, self.now);
        let origin = match role {
            Role::Caller => Origin::Trunk(TrunkIndex(0)),
            Role::Target => Origin::Peer,
        };
        let since_start = i64::try_from(self.now.ms_since(self.start)).unwrap_or(i64::MAX);
        let wall = Wall(1_700_000_000_000 + since_start);
        self.tally.messages += 1;
        let flow = stage::flow(address);
        self.handle(Input::Received { flow, origin, wall, message }, Some(call))
    }

    fn handle(&mut self, input: Input, call: Option<usize>) -> Result<(), Breach> {
        self.endpoint.handle(input, self.now, &mut self.out);
        self.obey()?;
        match call {
            Some(call) => {
                let now = self.now;
                self.judge(call, |audit| audit.handled(now))
            }
            None => Ok(()),
        }
    }

    /// Carries out and judges what the endpoint wants.
    fn obey(&mut self) -> Result<(), Breach> {
        let mut out = std::mem::take(&mut self.out);
        if !out.is_empty() {
            self.last_sign = self.now;
        }
        if let Some(sabotage) = self.course.sabotage {
            sabotage.tamper(&mut out);
        }
        for output in out {
            match output {
                Output::Send { flow, message } => self.sent(flow, message)?,
                Output::Admitted(admission) => {
                    let party = self.by_call_id[&admission.sip_call_id];
                    let call = self.parties[party].call;
                    self.keys.insert(admission.call, call);
                    self.judge(call, Audit::admitted)?;
                    self.decide(admission.call, call);
                }
                Output::PlaceHold { call, attempt, .. } => self.hold(call, attempt),
                Output::AwaitDurable { call } => self.await_durable(call),
                Output::Dialogs { .. } | Output::Locate { .. } | Output::Registration { .. } => {}
                Output::OrphanEnded { .. } => {
                    return Err(Breach::of_all("an orphan, but no process has died"));
                }
                Output::Report { call, report, .. } => {
                    let now = self.now;
                    let call = self.keys[&call];
                    self.calls[call].ladder.add(now, Rung::Report(report.clone()));
                    self.judge(call, |audit| audit.reported(&report, now))?;
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, flow: Flow, message: Bytes) -> Result<(), Breach> {
        let glance = Glance::read(&message)
            .map_err(|what| Breach::of_all(format!("{what} in {}", show(&message))))?;
        self.tally.messages += 1;
        self.note(&message);
        let (now, to) = (self.now, flow.peer);
        let known = self.by_call_id.get(&glance.call_id).copied();
        let party = match known {
            Some(party) => party,
            None => self.meet(&glance, to)?,
        };
        let call = self.parties[party].call;
        self.calls[call].ladder.add(now, Rung::Out { to, message });
        self.judge(call, |audit| audit.sent(&glance, to, now))?;
        if to == NOWHERE {
            let input = Input::FlowFailed { flow };
            self.tell(call, Duration::from_millis(2), "unreachable", 0, input);
            return Ok(());
        }
        let glance = Rc::new(glance);
        for delay in self.weather.carry(&mut self.calls[call].rng) {
            let message = glance.clone();
            self.agenda.note(now + delay, Event::ToParty { party, message });
        }
        Ok(())
    }

    /// A target comes into being with its INVITE, whose Request-URI says of which call it is.
    fn meet(&mut self, invite: &Glance, address: SocketAddr) -> Result<usize, Breach> {
        let nobody = || Breach::of_all(format!("a message to nobody: {}", show(&invite.raw)));
        let uri = show(&invite.uri());
        // A target that was planned, or the place that one of those has named in a 3xx.
        let planned = uri.strip_prefix("sip:target-").or_else(|| uri.strip_prefix("sip:user-bleg"));
        let named = planned.and_then(|user| user.split('@').next()?.split_once('-')?.0.parse().ok());
        let call: usize = named.ok_or_else(nobody)?;
        if invite.method() != Some(Method::Invite) || call >= self.calls.len() {
            return Err(nobody());
        }
        let attempt = self.calls[call].audit.last_started().ok_or_else(nobody)?;
        self.judge(call, |audit| audit.add_target(attempt, invite, address))?;
        let mut habits = match &self.mind {
            Mind::Drawn => Habits::of_a_target(&mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => scene.targets.get(usize::from(attempt) - 1).cloned().unwrap_or_default(),
        };
        if address == NOWHERE {
            habits.vanish = Some(Duration::ZERO);
        }
        let party = self.parties.len();
        let invite = Rc::new(invite.clone());
        self.parties.push(Party::target(call, attempt, address, habits, &invite));
        self.by_call_id.insert(invite.call_id.clone(), party);
        Ok(party)
    }

    fn carry_out(&mut self, party: usize, mut acts: Vec<Act>) {
        let call = self.parties[party].call;
        for act in acts.drain(..) {
            match act {
                Act::Send(message) => {
                    for delay in self.weather.carry(&mut self.calls[call].rng) {
                        let message = message.clone();
                        self.agenda.note(self.now + delay, Event::ToEndpoint { party, message });
                    }
                }
                Act::Later(after, deed) => {
                    self.agenda.note(self.now + after, Event::Deed { party, deed });
                }
            }
        }
        self.acts = acts;
    }

    fn decide(&mut self, key: CallKey, call: usize) {
        let answer = match &self.mind {
            Mind::Drawn => mind::decision(call, &mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => {
                scene.decided.map(|after| (after, Ok(Box::new(scene.plan(call)))))
            }
        };
        if let Some((after, outcome)) = answer {
            self.tell(call, after, "decided", 0, Input::Decided { call: key, outcome });
        }
    }

    fn hold(&mut self, key: CallKey, attempt: u8) {
        let call = self.keys[&key];
        let answer = match &self.mind {
            Mind::Drawn => mind::hold(&mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => scene.held.map(|after| (after, Ok(()))),
        };
        if let Some((after, outcome)) = answer {
            let word = if outcome.is_ok() { "granted" } else { "denied" };
            self.tell(call, after, word, attempt, Input::Held { call: key, outcome });
        }
    }

    fn await_durable(&mut self, key: CallKey) {
        let call = self.keys[&key];
        let answer = match &self.mind {
            Mind::Drawn => mind::durable(&mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => scene.durable.map(|after| (after, ())),
        };
        if let Some((after, ())) = answer {
            self.tell(call, after, "durable", 0, Input::Durable { call: key });
        }
    }

    fn tell(&mut self, call: usize, after: Duration, word: &'static str, number: u8, input: Input) {
        self.agenda.note(self.now + after, Event::Tell { call, word, number, input });
    }

    fn judge(
        &mut self,
        call: usize,
        rule: impl FnOnce(&mut Audit) -> Result<(), String>,
    ) -> Result<(), Breach> {
        rule(&mut self.calls[call].audit).map_err(|what| Breach::of(call, what))
    }

    fn note(&mut self, message: &Bytes) {
        self.digest.write_u64(self.now.0);
        self.digest.write(message);
    }

    fn with_ladder(&self, breach: Breach) -> Breach {
        let ladder = breach.call.map(|call| self.calls[call].ladder.text(&self.parties));
        Breach { ladder: ladder.unwrap_or_default(), ..breach }
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

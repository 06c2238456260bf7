//! One endpoint, its parties, and those who decide, hold and write for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Add;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use smallvec::SmallVec;
use tollbridge::reason::Reason;
use tollbridge::sip::admission::Caps;
use tollbridge::sip::call::CallLimits;
use tollbridge::sip::call::plan::{Attempt, Destination, Manner, Plan, Refusal};
use tollbridge::sip::call::report::Report;
use tollbridge::sip::endpoint::{CallKey, Endpoint, Input, Listener, Origin, Output, Settings};
use tollbridge::sip::flow::{Flow, ListenerId, Transport};
use tollbridge::sip::ids::IdSource;
use tollbridge::sip::leg::policy::LegPolicy;
use tollbridge::sip::message::{Limits, Method};
use tollbridge::sip::policy::config::ProgressPolicy;
use tollbridge::sip::policy::{ProgressRules, TargetConfig, TargetPolicy, Targets};
use tollbridge::sip::transaction::Timers;
use tollbridge::sip::trunk::{Carriers, TrunkConfig, TrunkIndex, TrunkListener, Trunks};
use tollbridge::time::{Mono, Wall};

use super::audit::Audit;
use super::habits::{Habits, ms, one_in};
use super::net::{Agenda, Weather};
use super::party::{Act, Deed, PATIENCE, Party, Role, Serials};
use super::text::{Glance, Start, show};

/// Few enough that a failing world is quickly run again, enough that calls meet in the tables.
pub(super) const CALLS_PER_WORLD: usize = 20;
/// An address where nobody lives: what is sent there comes back as unreachable.
const NOWHERE: &str = "198.51.100.250:5060";
/// No call is longer, whatever happens: what still moves then moves for ever.
const END_OF_THE_WORLD: Duration = Duration::from_secs(600);

pub(super) struct World {
    rng: Rng,
    scene: Option<Scene>,
    weather: Weather,
    endpoint: Endpoint,
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
}

/// One call that is planned from beginning to end.
pub(super) struct Scene {
    pub(super) caller: Habits,
    /// One attempt each.
    pub(super) targets: Vec<Habits>,
    /// From the question to its answer; `None`: never.
    pub(super) decided: Option<Duration>,
    pub(super) held: Option<Duration>,
    pub(super) durable: Option<Duration>,
    pub(super) weather: Weather,
    /// All targets ring at once.
    pub(super) together: bool,
}

struct Watched {
    audit: Audit,
    ladder: Vec<(Mono, Rung)>,
}

/// A line of a call's ladder; written out only if it is read.
enum Rung {
    In { party: usize, message: Bytes },
    Out { to: SocketAddr, message: Bytes },
    Word(&'static str, u8),
    Report(Report),
}

#[derive(Debug)]
enum Event {
    Caller,
    Operator { call: usize },
    ToEndpoint { party: usize, message: Bytes },
    ToParty { party: usize, message: Rc<Glance> },
    Deed { party: usize, deed: Deed },
    Tell { call: usize, word: &'static str, number: u8, input: Input },
}

/// What came to pass, so that it can be told that it did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    calls: u64,
    messages: u64,
    answered: u64,
    refused: u64,
    cancelled: u64,
    failed_over: u64,
    confirmed: u64,
    never_confirmed: u64,
    late_answers: u64,
    answered_elsewhere: u64,
}

/// The call that is to blame, if one is, and what it did.
struct Breach {
    call: Option<usize>,
    what: String,
}

impl World {
    pub(super) fn new(seed: u64, trunks: Arc<Trunks>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let start = Mono(1_000_000_000_000);
        let ids = IdSource::new(u128::from(rng.u64(..)), 3);
        let weather = Weather::of_the_day(&mut rng);
        // Planned calls have an even seed: their ladders show each 100.
        let trying_after = Duration::from_millis(seed % 2 * 100);
        let settings = Settings { trying_after, ..settings() };
        let mut agenda = Agenda::new();
        for _ in 0..CALLS_PER_WORLD {
            agenda.note(start + ms(&mut rng, 0, 60_000), Event::Caller);
        }
        Self {
            rng,
            scene: None,
            weather,
            endpoint: Endpoint::new(settings, trunks, ids, start),
            now: start,
            start,
            agenda,
            parties: vec![],
            by_call_id: BTreeMap::new(),
            calls: vec![],
            keys: BTreeMap::new(),
            serials: 0,
            out: vec![],
            acts: vec![],
            last_sign: start,
            tally: Tally::default(),
        }
    }

    /// A world with one planned call in it.
    pub(super) fn of(scene: Scene, trunks: Arc<Trunks>) -> Self {
        let mut world = Self::new(0, trunks);
        world.agenda = Agenda::new();
        world.agenda.note(world.start, Event::Caller);
        world.weather = scene.weather;
        world.scene = Some(scene);
        world
    }

    /// Like [`World::live`], and tells what passed the endpoint.
    pub(super) fn play(mut self) -> Result<Vec<String>, String> {
        match self.run().and_then(|()| self.rest()) {
            Ok(()) => Ok(self.lines()),
            Err(breach) => Err(self.ladder(&breach)),
        }
    }

    /// From the first call to the last trace of it. Fails with the rule that was broken and the
    /// ladder of the call that broke it.
    pub(super) fn live(mut self) -> Result<Tally, String> {
        match self.run().and_then(|()| self.rest()) {
            Ok(()) => {
                for call in &self.calls {
                    self.tally.count(&call.audit);
                }
                Ok(self.tally)
            }
            Err(breach) => Err(self.ladder(&breach)),
        }
    }

    fn run(&mut self) -> Result<(), Breach> {
        loop {
            let (event, deadline) = (self.agenda.next(), self.endpoint.deadline());
            let quiet = event.is_none()
                && self.now.since(self.last_sign) > PATIENCE + Duration::from_millis(100);
            let Some(next) = event.into_iter().chain(deadline).min().filter(|_| !quiet) else {
                return Ok(());
            };
            if next.since(self.start) > END_OF_THE_WORLD {
                return Err(Breach { call: None, what: String::from("it does not end") });
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
            call.audit.at_rest().map_err(|what| Breach { call: Some(number), what })?;
        }
        let left = (self.endpoint.calls(), self.endpoint.transactions());
        if left != (0, 0) {
            let what = format!("calls and transactions are left: {left:?}");
            let call = self.left_behind();
            return Err(Breach { call, what });
        }
        while let Some(deadline) = self.endpoint.deadline() {
            self.now = self.now.max(deadline);
            self.endpoint.handle_timeouts(self.now, &mut self.out);
            if !self.out.is_empty() {
                return Err(Breach { call: None, what: format!("it stirs again: {:?}", self.out) });
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
            Event::Caller => {
                let call = self.calls.len();
                let address = SocketAddr::from(([192, 0, 2, self.rng.u8(1..5)], 5060));
                let habits = match &self.scene {
                    Some(scene) => scene.caller.clone(),
                    None => Habits::of_a_caller(&mut self.rng),
                };
                let mut acts = std::mem::take(&mut self.acts);
                let party = Party::caller(call, address, habits, &mut acts);
                let audit = Audit::new(&party.call_id, address, settings().call.answer_wait);
                self.by_call_id.insert(Bytes::from(party.call_id.clone()), self.parties.len());
                self.calls.push(Watched { audit, ladder: vec![] });
                self.parties.push(party);
                self.carry_out(self.parties.len() - 1, acts);
                if self.scene.is_none() && one_in(&mut self.rng, 40) {
                    let at = self.now + ms(&mut self.rng, 0, 10_000);
                    self.agenda.note(at, Event::Operator { call });
                }
                Ok(())
            }
            Event::Operator { call } => {
                let key =
                    self.keys.iter().find(|(_, number)| **number == call).map(|(key, _)| *key);
                let Some(key) = key else { return Ok(()) };
                self.calls[call].ladder.push((self.now, Rung::Word("ended by operator", 0)));
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
                watched.ladder.push((self.now, Rung::Word(word, number)));
                match input {
                    Input::Durable { .. } => watched.audit.made_durable(),
                    Input::Held { outcome: Ok(()), .. } => watched.audit.granted(number),
                    _ => {}
                }
                self.handle(input, Some(call))
            }
        }
    }

    fn deliver(&mut self, party: usize, message: Bytes) -> Result<(), Breach> {
        let Party { role, call, address, .. } = self.parties[party];
        let glance = Glance::read(&message).expect("a party writes well-formed messages");
        let watched = &mut self.calls[call];
        watched.ladder.push((self.now, Rung::In { party, message: message.clone() }));
        watched.audit.received(&glance, self.now);
        let origin = match role {
            Role::Caller => Origin::Trunk(TrunkIndex(0)),
            Role::Target => Origin::Peer,
        };
        let wall = Wall(1_700_000_000_000 + i64::try_from(self.now.ms_since(self.start)).unwrap());
        self.tally.messages += 1;
        self.handle(Input::Received { flow: flow(address), origin, wall, message }, Some(call))
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
        let out = std::mem::take(&mut self.out);
        if !out.is_empty() {
            self.last_sign = self.now;
        }
        for output in out {
            match output {
                Output::Send { flow, message } => self.sent(flow, message)?,
                Output::Admitted(admission) => {
                    let party = self.by_call_id[&admission.sip_call_id];
                    let call = self.parties[party].call;
                    self.keys.insert(admission.call, call);
                    let audit = &mut self.calls[call].audit;
                    audit.admissions += 1;
                    if audit.admissions > 1 {
                        return Err(Breach {
                            call: Some(call),
                            what: String::from("admitted twice"),
                        });
                    }
                    self.decide(admission.call, call);
                }
                Output::PlaceHold { call, attempt, .. } => self.hold(call, attempt),
                Output::Locate { .. }
                | Output::Registration { .. }
                | Output::Rated { .. }
                | Output::Probed { .. }
                | Output::Fragmented { .. } => {}
                Output::AwaitDurable { call } => {
                    let after = match (&self.scene, self.rng.u8(..10)) {
                        (Some(scene), _) => scene.durable,
                        (None, 0) => Some(ms(&mut self.rng, 20, 500)),
                        (None, 1) => None,
                        (None, _) => Some(ms(&mut self.rng, 0, 15)),
                    };
                    if let Some(after) = after {
                        let input = Input::Durable { call };
                        self.tell(self.keys[&call], after, "durable", 0, input);
                    }
                }
                Output::Dialogs { .. } => {}
                Output::OrphanEnded { .. } => unreachable!("no process died before this one"),
                Output::Report { call, report, .. } => {
                    let now = self.now;
                    let call = self.keys[&call];
                    self.calls[call].ladder.push((now, Rung::Report(report.clone())));
                    self.judge(call, |audit| audit.reported(&report, now))?;
                }
            }
        }
        Ok(())
    }

    fn sent(&mut self, flow: Flow, message: Bytes) -> Result<(), Breach> {
        let fail = |call, what| Breach { call, what };
        let glance = Glance::read(&message)
            .map_err(|what| fail(None, format!("{what} in {}", show(&message))))?;
        self.tally.messages += 1;
        let (now, to) = (self.now, flow.peer);
        let known = self.by_call_id.get(&glance.call_id).copied();
        let Some(party) = known.or_else(|| self.meet(&glance, to)) else {
            return Err(fail(None, format!("a message to nobody: {}", show(&message))));
        };
        let call = self.parties[party].call;
        self.calls[call].ladder.push((now, Rung::Out { to, message }));
        self.judge(call, |audit| audit.sent(&glance, to, now))?;
        if to == nowhere() {
            let input = Input::FlowFailed { flow };
            self.tell(call, Duration::from_millis(2), "unreachable", 0, input);
            return Ok(());
        }
        let glance = Rc::new(glance);
        for delay in self.weather.carry(&mut self.rng) {
            let message = glance.clone();
            self.agenda.note(now + delay, Event::ToParty { party, message });
        }
        Ok(())
    }

    /// A target comes into being with its INVITE, whose Request-URI says of which call it is.
    fn meet(&mut self, invite: &Glance, address: SocketAddr) -> Option<usize> {
        let uri = show(&invite.uri());
        // A target that was planned, or the place that one of those has named in a 3xx.
        let user = uri.strip_prefix("sip:target-").or_else(|| uri.strip_prefix("sip:user-bleg"))?;
        let (call, _) = user.split('@').next()?.split_once('-')?;
        let call = call.parse::<usize>().ok()?;
        if invite.method() != Some(Method::Invite) {
            return None;
        }
        let attempt = self.calls.get(call)?.audit.last_started()?;
        self.calls.get_mut(call)?.audit.add_target(attempt, invite, address).ok()?;
        let mut habits = match &self.scene {
            Some(scene) => scene.targets.get(usize::from(attempt) - 1)?.clone(),
            None => Habits::of_a_target(&mut self.rng),
        };
        if address == nowhere() {
            habits.vanish = Some(Duration::ZERO);
        }
        let party = self.parties.len();
        let invite = Rc::new(invite.clone());
        self.parties.push(Party::target(call, attempt, address, habits, &invite));
        self.by_call_id.insert(invite.call_id.clone(), party);
        Some(party)
    }

    fn carry_out(&mut self, party: usize, mut acts: Vec<Act>) {
        for act in acts.drain(..) {
            match act {
                Act::Send(message) => {
                    for delay in self.weather.carry(&mut self.rng) {
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
        if let Some(Scene { decided, targets, together, .. }) = &self.scene {
            let mut plan = plan_of(call, targets.len());
            for attempt in plan.attempts.iter_mut().skip(1) {
                attempt.manner.beside = *together;
            }
            let outcome = Ok(Box::new(plan));
            if let Some(after) = *decided {
                self.tell(call, after, "decided", 0, Input::Decided { call: key, outcome });
            }
            return;
        }
        let rng = &mut self.rng;
        let after = match rng.u8(..30) {
            0 => None,
            1 => Some(ms(rng, 2_500, 4_000)),
            2..6 => Some(Duration::ZERO),
            _ => Some(ms(rng, 0, 300)),
        };
        let outcome = match rng.u8(..25) {
            0 => Err(Refusal { reason: Reason::NoneEligible }),
            _ => Ok(Box::new(plan(call, rng))),
        };
        if let Some(after) = after {
            self.tell(call, after, "decided", 0, Input::Decided { call: key, outcome });
        }
    }

    fn hold(&mut self, key: CallKey, attempt: u8) {
        if let Some(Scene { held, .. }) = &self.scene {
            if let Some(after) = *held {
                let input = Input::Held { call: key, outcome: Ok(()) };
                self.tell(self.keys[&key], after, "granted", attempt, input);
            }
            return;
        }
        let rng = &mut self.rng;
        let after = match rng.u8(..40) {
            0 => None,
            1..4 => Some(ms(rng, 0, 2_000)),
            _ => Some(ms(rng, 0, 20)),
        };
        let (word, outcome) = match rng.u8(..12) {
            0 => ("denied", Err(Reason::ConcurrencyFull)),
            _ => ("granted", Ok(())),
        };
        if let Some(after) = after {
            let input = Input::Held { call: key, outcome };
            self.tell(self.keys[&key], after, word, attempt, input);
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
        rule(&mut self.calls[call].audit).map_err(|what| Breach { call: Some(call), what })
    }

    /// What passed the endpoint of the first call, without who said it when.
    fn lines(&self) -> Vec<String> {
        let name = |party: usize| match &self.parties[party] {
            Party { role: Role::Caller, .. } => String::from("caller"),
            Party { role: Role::Target, .. } => format!("target {party}"),
        };
        let what = |message: &Bytes| {
            let glance = Glance::read(message).expect("the audit has read it");
            match glance.start {
                Start::Request { method, .. } => method.name().to_owned(),
                Start::Response { status } => format!("{status} {}", glance.cseq_method.name()),
            }
        };
        let rungs = self.calls.iter().take(1).flat_map(|call| &call.ladder);
        rungs
            .filter_map(|(_, rung)| match rung {
                Rung::In { party, message } => Some(format!("{}: {}", name(*party), what(message))),
                Rung::Out { message, .. } => {
                    let call_id = Glance::read(message).expect("the audit has read it").call_id;
                    let to = name(self.by_call_id[&call_id]);
                    Some(format!("-> {to}: {}", what(message)))
                }
                Rung::Word(..) | Rung::Report(_) => None,
            })
            .collect()
    }

    fn ladder(&self, breach: &Breach) -> String {
        let mut text = format!("{} ({:?})\n", breach.what, self.weather);
        let Some(call) = breach.call else { return text };
        for (at, rung) in &self.calls[call].ladder {
            let ms = at.0.saturating_sub(self.start.0) as f64 / 1e6;
            let _ = match rung {
                Rung::In { party, message } => {
                    let Party { role, address, .. } = &self.parties[*party];
                    writeln!(text, "{ms:>12.3} {role:?} {address} ─► {}", outline(message))
                }
                Rung::Out { to, message } => {
                    writeln!(text, "{ms:>12.3}     ◄── to {to} {}", outline(message))
                }
                Rung::Word(word, number) => writeln!(text, "{ms:>12.3}   {word} {number}"),
                Rung::Report(report) => writeln!(text, "{ms:>12.3}   {report:?}"),
            };
        }
        text
    }
}

impl Tally {
    fn count(&mut self, audit: &Audit) {
        let final_status = audit.caller_final();
        self.calls += 1;
        self.answered += u64::from(final_status == Some(200));
        self.cancelled += u64::from(final_status == Some(487));
        self.refused += u64::from(final_status.is_some_and(|status| status > 200 && status != 487));
        for report in &audit.reports {
            match report {
                Report::AttemptStarted { attempt: 2 } => self.failed_over += 1,
                Report::Confirmed => self.confirmed += 1,
                Report::Ended { reason: Reason::AckMissing, .. } => self.never_confirmed += 1,
                Report::AttemptFailed { reason: Reason::AnsweredElsewhere, .. } => {
                    self.answered_elsewhere += 1;
                }
                _ => {}
            }
        }
        self.late_answers += audit.late_answers();
    }

    /// A simulation in which nothing happens proves nothing.
    pub(super) fn covers_what_it_should(&self) {
        let Self { calls, answered, refused, cancelled, failed_over, .. } = *self;
        let Self { never_confirmed, late_answers, answered_elsewhere, .. } = *self;
        for (what, count, of) in [
            ("answered", answered, 4),
            ("refused", refused, 20),
            ("cancelled", cancelled, 20),
            ("failed over", failed_over, 20),
            ("never confirmed", never_confirmed, 1000),
            ("late answers", late_answers, 200),
            ("answered elsewhere", answered_elsewhere, 50),
        ] {
            assert!(count * of > calls, "only {count} of {calls} calls: {what}");
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            calls: self.calls + other.calls,
            messages: self.messages + other.messages,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            cancelled: self.cancelled + other.cancelled,
            failed_over: self.failed_over + other.failed_over,
            confirmed: self.confirmed + other.confirmed,
            never_confirmed: self.never_confirmed + other.never_confirmed,
            late_answers: self.late_answers + other.late_answers,
            answered_elsewhere: self.answered_elsewhere + other.answered_elsewhere,
        }
    }
}

/// One trunk of a carrier without rules of its own. The same for every world.
pub(super) fn trunks() -> Arc<Trunks> {
    let config: TrunkConfig = serde_json::from_value(serde_json::json!({
        "id": "sim", "carrier": "loopback",
        "inbound": { "cidrs": ["192.0.2.0/24"], "headers": { "pass": ["X-Pass"] } }
    }))
    .unwrap();
    Arc::new(Trunks::compile(&[config], &listeners(), &Carriers::built_in()).unwrap())
}

/// That of [`settings`], as trunks refer to it.
pub(super) fn listeners() -> [TrunkListener; 1] {
    [TrunkListener {
        id: ListenerId(0),
        transport: Transport::Udp,
        name: "udp:203.0.113.1:5060".into(),
    }]
}

pub(super) fn settings() -> Settings {
    Settings {
        trying_after: Duration::ZERO,
        timers: Timers::default(),
        limits: Limits::default(),
        udp_request_bytes_max: 1300,
        listeners: vec![Listener {
            transport: Transport::Udp,
            local: SocketAddr::from(([203, 0, 113, 1], 5060)),
            advertised: Bytes::from("203.0.113.1:5060"),
            address: IpAddr::from([203, 0, 113, 1]),
        }],
        call: CallLimits {
            decision: Duration::from_secs(3),
            answer_wait: Duration::from_millis(20),
            max_call: Duration::from_secs(55),
        },
        caps: Caps {
            calls_max: 1_000,
            half_open_max: 1_000,
            half_open_per_source_max: 1_000,
            transactions_max: 100_000,
            shares: 1,
        },
        probe_interval: Some(Duration::from_secs(7)),
        user_agent: None,
        registers: false,
        loop_token: Bytes::from("f00d"),
    }
}

pub(super) fn flow(peer: SocketAddr) -> Flow {
    Flow::udp(ListenerId(0), peer)
}

fn plan(call: usize, rng: &mut Rng) -> Plan {
    let together = one_in(rng, 4);
    let attempts: SmallVec<[Attempt; 2]> = (1..=rng.u8(1..4))
        .map(|attempt| {
            let address = match rng.u8(..20) {
                0 => None,
                1 => Some(nowhere()),
                _ => Some(SocketAddr::from(([198, 51, 100, rng.u8(1..10)], 5060))),
            };
            Attempt {
                uri: Bytes::from(format!("sip:target-{call}-{attempt}@198.51.100.7")),
                destination: address.map(place),
                further: None,
                ring_timeout: ms(rng, 500, 20_000),
                first_response: ms(rng, 300, 3_000),
                max_duration: ms(rng, 1_000, 60_000),
                dialog: LegPolicy::default(),
                manner: manner(rng, attempt > 1 && together),
                rules: None,
                handover: None,
            }
        })
        .collect();
    let all = [300, 302, 404, 408, 480, 486, 500, 503, 600];
    let advance_on = all.into_iter().filter(|_| rng.bool()).collect();
    // Shorter than the quiet that ends a world.
    let ring_budget = ms(rng, 2_000, 30_000);
    Plan { attempts, advance_on, ring_budget, variables: None, known: vec![], redirects: 0 }
}

/// How a target is spoken to; most are plain.
fn manner(rng: &mut Rng, beside: bool) -> Manner {
    static POLICY: OnceLock<Arc<TargetPolicy>> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        let serde_json::Value::Object(sip) = serde_json::json!({
            "headers": { "pass": ["X-Pass"], "add": { "X-Caller": "{caller.number}" } },
            "identity": { "caller": ["pai", "rpid", "from"], "diversion": "pass" },
        }) else {
            unreachable!("a table")
        };
        let config = TargetConfig { id: "t", buyer: "b", sip: &sip };
        let targets = Targets::compile([config], &Carriers::built_in(), 48).unwrap();
        targets.get("t").and_then(|target| target.policy.clone()).unwrap()
    });
    let progress: ProgressPolicy = match rng.u8(..8) {
        0 => serde_json::from_value(serde_json::json!({ "early_media": "ringing" })).unwrap(),
        1 => serde_json::from_value(serde_json::json!({
            "empty_progress": "drop", "ringing_after_media": "drop", "other": "drop",
        }))
        .unwrap(),
        _ => ProgressPolicy::default(),
    };
    Manner {
        policy: one_in(rng, 4).then(|| policy.clone()),
        progress: ProgressRules::new(&progress, &ProgressPolicy::default()),
        barred: one_in(rng, 40),
        destinations: [None, None],
        leaves_progress: rng.bool(),
        beside,
    }
}

/// Patient, so that the parties decide what happens.
fn plan_of(call: usize, targets: usize) -> Plan {
    let attempt = |number: usize| Attempt {
        uri: Bytes::from(format!("sip:target-{call}-{number}@198.51.100.7")),
        destination: Some(place(SocketAddr::from(([198, 51, 100, 7], 5060)))),
        further: None,
        ring_timeout: Duration::from_secs(30),
        first_response: Duration::from_secs(4),
        max_duration: Duration::from_secs(100),
        dialog: LegPolicy::default(),
        manner: Manner::default(),
        rules: None,
        handover: None,
    };
    Plan {
        attempts: (1..=targets).map(attempt).collect(),
        advance_on: Arc::from([486, 503]),
        ring_budget: Duration::from_secs(60),
        variables: None,
        known: vec![],
        redirects: 0,
    }
}

fn place(peer: SocketAddr) -> Destination {
    Destination { transport: Transport::Udp, peer, tls: None, tcp_port: None }
}

fn nowhere() -> SocketAddr {
    NOWHERE.parse().unwrap()
}

/// The first line and what tells one message from another.
fn outline(message: &Bytes) -> String {
    let text = show(message);
    let first = text.lines().next().unwrap_or_default();
    let Ok(glance) = Glance::read(message) else { return format!("{first} (malformed)") };
    let (cseq, branch) = (glance.cseq, show(&glance.branch));
    let tag = glance.to_tag.as_deref().map(show).unwrap_or_default();
    let body = if glance.body.is_empty() { "" } else { " with body" };
    format!("{first} | {cseq} {} to tag `{tag}` {branch}{body}", glance.cseq_method.name())
}

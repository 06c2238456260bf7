//! What is known of the names that lead somewhere, for how long, and when they are asked for again.
//!
//! Every name here is wanted by the configuration, so each is asked for again when its time is
//! over, and what was known stays in use until the answer is here. If nobody answers it stays in
//! use for much longer (RFC 8767), and the question is repeated at growing intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::records::{Answer, Question, Records};
use super::service::Service;
use super::steps::{Location, Speaks, walk};
use crate::time::Mono;

/// How long answers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlRules {
    /// Answers that say less are used for so long.
    pub min: Duration,
    /// Answers that say more are used for so long.
    pub max: Duration,
    /// The longest that a name is taken not to exist.
    pub negative_max: Duration,
    /// How long an answer is used beyond its time while nobody gives another.
    pub stale_max: Duration,
    /// Most questions that are remembered; what would need more is not resolved.
    pub questions_max: usize,
}

/// First and longest time between two tries of a question that nobody answers.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Locations of every service that has any.
pub type Located = BTreeMap<Service, Arc<[Location]>>;

/// See the module.
#[derive(Debug)]
pub struct Directory {
    rules: TtlRules,
    speaks: Speaks,
    wanted: Vec<Wanted>,
    questions: BTreeMap<Question, Entry>,
    /// Questions by when they are to be asked.
    due: BTreeSet<(Mono, Question)>,
    /// Questions there was no room for.
    left_out: u64,
}

#[derive(Debug)]
struct Wanted {
    service: Service,
    locations: Arc<[Location]>,
    /// What had to be asked for them.
    needs: Vec<Question>,
    pending: bool,
}

#[derive(Debug)]
struct Entry {
    /// Absent until there was an answer, even one that says nothing.
    records: Option<Records>,
    /// When `records` must not be used any more, whoever answers.
    stale_until: Mono,
    failures: u8,
    /// Positions in `wanted` of those that need it.
    users: BTreeSet<usize>,
    /// In `due`; absent while an answer is waited for.
    due_at: Option<Mono>,
}

impl Directory {
    pub fn new(rules: TtlRules, speaks: Speaks) -> Self {
        Self {
            rules,
            speaks,
            wanted: Vec::new(),
            questions: BTreeMap::new(),
            due: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// These services are wanted from now on, and no others. What is known stays known.
    pub fn want(&mut self, services: impl IntoIterator<Item = Service>, now: Mono) {
        let services: BTreeSet<Service> = services.into_iter().collect();
        for entry in self.questions.values_mut() {
            entry.users.clear();
        }
        let before = std::mem::take(&mut self.wanted).into_iter();
        let mut before: BTreeMap<Service, Arc<[Location]>> =
            before.map(|wanted| (wanted.service, wanted.locations)).collect();
        let again = |service: Service| {
            let locations = before.remove(&service).unwrap_or_default();
            Wanted { locations, ..Wanted::new(service) }
        };
        self.wanted = services.into_iter().map(again).collect();
        for position in 0..self.wanted.len() {
            self.evaluate(position, now);
        }
        let unneeded = |(_, entry): &(&Question, &Entry)| entry.users.is_empty();
        let unneeded = self.questions.iter().filter(unneeded);
        for question in unneeded.map(|(question, _)| question.clone()).collect::<Vec<_>>() {
            self.forget(&question);
        }
    }

    /// Questions to be asked now, each once until it is answered; at most `most`.
    pub fn ask(&mut self, most: usize, now: Mono) -> Vec<Question> {
        let mut asked = Vec::new();
        while asked.len() < most
            && let Some((at, _)) = self.due.first()
            && *at <= now
            && let Some((_, question)) = self.due.pop_first()
        {
            if let Some(entry) = self.questions.get_mut(&question) {
                entry.due_at = None;
                asked.push(question);
            }
        }
        asked
    }

    /// When [`Directory::ask`] has something to say next.
    pub fn deadline(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An answer came, or none will. Returns whether any service is elsewhere now.
    pub fn answered(&mut self, question: &Question, answer: Answer, now: Mono) -> bool {
        let rules = self.rules;
        let Some(entry) = self.questions.get_mut(question) else { return false };
        let before = entry.records.clone();
        let again = match answer {
            Answer::Found { records, ttl } => {
                entry.settle(records.settled(), ttl.clamp(rules.min, rules.max), &rules, now)
            }
            Answer::Nothing { ttl } => {
                let ttl = ttl.unwrap_or(rules.negative_max);
                let ttl = ttl.clamp(rules.min.min(rules.negative_max), rules.negative_max);
                entry.settle(question.kind.none(), ttl, &rules, now)
            }
            Answer::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                if entry.records.is_none() || entry.stale_until <= now {
                    entry.records = Some(question.kind.none());
                }
                let doubled = RETRY_FIRST * (1 << u32::from(entry.failures - 1).min(8));
                now + doubled.min(RETRY_MAX)
            }
        };
        if let Some(at) = entry.due_at.take() {
            self.due.remove(&(at, question.clone()));
        }
        entry.due_at = Some(again);
        self.due.insert((again, question.clone()));
        if entry.records == before {
            return false;
        }
        let mut changed = false;
        for position in entry.users.clone() {
            changed |= self.evaluate(position, now);
        }
        changed
    }

    /// Whether every service has had its answers, be they that nobody answers.
    pub fn is_settled(&self) -> bool {
        self.wanted.iter().all(|wanted| !wanted.pending)
    }

    /// Where everything is that is known to be somewhere.
    pub fn located(&self) -> Located {
        self.wanted
            .iter()
            .filter(|wanted| !wanted.locations.is_empty())
            .map(|wanted| (wanted.service.clone(), Arc::clone(&wanted.locations)))
            .collect()
    }

    /// Services that are nowhere, although all answers are here.
    pub fn lost(&self) -> impl Iterator<Item = &Service> {
        let lost = |wanted: &&Wanted| wanted.locations.is_empty() && !wanted.pending;
        self.wanted.iter().filter(lost).map(|wanted| &wanted.service)
    }

    /// Questions whose last answer was none.
    pub fn unanswered(&self) -> usize {
        self.questions.values().filter(|entry| entry.failures > 0).count()
    }

    /// Questions that are remembered.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// How often there was no room for a question.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Walks again from a service to its locations. Returns whether they have changed.
    fn evaluate(&mut self, position: usize, now: Mono) -> bool {
        let Some(wanted) = self.wanted.get_mut(position) else { return false };
        let mut needs = Vec::new();
        let known = &self.questions;
        let mut found = walk(&wanted.service, &self.speaks, |question| {
            needs.push(question.clone());
            known.get(question).and_then(|entry| entry.records.as_ref())
        });
        needs.sort_unstable();
        needs.dedup();
        for question in &needs {
            if !self.questions.contains_key(question) {
                if self.questions.len() >= self.rules.questions_max {
                    self.left_out += 1;
                    // It will never be answered, so it is not waited for.
                    found.pending = false;
                    continue;
                }
                self.due.insert((now, question.clone()));
            }
            let entry = self.questions.entry(question.clone()).or_insert_with(|| Entry::new(now));
            entry.users.insert(position);
        }
        let before = std::mem::replace(&mut wanted.needs, needs);
        wanted.pending = found.pending;
        // While a better answer is on its way, the last one is what there is.
        let changed = *found.locations != *wanted.locations
            && !(found.locations.is_empty() && wanted.pending);
        if changed {
            wanted.locations = found.locations.into();
        }
        let needs = &wanted.needs;
        let dropped = before.into_iter().filter(|question| needs.binary_search(question).is_err());
        for question in dropped.collect::<Vec<_>>() {
            if let Some(entry) = self.questions.get_mut(&question) {
                entry.users.remove(&position);
                if entry.users.is_empty() {
                    self.forget(&question);
                }
            }
        }
        changed
    }

    /// Nobody needs it any more.
    fn forget(&mut self, question: &Question) {
        let entry = self.questions.remove(question);
        if let Some(at) = entry.and_then(|entry| entry.due_at) {
            self.due.remove(&(at, question.clone()));
        }
    }
}

impl Wanted {
    fn new(service: Service) -> Self {
        Self { service, locations: Arc::default(), needs: Vec::new(), pending: true }
    }
}

impl Entry {
    fn new(now: Mono) -> Self {
        let (failures, users) = (0, BTreeSet::new());
        Self { records: None, stale_until: now, failures, users, due_at: Some(now) }
    }

    /// Takes an answer. Returns when to ask again.
    fn settle(&mut self, records: Records, ttl: Duration, rules: &TtlRules, now: Mono) -> Mono {
        self.records = Some(records);
        self.failures = 0;
        self.stale_until = now + ttl + rules.stale_max;
        now + ttl
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::records::Kind;
    use super::super::testing::{Zone, zone};
    use super::*;
    use crate::sip::flow::Transport;
    use crate::sip::message::Uri;

    const RULES: TtlRules = TtlRules {
        min: Duration::from_secs(5),
        max: Duration::from_secs(3_600),
        negative_max: Duration::from_secs(60),
        stale_max: Duration::from_secs(86_400),
        questions_max: 64,
    };

    #[test]
    fn every_question_is_asked_once_and_again_when_its_time_is_over() {
        let mut directory = directory(&["sip:b.example:5060"]);
        let zone = zone("b.example a 192.0.2.1");

        assert_eq!(names(&directory.ask(8, at(0))), ["b.example A", "b.example Aaaa"]);
        assert_eq!(directory.ask(8, at(0)), [], "they are being asked");
        answer(&mut directory, &zone, "b.example", Kind::A, 30, 0);
        answer(&mut directory, &zone, "b.example", Kind::Aaaa, 30, 0);
        assert_eq!(peers(&directory), ["192.0.2.1:5060"]);
        assert_eq!(directory.deadline(), Some(at(30)));
        assert_eq!(directory.ask(8, at(29)), []);
        assert_eq!(names(&directory.ask(1, at(30))), ["b.example A"]);
        assert_eq!(peers(&directory), ["192.0.2.1:5060"], "in use until there is a new answer");
    }

    #[test]
    fn times_to_live_have_bounds() {
        let (mut directory, zone) =
            (directory(&["sip:b.example:1"]), zone("b.example a 192.0.2.1"));
        directory.ask(8, at(0));

        for (ttl, due) in [(0, 5), (600, 600), (1_000_000, 3_600)] {
            answer(&mut directory, &zone, "b.example", Kind::A, ttl, 0);
            directory.answered(&question("b.example", Kind::Aaaa), Answer::Failed, at(1_000_000));
            assert_eq!(directory.deadline(), Some(at(due)), "{ttl}");
        }
        let aaaa = question("b.example", Kind::Aaaa);
        for (ttl, due) in [(None, 60), (Some(1), 5), (Some(900), 60)] {
            let ttl = ttl.map(Duration::from_secs);
            directory.answered(&aaaa, Answer::Nothing { ttl }, at(0));
            assert_eq!(directory.deadline(), Some(at(due)), "{ttl:?}");
        }
    }

    #[test]
    fn what_was_found_stays_in_use_while_nobody_answers_and_is_asked_ever_more_rarely() {
        let v4 = SocketAddr::from(([192, 0, 2, 9], 5060));
        let mut directory = Directory::new(RULES, Speaks::new([(Transport::Udp, v4)]));
        directory.want([service("sip:b.example:1")], at(0));
        let zone = zone("b.example a 192.0.2.1");
        let a = question("b.example", Kind::A);
        directory.ask(8, at(0));
        answer(&mut directory, &zone, "b.example", Kind::A, 10, 0);

        let mut now = 10;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(directory.ask(8, at(now)), std::slice::from_ref(&a));
            assert!(!directory.answered(&a, Answer::Failed, at(now)));
            assert_eq!(directory.unanswered(), 1);
            now += wait;
            assert_eq!(directory.deadline(), Some(at(now)));
        }
        assert_eq!(peers(&directory), ["192.0.2.1:1"]);
        assert!(directory.answered(&a, Answer::Failed, at(10 + 86_400)), "a day is enough");
        assert_eq!(peers(&directory), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_gone_is_gone_at_once() {
        let (mut directory, zone) =
            (directory(&["sip:b.example:1"]), zone("b.example a 192.0.2.1"));
        directory.ask(8, at(0));
        answer(&mut directory, &zone, "b.example", Kind::Aaaa, 3_600, 0);
        answer(&mut directory, &zone, "b.example", Kind::A, 10, 0);

        assert!(directory.answered(
            &question("b.example", Kind::A),
            Answer::Nothing { ttl: None },
            at(10)
        ));
        assert_eq!(peers(&directory), Vec::<String>::new());
        assert_eq!(directory.lost().count(), 1);
    }

    #[test]
    fn records_in_another_order_are_the_same_records() {
        let mut directory = directory(&["sip:b.example:1"]);
        let one = zone("b.example a 192.0.2.1\n b.example a 192.0.2.2");
        directory.ask(8, at(0));
        answer(&mut directory, &one, "b.example", Kind::A, 10, 0);
        let records =
            Records::Addresses(vec!["192.0.2.2".parse().unwrap(), "192.0.2.1".parse().unwrap()]);
        let again = Answer::Found { records, ttl: Duration::from_secs(10) };

        assert!(!directory.answered(&question("b.example", Kind::A), again, at(10)));
    }

    #[test]
    fn a_resolver_that_knows_no_naptr_is_asked_for_srv_records_and_addresses_all_the_same() {
        let mut directory = directory(&["sip:b.example"]);
        let zone = zone("b.example a 192.0.2.1");

        answer_all(&mut directory, &zone, &[Kind::Naptr, Kind::Srv], 0);

        assert_eq!(peers(&directory), ["192.0.2.1:5060"]);
        assert!(directory.is_settled());
    }

    #[test]
    fn a_record_that_leads_elsewhere_moves_the_service_once_its_new_address_is_known() {
        let mut directory = directory(&["sip:b.example"]);
        let before = zone("_sip._udp.b.example srv 0 0 5070 one.example\n one.example a 192.0.2.1");
        let after = zone("_sip._udp.b.example srv 0 0 5080 two.example\n two.example a 192.0.2.2");
        answer_all(&mut directory, &before, &[], 0);
        assert_eq!(peers(&directory), ["192.0.2.1:5070"]);

        answer(&mut directory, &after, "_sip._udp.b.example", Kind::Srv, 60, 60);
        assert_eq!(peers(&directory), ["192.0.2.1:5070"], "two.example is being asked for");
        directory.want([service("sip:b.example")], at(60));
        assert_eq!(peers(&directory), ["192.0.2.1:5070"], "also after a new configuration");
        answer_all(&mut directory, &after, &[], 60);
        assert_eq!(peers(&directory), ["192.0.2.2:5080"]);
        let left = directory.ask(64, at(1_000_000));
        assert!(!left.iter().any(|question| question.name == "one.example"), "it is forgotten");
    }

    #[test]
    fn services_that_are_wanted_no_more_are_forgotten_and_the_others_stay_known() {
        let mut directory = directory(&["sip:a.example:1", "sip:b.example:1"]);
        let zone = zone("a.example a 192.0.2.1\n b.example a 192.0.2.2");
        answer_all(&mut directory, &zone, &[], 0);
        assert_eq!(directory.len(), 4);

        directory.want([service("sip:b.example:1"), service("sip:c.example:1")], at(1));

        assert_eq!(peers(&directory), ["192.0.2.2:1"]);
        assert_eq!(names(&directory.ask(64, at(1))), ["c.example A", "c.example Aaaa"]);
        assert_eq!(directory.len(), 4);
    }

    #[test]
    fn no_more_questions_are_remembered_than_allowed() {
        let mut directory = directory(&[]);
        let services = (0..100).map(|n| service(&format!("sip:h{n}.example:1")));

        directory.want(services, at(0));

        assert_eq!(directory.len(), RULES.questions_max);
        assert_eq!(directory.left_out(), 200 - 64);
        answer_all(&mut directory, &zone(""), &[], 0);
        assert!(directory.is_settled());
    }

    fn directory(uris: &[&str]) -> Directory {
        let mut directory = Directory::new(RULES, Speaks::all());
        directory.want(uris.iter().map(|uri| service(uri)), at(0));
        directory
    }

    fn service(uri: &str) -> Service {
        Service::of(&Uri::parse(uri.as_bytes()).unwrap()).unwrap()
    }

    fn question(name: &str, kind: Kind) -> Question {
        Question::new(name, kind)
    }

    fn answer(directory: &mut Directory, zone: &Zone, name: &str, kind: Kind, ttl: u64, s: u64) {
        let question = question(name, kind);
        directory.answered(&question, found(zone, &question, ttl), at(s));
    }

    fn found(zone: &Zone, question: &Question, ttl: u64) -> Answer {
        let ttl = Duration::from_secs(ttl);
        match zone.records(question) {
            Some(records) => Answer::Found { records: records.clone(), ttl },
            None => Answer::Nothing { ttl: Some(ttl) },
        }
    }

    /// Until nothing is asked any more; `unable` kinds are not answered.
    fn answer_all(directory: &mut Directory, zone: &Zone, unable: &[Kind], s: u64) {
        loop {
            let asked = directory.ask(64, at(s));
            if asked.is_empty() {
                return;
            }
            for question in asked {
                let answer = match unable.contains(&question.kind) {
                    true => Answer::Failed,
                    false => found(zone, &question, 60),
                };
                directory.answered(&question, answer, at(s));
            }
        }
    }

    fn names(questions: &[Question]) -> Vec<String> {
        questions.iter().map(|it| format!("{} {:?}", it.name, it.kind)).collect()
    }

    fn peers(directory: &Directory) -> Vec<String> {
        let located = directory.located();
        located.values().flat_map(|it| it.iter().map(|it| it.peer.to_string())).collect()
    }

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }
}

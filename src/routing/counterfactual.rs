//! What would have had to be otherwise for a target to get a call that it did not get.
//!
//! Nothing is guessed: a change is told only if the decision, made again with it, plans the target.
//! What the decision did not read, such as the caps of a target that failed an earlier check, is taken
//! for unused.

use std::collections::BTreeMap;
use std::fmt;

use smol_str::SmolStr;

use crate::id::TargetId;
use crate::reason::Reason;
use crate::time::Wall;

use super::circuit::Condition;
use super::decider::{Known, decide, terms};
use super::decision::{Check, Decision, Readings, Step, Verdict};
use super::history::PastCall;
use super::hold::{Bucket, BucketRequest, Counts, Leeway, Stake, WHOLE_PPM};
use super::paying;
use super::performance::{Concerned, Tallies};
use super::replay::{DecisionRecord, Recorded};
use super::request::{RouteRequest, SessionReading, Usage, UsageReader};
use super::selection::Rotation;
use super::snapshot::{CallScope, Cap, Publisher, RoutingSnapshot};

/// Targets that are looked at: for each the decision is made again several times.
const TARGETS_MAX: usize = 100;
/// Changes that are tried for one target, one upon the other.
const CHANGES_MAX: usize = 4;
const MINUTE_MS: i64 = 60_000;
/// How far another time of the call may lie, in minutes.
const SHIFT_MAX: i64 = 8 * 24 * 60;

/// A target that would have been in the plan with these changes, all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterfactual {
    pub target: TargetId,
    pub changes: Vec<Change>,
}

/// One thing that would have been otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The limit of a cap, or of concurrency, was higher.
    Raised { cap: SmolStr, counts: Counts, by: u64 },
    /// The limit of a cap, or of concurrency, that is too low for a single call was at least this.
    AtLeast { cap: SmolStr, counts: Counts, limit: u64 },
    /// The call came at another time, so many milliseconds later.
    Shifted { by_ms: i64 },
    /// A tag had this value.
    Tagged { tag: SmolStr, value: SmolStr },
    /// The caller had never called before.
    Unknown,
    /// The caller was on a list, or was not.
    Listed { list: SmolStr, on: bool },
}

impl Counterfactual {
    /// All changes for people, such as `7 minutes earlier and geo.state OH`.
    pub fn changes_in_words(&self) -> String {
        let changes: Vec<_> = self.changes.iter().map(ToString::to_string).collect();
        changes.join(" and ")
    }
}

impl fmt::Display for Counterfactual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: would have been called if: {}", self.target, self.changes_in_words())
    }
}

/// For people: `cap target/t/connected/daily +1`, `7 minutes earlier`, `geo.state OH`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raised { cap, counts, by } => write!(f, "cap {cap} +{}", counts.show(*by)),
            Self::AtLeast { cap, counts, limit } => {
                write!(f, "cap {cap} at least {}", counts.show(*limit))
            }
            Self::Shifted { by_ms } => {
                let minutes = by_ms.abs() / MINUTE_MS;
                let direction = if *by_ms < 0 { "earlier" } else { "later" };
                match (minutes / 60, minutes % 60) {
                    (0, 1) => write!(f, "1 minute {direction}"),
                    (0, minutes) => write!(f, "{minutes} minutes {direction}"),
                    (hours, minutes) => write!(f, "{hours} h {minutes} min {direction}"),
                }
            }
            Self::Tagged { tag, value } => write!(f, "{tag} {value}"),
            Self::Unknown => f.write_str("the caller's first call"),
            Self::Listed { list, on: true } => write!(f, "the caller on the list {list}"),
            Self::Listed { list, on: false } => write!(f, "the caller not on the list {list}"),
        }
    }
}

/// For each target that was refused, of many the first hundred, the changes with which it would have been called, if such can
/// be found. `snapshot` is that of the recorded revision.
pub fn counterfactuals(snapshot: &RoutingSnapshot, record: &DecisionRecord) -> Vec<Counterfactual> {
    let decision = &record.decision;
    let Some(attribution) = &decision.attribution else { return vec![] };
    let Some(campaign) = snapshot.campaign(&attribution.campaign) else { return vec![] };
    let targets = campaign.tiers.iter().flat_map(|tier| &tier.members);
    let targets = targets.map(|member| &snapshot.targets[member.target].id);
    targets
        .filter(|target| !decision.plan.iter().any(|planned| planned.target == **target))
        .take(TARGETS_MAX)
        .filter_map(|target| {
            let changes = World::of(snapshot, record).changes_for(target)?;
            Some(Counterfactual { target: target.clone(), changes })
        })
        .collect()
}

/// Everything a decision is made from, to be changed.
struct World<'a> {
    snapshot: &'a RoutingSnapshot,
    request: RouteRequest,
    sessions: &'a [SessionReading],
    calls: &'a [PastCall],
    rotation: Rotation,
    recorded: Recorded<'a>,
    /// By how much limits are higher.
    raised: BTreeMap<SmolStr, u64>,
    /// How high limits are at least.
    at_least: BTreeMap<SmolStr, u64>,
    /// Whether the caller is on a list, whatever is.
    listed: BTreeMap<SmolStr, bool>,
}

impl UsageReader for World<'_> {
    /// A higher limit leaves as much room as a lower use.
    fn usage(&self, bucket: &Bucket) -> Usage {
        let Usage { used, held } = self.recorded.usage(bucket);
        let raised = self.raised.get(&bucket.cap).copied().unwrap_or(0);
        let left = raised.saturating_sub(used);
        Usage { used: used.saturating_sub(raised), held: held.saturating_sub(left) }
    }

    fn condition(&self, target: &TargetId) -> Condition {
        self.recorded.condition(target)
    }

    fn ready(&self, concurrency: &str) -> Option<u32> {
        self.recorded.ready(concurrency)
    }

    fn tallies(&self, concerned: &Concerned, since: i64) -> Tallies {
        self.recorded.tallies(concerned, since)
    }

    fn lists(&self, list: &str, found: Option<bool>) -> bool {
        let changed = self.listed.get(list).copied();
        changed.unwrap_or_else(|| self.recorded.lists(list, found))
    }

    fn at_least(&self, cap: &str) -> Option<u64> {
        self.at_least.get(cap).copied()
    }

    fn score(&self, scorer: &str, target: &TargetId) -> Option<i64> {
        self.recorded.score(scorer, target)
    }
}

impl<'a> World<'a> {
    fn of(snapshot: &'a RoutingSnapshot, record: &'a DecisionRecord) -> Self {
        let readings = &record.decision.readings;
        let rotation = record
            .decision
            .attribution
            .as_ref()
            .map(|attribution| Rotation::from_readings(&attribution.campaign, readings));
        Self {
            snapshot,
            request: record.request.clone(),
            sessions: &record.sessions,
            calls: &record.calls,
            rotation: rotation.unwrap_or_default(),
            recorded: Recorded::of(readings),
            raised: BTreeMap::new(),
            at_least: BTreeMap::new(),
            listed: BTreeMap::new(),
        }
    }

    fn decide(&self) -> Decision {
        let known = Known { sessions: self.sessions, calls: self.calls };
        decide(self.snapshot, &self.request, known, self, &mut self.rotation.clone())
    }

    fn changes_for(mut self, target: &TargetId) -> Option<Vec<Change>> {
        let mut changes = vec![];
        loop {
            let decision = self.decide();
            if decision.plan.iter().any(|planned| planned.target == *target) {
                // That it is there is nothing that could be changed.
                return (!changes.is_empty()).then_some(changes);
            }
            // The check that stopped the target, else the one that stopped the call.
            let of_target = |step: &&Step| step.target.as_ref() == Some(target);
            let refused = |step: &&Step| step.verdict == Verdict::Refused;
            let mut steps = decision.steps.iter().rev().filter(refused);
            let of_call = decision.steps.last().filter(|step| step.target.is_none());
            let step = steps.find(of_target).or(of_call)?;
            let change = self.propose(&decision, step)?;
            if changes.len() == CHANGES_MAX || changes.contains(&change) {
                return None;
            }
            self.apply(&change);
            changes.push(change);
        }
    }

    /// What lets a call pass the check at which it failed.
    fn propose(&self, decision: &Decision, step: &Step) -> Option<Change> {
        match step.check {
            Check::Cap | Check::Concurrency => self.more_room(decision, step.target.as_ref()?),
            Check::Publisher => self.more_for(&self.publisher(decision)?.caps, step),
            Check::Account => self.more_for(&self.snapshot.account.caps, step),
            Check::Trunk => self.more_for(self.snapshot.trunk_caps(&self.request.trunk), step),
            Check::Campaign => {
                let campaign = &decision.attribution.as_ref()?.campaign;
                self.more_for(&self.snapshot.campaign(campaign)?.caps, step)
            }
            Check::Schedule => self.another_time(step.target.as_ref()?),
            Check::Filter => self.another_tag(decision, step.target.as_ref()?),
            Check::History | Check::Duplicate => Some(Change::Unknown),
            // Of several that would do, the first.
            Check::List => Some(Change::Listed {
                list: step.subject.as_ref()?.split(" or ").next()?.into(),
                on: step.have.as_deref() != Some("listed"),
            }),
            Check::Caller if step.reason == Some(Reason::RepeatTooSoon) => Some(Change::Unknown),
            Check::Caller if step.reason == Some(Reason::AttestationBelow) => {
                let (tag, value) = ("caller.verstat", "TN-Validation-Passed-A");
                Some(Change::Tagged { tag: tag.into(), value: value.into() })
            }
            // What an operator has switched off, what is not there, and what is too many.
            Check::Caller
            | Check::Number
            | Check::Session
            | Check::State
            | Check::Weight
            | Check::Selection
            | Check::Price
            | Check::Payout
            | Check::Health => None,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Raised { cap, by, .. } => {
                *self.raised.entry(cap.clone()).or_default() += by;
            }
            Change::AtLeast { cap, limit, .. } => {
                self.at_least.insert(cap.clone(), *limit);
            }
            Change::Shifted { by_ms } => {
                self.request.at = Wall(self.request.at.0.saturating_add(*by_ms));
            }
            Change::Tagged { tag, value } => {
                self.request.tags.insert(tag.clone(), value.clone());
            }
            Change::Unknown => self.calls = &[],
            Change::Listed { list, on } => {
                self.listed.insert(list.clone(), *on);
            }
        }
    }

    fn more_room(&self, decision: &Decision, target: &TargetId) -> Option<Change> {
        let (target, scope) = (self.snapshot.target(target)?, self.scope(decision)?);
        let payout = self.snapshot.publisher(&scope.publisher)?.payouts.get(&scope.campaign);
        let is_mark = |step: &Step| step.target.is_none() && step.check == Check::Duplicate;
        let is_duplicate = decision.steps.iter().any(is_mark);
        let mut windows = self.snapshot.windows(self.request.at);
        let (limits, mut unnoted) = (self.snapshot.call_limits(&scope), Readings::default());
        let terms = terms(target, payout, is_duplicate);
        let (terms, _) = paying::settle(terms, limits.publisher?, &mut windows, self, &mut unnoted);
        let stake = Stake::new(terms, target.max_duration_ms);
        let needs = target.needs(&limits, &stake, &mut windows, self, &mut unnoted);
        let request = needs
            .into_iter()
            .map(|need| need.request)
            .find(|request| !request.admits(self.usage(&request.bucket), request.amount))?;
        self.raise(request)
    }

    /// By how much more a limit lets a call in.
    fn raise(&self, request: BucketRequest) -> Option<Change> {
        let usage = self.usage(&request.bucket);
        let Usage { used, held } = usage;
        let by = match &request.leeway {
            _ if request.counts == Counts::Spacing => return self.later(&request, used),
            None => used.saturating_add(held).saturating_add(request.amount) - request.limit,
            Some(Leeway::Soft) => used.saturating_add(1) - request.limit,
            // A pace is that of the time, which is another thing to change.
            Some(Leeway::Paced(pace)) if pace.by_now < request.limit => return None,
            Some(Leeway::Paced(pace)) => {
                let bound = pace.bound_ppm(usage, request.amount).div_ceil(WHOLE_PPM.into());
                u64::try_from(bound).ok()?.checked_sub(request.limit)?
            }
        };
        let fits = request.admits(Usage::default(), request.amount);
        let limit = request.limit.saturating_add(by);
        let (cap, counts) = (request.bucket.cap, request.counts);
        Some(match fits {
            true => Change::Raised { cap, counts, by },
            // Nothing that is less used would let it in.
            false => Change::AtLeast { cap, counts, limit },
        })
    }

    /// Whole minutes, like any other shift.
    fn later(&self, request: &BucketRequest, last: u64) -> Option<Change> {
        let left_ms = last.checked_add(request.limit)?.checked_sub(request.amount)?;
        let minutes = i64::try_from(left_ms.div_ceil(MINUTE_MS.unsigned_abs())).ok()?;
        Some(Change::Shifted { by_ms: minutes * MINUTE_MS })
    }

    /// More room for calls that are refused before any target is thought of.
    fn more_for(&self, caps: &[Cap], step: &Step) -> Option<Change> {
        let is_named = |cap: &&Cap| Some(&cap.label) == step.subject.as_ref();
        let cap = caps.iter().find(is_named)?;
        let mut windows = self.snapshot.windows(self.request.at);
        let need = cap.need(1, &mut windows, self, &mut Readings::default())?;
        self.raise(need.request)
    }

    fn publisher(&self, decision: &Decision) -> Option<&Publisher> {
        self.snapshot.publisher(&decision.attribution.as_ref()?.publisher)
    }

    /// The nearest at which the target is open.
    fn another_time(&self, target: &TargetId) -> Option<Change> {
        let schedule = self.snapshot.target(target)?.schedule.as_ref()?;
        let is_open = |by_ms: i64| schedule.check(Wall(self.request.at.0 + by_ms)).is_ok();
        let shifts = (1..=SHIFT_MAX).flat_map(|minutes| [-minutes, minutes]);
        let by_ms = shifts.map(|minutes| minutes * MINUTE_MS).find(|by_ms| is_open(*by_ms))?;
        Some(Change::Shifted { by_ms })
    }

    /// One of the values that the first filter which fails asks for.
    fn another_tag(&self, decision: &Decision, target: &TargetId) -> Option<Change> {
        let filters = &self.snapshot.target(target)?.filters;
        let is_at_fault = |step: &&Step| {
            step.check == Check::Filter
                && step.verdict == Verdict::Refused
                && step.target.as_ref() == Some(target)
        };
        let fault = decision.steps.iter().find(is_at_fault)?;
        let passed = decision.steps.iter().filter(|step| {
            step.check == Check::Filter
                && step.verdict == Verdict::Passed
                && step.target.as_ref() == Some(target)
        });
        let group = filters.groups.get(passed.count())?;
        let named = group.rules.iter().filter(|rule| Some(&rule.tag) == fault.subject.as_ref());
        named
            .chain(group.rules.iter())
            .find_map(|rule| Some(Change::Tagged { tag: rule.tag.clone(), value: rule.example()? }))
    }

    fn scope(&self, decision: &Decision) -> Option<CallScope> {
        let attribution = decision.attribution.as_ref()?;
        Some(CallScope {
            campaign: attribution.campaign.clone(),
            publisher: attribution.publisher.clone(),
            trunk: self.request.trunk.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::CallId;
    use crate::routing::config::RoutingConfig;
    use crate::routing::history::Connected;
    use crate::routing::replay::record_bytes;
    use crate::routing::request::Tags;
    use crate::routing::simulate::{Assumed, Assuming};

    /// Tuesday 2026-03-17, 11:04 in New York.
    const OPEN: Wall = Wall(1_773_759_852_318);

    #[test]
    fn a_full_cap_would_have_had_to_be_higher() {
        let rules = target(r#"caps = [{ metric = "connected", window = "daily", limit = 80 }]"#);
        let full = [(bucket("target/t/connected/daily", "d:2026-03-17"), used(79, 3))];
        assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/connected/daily +3"]);

        let rules = target("concurrency = { limit = 2 }");
        let full = [(bucket("target/t/concurrency", "live"), used(0, 2))];
        assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/concurrency +1"]);
    }

    #[test]
    fn a_cap_on_money_would_have_had_to_be_higher_by_what_the_call_may_cost() {
        let rules = target(
            r#"conversion = { seconds = 60, revenue = "42.00" }
               caps = [{ metric = "revenue", window = "total", limit = "100.00" }]"#,
        );
        let full = [(bucket("target/t/revenue/total", "total"), used(84_000_000, 0))];
        assert_eq!(told(&rules, &call(), &full, &[]), ["cap target/t/revenue/total +26.00"]);
    }

    #[test]
    fn a_limit_that_is_too_low_for_any_call_would_have_had_to_be_at_least_what_lets_this_one_in() {
        let rules = target("conversion = { seconds = 60, revenue = '42.00' }").replace(
            r#"buyers = [{ id = "b" }]"#,
            r#"buyers = [{ id = "b", credit = { limit = "0.00" } }]"#,
        );
        assert_eq!(told(&rules, &call(), &[], &[]), ["cap buyer/b/credit at least 42.00"]);
        let deposited = [
            (bucket("buyer/b/deposits", "total"), used(30_000_000, 0)),
            (bucket("buyer/b/credit", "total"), used(10_000_000, 5_000_000)),
        ];
        assert_eq!(told(&rules, &call(), &deposited, &[]), ["cap buyer/b/credit at least 57.00"]);

        let none_at_night = target(
            "concurrency = { limit = 5, exceptions = [{ date = '2026-03-17', limit = 0 }] }",
        );
        let told = told(&none_at_night, &call(), &[], &[]);
        assert_eq!(told, ["cap target/t/concurrency at least 1"]);
    }

    #[test]
    fn a_cap_of_the_account_would_have_had_to_be_higher() {
        let cap = "caps = [{ metric = 'connected', window = 'total', limit = 5 }]";
        let rules = target(&format!("[account]\n{cap}"));
        let full = [(bucket("account/default/connected/total", "total"), used(4, 1))];
        let told = told(&rules, &call(), &full, &[]);
        assert_eq!(told, ["cap account/default/connected/total +1"]);
    }

    #[test]
    fn a_soft_or_a_paced_cap_would_have_had_to_be_higher_by_what_lets_the_call_in() {
        let cap = |rules: &str| target(&format!("caps = [{{ metric = 'converted', {rules} }}]"));
        let soft = cap("window = 'daily', limit = 9, mode = 'soft'");
        let full = [(bucket("target/t/converted/daily", "d:2026-03-17"), used(11, 5))];
        assert_eq!(told(&soft, &call(), &full, &[]), ["cap target/t/converted/daily +3"]);

        // At the end of the window, where all may be used.
        let last = RouteRequest { at: Wall(1_773_791_999_999), ..call() };
        let paced = cap("window = 'daily', limit = 9, mode = 'paced', assumed_rate = '50%'");
        // 4 + 10 * 0.5 + 2.327 * √2.5 is 12.7.
        let full = [(bucket("target/t/converted/daily", "d:2026-03-17"), used(4, 9))];
        assert_eq!(told(&paced, &last, &full, &[]), ["cap target/t/converted/daily +4"]);
    }

    #[test]
    fn calls_that_are_to_be_apart_would_have_had_to_come_later() {
        let rules = target("min_gap_s = 90");
        let last = u64::try_from(OPEN.0 - 10_000).unwrap();
        let full = [(bucket("target/t/spacing", "gap"), used(last, 0))];
        assert_eq!(told(&rules, &call(), &full, &[]), ["2 minutes later"]);
    }

    #[test]
    fn a_closed_target_would_have_been_open_a_little_earlier_or_later() {
        let hours = |open, close| {
            target(&format!(
                r#"schedule = {{ time_zone = "America/New_York", hours = [
                    {{ day = "tue", open = "{open}", close = "{close}" }} ] }}"#
            ))
        };
        assert_eq!(told(&hours("07:00", "11:00"), &call(), &[], &[]), ["5 minutes earlier"]);
        assert_eq!(told(&hours("12:30", "13:00"), &call(), &[], &[]), ["1 h 26 min later"]);
    }

    #[test]
    fn a_tag_would_have_had_another_value() {
        let rule = |rule: &str| target(&format!("filters = {{ all = [{{ {rule} }}] }}"));
        for (rules, told_) in [
            (r#"tag = "plan", op = "in", value = ["PPO", "HMO"]"#, "plan HMO"),
            (r#"tag = "age", op = "between", value = [50, 80]"#, "age 50"),
            (r#"tag = "age", op = "gt", value = 64"#, "age 65"),
            (r#"tag = "age", op = "lt", value = 65"#, "age 64"),
            (r#"tag = "zip", op = "match", value = "43*""#, "zip 43"),
        ] {
            assert_eq!(told(&rule(rules), &call(), &[], &[]), [told_], "{rules}");
        }
        // No value can be named.
        let rules = rule(r#"tag = "x", op = "regex", value = "^[a-z]+[0-9]$""#);
        assert_eq!(told(&rules, &call(), &[], &[]), Vec::<String>::new());
    }

    #[test]
    fn a_caller_who_had_called_would_have_had_to_be_new() {
        let rules = target(r#"dedupe = { after = "connected" }"#);
        let past = PastCall {
            call: CallId::of_simulation(1, 1),
            at: Wall(OPEN.0 - 60_000),
            dialed: call().dialed,
            campaign: "c".into(),
            publisher: "p".into(),
            connected: Some(Connected { target: "t".into(), buyer: "b".into(), at: OPEN }),
            converted_at: None,
            talk_ms: Some(1),
        };
        assert_eq!(told(&rules, &call(), &[], &[past]), ["the caller's first call"]);
    }

    #[test]
    fn all_that_stands_against_a_call_is_told_together() {
        let rules = target(
            r#"filters = { all = [{ tag = "plan", op = "eq", value = "HMO" }] }
               schedule = { time_zone = "UTC", hours = [
                   { day = "tue", open = "15:10", close = "16:00" } ] }"#,
        );
        let told = told(&rules, &call(), &[], &[]);
        assert_eq!(told, ["6 minutes later and plan HMO"]);
    }

    #[test]
    fn what_an_operator_has_switched_off_has_no_otherwise() {
        assert!(told(&target("paused = true"), &call(), &[], &[]).is_empty());
    }

    #[test]
    fn a_target_that_was_not_there_has_no_otherwise() {
        assert_eq!(told_of_two("").1, []);
    }

    #[test]
    fn a_target_that_was_not_there_takes_nobody_s_place() {
        let full = r#"caps = [{ metric = "connected", window = "total", limit = 5 }]"#;
        let (plan, told) = told_of_two(full);
        assert_eq!(plan, ["t"], "it is tried for want of another");
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["u: would have been called if: cap target/u/connected/total +1"]);
    }

    /// The plan, and what is told, where one target is called at most: `t`, which is not there, or
    /// else `u`, of which these are the rules.
    fn told_of_two(rules: &str) -> (Vec<String>, Vec<Counterfactual>) {
        let two = "{ tier = 1, targets = [{ target = \"t\" }] }, \
                   { tier = 2, targets = [{ target = \"u\" }] }";
        let config = target("")
            .replace(r#"{ targets = [{ target = "t" }] }"#, two)
            .replace("numbers =", "max_attempts = 1\n            numbers =")
            + &format!(
                r#"
            [[targets]]
            id = "u"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:b" }}
            {rules}
            "#
            );
        let snapshot = RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap();
        let usage = [(bucket("target/u/connected/total", "total"), used(5, 0))];
        let usage: BTreeMap<_, _> = usage.into();
        let assumed = Assumed { down: ["t".into()].into(), ..Assumed::default() };
        let usage = Assuming { usage: &usage, assumed: &assumed };
        let (request, known) = (call(), Known::default());
        let decision = decide(&snapshot, &request, known, &usage, &mut Rotation::default());
        let record = DecisionRecord::new(&request, known, &decision);
        let plan = decision.plan.iter().map(|planned| planned.target.to_string()).collect();
        (plan, counterfactuals(&snapshot, &record))
    }

    #[test]
    fn a_publisher_s_cap_would_have_had_to_be_higher() {
        let rules = target("").replace(
            r#"[{ id = "p" }]"#,
            r#"[{ id = "p", caps = [{ metric = "attempted", window = "total", limit = 5 }] }]"#,
        );
        let full = [(bucket("publisher/p/attempted/total", "total"), used(7, 0))];
        assert_eq!(told(&rules, &call(), &full, &[]), ["cap publisher/p/attempted/total +3"]);
    }

    /// What is told of the only target.
    fn told(
        rules: &str,
        request: &RouteRequest,
        usage: &[(Bucket, Usage)],
        calls: &[PastCall],
    ) -> Vec<String> {
        let config: RoutingConfig = toml::from_str(rules).unwrap();
        let snapshot = RoutingSnapshot::compile(config, 1).unwrap();
        let usage: BTreeMap<_, _> = usage.iter().cloned().collect();
        let known = Known { sessions: &[], calls };
        let decision = decide(&snapshot, request, known, &usage, &mut Rotation::default());
        assert!(decision.plan.is_empty(), "nothing stands against it");
        let record = DecisionRecord::from_bytes(&record_bytes(request, known, &decision)).unwrap();
        counterfactuals(&snapshot, &record).iter().map(Counterfactual::changes_in_words).collect()
    }

    fn target(rules: &str) -> String {
        format!(
            r#"
            publishers = [{{ id = "p" }}]
            buyers = [{{ id = "b" }}]
            [[campaigns]]
            id = "c"
            publisher = "p"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            [[targets]]
            id = "t"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:a" }}
            {rules}
            "#
        )
    }

    fn bucket(cap: &str, window: &str) -> Bucket {
        Bucket { cap: cap.into(), window: window.into() }
    }

    fn used(used: u64, held: u64) -> Usage {
        Usage { used, held }
    }

    fn call() -> RouteRequest {
        RouteRequest {
            call: CallId::of_simulation(1, 0),
            at: OPEN,
            dialed: "+18005550100".parse().unwrap(),
            caller: "+16145550163".parse().ok(),
            trunk: "trk".into(),
            named: None,
            tags: Tags::new(),
        }
    }
}

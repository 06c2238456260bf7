//! Pings that no target can take, whatever call comes of them.
//!
//! Only what lasts is asked: who is on which list, and what filters say of the ping's tags, of its caller's
//! number and of what is on record of that. A tag that is not there may yet be told, and refuses nothing; neither does one that a
//! trunk may say otherwise. Hours, caps, concurrency and prices change, and are not looked at. The caller
//! is taken to be the one the ping names; a ping without one is judged by its tags alone.

use std::collections::BTreeMap;

use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::time::Wall;

use super::decider::common;
use super::decision::{Check, Finding, Step, Verdict};
use super::eligibility::missed;
use super::facts::Facts;
use super::hold::Bucket;
use super::list::{ListRules, Listed};
use super::request::{Tags, Usage};
use super::snapshot::{Campaign, RoutingSnapshot, Target};

/// What a trunk says of a call stands under these names, and goes before what a ping says.
const OF_TRUNKS: [&str; 2] = ["header.", "caller."];

/// Nothing is used: room is no matter here.
type Unused = BTreeMap<Bucket, Usage>;

/// Why no target takes any call of a ping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Worthless {
    /// The one that all targets share, if there is one.
    pub reason: Reason,
    /// What refuses each target, or the call before any target is looked at.
    pub steps: Vec<Step>,
}

/// What is looked at.
struct Judge<'a> {
    facts: Facts<'a>,
    has_caller: bool,
    /// Who is on a list when the session begins…
    first: Listed<'a, Unused>,
    /// …and when it ends.
    last: Listed<'a, Unused>,
    steps: Vec<Step>,
}

/// Why a ping is worth nothing; `None`: a target may take its calls. The session lives from `from` to
/// `until`.
pub(super) fn worthless(
    snapshot: &RoutingSnapshot,
    campaign: &Campaign,
    (caller, tags): (Option<PhoneNumber>, &Tags),
    from: Wall,
    until: Wall,
) -> Option<Worthless> {
    let lasting = |name: &str| !OF_TRUNKS.iter().any(|prefix| name.starts_with(prefix));
    let tags: Tags = tags
        .iter()
        .filter(|(name, _)| lasting(name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let unused = Unused::new();
    let mut judge = Judge {
        facts: Facts::new(&tags, caller, &snapshot.geo).on_record(snapshot.line(caller, &unused)),
        has_caller: caller.is_some(),
        first: Listed::new(&snapshot.lists, &unused, caller, from),
        last: Listed::new(&snapshot.lists, &unused, caller, until),
        steps: vec![],
    };
    if let Err(reason) = judge.call(campaign) {
        return Some(Worthless { reason, steps: judge.steps });
    }
    let mut refusals = vec![];
    let members = campaign.tiers.iter().flat_map(|tier| &tier.members);
    let own = members.filter(|member| member.weight > 0).map(|member| member.target);
    for target in own.chain(campaign.no_route.overflows()) {
        let target = &snapshot.targets[target];
        if target.paused {
            continue;
        }
        refusals.push(judge.target(target).err()?);
    }
    // Where none takes any call, it is not for what the ping says.
    if refusals.is_empty() {
        return None;
    }
    Some(Worthless { reason: common(&refusals), steps: judge.steps })
}

impl Judge<'_> {
    fn call(&mut self, campaign: &Campaign) -> Result<(), Reason> {
        let found = match self.last.block() {
            Ok(()) => self.listed(&campaign.lists),
            blocked => blocked,
        };
        found.map_err(|(reason, finding)| self.refuse(None, Check::List, reason, finding))
    }

    /// In the order in which a call's targets are checked.
    fn target(&mut self, target: &Target) -> Result<(), Reason> {
        for group in &target.filters.groups {
            if let Err(miss) = group.check_known(&self.facts) {
                let finding = missed(&self.facts, &miss);
                return Err(self.refuse(Some(target), Check::Filter, miss.reason, finding));
            }
        }
        let found = self.listed(&target.lists);
        found.map_err(|(reason, finding)| self.refuse(Some(target), Check::List, reason, finding))
    }

    /// Who is suppressed to the end is so all the time, as who is not accepted at the beginning.
    fn listed(&mut self, rules: &ListRules) -> Result<(), (Reason, Finding)> {
        if !self.has_caller {
            return Ok(());
        }
        self.last.spares(rules)?;
        self.first.accepts(rules)
    }

    fn refuse(
        &mut self,
        target: Option<&Target>,
        check: Check,
        reason: Reason,
        finding: Finding,
    ) -> Reason {
        let target = target.map(|target| target.id.clone());
        self.steps.push(Step::new(target, check, Verdict::Refused, Some(reason), finding));
        reason
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::id::{CallId, PingId, SessionId};
    use crate::routing::attribution::{Named, SessionKey};
    use crate::routing::config::{ConfigFault, RoutingConfig};
    use crate::routing::request::{RouteRequest, SessionReading};
    use crate::routing::{Known, Rotation, decide};

    /// Tuesday 2026-03-17, 15:04 UTC.
    const NOW: Wall = Wall(1_773_759_852_318);
    const DAY_MS: i64 = 86_400_000;
    const CALLER: &str = "+16145550188";

    #[test]
    fn a_ping_is_refused_if_every_target_refuses_what_it_says() {
        let ohio = "filters = { all = [{ tag = \"geo.state\", op = \"eq\", value = \"OH\" }] }";
        let adult = "filters = { all = [{ tag = \"lead.age\", op = \"ge\", value = 18 }] }";
        for (first, second, tags, refused) in [
            (ohio, ohio, "geo.state=KY", Some(Reason::FilterMismatch)),
            (ohio, ohio, "geo.state=OH", None),
            // The caller's number is one of Ohio.
            (ohio, ohio, "", None),
            (ohio, adult, "geo.state=KY", None),
            (ohio, adult, "geo.state=KY lead.age=17", Some(Reason::FilterMismatch)),
            (ohio, "", "geo.state=KY", None),
            (ohio, "paused = true", "geo.state=KY", Some(Reason::FilterMismatch)),
            ("paused = true", "paused = true", "geo.state=KY", None),
        ] {
            let snapshot = compiled(first, second, "");
            let found = judged(&snapshot, CALLER.parse().ok(), tags);
            assert_eq!(found.map(|it| it.reason), refused, "{first} {second} {tags}");
        }
    }

    #[test]
    fn a_ping_whose_calls_an_overflow_may_take_is_not_refused() {
        let ohio = "filters = { all = [{ tag = \"geo.state\", op = \"eq\", value = \"OH\" }] }";
        let texas = "filters = { all = [{ tag = \"geo.state\", op = \"eq\", value = \"TX\" }] }";
        for (of_overflow, refused) in [("", false), (texas, true), ("paused = true", true)] {
            let more = format!(
                "[[targets]]\nid = \"c\"\nbuyer = \"b\"\n\
                 dial = {{ kind = \"sip\", uri = \"sip:c\" }}\n{of_overflow}\n[[campaigns]]"
            );
            let rules = written(ohio, ohio, "").replacen("[[campaigns]]", &more, 1)
                + "\n[campaigns.no_route.none_match]\noverflow = \"c\"\n";
            let snapshot = RoutingSnapshot::compile(toml::from_str(&rules).unwrap(), 1).unwrap();
            let found = judged(&snapshot, None, "geo.state=KY");
            assert_eq!(found.is_some(), refused, "{of_overflow}");
        }
    }

    #[test]
    fn what_is_not_known_or_may_change_refuses_nothing() {
        let by_trunk = "filters = { all = [{ tag = \"header.x-a\", op = \"eq\", value = \"1\" }] }";
        let snapshot = compiled(by_trunk, by_trunk, "");
        assert_eq!(judged(&snapshot, None, "header.x-a=2"), None);

        let either = "filters = { all = [[
            { tag = \"geo.state\", op = \"eq\", value = \"OH\" },
            { tag = \"lead.age\", op = \"ge\", value = 18 },
        ]] }";
        let snapshot = compiled(either, either, "");
        assert_eq!(judged(&snapshot, None, "geo.state=KY"), None, "the age may be told");
        assert!(judged(&snapshot, None, "geo.state=KY lead.age=3").is_some());
    }

    #[test]
    fn a_refusal_says_what_was_found_and_wanted_of_each_target() {
        let ohio = "filters = { all = [{ tag = \"geo.state\", op = \"eq\", value = \"OH\" }] }";
        let young = "filters = { all = [{ tag = \"lead.age\", op = \"lt\", value = 65 }] }";
        let snapshot = compiled(ohio, young, "");
        let Worthless { steps, .. } = judged(&snapshot, None, "geo.state=KY lead.age=70").unwrap();
        let told: Vec<_> = steps
            .iter()
            .map(|step| {
                let text = |it: &Option<smol_str::SmolStr>| it.clone().unwrap_or_default();
                let target = step.target.clone().unwrap_or_default();
                format!(
                    "{target} {} {} {}",
                    text(&step.subject),
                    text(&step.have),
                    text(&step.want)
                )
            })
            .collect();
        assert_eq!(told, ["a geo.state KY eq OH", "b lead.age 70 lt 65"]);
    }

    #[test]
    fn lists_count_as_far_as_they_hold_while_the_session_lives() {
        let block = |until: &str| {
            format!(r#"{{ id = "l", kind = "block", callers = ["{CALLER}{until}"] }}"#)
        };
        // The session ends on the 18th.
        for (until, refused) in [
            ("", Some(Reason::BlockedCaller)),
            (",2026-03-18", Some(Reason::BlockedCaller)),
            (",2026-03-17", None),
        ] {
            let snapshot = compiled("", "", &block(until));
            let found = judged(&snapshot, CALLER.parse().ok(), "");
            assert_eq!(found.map(|it| it.reason), refused, "{until}");
            assert_eq!(judged(&snapshot, "+16145550199".parse().ok(), ""), None);
            assert_eq!(judged(&snapshot, None, ""), None);
        }
    }

    /// Random rules and pings: whatever call comes of one that is refused, no target takes it.
    #[test]
    fn a_ping_that_is_refused_would_have_been_refused_by_every_target_for_every_call() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let (mut refused, mut let_in) = (0, 0);
        for n in 0..400 {
            let lists = format!(
                "{{ id = \"s\", kind = \"suppress\", callers = [\"{CALLER}\"] }},
                 {{ id = \"a\", kind = \"accept\", callers = [\"{CALLER}\", \"+16145550199\"] }}"
            );
            let drawn = written(&rules(&mut rng), &rules(&mut rng), &lists);
            let snapshot = match RoutingSnapshot::compile(toml::from_str(&drawn).unwrap(), 1) {
                Ok(snapshot) => snapshot,
                // Rules that exclude each other.
                Err(faults) => {
                    let excluded = |it: &ConfigFault| it.problem.contains("no call could pass");
                    assert!(faults.iter().all(excluded), "{faults:?}, seed {seed}");
                    continue;
                }
            };
            for _ in 0..10 {
                let caller = match rng.u8(0..3) {
                    0 => None,
                    1 => CALLER.parse().ok(),
                    _ => "+15025550111".parse().ok(),
                };
                let tags = said(&mut rng);
                let campaign = snapshot.campaign(&"c".into()).unwrap();
                let until = Wall(NOW.0 + 1_800_000);
                let found = worthless(&snapshot, campaign, (caller, &tags), NOW, until);
                if found.is_none() {
                    let_in += 1;
                    continue;
                }
                refused += 1;
                for _ in 0..5 {
                    let ping = PingId::from_bytes([1; 16]);
                    let mut of_trunk = Tags::new();
                    for name in ["header.x-a", "caller.verstat"] {
                        if rng.bool() {
                            of_trunk.insert(name.into(), rng.u8(0..3).to_string().into());
                        }
                    }
                    let request = RouteRequest {
                        call: CallId::from_bytes([rng.u8(..); 16]),
                        at: Wall(NOW.0 + rng.i64(0..1_800_000)),
                        dialed: "+18005550100".parse().unwrap(),
                        caller: caller.or_else(|| rng.bool().then(|| CALLER.parse().unwrap())),
                        trunk: "trk".into(),
                        named: Some(Named { key: SessionKey::Ping(ping), is_all: true }),
                        tags: of_trunk,
                        announced: false,
                    };
                    let session = SessionReading {
                        session: SessionId::from_bytes([1; 16]),
                        ping,
                        publisher: "p".into(),
                        campaign: "c".into(),
                        number: None,
                        caller,
                        created_at: NOW,
                        expires_at: until,
                        tags: tags.clone(),
                        former: None,
                        sharing: None,
                        promise: None,
                        enriched: Tags::new(),
                    };
                    let known = Known { sessions: &[session], calls: &[] };
                    let mut rotation = Rotation::default();
                    let decision =
                        decide(&snapshot, &request, known, &Unused::new(), &mut rotation);
                    let matched = decision.attribution.as_ref().and_then(|it| it.session);
                    assert!(matched.is_some(), "seed {seed}, {n}: {:?}", decision.steps);
                    assert_eq!(
                        decision.plan,
                        [],
                        "seed {seed}, {n}: {request:?} {tags:?} {found:?}"
                    );
                }
            }
        }
        assert!(refused > 100 && let_in > 100, "{refused} and {let_in}, seed {seed}");
    }

    /// Of one target.
    fn rules(rng: &mut Rng) -> String {
        let mut rule = || {
            let (tag, op, value) = [
                ("geo.state", "eq", "\"OH\""),
                ("geo.state", "in", "[\"OH\", \"KY\"]"),
                ("geo.state", "ne", "\"KY\""),
                ("lead.age", "ge", "18"),
                ("lead.age", "lt", "65"),
                ("header.x-a", "eq", "\"1\""),
                ("caller.verstat", "eq", "\"1\""),
            ][rng.usize(0..7)];
            let missing = ["", ", on_missing = \"pass\""][rng.usize(0..2)];
            let not = ["", "", ", not = true"][rng.usize(0..3)];
            format!("{{ tag = \"{tag}\", op = \"{op}\", value = {value}{missing}{not} }}")
        };
        let groups = [
            rule(),
            format!("{}, {}", rule(), rule()),
            format!("[{}, {}], {}", rule(), rule(), rule()),
        ];
        let lists = ["", "", "lists = [\"s\"]", "lists = [\"a\"]"][rng.usize(0..4)];
        format!("filters = {{ all = [{}] }}\n{lists}", groups[rng.usize(0..3)])
    }

    /// By a ping.
    fn said(rng: &mut Rng) -> Tags {
        let mut tags = Tags::new();
        for (name, values) in [
            ("geo.state", ["OH", "KY", "TX"]),
            ("lead.age", ["17", "40", "70"]),
            ("header.x-a", ["0", "1", "2"]),
        ] {
            if rng.bool() {
                tags.insert(name.into(), values[rng.usize(0..3)].into());
            }
        }
        tags
    }

    fn judged(
        snapshot: &RoutingSnapshot,
        caller: Option<PhoneNumber>,
        tags: &str,
    ) -> Option<Worthless> {
        let tags = tags.split_whitespace().filter_map(|tag| tag.split_once('='));
        let tags: Tags = tags.map(|(name, value)| (name.into(), value.into())).collect();
        let campaign = snapshot.campaign(&"c".into()).unwrap();
        worthless(snapshot, campaign, (caller, &tags), NOW, Wall(NOW.0 + DAY_MS))
    }

    fn compiled(first: &str, second: &str, lists: &str) -> RoutingSnapshot {
        let config: RoutingConfig = toml::from_str(&written(first, second, lists)).unwrap();
        RoutingSnapshot::compile(config, 1).unwrap()
    }

    fn written(first: &str, second: &str, lists: &str) -> String {
        format!(
            r#"
            publishers = [{{ id = "p" }}]
            buyers = [{{ id = "b" }}]
            caller_lists = [{lists}]
            [[targets]]
            id = "a"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:a" }}
            {first}
            [[targets]]
            id = "b"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:b" }}
            {second}
            [[campaigns]]
            id = "c"
            publisher = "p"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "a" }}, {{ target = "b" }}] }}] }}
            "#
        )
    }
}

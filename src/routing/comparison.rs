//! What another configuration would have made of recorded calls.

use crate::id::{CallId, TargetId};
use crate::money::Money;

use super::decision::{Decision, PlannedAttempt, Terms};
use super::replay::{DecisionRecord, RecordError, replay};
use super::snapshot::RoutingSnapshot;

/// What decisions come to on one configuration, compared with another. Each call is in one of `moved`,
/// `repriced`, `refused_now` and `taken_now`, or comes out the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub calls: u32,
    /// Planned for other targets, or for the same in another order.
    pub moved: u32,
    /// Of these: offered to another target first.
    pub moved_first: u32,
    /// Planned for the same targets in the same order, and other terms hold at one of them.
    pub repriced: u32,
    /// Refused, and were not.
    pub refused_now: u32,
    /// Not refused, and were.
    pub taken_now: u32,
    /// How much more the first targets would owe, and publishers be owed, if each call converted.
    pub revenue_delta: Money,
    pub payout_delta: Money,
    /// The first of those that come out differently.
    pub examples: Vec<CallId>,
}

const EXAMPLES_MAX: usize = 20;

/// How a call comes out differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Moved { first: bool },
    Repriced,
    RefusedNow,
    TakenNow,
}

impl Comparison {
    /// Makes decisions again that were kept as these bytes, for as long as `may_go_on`.
    ///
    /// # Errors
    /// One of them is damaged.
    pub fn add_while<'a>(
        &mut self,
        from: Option<&RoutingSnapshot>,
        to: &RoutingSnapshot,
        records: impl IntoIterator<Item = &'a [u8]>,
        mut may_go_on: impl FnMut() -> bool,
    ) -> Result<(), RecordError> {
        for bytes in records {
            if !may_go_on() {
                break;
            }
            self.add(from, to, &DecisionRecord::from_bytes(bytes)?);
        }
        Ok(())
    }

    /// Makes one decision again, on `to`. It is compared with what it is on `from`, or without that with
    /// what was recorded.
    pub fn add(
        &mut self,
        from: Option<&RoutingSnapshot>,
        to: &RoutingSnapshot,
        record: &DecisionRecord,
    ) {
        let before = from.map(|from| replay(from, record).decision);
        let before = before.as_ref().unwrap_or(&record.decision);
        let after = replay(to, record).decision;
        self.calls += 1;
        let change = change(before, &after);
        match change {
            Some(Change::Moved { first }) => {
                self.moved += 1;
                self.moved_first += u32::from(first);
            }
            Some(Change::Repriced) => self.repriced += 1,
            Some(Change::RefusedNow) => self.refused_now += 1,
            Some(Change::TakenNow) => self.taken_now += 1,
            None => {}
        }
        let ((revenue_was, payout_was), (revenue, payout)) = (owed(before), owed(&after));
        let add = |sum: &mut Money, is: i64, was: i64| {
            sum.0 = sum.0.saturating_add(is.saturating_sub(was));
        };
        add(&mut self.revenue_delta, revenue, revenue_was);
        add(&mut self.payout_delta, payout, payout_was);
        if change.is_some() && self.examples.len() < EXAMPLES_MAX {
            self.examples.push(record.decision.call);
        }
    }
}

fn change(before: &Decision, after: &Decision) -> Option<Change> {
    let (was, is) = match (before.plan.first(), after.plan.first()) {
        (Some(was), Some(is)) => (was, is),
        (Some(_), None) => return Some(Change::RefusedNow),
        (None, Some(_)) => return Some(Change::TakenNow),
        (None, None) => return None,
    };
    if !places(before).eq(places(after)) {
        return Some(Change::Moved { first: was.target != is.target });
    }
    (!terms(before).eq(terms(after))).then_some(Change::Repriced)
}

/// Who is tried in which order, and who beside whom.
fn places(decision: &Decision) -> impl Iterator<Item = (&TargetId, bool)> {
    decision.plan.iter().map(|planned| (&planned.target, planned.beside))
}

fn terms(decision: &Decision) -> impl Iterator<Item = Option<Terms>> {
    decision.plan.iter().map(|planned| planned.terms)
}

/// By the buyer of the first target, and to the publisher, in micros.
fn owed(decision: &Decision) -> (i64, i64) {
    let terms = decision.plan.first().and_then(|planned: &PlannedAttempt| planned.terms);
    terms.map(|terms| (terms.revenue.0, terms.payout.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routing::decider::{Known, decide};
    use crate::routing::hold::Bucket;
    use crate::routing::replay::record_bytes;
    use crate::routing::request::{RouteRequest, Usage};
    use crate::routing::selection::Rotation;
    use crate::time::Wall;

    const CONFIG: &str = r#"
        publishers = [{ id = "p" }]
        buyers = [{ id = "b" }]
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = { tiers = [
            { tier = 1, targets = [{ target = "first" }] },
            { tier = 2, targets = [{ target = "second" }] },
            { tier = 3, targets = [{ target = "third" }] },
        ] }
        [[targets]]
        id = "first"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:a" }
        conversion = { seconds = 60, revenue = "10.00" }
        [[targets]]
        id = "second"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:b" }
        conversion = { seconds = 60, revenue = "20.00" }
        [[targets]]
        id = "third"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:c" }
    "#;

    #[test]
    fn a_call_is_moved_by_any_other_target_or_order_and_repriced_by_other_terms() {
        let same = Comparison { calls: 1, ..Comparison::default() };
        let one =
            |changed: Comparison| Comparison { examples: vec![record().decision.call], ..changed };
        let moved = Comparison { moved: 1, ..same.clone() };
        let moved_first = Comparison { moved_first: 1, ..moved.clone() };
        let repriced = Comparison { repriced: 1, ..same.clone() };
        let refused_now = Comparison { refused_now: 1, ..same.clone() };
        let money = |text: &str| text.parse::<Money>().unwrap();

        for (from, to, expected) in [
            ("\"sip:c\" }", "\"sip:d\" }", same.clone()),
            ("target = \"third\"", "target = \"third\", weight = 0", one(moved.clone())),
            ("tier = 2", "tier = 4", one(moved.clone())),
            (
                "tier = 1",
                "tier = 9",
                one(Comparison { revenue_delta: money("10.00"), ..moved_first }),
            ),
            ("\"20.00\"", "\"25.00\"", one(repriced.clone())),
            ("seconds = 60, revenue = \"20", "seconds = 90, revenue = \"20", one(repriced.clone())),
            (
                "\"10.00\"",
                "\"7.50\"",
                one(Comparison { revenue_delta: money("-2.50"), ..repriced }),
            ),
            (
                "id = \"c\"",
                "id = \"c\"\npaused = true",
                one(Comparison { revenue_delta: money("-10.00"), ..refused_now }),
            ),
        ] {
            assert!(CONFIG.contains(from), "{from}");
            let changed = compiled(&CONFIG.replacen(from, to, 1));
            let mut comparison = Comparison::default();
            comparison.add(None, &changed, &record());
            assert_eq!(comparison, expected, "{to}");
        }
    }

    #[test]
    fn two_configurations_are_compared_whatever_the_call_was_decided_on() {
        let one = compiled(&CONFIG.replace("\"10.00\"", "\"12.00\""));
        let other = compiled(&CONFIG.replace("\"10.00\"", "\"15.00\""));
        let delta = |from: Option<&RoutingSnapshot>, to: &RoutingSnapshot| {
            let mut comparison = Comparison::default();
            comparison.add(from, to, &record());
            (comparison.repriced, comparison.revenue_delta.to_string())
        };

        assert_eq!(delta(None, &other), (1, "5.00".into()), "the record has ten");
        assert_eq!(delta(Some(&one), &other), (1, "3.00".into()));
        assert_eq!(delta(Some(&other), &one), (1, "-3.00".into()));
        assert_eq!(delta(Some(&one), &one), (0, "0.00".into()));
    }

    #[test]
    fn decisions_are_compared_for_as_long_as_there_is_time_and_not_if_one_is_damaged() {
        let (same, good, mut bad) = (compiled(CONFIG), bytes(), bytes());
        let mut comparison = Comparison::default();
        let mut left = 3;
        let in_time = || {
            left -= 1;
            left >= 0
        };
        comparison.add_while(None, &same, [good.as_slice(); 5], in_time).unwrap();
        assert_eq!(comparison, Comparison { calls: 3, ..Comparison::default() });
        bad[9] ^= 1;
        let damaged = comparison.add_while(None, &same, [good.as_slice(), &bad], || true);
        assert!(matches!(damaged, Err(RecordError::Altered)), "{damaged:?}");
    }

    fn record() -> DecisionRecord {
        let (request, decision) = decided();
        DecisionRecord::new(&request, Known::default(), &decision)
    }

    fn bytes() -> Vec<u8> {
        let (request, decision) = decided();
        record_bytes(&request, Known::default(), &decision)
    }

    fn decided() -> (RouteRequest, Decision) {
        let request = RouteRequest {
            call: CallId::from_bytes([7; 16]),
            at: Wall(1_773_759_852_318),
            dialed: "+18005550100".parse().unwrap(),
            caller: None,
            trunk: "t".into(),
            tags: [].into(),
            named: None,
            announced: false,
        };
        let (known, unused) = (Known::default(), BTreeMap::<Bucket, Usage>::new());
        let mut rotation = Rotation::default();
        let decision = decide(&compiled(CONFIG), &request, known, &unused, &mut rotation);
        (request, decision)
    }

    fn compiled(config: &str) -> RoutingSnapshot {
        RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1).unwrap()
    }
}

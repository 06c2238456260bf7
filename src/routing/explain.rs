//! A decision in words, made from its steps alone.

use std::fmt::Write;

use crate::id::TargetId;
use crate::reason::{NoPayout, NoRoute, Reason};
use crate::time::Wall;

use super::course::{Course, Shortage, TurnEnd};
use super::decision::{Check, Decision, Outcome, Step, Verdict, code};
use super::duplicate::Ago;
use super::geo::{Basis, Ground};
use super::history::prior::PriorCalls;
use super::hold::Counts;
use super::shortage::FullLimit;

impl Decision {
    /// What became of every candidate: each that was not called has exactly one reason.
    pub fn outcomes(&self, course: &Course) -> Vec<Outcome> {
        let mut planned = 0;
        self.last_steps()
            .map(|(target, step)| {
                let rank = (step.verdict == Verdict::Planned).then(|| {
                    planned += 1;
                    planned
                });
                let (reason, code, full) = match (rank, course.of(target)) {
                    (None, _) => (step.reason, step.code(), step.full.clone()),
                    (Some(_), Some(TurnEnd::Dialed | TurnEnd::HandedOver)) => (None, None, None),
                    (Some(_), None) => {
                        let reason = Reason::NotReached;
                        (Some(reason), Some(code(reason, None)), None)
                    }
                    (Some(_), Some(TurnEnd::Denied { reason, shortage })) => {
                        let full = shortage.as_ref().and_then(|it| it.full(self, target));
                        (Some(*reason), Some(code(*reason, full.as_ref())), full.map(Box::new))
                    }
                };
                let dialed = rank.is_some() && reason.is_none();
                Outcome { target: target.clone(), rank, dialed, reason, code, full }
            })
            .collect()
    }

    /// Why the call gets to nobody, as far as that is known.
    pub fn got_to_nobody(&self, course: &Course) -> Option<NoRoute> {
        course.no_route.or_else(|| self.no_route.filter(|_| self.refused.is_some()))
    }

    /// One line on the call, one per target, and one on the end, for people.
    pub fn explain(&self, course: &Course) -> Vec<String> {
        self.lines(Some(course))
    }

    /// The same of a decision that nobody acts on.
    pub fn explain_plan(&self) -> Vec<String> {
        self.lines(None)
    }

    fn lines(&self, course: Option<&Course>) -> Vec<String> {
        let nobody = Course::default();
        let outcomes = self.outcomes(course.unwrap_or(&nobody));
        let mut lines = vec![self.call_line()];
        let is_duplicate = |step: &&Step| step.target.is_none() && step.check == Check::Duplicate;
        let duplicate = self.steps.iter().find(is_duplicate).and_then(|step| step.have.as_ref());
        lines.extend(duplicate.map(|of| format!("a duplicate of {of}")));
        let is_unpaid = |step: &&Step| {
            let is_dedupe = step.subject.as_deref() == Some("dedupe");
            step.target.is_none() && step.check == Check::Payout && is_dedupe
        };
        lines.extend(self.steps.iter().find(is_unpaid).map(|step| {
            let have = step.have.as_deref().unwrap_or_default();
            let want = step.want.as_deref().unwrap_or_default();
            format!("no payout ({}): {have}, {want}", NoPayout::Duplicate.name())
        }));
        let of_a_tier = |step: &&Step| step.target.is_none() && step.check == Check::Selection;
        for step in self.steps.iter().filter(of_a_tier) {
            let (tier, found) = (step.subject.as_deref(), step.have.as_deref());
            lines.extend(tier.zip(found).map(|(tier, found)| format!("{tier}: {found}")));
        }
        lines.extend(self.last_steps().zip(outcomes).map(|((_, step), outcome)| {
            match (outcome.rank, outcome.reason) {
                (Some(rank), reason) => {
                    self.line_of_planned(&outcome.target, rank, reason, step, course)
                }
                (None, reason) => {
                    let mut line = format!("{}: not dialled", outcome.target);
                    if let Some(reason) = reason {
                        line.push_str("; ");
                        line.push_str(&cause_in(reason, step.full.as_deref()));
                    }
                    line.push_str(&facts(step));
                    line
                }
            }
        }));
        if let Some(reason) = self.refused {
            // If the call was stopped before any target, the last step says what was found.
            let found = self.steps.last().filter(|step| step.target.is_none());
            let facts = found.map(facts).unwrap_or_default();
            let status = self.status.unwrap_or_else(|| reason.status());
            let full = found.and_then(|step| step.full.as_deref());
            lines.push(format!("refused with {status}; {}{facts}", cause_in(reason, full)));
        }
        if let Some(class) = self.got_to_nobody(course.unwrap_or(&nobody)) {
            lines.push(format!("no route: {} ({})", class.text(), class.name()));
        }
        lines.extend(self.readings.prior.as_ref().and_then(|prior| prior.in_words(self.at)));
        lines
    }

    fn line_of_planned(
        &self,
        target: &TargetId,
        rank: u16,
        reason: Option<Reason>,
        step: &Step,
        course: Option<&Course>,
    ) -> String {
        let (note, unpaid) = (spoke_for(step), self.unpaid(target));
        let note = note + &self.ways_left(target);
        let end = course.map(|course| course.of(target));
        match (end, reason) {
            (None, _) => format!("{target}: number {rank} in the plan{note}{unpaid}"),
            (Some(Some(TurnEnd::HandedOver)), _) => {
                format!("{target}: handed to the carrier as number {rank}{note}{unpaid}")
            }
            (Some(_), None) => format!("{target}: dialled as number {rank}{note}{unpaid}"),
            (Some(end), Some(reason)) => {
                let shortage = match end {
                    Some(TurnEnd::Denied { shortage, .. }) => shortage.as_ref(),
                    Some(TurnEnd::Dialed | TurnEnd::HandedOver) | None => None,
                };
                let found = shortage.map(|shortage| self.found_short(target, shortage));
                let found = found.unwrap_or_default();
                let full = shortage.and_then(|shortage| shortage.full(self, target));
                let cause = cause_in(reason, full.as_ref());
                format!("{target}: number {rank} in the plan{note}; {cause}{found}")
            }
        }
    }

    /// The ways to a target that are tried after its others, and why.
    fn ways_left(&self, target: &TargetId) -> String {
        let is_left = |step: &&Step| {
            step.check == Check::Way
                && step.target.as_ref() == Some(target)
                && step.reason.is_some()
        };
        let mut told = String::new();
        for step in self.steps.iter().filter(is_left) {
            let way = step.subject.as_deref().unwrap_or_default();
            let why = step.have.as_deref().unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(told, "; {way} left for last, {why}");
        }
        told
    }

    /// What the limit had, and would have had to have, such as
    /// `: target/t/attempted/total has 1 used, 0 held, at most 1`.
    fn found_short(&self, target: &TargetId, short: &Shortage) -> String {
        let cap = &short.cap;
        match short.full(self, target) {
            Some(full) => {
                let (have, want) = full.words();
                let has = if full.request.counts == Counts::Spacing { ":" } else { " has" };
                format!(": {cap}{has} {have}, {want}")
            }
            None => format!(": {cap}"),
        }
    }

    /// Why the publisher is paid nothing for the call, if that is so.
    fn unpaid(&self, target: &TargetId) -> String {
        let is_its =
            |step: &&Step| step.check == Check::Payout && step.target.as_ref() == Some(target);
        let Some(step) = self.steps.iter().find(is_its) else { return String::new() };
        format!("; no payout ({}){}", NoPayout::PublisherCap.name(), facts(step))
    }

    fn call_line(&self) -> String {
        let Some(attribution) = &self.attribution else {
            return "the dialled number belongs to no campaign".to_owned();
        };
        let mut line =
            format!("campaign {}, publisher {}", attribution.campaign, attribution.publisher);
        if let Some(pool) = &attribution.pool {
            // Writing to a String cannot fail.
            let _ = write!(line, ", pool {pool}");
        }
        match (attribution.session, attribution.age_ms) {
            (Some(session), Some(age_ms)) => {
                let sure = attribution.confidence;
                let by = attribution.method.name();
                let _ =
                    write!(line, "; session {session} by {by} ({sure}, {} s old)", age_ms / 1_000);
            }
            _ => line.push_str("; no session"),
        }
        if attribution.ambiguous {
            line.push_str("; more than one session matched");
        }
        if attribution.race {
            line.push_str("; the number was somebody else's until a moment ago");
        }
        let below = attribution.below_minimum();
        if let Some((found, by, sure)) = below.and_then(|it| Some((it, it.method?, it.confidence?)))
        {
            let _ = write!(
                line,
                "; {} matched by {} ({sure}), less surely than the campaign asks for",
                found.session,
                by.name(),
            );
        }
        line
    }

    /// The step that decided about each target, in the order they were decided.
    fn last_steps(&self) -> impl Iterator<Item = (&TargetId, &Step)> {
        self.steps.iter().filter_map(|step| match (&step.target, step.verdict) {
            (Some(target), Verdict::Planned | Verdict::Refused) => Some((target, step)),
            (None, _) | (Some(_), Verdict::Passed) => None,
        })
    }
}

impl PriorCalls {
    /// Such as `called before: 2 times the number, 3 the campaign; last talked to tgt_a 3 d ago`; `None`:
    /// nothing is known of the caller.
    fn in_words(&self, now: Wall) -> Option<String> {
        if self.is_nobody() {
            return self.is_partial.then(|| {
                "nobody knows whether the caller has called before: not all that is on record was at hand"
                    .to_owned()
            });
        }
        let mut line = format!(
            "the caller has called before: {} of its calls were to the number, {} to the campaign",
            self.to_number, self.to_campaign
        );
        let buyers = self.to_buyers.iter().map(|it| format!("{} {}", it.calls, it.buyer));
        let targets = self.to_targets.iter().map(|it| format!("{} {}", it.calls, it.target));
        let answered: Vec<_> = buyers.chain(targets).collect();
        if !answered.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, "; answered by {}", answered.join(", "));
        }
        let connected =
            self.last_connected.as_ref().map(|it| ("talked to", it.target.as_str(), it));
        let converted =
            self.last_converted.as_ref().map(|it| ("paid for by", it.buyer.as_str(), it));
        for (what, with, last) in connected.into_iter().chain(converted) {
            let ago = Ago(now.0.saturating_sub(last.at.0));
            let _ = write!(line, "; last {what} {with} {ago} ago");
        }
        if self.is_partial {
            line.push_str("; there may be more, as not all that is on record was at hand");
        }
        Some(line)
    }
}

impl Step {
    /// How what a filter found is known. Records say it only of what was not declared.
    pub fn known_by(&self) -> Option<Ground> {
        let declared =
            || (self.check == Check::Filter && self.have.is_some()).then_some(Basis::Declared);
        self.ground.or_else(|| declared().map(Basis::ground))
    }
}

/// Such as `the cap has no room for the call (cap.full)`.
fn cause_in(reason: Reason, full: Option<&FullLimit>) -> String {
    let text = full.and_then(FullLimit::text).unwrap_or_else(|| reason.text());
    format!("{text} ({})", reason.code())
}

/// What spoke for a target that can take the call, where more than its weight did.
fn spoke_for(step: &Step) -> String {
    step.have.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
}

/// What the deciding check saw, such as `: geo.state is KY, wanted in OH, PA`.
fn facts(step: &Step) -> String {
    let (have, want) = step.words();
    let have = have.as_deref().unwrap_or("absent");
    let subject = step.subject.as_deref().unwrap_or_default();
    let Some(want) = want else { return String::new() };
    match step.check {
        Check::Filter => {
            let by = step.known_by().filter(|ground| ground.basis != Basis::Declared);
            let by = by.map(|it| format!(" by {} ({})", it.basis.name(), it.confidence));
            format!(": {subject} is {have}{}, wanted {want}", by.unwrap_or_default())
        }
        Check::Campaign | Check::Trunk if step.reason != Some(Reason::TrunkUnknown) => {
            format!(": {subject} has {have}, {want}")
        }
        Check::Number if step.reason == Some(Reason::NumberCapped) => {
            format!(": {subject} has {have}, {want}")
        }
        // Attempts that are to be apart fill nothing.
        Check::Cap if step.reason == Some(Reason::CapSpacing) => match &step.subject {
            Some(owner) => format!(": {owner}: {have}, {want}"),
            None => format!(": {have}, {want}"),
        },
        Check::Cap | Check::Account | Check::Publisher | Check::Payout | Check::List => {
            format!(": {subject} has {have}, {want}")
        }
        Check::Schedule => format!(": it is {have}, {want}"),
        Check::Concurrency
        | Check::Caller
        | Check::History
        | Check::Campaign
        | Check::Trunk
        | Check::Price => {
            format!(": {have}, {want}")
        }
        Check::Selection
        | Check::Number
        | Check::Session
        | Check::State
        | Check::Weight
        | Check::Duplicate
        | Check::Health
        | Check::Way => format!(": {want}"),
    }
}

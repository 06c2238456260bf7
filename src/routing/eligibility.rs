//! Whether a target can take a call. Checks run in a fixed order, the cheap and certain first, and
//! the first that fails is the target's one reason (spec/domain §2.4).

use std::mem;
use std::ops::Range;

use smol_str::{SmolStr, format_smolstr};

use crate::id::CampaignId;
use crate::reason::Reason;
use crate::time::Wall;

use super::decision::{Check, Finding, Readings, Step, Terms, UsageReading, Verdict};
use super::facts::Facts;
use super::filter::{Filter, Miss};
use super::geo::{Basis, Ground};
use super::history::PastCall;
use super::hold::{BucketRequest, Stake};
use super::limits::{CallLimits, Need, Windows};
use super::list::Listed;
use super::paying;
use super::price::Prices;
use super::request::{Usage, UsageReader};
use super::shortage::FullLimit;
use super::snapshot::{Publisher, Target};

/// Bytes of a tag's value that an explanation shows.
const SHOWN_BYTES_MAX: usize = 64;

/// Checks the targets of one call and writes down each check as it is made.
///
/// A campaign may have thousands of targets, of which a few are tried: what each would reserve stands
/// in one list, of which those that are tried take their own.
pub(super) struct Eligibility<'a, U: ?Sized> {
    pub(super) at: Wall,
    pub(super) campaign: &'a CampaignId,
    /// The caller's earlier calls, the latest first.
    pub(super) calls: &'a [PastCall],
    pub(super) facts: Facts<'a>,
    pub(super) usage: &'a U,
    pub(super) listed: Listed<'a, U>,
    pub(super) windows: Windows<'a>,
    /// Of the call, whichever target takes it.
    pub(super) limits: CallLimits<'a>,
    /// What the call has to bring.
    pub(super) prices: Prices,
    pub(super) steps: Vec<Step>,
    pub(super) readings: Readings,
    /// What attempts at those that can take the call have to reserve, one after the other.
    pub(super) holds: Vec<BucketRequest>,
    /// Those of one target; empty between two.
    pub(super) needs: Vec<Need<'a>>,
}

impl<'a, U: UsageReader + ?Sized> Eligibility<'a, U> {
    /// What an attempt at the target has to reserve, as a stretch of `holds`, or why there will be
    /// none.
    pub(super) fn check(
        &mut self,
        target: &'a Target,
        weight: u32,
        stake: &Stake,
    ) -> Result<Range<usize>, Reason> {
        if target.paused {
            return self.refuse(target, Check::State, Reason::TargetPaused, Finding::default());
        }
        if weight == 0 {
            return self.refuse(target, Check::Weight, Reason::TargetDrained, Finding::default());
        }
        self.pass(target, Check::State, Finding::default());
        self.schedule(target)?;
        self.filters(target)?;
        self.lists(target)?;
        self.history(target)?;
        self.price(target, stake)?;
        self.room(target, stake)
    }

    /// Why the target would not take the call however open it is and whatever room it has. No step is written.
    pub(super) fn unwanted(&mut self, target: &Target, stake: &Stake) -> Option<Reason> {
        let miss = target.filters.groups.iter().find_map(|group| group.check(&self.facts).err());
        if let Some(miss) = miss {
            return Some(miss.reason);
        }
        if !target.lists.is_empty()
            && let Err((reason, _)) = self.listed.check(&target.lists)
        {
            return Some(reason);
        }
        let dedupe = target.dedupe.as_ref();
        let known = dedupe.map(|it| it.check(target, self.campaign, self.calls, self.at));
        let (of_callers, of_price) = (known.and_then(Result::err), self.prices.check(stake).err());
        of_callers.or(of_price).map(|(reason, _)| reason)
    }

    /// Whether a list of the target or its buyer leaves the caller out.
    fn lists(&mut self, target: &Target) -> Result<(), Reason> {
        if target.lists.is_empty() {
            return Ok(());
        }
        match self.listed.check(&target.lists) {
            Ok(()) => {
                self.pass(target, Check::List, Finding::default());
                Ok(())
            }
            Err((reason, finding)) => self.refuse(target, Check::List, reason, finding),
        }
    }

    /// Whether the target takes the caller again.
    fn history(&mut self, target: &Target) -> Result<(), Reason> {
        let Some(dedupe) = &target.dedupe else { return Ok(()) };
        match dedupe.check(target, self.campaign, self.calls, self.at) {
            Ok(()) => {
                self.pass(target, Check::History, Finding::default());
                Ok(())
            }
            Err((reason, finding)) => self.refuse(target, Check::History, reason, finding),
        }
    }

    /// Whether the target pays enough.
    fn price(&mut self, target: &Target, stake: &Stake) -> Result<(), Reason> {
        match self.prices.check(stake) {
            Ok(()) if !self.prices.is_asked => Ok(()),
            Ok(()) => {
                self.pass(target, Check::Price, Finding::default());
                Ok(())
            }
            Err((reason, finding)) => self.refuse(target, Check::Price, reason, finding),
        }
    }

    fn schedule(&mut self, target: &Target) -> Result<(), Reason> {
        let Some(schedule) = &target.schedule else { return Ok(()) };
        match schedule.check(self.at) {
            Ok(()) => {
                self.pass(target, Check::Schedule, Finding::default());
                Ok(())
            }
            Err(closed) => {
                let finding = Finding {
                    subject: target.from.speaks_for(),
                    have: Some(closed.have),
                    want: Some(closed.want),
                    ..Finding::default()
                };
                self.refuse(target, Check::Schedule, closed.reason, finding)
            }
        }
    }

    fn filters(&mut self, target: &Target) -> Result<(), Reason> {
        for group in &target.filters.groups {
            match group.check(&self.facts) {
                Ok(filter) => {
                    let (subject, ground) =
                        (Some(filter.tag.clone()), ground(&self.facts, &filter.tag));
                    let finding = Finding { subject, ground, ..Finding::default() };
                    self.pass(target, Check::Filter, finding);
                }
                Err(miss) => {
                    let finding = missed(&self.facts, &miss);
                    return self.refuse(target, Check::Filter, miss.reason, finding);
                }
            }
        }
        Ok(())
    }

    /// What the publisher is owed if the target takes the call; `Err`: the target does not, for what was
    /// promised cannot be paid.
    pub(super) fn pay(
        &mut self,
        target: &Target,
        publisher: &Publisher,
        terms: Option<Terms>,
    ) -> (Option<Terms>, Result<(), Reason>) {
        let is_promised = terms.is_some_and(|terms| terms.promised);
        let Self { windows, usage, readings, .. } = self;
        let (terms, found) = paying::settle(terms, publisher, windows, *usage, readings);
        let paid = match found {
            Some(finding) if is_promised => {
                self.refuse(target, Check::Payout, Reason::PayoutCapped, finding)
            }
            Some(finding) => {
                self.pass(target, Check::Payout, finding);
                Ok(())
            }
            None => Ok(()),
        };
        (terms, paid)
    }

    /// Caps, spacing, then concurrency.
    fn room(&mut self, target: &'a Target, stake: &Stake) -> Result<Range<usize>, Reason> {
        let mut needs = mem::take(&mut self.needs);
        let Self { limits, windows, usage, readings, .. } = self;
        target.needs(limits, stake, windows, *usage, readings, &mut needs);
        let from = self.holds.len();
        let found = self.reserve(target, needs.drain(..));
        self.needs = needs;
        found.map(|()| from..self.holds.len())
    }

    /// Notes what an attempt has to reserve, as long as there is room.
    fn reserve(
        &mut self,
        target: &Target,
        needs: impl Iterator<Item = Need<'a>>,
    ) -> Result<(), Reason> {
        for Need { request, label, bound } in needs {
            let usage = self.usage.usage(&request.bucket);
            if usage != Usage::default() {
                let bucket = request.bucket.clone();
                self.readings.usage.push(UsageReading { bucket, usage, awaited: None });
            }
            let live = request.counts.is_concurrency();
            let check = if live { Check::Concurrency } else { Check::Cap };
            if !request.admits(usage, request.amount) {
                let (reason, awaited) = (request.counts.refusal(), self.awaited(&request));
                let full = FullLimit { awaited, ..FullLimit::new(request, usage, bound) };
                return self.refuse(target, check, reason, Finding::full(label, full));
            }
            let subject = label.cloned();
            self.pass(target, check, Finding { subject, ..Finding::default() });
            self.holds.push(request);
        }
        Ok(())
    }

    /// How much of what is held in a bucket without room is held for calls that a crash left up.
    fn awaited(&mut self, request: &BucketRequest) -> u64 {
        let awaited = self.usage.awaited(&request.bucket);
        // It was read just now, and was not empty.
        match self.readings.usage.last_mut().filter(|_| awaited > 0) {
            Some(reading) => {
                reading.awaited = Some(awaited);
                awaited
            }
            None => 0,
        }
    }

    pub(super) fn pass(&mut self, target: &Target, check: Check, finding: Finding) {
        self.step(target, check, Verdict::Passed, None, finding);
    }

    pub(super) fn refuse<T>(
        &mut self,
        target: &Target,
        check: Check,
        reason: Reason,
        finding: Finding,
    ) -> Result<T, Reason> {
        self.step(target, check, Verdict::Refused, Some(reason), finding);
        Err(reason)
    }

    fn step(
        &mut self,
        target: &Target,
        check: Check,
        verdict: Verdict,
        reason: Option<Reason>,
        finding: Finding,
    ) {
        self.steps.push(Step::new(Some(target.id.clone()), check, verdict, reason, finding));
    }
}

/// What a group of filters found and wanted.
pub(super) fn missed(facts: &Facts<'_>, miss: &Miss<'_>) -> Finding {
    let tag = &miss.filter.tag;
    Finding {
        subject: Some(tag.clone()),
        have: shown(facts, miss.filter),
        want: Some(miss.want.clone()),
        ground: ground(facts, tag),
        full: None,
    }
}

/// What the tag says, as far as an explanation may show it.
fn shown(facts: &Facts<'_>, filter: &Filter) -> Option<SmolStr> {
    let fact = facts.get(&filter.tag)?;
    Some(if filter.is_private { SmolStr::new_static("hidden") } else { shortened(fact.value) })
}

/// Of what was not declared.
fn ground(facts: &Facts<'_>, tag: &str) -> Option<Ground> {
    let basis = facts.get(tag)?.basis;
    (basis != Basis::Declared).then(|| basis.ground())
}

fn shortened(value: &SmolStr) -> SmolStr {
    match value.floor_char_boundary(SHOWN_BYTES_MAX) {
        end if end < value.len() => format_smolstr!("{}…", &value[..end]),
        _ => value.clone(),
    }
}

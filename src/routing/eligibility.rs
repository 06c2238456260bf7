//! Whether a target can take a call. Checks run in a fixed order, the cheap and certain first, and
//! the first that fails is the target's one reason (spec/domain §2.4).

use smol_str::{SmolStr, format_smolstr};

use crate::id::CampaignId;
use crate::reason::Reason;
use crate::time::Wall;

use super::decision::{Check, Finding, Step, UsageReading, Verdict};
use super::facts::Facts;
use super::filter::{Filter, Miss};
use super::geo::{Basis, Ground};
use super::history::PastCall;
use super::hold::{BucketRequest, Counts, Stake};
use super::price::Prices;
use super::request::{Usage, UsageReader};
use super::snapshot::{Cap, Target, Windows};

/// Bytes of a tag's value that an explanation shows.
const SHOWN_BYTES_MAX: usize = 64;

/// Checks the targets of one call and writes down each check as it is made.
pub(super) struct Eligibility<'a, U: ?Sized> {
    pub(super) at: Wall,
    pub(super) campaign: &'a CampaignId,
    /// The caller's earlier calls, the latest first.
    pub(super) calls: &'a [PastCall],
    pub(super) facts: Facts<'a>,
    pub(super) usage: &'a U,
    pub(super) windows: Windows<'a>,
    /// Caps of the call, whichever target takes it.
    pub(super) caps: [&'a [Cap]; 3],
    /// What the call has to bring; absent: nothing.
    pub(super) prices: Option<Prices>,
    pub(super) steps: Vec<Step>,
    pub(super) readings: Vec<UsageReading>,
}

impl<U: UsageReader + ?Sized> Eligibility<'_, U> {
    /// What an attempt at the target has to reserve, or why there will be none.
    pub(super) fn check(
        &mut self,
        target: &Target,
        weight: u32,
        stake: &Stake,
    ) -> Result<Vec<BucketRequest>, Reason> {
        if target.paused {
            return self.refuse(target, Check::State, Reason::TargetPaused, Finding::default());
        }
        if weight == 0 {
            return self.refuse(target, Check::Weight, Reason::TargetDrained, Finding::default());
        }
        self.pass(target, Check::State, Finding::default());
        self.schedule(target)?;
        self.filters(target)?;
        self.history(target)?;
        self.price(target, stake)?;
        self.room(target, stake)
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
        let Some(prices) = self.prices else { return Ok(()) };
        match prices.check(stake) {
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
                    let (subject, ground) = (Some(filter.tag.clone()), self.ground(&filter.tag));
                    let finding = Finding { subject, ground, ..Finding::default() };
                    self.pass(target, Check::Filter, finding);
                }
                Err(Miss { reason, filter, want }) => {
                    let finding = Finding {
                        subject: Some(filter.tag.clone()),
                        have: self.shown(filter),
                        want: Some(want),
                        ground: self.ground(&filter.tag),
                    };
                    return self.refuse(target, Check::Filter, reason, finding);
                }
            }
        }
        Ok(())
    }

    /// What the tag says, as far as an explanation may show it.
    fn shown(&self, filter: &Filter) -> Option<SmolStr> {
        let fact = self.facts.get(&filter.tag)?;
        Some(if filter.is_private { SmolStr::new_static("hidden") } else { shortened(fact.value) })
    }

    /// Of what was not declared.
    fn ground(&self, tag: &str) -> Option<Ground> {
        let basis = tag.starts_with("geo.").then(|| self.facts.get(tag)).flatten()?.basis;
        (basis != Basis::Declared).then(|| basis.ground())
    }

    /// Caps, then concurrency.
    fn room(&mut self, target: &Target, stake: &Stake) -> Result<Vec<BucketRequest>, Reason> {
        let holds = target.holds(self.caps, stake, &mut self.windows);
        let mut caps = target.caps.iter().chain(self.caps.into_iter().flatten());
        for hold in &holds {
            let usage = self.usage.usage(&hold.bucket);
            if usage != Usage::default() {
                self.readings.push(UsageReading { bucket: hold.bucket.clone(), usage });
            }
            let room = usage.used.saturating_add(usage.held).saturating_add(hold.amount);
            let live = hold.counts == Counts::Live;
            let check = if live { Check::Concurrency } else { Check::Cap };
            // Holds stand in the order of the caps, some of which ask for nothing.
            let label = caps.find(|cap| cap.key == hold.bucket.cap).map(|cap| cap.label.clone());
            if room <= hold.limit {
                self.pass(target, check, Finding { subject: label, ..Finding::default() });
                continue;
            }
            let show = |amount| hold.counts.show(amount);
            let (reason, have) = if live {
                (Reason::ConcurrencyFull, format_smolstr!("{} live", usage.held))
            } else {
                (Reason::CapFull, hold.counts.show_usage(usage))
            };
            let want = match hold.amount {
                1 => format_smolstr!("at most {}", show(hold.limit)),
                asked => {
                    format_smolstr!("at most {} with {} more", show(hold.limit), show(asked))
                }
            };
            let (have, want) = (Some(have), Some(want));
            let finding = Finding { subject: label, have, want, ground: None };
            return self.refuse(target, check, reason, finding);
        }
        Ok(holds)
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
        Finding { subject, have, want, ground }: Finding,
    ) {
        let target = Some(target.id.clone());
        self.steps.push(Step { target, check, subject, verdict, reason, have, want, ground });
    }
}

fn shortened(value: &SmolStr) -> SmolStr {
    match value.floor_char_boundary(SHOWN_BYTES_MAX) {
        end if end < value.len() => format_smolstr!("{}…", &value[..end]),
        _ => value.clone(),
    }
}

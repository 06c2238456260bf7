//! Calls of a caller that has called before: which are duplicates, and who does not take them
//! (spec/domain §2.8).

use smol_str::{SmolStr, format_smolstr};

use crate::id::{CampaignId, PublisherId, TargetId};
use crate::money::Money;
use crate::reason::Reason;
use crate::time::Wall;

use super::config::{
    DedupeAfter, DedupeBy, DedupeCampaigns, DuplicateRoute, DuplicatesConfig, DuplicatesWithin,
    MarkOn, PayDuplicates, PayPolicy, PayScope, Span,
};
use super::decision::{Check, Finding};
use super::eligibility::Eligibility;
use super::history::{Connected, PastCall};
use super::request::{RouteRequest, UsageReader};
use super::snapshot::{Conversion, NumberOwner, Payout, Target};

/// What makes a call a duplicate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duplicate<'a> {
    /// The latest call that does.
    pub(super) of: &'a PastCall,
    /// Whom the caller last talked to.
    pub(super) original: Option<&'a TargetId>,
}

/// What a caller's earlier calls make of the money that is owed for this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dues<'a> {
    pub(super) at: Wall,
    pub(super) campaign: &'a CampaignId,
    pub(super) publisher: &'a PublisherId,
    /// What marks a duplicate; absent: nothing.
    pub(super) rule: Option<&'a DuplicatesConfig>,
    /// The earlier ones, the latest first.
    pub(super) calls: &'a [PastCall],
    pub(super) is_duplicate: bool,
}

/// A buyer's or a target's rule, whichever holds for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedupe {
    pub after: DedupeAfter,
    pub by: DedupeBy,
    pub window: Span,
    pub campaigns: DedupeCampaigns,
}

/// Where a duplicate is to go.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    Any,
    First(&'a TargetId),
    Only(&'a TargetId),
    Last(&'a TargetId),
    Not(&'a TargetId),
}

impl<'a> Way<'a> {
    pub(super) fn of(rule: Option<&DuplicatesConfig>, duplicate: Option<&Duplicate<'a>>) -> Self {
        let Some(rule) = rule else { return Self::Any };
        let Some(original) = duplicate.and_then(|it| it.original) else { return Self::Any };
        match (rule.route, rule.strict) {
            (DuplicateRoute::Normal, _) => Self::Any,
            (DuplicateRoute::Original, false) => Self::First(original),
            (DuplicateRoute::Original, true) => Self::Only(original),
            (DuplicateRoute::Different, false) => Self::Last(original),
            (DuplicateRoute::Different, true) => Self::Not(original),
        }
    }

    /// Who is tried before all others.
    pub(super) fn first(&self) -> Option<&'a TargetId> {
        match self {
            Self::First(original) | Self::Only(original) => Some(original),
            Self::Any | Self::Last(_) | Self::Not(_) => None,
        }
    }

    /// Who is tried after all others.
    pub(super) fn last(&self) -> Option<&'a TargetId> {
        match self {
            Self::Last(original) => Some(original),
            Self::Any | Self::First(_) | Self::Only(_) | Self::Not(_) => None,
        }
    }

    /// Whether the target is one it may go to.
    pub(super) fn check<U: UsageReader + ?Sized>(
        &self,
        target: &Target,
        eligibility: &mut Eligibility<'_, U>,
    ) -> Result<(), Reason> {
        let (reason, want) = match self {
            Self::Only(original) if target.id != **original => {
                (Reason::DuplicateElsewhere, format_smolstr!("only {original}"))
            }
            Self::Not(original) if target.id == **original => {
                (Reason::DuplicateAgain, format_smolstr!("not {original}"))
            }
            Self::Any | Self::First(_) | Self::Only(_) | Self::Last(_) | Self::Not(_) => {
                return Ok(());
            }
        };
        let finding = Finding { want: Some(want), ..Finding::default() };
        eligibility.refuse(target, Check::Duplicate, reason, finding)
    }
}

impl<'a> Duplicate<'a> {
    /// `calls` are the caller's earlier ones, the latest first.
    pub(super) fn find(
        rule: &DuplicatesConfig,
        owner: &NumberOwner<'_>,
        request: &RouteRequest,
        calls: &'a [PastCall],
    ) -> Option<Self> {
        let counts = |past: &&'a PastCall| {
            rule.window_s.reaches(past.at, request.at)
                && match rule.within {
                    DuplicatesWithin::Number => past.dialed == request.dialed,
                    DuplicatesWithin::Campaign => past.campaign == owner.campaign.id,
                    DuplicatesWithin::Publisher => past.publisher == owner.publisher.id,
                    DuplicatesWithin::Account => true,
                }
        };
        let of =
            calls.iter().filter(counts).find(|past| came_far_enough(rule, past, request.at))?;
        let original = calls.iter().filter(counts).find_map(|past| past.answered_by().next());
        Some(Self { of, original: original.map(|connected| &connected.target) })
    }

    pub(super) fn finding(&self, now: Wall) -> Finding {
        let ago = Ago(now.0.saturating_sub(self.of.at.0));
        let original = self.original.map(TargetId::as_str).unwrap_or("nobody");
        Finding {
            subject: Some(SmolStr::new_static("duplicate")),
            have: Some(format_smolstr!("{} {ago} ago, talked to {original}", self.of.call)),
            want: None,
            ..Finding::default()
        }
    }
}

impl Dedupe {
    /// Why the target does not take the caller again.
    pub(super) fn check(
        &self,
        target: &Target,
        campaign: &CampaignId,
        calls: &[PastCall],
        now: Wall,
    ) -> Result<(), (Reason, Finding)> {
        let is_of_mine = |connected: &Connected| match self.by {
            DedupeBy::Buyer => connected.buyer == target.buyer,
            DedupeBy::Target => connected.target == target.id,
        };
        let since = |past: &PastCall| match self.after {
            DedupeAfter::Off => None,
            // Whoever hung up at once has had the caller, too.
            DedupeAfter::Connected => {
                past.answered_by().filter(|it| is_of_mine(it)).map(|it| it.at).max()
            }
            DedupeAfter::Converted => {
                past.connected.as_ref().filter(|it| is_of_mine(it)).and(past.converted_at)
            }
        };
        let latest = calls
            .iter()
            .filter(|past| self.campaigns == DedupeCampaigns::All || past.campaign == *campaign)
            .filter_map(|past| since(past).filter(|at| self.window.reaches(*at, now)))
            .max();
        let Some(latest) = latest else { return Ok(()) };
        let (reason, what) = match (self.by, self.after) {
            (DedupeBy::Buyer, DedupeAfter::Converted) => {
                (Reason::DedupeBuyerConverted, "converted")
            }
            (DedupeBy::Buyer, DedupeAfter::Connected | DedupeAfter::Off) => {
                (Reason::DedupeBuyerConnected, "connected")
            }
            (DedupeBy::Target, DedupeAfter::Converted) => {
                (Reason::DedupeTargetConverted, "converted")
            }
            (DedupeBy::Target, DedupeAfter::Connected | DedupeAfter::Off) => {
                (Reason::DedupeTargetConnected, "connected")
            }
        };
        let ago = Ago(now.0.saturating_sub(latest.0));
        let want = match self.window {
            Span::Seconds(_) => format_smolstr!("not within {}", self.window),
            Span::Forever => SmolStr::new_static("never before"),
        };
        let have = format_smolstr!("{what} {ago} ago");
        Err((reason, Finding { have: Some(have), want: Some(want), ..Finding::default() }))
    }
}

fn came_far_enough(rule: &DuplicatesConfig, past: &PastCall, now: Wall) -> bool {
    match rule.mark_on {
        MarkOn::Incoming => true,
        MarkOn::Connected => past.answered_by().next().is_some(),
        MarkOn::Talked => {
            past.talked_longest_ms(now).is_some_and(|ms| ms >= u64::from(rule.talk_s) * 1_000)
        }
        MarkOn::Converted => past.converted_at.is_some(),
    }
}

impl<'a> Dues<'a> {
    /// Of somebody who has never called.
    pub(super) fn of_a_first_call(campaign: &'a CampaignId, publisher: &'a PublisherId) -> Self {
        Self { at: Wall(0), campaign, publisher, rule: None, calls: &[], is_duplicate: false }
    }

    /// Why the publisher is owed nothing; `None`: it is.
    pub(super) fn unpaid(&self, payout: &Payout) -> Option<Finding> {
        if payout.amount <= Money::ZERO {
            return None;
        }
        self.withheld(&payout.dedupe, None, PayScope::Campaign, |past| past.paid_at(self.at))
    }

    /// Whether the buyer of the target owes nothing.
    pub(super) fn is_free(&self, target: &Target, conversion: &Conversion) -> bool {
        let usual = PayScope::Buyer;
        let charged_at = PastCall::charged_at;
        self.withheld(&conversion.dedupe, Some(target), usual, charged_at).is_some()
    }

    /// `owed_at`: when money was owed for an earlier call.
    fn withheld(
        &self,
        pay: &PayDuplicates,
        target: Option<&Target>,
        usual: PayScope,
        owed_at: impl Fn(&PastCall) -> Option<Wall>,
    ) -> Option<Finding> {
        match pay.policy {
            PayPolicy::PayAll => None,
            PayPolicy::NeverPayDuplicates => {
                let is_one = match (pay.scope, self.rule) {
                    (None, _) => self.is_duplicate,
                    (Some(_), None) => false,
                    (Some(scope), Some(rule)) => self.calls.iter().any(|past| {
                        rule.window_s.reaches(past.at, self.at)
                            && came_far_enough(rule, past, self.at)
                            && self.is_in(scope, target, past, PastCall::answered_by)
                    }),
                };
                is_one.then(|| Finding {
                    subject: Some(SmolStr::new_static("dedupe")),
                    have: Some(SmolStr::new_static("it is a duplicate")),
                    want: Some(SmolStr::new_static("duplicates are not paid for")),
                    ..Finding::default()
                })
            }
            PayPolicy::OncePer => {
                let (window, scope) =
                    (pay.window_s.unwrap_or_default(), pay.scope.unwrap_or(usual));
                // Of those who answered it, the last alone may owe for it.
                let owing = |past: &'a PastCall| past.connected.iter();
                let counts = self.calls.iter();
                let counts = counts.filter(|past| self.is_in(scope, target, past, owing));
                let owed = counts.filter_map(|past| Some((owed_at(past)?, past.call)));
                let (then, call) = owed.max().filter(|(then, _)| window.reaches(*then, self.at))?;
                let ago = Ago(self.at.0.saturating_sub(then.0));
                let want = match window {
                    Span::Seconds(_) => format_smolstr!("a caller is paid for once per {window}"),
                    Span::Forever => SmolStr::new_static("a caller is paid for once"),
                };
                Some(Finding {
                    subject: Some(SmolStr::new_static("dedupe")),
                    have: Some(format_smolstr!("{call} was paid for {ago} ago")),
                    want: Some(want),
                    ..Finding::default()
                })
            }
        }
    }

    /// `by`: whose answers count, of those who answered it.
    fn is_in<I: Iterator<Item = &'a Connected>>(
        &self,
        scope: PayScope,
        target: Option<&Target>,
        past: &'a PastCall,
        by: impl Fn(&'a PastCall) -> I,
    ) -> bool {
        let of_target = |is_its: &dyn Fn(&Connected, &Target) -> bool| {
            target.is_some_and(|target| by(past).any(|it| is_its(it, target)))
        };
        match scope {
            PayScope::Target => of_target(&|it, target| it.target == target.id),
            PayScope::Buyer => of_target(&|it, target| it.buyer == target.buyer),
            PayScope::Publisher => past.publisher == *self.publisher,
            PayScope::Campaign => past.campaign == *self.campaign,
            PayScope::Account => true,
        }
    }
}

/// Milliseconds for people, such as `3 d`, `2 h`, `40 s`.
pub(super) struct Ago(pub(super) i64);

impl std::fmt::Display for Ago {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0 / 1_000;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3_600 => write!(f, "{} min", seconds / 60),
            3_600..86_400 => write!(f, "{} h", seconds / 3_600),
            _ => write!(f, "{} d", seconds / 86_400),
        }
    }
}

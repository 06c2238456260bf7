//! What stops a call before any target is looked at because of who calls (spec/domain §2.4).

use smol_str::{SmolStr, format_smolstr};

use crate::reason::Reason;

use super::attestation::Attested;
use super::config::{Anonymous, Unattested};
use super::decision::{Check, Decision, Finding, UsageReading};
use super::history::PastCall;
use super::hold::{BucketRequest, Counts};
use super::limits::{Bound, CallLimits, Need, Windows};
use super::list::Listed;
use super::request::{RouteRequest, Usage, UsageReader};
use super::shortage::FullLimit;
use super::snapshot::{Campaign, Cap};

impl Decision {
    /// Whether these caps leave no room for any call.
    pub(super) fn check_capped<U: UsageReader + ?Sized>(
        &mut self,
        caps: &[Cap],
        refused: (Check, Reason),
        usage: &U,
        windows: &mut Windows<'_>,
    ) -> Result<(), Reason> {
        let counted = |cap: &&Cap| {
            !cap.stops_paying && !matches!(cap.counts, Counts::Offered | Counts::Pinged)
        };
        for cap in caps.iter().filter(counted) {
            self.has_room(cap, refused, usage, windows)?;
        }
        Ok(())
    }

    /// Whether a list of callers keeps the caller from the campaign, or from any.
    pub(super) fn check_lists<U: UsageReader + ?Sized>(
        &mut self,
        campaign: &Campaign,
        listed: &mut Listed<'_, U>,
    ) -> Result<(), Reason> {
        if !listed.blocks() && campaign.lists.is_empty() {
            return Ok(());
        }
        match listed.block().and_then(|()| listed.check(&campaign.lists)) {
            Ok(()) => {
                self.pass_call(Check::List, Finding::default());
                Ok(())
            }
            Err((reason, finding)) => {
                self.readings.listed = std::mem::take(&mut listed.found);
                Err(self.refuse_call(Check::List, reason, finding))
            }
        }
    }

    /// Counts the call as one that came, if whoever sends and takes it has room for that.
    pub(super) fn check_offered<U: UsageReader + ?Sized>(
        &mut self,
        limits: &CallLimits<'_>,
        usage: &U,
        windows: &mut Windows<'_>,
    ) -> Result<(), Reason> {
        let (campaign, publisher) = (limits.campaign, limits.publisher);
        let of_campaign = campaign.map(|it| &it.caps[..]).unwrap_or_default();
        let of_publisher = publisher.map(|it| &it.caps[..]).unwrap_or_default();
        let of_account = limits.account.map(|it| &it.caps[..]).unwrap_or_default();
        let of_number = limits.number.map(|it| &it.caps[..]).unwrap_or_default();
        for (caps, check, reason) in [
            (of_account, Check::Account, Reason::AccountCapped),
            (limits.trunk, Check::Trunk, Reason::TrunkCapped),
            (of_number, Check::Number, Reason::NumberCapped),
            (of_campaign, Check::Campaign, Reason::CampaignCapped),
            (of_publisher, Check::Publisher, Reason::PublisherCapped),
        ] {
            for cap in caps.iter().filter(|cap| cap.counts == Counts::Offered) {
                let request = self.has_room(cap, (check, reason), usage, windows)?;
                self.offered.extend(request);
            }
        }
        Ok(())
    }

    fn has_room<U: UsageReader + ?Sized>(
        &mut self,
        cap: &Cap,
        (check, reason): (Check, Reason),
        usage: &U,
        windows: &mut Windows<'_>,
    ) -> Result<Option<BucketRequest>, Reason> {
        let need = cap.need(1, windows, usage, &mut self.readings);
        let Some(Need { request, .. }) = need else { return Ok(None) };
        let reading = usage.usage(&request.bucket);
        let counts = request.counts == Counts::Offered;
        let admits = request.admits(reading, 1);
        if (counts || !admits) && reading != Usage::default() {
            let bucket = request.bucket.clone();
            self.readings.usage.push(UsageReading { bucket, usage: reading, awaited: None });
        }
        if counts && usage.withheld(&request.bucket) {
            let subject = Some(cap.label.clone());
            let want = Some(SmolStr::new_static("to know what other servers have taken"));
            let finding = Finding { subject, want, ..Finding::default() };
            self.readings.withheld.push(request.bucket);
            self.offered.clear();
            return Err(self.refuse_call(check, Reason::CapFullHere, finding));
        }
        if admits {
            return Ok(Some(request));
        }
        let full = FullLimit::new(request, reading, Bound::Gate);
        let finding = Finding::full(Some(&cap.label), full);
        // Nobody takes the call, so nobody counts it.
        self.offered.clear();
        Err(self.refuse_call(check, reason, finding))
    }

    /// Whether the campaign takes this caller. `calls` are the caller's earlier ones, the latest
    /// first.
    pub(super) fn check_caller(
        &mut self,
        campaign: &Campaign,
        request: &RouteRequest,
        calls: &[PastCall],
    ) -> Result<(), Reason> {
        let rules = &campaign.callers;
        // Callers without a number that count as one are not one who dials again.
        if rules.repeat_after_s > 0 && !request.announced && request.caller.is_some() {
            let again = calls.iter().find(|past| past.dialed == request.dialed);
            let ago_ms = again.map(|past| request.at.0.saturating_sub(past.at.0).max(0));
            let finding = Finding {
                subject: Some(SmolStr::new_static("repeat")),
                have: ago_ms.map(|ms| format_smolstr!("called {ms} ms ago")),
                want: Some(format_smolstr!("no sooner than {} s", rules.repeat_after_s)),
                ..Finding::default()
            };
            if ago_ms.is_some_and(|ms| ms < i64::from(rules.repeat_after_s) * 1_000) {
                return Err(self.refuse_call(Check::Caller, Reason::RepeatTooSoon, finding));
            }
            self.pass_call(Check::Caller, finding);
        }
        if let Some(least) = rules.min_attestation {
            let attested = Attested::of(&request.tags);
            let finding = Finding {
                subject: Some(SmolStr::new_static("attestation")),
                have: Some(attested.name()),
                want: Some(format_smolstr!("at least {}", least.name())),
                ..Finding::default()
            };
            let is_enough = match attested {
                Attested::As(level) => level >= least,
                Attested::Failed => false,
                Attested::Nothing => rules.unattested == Unattested::Allow,
            };
            if !is_enough {
                return Err(self.refuse_call(Check::Caller, Reason::AttestationBelow, finding));
            }
            self.pass_call(Check::Caller, finding);
        }
        if request.caller.is_none() && rules.anonymous == Anonymous::Refuse {
            let finding = Finding {
                subject: Some(SmolStr::new_static("anonymous")),
                have: Some(SmolStr::new_static("withheld")),
                want: Some(SmolStr::new_static("a number")),
                ..Finding::default()
            };
            return Err(self.refuse_call(Check::Caller, Reason::AnonymousCaller, finding));
        }
        Ok(())
    }
}

//! What is known of a caller's earlier calls, each fact by itself (spec/domain §2.8).

use minicbor::{Decode, Encode};

use crate::id::{BuyerId, CallId, CampaignId, TargetId};
use crate::phone::PhoneNumber;
use crate::routing::config::{HistoryConfig, Span};
use crate::routing::history::{Connected, PastCall};
use crate::time::Wall;

/// Of one call, as it was decided. Whether anything follows is for rules to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PriorCalls {
    /// Calls that came to the dialled number.
    #[n(0)]
    pub to_number: u32,
    /// Calls that came to the campaign.
    #[n(1)]
    pub to_campaign: u32,
    /// Calls that buyers answered; those of whom none did are left out. By buyer.
    #[n(2)]
    pub to_buyers: Vec<PriorToBuyer>,
    /// The same of targets.
    #[n(3)]
    pub to_targets: Vec<PriorToTarget>,
    /// The last that somebody answered.
    #[n(4)]
    pub last_connected: Option<PriorCall>,
    /// The last that its buyer came to owe for.
    #[n(5)]
    pub last_converted: Option<PriorCall>,
    /// There may be others that are not known here.
    #[cbor(n(6), default)]
    pub is_partial: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PriorToBuyer {
    #[n(0)]
    pub buyer: BuyerId,
    #[n(1)]
    pub calls: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PriorToTarget {
    #[n(0)]
    pub target: TargetId,
    #[n(1)]
    pub calls: u32,
}

/// An earlier call, and with whom.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PriorCall {
    #[n(0)]
    pub call: CallId,
    #[n(1)]
    pub target: TargetId,
    #[n(2)]
    pub buyer: BuyerId,
    /// When it was answered, or owed for.
    #[n(3)]
    pub at: Wall,
}

/// What the facts are about.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub dialed: PhoneNumber,
    pub campaign: &'a CampaignId,
    pub at: Wall,
}

/// How far back each fact looks; zero: it is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorWindows {
    pub number: Span,
    pub campaign: Span,
    pub buyer: Span,
    pub target: Span,
}

impl PriorCalls {
    /// `calls` are the caller's earlier ones.
    pub fn of(calls: &[PastCall], asking: Asking<'_>, windows: &PriorWindows) -> Self {
        let mut prior = Self::default();
        let Asking { dialed, campaign, at: now } = asking;
        let is_in = |window: Span, at| window != Span::Seconds(0) && window.reaches(at, now);
        for past in calls {
            let counts = past.dialed == dialed && is_in(windows.number, past.at);
            prior.to_number += u32::from(counts);
            let counts = past.campaign == *campaign && is_in(windows.campaign, past.at);
            prior.to_campaign += u32::from(counts);
            // Of one buyer, or target, that a call went on to, it is one call.
            let met =
                || past.answered_by().filter(|it| is_in(windows.buyer, it.at)).map(|it| &it.buyer);
            for (nth, buyer) in met().enumerate() {
                if met().take(nth).any(|before| before == buyer) {
                    continue;
                }
                match prior.to_buyers.iter_mut().find(|it| it.buyer == *buyer) {
                    Some(known) => known.calls += 1,
                    None => {
                        prior.to_buyers.push(PriorToBuyer { buyer: buyer.clone(), calls: 1 });
                    }
                }
            }
            let met = || {
                past.answered_by().filter(|it| is_in(windows.target, it.at)).map(|it| &it.target)
            };
            for (nth, target) in met().enumerate() {
                if met().take(nth).any(|before| before == target) {
                    continue;
                }
                match prior.to_targets.iter_mut().find(|it| it.target == *target) {
                    Some(known) => known.calls += 1,
                    None => {
                        prior.to_targets.push(PriorToTarget { target: target.clone(), calls: 1 });
                    }
                }
            }
            let Some(Connected { target, buyer, at }) = past.answered_by().next() else { continue };
            let with = |at| PriorCall {
                call: past.call,
                target: target.clone(),
                buyer: buyer.clone(),
                at,
            };
            if prior.last_connected.as_ref().is_none_or(|known| known.at < *at) {
                prior.last_connected = Some(with(*at));
            }
            if let Some(at) = past.converted_at
                && prior.last_converted.as_ref().is_none_or(|known| known.at < at)
            {
                prior.last_converted = Some(with(at));
            }
        }
        prior.to_buyers.sort_by(|a, b| a.buyer.cmp(&b.buyer));
        prior.to_targets.sort_by(|a, b| a.target.cmp(&b.target));
        prior
    }

    /// Whether nothing at all is known of the caller.
    pub fn is_nobody(&self) -> bool {
        *self == Self { is_partial: self.is_partial, ..Self::default() }
    }
}

impl PriorWindows {
    /// The longest; `None`: nothing is kept.
    pub fn longest(&self) -> Option<Span> {
        let Self { number, campaign, buyer, target } = *self;
        [number, campaign, buyer, target].into_iter().max().filter(|it| *it != Span::Seconds(0))
    }
}

impl From<HistoryConfig> for PriorWindows {
    fn from(config: HistoryConfig) -> Self {
        let HistoryConfig { number_s, campaign_s, buyer_s, target_s, .. } = config;
        Self { number: number_s, campaign: campaign_s, buyer: buyer_s, target: target_s }
    }
}

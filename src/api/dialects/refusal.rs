//! Why a publisher is told no price, in the classes that platforms tell apart.

use crate::reason::Reason;
use crate::routing::ping::{OverQuota, OverShare, PingRefusals, RefusalCode};

/// Why there is no bid.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    /// Nobody has this key.
    Unknown,
    /// The request cannot be read.
    Unreadable(String),
    /// What the ping says is not taken.
    Fields(PingRefusals),
    /// Nothing would be paid for its call.
    NoBid(Reason),
    OverQuota(OverQuota),
    /// There is pressure, and the publisher sends more than its share.
    OverShare(OverShare),
    /// There is neither a number nor an address to call.
    Nowhere,
    /// The promise is over, was used, or was never given.
    Over,
    /// This server could not say it, or not in time.
    Late,
}

/// What platforms tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// There is no such campaign for this publisher.
    Disabled,
    Paused,
    /// The request cannot be read, or lacks something.
    Malformed,
    /// The tags are not what is wanted.
    Tags,
    CallerMalformed,
    CallerMissing,
    /// The caller is not wanted.
    Caller,
    /// The caller was paid for before.
    Duplicate,
    /// The publisher's or the campaign's caps are full.
    Capped,
    /// All targets are closed.
    Closed,
    /// No target can take it.
    Capacity,
    /// Its targets' caps are full.
    TargetsCapped,
    /// No number is left to call.
    NoNumber,
    Rate,
    /// The promise is over.
    Over,
    /// This server cannot say.
    Unavailable,
}

impl Refusal {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Unknown => Class::Disabled,
            Self::Unreadable(_) => Class::Malformed,
            Self::Fields(refusals) => of_fields(refusals),
            Self::NoBid(reason) => of_reason(*reason),
            Self::OverQuota(_) | Self::OverShare(_) => Class::Rate,
            Self::Nowhere => Class::NoNumber,
            Self::Over => Class::Over,
            Self::Late => Class::Unavailable,
        }
    }

    /// Our own code for it, such as `schedule.closed`.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "auth.key_unknown",
            Self::Unreadable(_) => "body.syntax",
            Self::Fields(refusals) => match refusals.first().code {
                RefusalCode::Worthless(reason) => reason.code(),
                RefusalCode::Full => "ping.full",
                RefusalCode::Capped => "ping.capped",
                RefusalCode::Paused => "ping.paused",
                RefusalCode::Missing
                | RefusalCode::Malformed
                | RefusalCode::TooLarge
                | RefusalCode::Unknown
                | RefusalCode::Mismatch
                | RefusalCode::Unsupported
                | RefusalCode::Unexpected
                | RefusalCode::ExtraTooLarge => "ping.refused",
            },
            Self::NoBid(reason) => reason.code(),
            Self::OverQuota(_) => "ping.over_quota",
            Self::OverShare(_) => "ping.over_share",
            Self::Nowhere => "ping.no_number",
            Self::Over => "quote.over",
            Self::Late => "ping.unavailable",
        }
    }

    /// For people.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Unknown => String::from("the key is not known here"),
            Self::Unreadable(detail) => detail.clone(),
            // Not which target wants what: that is no publisher's to know.
            Self::Fields(refusals) => match refusals.first().code {
                RefusalCode::Worthless(reason) => reason.text().to_owned(),
                RefusalCode::Full | RefusalCode::Capped => String::from("no more pings for now"),
                RefusalCode::Missing
                | RefusalCode::Malformed
                | RefusalCode::TooLarge
                | RefusalCode::Unknown
                | RefusalCode::Mismatch
                | RefusalCode::Paused
                | RefusalCode::Unsupported
                | RefusalCode::Unexpected
                | RefusalCode::ExtraTooLarge => refusals.to_string(),
            },
            Self::NoBid(reason) => reason.text().to_owned(),
            Self::OverQuota(over) => over.to_string(),
            Self::OverShare(over) => over.to_string(),
            Self::Nowhere => String::from("no number is left to call"),
            Self::Over => String::from("no such price holds any more"),
            Self::Late => String::from("no price can be told at the moment"),
        }
    }
}

fn of_fields(refusals: &PingRefusals) -> Class {
    let first = refusals.first();
    let is_caller = first.field == "caller_id";
    match first.code {
        RefusalCode::Worthless(reason) => of_reason(reason),
        RefusalCode::Paused => Class::Paused,
        RefusalCode::Capped => Class::Capped,
        RefusalCode::Full => Class::Unavailable,
        RefusalCode::Missing if is_caller => Class::CallerMissing,
        RefusalCode::Malformed if is_caller => Class::CallerMalformed,
        RefusalCode::Missing
        | RefusalCode::Malformed
        | RefusalCode::TooLarge
        | RefusalCode::Unknown
        | RefusalCode::Mismatch
        | RefusalCode::Unsupported
        | RefusalCode::Unexpected
        | RefusalCode::ExtraTooLarge => Class::Malformed,
    }
}

fn of_reason(reason: Reason) -> Class {
    match reason {
        Reason::NumberUnknown
        | Reason::SessionUnknown
        | Reason::TrunkUnknown
        | Reason::NumberMalformed
        | Reason::PayoutNone => Class::Disabled,
        Reason::CampaignPaused | Reason::PublisherPaused => Class::Paused,
        Reason::AccountCapped
        | Reason::PublisherCapped
        | Reason::CampaignCapped
        | Reason::NumberCapped
        | Reason::PayoutCapped => Class::Capped,
        Reason::BlockedCaller
        | Reason::Litigator
        | Reason::RepeatTooSoon
        | Reason::AttestationBelow
        | Reason::SuppressionList => Class::Caller,
        Reason::AnonymousCaller => Class::CallerMissing,
        Reason::DedupeBuyerConnected
        | Reason::DedupeBuyerConverted
        | Reason::DedupeTargetConnected
        | Reason::DedupeTargetConverted
        | Reason::DuplicateElsewhere
        | Reason::DuplicateAgain
        | Reason::PayoutDuplicate => Class::Duplicate,
        Reason::FilterMismatch | Reason::FilterMissingTag | Reason::FilterBasis => Class::Tags,
        Reason::ScheduleClosed | Reason::ScheduleHoliday | Reason::ScheduleClosingSoon => {
            Class::Closed
        }
        Reason::CapFull | Reason::CapSpacing | Reason::NoCredit | Reason::CapFullHere => {
            Class::TargetsCapped
        }
        Reason::TargetPaused
        | Reason::TargetDrained
        | Reason::TargetCircuitOpen
        | Reason::TargetOnProbation
        | Reason::TargetDown
        | Reason::WayCircuitOpen
        | Reason::WayUnreached
        | Reason::WayOnProbation
        | Reason::PriceBelowFloor
        | Reason::PriceBelowSoftFloor
        | Reason::PriceMarginBelowMin
        | Reason::PriceLoss
        | Reason::HoldsFull
        | Reason::ConcurrencyFull
        | Reason::NotReached
        | Reason::TooManyCandidates
        | Reason::NoneEligible
        | Reason::TrunkFull
        | Reason::TrunkCapped => Class::Capacity,
        // What only calls come to.
        Reason::Overloaded
        | Reason::Draining
        | Reason::JournalFull
        | Reason::DecisionTimeout
        | Reason::DecisionFailed
        | Reason::AttemptNoAnswer
        | Reason::AttemptNoResponse
        | Reason::AttemptNoRinging
        | Reason::AttemptBusy
        | Reason::AttemptRejected
        | Reason::AttemptCarrierFailed
        | Reason::AttemptUnresolved
        | Reason::AttemptRedirected
        | Reason::AttemptBarred
        | Reason::AttemptRateFull
        | Reason::AnsweredElsewhere
        | Reason::CallerAbandoned
        | Reason::CallerHungUp
        | Reason::TargetHungUp
        | Reason::MaxDuration
        | Reason::PrackMissing
        | Reason::SessionExpired
        | Reason::AckMissing
        | Reason::DialogLost
        | Reason::PeerUnreachable
        | Reason::HandedOver
        | Reason::ConnectFailed
        | Reason::HungUpByOperator
        | Reason::NodeRestart
        | Reason::InternalError => Class::Unavailable,
    }
}

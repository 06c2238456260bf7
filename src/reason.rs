//! Why something was refused or ended: the only list. Status codes, metric labels, API text and
//! CDR columns are read from the one table here (spec/domain §2.4).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $text:literal;)*) => {
        /// A reason code. `status` is what the caller's trunk is answered when this is why its
        /// call failed, unless the trunk's failure map says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable code, such as `concurrency.full`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Default SIP status towards the carrier.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// A short text for people.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    // Call gate.
    NumberUnknown = "gate.number_unknown", 404, "the dialled number belongs to no campaign";
    SessionUnknown = "gate.session_unknown", 404, "the address names no session that is live";
    TrunkUnknown = "gate.trunk_unknown", 403, "the configuration has no such trunk";
    NumberMalformed = "gate.number_malformed", 404, "the dialled user part is no telephone number";
    CampaignPaused = "gate.campaign_paused", 480, "the campaign is paused";
    PublisherPaused = "gate.publisher_paused", 480, "the publisher is paused";
    AccountCapped = "gate.account_capped", 480, "the account's cap leaves no room for any call";
    PublisherCapped = "gate.publisher_capped", 480, "the publisher's cap leaves no room for any call";
    BlockedCaller = "gate.blocked_caller", 403, "the caller is on a list of those who are blocked";
    Litigator = "gate.litigator", 403, "the caller is on a list of those who sue";
    CampaignCapped = "gate.campaign_capped", 480, "the campaign takes no more calls in this window";
    TrunkCapped = "gate.trunk_capped", 480, "the trunk sends no more calls in this window";
    NumberCapped = "gate.number_capped", 480, "the number's cap leaves no room for any call";
    RepeatTooSoon = "gate.repeat_too_soon", 486, "the caller called a moment ago";
    AttestationBelow = "gate.attestation_below", 403, "the carrier is not sure enough of the caller's number";
    AnonymousCaller = "gate.anonymous", 433, "callers have to show their number";
    TrunkFull = "gate.trunk_full", 503, "the trunk has as many calls as it may have";
    Overloaded = "gate.overloaded", 503, "this server takes no new calls at the moment";
    Draining = "gate.draining", 503, "this server is being taken out of service";
    JournalFull = "gate.journal_full", 503, "the journal's disk is full";
    // Target state, schedule, filters.
    TargetPaused = "target.paused", 480, "the target is paused";
    TargetDrained = "target.drained", 480, "the target's weight is zero";
    TargetCircuitOpen = "target.circuit_open", 480, "calls to the target went badly, and it rests";
    TargetOnProbation = "target.probation", 480, "a few calls try whether the target has recovered, and this is none of them";
    TargetDown = "target.down", 480, "no address of the target answers probes";
    WayCircuitOpen = "way.circuit_open", 480, "calls over this way to the target went badly, and the others are tried first";
    WayUnreached = "way.unreached", 480, "all addresses of this way to the target failed of late, or none is known, and the others are tried first";
    WayOnProbation = "way.probation", 480, "a few calls try whether this way to the target has recovered, and this is none of them";
    ScheduleClosed = "schedule.closed", 480, "the target is closed at this hour";
    ScheduleHoliday = "schedule.holiday", 480, "the target is closed on this day";
    ScheduleClosingSoon = "schedule.closing_soon", 480, "the target closes in a moment";
    FilterMismatch = "filter.mismatch", 480, "the call's tags are not what the target wants";
    FilterMissingTag = "filter.missing_tag", 480, "a tag the target asks for is missing";
    FilterBasis = "filter.basis_below", 480, "what the target asks for is not known surely enough";
    SuppressionList = "suppression.list", 480, "a list of callers leaves the caller out";
    // The caller's earlier calls.
    DedupeBuyerConnected = "dedupe.buyer.connected", 480, "the caller has talked to the buyer before";
    DedupeBuyerConverted = "dedupe.buyer.converted", 480, "the caller has been paid for by the buyer before";
    DedupeTargetConnected = "dedupe.target.connected", 480, "the caller has talked to the target before";
    DedupeTargetConverted = "dedupe.target.converted", 480, "the caller has been paid for by the target before";
    DuplicateElsewhere = "dedupe.original_only", 480, "a duplicate goes to the target it had before";
    DuplicateAgain = "dedupe.different_only", 480, "a duplicate goes to another target than before";
    // What targets pay.
    PriceBelowFloor = "price.below_floor", 480, "the target pays too little";
    PriceBelowSoftFloor = "price.below_soft_floor", 480, "the target pays little, and others pay more";
    PriceMarginBelowMin = "price.margin_below_min", 480, "too little is left of what the target pays";
    PriceLoss = "price.loss", 480, "the publisher would be paid more than the target pays";
    // What the publisher would be paid.
    PayoutNone = "payout.none", 480, "nothing is agreed to be paid for calls of the campaign";
    PayoutDuplicate = "payout.duplicate", 480, "nothing is paid for a duplicate";
    PayoutCapped = "payout.capped", 480, "the publisher's cap on payouts is full";
    // Caps and concurrency.
    CapFull = "cap.full", 486, "the cap has no room for the call";
    CapSpacing = "cap.spacing", 486, "the last attempt was a moment ago";
    NoCredit = "target.no_credit", 480, "the buyer's credit does not cover the call";
    CapFullHere = "cap.full_here", 486, "the store of caps is away, and this server has no room of its own left";
    HoldsFull = "cap.holds_full", 503, "this server holds room for as many attempts as it has memory for";
    ConcurrencyFull = "concurrency.full", 486, "the target has as many calls as it takes";
    // Selection.
    NotReached = "selection.not_reached", 480, "the call was over before its turn";
    TooManyCandidates = "selection.too_many", 480, "the plan already holds as many targets as are tried";
    NoneEligible = "selection.none_eligible", 480, "no target of the campaign can take the call";
    DecisionTimeout = "decision.timeout", 503, "the decision was not made in time";
    DecisionFailed = "decision.failed", 500, "the decision could not be made";
    // Attempts.
    AttemptNoAnswer = "attempt.no_answer", 480, "the target rang out";
    AttemptNoResponse = "attempt.no_response", 480, "the target gave no sign of life";
    AttemptNoRinging = "attempt.no_ringing", 480, "the target took the call and did not ring in time";
    AttemptBusy = "attempt.busy", 486, "the target is busy";
    AttemptRejected = "attempt.rejected", 480, "the target refused the call";
    AttemptCarrierFailed = "attempt.carrier_failed", 500, "the way to the target failed";
    AttemptUnresolved = "attempt.unresolved", 500, "the target's address could not be resolved";
    AttemptRedirected = "attempt.redirected", 480, "the target redirected the call";
    AttemptBarred = "attempt.destination_barred", 403, "the number may not be called";
    AttemptRateFull = "attempt.rate_full", 503, "the way to the target takes no more calls at the moment";
    AnsweredElsewhere = "attempt.answered_elsewhere", 487, "another target answered first";
    CallerAbandoned = "attempt.caller_abandoned_while_ringing", 487, "the caller hung up before the answer";
    // How an answered call ended.
    CallerHungUp = "end.caller_hung_up", 200, "the caller hung up";
    TargetHungUp = "end.target_hung_up", 200, "the target hung up";
    MaxDuration = "end.max_duration", 200, "the call reached its longest duration";
    PrackMissing = "end.prack_missing", 504, "the caller never confirmed a ringing response";
    SessionExpired = "end.session_expired", 408, "a side let its session timer run out";
    AckMissing = "end.ack_missing", 408, "the caller never confirmed the answer";
    DialogLost = "end.dialog_lost", 481, "a side no longer knew the call";
    PeerUnreachable = "end.peer_unreachable", 408, "a side no longer answered";
    HandedOver = "end.handed_over", 200, "the carrier was told whom to call";
    ConnectFailed = "end.connect_failed", 488, "the caller could not be connected to what the target offers";
    HungUpByOperator = "end.operator", 200, "an operator ended the call";
    NodeRestart = "orphan_node_restart", 500, "the server restarted during the call";
    InternalError = "system.error", 500, "an internal error ended the call";
}

/// Why a call got to nobody, in four classes (spec/domain §2.4). The nearest to a call that would have been
/// taken is first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum NoRoute {
    /// Targets were called, and none of them took it.
    #[n(0)]
    NoneAnswered,
    /// A target would have taken it, had there been room: caps, concurrency, credit.
    #[n(1)]
    NoCapacity,
    /// Each target that wants such a call takes it at another hour, or when it is switched on or well
    /// again. A drained one is as if it was not there, unless all are.
    #[n(2)]
    AllClosed,
    /// No target wants such a call: filters, lists, duplicates, price.
    #[n(3)]
    NoneMatch,
}

impl NoRoute {
    pub const ALL: [Self; 4] =
        [Self::NoneAnswered, Self::NoCapacity, Self::AllClosed, Self::NoneMatch];

    /// As in records and the configuration, such as `none_match`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoneAnswered => "none_answered",
            Self::NoCapacity => "no_capacity",
            Self::AllClosed => "all_closed",
            Self::NoneMatch => "none_match",
        }
    }

    /// A short text for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoneAnswered => "none of the targets answered",
            Self::NoCapacity => "no target had room",
            Self::AllClosed => "every target that wants such a call is closed",
            Self::NoneMatch => "no target wants such a call",
        }
    }

    /// Of all targets that had these reasons not to be called: the nearest. The reason of one that is closed
    /// counts, so it has to be one that wants the call.
    pub fn of_targets(reasons: impl IntoIterator<Item = Reason>) -> Self {
        let mut nearest = None;
        let mut of_drained = None;
        for reason in reasons {
            let class =
                if reason == Reason::TargetDrained { &mut of_drained } else { &mut nearest };
            let so_far: Option<Self> = *class;
            *class = so_far.into_iter().chain(reason.no_route()).min();
        }
        nearest.or(of_drained).unwrap_or(Self::NoneMatch)
    }

    /// Of a call that is over: by what was decided, whether any target was called, and why it ended with
    /// which status. `None`: it was answered, or ended for another cause, such as its caller's giving up.
    pub fn of_end(
        decided: Option<Self>,
        was_dialed: bool,
        (end, status): (Reason, u16),
    ) -> Option<Self> {
        let by_end = end.no_route().filter(|_| status >= 300)?;
        Some(decided.unwrap_or(if was_dialed { Self::NoneAnswered } else { by_end }))
    }
}

impl Reason {
    /// The class of calls that go nowhere for this; `None`: it says nothing of targets.
    pub fn no_route(self) -> Option<NoRoute> {
        match self {
            Self::AccountCapped
            | Self::PublisherCapped
            | Self::CampaignCapped
            | Self::TrunkCapped
            | Self::NumberCapped
            | Self::PayoutCapped
            | Self::CapFull
            | Self::CapSpacing
            | Self::NoCredit
            | Self::CapFullHere
            | Self::HoldsFull
            | Self::ConcurrencyFull
            | Self::AttemptRateFull => Some(NoRoute::NoCapacity),
            Self::TargetPaused
            | Self::TargetDrained
            | Self::TargetCircuitOpen
            | Self::TargetOnProbation
            | Self::TargetDown
            | Self::ScheduleClosed
            | Self::ScheduleHoliday
            | Self::ScheduleClosingSoon => Some(NoRoute::AllClosed),
            Self::FilterMismatch
            | Self::FilterMissingTag
            | Self::FilterBasis
            | Self::SuppressionList
            | Self::DedupeBuyerConnected
            | Self::DedupeBuyerConverted
            | Self::DedupeTargetConnected
            | Self::DedupeTargetConverted
            | Self::DuplicateElsewhere
            | Self::DuplicateAgain
            | Self::PriceBelowFloor
            | Self::PriceBelowSoftFloor
            | Self::PriceMarginBelowMin
            | Self::PriceLoss
            | Self::NoneEligible => Some(NoRoute::NoneMatch),
            Self::AttemptNoAnswer
            | Self::AttemptNoResponse
            | Self::AttemptNoRinging
            | Self::AttemptBusy
            | Self::AttemptRejected
            | Self::AttemptCarrierFailed
            | Self::AttemptUnresolved
            | Self::AttemptRedirected
            | Self::AttemptBarred => Some(NoRoute::NoneAnswered),
            Self::NumberUnknown
            | Self::SessionUnknown
            | Self::TrunkUnknown
            | Self::NumberMalformed
            | Self::CampaignPaused
            | Self::PublisherPaused
            | Self::BlockedCaller
            | Self::Litigator
            | Self::RepeatTooSoon
            | Self::AttestationBelow
            | Self::AnonymousCaller
            | Self::TrunkFull
            | Self::Overloaded
            | Self::Draining
            | Self::JournalFull
            | Self::WayCircuitOpen
            | Self::WayOnProbation
            | Self::WayUnreached
            | Self::PayoutNone
            | Self::PayoutDuplicate
            | Self::NotReached
            | Self::TooManyCandidates
            | Self::DecisionTimeout
            | Self::DecisionFailed
            | Self::AnsweredElsewhere
            | Self::CallerAbandoned
            | Self::CallerHungUp
            | Self::TargetHungUp
            | Self::MaxDuration
            | Self::PrackMissing
            | Self::SessionExpired
            | Self::AckMissing
            | Self::DialogLost
            | Self::PeerUnreachable
            | Self::HandedOver
            | Self::ConnectFailed
            | Self::HungUpByOperator
            | Self::NodeRestart
            | Self::InternalError => None,
        }
    }
}

/// Why a publisher is owed nothing for a call whose buyer may owe for it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum NoPayout {
    /// Its cap on payouts was full, and says to stop paying, not to stop calls.
    #[n(0)]
    PublisherCap,
    /// The caller has called before, and it is not paid for that.
    #[n(1)]
    Duplicate,
}

impl NoPayout {
    /// As in records, such as `publisher_cap`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublisherCap => "publisher_cap",
            Self::Duplicate => "duplicate",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_code(&code)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown reason code `{code}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_unique_and_finds_its_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason), "{}", reason.code());
        }
    }

    #[test]
    fn a_call_is_classed_by_the_target_that_was_nearest_to_taking_it() {
        let (full, closed, mismatch) =
            (Reason::CapFull, Reason::ScheduleHoliday, Reason::FilterMismatch);
        for (reasons, class) in [
            (&[mismatch, closed, full][..], NoRoute::NoCapacity),
            (&[mismatch, closed, Reason::TargetPaused], NoRoute::AllClosed),
            (&[mismatch, Reason::PriceLoss], NoRoute::NoneMatch),
            (&[Reason::TargetDrained, mismatch], NoRoute::NoneMatch),
            (&[Reason::TargetDrained, closed], NoRoute::AllClosed),
            (&[Reason::TargetDrained], NoRoute::AllClosed),
            (&[], NoRoute::NoneMatch),
        ] {
            assert_eq!(NoRoute::of_targets(reasons.iter().copied()), class, "{reasons:?}");
        }
    }

    #[test]
    fn a_call_that_ended_unanswered_is_classed_by_how_far_it_came() {
        let of_end = |decided, was_dialed, end| NoRoute::of_end(decided, was_dialed, (end, 480));
        let (busy, full) = (Reason::AttemptBusy, Reason::ConcurrencyFull);
        let closed = Some(NoRoute::AllClosed);
        assert_eq!(of_end(closed, false, Reason::ScheduleClosed), closed);
        // It went to others in their place, and they did not answer.
        assert_eq!(of_end(closed, true, busy), closed);
        assert_eq!(of_end(None, true, busy), Some(NoRoute::NoneAnswered));
        // The last of several had no room.
        assert_eq!(of_end(None, true, full), Some(NoRoute::NoneAnswered));
        assert_eq!(of_end(None, false, full), Some(NoRoute::NoCapacity));
        assert_eq!(NoRoute::of_end(closed, true, (busy, 200)), None, "it was answered after all");
        for reason in [Reason::CallerAbandoned, Reason::Draining, Reason::HungUpByOperator] {
            assert_eq!(of_end(closed, true, reason), None, "{}", reason.code());
        }
    }
}

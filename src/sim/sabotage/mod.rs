//! Breaks one rule on purpose, between the edge and those who watch it: a rule whose breach goes
//! unnoticed is not watched.

use std::fmt;
use std::str::FromStr;

mod tamper;

pub(crate) use tamper::Saboteur;

/// A rule to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The first ACK to a success is swallowed.
    LostAck,
    /// No final response leaves to any INVITE.
    LostFinal,
    /// A final response is followed by another.
    SecondFinal,
    /// CANCEL leaves with its INVITE, before any response.
    EarlyCancel,
    /// A target that only rings gets a BYE.
    EarlyBye,
    /// BYE has a number that was used before.
    OldNumber,
    /// BYE leaves without its Route.
    LostRoute,
    /// An INVITE to a target names the caller.
    Leak,
    /// A response that is repeated differs from the first.
    ChangedRepeat,
    /// The first INVITE that is a second attempt goes out twice, on two branches.
    SecondInvite,
    /// The first confirmation of a provisional response is swallowed.
    LostPrack,
    /// A reliable provisional response is followed by another before its PRACK.
    SecondReliable,
    /// Reliable provisional responses leave out a number.
    SkippedRseq,
    /// A provisional response is reliable that need not be.
    UnaskedReliable,
    /// UPDATE leaves before the first PRACK.
    EarlyUpdate,
    /// An INVITE to a target asks for a session of ten seconds.
    ShortSession,
    /// The disk loses the end of what it had synced.
    LostFact,
    /// A cap is used beyond its limit.
    OverReserved,
    /// The end of a call is told to nobody.
    LostEnd,
    /// The book does not keep a record that it took.
    LostRecord,
    /// The book counts each batch twice.
    DoubledBatch,
    /// At the next address of a target an INVITE has the branch that it had at the last one.
    KeptBranch,
    /// The next address of a target is the last one.
    SameAddress,
    /// ACK goes to where its INVITE did not.
    StrayAck,
    /// An answer that is not bridged gets no BYE.
    LostBye,
    /// An INVITE leads to what nobody named.
    ForbiddenPlace,
    /// What a 3xx names is followed twice.
    NamedTwice,
    /// Redirections are followed without end.
    EndlessRedirect,
    /// A 302 names one who may not be called.
    WrongContact,
    /// REFER names another target.
    WrongReferral,
    /// REFER leaves with the answer that it waits for.
    EarlyRefer,
    /// A target is tried although the carrier has the call.
    TriedAgain,
    /// The outcome of a REFER is told wrongly.
    WrongOutcome,
    /// A NOTIFY after our BYE is refused.
    UnknownNotify,
    /// No INVITE follows a REFER that was refused.
    NotBridged,
    /// That the carrier has the call is told to nobody.
    LostHandover,
    /// What was learnt of an address is forgotten.
    DeadFirst,
    /// A target is called another way although nobody said that the one before had failed.
    UnfailedWay,
    /// And for what the target itself has answered.
    BusyWay,
    /// A window that moves along is used beyond its limit.
    OverRolled,
    /// Attempts follow each other too soon.
    TooSoon,
    /// A start knows nothing of what was used in windows that move along.
    LostSlices,
    /// A start does not know when the last attempts were.
    LostGap,
}

impl Sabotage {
    /// All there are.
    pub const ALL: [Self; 43] = [
        Self::LostAck,
        Self::LostFinal,
        Self::SecondFinal,
        Self::EarlyCancel,
        Self::EarlyBye,
        Self::OldNumber,
        Self::LostRoute,
        Self::Leak,
        Self::ChangedRepeat,
        Self::SecondInvite,
        Self::LostPrack,
        Self::SecondReliable,
        Self::SkippedRseq,
        Self::UnaskedReliable,
        Self::EarlyUpdate,
        Self::ShortSession,
        Self::LostFact,
        Self::OverReserved,
        Self::LostEnd,
        Self::LostRecord,
        Self::DoubledBatch,
        Self::KeptBranch,
        Self::SameAddress,
        Self::StrayAck,
        Self::LostBye,
        Self::ForbiddenPlace,
        Self::NamedTwice,
        Self::EndlessRedirect,
        Self::WrongContact,
        Self::WrongReferral,
        Self::EarlyRefer,
        Self::TriedAgain,
        Self::WrongOutcome,
        Self::UnknownNotify,
        Self::NotBridged,
        Self::LostHandover,
        Self::DeadFirst,
        Self::UnfailedWay,
        Self::BusyWay,
        Self::OverRolled,
        Self::TooSoon,
        Self::LostSlices,
        Self::LostGap,
    ];

    /// As a person types it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LostAck => "lost-ack",
            Self::LostFinal => "lost-final",
            Self::SecondFinal => "second-final",
            Self::EarlyCancel => "early-cancel",
            Self::EarlyBye => "early-bye",
            Self::OldNumber => "old-number",
            Self::LostRoute => "lost-route",
            Self::Leak => "leak",
            Self::ChangedRepeat => "changed-repeat",
            Self::SecondInvite => "second-invite",
            Self::LostPrack => "lost-prack",
            Self::SecondReliable => "second-reliable",
            Self::SkippedRseq => "skipped-rseq",
            Self::UnaskedReliable => "unasked-reliable",
            Self::EarlyUpdate => "early-update",
            Self::ShortSession => "short-session",
            Self::LostFact => "lost-fact",
            Self::OverReserved => "over-reserved",
            Self::LostEnd => "lost-end",
            Self::LostRecord => "lost-record",
            Self::DoubledBatch => "doubled-batch",
            Self::KeptBranch => "kept-branch",
            Self::SameAddress => "same-address",
            Self::StrayAck => "stray-ack",
            Self::LostBye => "lost-bye",
            Self::ForbiddenPlace => "forbidden-place",
            Self::NamedTwice => "named-twice",
            Self::EndlessRedirect => "endless-redirect",
            Self::WrongContact => "wrong-contact",
            Self::WrongReferral => "wrong-referral",
            Self::EarlyRefer => "early-refer",
            Self::TriedAgain => "tried-again",
            Self::WrongOutcome => "wrong-outcome",
            Self::UnknownNotify => "unknown-notify",
            Self::NotBridged => "not-bridged",
            Self::LostHandover => "lost-handover",
            Self::DeadFirst => "dead-first",
            Self::UnfailedWay => "unfailed-way",
            Self::BusyWay => "busy-way",
            Self::OverRolled => "over-rolled",
            Self::TooSoon => "too-soon",
            Self::LostSlices => "lost-slices",
            Self::LostGap => "lost-gap",
        }
    }

    /// Whether it can be broken only where plans are drawn: targets of the market have one way each.
    pub(crate) fn is_of_drawn_plans(self) -> bool {
        matches!(self, Self::UnfailedWay | Self::BusyWay)
    }

    /// Whether a verdict tells that it was this that was noticed.
    pub fn is_told_by(self, verdict: &str) -> bool {
        self.telling().split('|').any(|telling| verdict.contains(telling))
    }

    /// What of the verdict tells it; one of several.
    fn telling(self) -> &'static str {
        match self {
            Self::LostAck => "a final response got no ACK",
            Self::LostFinal => "the caller was answered None",
            Self::SecondFinal => "two different final responses",
            Self::EarlyCancel => "a CANCEL before any response",
            Self::EarlyBye => "a request in no dialog",
            Self::OldNumber => "number 1 after",
            Self::LostRoute => "routes [], not",
            Self::Leak => "it names the other side",
            Self::ChangedRepeat => "a final response is repeated with a change",
            Self::SecondInvite => "two INVITEs",
            Self::LostPrack => "a reliable response got no PRACK",
            Self::SecondReliable => "before the last one's PRACK",
            Self::SkippedRseq => " after Some(",
            Self::UnaskedReliable => "a reliable response to one that takes none",
            Self::EarlyUpdate => "an UPDATE before the first PRACK",
            Self::ShortSession => "a session of 10 s",
            // Whether it had been announced as durable when the process died is a matter of luck.
            Self::LostFact => "I1: |I2: the journal has a gap",
            Self::OverReserved => "I5: ",
            Self::LostEnd => "I3: 0 ends",
            Self::LostRecord => "I3: its record is None",
            Self::DoubledBatch => "I11: the book says",
            Self::KeptBranch => "a branch that was used before",
            Self::SameAddress => "an address is called twice",
            Self::StrayAck => "no party is there",
            Self::LostBye => "an answer that is not bridged got no BYE",
            Self::ForbiddenPlace => "to what nobody planned or named",
            Self::NamedTwice => "a place is followed twice",
            Self::EndlessRedirect => "redirection ",
            Self::WrongContact => "302 names ",
            Self::WrongReferral => "a REFER to what is not to be called that way",
            Self::EarlyRefer => "a REFER before the ACK",
            Self::TriedAgain => "while the carrier may have the call",
            Self::WrongOutcome => "the outcome is said to be",
            Self::UnknownNotify => "a NOTIFY after our BYE is not known",
            Self::NotBridged => "a refused REFER is not bridged",
            Self::LostHandover => "R15: ",
            Self::DeadFirst => "which is dead",
            Self::UnfailedWay => "is another way, and",
            Self::BusyWay => "Some(486) speaks of the target",
            Self::OverRolled => " in rolling:60",
            Self::TooSoon | Self::LostGap => " ms apart",
            // Whether there are too many then is a matter of luck.
            Self::LostSlices => " in rolling:| ms: [",
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no rule that can be broken; there are {known}")]
pub struct UnknownSabotage {
    name: String,
    known: String,
}

impl FromStr for Sabotage {
    type Err = UnknownSabotage;

    fn from_str(name: &str) -> Result<Self, UnknownSabotage> {
        Self::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| UnknownSabotage {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

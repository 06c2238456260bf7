//! How much a call or a session looks like fraud, and why (spec/domain §1M).
//!
//! Owns: the signals, what each adds to a score ([`reason`]), how often callers, prefixes and trunks call of
//! late ([`level`]), how many numbers they dial ([`distinct`]), and when calls of publishers and targets end
//! around the instant from which on they are worth money ([`duration`]). Does not own: what is done about
//! it. Nothing here refuses a call: a score is for whoever reads it.
//!
//! ```text
//! calls that are over, pings ─► Engine ─► Scored
//!                                 └─► Changes: what it knows, to be kept with the scores
//! ```
//!
//! Invariants: a score is the sum of the points of its reasons, 100 at most; memory is bounded by
//! [`Rules::keys_max`]; numbers are known by hashes alone.

pub mod distinct;
pub mod duration;
mod engine;
pub mod level;
pub mod reason;

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use super::fact::Party;
use crate::id::{CallId, SessionId};
use crate::time::Wall;

use duration::{Binned, Bins, Side, SpikeRules};

pub use engine::Engine;
pub use reason::FraudReason;

const DAY_MS: i64 = 86_400_000;

/// From here on a score is called high.
pub const HIGH: u8 = 50;

/// When something is suspicious, and how much it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// In which half of what happened is forgotten.
    pub half_life_ms: i64,
    /// Calls of late, in [`level`]'s measure, of one caller…
    pub caller_calls: u64,
    /// …of one prefix; absent: as many as come…
    pub prefix_calls: Option<u64>,
    /// …and over one trunk.
    pub trunk_calls: Option<u64>,
    /// Sessions of late that name the same caller.
    pub caller_pings: u64,
    /// Different numbers that a caller, or callers of a prefix, may dial in the window.
    pub caller_numbers: usize,
    pub prefix_numbers: usize,
    pub numbers_window_ms: i64,
    /// A number that a page shows is dialled no sooner.
    pub too_soon_ms: u64,
    /// An answered call that its caller ends sooner is short.
    pub short_ms: u64,
    /// How wide a bin of talk times is.
    pub bin_s: u32,
    pub spike: SpikeRules,
    /// Days of UTC that histograms look back, today included.
    pub days: u32,
    /// Callers, prefixes and trunks that are known at most, all together.
    pub keys_max: usize,
    /// Of reasons that do not add what the catalogue says.
    pub points: BTreeMap<FraudReason, u8>,
}

/// What speaks for fraud, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// 0 to 100.
    pub score: u8,
    /// Those that add the most first.
    pub reasons: Vec<Found>,
}

/// One thing that speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub reason: FraudReason,
    pub points: u8,
    /// What was found.
    pub have: Option<SmolStr>,
    /// What would not have been suspicious.
    pub want: Option<SmolStr>,
}

/// A call that is over, as it is looked at. Numbers are hashes of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCall {
    /// When it was admitted.
    pub at: Wall,
    /// Absent: anonymous, as its prefix.
    pub caller: Option<u64>,
    pub prefix: Option<u64>,
    pub trunk: u64,
    pub dialed: Option<u32>,
    pub number: Dialed,
    pub attested: Attested,
    /// Its number is of a kind from which nobody calls.
    pub impossible: bool,
    /// The session it was matched to.
    pub session: Option<SeenMatch>,
    /// Absent: nobody answered it.
    pub talk: Option<SeenTalk>,
}

/// What was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialed {
    /// A number of a campaign.
    Ours,
    /// One of a pool that is lent to nobody.
    Unleased,
    /// No campaign's.
    Unknown,
}

/// Who vouches for the caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    Fully,
    /// The carrier does not know the caller.
    Weakly,
    Failed,
    /// Nothing was said.
    Nobody,
}

/// How a call fits the session it was matched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenMatch {
    /// Another caller was announced.
    pub is_other_caller: bool,
    /// The state that was declared and that of the caller's number, where both are known and differ.
    pub states: Option<(SmolStr, SmolStr)>,
    /// How long before the call its number was shown to a visitor; absent: it was not.
    pub shown_ms: Option<u64>,
}

/// How an answered call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTalk {
    pub talk_ms: u64,
    pub ended_by: Option<Party>,
    /// Who is paid, and after how many seconds.
    pub publisher: Option<(SmolStr, u32)>,
    /// Who owes, and after how many seconds.
    pub target: Option<(SmolStr, u32)>,
}

/// A session with a caller, as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenSession {
    pub at: Wall,
    pub caller: u64,
    pub impossible: bool,
}

/// What of an engine is to be kept, by whom it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub kept: Vec<(Key, Held)>,
    pub gone: Vec<Key>,
}

/// What is counted of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub whom: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    CallsOfCaller = 1,
    CallsOfPrefix = 2,
    CallsOfTrunk = 3,
    PingsOfCaller = 4,
    NumbersOfCaller = 5,
    NumbersOfPrefix = 6,
    /// That a trunk tells who vouches for callers.
    Vouching = 7,
}

/// What is known of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub at: Wall,
    pub count: Counted,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Counted {
    /// Thousandths of an event.
    #[n(0)]
    Level(#[n(0)] u64),
    #[n(1)]
    Numbers(#[n(0)] distinct::Distinct),
}

/// What scoring comes to: written together with the offset, or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FraudEffects {
    pub calls: Vec<ScoredCall>,
    pub sessions: Vec<(SessionId, Scored)>,
    pub changes: Changes,
}

/// A call and its score. One that has a score keeps it, and counts in no sum again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredCall {
    pub call: CallId,
    /// Of UTC, since the Unix epoch, on which it was admitted.
    pub day: i64,
    /// Empty: nobody's.
    pub publisher: SmolStr,
    pub scored: Scored,
    pub binned: Vec<Binned>,
}

/// What calls of a publisher or of a target came to over days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FraudSums {
    /// Calls that were scored.
    pub calls: u64,
    /// Of those with a high score.
    pub high: u64,
    pub by_reason: BTreeMap<FraudReason, u64>,
    pub bins: Bins,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::CallsOfCaller,
        Self::CallsOfPrefix,
        Self::CallsOfTrunk,
        Self::PingsOfCaller,
        Self::NumbersOfCaller,
        Self::NumbersOfPrefix,
        Self::Vouching,
    ];
}

impl Rules {
    fn points(&self, reason: FraudReason) -> u8 {
        self.points.get(&reason).copied().unwrap_or_else(|| reason.points())
    }
}

impl SeenTalk {
    /// In which histograms the call is, and where.
    pub fn binned(&self, bin_s: u32) -> Vec<Binned> {
        let sides = [(Side::Publisher, &self.publisher), (Side::Target, &self.target)];
        let binned = sides.into_iter().filter_map(|(side, whose)| {
            let (id, threshold_s) = whose.as_ref()?;
            let bin = duration::bin(self.talk_ms, *threshold_s, bin_s)?;
            let is_its = self.ended_by == Some(side.ended_by()) && *threshold_s > 0;
            is_its.then(|| Binned { side, id: id.clone(), bin })
        });
        binned.collect()
    }
}

/// Days of UTC since the Unix epoch.
pub fn day_of(at: Wall) -> i64 {
    at.0.div_euclid(DAY_MS)
}

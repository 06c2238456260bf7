//! What is remembered of callers, so that one who calls again is known (spec/domain §2.8).
//!
//! Owns: the earlier calls of each caller, as far back as the configuration looks. Does not own:
//! what follows from them; that is the decider's, which is given them as a value, or what is told of
//! them as facts ([`prior`]). Put back from the CDRs after a restart.

mod names;
pub mod prior;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use minicbor::{Decode, Encode};

use crate::id::{BuyerId, CallId, CampaignId, PublisherId, TargetId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::time::Wall;

use super::config::{HistoryConfig, Span};
use super::decision::{Decision, Terms};
use super::request::RouteRequest;

use names::{Name, Names};
use prior::PriorWindows;

/// An earlier call of a caller, as it was read at a decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PastCall {
    #[n(0)]
    pub call: CallId,
    /// When it was admitted.
    #[n(1)]
    pub at: Wall,
    #[n(2)]
    pub dialed: PhoneNumber,
    #[n(3)]
    pub campaign: CampaignId,
    #[n(4)]
    pub publisher: PublisherId,
    /// Absent: nobody answered it, or who did has hung up at once and the next one is called.
    #[n(5)]
    pub connected: Option<Connected>,
    /// When the buyer came to owe for it.
    #[n(6)]
    pub converted_at: Option<Wall>,
    /// Absent: it is up, or nobody answered it.
    #[n(7)]
    pub talk_ms: Option<u64>,
    /// Its buyer owes something for it if it converts.
    #[cbor(n(8), default)]
    pub charges: bool,
    /// Its publisher is paid something if it talks for so long; absent: nothing.
    #[n(9)]
    pub pays_after_ms: Option<u32>,
    /// Who answered it before and hung up at once, so that it went on to the next one; the first comes first.
    /// Nobody owes anything for that.
    #[cbor(n(10), default)]
    pub left: Vec<Left>,
}

/// A conversation after which the call went on (spec/domain §2.11).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Left {
    #[n(0)]
    pub with: Connected,
    #[n(1)]
    pub talk_ms: u64,
}

/// Who answered a call, and when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Connected {
    #[n(0)]
    pub target: TargetId,
    #[n(1)]
    pub buyer: BuyerId,
    #[n(2)]
    pub at: Wall,
}

/// Whose calls belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    Number(PhoneNumber),
    /// All callers of this campaign who withhold theirs.
    AnonymousOf(CampaignId),
}

/// Calls of a caller, and callers, that one more call has forgotten at most, where limits were lowered.
const FORGOTTEN_AT_ONCE: usize = 2;

/// Who looks at a caller's earlier calls, and how far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LooksBack {
    /// Of a caller who calls again at once; 0: nobody.
    pub repeat_s: u32,
    /// Of duplicates; absent: none does.
    pub rules: Option<Span>,
    /// Of the facts that every decision has.
    pub prior: PriorWindows,
}

/// What bounds the memory of a [`CallerHistory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Callers remembered; beyond that the one is forgotten who has not called for longest.
    pub callers_max: usize,
    /// Calls remembered of each; see [`CallerHistory::begin`].
    pub calls_max: usize,
}

/// The earlier calls of every caller.
#[derive(Clone, Debug)]
pub struct CallerHistory {
    limits: HistoryLimits,
    callers: BTreeMap<Key, Remembered>,
    /// Who has not called for longest comes first.
    order: BTreeSet<(Wall, Key)>,
    /// Calls that are up.
    live: BTreeMap<CallId, Key>,
    names: Names,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(PhoneNumber),
    AnonymousOf(Name),
}

/// Oldest first, and at least one.
#[derive(Clone, Debug)]
struct Remembered {
    calls: Vec<Compact>,
    /// As in [`CallerHistory::order`].
    last_at: Wall,
}

/// A [`PastCall`] in less than half the room.
#[derive(Clone, Debug)]
struct Compact {
    call: CallId,
    at: Wall,
    dialed: PhoneNumber,
    campaign: Name,
    publisher: Name,
    connected: Option<(Name, Name, Wall)>,
    converted_at: Option<Wall>,
    talk_ms: Option<u32>,
    charges: bool,
    pays_after_ms: Option<u32>,
    /// Of few calls.
    left: Option<Box<LeftBy>>,
}

/// Whoever hung up at once: target, buyer, when it answered, and for how many milliseconds. At least one.
#[derive(Clone, Debug, Default)]
struct LeftBy(Vec<(Name, Name, Wall, u32)>);

impl PastCall {
    /// What later calls see of a call that has just been decided; `None`: it is of no campaign.
    pub fn of(request: &RouteRequest, decision: &Decision) -> Option<Self> {
        let attribution = decision.attribution.as_ref()?;
        Some(Self {
            call: request.call,
            at: request.at,
            dialed: request.dialed,
            campaign: attribution.campaign.clone(),
            publisher: attribution.publisher.clone(),
            connected: None,
            converted_at: None,
            talk_ms: None,
            charges: false,
            pays_after_ms: None,
            left: vec![],
        })
    }

    /// Everybody who answered it, the last first.
    pub(super) fn answered_by(&self) -> impl Iterator<Item = &Connected> {
        self.connected.iter().chain(self.left.iter().rev().map(|left| &left.with))
    }

    /// When its buyer came to owe something for it.
    pub(super) fn charged_at(&self) -> Option<Wall> {
        self.converted_at.filter(|_| self.charges)
    }

    /// When its publisher came to be owed something for it, by `now`.
    pub(super) fn paid_at(&self, now: Wall) -> Option<Wall> {
        let (connected, after_ms) = (self.connected.as_ref()?, u64::from(self.pays_after_ms?));
        let is_paid = self.talked_ms(now).is_some_and(|talk_ms| talk_ms >= after_ms);
        is_paid.then(|| Wall(connected.at.0.saturating_add_unsigned(after_ms)))
    }

    /// How long it talked, or has talked by `now` if it is up; absent: nobody answered.
    pub(super) fn talked_ms(&self, now: Wall) -> Option<u64> {
        let connected = self.connected.as_ref()?;
        let until_now = || u64::try_from(now.0.saturating_sub(connected.at.0)).unwrap_or(0);
        Some(self.talk_ms.unwrap_or_else(until_now))
    }

    /// How long it talked to whom it talked longest, as [`Self::talked_ms`].
    pub(super) fn talked_longest_ms(&self, now: Wall) -> Option<u64> {
        self.left.iter().map(|left| left.talk_ms).chain(self.talked_ms(now)).max()
    }
}

impl LooksBack {
    /// How far back calls have to be known; `None`: not at all.
    pub fn span(&self) -> Option<Span> {
        self.of_rules().max(self.prior.longest())
    }

    /// The same of rules alone, without which nothing can be decided.
    pub fn of_rules(&self) -> Option<Span> {
        let repeat = (self.repeat_s > 0).then_some(Span::Seconds(self.repeat_s));
        self.rules.max(repeat)
    }

    /// From when on rules read calls at `now`, `Some(None)`: from ever; `None`: none does.
    pub fn reads_from(&self, now: Wall) -> Option<Option<Wall>> {
        let repeat = (self.repeat_s > 0).then_some(Span::Seconds(self.repeat_s));
        let repeat = repeat.map(|span| span.begins(now));
        let rules = self.rules.map(|span| span.keeps_from(now));
        // Who looks back for ever looks further than anybody.
        rules.into_iter().chain(repeat).reduce(|one, other| Some(one?.min(other?)))
    }
}

impl HistoryLimits {
    /// Whether there is something that only these remember.
    pub fn is_more_than(self, other: Self) -> bool {
        self.callers_max > other.callers_max || self.calls_max > other.calls_max
    }
}

impl From<HistoryConfig> for HistoryLimits {
    fn from(config: HistoryConfig) -> Self {
        let size = |max| usize::try_from(max).unwrap_or(usize::MAX);
        Self { callers_max: size(config.callers_max), calls_max: size(config.calls_max) }
    }
}

impl CallerHistory {
    pub fn new(limits: HistoryLimits) -> Self {
        Self {
            limits,
            callers: BTreeMap::new(),
            order: BTreeSet::new(),
            live: BTreeMap::new(),
            names: Names::default(),
        }
    }

    /// Remembers so much from now on. What is beyond it is forgotten little by little, as calls come in:
    /// others wait for whoever calls this.
    pub fn limit(&mut self, limits: HistoryLimits) {
        self.limits = limits;
    }

    /// The caller's calls that began at `since` or later, the latest first.
    pub fn calls(&self, caller: &Caller, since: Option<Wall>) -> Vec<PastCall> {
        let Some(remembered) = self.known_key(caller).and_then(|key| self.callers.get(&key)) else {
            return vec![];
        };
        let calls = remembered.calls.iter().rev();
        let calls = calls.filter(|past| since.is_none_or(|since| past.at >= since));
        calls.map(|past| past.full(&self.names)).collect()
    }

    /// A call comes in. Of a caller with too many calls one is forgotten that nobody has answered, else
    /// one that a later call of the same target stands for, else the oldest.
    pub fn begin(&mut self, caller: &Caller, call: PastCall) {
        let id = call.call;
        let key = self.put(caller, call);
        self.live.insert(id, key);
    }

    /// Puts back a call that is over. What is known of it goes before what was known while it was up.
    pub fn restore(&mut self, caller: &Caller, call: PastCall) {
        let compact = Compact::of(&call, &mut self.names);
        let (id, key) = (call.call, self.put(caller, call));
        let calls = self.callers.get_mut(&key).map(|remembered| &mut remembered.calls);
        let known = calls.into_iter().flatten().find(|past| past.call == id);
        if let Some(known) = known.filter(|known| known.talk_ms.is_none()) {
            *known = compact;
            self.live.remove(&id);
        }
    }

    /// A target has answered the call.
    pub fn connected(&mut self, call: CallId, target: &TargetId, buyer: &BuyerId, at: Wall) {
        let connected = (self.names.of(&target.0), self.names.of(&buyer.0), at);
        if let Some(past) = self.find(call) {
            past.connected = Some(connected);
        }
    }

    /// The target that answered the call has hung up after so long a talk, and the call goes on: nobody owes
    /// anything for that.
    pub fn left(&mut self, call: CallId, talk_ms: u64) {
        if let Some(past) = self.find(call) {
            if let Some((target, buyer, at)) = past.connected.take() {
                let left = (target, buyer, at, u32::try_from(talk_ms).unwrap_or(u32::MAX));
                past.left.get_or_insert_default().0.push(left);
            }
            (past.charges, past.pays_after_ms) = (false, None);
        }
    }

    /// What is owed for the call that a target has answered.
    pub fn owed(&mut self, call: CallId, terms: Option<Terms>) {
        if let Some(past) = self.find(call) {
            past.charges = terms.is_some_and(|terms| terms.revenue > Money::ZERO);
            let paid = terms.filter(|terms| terms.payout > Money::ZERO);
            past.pays_after_ms = paid.map(|terms| terms.payout_seconds.saturating_mul(1_000));
        }
    }

    /// The buyer owes for the call.
    pub fn converted(&mut self, call: CallId, at: Wall) {
        if let Some(past) = self.find(call) {
            past.converted_at = Some(at);
        }
    }

    /// A call that is up, and its caller.
    pub fn of_live(&self, call: CallId) -> Option<(Caller, PastCall)> {
        let key = self.live.get(&call)?;
        let past = self.callers.get(key)?.calls.iter().rev().find(|past| past.call == call)?;
        Some((self.caller(*key), past.full(&self.names)))
    }

    /// The calls of callers behind this one, or of the first, and the last of these: of as many callers as
    /// have so many calls, and of one at least.
    pub fn after(
        &self,
        caller: Option<&Caller>,
        most: usize,
    ) -> Option<(Vec<(Caller, PastCall)>, Caller)> {
        let from = caller.and_then(|caller| self.known_key(caller));
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut calls, mut last) = (vec![], None);
        for (key, remembered) in self.callers.range((from, Bound::Unbounded)) {
            let caller = self.caller(*key);
            let full = remembered.calls.iter().map(|past| past.full(&self.names));
            calls.extend(full.map(|past| (caller.clone(), past)));
            last = Some(caller);
            if calls.len() >= most {
                break;
            }
        }
        Some((calls, last?))
    }

    /// The call is over, after so long a talk; `None`: its caller was connected to nobody, or to somebody who
    /// hung up at once and was followed by nobody. What is known of it then, and its caller.
    pub fn ended(&mut self, call: CallId, talk_ms: Option<u64>) -> Option<(Caller, PastCall)> {
        if let Some(past) = self.find(call) {
            past.talk_ms = talk_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
            if talk_ms.is_none() {
                (past.connected, past.charges, past.pays_after_ms) = (None, false, None);
            }
            if past.connected.is_none()
                && let Some((target, buyer, at, talk_ms)) =
                    past.left.as_mut().and_then(|left| left.0.pop())
            {
                (past.connected, past.talk_ms) = (Some((target, buyer, at)), Some(talk_ms));
                past.left.take_if(|left| left.0.is_empty());
            }
        }
        let known = self.of_live(call);
        self.live.remove(&call);
        known
    }

    /// Forgets callers whose last call was before `since`.
    pub fn forget(&mut self, since: Wall) {
        while let Some(&(last_at, key)) = self.order.first()
            && last_at < since
        {
            self.order.remove(&(last_at, key));
            self.callers.remove(&key);
        }
        self.live.retain(|_, key| self.callers.contains_key(key));
    }

    /// How many callers are remembered.
    pub fn len(&self) -> usize {
        self.callers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    fn put(&mut self, caller: &Caller, call: PastCall) -> Key {
        let key = match caller {
            Caller::Number(number) => Key::Number(*number),
            Caller::AnonymousOf(campaign) => Key::AnonymousOf(self.names.of(&campaign.0)),
        };
        let compact = Compact::of(&call, &mut self.names);
        match self.callers.get_mut(&key) {
            Some(remembered) => {
                // What was put back may stand here already.
                if !remembered.calls.iter().any(|past| past.call == call.call) {
                    let at = remembered.calls.partition_point(|past| past.at <= call.at);
                    remembered.calls.insert(at, compact);
                    for _ in 0..FORGOTTEN_AT_ONCE {
                        if remembered.calls.len() > self.limits.calls_max {
                            remembered.shrink(&self.live);
                        }
                    }
                }
                if remembered.last_at < call.at {
                    self.order.remove(&(remembered.last_at, key));
                    self.order.insert((call.at, key));
                    remembered.last_at = call.at;
                }
            }
            None => {
                self.callers.insert(key, Remembered { calls: vec![compact], last_at: call.at });
                self.order.insert((call.at, key));
                for _ in 0..FORGOTTEN_AT_ONCE {
                    if self.callers.len() > self.limits.callers_max
                        && let Some((_, longest_ago)) = self.order.pop_first()
                    {
                        self.callers.remove(&longest_ago);
                    }
                }
            }
        }
        key
    }

    fn caller(&self, key: Key) -> Caller {
        match key {
            Key::Number(number) => Caller::Number(number),
            Key::AnonymousOf(campaign) => {
                Caller::AnonymousOf(CampaignId(self.names.text(campaign)))
            }
        }
    }

    fn known_key(&self, caller: &Caller) -> Option<Key> {
        match caller {
            Caller::Number(number) => Some(Key::Number(*number)),
            Caller::AnonymousOf(campaign) => self.names.find(&campaign.0).map(Key::AnonymousOf),
        }
    }

    /// A call that is up.
    fn find(&mut self, call: CallId) -> Option<&mut Compact> {
        let key = self.live.get(&call)?;
        // It is among the latest.
        self.callers.get_mut(key)?.calls.iter_mut().rev().find(|past| past.call == call)
    }
}

impl Remembered {
    fn shrink(&mut self, live: &BTreeMap<CallId, Key>) {
        // The latest has only just begun.
        let earlier = &self.calls[..self.calls.len().saturating_sub(1)];
        let unanswered =
            earlier.iter().position(|past| past.is_unanswered() && !live.contains_key(&past.call));
        // One for which a later call of the same target and campaign stands, which came to as much.
        let outdone = || {
            let (mut oldest, mut later) = (None, BTreeMap::new());
            for (index, past) in earlier.iter().enumerate().rev() {
                let Some((target, ..)) = past.connected else { continue };
                let (of_target, has_converted) =
                    ((target, past.campaign), past.converted_at.is_some());
                let stands_for = later.get(&of_target).is_some_and(|it| *it >= has_converted);
                if stands_for && past.left.is_none() {
                    oldest = Some(index);
                }
                *later.entry(of_target).or_insert(false) |= has_converted;
            }
            oldest
        };
        let index = unanswered.or_else(outdone).unwrap_or(0);
        self.calls.remove(index);
    }
}

impl Compact {
    fn is_unanswered(&self) -> bool {
        self.connected.is_none() && self.left.is_none()
    }

    fn of(call: &PastCall, names: &mut Names) -> Self {
        let connected = call.connected.as_ref();
        let left = call.left.iter().map(|Left { with, talk_ms }| {
            let (target, buyer) = (names.of(&with.target.0), names.of(&with.buyer.0));
            (target, buyer, with.at, u32::try_from(*talk_ms).unwrap_or(u32::MAX))
        });
        let left: Vec<_> = left.collect();
        Self {
            call: call.call,
            at: call.at,
            dialed: call.dialed,
            campaign: names.of(&call.campaign.0),
            publisher: names.of(&call.publisher.0),
            connected: connected.map(|it| (names.of(&it.target.0), names.of(&it.buyer.0), it.at)),
            converted_at: call.converted_at,
            talk_ms: call.talk_ms.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX)),
            charges: call.charges,
            pays_after_ms: call.pays_after_ms,
            left: (!left.is_empty()).then(|| Box::new(LeftBy(left))),
        }
    }

    fn full(&self, names: &Names) -> PastCall {
        let connected = |target, buyer, at| Connected {
            target: TargetId(names.text(target)),
            buyer: BuyerId(names.text(buyer)),
            at,
        };
        let left = self.left.iter().flat_map(|left| left.0.iter());
        let left = left.map(|&(target, buyer, at, talk_ms)| Left {
            with: connected(target, buyer, at),
            talk_ms: talk_ms.into(),
        });
        PastCall {
            call: self.call,
            at: self.at,
            dialed: self.dialed,
            campaign: CampaignId(names.text(self.campaign)),
            publisher: PublisherId(names.text(self.publisher)),
            connected: self.connected.map(|(target, buyer, at)| connected(target, buyer, at)),
            converted_at: self.converted_at,
            talk_ms: self.talk_ms.map(u64::from),
            charges: self.charges,
            pays_after_ms: self.pays_after_ms,
            left: left.collect(),
        }
    }
}

#[cfg(test)]
mod tests;

//! What caps count of a call, and which places it takes until it is over. Its conversion, and what is
//! owed for that, count as soon as it is reached; all else when the call is over. The record alone says
//! how much, and since when, whoever asks: the book, which counts it when the call is over, the process
//! that holds room for it, which asks at the conversion too, and the one after a crash.

use std::time::Duration;

use minicbor::{Decode, Encode};
use smol_str::SmolStr;

use super::conversion::ConversionState;
use super::fact::{AtEnd, Bucket};
use super::record::{Attempt, AttemptResult, CallRecord, CallState};
use crate::codec;
use crate::id::{HoldId, TargetId};
use crate::reason::Reason;
use crate::rolling::Rolling;
use crate::time::Wall;

/// How long a target that nobody calls any more rings on at most, and how long its answer then waits
/// for an ACK that does not come (RFC 3261 §16.6 step 11, §13.3.1.4).
const RINGS_ON: Duration = Duration::from_secs(180 + 32);

/// Part of a cap that was reserved for what a call may come to with one target, or a place among live
/// calls.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CapDue {
    #[n(0)]
    pub hold: HoldId,
    #[n(1)]
    pub target: TargetId,
    #[cbor(n(2), with = "codec::text")]
    pub cap: SmolStr,
    /// Of a rolling window with the slice: that of the attempt, and once it has counted that of when it
    /// did. Empty: it is a place.
    #[cbor(n(3), with = "codec::text")]
    pub window: SmolStr,
    /// Absent: nothing of it counts. It is a place, which is free when the call is over.
    #[n(4)]
    pub at_end: Option<AtEnd>,
    /// The most it may come to, in the unit of the cap.
    #[n(5)]
    pub held: i64,
    /// How much has been counted.
    #[n(6)]
    pub counted: i64,
}

/// A change of what a cap has used in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapCount {
    pub hold: HoldId,
    pub cap: SmolStr,
    pub window: SmolStr,
    /// Negative if more had been counted before than it came to.
    pub amount: i64,
}

/// Room to be kept for a call that a crash left up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    pub hold: HoldId,
    /// Each with how much more it may come to.
    pub dues: Vec<(CapDue, u64)>,
    /// The true end of the call cannot become known after this.
    pub until: Wall,
}

impl CapDue {
    pub(super) fn new(hold: HoldId, target: &TargetId, bucket: &Bucket) -> Option<Self> {
        Self::is_made_of(bucket).then(|| Self {
            hold,
            target: target.clone(),
            cap: bucket.cap.clone(),
            window: bucket.window.clone(),
            at_end: bucket.at_end,
            held: bucket.amount,
            counted: 0,
        })
    }

    /// Whether the end of the call matters to what was reserved there.
    pub(super) fn is_made_of(bucket: &Bucket) -> bool {
        bucket.at_end.is_some() || bucket.is_place()
    }

    /// It counts in this slice of a rolling window.
    fn settle_at(&mut self, at: Wall) {
        if let Some((rolling, _)) = Rolling::read(&self.window) {
            self.window = rolling.name_at(rolling.slice(at));
        }
    }
}

impl CallRecord {
    /// Counts in its caps what the call has come to by now. Says what has changed: nothing the second
    /// time.
    pub fn count_caps(&mut self) -> Vec<CapCount> {
        let mut dues = std::mem::take(&mut self.dues);
        let mut counted = Vec::new();
        for due in &mut dues {
            let amount = self.comes_to(due) - due.counted;
            if amount != 0 {
                if due.counted == 0 {
                    due.settle_at(self.known_at(due));
                }
                due.counted += amount;
                let CapDue { hold, cap, window, .. } = due.clone();
                counted.push(CapCount { hold, cap, window, amount });
            }
        }
        self.dues = dues;
        counted
    }

    /// Room to be kept for a call that was closed after a crash: for what it may yet come to, should
    /// its true end become known, and for its places. `longest` is how long a call takes at most.
    pub fn held_back(&self, longest: Duration) -> Vec<HeldBack> {
        let mut held: Vec<HeldBack> = Vec::new();
        for due in &self.dues {
            let left = u64::try_from(due.held - due.counted).ok().filter(|it| *it > 0);
            let Some((left, until)) = left.zip(self.may_be_up_until(due, longest)) else {
                continue;
            };
            let due = (due.clone(), left);
            match held.iter_mut().find(|it| it.hold == due.0.hold) {
                Some(known) => {
                    known.until = known.until.max(until);
                    known.dues.push(due);
                }
                None => held.push(HeldBack { hold: due.0.hold, dues: vec![due], until }),
            }
        }
        held
    }

    /// How long the call may be up at the target of this due; `None`: it is not.
    fn may_be_up_until(&self, due: &CapDue, longest: Duration) -> Option<Wall> {
        let over = later(self.started_at(), longest);
        // Who hangs up is known by its dialog.
        if self.dialogs.is_some() && self.answered_leg.is_some_and(|leg| self.is_at(leg, due)) {
            return Some(over);
        }
        // Nothing can come of an attempt that was cut off, but its target does not know that.
        let cut_off = |it: &&Attempt| {
            it.target == due.target
                && it.result == AttemptResult::Abandoned
                && it.reason == Some(Reason::NodeRestart)
        };
        let attempt = self.attempts.iter().rev().find(cut_off).filter(|_| due.at_end.is_none())?;
        Some(later(self.wall(attempt.started_ms), RINGS_ON).min(over))
    }

    /// Whether it counts in caps when it has come to something.
    pub fn counts_in_caps(&self) -> bool {
        self.dues.iter().any(|due| due.at_end.is_some())
    }

    /// Whether its end is of any matter to caps or concurrency.
    pub fn occupies(&self) -> bool {
        !self.dues.is_empty()
    }

    /// The call is over for good, and has no places any more.
    pub(super) fn vacate(&mut self) {
        self.dues.retain(|due| due.at_end.is_some());
    }

    /// Whether the end of the call says if it counts as connected for this hold.
    pub fn has_connection_due(&self, hold: HoldId) -> bool {
        self.dues.iter().any(|due| due.hold == hold && due.at_end == Some(AtEnd::HandedOver))
    }

    /// Counts the call in its caps: each of its holds, and what has changed by it.
    pub fn conclude(&mut self) -> Vec<(HoldId, Vec<CapCount>)> {
        let mut holds: Vec<(HoldId, Vec<CapCount>)> = Vec::new();
        for due in &self.dues {
            if holds.iter().all(|(hold, _)| *hold != due.hold) {
                holds.push((due.hold, Vec::new()));
            }
        }
        for count in self.count_caps() {
            let known = holds.iter_mut().find(|(hold, _)| *hold == count.hold);
            known.expect("counts are those of the dues").1.push(count);
        }
        holds
    }

    /// Since when what the call comes to counts.
    fn known_at(&self, due: &CapDue) -> Wall {
        let at_conversion = due.at_end.is_some_and(|at_end| self.counts_at_conversion(at_end));
        let converted = self.converted_ms.filter(|_| at_conversion);
        converted.map_or_else(|| self.over_at(due), |converted| self.wall(converted))
    }

    /// Whether it counts from the conversion on, and not from the end of the call: a publisher may be
    /// paid for other talk times than its buyer pays for.
    fn counts_at_conversion(&self, at_end: AtEnd) -> bool {
        let terms = || self.attempt().and_then(|attempt| attempt.terms.as_ref());
        match at_end {
            AtEnd::Converted | AtEnd::Revenue => true,
            AtEnd::Payout => terms().is_some_and(|it| it.payout_seconds <= it.seconds),
            AtEnd::HandedOver | AtEnd::Talk => false,
        }
    }

    /// When the call was over at the target, as far as is known.
    fn over_at(&self, due: &CapDue) -> Wall {
        let early = self.early(due);
        let early = early.and_then(|it| it.settled_ms?.checked_add(it.talk_ms?));
        self.wall(early.or(self.ended_ms).unwrap_or_else(|| self.alive_ms()))
    }

    /// The attempt whose target hung up early, and is not the one the call was connected to.
    fn early(&self, due: &CapDue) -> Option<&Attempt> {
        self.attempts.iter().find(|it| {
            it.target == due.target && it.talk_ms.is_some() && Some(it.leg) != self.answered_leg
        })
    }

    fn comes_to(&self, due: &CapDue) -> i64 {
        let Some(at_end) = due.at_end else { return 0 };
        // How long it talked to a target that hung up early is known before the call is over.
        if let Some(early) = self.early(due).filter(|_| at_end == AtEnd::Talk) {
            let talk_ms = i64::try_from(early.talk_ms.unwrap_or(0)).unwrap_or(i64::MAX);
            return talk_ms.clamp(0, due.held.max(0));
        }
        let is_known = self.converted_ms.is_some() && self.counts_at_conversion(at_end);
        if self.state == CallState::Open && !is_known {
            return 0;
        }
        let is_answered = self.answered_leg.is_some_and(|leg| self.is_at(leg, due));
        if !is_answered && at_end != AtEnd::HandedOver {
            return 0;
        }
        let amount = match at_end {
            AtEnd::HandedOver => {
                let told = self.handover.filter(|_| self.answered_leg.is_none());
                i64::from(told.is_some_and(|told| self.is_at(told.leg, due)))
            }
            AtEnd::Converted => match self.conversion {
                ConversionState::Reached | ConversionState::Settled => 1,
                ConversionState::None | ConversionState::Pending => 0,
            },
            AtEnd::Revenue => self.revenue.0,
            AtEnd::Payout => self.payout.0,
            AtEnd::Talk => i64::try_from(self.talk_ms.unwrap_or(0)).unwrap_or(i64::MAX),
        };
        amount.clamp(0, due.held.max(0))
    }

    fn is_at(&self, leg: u16, due: &CapDue) -> bool {
        self.attempts.iter().any(|attempt| attempt.leg == leg && attempt.target == due.target)
    }
}

fn later(at: Wall, by: Duration) -> Wall {
    Wall(at.0.saturating_add_unsigned(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::fact::{
        Answered, Ended, EndedEarly, FactBody, HandedOver, HoldPlaced, Means, Party, Referred,
    };
    use crate::cdr::testing::{Script, call_id};
    use crate::reason::Reason;

    const LONGEST: Duration = Duration::from_secs(4 * 3_600);

    const HELD: [(AtEnd, i64); 4] = [
        (AtEnd::Converted, 1),
        (AtEnd::Revenue, 20_000_000),
        (AtEnd::Payout, 10_000_000),
        (AtEnd::Talk, 600_000),
    ];

    #[test]
    fn a_call_counts_what_its_record_says_when_it_is_over_and_once() {
        let call = held().dial(1).answer_at(1_000);
        assert_eq!(amounts(&mut call.clone().record()), [], "not over");

        let mut record = call.end_at(121_000).record();

        let talked = (AtEnd::Talk, 120_000);
        let [converted, revenue, payout, _] = HELD;
        assert_eq!(amounts(&mut record), [converted, revenue, payout, talked]);
        assert_eq!(amounts(&mut record), [], "the second time nothing is new");
    }

    #[test]
    fn a_conversion_and_what_is_owed_for_it_count_when_it_is_reached_and_the_rest_at_the_end() {
        let up = held().dial(1).answer_at(1_000).convert_at(91_000);
        let mut record = up.clone().record();

        let [converted, revenue, payout, _] = HELD;
        assert_eq!(amounts(&mut record), [converted, revenue, payout]);
        assert_eq!(amounts(&mut record), [], "once");
        crate::cdr::timeline::apply(&mut record, up.end_at(121_000).entries().last().unwrap());
        assert_eq!(amounts(&mut record), [(AtEnd::Talk, 120_000)]);
    }

    #[test]
    fn a_payout_for_a_longer_talk_than_the_conversion_counts_at_the_end() {
        let mut started = Script::new().dial(1).facts().pop().unwrap().body;
        if let FactBody::AttemptStarted(started) = &mut started {
            started.terms.as_mut().unwrap().payout_seconds = 110;
        }
        let answered = Answered { leg: 1, dialogs: None, codec: None };
        let up = held().then(8, started).then(1_000, answered).convert_at(91_000);
        let mut record = up.clone().record();

        let [converted, revenue, payout, _] = HELD;
        assert_eq!(amounts(&mut record), [converted, revenue]);
        crate::cdr::timeline::apply(&mut record, up.end_at(121_000).entries().last().unwrap());
        assert_eq!(amounts(&mut record), [payout, (AtEnd::Talk, 120_000)]);
    }

    #[test]
    fn what_was_counted_at_the_conversion_is_taken_back_if_the_call_had_been_over() {
        let up = held().dial(1).answer_at(1_000).convert_at(91_000);
        let mut record = up.clone().record();
        assert_eq!(amounts(&mut record).len(), 3);

        let lost = up.lose_at(121_000, 80_000);
        crate::cdr::timeline::apply(&mut record, lost.entries().last().unwrap());

        let [converted, revenue, payout, _] = HELD.map(|(at_end, held)| (at_end, -held));
        assert_eq!(amounts(&mut record), [converted, revenue, payout, (AtEnd::Talk, 80_000)]);
    }

    #[test]
    fn whoever_counts_a_conversion_does_so_in_the_slice_of_a_rolling_window_in_which_it_was() {
        let (hold, target) = (HoldId::of(call_id(1), 1, "tgt_summit"), "tgt_summit".into());
        let begun = Script::new().record().started_at();
        let minute = Rolling { seconds: 60 };
        let slice_at = |ms: i64| minute.name_at(minute.slice(Wall(begun.0 + ms)));
        let bucket = Bucket { window: slice_at(0), ..bucket(AtEnd::Converted, 1) };
        let placed = HoldPlaced { hold, target, buckets: vec![bucket] };
        let up = Script::new().then(8, placed).dial(1).answer_at(1_000).convert_at(91_000);
        let over = up.clone().end_at(181_000);

        for mut record in [up.record(), over.record()] {
            let counts = record.count_caps();
            let counted: Vec<_> = counts.iter().map(|it| (&it.window, it.amount)).collect();
            assert_eq!(counted, [(&slice_at(91_000), 1)]);
        }
    }

    #[test]
    fn a_call_that_comes_to_nothing_counts_nothing() {
        let short = held().dial(1).answer_at(1_000).end_at(31_000);
        assert_eq!(amounts(&mut short.record()), [(AtEnd::Talk, 30_000)]);
        let busy = held().dial(1).fail_at(900, 486, Reason::AttemptBusy).abandon_at(1_000);
        assert_eq!(amounts(&mut busy.record()), []);
        let elsewhere = Script::new().then(0, placed("tgt_other")).dial(1).answer_at(1_000);
        assert_eq!(amounts(&mut elsewhere.end_at(121_000).record()), []);
    }

    #[test]
    fn a_call_whose_caller_never_heard_the_answer_counts_nothing() {
        let (party, reason) = (Party::System, Reason::PrackMissing);
        let unheard = Ended { party, reason, status: 500, q850: None, talk_ms: None };
        let call = held().dial(1).answer_at(1_000).then(181_000, unheard);

        assert_eq!(amounts(&mut call.record()), []);
    }

    #[test]
    fn a_talk_that_ended_early_counts_at_once_and_not_again() {
        let other = |script: Script| {
            let mut started = Script::new().dial(2).facts().pop().unwrap();
            if let FactBody::AttemptStarted(started) = &mut started.body {
                started.target = "tgt_other".into();
            }
            script.then(6_000, started.body)
        };
        let gone = held().dial(1).answer_at(1_000).then(6_000, EndedEarly { leg: 1, q850: None });
        let mut record = gone.clone().record();
        assert_eq!(amounts(&mut record), [(AtEnd::Talk, 5_000)]);
        assert_eq!(amounts(&mut record), [], "once");

        let answered = other(gone).then(9_000, Answered { leg: 2, dialogs: None, codec: None });
        let mut record = answered.end_at(200_000).record();
        assert_eq!(amounts(&mut record), [(AtEnd::Talk, 5_000)], "nothing of what another has");
    }

    #[test]
    fn a_talk_that_ended_early_counts_in_the_slice_of_a_rolling_window_in_which_it_ended() {
        let (hold, target) = (HoldId::of(call_id(1), 1, "tgt_summit"), "tgt_summit".into());
        let begun = Script::new().record().started_at();
        let minute = Rolling { seconds: 60 };
        let window = minute.name_at(minute.slice(begun));
        let bucket = Bucket { window, ..bucket(AtEnd::Talk, 36_000_000) };
        let placed = HoldPlaced { hold, target, buckets: vec![bucket] };
        let call = Script::new().then(8, placed).dial(1).answer_at(50_000);
        let mut record = call.then(55_000, EndedEarly { leg: 1, q850: None }).record();

        let counts = record.count_caps();

        let slice = minute.name_at(minute.slice(Wall(begun.0 + 55_000)));
        let counted: Vec<_> = counts.iter().map(|it| (&it.window, it.amount)).collect();
        assert_eq!(counted, [(&slice, 5_000)]);
    }

    #[test]
    fn a_conversion_that_is_taken_back_is_not_counted() {
        let call = held().dial(1).answer_at(1_000).convert_at(91_000).lose_at(121_000, 80_000);

        assert_eq!(amounts(&mut call.record()), [(AtEnd::Talk, 80_000)]);
    }

    #[test]
    fn a_call_counts_no_more_than_was_held_for_it() {
        let call = held().dial(1).answer_at(1_000).end_at(1_601_007);

        assert_eq!(amounts(&mut call.record()).last(), Some(&(AtEnd::Talk, 600_000)));
    }

    #[test]
    fn of_a_call_that_a_crash_left_up_the_rest_is_held_until_its_true_end() {
        let orphan = held().dial(1).answer_at(1_000).orphan(30_000);
        let mut record = orphan.record();
        assert_eq!(amounts(&mut record), [(AtEnd::Talk, 30_000)]);
        let [held] = &record.held_back(LONGEST)[..] else { panic!("one hold") };
        let rest = held.dues.iter().filter_map(|(due, rest)| Some((due.at_end?, *rest)));
        let rest: Vec<_> = rest.collect();
        let [converted, revenue, payout, _] = HELD.map(|(at_end, held)| (at_end, held as u64));
        assert_eq!(rest, [converted, revenue, payout, (AtEnd::Talk, 570_000)]);

        let ended = orphan.end_at(121_000);
        crate::cdr::timeline::apply(&mut record, ended.entries().last().unwrap());

        let [converted, revenue, payout, _] = HELD;
        assert_eq!(amounts(&mut record), [converted, revenue, payout, (AtEnd::Talk, 90_000)]);
    }

    #[test]
    fn a_call_that_a_crash_cut_off_keeps_its_places_as_long_as_it_may_be_up() {
        let place = Bucket { window: "".into(), amount: 1, at_end: None, ..bucket(AtEnd::Talk, 1) };
        let placed = |target: &str| HoldPlaced { buckets: vec![place.clone()], ..placed(target) };
        let held = || Script::new().then(8, placed("tgt_summit"));
        let until = |script: Script, longest| -> Vec<i64> {
            let record = script.record();
            let began = record.started_at();
            record.held_back(longest).iter().map(|it| it.until.0 - began.0).collect()
        };
        const NONE: [i64; 0] = [];
        let hour = 3_600_000;

        let up = held().dial(1).answer_at(1_000).orphan(30_000);
        assert_eq!(until(up.clone(), LONGEST), [4 * hour]);
        assert_eq!(until(held().dial(1).orphan(0), LONGEST), [8 + 212_000], "it rings on");
        assert_eq!(until(held().dial(1).orphan(0), Duration::from_secs(3)), [3_000]);
        assert_eq!(until(held().orphan(0), LONGEST), NONE, "its INVITE had not left");
        let busy = held().dial(1).fail_at(900, 486, Reason::AttemptBusy);
        assert_eq!(until(busy.orphan(0), LONGEST), NONE);
        let referred = held().dial(1).then(800, referred()).orphan(0);
        assert_eq!(until(referred, LONGEST), NONE, "it is the carrier's call now");
        let early = held().dial(1).answer_at(1_000);
        let early = early.then(6_000, EndedEarly { leg: 1, q850: None });
        assert_eq!(until(early.orphan(0), LONGEST), NONE);
        assert_eq!(until(up.end_at(60_000), LONGEST), [4 * hour], "until it is vacated");
        let beside = held().then(8, placed("tgt_other")).dial(1).answer_at(1_000);
        assert_eq!(until(beside.orphan(0), LONGEST), [4 * hour], "only that of who has it");
        assert_eq!(amounts(&mut held().dial(1).answer_at(1_000).end_at(60_000).record()), []);
    }

    #[test]
    fn a_crash_between_the_202_and_the_outcome_of_a_transfer_counts_it_as_connected() {
        let referred = || Script::new().dial(1).then(800, referred());
        let of = |target| HoldId::of(call_id(1), 1, target);
        assert!(referred().record().has_connection_due(of("tgt_summit")));
        assert!(!referred().record().has_connection_due(of("tgt_other")), "the next is settled");
        let cut_off = referred().orphan(0);
        assert_eq!(amounts(&mut cut_off.record()), [(AtEnd::HandedOver, 1)]);
        let told = HandedOver { leg: 1, by: Means::Refer, status: Some(200) };
        let told = referred().then(3_000, told).abandon_at(3_000);
        assert_eq!(amounts(&mut told.record()), [(AtEnd::HandedOver, 1)]);
        let busy = referred().fail_at(3_000, 486, Reason::AttemptBusy).abandon_at(3_100);
        assert_eq!(amounts(&mut busy.record()), []);
        let bridged = referred().answer_at(3_000).end_at(9_000);
        assert_eq!(amounts(&mut bridged.record()), [], "the answer was settled by its own fact");
    }

    #[test]
    fn what_counts_in_a_rolling_window_counts_from_the_end_of_the_call_on() {
        let (hold, target) = (HoldId::of(call_id(1), 1, "tgt_summit"), "tgt_summit".into());
        let begun = Script::new().record().started_at();
        let hour = Rolling { seconds: 3_600 };
        let window = hour.name_at(hour.slice(begun));
        let bucket = Bucket { window, ..bucket(AtEnd::Talk, 36_000_000) };
        let placed = HoldPlaced { hold, target, buckets: vec![bucket] };
        let call = Script::new().then(8, placed).dial(1).answer_at(1_000);

        let orphan = call.clone().orphan(1_200_000);
        let mut record = orphan.record();
        let counts = record.count_caps();

        let slice_at = |ms: i64| hour.name_at(hour.slice(Wall(begun.0 + ms)));
        let counted = |counts: &[CapCount]| {
            counts.iter().map(|it| (it.window.clone(), it.amount)).collect::<Vec<_>>()
        };
        let (over, first) = (record.over_at(&record.dues[0]), counted(&counts));
        assert_eq!(first, [(slice_at(over.0 - begun.0), 1_200_000)]);
        assert_ne!(first[0].0, slice_at(0));

        let ended = orphan.end_at(7_201_000);
        crate::cdr::timeline::apply(&mut record, ended.entries().last().unwrap());
        let corrected = counted(&record.count_caps());
        assert_eq!(corrected, [(first[0].0.clone(), 6_000_000)], "what was counted is corrected");
    }

    #[test]
    fn what_is_due_survives_being_stored() {
        let record = held().dial(1).answer_at(1_000).record();
        let mut bytes = Vec::new();
        minicbor::encode(&record, &mut bytes).unwrap();

        assert_eq!(minicbor::decode::<CallRecord>(&bytes).unwrap(), record);
    }

    /// A call that holds room with the target that [`Script::dial`] calls.
    fn held() -> Script {
        Script::new().then(8, placed("tgt_summit"))
    }

    fn placed(target: &str) -> HoldPlaced {
        let buckets = HELD.map(|(at_end, amount)| bucket(at_end, amount)).to_vec();
        let hold = HoldId::of(call_id(1), 1, target);
        HoldPlaced { hold, target: target.into(), buckets }
    }

    fn referred() -> Referred {
        let hold = Some(HoldId::of(call_id(1), 1, "tgt_summit"));
        Referred { leg: 1, hold, buckets: vec![bucket(AtEnd::HandedOver, 1)] }
    }

    fn bucket(at_end: AtEnd, amount: i64) -> Bucket {
        let cap = format!("target/tgt_summit/{at_end:?}").into();
        Bucket { cap, window: "d:2026-03-17".into(), amount, at_end: Some(at_end) }
    }

    fn amounts(record: &mut CallRecord) -> Vec<(AtEnd, i64)> {
        let dues = record.dues.clone();
        let at_end =
            |cap: &SmolStr| dues.iter().find(|due| due.cap == *cap).unwrap().at_end.unwrap();
        record.count_caps().iter().map(|count| (at_end(&count.cap), count.amount)).collect()
    }
}

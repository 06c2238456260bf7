//! What must hold of facts, records and caps (spec/data §0.4), held against what the process wrote.
//! Written a second time: it counts facts and does not ask the projection.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::Verdict;
use super::market::Market;
use super::moving::{Events, Slices, is_spacing, moves_along, stored};
use crate::cdr::conversion::ConversionState;
use crate::cdr::fact::{AtEnd, Bucket, FactBody, Means};
use crate::cdr::journal::file::Recovery;
use crate::cdr::journal::{Entry, Gap, Lsn};
use crate::cdr::projection::Opening;
use crate::cdr::record::{CallRecord, CallState, Flags, Handover};
use crate::id::{CallId, HoldId, TargetId};
use crate::routing::hold::HoldLedger;
use crate::sip::call::report;
use crate::time::Wall;

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Which call of the world each is.
    calls: BTreeMap<CallId, usize>,
    /// Everything up to here was announced as durable by processes that are dead.
    promised: Lsn,
    starts: u64,
    /// Facts that were written and not promised when their process died.
    unpromised: BTreeSet<u64>,
    /// A window that was over and forgotten may begin anew.
    clock_was_set: bool,
    /// A power cut took facts from the end that are in the book.
    book_is_ahead: bool,
    /// Use of each window as it was last seen.
    used: BTreeMap<(SmolStr, SmolStr), u64>,
    /// Overshoots of processes that are dead, and of the one that is up.
    overshoots: [u64; 2],
    /// What calls of this process had counted and took back.
    taken_back: u64,
}

/// What is there when all calls are over.
pub(crate) struct Told<'a> {
    /// All facts of the journal.
    pub(crate) entries: &'a [Entry],
    pub(crate) gaps: &'a [Gap],
    pub(crate) undecodable: u64,
    /// Of the book.
    pub(crate) records: Vec<CallRecord>,
    pub(crate) used: BTreeMap<(SmolStr, SmolStr), i64>,
    /// Calls that the projection takes for open.
    pub(crate) live_records: usize,
    /// Of the process that is up.
    pub(crate) epoch: u64,
    /// Calls whose caller got 200 after the answer was on disk.
    pub(crate) answered: &'a [CallId],
    /// Calls that the carrier has, as far as this process has reported it.
    pub(crate) handed: &'a [Handed],
}

/// A call that the carrier has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) call: CallId,
    pub(crate) leg: u16,
    pub(crate) by: report::Means,
    pub(crate) status: Option<u16>,
}

/// What the facts say of a call.
#[derive(Debug, Default)]
struct Course {
    admitted: u32,
    /// Targets that answered, and did not hang up so soon that the next one was called.
    answered: u32,
    /// Those that did.
    early: u32,
    /// The caller was told of a failure.
    unheard: bool,
    confirmed: u32,
    converted: u32,
    ended: u32,
    orphaned: u32,
    handed: u32,
}

/// What the facts say of a hold.
#[derive(Debug)]
struct Hold {
    call: Option<CallId>,
    epoch: u64,
    buckets: BTreeSet<(SmolStr, SmolStr)>,
    settled: BTreeSet<(SmolStr, SmolStr)>,
    released: u32,
}

impl Oracle {
    pub(crate) fn admitted(&mut self, id: CallId, call: usize) {
        self.calls.insert(id, call);
    }

    pub(crate) fn call_of(&self, id: CallId) -> Option<usize> {
        self.calls.get(&id).copied()
    }

    pub(crate) fn starts(&self) -> u64 {
        self.starts
    }

    /// The process is dead; it had promised everything up to here.
    pub(crate) fn died(&mut self, durable: Lsn) {
        self.promised = self.promised.max(durable);
        // What was held and not used is free again; what was used is restored from facts.
        self.used.clear();
        let [before, of_this] = self.overshoots;
        self.overshoots = [before + of_this, 0];
        self.taken_back = 0;
    }

    /// The wall clock was set.
    pub(crate) fn clock_was_set(&mut self) {
        self.clock_was_set = true;
    }

    /// I1, I2: what was promised is there. What was never promised may be lost with the power, also
    /// from between facts that are left; the book may know of it all the same.
    pub(crate) fn started(&mut self, found: &Recovery, opening: &Opening) -> Result<(), String> {
        self.starts += 1;
        let promised = self.promised.seq;
        if found.next_seq <= promised {
            let last = found.next_seq - 1;
            return Err(format!("I1: fact {promised} was durable, and the last is {last}"));
        }
        self.unpromised.extend(promised + 1..found.next_seq);
        if let Some(gap) = found.missing.iter().chain(&opening.gaps).find(|gap| self.is_loss(gap)) {
            return Err(format!("I1: {gap:?} is missing, and {promised} was durable"));
        }
        self.book_is_ahead |= found.behind_projection > 0;
        Ok(())
    }

    /// Whether something is missing that was promised once.
    fn is_loss(&self, gap: &Gap) -> bool {
        (gap.first_seq..gap.first_seq + gap.count).any(|seq| !self.unpromised.contains(&seq))
    }

    /// I5: no cap is over its limit, nor does its use become less, but by what calls had counted that are
    /// found to have been over before they converted; attempts are far enough apart. I6:
    /// nor any concurrency.
    pub(crate) fn caps(&mut self, ledger: &HoldLedger, market: &Market, now: Wall) -> Verdict {
        let overshoots = ledger.counters().overshoots;
        self.overshoots[1] = overshoots;
        let taken_back = ledger.counters().taken_back;
        let calls_taken_back = taken_back - std::mem::replace(&mut self.taken_back, taken_back);
        if calls_taken_back > 0 {
            // A bucket in which nothing is left is forgotten.
            let known = ledger.readings().map(|it| (it.bucket.cap, it.bucket.window));
            let known: BTreeSet<_> = known.collect();
            self.used.retain(|bucket, _| known.contains(bucket));
        }
        let mut moving = vec![];
        for reading in ledger.readings() {
            let (bucket, usage) = (reading.bucket, reading.usage);
            if is_spacing(&bucket.window) {
                self.spaced(bucket.cap, usage.used, &market.gaps)?;
                continue;
            }
            if moves_along(&bucket.window) {
                moving.push((bucket, usage.held));
                continue;
            }
            let limit = market.limits.get(&bucket.cap).copied().unwrap_or_default();
            check_all(usage.used + usage.held <= limit.max + overshoots * limit.of_a_call, || {
                let (cap, window) = (&bucket.cap, &bucket.window);
                format!(
                    "I5: {cap} in {window}: {} used and {} held of {}",
                    usage.used, usage.held, limit.max
                )
            })?;
            let before = self.used.insert((bucket.cap.clone(), bucket.window), usage.used);
            let may_be_less = calls_taken_back * limit.of_a_call;
            let is_less = before.is_some_and(|before| usage.used + may_be_less < before);
            check_all(!is_less || self.clock_was_set, || {
                format!("I5: the use of {} became less", bucket.cap)
            })?;
        }
        if moving.is_empty() || self.clock_was_set {
            return Ok(());
        }
        let parts = ledger.used();
        let slices = Slices::of_ledger(&parts);
        for (bucket, held) in &moving {
            let limit = market.limits.get(&bucket.cap).copied().unwrap_or_default();
            let used = slices.used_at(&bucket.cap, &bucket.window, now.0);
            let most = signed(limit.max + overshoots * limit.of_a_call);
            check_all(used + signed(*held) <= most, || {
                let (cap, window) = (&bucket.cap, &bucket.window);
                format!("I5: {cap} in {window}: {used} used and {held} held of {}", limit.max)
            })?;
        }
        Ok(())
    }

    /// The last attempt was this long after the one before.
    fn spaced(&mut self, cap: SmolStr, last: u64, gaps: &BTreeMap<SmolStr, u64>) -> Verdict {
        let gap_ms = gaps.get(&cap).copied().unwrap_or(u64::MAX);
        let before = self.used.insert((cap.clone(), SmolStr::default()), last);
        let is_apart = before.is_none_or(|it| it == last || last >= it.saturating_add(gap_ms));
        check_all(is_apart || self.clock_was_set, || {
            format!("I5: {cap}: {before:?} and {last} are less than {gap_ms} ms apart")
        })
    }

    pub(crate) fn at_rest(&self, told: &Told<'_>, ledger: &HoldLedger, market: &Market) -> Verdict {
        self.journal_is_whole(told)?;
        // Where facts are missing that nobody promised, the rest need not tell whole stories.
        let is_torn = self.book_is_ahead || !told.gaps.is_empty();
        let mut facts = Facts::default();
        let in_order = facts.read(told.entries);
        let Facts { calls, holds, mut events } = facts;
        if !self.clock_was_set {
            let late = self.overshoots.iter().sum();
            let moved = events.are_apart(&market.gaps);
            let moved = moved.and_then(|()| events.are_few(&market.limits, late));
            let moved = moved.and_then(|()| Slices::of_book(&told.used).hold(&market.limits, late));
            moved.map_err(|what| (None, what))?;
        }
        if !is_torn {
            in_order?;
            calls_are_closed(&calls, told)?;
            records_make_sense(&calls, told)?;
            usage_is_the_same(told, &events, (!self.clock_was_set).then_some(ledger))?;
        }
        for id in told.answered {
            let answered = calls.get(id).is_some_and(|it| it.answered + it.early > 0);
            check(answered, *id, || {
                String::from("I1: the caller has a 200, the journal no answer")
            })?;
        }
        if !is_torn {
            handed_over(&calls, told)?;
        }
        holds_ended(&holds, told)?;
        // What was up at a crash may be up, until its time is over.
        check_all(ledger.live() == ledger.awaited(), || {
            format!("I6: {} holds are live, and no call is up", ledger.live())
        })?;
        for reading in ledger.readings() {
            check_all(reading.usage.held == reading.awaited, || {
                format!("I6: {} is held, and no call is up", reading.bucket.cap)
            })?;
        }
        Ok(())
    }

    /// I2.
    fn journal_is_whole(&self, told: &Told<'_>) -> Verdict {
        let gap = told.gaps.iter().find(|gap| self.is_loss(gap));
        check_all(gap.is_none() && told.undecodable == 0, || {
            format!("I2: the journal has a gap: {gap:?}, {} undecodable", told.undecodable)
        })?;
        let mut expected = 1;
        for entry in told.entries {
            while self.unpromised.contains(&expected) && entry.lsn.seq > expected {
                expected += 1;
            }
            check_all(entry.lsn.seq == expected, || {
                format!("I2: fact {} stands where {expected} should", entry.lsn.seq)
            })?;
            expected += 1;
        }
        Ok(())
    }
}

/// What the facts say.
#[derive(Debug, Default)]
struct Facts {
    calls: BTreeMap<CallId, Course>,
    holds: BTreeMap<HoldId, Hold>,
    events: Events,
}

impl Facts {
    /// Counts all of them. Fails with the first that does not fit those before it.
    fn read(&mut self, entries: &[Entry]) -> Verdict {
        let verdicts: Vec<Verdict> = entries.iter().map(|entry| self.take(entry)).collect();
        verdicts.into_iter().collect()
    }

    fn take(&mut self, Entry { lsn, fact }: &Entry) -> Verdict {
        let Some(call) = fact.call else { return Ok(()) };
        let course = self.calls.entry(call).or_default();
        let is_late = course.ended > 0 && !matches!(fact.body, FactBody::HoldReleased(_));
        match &fact.body {
            FactBody::Admitted(_) => course.admitted += 1,
            FactBody::Answered(_) => course.answered += 1,
            FactBody::EndedEarly(_) => {
                course.answered -= 1;
                course.early += 1;
                course.confirmed = 0;
            }
            FactBody::Confirmed(_) => course.confirmed += 1,
            FactBody::Converted(_) => course.converted += 1,
            FactBody::Ended(ended) => {
                course.ended += 1;
                course.unheard = ended.status >= 300;
            }
            FactBody::OrphanClosed(_) => course.orphaned += 1,
            FactBody::HoldPlaced(placed) => {
                let hold = Hold {
                    call: Some(call),
                    epoch: lsn.epoch,
                    buckets: placed.buckets.iter().map(name).collect(),
                    settled: BTreeSet::new(),
                    released: 0,
                };
                let twice = self.holds.insert(placed.hold, hold).is_some();
                check(!twice, call, || String::from("I7: a hold is placed twice"))?;
            }
            FactBody::HoldSettled(settled) => {
                let hold = self.holds.get_mut(&settled.hold);
                let hold = hold.ok_or_else(|| unknown_hold(call))?;
                check(hold.released == 0, call, || {
                    String::from("I7: a hold is settled after it was released")
                })?;
                for bucket in &settled.buckets {
                    self.events.add(&bucket.cap, &bucket.window, fact.at.wall_ms);
                    let bucket = name(bucket);
                    check(hold.buckets.contains(&bucket), call, || {
                        format!("I7: {} is settled and was not held", bucket.0)
                    })?;
                    check(hold.settled.insert(bucket.clone()), call, || {
                        format!("I7: {} is settled twice", bucket.0)
                    })?;
                }
            }
            FactBody::HoldReleased(released) => {
                let hold = self.holds.get_mut(&released.hold);
                let hold = hold.ok_or_else(|| unknown_hold(call))?;
                hold.released += 1;
                check(hold.released == 1, call, || String::from("I7: a hold is released twice"))?;
            }
            FactBody::HandedOver(_) => course.handed += 1,
            FactBody::Decided(_)
            | FactBody::AttemptStarted(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AttemptFailed(_)
            | FactBody::Checkpoint(_)
            | FactBody::PingAccepted(_)
            | FactBody::SessionTouched(_)
            | FactBody::SessionReleased(_)
            | FactBody::SessionEnriched(_)
            | FactBody::SessionConsumed(_)
            | FactBody::Rematched(_)
            | FactBody::Referred(_)
            | FactBody::AddressFailed(_)
            | FactBody::Farewells(_)
            | FactBody::Taken(_)
            | FactBody::Transferred(_)
            | FactBody::Deposited(_)
            | FactBody::CapReset(_)
            | FactBody::NodeStarted(_) => {}
        }
        check(!is_late, call, || format!("I3: {} after the end of the call", fact.body.name()))
    }
}

/// I3: one record for each call, and one closing fact.
fn calls_are_closed(calls: &BTreeMap<CallId, Course>, told: &Told<'_>) -> Verdict {
    let records: BTreeMap<CallId, &CallRecord> =
        told.records.iter().map(|record| (record.call, record)).collect();
    for (call, course) in calls {
        let Course { admitted, answered, converted, ended, orphaned, .. } = course;
        check(*admitted == 1, *call, || format!("I3: {admitted} admissions"))?;
        check(*answered <= 1, *call, || format!("I3: {answered} answers"))?;
        check(*converted <= 1, *call, || format!("I10: converted {converted} times"))?;
        check(*ended <= 1 && *orphaned <= 1 && ended + orphaned > 0, *call, || {
            format!("I3: {ended} ends, closed {orphaned} times as an orphan")
        })?;
        let state = records.get(call).map(|record| record.state);
        let expected = if *ended > 0 { CallState::Closed } else { CallState::OrphanClosed };
        check(state == Some(expected), *call, || {
            format!("I3: its record is {state:?}, the facts say {expected:?}")
        })?;
    }
    check_all(records.len() == calls.len(), || {
        format!("I3: {} records of {} calls", records.len(), calls.len())
    })?;
    check_all(told.live_records == 0, || {
        format!("I3: {} records are open, and no call is up", told.live_records)
    })
}

/// I4, and I10: times are in order, and nobody pays for a call that did not convert.
fn records_make_sense(calls: &BTreeMap<CallId, Course>, told: &Told<'_>) -> Verdict {
    for record in &told.records {
        let call = record.call;
        // Where nobody else took the call, it was connected to the one that hung up at once.
        let early = |course: &Course| course.early > 0 && record.handover.is_none();
        let answered = |course: &Course| (course.answered > 0 && !course.unheard) || early(course);
        let answered = calls.get(&call).is_some_and(answered);
        check(record.answered_ms.is_some() == answered, call, || {
            String::from("I4: the record and the facts differ about the answer")
        })?;
        check(record.talk_ms.is_some() == answered, call, || {
            format!("I4: answered is {answered}, talk is {:?}", record.talk_ms)
        })?;
        if let (Some(from), Some(to), Some(talk), CallState::Closed) =
            (record.answered_ms, record.ended_ms, record.talk_ms, record.state)
        {
            check(to.checked_sub(from) == Some(talk), call, || {
                format!("I4: from {from} to {to} is not a talk of {talk}")
            })?;
        }
        // The end is the answer and the talk, each rounded down: a millisecond may be lost.
        let ended_ms = record.ended_ms.map(|at| at + 1);
        // An orphan ends where it was last known to be up.
        let is_orphan = record.flags.contains(Flags::ORPHAN);
        let confirmed_ms = record.confirmed_ms.filter(|_| !is_orphan);
        let order = [record.decided_ms, record.answered_ms, confirmed_ms, ended_ms];
        let in_order = order.iter().flatten().is_sorted();
        check(in_order, call, || format!("I4: times out of order: {order:?}"))?;
        let converted = calls.get(&call).is_some_and(|course| course.converted > 0);
        let earned = record.revenue.0 > 0 || record.payout.0 > 0;
        // What an orphan earned by a later end was no fact of the process that died.
        // Of a party that is found gone a conversion is taken back if it came after its last word.
        let taken_back =
            record.flags.contains(Flags::END_INFERRED) && record.converted_ms.is_none();
        let as_told = converted == earned || (taken_back && !earned);
        check(as_told || is_orphan, call, || {
            format!("I10: converted is {converted}, revenue {}", record.revenue.0)
        })?;
        check(record.payout <= record.revenue, call, || {
            String::from("I10: more is paid than earned")
        })?;
    }
    Ok(())
}

/// R15: the record says what the carrier was told to do, and what it said of that; nothing is earned
/// by it.
fn handed_over(calls: &BTreeMap<CallId, Course>, told: &Told<'_>) -> Verdict {
    let records: BTreeMap<CallId, &CallRecord> =
        told.records.iter().map(|record| (record.call, record)).collect();
    for Handed { call, leg, by, status } in told.handed {
        let by = match by {
            report::Means::Refer => Means::Refer,
            report::Means::Redirect => Means::Redirect,
        };
        let expected = Handover { leg: *leg, by, status: *status };
        let known = records.get(call).and_then(|record| record.handover);
        check(known == Some(expected), *call, || {
            format!("R15: the carrier has it as {expected:?}, its record says {known:?}")
        })?;
    }
    for (call, course) in calls {
        check(course.handed <= 1, *call, || format!("R15: handed over {} times", course.handed))?;
        let record = records.get(call).filter(|_| course.handed == 1);
        let earns = record.is_some_and(|it| it.answered_ms.is_some() || it.revenue.0 > 0);
        check(!earns, *call, || String::from("R15: it was handed over, and earns here"))?;
    }
    Ok(())
}

/// I7: what the process that is up has placed has ended.
fn holds_ended(holds: &BTreeMap<HoldId, Hold>, told: &Told<'_>) -> Verdict {
    for hold in holds.values().filter(|hold| hold.epoch == told.epoch) {
        if hold.released == 0 && hold.settled != hold.buckets {
            let what = String::from("I7: a hold was neither settled nor released");
            return Err((hold.call, what));
        }
    }
    Ok(())
}

/// I11: journal and book count the same, and so does the ledger if it is given. What counts at once
/// is in facts; what a call comes to when it is over is what its record says.
fn usage_is_the_same(told: &Told<'_>, events: &Events, ledger: Option<&HoldLedger>) -> Verdict {
    let mut counted: BTreeMap<(SmolStr, SmolStr), i64> = BTreeMap::new();
    // Of those in windows that move along only the end of a call says in which slice it counts.
    let mut at_end: BTreeSet<&SmolStr> = BTreeSet::new();
    let records: BTreeMap<CallId, &CallRecord> =
        told.records.iter().map(|record| (record.call, record)).collect();
    for entry in told.entries {
        let record = entry.fact.call.and_then(|call| records.get(&call));
        let amounts: Vec<(&Bucket, i64)> = match &entry.fact.body {
            FactBody::HoldSettled(settled) => {
                let windows = settled.buckets.iter().filter(|bucket| !bucket.window.is_empty());
                windows.map(|bucket| (bucket, bucket.amount)).collect()
            }
            FactBody::HoldPlaced(placed) => {
                let came_to = |bucket| record.map_or(0, |it| came_to(it, &placed.target, bucket));
                placed.buckets.iter().map(|bucket| (bucket, came_to(bucket))).collect()
            }
            FactBody::Referred(referred) => {
                let told = record.filter(|record| record.answered_ms.is_none());
                let told = told.and_then(|record| record.handover).map(|handover| handover.leg);
                let amount = i64::from(told == Some(referred.leg));
                referred.buckets.iter().map(|bucket| (bucket, amount)).collect()
            }
            _ => continue,
        };
        for (bucket, amount) in amounts {
            if bucket.at_end.is_some() && moves_along(&bucket.window) {
                at_end.insert(&bucket.cap);
            }
            *counted.entry((bucket.cap.clone(), bucket.window.clone())).or_default() += amount;
        }
    }
    let in_all = |used: &BTreeMap<(SmolStr, SmolStr), i64>| {
        let mut sums: BTreeMap<(SmolStr, SmolStr), i64> = BTreeMap::new();
        for ((cap, window), amount) in used {
            let window = if at_end.contains(cap) { stored(window).into() } else { window.clone() };
            *sums.entry((cap.clone(), window)).or_default() += amount;
        }
        sums.retain(|_, amount| *amount != 0);
        sums
    };
    let counted = in_all(&counted);
    check_all(in_all(&told.used) == counted, || {
        format!("I11: the book says {:?} are used, facts and records {counted:?}", told.used)
    })?;
    let Some(ledger) = ledger else { return Ok(()) };
    for reading in ledger.readings() {
        let (bucket, used) = (reading.bucket, signed(reading.usage.used));
        let counted = if is_spacing(&bucket.window) {
            events.last_attempt(&bucket.cap).unwrap_or_default()
        } else if moves_along(&bucket.window) {
            continue;
        } else {
            let key = (bucket.cap.clone(), bucket.window.clone());
            counted.get(&key).copied().unwrap_or_default()
        };
        check_all(used == counted, || {
            format!("I5: the ledger counts {used} in {bucket:?}, facts and records {counted}")
        })?;
    }
    let parts = ledger.used();
    let known = Slices::of_ledger(&parts);
    let booked = Slices::of_book(&told.used);
    let same = known.are_in(&booked).and_then(|()| booked.are_in(&known));
    same.map_err(|what| (None, what))
}

/// What a call comes to that is over, with the target it was held for.
fn came_to(record: &CallRecord, target: &TargetId, bucket: &Bucket) -> i64 {
    // So long it talked to one that hung up at once.
    let early = record.attempts.iter().find(|it| it.target == *target && it.talk_ms.is_some());
    if let (Some(talk_ms), Some(AtEnd::Talk)) = (early.and_then(|it| it.talk_ms), bucket.at_end) {
        return i64::try_from(talk_ms).unwrap_or(i64::MAX).min(bucket.amount);
    }
    let answered = record.answered_leg.and_then(|_| record.attempt());
    if answered.is_none_or(|attempt| attempt.target != *target) {
        return 0;
    }
    let talk_ms = record.talk_ms.unwrap_or_default();
    match bucket.at_end {
        None | Some(AtEnd::HandedOver) => 0,
        Some(AtEnd::Converted) => i64::from(record.conversion == ConversionState::Settled),
        Some(AtEnd::Revenue) => record.revenue.0,
        Some(AtEnd::Payout) => record.payout.0,
        // The longest call may last a moment longer than it was to.
        Some(AtEnd::Talk) => i64::try_from(talk_ms).unwrap_or(i64::MAX).min(bucket.amount),
    }
}

/// The cap and the window of a bucket, without its slice or its instant.
fn name(bucket: &Bucket) -> (SmolStr, SmolStr) {
    (bucket.cap.clone(), stored(&bucket.window).into())
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn unknown_hold(call: CallId) -> (Option<CallId>, String) {
    (Some(call), String::from("I7: no such hold is placed"))
}

fn check(holds: bool, call: CallId, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err((Some(call), what())) }
}

fn check_all(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err((None, what())) }
}

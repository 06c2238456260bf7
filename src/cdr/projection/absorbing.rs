//! What each fact does to calls that are open, and to the batch that goes to the book.

use std::collections::BTreeMap;
use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use super::{Correction, Projection, Slot, times_add_up};
use crate::cdr::due::CapDue;
use crate::cdr::enrichment::Enrichment;
use crate::cdr::fact::{Deposited, FactBody, HoldSettled};
use crate::cdr::journal::Entry;
use crate::cdr::record::{CallRecord, CallState, Flags};
use crate::cdr::store::Progress;
use crate::cdr::timeline::{self, Applied};
use crate::id::CallId;
use crate::time::Wall;

impl Projection {
    pub(super) fn absorb(&mut self, entries: &[Entry]) {
        let live = self.live.clone();
        let mut calls = live.calls.lock();
        for entry in entries {
            if entry.lsn <= self.absorbed {
                // What it did is done.
                self.violations.facts_again += 1;
                continue;
            }
            self.absorbed = entry.lsn;
            self.now = entry.fact.at;
            // A fact that is only replayed has had its effect.
            let counts = entry.lsn > self.progress.offset;
            let offset = entry.lsn.max(self.progress.offset);
            self.batch.progress = Some(Progress { offset, ..self.progress });
            match entry.fact.call {
                Some(call) => self.absorb_call(&mut calls, call, entry, counts),
                None => self.absorb_other(&mut calls, entry, counts),
            }
        }
        self.park(&mut calls);
    }

    fn absorb_call(
        &mut self,
        calls: &mut BTreeMap<CallId, Slot>,
        call: CallId,
        entry: &Entry,
        counts: bool,
    ) {
        let begins = match &entry.fact.body {
            FactBody::Admitted(_) => true,
            // Money is not lost because an admission is; the record is flagged.
            FactBody::Answered(_) => counts,
            FactBody::Ended(_) => counts || self.orphans.contains_key(&call),
            FactBody::Decided(decided) => {
                if counts && !decided.record.is_empty() {
                    self.batch.decisions.push((entry.lsn.key(), decided.record.clone()));
                }
                false
            }
            FactBody::HoldSettled(settled) => {
                if counts {
                    self.count(settled);
                }
                return;
            }
            FactBody::HoldPlaced(placed) => {
                if !placed.buckets.iter().any(CapDue::is_made_of) {
                    return;
                }
                false
            }
            FactBody::HoldReleased(_) => return,
            FactBody::Rematched(_) => {
                if counts {
                    self.rematch(call, entry);
                }
                return;
            }
            FactBody::SessionConsumed(consumed) => {
                if counts {
                    self.batch.consumed.push((consumed.session, entry.fact.at.wall()));
                }
                return;
            }
            FactBody::AttemptStarted(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AttemptFailed(_)
            | FactBody::AddressFailed(_)
            | FactBody::Confirmed(_)
            | FactBody::Converted(_)
            | FactBody::HandedOver(_)
            | FactBody::Taken(_)
            | FactBody::Transferred(_)
            | FactBody::EndedEarly(_)
            | FactBody::Referred(_)
            | FactBody::Checkpoint(_)
            | FactBody::OrphanClosed(_)
            | FactBody::PingAccepted(_)
            | FactBody::SessionTouched(_)
            | FactBody::SessionReleased(_)
            | FactBody::SessionEnriched(_)
            | FactBody::Farewells(_)
            | FactBody::Deposited(_)
            | FactBody::CapReset(_)
            | FactBody::NodeStarted(_) => false,
        };
        if begins && !calls.contains_key(&call) {
            let ends = matches!(entry.fact.body, FactBody::Ended(_));
            let known = if ends { self.orphans.remove(&call) } else { None };
            let is_admission = matches!(entry.fact.body, FactBody::Admitted(_));
            if counts && !is_admission && known.is_none() {
                self.violations.calls_unbegun += 1;
            }
            let record = known.unwrap_or_else(|| Arc::new(CallRecord::begin(call, entry)));
            self.young.insert(record.first, call);
            calls.insert(call, Slot { record, parked: false, written: entry.fact.at });
        }
        let Some(slot) = calls.get_mut(&call) else { return };
        let converts = matches!(entry.fact.body, FactBody::Converted(_));
        if counts && converts && slot.record.converted_ms.is_some() {
            self.violations.converted_again += 1;
        }
        match timeline::apply(Arc::make_mut(&mut slot.record), entry) {
            Applied::Nothing => {}
            Applied::Changed => {
                if slot.parked {
                    self.changed.insert(call);
                }
            }
            Applied::Closed => {
                let mut slot = calls.remove(&call).expect("it was found just now");
                self.young.remove(&slot.record.first);
                self.changed.remove(&call);
                if counts && !times_add_up(&slot.record) {
                    self.violations.times_unlike += 1;
                }
                if let Some(tariff) = &self.settings.tariff {
                    Arc::make_mut(&mut slot.record).rate(tariff);
                }
                if slot.parked {
                    self.batch.unparked.push(call);
                }
                if slot.record.occupies() {
                    self.free(Arc::make_mut(&mut slot.record), counts);
                }
                if slot.record.state == CallState::OrphanClosed {
                    self.orphans.insert(call, Arc::clone(&slot.record));
                }
                if counts {
                    let is_corrected = slot.record.flags.contains(Flags::ORPHAN_CORRECTED);
                    if slot.record.flags.contains(Flags::MATCH_DEGRADED) && !is_corrected {
                        self.batch.degraded.push(call);
                    }
                    self.live.closing.lock().insert(call, Arc::clone(&slot.record));
                    self.batch.calls.push(slot.record);
                }
            }
        }
    }

    /// A call that is over was looked at again.
    fn rematch(&mut self, call: CallId, entry: &Entry) {
        self.batch.rematched.push(call);
        let on_its_way = self.live.closing.lock().get(&call).cloned();
        let known = on_its_way.or_else(|| self.orphans.get(&call).cloned());
        let Some(mut record) = known.or_else(|| self.past.remove(&call)) else { return };
        if timeline::apply(Arc::make_mut(&mut record), entry) == Applied::Nothing {
            return;
        }
        if let Some(orphan) = self.orphans.get_mut(&call) {
            *orphan = Arc::clone(&record);
        }
        self.live.closing.lock().insert(call, Arc::clone(&record));
        self.batch.calls.push(record);
    }

    /// What raises a buyer's credit is kept as the use of caps is, and each deposit by its time and
    /// its key.
    fn deposit(&mut self, Deposited { buyer, amount, key }: &Deposited, at: Wall) {
        let all = (format_smolstr!("buyer/{buyer}/deposits"), SmolStr::new_static("total"));
        let key = format_smolstr!("key:{}:{key}", at.0);
        let this = (format_smolstr!("buyer/{buyer}/deposit"), key);
        for bucket in [all, this] {
            self.add(bucket, amount.0);
        }
    }

    fn count(&mut self, settled: &HoldSettled) {
        for bucket in settled.buckets.iter().filter(|bucket| !bucket.window.is_empty()) {
            self.add((bucket.cap.clone(), bucket.window.clone()), bucket.amount);
        }
    }

    /// A call is over that counts in caps or takes places.
    fn free(&mut self, record: &mut CallRecord, counts: bool) {
        let is_corrected = record.flags.contains(Flags::ORPHAN_CORRECTED);
        let holds = match record.counts_in_caps() || is_corrected {
            true => record.conclude(),
            // Whoever gave it its places has taken them back.
            false => vec![],
        };
        if record.state == CallState::Closed {
            record.vacate();
        }
        if !counts {
            return;
        }
        for change in holds.iter().flat_map(|(_, changes)| changes) {
            self.add((change.cap.clone(), change.window.clone()), change.amount);
        }
        if is_corrected {
            let corrections = holds.into_iter().map(|(hold, counts)| Correction { hold, counts });
            self.corrections.extend(corrections);
        }
    }

    /// A sum that does not fit is as much as does: no fact keeps those behind it out of the book.
    fn add(&mut self, bucket: (SmolStr, SmolStr), amount: i64) {
        let used = self.batch.used.entry(bucket).or_default();
        *used = used.saturating_add(amount);
    }

    fn absorb_other(&mut self, calls: &mut BTreeMap<CallId, Slot>, entry: &Entry, counts: bool) {
        let at = entry.fact.at;
        match &entry.fact.body {
            FactBody::Checkpoint(checkpoint) => {
                self.checkpoint = Some(entry.lsn);
                for &(call, elapsed_ms) in &checkpoint.live {
                    let Some(slot) = calls.get_mut(&call) else { continue };
                    let record = Arc::make_mut(&mut slot.record);
                    record.seen_alive(elapsed_ms);
                    if counts && at.since(slot.written) >= self.settings.partial_every {
                        record.rev += 1;
                        slot.written = at;
                        self.batch.calls.push(Arc::clone(&slot.record));
                        self.changed.insert(call);
                    }
                }
            }
            FactBody::PingAccepted(ping) if counts => {
                self.batch.sessions.push((ping.clone(), at.wall()));
            }
            FactBody::SessionConsumed(consumed) if counts => {
                self.batch.consumed.push((consumed.session, at.wall()));
            }
            FactBody::SessionTouched(touched) if counts => self.batch.touch(touched.clone()),
            FactBody::SessionReleased(released) if counts => self.batch.release(released),
            FactBody::SessionEnriched(told) if counts => {
                self.batch.enriched.push(Enrichment::of(told, at.wall()));
            }
            FactBody::HoldSettled(settled) if counts => self.count(settled),
            FactBody::Deposited(deposited) if counts => self.deposit(deposited, at.wall()),
            FactBody::CapReset(reset) if counts => {
                self.batch.resets.push((reset.clone(), at.wall()));
            }
            FactBody::PingAccepted(_)
            | FactBody::SessionTouched(_)
            | FactBody::SessionReleased(_)
            | FactBody::SessionEnriched(_)
            | FactBody::SessionConsumed(_)
            | FactBody::Rematched(_)
            | FactBody::Admitted(_)
            | FactBody::Decided(_)
            | FactBody::HoldPlaced(_)
            | FactBody::HoldSettled(_)
            | FactBody::HoldReleased(_)
            | FactBody::AttemptStarted(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AttemptFailed(_)
            | FactBody::AddressFailed(_)
            | FactBody::Answered(_)
            | FactBody::Confirmed(_)
            | FactBody::Converted(_)
            | FactBody::HandedOver(_)
            | FactBody::Taken(_)
            | FactBody::Transferred(_)
            | FactBody::EndedEarly(_)
            | FactBody::Referred(_)
            | FactBody::Ended(_)
            | FactBody::OrphanClosed(_)
            | FactBody::Farewells(_)
            | FactBody::Deposited(_)
            | FactBody::CapReset(_)
            | FactBody::NodeStarted(_) => {}
        }
    }
}

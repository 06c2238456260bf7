//! Facts go to the journal, and what waits for them is let go.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cdr::fact::{self, Fact, FactBody, Stamp};
use crate::cdr::journal::{Durability, Lsn};
use crate::id::CallId;
use crate::sip::endpoint::{CallKey, Input};
use crate::time::Mono;

use super::{Bridge, LiveCall};

/// Up to where the journal is on stable storage.
#[derive(Debug, Default)]
pub struct DurableMark {
    epoch: AtomicU64,
    seq: AtomicU64,
}

/// Stands for the position of a fact that the journal has had no room for yet.
const UNWRITTEN: Lsn = Lsn { epoch: u64::MAX, seq: u64::MAX };

impl DurableMark {
    pub fn set(&self, up_to: Lsn) {
        self.epoch.store(up_to.epoch, Ordering::SeqCst);
        self.seq.store(up_to.seq, Ordering::SeqCst);
    }

    pub fn get(&self) -> Lsn {
        Lsn { epoch: self.epoch.load(Ordering::SeqCst), seq: self.seq.load(Ordering::SeqCst) }
    }
}

impl Bridge {
    /// [`Input::Durable`] is to come when everything written so far is on disk.
    pub fn await_durable(&mut self, call: CallKey) {
        self.wait_for_last(Input::Durable { call });
    }

    /// What has waited for the disk and need wait no longer.
    pub fn next_durable(&mut self) -> Option<Input> {
        if !self.backlog.is_empty() {
            self.drain_backlog();
            self.end_counting();
        }
        let (lsn, _) = self.queue.front()?;
        if *lsn > self.parts.durable.get() {
            return None;
        }
        let (_, input) = self.queue.pop_front()?;
        if self.queue.is_empty() {
            self.waiting.store(false, Ordering::SeqCst);
        }
        Some(input)
    }

    /// What is counted from here on is told to nobody before its fact is on disk.
    pub(super) fn begin_counting(&mut self) {
        if let Some(rooms) = &self.rooms {
            self.counting.get_or_insert_with(|| rooms.shared.counting());
        }
    }

    /// The facts of what was counted are written, or wait for the journal.
    pub(super) fn end_counting(&mut self) {
        if self.backlog.is_empty() {
            self.counting = None;
        }
    }

    pub(super) fn checkpoint(&mut self, now: Mono) {
        let elapsed = |live: &LiveCall| {
            let elapsed = now.ms_since(live.answered?);
            Some((live.id, u32::try_from(elapsed).unwrap_or(u32::MAX)))
        };
        let live: Vec<_> = self.calls.values().filter_map(elapsed).collect();
        if !live.is_empty() {
            let stamp = Stamp::new(self.parts.clock.wall(), now);
            self.append(Fact::of_node(stamp, fact::Checkpoint { live }), Durability::Buffered);
        }
    }

    pub(super) fn write(
        &mut self,
        call: CallId,
        at: Mono,
        body: impl Into<FactBody>,
        durability: Durability,
    ) {
        let fact = Fact::of_call(call, Stamp::new(self.parts.clock.wall(), at), body);
        self.outcomes.note(&fact);
        self.append(fact, durability);
    }

    /// Facts keep their order: while one waits, all wait.
    pub(super) fn append(&mut self, fact: Fact, durability: Durability) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((fact, durability));
            self.drain_backlog();
            return;
        }
        match self.parts.appender.append(fact, durability) {
            Ok(lsn) => self.last = lsn,
            Err(refused) => self.backlog.extend(refused.fact.map(|fact| (*fact, durability))),
        }
    }

    pub(super) fn drain_backlog(&mut self) {
        while let Some((fact, durability)) = self.backlog.pop_front() {
            match self.parts.appender.append(fact, durability) {
                Ok(lsn) => self.last = lsn,
                Err(refused) => {
                    if let Some(fact) = refused.fact {
                        self.backlog.push_front((*fact, durability));
                        return;
                    }
                }
            }
        }
        for (lsn, _) in &mut self.queue {
            if *lsn == UNWRITTEN {
                *lsn = self.last;
            }
        }
    }

    pub(super) fn wait_for_last(&mut self, input: Input) {
        let lsn = if self.backlog.is_empty() { self.last } else { UNWRITTEN };
        self.queue.push_back((lsn, input));
        self.waiting.store(true, Ordering::SeqCst);
    }
}

//! The journal: the book of record of one node. Everything else is a projection of it.
//!
//! `format` is the bytes of a segment (pure). `file` owns the directory: one committer thread that
//! writes, syncs, rolls and recovers, [`file::Appender`]s that feed it, and [`file::Tail`]s that
//! read along.
//!
//! Invariants: I1, every fact reported durable survives `kill -9` and power loss. I2, sequence
//! numbers of an epoch have no gap; one that is found is reported with its exact size.
//! (spec/data §1.2)

use super::fact::Fact;

pub mod file;
pub mod format;

/// Position of a fact: unique per node, ordered as written.
///
/// `seq` continues over restarts, so that a gap is a difference of two numbers. After power loss
/// the numbers of facts that never became durable are given out again under a higher epoch.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    minicbor::Encode,
    minicbor::Decode,
)]
pub struct Lsn {
    /// Bumped at each start of the process, from 1.
    #[n(0)]
    pub epoch: u64,
    /// Counts facts, from 1.
    #[n(1)]
    pub seq: u64,
}

impl Lsn {
    /// One number for both: unique for a million starts and 8 × 10¹² facts.
    pub fn key(self) -> u64 {
        (self.epoch << 43 | self.seq) & (u64::MAX >> 1)
    }
}

/// A fact with its place in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub lsn: Lsn,
    pub fact: Fact,
}

/// What the writer of a fact needs of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Rides with the next commit; synced at most 1 s after it was appended.
    Buffered,
    /// Makes the next commit sync. Await it, or compare with the announced [`Durable`].
    Durable,
}

/// Everything up to and including this position is on stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    pub up_to: Lsn,
}

/// What the state of the journal's disk means for admission (spec/data §2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    #[default]
    None,
    /// Below the low-water mark: refuse pings, keep taking calls.
    Low,
    /// Below the reserve-water mark: refuse new calls too; the reserve is released so that live
    /// calls can be closed.
    Reserve,
    /// Facts cannot be made durable: refuse everything new, keep calls up. Facts are kept in
    /// memory and written as soon as a segment can be opened.
    Failing,
}

/// Sequence numbers that are nowhere in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    pub first_seq: u64,
    pub count: u64,
}

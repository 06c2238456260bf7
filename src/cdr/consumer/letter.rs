//! Facts that failed: what is kept of them until they have had their effects, or somebody gives them
//! up (spec/data §2.8).

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::SmolStr;

use crate::cdr::fact::{DecodeFactError, Fact};
use crate::cdr::journal::{Entry, Lsn, format};
use crate::id::CallId;
use crate::time::Wall;

/// Most facts that are set aside for one consumer at a time. One that fails at more of them is
/// broken: it stops, and the facts wait in the journal.
pub const LETTERS_MAX: u64 = 10_000;

/// What becomes of a fact that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum LetterState {
    /// It will be tried again by itself.
    #[n(0)]
    Retrying,
    /// It waits for somebody to say what to do.
    #[n(1)]
    Dead,
    /// It has had its effects.
    #[n(2)]
    Done,
    /// Somebody gave it up.
    #[n(3)]
    Discarded,
}

impl LetterState {
    pub const ALL: [Self; 4] = [Self::Retrying, Self::Dead, Self::Done, Self::Discarded];

    pub fn name(self) -> &'static str {
        match self {
            Self::Retrying => "retrying",
            Self::Dead => "dead",
            Self::Done => "done",
            Self::Discarded => "discarded",
        }
    }
}

/// A fact that failed at a consumer.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    pub id: u64,
    pub consumer: SmolStr,
    pub lsn: Lsn,
    pub fact: SealedFact,
    pub state: LetterState,
    /// Since it failed first, or since somebody asked to have it tried again.
    pub tries: u32,
    /// What kind of error the last one was.
    pub class: SmolStr,
    pub error: String,
    pub first_at: Wall,
    pub last_at: Wall,
    /// When it is tried again.
    pub next_at: Option<Wall>,
    pub word: Option<Word>,
}

/// What somebody said should become of a fact that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The id of an API key.
    pub by: SmolStr,
    pub at: Wall,
    /// Of one that was given up.
    pub reason: Option<String>,
}

/// A fact as the journal stores it: the journal may not have it any more when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFact(pub Vec<u8>);

impl SealedFact {
    pub fn of(entry: &Entry) -> Self {
        let mut bytes = Vec::new();
        format::write_record(&mut bytes, entry.lsn.seq, &entry.fact)
            .expect("it was written to the journal, so it is not too long");
        Self(bytes)
    }

    /// # Errors
    /// It was damaged, or a newer version wrote it.
    pub fn open(&self) -> Result<Fact, DecodeFactError> {
        match format::parse(&self.0, true) {
            format::Parsed::Record(record, _) => record.fact(),
            format::Parsed::Footer(_)
            | format::Parsed::End
            | format::Parsed::Incomplete { .. }
            | format::Parsed::Damaged => Err(DecodeFactError::UnknownKind(0)),
        }
    }
}

/// Which of them; absent means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Ids from here…
    pub first: Option<u64>,
    /// …to here, both among them.
    pub last: Option<u64>,
    pub consumer: Option<SmolStr>,
    pub state: Option<LetterState>,
    pub class: Option<SmolStr>,
    pub call: Option<CallId>,
    /// Failed first at or after.
    pub since: Option<Wall>,
    /// Failed first before.
    pub until: Option<Wall>,
}

/// How many facts of a consumer are set aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LetterCount {
    pub retrying: u64,
    pub dead: u64,
    /// When the next of them is tried again.
    pub next_due: Option<Wall>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::testing::Script;

    #[test]
    fn a_fact_comes_out_as_it_went_in_and_not_if_a_bit_of_it_changed() {
        for entry in Script::new().dial(1).answer_at(1_000).end_at(9_000).entries() {
            let sealed = SealedFact::of(entry);
            assert_eq!(sealed.open().unwrap(), entry.fact);

            let mut damaged = sealed;
            damaged.0[61] ^= 4;
            assert!(damaged.open().is_err());
        }
    }
}

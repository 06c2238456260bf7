//! Bytes of a journal segment: header, records, footer (spec/data §1.2). All integers are
//! little-endian. Pure.
//!
//! ```text
//! header  96 B   magic 8 | format u16 | length u16 | node u32 | epoch u64 | first_seq u64
//!                | opened_at i64 (Unix ms) | chain u64 | writer 32 B | zero 12 B | crc32c u32
//! record  60 B+  len u32 | crc32c u32 | seq u64 | wall_ns i64 | boot_ns u64 | kind u16 | ver u8
//!                | flags u8 | tenant u64 | call_id 16 B | payload
//! footer  64 B   magic 8 | reason u8 | zero 7 B | count u64 | last_seq u64
//!                | last_append i64 (Unix ms) | payload_crc u32 | zero 4 B | chain u64 | zero 4 B
//!                | crc32c u32
//! ```
//!
//! `len` counts what follows the checksum; the checksum covers `len` and what follows itself. A
//! segment is preallocated, so records end at zeros, at a footer, or at the end of the file.
//!
//! `chain` in a header is the `chain` of the segment before; in a footer it is that of the segment
//! itself, so that a segment that was lost or replaced shows.

use crate::cdr::fact::{DecodeFactError, Fact, FactBody, Stamp};
use crate::id::CallId;

pub const HEADER_LEN: usize = 96;
pub const FOOTER_LEN: usize = 64;
pub const RECORD_HEADER_LEN: usize = 60;

/// Longest payload: a checkpoint of 400,000 calls.
pub const PAYLOAD_MAX: usize = 8 << 20;

const HEADER_MAGIC: &[u8; 8] = b"TBJRNL01";
const FOOTER_MAGIC: &[u8; 8] = b"TBJCLOSE";
const FORMAT: u16 = 1;

/// Bytes of a record before what its `len` counts.
const PREFIX_LEN: usize = 8;
const LEN_MIN: usize = RECORD_HEADER_LEN - PREFIX_LEN;
const LEN_MAX: usize = LEN_MIN + PAYLOAD_MAX;

/// Version of the record's layout, stored as `ver`.
const RECORD_VERSION: u8 = 1;
const FLAG_HAS_CALL: u8 = 1;

/// How far ahead a sequence number may be for a resync to believe it.
const RESYNC_WINDOW: u64 = 1 << 24;

/// Start of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub node: u32,
    pub epoch: u64,
    pub first_seq: u64,
    /// Milliseconds since the Unix epoch.
    pub opened_at_ms: i64,
    /// [`chain`] of the segment before, zero for the first.
    pub prev_chain: u64,
    /// Version of the program that wrote it, at most 32 bytes are kept.
    pub writer: String,
}

/// End of a segment that was closed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFooter {
    pub reason: Closure,
    pub count: u64,
    /// One less than the first sequence number if the segment is empty.
    pub last_seq: u64,
    /// Milliseconds since the Unix epoch.
    pub last_append_ms: i64,
    /// CRC-32C of all records.
    pub payload_crc: u32,
    /// [`chain`] of this segment.
    pub chain: u64,
}

/// Why a segment was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    Size = 1,
    Time = 2,
    Shutdown = 3,
    /// By the next start, after a crash.
    Recovered = 4,
    Error = 5,
}

/// A record as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub seq: u64,
    pub wall_ns: i64,
    pub boot_ns: u64,
    pub kind: u16,
    pub flags: u8,
    /// Always zero while one process serves one tenant.
    pub tenant: u64,
    pub call: Option<CallId>,
    pub payload: &'a [u8],
}

/// What stands at a place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A record and its length in bytes.
    Record(Record<'a>, usize),
    Footer(SegmentFooter),
    /// Nothing was written here.
    End,
    /// A record begins here and goes on past the bytes at hand.
    Incomplete {
        needed: usize,
    },
    Damaged,
}

/// A fact cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fact of {0} bytes is longer than {PAYLOAD_MAX}")]
pub struct FactTooLong(pub usize);

/// Identifies a segment by its contents and everything before it (FNV-1a over both).
pub fn chain(prev_chain: u64, epoch: u64, first_seq: u64, count: u64, payload_crc: u32) -> u64 {
    let words = [prev_chain, epoch, first_seq, count, u64::from(payload_crc)];
    words.iter().flat_map(|word| word.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Appends one record to `out`, which is left as it was if the fact is too long.
pub fn write_record(out: &mut Vec<u8>, seq: u64, fact: &Fact) -> Result<(), FactTooLong> {
    let start = out.len();
    let mut header = [0; RECORD_HEADER_LEN];
    header[8..16].copy_from_slice(&seq.to_le_bytes());
    let wall_ns = fact.at.wall_ms.saturating_mul(1_000_000);
    header[16..24].copy_from_slice(&wall_ns.to_le_bytes());
    header[24..32].copy_from_slice(&fact.at.boot_ns.to_le_bytes());
    header[32..34].copy_from_slice(&fact.body.kind().to_le_bytes());
    header[34] = RECORD_VERSION;
    if let Some(call) = fact.call {
        header[35] = FLAG_HAS_CALL;
        header[44..60].copy_from_slice(call.as_bytes());
    }
    out.extend_from_slice(&header);
    fact.body.encode_into(out);

    let payload_len = out.len() - start - RECORD_HEADER_LEN;
    if payload_len > PAYLOAD_MAX {
        out.truncate(start);
        return Err(FactTooLong(payload_len));
    }
    let len = u32::try_from(LEN_MIN + payload_len).expect("bounded by PAYLOAD_MAX");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    let crc = record_crc(len, &out[start + PREFIX_LEN..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Reads what stands at the start of `bytes`; `whole` says that no more bytes follow.
pub fn parse(bytes: &[u8], whole: bool) -> Parsed<'_> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_LEN>() else {
        return match (bytes.iter().all(|byte| *byte == 0), whole) {
            (true, true) => Parsed::End,
            (false, true) => Parsed::Damaged,
            (_, false) => Parsed::Incomplete { needed: PREFIX_LEN },
        };
    };
    if prefix == FOOTER_MAGIC {
        return match (SegmentFooter::read(bytes), whole) {
            (Some(footer), _) => Parsed::Footer(footer),
            (None, false) if bytes.len() < FOOTER_LEN => Parsed::Incomplete { needed: FOOTER_LEN },
            (None, _) => Parsed::Damaged,
        };
    }
    if *prefix == [0; PREFIX_LEN] {
        return Parsed::End;
    }
    let len = u32_at(bytes, 0);
    let needed = PREFIX_LEN + len as usize;
    if !(LEN_MIN..=LEN_MAX).contains(&(len as usize)) {
        return Parsed::Damaged;
    }
    let Some(rest) = bytes.get(PREFIX_LEN..needed) else {
        return if whole { Parsed::Damaged } else { Parsed::Incomplete { needed } };
    };
    if record_crc(len, rest) != u32_at(bytes, 4) {
        return Parsed::Damaged;
    }
    Parsed::Record(record_in(&bytes[..needed]), needed)
}

/// The record that fills `bytes`, which [`parse`] found intact.
pub fn record_in(bytes: &[u8]) -> Record<'_> {
    let call: [u8; 16] = array_at(bytes, 44);
    Record {
        seq: u64_at(bytes, 8),
        wall_ns: i64::from_le_bytes(array_at(bytes, 16)),
        boot_ns: u64_at(bytes, 24),
        kind: u16::from_le_bytes(array_at(bytes, 32)),
        flags: bytes[35],
        tenant: u64_at(bytes, 36),
        call: (bytes[35] & FLAG_HAS_CALL != 0).then(|| CallId::from_bytes(call)),
        payload: &bytes[RECORD_HEADER_LEN..],
    }
}

/// The next place at or after `from` where an intact record newer than `after_seq`, or a footer,
/// begins. `bytes` is all there is of the segment.
pub fn resync(bytes: &[u8], from: usize, after_seq: u64) -> Option<usize> {
    let plausible = |at: usize| {
        let len = u32_at(bytes, at) as usize;
        let newer = u64_at(bytes, at + 8).wrapping_sub(after_seq);
        (LEN_MIN..=LEN_MAX).contains(&len) && (1..=RESYNC_WINDOW).contains(&newer)
            || bytes[at..].starts_with(FOOTER_MAGIC)
    };
    let last = bytes.len().checked_sub(RECORD_HEADER_LEN.min(FOOTER_LEN))?;
    (from..=last)
        .filter(|at| plausible(*at))
        .find(|at| matches!(parse(&bytes[*at..], true), Parsed::Record(..) | Parsed::Footer(_)))
}

impl Record<'_> {
    /// The fact this record holds.
    pub fn fact(&self) -> Result<Fact, DecodeFactError> {
        Ok(Fact {
            call: self.call,
            at: Stamp { wall_ms: self.wall_ns.div_euclid(1_000_000), boot_ns: self.boot_ns },
            body: FactBody::decode(self.kind, self.payload)?,
        })
    }
}

impl SegmentHeader {
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(HEADER_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.node.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.opened_at_ms.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.prev_chain.to_le_bytes());
        let writer = &self.writer.as_bytes()[..self.writer.floor_char_boundary(32)];
        bytes[48..48 + writer.len()].copy_from_slice(writer);
        seal(&mut bytes);
        bytes
    }

    /// `None` unless `bytes` begin with an intact header of a format this version reads.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER_LEN>()?;
        let readable = bytes.starts_with(HEADER_MAGIC)
            && sealed(bytes)
            && u16::from_le_bytes(array_at(bytes, 8)) == FORMAT;
        readable.then(|| Self {
            node: u32_at(bytes, 12),
            epoch: u64_at(bytes, 16),
            first_seq: u64_at(bytes, 24),
            opened_at_ms: i64::from_le_bytes(array_at(bytes, 32)),
            prev_chain: u64_at(bytes, 40),
            writer: shown(&bytes[48..80]),
        })
    }
}

/// Who wrote a segment, as text. What cannot have been written so has a `?` for each byte, and is
/// then no longer than it was.
fn shown(field: &[u8]) -> String {
    let used = field.len() - field.iter().rev().take_while(|byte| **byte == 0).count();
    match str::from_utf8(&field[..used]) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
            field[..used].iter().map(shown).collect()
        }
    }
}

impl SegmentFooter {
    pub fn to_bytes(&self) -> [u8; FOOTER_LEN] {
        let mut bytes = [0; FOOTER_LEN];
        bytes[..8].copy_from_slice(FOOTER_MAGIC);
        bytes[8] = self.reason as u8;
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last_seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.last_append_ms.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.chain.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// `None` unless `bytes` begin with an intact footer.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<FOOTER_LEN>()?;
        if !bytes.starts_with(FOOTER_MAGIC) || !sealed(bytes) {
            return None;
        }
        Some(Self {
            reason: Closure::from_number(bytes[8])?,
            count: u64_at(bytes, 16),
            last_seq: u64_at(bytes, 24),
            last_append_ms: i64::from_le_bytes(array_at(bytes, 32)),
            payload_crc: u32_at(bytes, 40),
            chain: u64_at(bytes, 48),
        })
    }
}

impl Closure {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Size, Self::Time, Self::Shutdown, Self::Recovered, Self::Error]
            .into_iter()
            .find(|reason| *reason as u8 == number)
    }
}

fn record_crc(len: u32, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&len.to_le_bytes()), rest)
}

/// Puts the checksum of all but the last four bytes there.
fn seal(bytes: &mut [u8]) {
    let (body, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
}

fn sealed(bytes: &[u8]) -> bool {
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    crc32c::crc32c(body).to_le_bytes() == crc
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller checked the length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cdr::fact::{Answered, Checkpoint, Decided};

    #[test]
    fn header_and_footer_survive_the_round_trip() {
        let header = SegmentHeader {
            node: 7,
            epoch: 3,
            first_seq: 1_000,
            opened_at_ms: 1_773_759_852_318,
            prev_chain: 0xdead_beef,
            writer: "0.1.0".into(),
        };
        let footer = SegmentFooter {
            reason: Closure::Shutdown,
            count: 12,
            last_seq: 1_011,
            last_append_ms: 1_773_759_852_400,
            payload_crc: 99,
            chain: 42,
        };

        assert_eq!(SegmentHeader::read(&header.to_bytes()), Some(header));
        assert_eq!(SegmentFooter::read(&footer.to_bytes()), Some(footer.clone()));
        assert_eq!(parse(&footer.to_bytes(), true), Parsed::Footer(footer));
    }

    #[test]
    fn zeros_are_the_end_and_half_a_record_is_incomplete_or_torn() {
        let bytes = records(&[answered(1)]);

        assert_eq!(parse(&[0; 64], true), Parsed::End);
        assert_eq!(parse(&[], true), Parsed::End);
        assert_eq!(parse(&bytes[..20], false), Parsed::Incomplete { needed: bytes.len() });
        assert_eq!(parse(&bytes[..20], true), Parsed::Damaged);
    }

    #[test]
    fn a_fact_that_is_too_long_leaves_the_batch_as_it_was() {
        let live = vec![(CallId::from_bytes([1; 16]), 1); PAYLOAD_MAX / 20 + 1];
        let fact = Fact::of_node(Stamp::default(), Checkpoint { live });
        let mut out = records(&[answered(1)]);
        let before = out.clone();

        assert!(write_record(&mut out, 2, &fact).is_err());

        assert_eq!(out, before);
    }

    proptest! {
        #[test]
        fn any_fact_survives_the_round_trip(
            seq in 1_u64..,
            wall_ms in 0_i64..4_000_000_000_000,
            boot_ns: u64,
            call: Option<[u8; 16]>,
            record: Vec<u8>,
        ) {
            let body = Decided {
                config_rev: 1,
                campaign: None,
                publisher: None,
                session: None,
                match_method: "static".into(),
                confidence_pct: 100,
                record: record.into(),
                refused: None,
                no_route: None,
                degraded: false,
            };
            let fact = Fact {
                call: call.map(CallId::from_bytes),
                at: Stamp { wall_ms, boot_ns },
                body: body.into(),
            };
            let mut bytes = Vec::new();
            write_record(&mut bytes, seq, &fact).unwrap();

            let Parsed::Record(read, len) = parse(&bytes, true) else { panic!("not a record") };

            prop_assert_eq!(len, bytes.len());
            prop_assert_eq!(read.seq, seq);
            prop_assert_eq!(read.fact().unwrap(), fact);
        }

        #[test]
        fn whatever_one_flipped_bit_hits_only_that_record_is_lost(
            at in 0_usize..1_000_000,
            bit in 0_u8..8,
        ) {
            let facts: Vec<Fact> = (0..20).map(answered).collect();
            let mut bytes = records(&facts);
            let at = at % bytes.len();
            let hit = (at / (bytes.len() / facts.len())) as u64;
            bytes[at] ^= 1 << bit;

            let read = scan(&bytes);

            let expected: Vec<u64> = (0..20).filter(|n| *n != hit).map(|n| n + 1).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn parsing_anything_ends_without_a_panic(bytes: Vec<u8>, whole: bool) {
            let _ = parse(&bytes, whole);
            let _ = resync(&bytes, 0, 0);
        }
    }

    /// Sequence numbers of all records that can be read.
    fn scan(bytes: &[u8]) -> Vec<u64> {
        let (mut at, mut seqs) = (0, Vec::new());
        loop {
            match parse(&bytes[at..], true) {
                Parsed::Record(record, len) => {
                    seqs.push(record.seq);
                    at += len;
                }
                Parsed::Damaged | Parsed::Incomplete { .. } => {
                    match resync(bytes, at + 1, seqs.last().copied().unwrap_or(0)) {
                        Some(next) => at = next,
                        None => return seqs,
                    }
                }
                Parsed::End | Parsed::Footer(_) => return seqs,
            }
        }
    }

    fn records(facts: &[Fact]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (seq, fact) in (1..).zip(facts) {
            write_record(&mut bytes, seq, fact).unwrap();
        }
        bytes
    }

    /// All of one length.
    fn answered(n: u64) -> Fact {
        let at = Stamp { wall_ms: 1_773_759_852_318, boot_ns: n };
        Fact::of_call(
            CallId::from_bytes([5; 16]),
            at,
            Answered { leg: 1, dialogs: None, codec: None },
        )
    }
}

//! What a process that died left behind: checked, cut to whole records, and accounted for.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::segment::{self, SegmentName};
use super::{JournalError, Recovery};
use crate::cdr::journal::format::{
    self, Closure, FOOTER_LEN, HEADER_LEN, Parsed, SegmentFooter, SegmentHeader,
};
use crate::cdr::journal::{Gap, Lsn};

/// The journal as it was found.
pub(super) struct Recovered {
    /// Oldest first, for retention.
    pub(super) segments: Vec<ClosedSegment>,
    /// Chain value the next segment continues.
    pub(super) chain: u64,
    /// Highest epoch any name or projection tells.
    pub(super) epoch_seen: u64,
    pub(super) report: Recovery,
}

/// A segment that is not written any more.
#[derive(Clone, Debug)]
pub(super) struct ClosedSegment {
    pub(super) path: PathBuf,
    pub(super) last: Lsn,
    /// Milliseconds since the Unix epoch.
    pub(super) last_append_ms: i64,
    /// What it takes on disk.
    pub(super) bytes: u64,
    /// Damaged ones are kept until an operator looked at them.
    pub(super) quarantined: bool,
}

pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    node: u32,
    resume: Option<Lsn>,
) -> Result<Recovered, JournalError> {
    let mut found = Vec::new();
    for name in segment::list(disk, dir, node)? {
        let path = name.path(dir, node);
        found.push(Found::read(disk, name, path, resume)?);
    }

    let mut report = Recovery { segments: found.len(), ..Recovery::default() };
    report.records = found.iter().map(|segment| segment.records).sum();
    report.missing = missing(&found, resume);
    report.chain_breaks = chain_breaks(&found);

    for segment in &mut found {
        if segment.hides_any_of(&report.missing) && !segment.name.quarantined {
            segment.quarantine(disk, dir, node)?;
            report.quarantined.push(segment.path.clone());
        }
    }
    // What was being written: nothing at all is dropped, anything else is cut to whole records.
    for segment in found.iter_mut().filter(|segment| segment.is_open()) {
        if segment.is_blank() {
            disk.remove(&segment.path).map_err(JournalError::io("remove", &segment.path))?;
        } else {
            report.truncated_bytes += segment.torn_bytes;
            segment.close(disk)?;
        }
    }
    found.retain(|segment| !(segment.is_open() && segment.is_blank()));
    disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;

    let epoch_of_names = found.iter().map(|segment| segment.name.epoch).max();
    let last_seq = found.iter().rev().find_map(Found::last_seq);
    let resume_seq = resume.map_or(0, |lsn| lsn.seq);
    report.next_seq = last_seq.unwrap_or(resume_seq) + 1;
    report.behind_projection = last_seq.map_or(0, |last| resume_seq.saturating_sub(last));
    Ok(Recovered {
        chain: found.last().map_or(0, |last| last.chain),
        epoch_seen: epoch_of_names.max(resume.map(|lsn| lsn.epoch)).unwrap_or(0),
        segments: found.iter().filter_map(Found::closed).collect(),
        report,
    })
}

/// A segment file and what it holds.
struct Found {
    name: SegmentName,
    path: PathBuf,
    header: Option<SegmentHeader>,
    footer: Option<SegmentFooter>,
    /// Sequence numbers of intact records, ascending.
    ranges: Vec<RangeInclusive<u64>>,
    /// Records that were verified one by one.
    records: u64,
    /// Something between two records could not be read.
    damaged: bool,
    /// End of the last intact record.
    end: usize,
    /// What follows it, up to the last byte that is not zero.
    torn_bytes: u64,
    payload_crc: u32,
    chain: u64,
    last_append_ms: i64,
    /// What it takes on disk once it is closed.
    bytes: u64,
}

impl Found {
    /// Reads a segment. One that is closed and not newer than `resume` is taken at its footer's
    /// word: every projection is past it.
    fn read(
        disk: &dyn Disk,
        name: SegmentName,
        path: PathBuf,
        resume: Option<Lsn>,
    ) -> Result<Self, JournalError> {
        if let Some(found) = Self::at_its_word(disk, &name, &path, resume)? {
            return Ok(found);
        }
        let bytes = disk.read(&path).map_err(JournalError::io("read", &path))?;
        Ok(Self::verified(name, path, &bytes))
    }

    fn verified(name: SegmentName, path: PathBuf, bytes: &[u8]) -> Self {
        let mut found = Self {
            header: SegmentHeader::read(bytes),
            footer: None,
            ranges: Vec::new(),
            records: 0,
            damaged: false,
            end: HEADER_LEN,
            torn_bytes: 0,
            payload_crc: 0,
            chain: 0,
            last_append_ms: 0,
            bytes: 0,
            name,
            path,
        };
        found.scan(bytes);
        found.bytes = (found.end + FOOTER_LEN) as u64;
        let prev_chain = found.header.as_ref().map_or(0, |header| header.prev_chain);
        let Self { name, records, payload_crc, .. } = &found;
        found.chain = format::chain(prev_chain, name.epoch, name.first_seq, *records, *payload_crc);
        found
    }

    fn at_its_word(
        disk: &dyn Disk,
        name: &SegmentName,
        path: &Path,
        resume: Option<Lsn>,
    ) -> Result<Option<Self>, JournalError> {
        let Some(Ends { header, footer, bytes }) =
            ends(disk, path).map_err(JournalError::io("read", path))?
        else {
            return Ok(None);
        };
        let last = Lsn { epoch: name.epoch, seq: footer.last_seq };
        if name.quarantined || resume.is_none_or(|resume| last > resume) {
            return Ok(None);
        }
        Ok(Some(Self {
            name: name.clone(),
            path: path.to_owned(),
            ranges: if footer.count == 0 { vec![] } else { vec![name.first_seq..=last.seq] },
            records: 0,
            damaged: false,
            end: 0,
            torn_bytes: 0,
            payload_crc: footer.payload_crc,
            chain: footer.chain,
            last_append_ms: footer.last_append_ms,
            bytes,
            header: Some(header),
            footer: Some(footer),
        }))
    }

    fn scan(&mut self, bytes: &[u8]) {
        let mut at = HEADER_LEN.min(bytes.len());
        let mut last_seq = self.name.first_seq.saturating_sub(1);
        loop {
            match format::parse(&bytes[at..], true) {
                Parsed::Record(record, len) => {
                    match self.ranges.last_mut() {
                        Some(range) if *range.end() + 1 == record.seq => {
                            *range = *range.start()..=record.seq;
                        }
                        Some(_) | None => self.ranges.push(record.seq..=record.seq),
                    }
                    last_seq = record.seq;
                    self.records += 1;
                    self.last_append_ms = record.wall_ns / 1_000_000;
                    self.payload_crc =
                        crc32c::crc32c_append(self.payload_crc, &bytes[at..at + len]);
                    at += len;
                    self.end = at;
                }
                Parsed::Footer(footer) => {
                    self.footer = Some(footer);
                    return;
                }
                Parsed::End | Parsed::Damaged | Parsed::Incomplete { .. } => {
                    // Zeros may be a page that was lost before pages that were not.
                    let rest = &bytes[at..];
                    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    match format::resync(&rest[..used], 1, last_seq) {
                        Some(found) => {
                            self.damaged = true;
                            at += found;
                        }
                        None => {
                            self.torn_bytes = used as u64;
                            return;
                        }
                    }
                }
            }
        }
    }

    fn last_seq(&self) -> Option<u64> {
        self.ranges.last().map(|range| *range.end())
    }

    /// Ends the segment after its last record, as its writer could not.
    fn close(&mut self, disk: &dyn Disk) -> Result<(), JournalError> {
        let footer = SegmentFooter {
            reason: Closure::Recovered,
            count: self.records,
            last_seq: self.last_seq().unwrap_or_else(|| self.name.first_seq.saturating_sub(1)),
            last_append_ms: self.last_append_ms,
            payload_crc: self.payload_crc,
            chain: self.chain,
        };
        let mut file = disk.open(&self.path).map_err(JournalError::io("open", &self.path))?;
        let end = self.end as u64;
        file.set_len(end).map_err(JournalError::io("cut", &self.path))?;
        file.write_at(&footer.to_bytes(), end).map_err(JournalError::io("close", &self.path))?;
        file.sync().map_err(JournalError::io("sync", &self.path))?;
        self.footer = Some(footer);
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.footer.is_none() && !self.name.quarantined
    }

    fn is_blank(&self) -> bool {
        self.ranges.is_empty() && self.torn_bytes == 0
    }

    /// Damage in this segment is why facts are missing.
    fn hides_any_of(&self, missing: &[Gap]) -> bool {
        let lost = |seq: u64| {
            missing.iter().any(|gap| (gap.first_seq..gap.first_seq + gap.count).contains(&seq))
        };
        let ends = self.ranges.iter().map(|range| *range.end() + 1);
        (self.damaged || self.torn_bytes > 0) && ends.chain([self.name.first_seq]).any(lost)
    }

    fn quarantine(&mut self, disk: &dyn Disk, dir: &Path, node: u32) -> Result<(), JournalError> {
        self.name.quarantined = true;
        let aside = self.name.path(dir, node);
        disk.rename(&self.path, &aside).map_err(JournalError::io("set aside", &self.path))?;
        self.path = aside;
        Ok(())
    }

    fn closed(&self) -> Option<ClosedSegment> {
        Some(ClosedSegment {
            path: self.path.clone(),
            last: Lsn { epoch: self.name.epoch, seq: self.last_seq()? },
            last_append_ms: self.last_append_ms,
            bytes: self.bytes,
            quarantined: self.name.quarantined,
        })
    }
}

/// Both ends of a segment that was closed in order, and how far apart they are.
struct Ends {
    header: SegmentHeader,
    footer: SegmentFooter,
    bytes: u64,
}

fn ends(disk: &dyn Disk, path: &Path) -> io::Result<Option<Ends>> {
    let file = disk.reader(path)?;
    let len = file.size()?;
    if len < (HEADER_LEN + FOOTER_LEN) as u64 {
        return Ok(None);
    }
    let (mut header, mut footer) = ([0; HEADER_LEN], [0; FOOTER_LEN]);
    let whole = file.read_at(&mut header, 0)? == HEADER_LEN
        && file.read_at(&mut footer, len - FOOTER_LEN as u64)? == FOOTER_LEN;
    if !whole {
        return Ok(None);
    }
    let ends = SegmentHeader::read(&header).zip(SegmentFooter::read(&footer));
    Ok(ends.map(|(header, footer)| Ends { header, footer, bytes: len }))
}

/// Sequence numbers after `resume` (or after the first one that is left) that no segment holds.
fn missing(found: &[Found], resume: Option<Lsn>) -> Vec<Gap> {
    let first = found.first().map(|segment| segment.name.first_seq);
    let Some(mut expected) = resume.map(|lsn| lsn.seq + 1).or(first) else { return Vec::new() };
    // In the order of their numbers: a segment may hold what is damaged in the one it repeats.
    let mut ranges: Vec<_> = found.iter().flat_map(|segment| segment.ranges.clone()).collect();
    ranges.sort_unstable_by_key(|range| *range.start());
    // What a segment's name or footer promises is missed even if nothing in it can be read.
    let promised = found.iter().flat_map(|segment| {
        let by_footer = segment.footer.as_ref().map(|footer| footer.last_seq + 1);
        [Some(segment.name.first_seq), by_footer]
    });
    let end = promised.flatten().max().unwrap_or(expected);
    let mut gaps = Vec::new();
    let mut note = |expected: u64, next: u64| {
        if next > expected {
            gaps.push(Gap { first_seq: expected, count: next - expected });
        }
    };
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        note(expected, *range.start());
        expected = expected.max(*range.end() + 1);
    }
    note(expected, end);
    gaps
}

fn chain_breaks(found: &[Found]) -> Vec<u64> {
    let continues = |pair: &[Found]| {
        let prev_chain = pair[1].header.as_ref().map(|header| header.prev_chain);
        // A segment whose end could not be written, and the one that repeats it, have no chain.
        pair[0].footer.is_none() || pair[1].name.rewrite > 0 || prev_chain == Some(pair[0].chain)
    };
    let breaks = found.windows(2).filter(|pair| !continues(pair));
    breaks.map(|pair| pair[1].name.first_seq).collect()
}

/// Sequence numbers that can be read from the bytes of a first segment.
#[cfg(test)]
pub(super) fn intact(bytes: &[u8]) -> Vec<u64> {
    let name = SegmentName { epoch: 1, first_seq: 1, rewrite: 0, quarantined: false };
    Found::verified(name, PathBuf::new(), bytes).ranges.into_iter().flatten().collect()
}

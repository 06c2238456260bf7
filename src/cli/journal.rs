//! `tollbridge journal inspect`: what is in a journal's folder, whether or not a server runs on it.
//!
//! Reads the segments byte by byte through [`format`], so that what is told does not depend on
//! what recovery would make of it, and nothing is changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tollbridge::cdr::fact::DecodeFactError;
use tollbridge::cdr::journal::Gap;
use tollbridge::cdr::journal::format::{
    self, Closure, HEADER_LEN, Parsed, SegmentFooter, SegmentHeader,
};
use tollbridge::time::Wall;

use super::Failure;

/// Prints what `dir` holds. Fails if facts are missing or damaged.
pub(crate) fn run(dir: &Path) -> Result<(), Failure> {
    let dir = journal_in(dir);
    let survey = Survey::of(&dir)?;
    write!(io::stdout(), "{}", survey.text(&dir))?;
    if survey.is_sound() {
        Ok(())
    } else {
        Err(anyhow!("the journal in {} is not whole", dir.display()).into())
    }
}

/// The folder itself, or the one named `journal` in it.
fn journal_in(dir: &Path) -> PathBuf {
    let below = dir.join("journal");
    if below.is_dir() { below } else { dir.to_owned() }
}

/// All segments and what they add up to.
#[derive(Debug, Default)]
struct Survey {
    /// By node, in the order they were written.
    segments: Vec<Segment>,
    /// Files that look like segments and have no readable header.
    unreadable: Vec<PathBuf>,
}

#[derive(Debug)]
struct Segment {
    file: String,
    header: SegmentHeader,
    records: u64,
    first_and_last: Option<(u64, u64)>,
    /// Numbers that are there, as runs of `first..=last` in the order of the file.
    runs: Vec<(u64, u64)>,
    bytes: usize,
    footer: Option<SegmentFooter>,
    /// Facts by name.
    kinds: BTreeMap<String, u64>,
    /// Places where bytes are no record.
    damages: u64,
}

impl Survey {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let mut survey = Self::default();
        let list = || format!("failed to list {}", dir.display());
        for entry in fs::read_dir(dir).with_context(list)? {
            let path = entry.with_context(list)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with("j-") || !name.contains(".log") {
                continue;
            }
            let read = || match Segment::read(&path, &name) {
                // Deleted meanwhile: every projection has read it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                read => {
                    read.map(Some).with_context(|| format!("failed to read {}", path.display()))
                }
            };
            let mut segment = read()?;
            // What looks torn in an open segment may just be being written.
            if matches!(&segment, Some(Some(it)) if it.damages > 0 && it.footer.is_none()) {
                segment = read()?;
            }
            match segment {
                Some(Some(segment)) => survey.segments.push(segment),
                Some(None) => survey.unreadable.push(path),
                None => {}
            }
        }
        survey.segments.sort_by(|a, b| a.place().cmp(&b.place()));
        survey.unreadable.sort();
        Ok(survey)
    }

    /// Numbers between the first and the last fact of a node that are in no segment.
    fn gaps(&self) -> Vec<(u32, Gap)> {
        let mut runs: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for segment in &self.segments {
            runs.entry(segment.header.node).or_default().extend(&segment.runs);
        }
        let mut gaps = Vec::new();
        for (node, mut runs) in runs {
            runs.sort_unstable();
            let mut reached = runs.first().map_or(0, |(first, _)| first - 1);
            for (first, last) in runs {
                if first > reached + 1 {
                    let gap = Gap { first_seq: reached + 1, count: first - reached - 1 };
                    gaps.push((node, gap));
                }
                reached = reached.max(last);
            }
        }
        gaps
    }

    /// Facts by name, in all segments.
    fn kinds(&self) -> BTreeMap<&str, u64> {
        let mut kinds = BTreeMap::new();
        for (name, count) in self.segments.iter().flat_map(|segment| &segment.kinds) {
            *kinds.entry(name.as_str()).or_default() += count;
        }
        kinds
    }

    fn is_sound(&self) -> bool {
        self.gaps().is_empty()
            && self.unreadable.is_empty()
            && self.segments.iter().all(|segment| segment.damages == 0)
    }

    fn text(&self, dir: &Path) -> String {
        let mut out = format!("{}: {}\n\n", dir.display(), counted(self.segments.len(), "segment"));
        let file_width = self.segments.iter().map(|it| it.file.len()).max().unwrap_or(0).max(4);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{:<file_width$}  {:>5}  {:>8}  {:<21}  {:>9}  {:<24}  closed",
            "file", "epoch", "facts", "numbers", "bytes", "opened"
        );
        for segment in &self.segments {
            let numbers = match segment.first_and_last {
                Some((first, last)) => format!("{first} to {last}"),
                None => String::from("none"),
            };
            let _ = write!(
                out,
                "{:<file_width$}  {:>5}  {:>8}  {numbers:<21}  {:>9}  {:<24}  {}",
                segment.file,
                segment.header.epoch,
                segment.records,
                segment.bytes,
                Wall(segment.header.opened_at_ms).to_rfc3339(),
                segment.closed(),
            );
            if segment.damages > 0 {
                let _ = write!(out, "; damaged in {}", counted(segment.damages, "place"));
            }
            out.push('\n');
        }
        out.push('\n');
        for (name, count) in self.kinds() {
            let _ = writeln!(out, "{count:>10}  {name}");
        }
        out.push('\n');
        for path in &self.unreadable {
            let _ = writeln!(out, "{}: no segment this version can read", path.display());
        }
        let gaps = self.gaps();
        for (node, gap) in &gaps {
            let Gap { first_seq, count } = gap;
            let facts = counted(*count, "fact");
            let _ = writeln!(out, "node {node}: {facts} missing from number {first_seq} on");
        }
        if gaps.is_empty() {
            out.push_str("no gaps\n");
        }
        out
    }
}

impl Segment {
    /// `None` if the file has no header this version can read.
    fn read(path: &Path, name: &str) -> io::Result<Option<Self>> {
        let bytes = fs::read(path)?;
        let parsed = SegmentHeader::read(&bytes).map(|header| Self::parse(name, header, &bytes));
        Ok(parsed)
    }

    fn parse(name: &str, header: SegmentHeader, bytes: &[u8]) -> Self {
        let mut segment = Self {
            file: name.to_owned(),
            header,
            records: 0,
            first_and_last: None,
            runs: Vec::new(),
            bytes: HEADER_LEN,
            footer: None,
            kinds: BTreeMap::new(),
            damages: 0,
        };
        let mut at = HEADER_LEN;
        loop {
            match format::parse(&bytes[at..], true) {
                Parsed::Record(record, len) => {
                    segment.add(record.seq);
                    *segment.kinds.entry(name_of(&record)).or_default() += 1;
                    at += len;
                    segment.bytes = at;
                }
                Parsed::Footer(footer) => {
                    segment.footer = Some(footer);
                    return segment;
                }
                // A segment is preallocated; in one that was damaged there may be more behind.
                Parsed::End => match format::resync(bytes, at, segment.last()) {
                    Some(next) if next > at => {
                        segment.damages += 1;
                        at = next;
                    }
                    Some(_) | None => return segment,
                },
                Parsed::Damaged | Parsed::Incomplete { .. } => {
                    segment.damages += 1;
                    match format::resync(bytes, at + 1, segment.last()) {
                        Some(next) => at = next,
                        None => return segment,
                    }
                }
            }
        }
    }

    fn add(&mut self, seq: u64) {
        self.records += 1;
        self.first_and_last = match self.first_and_last {
            None => Some((seq, seq)),
            Some((first, last)) => Some((first.min(seq), last.max(seq))),
        };
        match self.runs.last_mut() {
            Some((_, last)) if seq == *last + 1 => *last = seq,
            Some(_) | None => self.runs.push((seq, seq)),
        }
    }

    fn last(&self) -> u64 {
        match self.first_and_last {
            Some((_, last)) => last,
            None => self.header.first_seq.saturating_sub(1),
        }
    }

    fn place(&self) -> (u32, u64, u64, &str) {
        (self.header.node, self.header.epoch, self.header.first_seq, &self.file)
    }

    fn closed(&self) -> &'static str {
        match self.footer.as_ref().map(|footer| footer.reason) {
            Some(Closure::Size) => "full",
            Some(Closure::Time) => "old enough",
            Some(Closure::Shutdown) => "at shutdown",
            Some(Closure::Recovered) => "after a crash, by the next start",
            Some(Closure::Error) => "after an error",
            None => "still open",
        }
    }
}

fn name_of(record: &format::Record<'_>) -> String {
    match record.fact() {
        Ok(fact) => fact.body.name().to_owned(),
        Err(DecodeFactError::UnknownKind(kind)) => format!("kind {kind}, of a newer version"),
        Err(DecodeFactError::Malformed { kind, .. }) => format!("kind {kind}, malformed"),
    }
}

fn counted(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use tollbridge::cdr::fact::{Fact, NodeStarted, Stamp};

    use super::*;

    fn segment_bytes(first_seq: u64, numbers: &[u64]) -> Vec<u8> {
        let header = SegmentHeader {
            node: 1,
            epoch: 1,
            first_seq,
            opened_at_ms: 1_773_759_852_318,
            prev_chain: 0,
            writer: String::from("test"),
        };
        let mut bytes = header.to_bytes().to_vec();
        for seq in numbers {
            let started = NodeStarted { version: "1".into() };
            let fact = Fact::of_node(Stamp::default(), started);
            format::write_record(&mut bytes, *seq, &fact).unwrap();
        }
        bytes
    }

    fn survey(files: &[(&str, Vec<u8>)]) -> Survey {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        Survey::of(dir.path()).unwrap()
    }

    #[test]
    fn a_whole_journal_is_counted_and_sound() {
        let mut first = segment_bytes(1, &[1, 2]);
        // Preallocated and not yet used.
        first.extend([0; 4096]);
        let survey = survey(&[
            ("j-1-1-1.log", first),
            ("j-1-1-3.log", segment_bytes(3, &[3, 4, 5])),
            ("EPOCH", b"1".to_vec()),
        ]);

        assert!(survey.is_sound());
        assert_eq!(survey.segments.iter().map(|it| it.records).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(survey.kinds(), BTreeMap::from([("node.started", 5)]));
    }

    #[test]
    fn a_missing_segment_is_a_gap_of_its_exact_size() {
        let survey = survey(&[
            ("j-1-1-1.log", segment_bytes(1, &[1, 2])),
            ("j-1-1-6.log", segment_bytes(6, &[6])),
        ]);

        assert_eq!(survey.gaps(), [(1, Gap { first_seq: 3, count: 3 })]);
        assert!(!survey.is_sound());
        assert!(survey.text(Path::new("d")).contains("node 1: 3 facts missing from number 3 on"));
    }

    #[test]
    fn a_segment_that_repeats_another_is_no_gap() {
        let survey = survey(&[
            ("j-1-1-1.log", segment_bytes(1, &[1, 2, 3])),
            ("j-1-1-2.r1.log", segment_bytes(2, &[2, 3, 4])),
        ]);

        assert!(survey.is_sound());
    }

    #[test]
    fn damage_is_stepped_over_and_told() {
        let mut bytes = segment_bytes(1, &[1, 2, 3]);
        let second = HEADER_LEN + (bytes.len() - HEADER_LEN) / 3;
        bytes[second + 20] ^= 1;
        let survey = survey(&[("j-1-1-1.log", bytes)]);

        assert_eq!(survey.segments[0].damages, 1);
        assert_eq!(survey.gaps(), [(1, Gap { first_seq: 2, count: 1 })]);
    }
}

//! Names of segments, and which there are.

use std::path::{Path, PathBuf};

use super::JournalError;
use super::disk::Disk;

/// Suffix of a segment that was set aside.
pub(super) const QUARANTINED: &str = ".quarantined";

/// Where a segment stands, as its name tells. Ordered as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) epoch: u64,
    pub(super) first_seq: u64,
    /// Above zero if it repeats facts that an earlier segment may not have stored.
    pub(super) rewrite: u32,
    pub(super) quarantined: bool,
}

impl SegmentName {
    pub(super) fn path(&self, dir: &Path, node: u32) -> PathBuf {
        let Self { epoch, first_seq, .. } = self;
        let rewrite = match self.rewrite {
            0 => String::new(),
            n => format!(".r{n}"),
        };
        let suffix = if self.quarantined { QUARANTINED } else { "" };
        dir.join(format!("j-{node}-{epoch}-{first_seq}{rewrite}.log{suffix}"))
    }

    fn parse(name: &str, node: u32) -> Option<Self> {
        let (name, quarantined) = match name.strip_suffix(QUARANTINED) {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let rest = name.strip_suffix(".log")?.strip_prefix(&format!("j-{node}-"))?;
        let (epoch, rest) = rest.split_once('-')?;
        let (first_seq, rewrite) = match rest.split_once(".r") {
            Some((first_seq, rewrite)) => (first_seq, rewrite.parse().ok()?),
            None => (rest, 0),
        };
        let (epoch, first_seq) = (epoch.parse().ok()?, first_seq.parse().ok()?);
        Some(Self { epoch, first_seq, rewrite, quarantined })
    }
}

/// The segments of `node` in `dir`, in order.
pub(super) fn list(
    disk: &dyn Disk,
    dir: &Path,
    node: u32,
) -> Result<Vec<SegmentName>, JournalError> {
    let names = disk.list(dir).map_err(JournalError::io("list", dir))?;
    let mut segments: Vec<_> =
        names.iter().filter_map(|name| SegmentName::parse(name, node)).collect();
    segments.sort();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_round_trip_and_others_are_ignored() {
        for (rewrite, quarantined) in [(0, false), (3, false), (0, true)] {
            let name = SegmentName { epoch: 5, first_seq: 12_345, rewrite, quarantined };
            let path = name.path(Path::new("d"), 7);
            let file = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(SegmentName::parse(file, 7), Some(name), "{file}");
            assert_eq!(SegmentName::parse(file, 8), None);
        }
        assert_eq!(SegmentName::parse("EPOCH", 7), None);
        assert_eq!(SegmentName::parse("j-7-x-1.log", 7), None);
    }
}

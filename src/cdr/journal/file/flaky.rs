//! A disk that fails when a test says so.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::JournalError;
use super::disk::{Disk, DiskFile, DiskReader, RealDisk, Space};

#[derive(Clone, Default)]
pub(crate) struct FlakyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// This many of the next syncs of segments fail.
    bad_syncs: u32,
    /// Writes and new files fail for want of space.
    full: bool,
    /// The process was killed: nothing it does reaches the disk any more.
    dead: bool,
    space: Option<Space>,
    /// Bytes that can still be reserved, if they are few.
    room: Option<u64>,
    /// What was written since the last sync, by file.
    unsynced: BTreeMap<PathBuf, Vec<(u64, usize)>>,
}

impl FlakyDisk {
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state.lock().bad_syncs = count;
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    pub(crate) fn set_room(&self, bytes: u64) {
        self.state.lock().room = Some(bytes);
    }

    pub(crate) fn set_space(&self, space: Space) {
        self.state.lock().space = Some(space);
    }

    /// From now on nothing is written, as after `kill -9`.
    pub(crate) fn kill(&self) {
        self.state.lock().dead = true;
    }

    /// As [`FlakyDisk::kill`], and what was not synced reads as zeros.
    pub(crate) fn cut_power(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        for (path, ranges) in &state.unsynced {
            let file = OpenOptions::new().write(true).open(path).expect("it was written");
            for (at, len) in ranges {
                file.write_all_at(&vec![0; *len], *at).expect("a test's disk works");
            }
        }
    }
}

impl Disk for FlakyDisk {
    fn claim(&self, dir: &Path) -> Result<Box<dyn Send + Sync>, JournalError> {
        RealDisk.claim(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisk.read(path)
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        RealDisk.reader(path)
    }

    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.full || state.room.is_some_and(|room| room < preallocate) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room = state.room.map(|room| room - preallocate);
        if state.dead {
            return Ok(Box::new(FlakyFile {
                path: path.to_owned(),
                file: None,
                disk: self.clone(),
            }));
        }
        let file = Some(RealDisk.create(path, preallocate)?);
        Ok(Box::new(FlakyFile { path: path.to_owned(), file, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = Some(RealDisk.open(path)?);
        Ok(Box::new(FlakyFile { path: path.to_owned(), file, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let freed = path.metadata()?.len();
        let mut state = self.state.lock();
        state.room = state.room.map(|room| room + freed);
        RealDisk.remove(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        Ok(self.state.lock().space.unwrap_or(Space { free: 1 << 40, total: 1 << 41 }))
    }
}

struct FlakyFile {
    path: PathBuf,
    /// Absent if it was made by a process that is dead.
    file: Option<Box<dyn DiskFile>>,
    disk: FlakyDisk,
}

impl DiskFile for FlakyFile {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match &mut self.file {
            Some(file) if !state.dead => {
                let ranges = state.unsynced.entry(self.path.clone()).or_default();
                ranges.push((at, bytes.len()));
                file.write_at(bytes, at)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        match &mut self.file {
            Some(file) if !self.disk.state.lock().dead => file.set_len(len),
            Some(_) | None => Ok(()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.bad_syncs > 0 && self.path.extension().is_some_and(|name| name == "log") {
            state.bad_syncs -= 1;
            return Err(io::Error::other("input/output error"));
        }
        if !state.dead {
            state.unsynced.remove(&self.path);
        }
        Ok(())
    }
}

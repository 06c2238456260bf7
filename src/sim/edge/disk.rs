//! A disk in memory that fails when it is told to, and knows what a power cut leaves of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;

use crate::cdr::journal::file::JournalError;
use crate::cdr::journal::file::disk::{Disk, DiskFile, DiskReader, Space};

/// Cheap to clone; all clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    /// What happened to names since the directory was synced, oldest first, as it was before.
    names: Vec<(PathBuf, Option<File>)>,
    /// Writes and new files fail for want of space.
    full: bool,
    /// This many of the next syncs fail.
    bad_syncs: u32,
    /// Bytes that are still written before the power is gone.
    left: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct File {
    /// Zeros beyond its end, up to `size`.
    bytes: Vec<u8>,
    size: u64,
    /// What is on the platters.
    synced: Vec<u8>,
}

impl SimDisk {
    pub(crate) fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state.lock().bad_syncs = count;
    }

    /// Only so many bytes are written any more.
    pub(crate) fn stop_after(&self, bytes: usize) {
        self.state.lock().left = Some(bytes);
    }

    /// The process is dead, the machine is not: what was written stays.
    pub(crate) fn go_on(&self) {
        let mut state = self.state.lock();
        state.left = None;
        state.names.clear();
        for file in state.files.values_mut() {
            file.synced.clone_from(&file.bytes);
        }
    }

    /// The power is gone and comes back: of what was not synced some is there, some is zeros, and
    /// names may be as they were.
    pub(crate) fn cut_power(&self, rng: &mut Rng) {
        let mut state = self.state.lock();
        state.left = None;
        let names = std::mem::take(&mut state.names);
        let kept = rng.usize(..=names.len());
        for (path, before) in names.into_iter().skip(kept).rev() {
            match before {
                Some(file) => state.files.insert(path, file),
                None => state.files.remove(&path),
            };
        }
        for file in state.files.values_mut() {
            file.tear(rng);
        }
    }

    /// Loses the end of what was synced, as no disk may.
    pub(crate) fn forget_synced(&self, bytes: usize) {
        let mut state = self.state.lock();
        let newest = state.files.iter_mut().rev().find(|(path, file)| {
            path.extension().is_some_and(|it| it == "log") && file.synced.len() > bytes
        });
        if let Some((_, file)) = newest {
            let end = file.synced.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            file.synced.truncate(end.saturating_sub(bytes));
            file.bytes.clone_from(&file.synced);
        }
    }

    fn with<T>(&self, path: &Path, work: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        state.files.get_mut(path).map(work).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl File {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
        self.size = self.size.max(end as u64);
    }

    /// Each piece of what was not synced is on the platters or not.
    fn tear(&mut self, rng: &mut Rng) {
        const PIECE: usize = 512;
        if self.bytes == self.synced {
            return;
        }
        self.synced.resize(self.bytes.len(), 0);
        for (new, old) in self.bytes.chunks(PIECE).zip(self.synced.chunks_mut(PIECE)) {
            if rng.bool() {
                old.copy_from_slice(new);
            }
        }
        self.bytes.clone_from(&self.synced);
    }
}

impl Disk for SimDisk {
    fn claim(&self, _: &Path) -> Result<Box<dyn Send + Sync>, JournalError> {
        Ok(Box::new(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let here = state.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with(path, |file| {
            let mut bytes = file.bytes.clone();
            bytes.resize(usize::try_from(file.size).unwrap_or(usize::MAX), 0);
            bytes
        })
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        self.with(path, |_| ())?;
        Ok(Box::new(SimReader { path: path.to_owned(), disk: self.clone() }))
    }

    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.left != Some(0) {
            if state.files.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.names.push((path.to_owned(), None));
            state.files.insert(path.to_owned(), File { size: preallocate, ..File::default() });
        }
        Ok(Box::new(SimFile { path: path.to_owned(), disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.with(path, |_| ())?;
        Ok(Box::new(SimFile { path: path.to_owned(), disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        // One entry each: the new name is never there without the contents of the old.
        let before = state.files.insert(to.to_owned(), file.clone());
        state.names.push((from.to_owned(), Some(file)));
        state.names.push((to.to_owned(), before));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let file = state.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.names.push((path.to_owned(), Some(file)));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.left.is_none() {
            state.names.clear();
        }
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let free = if self.state.lock().full { 0 } else { 1 << 40 };
        Ok(Space { free, total: 1 << 41 })
    }
}

struct SimFile {
    path: PathBuf,
    disk: SimDisk,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = state.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        if let Some(left) = &mut state.left {
            *left -= len;
        }
        if let Some(file) = state.files.get_mut(&self.path) {
            file.write(&bytes[..len], usize::try_from(at).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        if self.disk.state.lock().left.is_some() {
            return Ok(());
        }
        self.disk.with(&self.path, |file| {
            file.size = len;
            file.bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.bad_syncs > 0 {
            state.bad_syncs -= 1;
            // The kernel has dropped the pages; what it says of the file later is no use.
            return Err(io::Error::other("input/output error"));
        }
        if state.left.is_none()
            && let Some(file) = state.files.get_mut(&self.path)
        {
            file.synced.clone_from(&file.bytes);
        }
        Ok(())
    }
}

struct SimReader {
    path: PathBuf,
    disk: SimDisk,
}

impl DiskReader for SimReader {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.disk.with(&self.path, |file| {
            let left = usize::try_from(file.size.saturating_sub(at)).unwrap_or(usize::MAX);
            let len = left.min(buffer.len());
            let written = usize::try_from(at).ok().and_then(|at| file.bytes.get(at..));
            let written = written.unwrap_or_default();
            let copied = written.len().min(len);
            buffer[..copied].copy_from_slice(&written[..copied]);
            buffer[copied..len].fill(0);
            len
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.disk.with(&self.path, |file| file.size)
    }
}

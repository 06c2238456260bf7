//! What the journal asks of a disk, so that tests and simulations can give it one that fails.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::JournalError;
use super::epoch::Lock;

/// A file system as the journal sees it.
pub trait Disk: Send + Sync {
    /// Makes `dir` if it is missing, and keeps other processes out of it for as long as the value
    /// lives. Fails with [`JournalError::InUse`] if another has it.
    fn claim(&self, dir: &Path) -> Result<Box<dyn Send + Sync>, JournalError>;

    /// Names of the files in `dir`, in any order; those that are no text are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Opens an existing file for reading, also while it is written.
    fn reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>>;

    /// Creates `path`, which must not exist, and reserves `preallocate` bytes of zeros.
    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;

    fn set_len(&mut self, len: u64) -> io::Result<()>;

    /// Returns once all that was written is on stable storage. After an error the file is not to
    /// be used again: the kernel may have dropped the pages it could not write.
    fn sync(&mut self) -> io::Result<()>;
}

/// An open file of a [`Disk`] for reading.
pub trait DiskReader: Send {
    /// Reads at most as many bytes as `buffer` has, from `at` on; none at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    fn size(&self) -> io::Result<u64>;
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn claim(&self, dir: &Path) -> Result<Box<dyn Send + Sync>, JournalError> {
        fs::create_dir_all(dir).map_err(JournalError::io("create", dir))?;
        Ok(Box::new(Lock::take(dir)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|it| it.file_name().into_string().ok()).transpose()
        };
        fs::read_dir(dir)?.filter_map(name).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn reader(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path, preallocate: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        if let Err(error) = reserve(&file, preallocate) {
            fs::remove_file(path)?;
            return Err(error);
        }
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = nix::sys::statvfs::statvfs(dir)?;
        let unit = stat.fragment_size();
        Ok(Space { free: unit * stat.blocks_available(), total: unit * stat.blocks() })
    }
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl DiskReader for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let len = i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        // A file system that cannot preallocate gets a sparse file of the same length.
        Err(Errno::EOPNOTSUPP) => file.set_len(bytes),
        Err(errno) => Err(errno.into()),
    }
}

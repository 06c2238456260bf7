//! The counter of process starts, and the lock that keeps a second process out.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::JournalError;
use super::disk::Disk;

/// Begins the epoch after the stored one and after `seen`, the highest found elsewhere, and makes
/// that durable.
pub(super) fn bump(disk: &dyn Disk, dir: &Path, seen: u64) -> Result<u64, JournalError> {
    let epoch = stored(disk, dir).unwrap_or(0).max(seen) + 1;
    let (path, tmp) = (dir.join("EPOCH"), dir.join("EPOCH.tmp"));
    let names = disk.list(dir).map_err(JournalError::io("list", dir))?;
    if names.iter().any(|name| name == "EPOCH.tmp") {
        disk.remove(&tmp).map_err(JournalError::io("remove", &tmp))?;
    }
    let mut file = disk.create(&tmp, 12).map_err(JournalError::io("create", &tmp))?;
    let number = epoch.to_le_bytes();
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number);
    bytes[8..].copy_from_slice(&crc32c::crc32c(&number).to_le_bytes());
    file.write_at(&bytes, 0).map_err(JournalError::io("write", &tmp))?;
    file.sync().map_err(JournalError::io("sync", &tmp))?;
    disk.rename(&tmp, &path).map_err(JournalError::io("rename", &tmp))?;
    disk.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    Ok(epoch)
}

/// `None` if the file is absent or damaged; the segments' names then tell the epoch.
fn stored(disk: &dyn Disk, dir: &Path) -> Option<u64> {
    let bytes: [u8; 12] = disk.read(&dir.join("EPOCH")).ok()?.try_into().ok()?;
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    (crc32c::crc32c(number).to_le_bytes() == crc).then(|| u64::from_le_bytes(*number))
}

/// Holds the journal directory for this process; the system releases it when the process dies.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("LOCK");
        let file = File::create(&path).map_err(JournalError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(JournalError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => {
                Err(JournalError::Io { action: "lock", path, source })
            }
        }
    }
}

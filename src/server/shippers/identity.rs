//! The name of a journal, by which its events are told from those of every other.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use smol_str::{SmolStr, format_smolstr};

const FILE: &str = "JOURNAL_ID";

/// Hexadecimal digits of a name.
const DIGITS: usize = 12;

/// The name that was written down in the data directory, or the one that is drawn now and written
/// down. It goes when the directory goes, and with it the numbering of facts.
///
/// # Errors
/// It can be neither read nor written.
pub(super) fn journal_id(store_dir: &Path, chance: u128) -> io::Result<SmolStr> {
    let path = store_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) if is_id(text.trim()) => return Ok(SmolStr::new(text.trim())),
        Ok(_) => {
            let says = format!("{} holds no name of a journal; remove it", path.display());
            return Err(io::Error::other(says));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = format_smolstr!("{:012x}", chance >> 80);
    let new = store_dir.join(format!("{FILE}.tmp"));
    let mut file = File::create(&new)?;
    file.write_all(format!("{id}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(store_dir)?.sync_all()?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_keeps_its_name_and_another_gets_another() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = |dir: &Path, chance| journal_id(dir, chance).unwrap();
        let chance = |n: u128| n << 80 | 0xffff;

        assert_eq!(name(first.path(), chance(0x7d0c_5a18_02f1)), "7d0c5a1802f1");
        assert_eq!(name(first.path(), chance(2)), "7d0c5a1802f1");
        assert_eq!(name(second.path(), chance(2)), "000000000002");

        fs::write(first.path().join(FILE), "").unwrap();
        assert!(journal_id(first.path(), 3).is_err());
    }
}

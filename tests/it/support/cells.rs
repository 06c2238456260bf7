//! The table of limits under faults: a line for each cell, for people to read.
//!
//! A test that passes prints nothing, so the lines are also kept in a file, which `make test` prints
//! before the verdict.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Prints a line, and keeps it.
pub(crate) fn tell(line: &str) -> Result<()> {
    println!("{line}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("limits-under-faults.txt");
    let file = File::options().create(true).append(true).open(&path);
    // At once, whole: other tests write to it as well.
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.with_context(|| path.display().to_string())
}

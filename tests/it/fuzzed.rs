//! The fuzz targets without a fuzzer: each property holds for every file of its corpus, for every
//! beginning and end of one, and for what a seeded source of accidents makes of them.
//!
//! `TOLLBRIDGE_FUZZ_CASES` asks for more, `TOLLBRIDGE_FUZZ_SEED` for those of one seed; a failure
//! prints the seed and the bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

#[path = "../../fuzz/properties/body.rs"]
mod body;
#[path = "../../fuzz/properties/digest.rs"]
mod digest;
#[path = "../../fuzz/properties/framing.rs"]
mod framing;
#[path = "../../fuzz/properties/journal.rs"]
mod journal;
#[path = "../../fuzz/properties/message.rs"]
mod message;
#[path = "../../fuzz/properties/ping.rs"]
mod ping;
#[path = "../../fuzz/properties/uri.rs"]
mod uri;

type Property = fn(&[u8]);

const PROPERTIES: [(&str, Property); 7] = [
    ("body", body::check),
    ("digest", digest::check),
    ("framing", framing::check),
    ("journal", journal::check),
    ("message", message::check),
    ("ping", ping::check),
    ("uri", uri::check),
];

/// Made of each corpus, in CI.
const CASES: u64 = 20_000;
/// Accidents make an input no longer than this.
const BYTES_MAX: usize = 4_096;

#[test]
fn every_target_has_a_property_and_a_corpus() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known = PROPERTIES.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>();

    assert_eq!(names("properties"), known);
    assert_eq!(names("fuzz_targets"), known);
    assert_eq!(names("corpus"), known);
}

#[test]
fn every_property_holds_for_its_corpus_and_any_piece_of_it() {
    for (name, property) in PROPERTIES {
        for file in corpus(name) {
            for cut in 0..=file.len() {
                hold(name, property, &file[..cut]);
                hold(name, property, &file[cut..]);
            }
        }
    }
}

#[test]
fn every_property_holds_for_what_accidents_make_of_its_corpus() {
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let seed = number("TOLLBRIDGE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let cases = number("TOLLBRIDGE_FUZZ_CASES").unwrap_or(CASES);
    eprintln!("fuzzed: TOLLBRIDGE_FUZZ_SEED={seed}");
    for (name, property) in PROPERTIES {
        let mut draw = Rng::with_seed(seed);
        let files = corpus(name);
        for _ in 0..cases {
            let mut bytes = files[draw.usize(..files.len())].clone();
            for _ in 0..draw.u8(1..8) {
                befall(&mut bytes, &files, &mut draw);
            }
            hold(name, property, &bytes);
        }
        for _ in 0..cases / 4 {
            let bytes: Vec<u8> = (0..draw.usize(..300)).map(|_| draw.u8(..)).collect();
            hold(name, property, &bytes);
        }
    }
}

/// One accident.
fn befall(bytes: &mut Vec<u8>, files: &[Vec<u8>], draw: &mut Rng) {
    const TELLING: &[u8] = b"\r\n\t \0<>\"\\;,:=@[]%?{}0\x7f\xff";
    let at = draw.usize(..=bytes.len());
    let end = (at + draw.usize(..40)).min(bytes.len());
    match draw.u8(..7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << draw.u8(..8),
        1 if at < bytes.len() => bytes[at] = TELLING[draw.usize(..TELLING.len())],
        2 => bytes.insert(at, TELLING[draw.usize(..TELLING.len())]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let other = &files[draw.usize(..files.len())];
            let from = draw.usize(..=other.len());
            let to = (from + draw.usize(..200)).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let many = vec![TELLING[draw.usize(..TELLING.len())]; draw.usize(..100)];
            bytes.splice(at..at, many);
        }
    }
    bytes.truncate(BYTES_MAX);
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(fuzz("corpus").join(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the corpus of {name} is empty");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn fuzz(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder)
}

/// Shows the bytes if the property does not hold for them.
fn hold(name: &'static str, property: Property, bytes: &[u8]) {
    struct Shown<'a>(&'static str, &'a [u8]);

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{} does not hold for b\"{}\"", self.0, self.1.escape_ascii());
            }
        }
    }

    let _shown = Shown(name, bytes);
    property(bytes);
}

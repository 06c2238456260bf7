//! Every file of the fuzz corpus: what once upset a parser must not upset this one.

use std::fs;
use std::path::Path;

use super::parse;

#[test]
fn every_file_of_the_fuzz_corpus_parses_or_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/message");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let raw = fs::read(entry.unwrap().path()).unwrap();
        // From every start, so that each file stands for many.
        for from in 0..raw.len() {
            touch(&raw[from..]);
        }
        for to in 0..raw.len() {
            touch(&raw[..to]);
        }
        files += 1;
    }
    assert!(files >= 10, "the corpus lies in fuzz/corpus/message");
}

/// Reads everything a parsed message offers, and the answer to a refused one.
fn touch(raw: &[u8]) {
    let headers = match parse(raw.to_vec()) {
        Ok(message) => message.headers().clone(),
        Err(malformed) => match malformed.refusal {
            Some(refusal) => refusal.headers,
            None => return,
        },
    };
    for (name, written, value) in headers.iter() {
        assert!(!written.is_empty());
        assert!(memchr::memchr2(b'\r', b'\n', value).is_none(), "a value is one line");
        assert!(headers.has(name));
    }
    assert!(headers.vias().count() < 300);
}

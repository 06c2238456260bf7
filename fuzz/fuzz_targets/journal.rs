//! See `fuzz/properties/journal.rs`.

#![no_main]

#[path = "../properties/journal.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

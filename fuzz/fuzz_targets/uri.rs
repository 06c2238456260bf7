//! See `fuzz/properties/uri.rs`.

#![no_main]

#[path = "../properties/uri.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

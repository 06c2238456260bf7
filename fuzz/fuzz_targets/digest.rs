//! See `fuzz/properties/digest.rs`.

#![no_main]

#[path = "../properties/digest.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

//! See `fuzz/properties/body.rs`.

#![no_main]

#[path = "../properties/body.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

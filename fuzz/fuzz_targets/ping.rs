//! See `fuzz/properties/ping.rs`.

#![no_main]

#[path = "../properties/ping.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

//! See `fuzz/properties/framing.rs`.

#![no_main]

#[path = "../properties/framing.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

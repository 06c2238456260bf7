//! See `fuzz/properties/message.rs`.

#![no_main]

#[path = "../properties/message.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));

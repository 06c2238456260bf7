//! One integration binary: every further file in `tests/` would link everything again.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod api;
mod carriers;
mod config;
mod conformance;
mod crash;
mod demo;
mod dni;
mod fuzzed;
mod holds;
mod message;
mod one_line;
mod scenarios;
mod sessions;
mod shippers;
mod sim;
mod startup;
mod support;
mod tidy;
mod wire;

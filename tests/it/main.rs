//! One integration binary: every further file in `tests/` would link everything again.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod carriers;
mod config;
mod crash;
mod message;
mod scenarios;
mod support;
mod tidy;

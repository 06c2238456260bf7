//! Stores of sessions and numbers: what all of them do, whoever keeps them, and what becomes of numbers
//! when clients and servers fail.
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

mod contract;
mod gates;
mod in_process;
mod model;
mod moved;
mod near;
mod servers;
mod stores;
mod then;

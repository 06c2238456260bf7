//! Stores of holds: what all of them do, whoever keeps them, and what becomes of limits when clients,
//! servers and networks fail.
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

mod contract;
mod edge;
mod faults;
mod history;
mod in_process;
mod killed;
mod lapsed;
mod machine;
mod servers;
mod stores;
mod ways;
mod windows;

//! Where a URI leads: from a host name to addresses, by the rules of RFC 3263, and which of them is
//! tried first.
//!
//! Owns the steps from NAPTR over SRV to addresses ([`steps`]), what is known of the names and when
//! they are asked for again ([`directory`]), the order in which the addresses of one call are tried
//! ([`choice`]), and how an address that fails is rated ([`health`], [`probe`]). Does not own the
//! asking: whoever does brings the answers back.
//!
//! Invariants: nothing here waits, so a call is never held up by a name; what was found stays in
//! use while nobody answers; an address that is rated down is tried last, and never not at all.
//!
//! ```text
//! Uri ─► Service ─► steps ◄── directory ◄── answers (server)
//!                     └─► Location … ─► choice ◄── health ◄── calls, probe
//! ```

pub mod choice;
pub mod directory;
pub mod health;
pub mod probe;
pub mod records;
pub mod service;
pub mod steps;

pub use directory::{Directory, TtlRules};
pub use health::{Failing, Health, HealthRules};
pub use probe::{Probe, ProbeRules};
pub use records::{Answer, Kind, Naptr, Question, Records, Srv};
pub use service::Service;
pub use steps::{Location, Speaks};

#[cfg(test)]
mod testing;

//! Who gets a call.
//!
//! Owns: the compiled configuration of publishers, buyers, targets, campaigns and pools; matching
//! a call to its session; eligibility, order and terms of the targets; caps and concurrency; the
//! numbers lent to sessions; pings. Does not own: SIP, money that was earned, any socket, file or
//! clock. Time, usage and sessions are arguments, so every decision can be made again from what
//! was recorded about it.
//!
//! ```text
//! request ─► attribution ─► gates ─► eligibility ─► selection ─► plan      decider/
//!              ▲ sessions             ▲ usage        ▲ rotation     │
//!            ping/, pool/            hold/          selection/      ▼
//!                                                             decision.rs ─► replay.rs, explain.rs
//! ```
//!
//! Invariants: a target that is not dialled has exactly one reason; for every strict cap
//! `used + held ≤ limit` whenever something is granted; a number is lent to one session at a time.

pub mod access;
pub mod attestation;
pub mod attribution;
pub mod circuit;
pub mod comparison;
pub mod config;
pub mod counterfactual;
pub mod course;
pub mod decider;
pub mod decision;
pub mod dial;
pub mod door;
mod duplicate;
pub mod effective;
mod eligibility;
pub mod enrich;
pub mod explain;
pub mod facts;
pub mod filter;
mod following;
mod gate;
pub mod geo;
pub mod history;
pub mod hold;
mod limits;
pub mod list;
pub mod meter;
mod pacing;
mod paying;
pub mod performance;
pub mod ping;
pub mod pool;
pub mod price;
pub mod quote;
pub mod replay;
pub mod request;
pub mod revision;
pub mod schedule;
pub mod scorer;
pub mod selection;
pub mod set;
pub mod shortage;
pub mod simulate;
pub mod snapshot;
pub mod vertical;
pub mod window;
mod worth;

mod compile;

pub use config::{ConfigFault, RoutingConfig};
pub use decider::{Known, decide, offered};
pub use decision::{Decision, PlannedAttempt, Step};
pub use request::{RouteRequest, SessionReading, Tags, Usage, UsageReader};
pub use selection::Rotation;
pub use snapshot::{CallScope, RoutingSnapshot};

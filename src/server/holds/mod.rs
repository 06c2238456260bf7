//! Holds that several nodes share (spec/data §1.7, §3.4, §3.5).
//!
//! Owns: what a store of holds does ([`store`]), the one in Redis ([`redis`]), and how this node uses
//! it and does without it ([`shared`]). Does not own: the holds of a node that shares nothing, which
//! are routing's ledger and nothing else.
//!
//! ```text
//! bridge ─► deciding ─► ledger          the calls of this node: what they hold, what is used
//!    │          │ changes
//!    │          ▼
//!    └ room ► shared ─► redis ─► server, replicas
//!               └ near, spare           what was seen; room of our own while the store is away
//! ```

mod metrics;
pub mod redis;
pub mod shared;
pub mod store;

pub(in crate::server) use shared::Counting;
pub use shared::{SharedHolds, State};
pub use store::{Cause, Change, Counted, Granted, HoldStore, NotGranted, Told};

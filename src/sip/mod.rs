//! What is said on the wire.
//!
//! Owns SIP: messages, transactions, dialogs, legs, the bridged call, whose packet it is, and the
//! sockets. Does not own who gets a call ([`crate::routing`]) or what it costs ([`crate::cdr`]);
//! the server translates.
//!
//! ```text
//! transport ─ bytes ─► message ─► transaction ─► dialog, leg ─► call
//!     ▲                                   endpoint owns all of these, one per shard
//!     └──────────── bytes ────────────────┘
//! ```
//!
//! Invariants: everything but `transport` is pure (time and chance are arguments); every 2xx we
//! receive is acknowledged; every admitted INVITE gets one final response; messages of a call leave
//! in the order they were made.

pub mod admission;
pub mod auth;
pub mod call;
pub mod deadlines;
pub mod dialog;
pub mod endpoint;
pub mod flow;
pub mod ids;
pub mod leg;
pub mod locate;
pub mod message;
pub mod orphan;
pub mod policy;
pub mod target;
pub mod transaction;
pub mod transport;
pub mod trunk;

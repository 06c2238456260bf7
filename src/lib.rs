//! Tollbridge: a telephony-edge SIP routing server for pay-per-call and lead exchange.
//!
//! Three pure domains that do not know each other ([`sip`]: what is said on the wire; [`routing`]:
//! who gets the call; [`cdr`]: what happened and what it costs), one shell that owns every socket,
//! file, clock and task ([`server`]), and a REST service on top ([`api`]). ARCHITECTURE.md says
//! why; `tests/it/tidy.rs` checks who may import whom.

pub mod api;
pub mod cdr;
pub mod config;
pub mod routing;
pub mod server;
pub mod sim;
pub mod sip;

mod codec;
pub mod id;
pub mod money;
pub mod network;
pub mod phone;
pub mod reason;
mod rolling;
mod suggest;
pub mod time;

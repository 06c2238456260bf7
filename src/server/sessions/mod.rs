//! Sessions that several servers share, and the numbers lent to them (spec/data §3).
//!
//! Owns: what a store of sessions does ([`store`]), the one in Redis ([`redis`]), and how this server
//! uses it and does without it ([`shared`]). Does not own: the rules by which a call finds its session,
//! which are routing's; the sessions of a server that shares none, which are at its desk and nowhere
//! else.

mod asking;
mod metrics;
mod opening;
mod pricing;
pub mod redis;
pub mod shared;
pub mod store;

pub(in crate::server) use opening::Opening;
pub(in crate::server) use pricing::{Priced, Pricing};
pub use shared::{Looked, SharedSessions, State};
pub use store::{Candidates, SessionStore};

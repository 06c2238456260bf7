//! Sessions that several servers share, and the numbers lent to them (spec/data §3).
//!
//! Owns: what a store of sessions does ([`store`]) and the one in Redis ([`redis`]). Does not own: the
//! rules by which a call finds its session, which are routing's; the sessions of a server that shares
//! none, which are at its desk and nowhere else.

pub mod redis;
pub mod store;

pub use store::SessionStore;

//! The way to Redis (spec/data §3.4): a server, or the servers of a cluster, and their replicas.
//!
//! Owns: connections, who keeps which slot ([`link`]), the running of scripts. Does not own: any key
//! but how its slot is found ([`slots`]), nor when a store is asked and what is done without it: see
//! [`holds`](super::holds) and [`sessions`](super::sessions).

mod fault;
mod link;
mod script;
mod slots;

pub use fault::StoreFault;
pub use link::{Address, LinkSettings, LinkTls};

pub(in crate::server) use link::{
    Lane, Link, Live, Topology, fault, open, owners, send, send_all, unread,
};
pub(in crate::server) use script::Script;
pub(in crate::server) use slots::slot_of;

//! The built server, spoken to over bare sockets: what SIPp cannot say wrongly enough, cannot split
//! where it likes, or cannot look at closely enough (spec/sip 1.1 and 1.2).
#![expect(clippy::disallowed_methods, reason = "other processes live in real time")]

mod abuse;
mod at_rest;
mod bad_input;
mod bridge;
mod callers;
mod circuit;
mod consumers;
mod decisions;
mod dialect_refusals;
mod dialects;
mod enriching;
mod explained;
mod fraud;
mod guard;
mod limits;
mod lists;
mod malformed;
mod names;
mod no_route;
mod offered;
mod orphans;
pub(crate) mod peer;
mod phones;
mod policy;
mod pressure;
pub(crate) mod program;
mod publishers;
mod quotas;
mod ranking;
mod recovery;
mod regions;
mod repeats;
mod resets;
mod responses;
mod scorers;
mod sessions;
mod shared;
mod shared_answers;
mod shared_caps;
mod shared_faults;
mod shared_sessions;
mod spend;
mod stage;
mod store_faults;
mod strain;
mod stream;
mod thought;
mod tls;
mod trials;
mod ways;
mod without_redis;
mod worth;

pub(crate) use sessions::{call, detail};
pub(crate) use stage::{Call, Crowd, NUMBER, STRANGERS, Setup, Stage, play, play_with};

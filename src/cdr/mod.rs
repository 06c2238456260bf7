//! What happened and what it costs. Owns facts, the journal, the call timeline, conversion and
//! rating, and the stores that CDRs are read from. Knows neither SIP nor routing: the server
//! translates their reports to [`fact::Fact`]s.
//!
//! ```text
//! server ──Fact──► journal::file::Appender ──► committer ──► segments on disk
//!                                                  │
//!                                                  └─► Tail ─► projection ─► timeline ─► store
//! ```
//!
//! `fact`, `journal::format`, `record`, `timeline`, `conversion` and `rating` are pure; `journal::file` and
//! `store` do the I/O. All money is integer micros.

pub mod consumer;
pub mod conversion;
pub mod due;
pub mod enrichment;
pub mod event;
pub mod fact;
pub mod fraud;
pub mod journal;
pub mod projection;
pub mod rating;
pub mod record;
pub mod rollup;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod timeline;

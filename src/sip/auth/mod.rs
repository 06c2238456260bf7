//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760), both sides, and registration.
//!
//! Owns the arithmetic ([`digest`]), our accounts at others and what they last asked of us
//! ([`client`]), whom we let in and which of our nonces are used up ([`server`]), and the machine
//! that keeps a registration alive ([`register`]). Sends nothing: the endpoint does.
//!
//! Invariants: a password is never printed; credentials that were refused are not tried again; a
//! challenge is answered a bounded number of times; proofs are compared in constant time.

pub mod account;
pub mod client;
pub mod digest;
pub mod register;
pub mod server;

pub use account::{Account, AccountConfig, DigestConfig, Password};
pub use client::Nonces;
pub use register::{Registration, RegistrationConfig};
pub use server::{Doorkeeper, Users};

//! Priced pings in the forms of other platforms, so that a publisher whose system speaks one of them changes
//! no more than the host name.
//!
//! Owns: where such pings come in, how they are read, and what is answered. Does not own: what a ping is
//! worth and what is promised, which is the same for all of them (`routing::quote`), and what their keys
//! mean, which is configuration (`[[dialects]]`).
//!
//! ```text
//! request ─► fields.rs ─► a platform's names ─► PingRequest ─► intake ─► Bid or Refusal ─► a platform's words
//!            query, form, JSON, XML                                      └─ refusal.rs
//! ```
//!
//! Invariants: whatever comes is answered with 200 in the platform's own form and within [`TIME_MAX`], also
//! what cannot be read, whom nobody knows, and what this server cannot do at the moment.

pub(super) mod callgrid;
mod fields;
mod refusal;
pub(super) mod retreaver;
pub(super) mod ringba;
pub(super) mod trackdrive;

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::fields::Fields;
use self::refusal::Refusal;
use super::router::Api;
use super::{PingError, Sent, Unconfirmed};
use crate::id::PingId;
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::attribution::SessionKey;
use crate::routing::config::{Dialect, SipUser};
use crate::routing::door::Door;
use crate::routing::ping::{PingRequest, Session};
use crate::routing::quote::Promise;
use crate::time::Wall;

/// How long an answer may take: those who ask wait for little more.
const TIME_MAX: Duration = Duration::from_secs(2);

/// A price that was promised, and where to call for it.
#[derive(Clone, Debug)]
struct Bid {
    ping: PingId,
    promise: Promise,
    now: Wall,
    number: Option<PhoneNumber>,
    /// Such as `bid_0195…@sip.example.com`.
    sip: Option<String>,
    /// The same ping came before, and this is what it was answered.
    repeated: bool,
}

/// What a platform's ping says besides its tags.
#[derive(Clone, Debug, Default)]
struct Said {
    caller: Option<String>,
    /// It can be sent over SIP; absent: it does not say.
    sip_ok: Option<bool>,
    /// A static number of the campaign, in place of the door's own.
    number: Option<String>,
}

/// Runs the handling of a request that has to end in time.
async fn in_time<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(TIME_MAX, work).await.unwrap_or(Err(Refusal::Late))
}

impl Api {
    /// Behind which the pings of a key belong.
    fn door(
        &self,
        dialect: Dialect,
        key: Option<&str>,
        token: Option<&str>,
    ) -> Result<Door, Refusal> {
        let snapshot = self.services.routing.in_force();
        let door = key.and_then(|key| snapshot.doors().of(dialect, key));
        let door = door.filter(|door| door.opens(token)).ok_or(Refusal::Unknown)?;
        let named = format_args!("{}/{}", door.publisher, door.id);
        tracing::Span::current().record("key_id", tracing::field::display(named));
        Ok(door.clone())
    }

    /// Asks what a ping's call would be paid.
    async fn price(&self, door: &Door, said: Said, fields: Fields) -> Result<Bid, Refusal> {
        let ping = self.ping(door, said, fields);
        let sent = Sent { ping, key: None, price: Some(door.quote_life) };
        let accepted = self.services.pings.accept(sent).await?;
        let id = accepted.ping;
        tracing::debug!(ping_id = %id, repeated = accepted.repeated, "priced a ping");
        let promise = accepted.promise.ok_or(Refusal::Late)?;
        let bid = self.bid(door, id, promise, accepted.number);
        let bid = Bid { repeated: accepted.repeated, ..bid };
        if bid.number.is_none() && bid.sip.is_none() {
            return Err(Refusal::Nowhere);
        }
        Ok(bid)
    }

    /// What a live session was promised, if it is the door's, and a target would still take its call.
    async fn confirmed(&self, door: &Door, ping: PingId) -> Result<(Bid, Session), Refusal> {
        let is_its = |it: &Session| it.publisher == door.publisher && it.campaign == door.campaign;
        if !self.services.pings.find(ping).await?.is_some_and(|session| is_its(&session)) {
            return Err(Refusal::Over);
        }
        let session = self.services.pings.confirm(ping).await?;
        let promise = *session.promise.clone().ok_or(Refusal::Over)?;
        Ok((self.bid(door, ping, promise, session.number), session))
    }

    fn bid(&self, door: &Door, ping: PingId, promise: Promise, number: Option<PhoneNumber>) -> Bid {
        let user = match door.sip_user {
            SipUser::Id => SessionKey::address_of(ping),
            SipUser::Digits => SessionKey::digits_of(ping),
        };
        let sip = self.sip_host().map(|host| format!("{user}@{host}"));
        Bid { ping, promise, now: self.now(), number, sip, repeated: false }
    }

    fn ping(&self, door: &Door, said: Said, fields: Fields) -> PingRequest {
        let Said { caller, sip_ok, number } = said;
        let own = || door.number.map(PhoneNumber::to_e164);
        let pool = door.pool.clone().filter(|_| number.is_none());
        // Without the caller the number tells nothing of whose call it is.
        let number = caller.as_ref().and_then(|_| number.or_else(own));
        // Whose caller and number are not known can only call the session's own address.
        let by_address = caller.is_none() && pool.is_none() && self.sip_host().is_some();
        let mut ping = PingRequest {
            publisher: Some(door.publisher.clone()),
            campaign: Some(door.campaign.clone()),
            pool,
            number,
            caller_id: caller,
            ttl_s: door.session_ttl_s,
            sip_ok: sip_ok.or_else(|| by_address.then_some(true)),
            ..PingRequest::default()
        };
        fields.tell(door, &mut ping);
        ping
    }

    fn sip_host(&self) -> Option<smol_str::SmolStr> {
        self.services.routing.in_force().account().sip_host.clone()
    }

    fn now(&self) -> Wall {
        self.services.routing.now()
    }
}

impl Bid {
    /// Whole seconds that the price still holds.
    fn seconds_left(&self) -> i64 {
        self.promise.until.0.saturating_sub(self.now.0).max(0) / 1_000
    }
}

impl From<PingError> for Refusal {
    fn from(error: PingError) -> Self {
        match error {
            PingError::Refused(refusals) => Self::Fields(refusals),
            PingError::NoBid(reason) => Self::NoBid(reason),
            PingError::OverQuota(over) => Self::OverQuota(over),
            PingError::OverShare(over) => Self::OverShare(over),
            PingError::InProgress(_)
            | PingError::OtherBody(_)
            | PingError::TooOften
            | PingError::StoreAway
            | PingError::Unavailable { .. } => Self::Late,
        }
    }
}

impl From<Unconfirmed> for Refusal {
    fn from(unconfirmed: Unconfirmed) -> Self {
        match unconfirmed {
            Unconfirmed::Over => Self::Over,
            Unconfirmed::NoBid(reason) => Self::NoBid(reason),
            Unconfirmed::Away => Self::Late,
        }
    }
}

/// An id for an answer that stands for nothing.
fn of_nothing(now: Wall, what: &str) -> Uuid {
    let digest = Sha256::new().chain_update(now.0.to_be_bytes()).chain_update(what).finalize();
    Uuid::from_slice(&digest[..16]).expect("16 bytes are an id")
}

/// An amount as a number, with all its places.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Amount(Box<RawValue>);

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(RawValue::from_string(money.to_string()).expect("an amount is a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_numbers_without_loss() {
        let shown =
            |text: &str| serde_json::to_string(&Amount::from(text.parse::<Money>().unwrap()));
        assert_eq!(shown("33.20").unwrap(), "33.20");
        assert_eq!(shown("0.000001").unwrap(), "0.000001");
        assert_eq!(shown("0").unwrap(), "0.00");
    }
}

//! What others are told of facts: an event for each that is of use outside of this server.
//!
//! Owns: which facts these are, what of them is told, under which id, and the two forms of an event
//! ([`schema`]). Does not own: who is told, and how it gets there (the server ships).
//!
//! Invariants: an event is the same however often it is made of its fact, but for its `record`, which is
//! as of the sending: of one call that with the highest `rev` counts. A caller's number is told as
//! [`Callers`] says, and nowhere else in an event; no tag is told that was not asked for.

mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use smol_str::SmolStr;

use super::conversion::ConversionState;
use super::fact::{FactBody, Means, Opener, OrphanPolicy, Party, PingAccepted, Rematch};
use super::journal::Entry;
use super::record::{AttemptResult, CallRecord, CallState, Outcome, trunk_of};
use crate::id::{CallId, SessionId};
use crate::phone::PhoneNumber;

pub use schema::{Body, Event, SCHEMA};

/// What concerns one call or one session is told in order under one of so many numbers.
pub const SHARDS: u32 = 1_024;

/// Bytes of a hash that are told.
const HASH_BYTES: usize = 16;

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    #[default]
    Protobuf,
    Json,
}

/// What is told of callers' numbers.
#[derive(Clone, Debug)]
pub enum Callers {
    Nothing,
    /// HMAC-SHA-256 under this key of the number in E.164, its first 16 bytes.
    Hashed(Hmac<Sha256>),
    /// In E.164.
    Numbers,
}

/// Which tags of pings are told, and which of their fields that are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    All,
    /// Those of these names.
    Named(Vec<SmolStr>),
}

/// Makes events of facts.
#[derive(Clone, Debug)]
pub struct Teller {
    /// Names the journal the facts are in: no other journal has it.
    pub journal: SmolStr,
    /// `node.id`.
    pub node: u32,
    /// `account.id`.
    pub account: SmolStr,
    pub callers: Callers,
    pub tags: Tags,
}

impl Form {
    pub fn write(self, event: &Event) -> Vec<u8> {
        match self {
            Self::Protobuf => event.encode_to_vec(),
            Self::Json => serde_json::to_vec(event).expect("texts, numbers, and maps of texts"),
        }
    }

    /// As in a `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

impl Callers {
    pub fn hashed_with(key: &[u8]) -> Self {
        Self::Hashed(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The number and the hash, of which at most one is told.
    fn tell(&self, caller: Option<PhoneNumber>) -> (Option<String>, Option<String>) {
        match (self, caller) {
            (Self::Nothing, _) | (_, None) => (None, None),
            (Self::Hashed(key), Some(caller)) => (None, Some(hash(key, caller))),
            (Self::Numbers, Some(caller)) => (Some(caller.to_e164()), None),
        }
    }
}

impl Tags {
    fn tell(&self, tags: &[(SmolStr, SmolStr)]) -> BTreeMap<String, String> {
        let is_told = |name: &SmolStr| match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        };
        let told = tags.iter().filter(|(name, _)| is_told(name));
        told.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }
}

impl Teller {
    /// What is told of a fact; `None`: it is nobody's business. `record` is that of the call which
    /// the fact ends, or tells more of.
    pub fn tell(&self, entry: &Entry, record: Option<&CallRecord>) -> Option<Event> {
        let fact = &entry.fact;
        let (body, shard) = self.body(fact.call, &fact.body, record)?;
        Some(Event {
            id: format!("{}-{}-{}", self.journal, entry.lsn.epoch, entry.lsn.seq),
            schema: SCHEMA,
            r#type: fact.body.name().to_owned(),
            at_ms: fact.at.wall_ms,
            node: self.node,
            account: self.account.to_string(),
            shard,
            epoch: entry.lsn.epoch,
            seq: entry.lsn.seq,
            call_id: fact.call.map(|call| call.to_string()),
            body: Some(body),
        })
    }

    /// With the shard.
    fn body(
        &self,
        call: Option<CallId>,
        fact: &FactBody,
        record: Option<&CallRecord>,
    ) -> Option<(Body, u32)> {
        let of_call = || call.map_or(0, |call| shard_of(call.as_bytes()));
        let of_session = |session: &SessionId| shard_of(session.as_bytes());
        let record = || record.map(|record| Box::new(self.record(record)));
        let told = match fact {
            FactBody::PingAccepted(it) => (self.ping(it), of_session(&it.session)),
            FactBody::SessionTouched(it) => {
                let (caller, caller_hash) = self.callers.tell(it.caller);
                let told = schema::SessionTouched {
                    session_id: it.session.to_string(),
                    expires_at_ms: it.expires_at_ms,
                    number: it.number.map(PhoneNumber::to_e164),
                    number_lost: it.has_lost_number,
                    caller,
                    caller_hash,
                };
                (Body::SessionTouched(told), of_session(&it.session))
            }
            FactBody::SessionReleased(it) => {
                let session_id = it.session.to_string();
                let told = schema::SessionReleased { session_id, expires_at_ms: it.expires_at_ms };
                (Body::SessionReleased(told), of_session(&it.session))
            }
            FactBody::SessionEnriched(it) => {
                let told = schema::SessionEnriched {
                    session_id: it.session.to_string(),
                    source: it.source.to_string(),
                    outcome: it.lookup.name().to_owned(),
                    tags: self.tags.tell(&it.tags),
                    cost_micros: it.cost.0,
                };
                (Body::SessionEnriched(told), of_session(&it.session))
            }
            FactBody::SessionConsumed(it) => {
                let told = schema::SessionConsumed { session_id: it.session.to_string() };
                (Body::SessionConsumed(told), of_session(&it.session))
            }
            FactBody::Admitted(it) => {
                let (caller, caller_hash) = self.callers.tell(it.caller);
                let told = schema::CallAdmitted {
                    trunk: it.trunk.to_string(),
                    did: it.did.map(PhoneNumber::to_e164),
                    caller,
                    caller_hash,
                    sip_call_id: it.sip_call_id.to_string(),
                    carrier_call_id: it.carrier_call_id.as_ref().map(SmolStr::to_string),
                };
                (Body::CallAdmitted(told), of_call())
            }
            FactBody::Decided(it) => {
                let told = schema::RouteDecided {
                    config_rev: it.config_rev,
                    campaign: text(it.campaign.as_ref()),
                    publisher: text(it.publisher.as_ref()),
                    session_id: text(it.session.as_ref()),
                    match_method: it.match_method.to_string(),
                    confidence_pct: it.confidence_pct.into(),
                    refused: it.refused.map(|reason| reason.code().to_owned()),
                };
                (Body::RouteDecided(told), of_call())
            }
            FactBody::AttemptStarted(it) => {
                let (target, buyer) = (it.target.to_string(), it.buyer.to_string());
                let trunk = trunk(it.way.as_ref());
                let told = schema::AttemptStarted { leg: it.leg.into(), target, buyer, trunk };
                (Body::AttemptStarted(told), of_call())
            }
            FactBody::AttemptFailed(it) => {
                let told = schema::AttemptFailed {
                    leg: it.leg.into(),
                    status: it.status.into(),
                    q850: it.q850.map(u32::from),
                    reason: it.reason.code().to_owned(),
                    target: text(it.target.as_ref()),
                    cap: it.shortage.as_ref().map(|it| it.cap.to_string()),
                    trunk: trunk(it.way.as_ref()),
                };
                (Body::AttemptFailed(told), of_call())
            }
            FactBody::EndedEarly(it) => {
                let q850 = it.q850.map(u32::from);
                let told = schema::AttemptEndedEarly { leg: it.leg.into(), q850 };
                (Body::AttemptEndedEarly(told), of_call())
            }
            FactBody::Answered(it) => {
                let codec = it.codec.as_ref().map(SmolStr::to_string);
                let told = schema::CallAnswered { leg: it.leg.into(), codec };
                (Body::CallAnswered(told), of_call())
            }
            FactBody::Transferred(it) => {
                let told = schema::CallTransferred { leg: it.leg.into() };
                (Body::CallTransferred(told), of_call())
            }
            FactBody::HandedOver(it) => {
                (Body::CallHandedOver(handover(it.leg, it.by, it.status)), of_call())
            }
            FactBody::Converted(it) => {
                let told = schema::ConversionReached { leg: it.leg.into() };
                (Body::ConversionReached(told), of_call())
            }
            FactBody::Ended(it) => {
                let told = schema::CallEnded {
                    party: party(it.party).to_owned(),
                    reason: it.reason.code().to_owned(),
                    status: it.status.into(),
                    q850: it.q850.map(u32::from),
                    record: record(),
                };
                (Body::CallEnded(told), of_call())
            }
            FactBody::OrphanClosed(it) => {
                let policy = policy(it.policy).to_owned();
                let told = schema::CallOrphanClosed { policy, record: record() };
                (Body::CallOrphanClosed(told), of_call())
            }
            FactBody::Rematched(it) if it.outcome == Rematch::Found => {
                let told = schema::CallRematched {
                    session_id: text(it.session.as_ref()),
                    match_method: it.match_method.to_string(),
                    confidence_pct: it.confidence_pct.into(),
                    record: record(),
                };
                (Body::CallRematched(told), of_call())
            }
            FactBody::Deposited(it) => {
                let told = schema::BuyerDeposited {
                    buyer: it.buyer.to_string(),
                    amount_micros: it.amount.0,
                    key: it.key.to_string(),
                };
                (Body::BuyerDeposited(told), shard_of(it.buyer.as_str().as_bytes()))
            }
            FactBody::CapReset(it) => {
                let told = schema::CapReset {
                    cap: it.cap.to_string(),
                    window: it.window.to_string(),
                    amount: it.amount,
                    by: it.by.to_string(),
                    why: it.why.to_string(),
                };
                (Body::CapReset(told), shard_of(it.cap.as_bytes()))
            }
            // What the server needs to know itself again, and steps of others.
            FactBody::Rematched(_)
            | FactBody::HoldPlaced(_)
            | FactBody::HoldSettled(_)
            | FactBody::HoldReleased(_)
            | FactBody::AttemptProgress(_)
            | FactBody::AddressFailed(_)
            | FactBody::Confirmed(_)
            | FactBody::Checkpoint(_)
            | FactBody::Taken(_)
            | FactBody::Referred(_)
            | FactBody::Farewells(_)
            | FactBody::NodeStarted(_) => return None,
        };
        Some(told)
    }

    fn ping(&self, it: &PingAccepted) -> Body {
        let (caller, caller_hash) = self.callers.tell(it.caller);
        let opener = match it.opener {
            None => "ping",
            Some(Opener::PageView) => "page_view",
            Some(Opener::Form) => "form",
        };
        Body::PingAccepted(schema::PingAccepted {
            ping_id: it.ping.to_string(),
            session_id: it.session.to_string(),
            publisher: it.publisher.to_string(),
            campaign: it.campaign.to_string(),
            opener: opener.to_owned(),
            caller,
            caller_hash,
            pool: text(it.pool.as_ref()),
            number: it.number.map(PhoneNumber::to_e164),
            tags: self.tags.tell(&it.tags),
            extra: self.tags.tell(&it.extra),
            expires_at_ms: it.expires_at_ms,
            request_id: text(it.request_id.as_ref()),
            visitor: text(it.visitor.as_ref()),
        })
    }

    fn record(&self, it: &CallRecord) -> schema::Record {
        let (caller, caller_hash) = self.callers.tell(it.caller);
        let at = |offset: Option<u64>| offset.map(|ms| it.wall(ms).0);
        let attempt = it.attempt();
        schema::Record {
            rev: it.rev,
            state: state(it.state).to_owned(),
            outcome: outcome(it.outcome()).to_owned(),
            trunk: text(it.trunk.as_ref()),
            campaign: text(it.campaign.as_ref()),
            publisher: text(it.publisher.as_ref()),
            session_id: text(it.session.as_ref()),
            match_method: it.match_method.to_string(),
            config_rev: it.config_rev,
            did: it.did.map(PhoneNumber::to_e164),
            caller,
            caller_hash,
            sip_call_id: it.sip_call_id.to_string(),
            carrier_call_id: text(it.carrier_call_id.as_ref()),
            started_at_ms: it.started_at().0,
            answered_at_ms: at(it.answered_ms),
            ended_at_ms: at(it.ended_ms),
            setup_ms: it.setup_ms(),
            talk_ms: it.talk_ms,
            end_party: it.end_party.map(|it| party(it).to_owned()),
            end_reason: it.end_reason.map(|reason| reason.code().to_owned()),
            sip_status: it.status.map(u32::from),
            q850: it.q850.map(u32::from),
            refused: it.refused.map(|reason| reason.code().to_owned()),
            no_route: it.no_route().map(|class| class.name().to_owned()),
            target: attempt.map(|attempt| attempt.target.to_string()),
            buyer: attempt.map(|attempt| attempt.buyer.to_string()),
            attempts: it.attempts.iter().map(told_attempt).collect(),
            handover: it.handover.map(|it| handover(it.leg, it.by, it.status)),
            conversion: conversion(it.conversion).to_owned(),
            revenue_micros: it.revenue.0,
            payout_micros: it.payout.0,
            cost_micros: it.cost.map(|cost| cost.0),
            currency: it.currency.to_string(),
            no_payout: it.no_payout().map(|why| why.name().to_owned()),
            flags: it.flags.names().map(str::to_owned).collect(),
            codec: text(it.codec.as_ref()),
            denied: it.denied.iter().map(told_denial).collect(),
            first_match: it.first_match.as_ref().map(|it| schema::FirstMatch {
                session_id: text(it.session.as_ref()),
                match_method: it.method.to_string(),
                confidence_pct: it.confidence_pct.into(),
                until_ms: it.until.0,
            }),
        }
    }
}

fn told_denial(it: &super::record::Denial) -> schema::Denial {
    schema::Denial {
        leg: it.leg.into(),
        target: it.target.to_string(),
        at_ms: it.at_ms,
        reason: it.reason.code().to_owned(),
        cap: it.shortage.as_ref().map(|it| it.cap.to_string()),
        trunk: trunk(it.way.as_ref()),
    }
}

/// The trunk that a way is.
fn trunk(way: Option<&SmolStr>) -> Option<String> {
    trunk_of(way).map(|trunk| trunk.to_string())
}

fn told_attempt(it: &super::record::Attempt) -> schema::Attempt {
    schema::Attempt {
        leg: it.leg.into(),
        target: it.target.to_string(),
        buyer: it.buyer.to_string(),
        result: result(it.result).to_owned(),
        started_ms: it.started_ms,
        ringing_ms: it.ringing_ms,
        settled_ms: it.settled_ms,
        status: it.status.map(u32::from),
        q850: it.q850.map(u32::from),
        reason: it.reason.map(|reason| reason.code().to_owned()),
        talk_ms: it.talk_ms,
        trunk: trunk(it.way.as_ref()),
    }
}

fn handover(leg: u16, by: Means, status: Option<u16>) -> schema::CallHandedOver {
    let by = match by {
        Means::Refer => "refer",
        Means::Redirect => "redirect",
    };
    schema::CallHandedOver { leg: leg.into(), by: by.to_owned(), status: status.map(u32::from) }
}

fn party(party: Party) -> &'static str {
    match party {
        Party::Caller => "caller",
        Party::Target => "target",
        Party::System => "system",
    }
}

fn policy(policy: OrphanPolicy) -> &'static str {
    match policy {
        OrphanPolicy::Checkpoint => "checkpoint",
        OrphanPolicy::Zero => "zero",
        OrphanPolicy::UntilRestart => "until_restart",
    }
}

fn state(state: CallState) -> &'static str {
    match state {
        CallState::Open => "open",
        CallState::Closed => "closed",
        CallState::OrphanClosed => "orphan_closed",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::InProgress => "in_progress",
        Outcome::Converted => "converted",
        Outcome::Connected => "connected",
        Outcome::NoAnswer => "no_answer",
        Outcome::Refused => "refused",
        Outcome::HandedOver => "handed_over",
    }
}

fn conversion(state: ConversionState) -> &'static str {
    match state {
        ConversionState::None => "none",
        ConversionState::Pending => "pending",
        ConversionState::Reached => "reached",
        ConversionState::Settled => "settled",
    }
}

fn result(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Pending => "pending",
        AttemptResult::Answered => "answered",
        AttemptResult::Failed => "failed",
        AttemptResult::Abandoned => "abandoned",
        AttemptResult::HandedOver => "handed_over",
        AttemptResult::EndedEarly => "ended_early",
    }
}

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

/// CRC-32C of what names the thing, modulo [`SHARDS`].
fn shard_of(key: &[u8]) -> u32 {
    crc32c::crc32c(key) % SHARDS
}

fn hash(key: &Hmac<Sha256>, number: PhoneNumber) -> String {
    let mut mac = key.clone();
    mac.update(number.to_e164().as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

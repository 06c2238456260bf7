//! Requests that may be sent again, to any server, and their answers in Redis (spec/data §2.6).

use std::time::Duration;

use minicbor::{Decode, Encode};
use redis::Value;
use smol_str::SmolStr;

use crate::codec;
use crate::id::{PingId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::ping::{
    Accepted, Claim, Fingerprint, Identity, KEPT_MS, Kept, KeptVisit, NumberStatus, RequestKey,
};
use crate::routing::quote::Promise;
use crate::server::redis::{StoreFault, unread};
use crate::time::Wall;

use super::scripts::Script;
use super::servers::{Asked, For};
use super::{RedisSessions, all_done, ms, read};

/// How long a server is waited for that has a request to answer. One that takes longer, or is killed
/// meanwhile, may find that another has answered it.
const CLAIM: Duration = Duration::from_secs(30);
/// The same of one that prices a ping.
const PRICING: Duration = Duration::from_secs(3);
const FINGERPRINT: usize = 16;

/// See [`Kept`].
#[derive(Encode, Decode)]
struct Answer {
    #[n(0)]
    ping: PingId,
    #[n(1)]
    session: SessionId,
    #[n(2)]
    number: Option<PhoneNumber>,
    #[n(3)]
    number_status: u8,
    #[n(4)]
    expires_at: Wall,
    #[n(5)]
    promise: Option<Promise>,
    /// Of a visit, as are the next two.
    #[cbor(n(6), with = "codec::optional_text", has_nil)]
    visitor: Option<SmolStr>,
    #[n(7)]
    heartbeat_s: Option<u32>,
    #[cbor(n(8), with = "codec::texts")]
    left_out: Vec<SmolStr>,
}

impl RedisSessions {
    /// A request came to this node, which is at no other of the same key. `claim` tells it from the node's
    /// others.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer: it may have been claimed.
    pub async fn claim(&self, identity: Identity, claim: u64) -> Result<Claim, StoreFault> {
        self.claim_for(CLAIM, identity, claim).await
    }

    /// A ping came that is to be priced. The answer is kept nowhere but in its session: the claim is left once
    /// all can see that.
    ///
    /// # Errors
    /// As [`RedisSessions::claim`].
    pub async fn claim_price(&self, key: RequestKey, claim: u64) -> Result<Claim, StoreFault> {
        let identity = Identity { key, fingerprint: Fingerprint([0; FINGERPRINT]) };
        self.claim_for(PRICING, identity, claim).await
    }

    /// What is known of a request that nobody is going to answer here.
    ///
    /// # Errors
    /// The store could not be asked, or did not answer.
    pub async fn look_for(&self, identity: Identity) -> Result<Claim, StoreFault> {
        let key = self.keys.request(identity.key);
        let get = redis::cmd("GET").arg(&key).take();
        let answer = self.ask(&[Asked::plain(&key, get)], For::Upkeep).await.pop();
        let known: Option<Vec<u8>> = read(answer.unwrap_or_else(|| Err(unread()))?)?;
        let ours = format!("{}/", self.settings.node);
        match known.as_deref().and_then(<[u8]>::split_first) {
            None => Ok(Claim::First),
            Some((b'A', answer)) => told(identity, answer),
            // A former process of this node had claimed it.
            Some((_, claim)) if claim.starts_with(ours.as_bytes()) => Ok(Claim::First),
            Some(_) => Ok(Claim::InProgress),
        }
    }

    async fn claim_for(
        &self,
        lasts: Duration,
        identity: Identity,
        claim: u64,
    ) -> Result<Claim, StoreFault> {
        let key = self.keys.request(identity.key);
        let (ours, lasts) = (format!("{}/", self.settings.node), ms(lasts).to_string());
        let arguments = ["claim", &ours, &format!("{ours}{claim}"), &lasts];
        let arguments = arguments.map(|it| it.as_bytes().to_vec()).into();
        let told: Vec<Value> = self.run(Script::Answer, vec![key], arguments).await?;
        let mut told = told.into_iter();
        let mut next = || told.next().ok_or_else(unread);
        match read::<i64>(next()?)? {
            0 => Ok(Claim::First),
            1 => Ok(Claim::InProgress),
            _ => {
                let known: Vec<u8> = read(next()?)?;
                self::told(identity, &known)
            }
        }
    }

    /// Requests were answered, as of these instants, by this node. One that has an answer keeps it.
    ///
    /// # Errors
    /// Not all of it could be told.
    pub async fn keep(
        &self,
        answers: &[(Identity, Kept, Wall)],
        now: Wall,
    ) -> Result<(), StoreFault> {
        let live = answers.iter().filter_map(|(identity, kept, at)| {
            let left = at.0.saturating_add(KEPT_MS).saturating_sub(now.0);
            let key = self.keys.request(identity.key);
            let arguments = [
                b"keep".to_vec(),
                write_answer(identity.fingerprint, kept),
                left.to_string().into_bytes(),
            ];
            (left > 0).then(|| Asked::script(Script::Answer, vec![key], arguments.into()))
        });
        let asked: Vec<_> = live.collect();
        all_done(self.ask(&asked, For::Upkeep).await)
    }

    /// Requests that this node had claimed came to nothing: they may come again, anywhere.
    ///
    /// # Errors
    /// Not all of it could be told.
    pub async fn leave(&self, left: &[(RequestKey, u64)]) -> Result<(), StoreFault> {
        let leave = |(key, claim): &(RequestKey, u64)| {
            let claim = format!("{}/{claim}", self.settings.node);
            let arguments = ["leave", &claim].map(|it| it.as_bytes().to_vec()).into();
            Asked::script(Script::Answer, vec![self.keys.request(*key)], arguments)
        };
        let asked: Vec<_> = left.iter().map(leave).collect();
        all_done(self.ask(&asked, For::Upkeep).await)
    }
}

/// What is known of a request by an answer that is there.
fn told(identity: Identity, known: &[u8]) -> Result<Claim, StoreFault> {
    let (fingerprint, kept) = read_answer(known).ok_or_else(unread)?;
    let is_it = fingerprint == identity.fingerprint;
    Ok(if is_it { Claim::Answered(kept) } else { Claim::Other })
}

fn write_answer(fingerprint: Fingerprint, Kept { accepted, visit }: &Kept) -> Vec<u8> {
    let mut written = fingerprint.0.to_vec();
    let visit = visit.as_deref();
    let answer = Answer {
        ping: accepted.ping,
        session: accepted.session,
        number: accepted.number,
        number_status: match accepted.number_status {
            NumberStatus::NotAsked => 0,
            NumberStatus::Leased => 1,
            NumberStatus::Shared => 2,
            NumberStatus::Exhausted => 3,
        },
        expires_at: accepted.expires_at,
        promise: accepted.promise,
        visitor: visit.map(|visit| visit.visitor.clone()),
        heartbeat_s: visit.map(|visit| visit.heartbeat_s),
        left_out: visit.map(|visit| visit.left_out.clone()).unwrap_or_default(),
    };
    minicbor::encode(&answer, &mut written).expect("memory takes all");
    written
}

/// `None`: nobody of ours wrote that.
fn read_answer(known: &[u8]) -> Option<(Fingerprint, Kept)> {
    let (fingerprint, answer) = known.split_at_checked(FINGERPRINT)?;
    let answer: Answer = minicbor::decode(answer).ok()?;
    let accepted = Accepted {
        ping: answer.ping,
        session: answer.session,
        number: answer.number,
        number_status: match answer.number_status {
            0 => NumberStatus::NotAsked,
            1 => NumberStatus::Leased,
            2 => NumberStatus::Shared,
            3 => NumberStatus::Exhausted,
            _ => return None,
        },
        expires_at: answer.expires_at,
        promise: answer.promise,
        repeated: false,
    };
    let left_out = answer.left_out;
    let visit = answer.visitor.zip(answer.heartbeat_s);
    let visit = visit.map(|(visitor, heartbeat_s)| KeptVisit { visitor, heartbeat_s, left_out });
    let kept = Kept { accepted, visit: visit.map(Box::new) };
    Some((Fingerprint(fingerprint.try_into().ok()?), kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Money;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let bare = Accepted {
            ping: PingId::from_bytes([7; 16]),
            session: SessionId::from_bytes([7; 16]),
            number: None,
            number_status: NumberStatus::NotAsked,
            expires_at: Wall(1_773_759_700_000),
            promise: None,
            repeated: false,
        };
        let promise = Promise {
            payout: Money(24_000_000),
            payout_seconds: 90,
            until: Wall(1_773_759_660_000),
            no_duplicates: true,
            spent: false,
        };
        let statuses = [NumberStatus::Leased, NumberStatus::Shared, NumberStatus::Exhausted];
        let full = statuses.map(|number_status| Accepted {
            number: PhoneNumber::from_digits(18_005_550_100),
            number_status,
            promise: Some(promise),
            ..bare.clone()
        });
        let visit = Box::new(KeptVisit {
            visitor: "v1".into(),
            heartbeat_s: 60,
            left_out: vec!["gclid".into()],
        });
        let of_visit = Kept { accepted: bare.clone(), visit: Some(visit) };
        let plain = full.into_iter().chain([bare]).map(|accepted| Kept { accepted, visit: None });
        for kept in plain.chain([of_visit]) {
            let written = write_answer(Fingerprint([9; 16]), &kept);
            assert_eq!(read_answer(&written), Some((Fingerprint([9; 16]), kept)));
            assert_eq!(read_answer(&written[..20]), None);
        }
    }
}

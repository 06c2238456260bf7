//! A call that is only thought of, as it is asked about: what it dials, and the session behind it.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::{SmolStr, format_smolstr};

use crate::id::{BuyerId, CallId, CampaignId, PingId, PoolId, PublisherId, SessionId, TrunkId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::routing::attribution::{Named, SessionKey};
use crate::routing::hold::Counts;
use crate::routing::request::{RouteRequest, SessionReading, Tags};
use crate::routing::snapshot::{Cap, RoutingSnapshot};
use crate::time::Wall;

/// How long a session that is thought of lives.
const LIVES_MS: i64 = 1_800_000;

/// A call to be thought of.
#[derive(Clone, Debug)]
pub struct AskedCall {
    pub dialed: Dialed,
    /// Absent: the caller is anonymous.
    pub caller: Option<PhoneNumber>,
    pub trunk: TrunkId,
    pub at: Wall,
    /// What the trunk says of it.
    pub tags: Tags,
    /// A session that is not there, and is taken to be.
    pub session: Option<AssumedSession>,
    /// Names the call.
    pub seed: u64,
}

#[derive(Clone, Debug)]
pub enum Dialed {
    Number(PhoneNumber),
    /// Any number of the pool: the first.
    Pool(PoolId),
    /// The address of a live session, for which this number stands in.
    Named(SessionKey, PhoneNumber),
    /// The address of the session that is assumed.
    Assumed,
}

/// A session that is there, for a call of its visitor.
#[derive(Clone, Debug)]
pub struct LiveSession {
    /// Its number, else its address.
    pub dialed: Dialed,
    /// Its address.
    pub named: Dialed,
    pub caller: Option<PhoneNumber>,
}

/// A session of the campaign and publisher of the number that is dialled, unless it says whose it is.
#[derive(Clone, Debug, Default)]
pub struct AssumedSession {
    pub campaign: Option<CampaignId>,
    pub publisher: Option<PublisherId>,
    /// What its ping said.
    pub tags: Tags,
    /// What enrichers told.
    pub enriched: Tags,
    /// How long ago it was opened.
    pub age_ms: u32,
}

/// Why a call cannot be thought of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Unthinkable {
    /// `dialed`, `pool` or `session`, or one of its fields.
    pub field: &'static str,
    pub problem: String,
}

impl AskedCall {
    /// The call as it would be decided about, and the session that is assumed.
    ///
    /// # Errors
    /// What it names is not there.
    pub fn request(
        self,
        snapshot: &RoutingSnapshot,
    ) -> Result<(RouteRequest, Vec<SessionReading>), Unthinkable> {
        let Self { dialed, caller, trunk, at, tags, session, seed } = self;
        let id = SessionId(CallId::of_simulation(seed, u32::MAX).0);
        let own_key = SessionKey::Session(id);
        let (dialed, named) = match dialed {
            Dialed::Number(number) => (number, None),
            Dialed::Pool(pool) => {
                let known = snapshot.pool(&pool).and_then(|pool| pool.numbers.first());
                let none =
                    || unthinkable("pool", format!("`{pool}` is no pool of this configuration"));
                (*known.ok_or_else(none)?, None)
            }
            Dialed::Named(key, number) => (number, Some(Named { key, is_all: true })),
            Dialed::Assumed => {
                let session = session.as_ref();
                let whose = session.and_then(|it| it.campaign.as_ref().zip(it.publisher.as_ref()));
                let (campaign, publisher) = whose.ok_or_else(|| {
                    let problem = "has to say its campaign and publisher if no number is dialled";
                    unthinkable("session", problem.to_owned())
                })?;
                let number = snapshot.stand_in(campaign, publisher).ok_or_else(|| {
                    let problem = format!("names the campaign `{campaign}`, which has no number");
                    unthinkable("session/campaign", problem)
                })?;
                (number, Some(Named { key: own_key, is_all: true }))
            }
        };
        let reading = session
            .map(|session| session.reading(snapshot, id, dialed, named.is_some(), caller, at))
            .transpose()?;
        let call = CallId::of_simulation(seed, u32::MAX);
        let request =
            RouteRequest { call, at, dialed, caller, trunk, tags, named, announced: false };
        Ok((request, reading.into_iter().collect()))
    }
}

impl AssumedSession {
    fn reading(
        self,
        snapshot: &RoutingSnapshot,
        session: SessionId,
        dialed: PhoneNumber,
        is_named: bool,
        caller: Option<PhoneNumber>,
        at: Wall,
    ) -> Result<SessionReading, Unthinkable> {
        let Self { campaign, publisher, tags, enriched, age_ms } = self;
        let owner = snapshot.number(dialed).filter(|_| !is_named);
        let campaign = campaign.or_else(|| owner.map(|it| it.campaign.id.clone()));
        let publisher = publisher.or_else(|| owner.map(|it| it.publisher.id.clone()));
        let whose = |field| {
            let problem = "has to be there: the number that is dialled belongs to no campaign";
            unthinkable(field, problem.to_owned())
        };
        let campaign = campaign.ok_or_else(|| whose("session/campaign"))?;
        let publisher = publisher.ok_or_else(|| whose("session/publisher"))?;
        if snapshot.campaign(&campaign).is_none() {
            let problem = format!("names no campaign: `{campaign}`");
            return Err(unthinkable("session/campaign", problem));
        }
        if snapshot.publisher(&publisher).is_none() {
            let problem = format!("names no publisher: `{publisher}`");
            return Err(unthinkable("session/publisher", problem));
        }
        let created_at = Wall(at.0.saturating_sub(age_ms.into()));
        Ok(SessionReading {
            session,
            ping: PingId(session.0),
            publisher,
            campaign,
            number: owner.and_then(|it| it.pool).map(|_| dialed),
            caller,
            created_at,
            expires_at: Wall(created_at.0.saturating_add(LIVES_MS)),
            tags,
            former: None,
            sharing: None,
            promise: None,
            enriched,
        })
    }
}

fn unthinkable(field: &'static str, problem: String) -> Unthinkable {
    Unthinkable { field, problem }
}

impl RoutingSnapshot {
    /// The same, with all targets of these buyers paused.
    #[must_use]
    pub fn without_buyers(&self, buyers: &BTreeSet<BuyerId>) -> Self {
        let mut without = self.clone();
        for target in &mut without.targets {
            target.paused |= buyers.contains(&target.buyer);
        }
        without
    }

    /// What of a buyer's credit and deposits has to be taken for used so that it may owe `left` more.
    /// `None`: its credit has no limit.
    pub fn credit_left(&self, buyer: &BuyerId, left: Money) -> Option<BTreeMap<SmolStr, u64>> {
        let key = format_smolstr!("buyer/{buyer}/credit");
        let is_its = |cap: &&Cap| cap.counts == Counts::Credit && cap.key == key;
        let cap = self.caps().find(is_its)?;
        let left = u64::try_from(left.0).unwrap_or(0);
        let used = (cap.key.clone(), cap.limit.saturating_sub(left));
        let deposited = cap.raised_by.clone().map(|it| (it, left.saturating_sub(cap.limit)));
        Some([used].into_iter().chain(deposited).collect())
    }
}

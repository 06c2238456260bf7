//! A ping whose names are resolved, and what is wrong with one that cannot be taken.

use std::time::Duration;

use crate::id::{CampaignId, PoolId, PublisherId};
use crate::phone::PhoneNumber;
use crate::routing::config::PingFilter;
use crate::routing::ping::request::{PingRefusal, PingRefusals, PingRequest, RefusalCode};
use crate::routing::quote::Promise;
use crate::routing::request::{SessionReading, Tags};
use crate::routing::snapshot::RoutingSnapshot;
use crate::routing::vertical::Vertical;
use crate::routing::worth::worthless;
use crate::time::Wall;

use super::{NewIds, Session};

/// How long a session lives that names neither a time nor a pool.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(1_800);

/// A ping that passed all checks, with its names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub(super) publisher: PublisherId,
    pub(super) campaign: CampaignId,
    pub(super) caller: Option<PhoneNumber>,
    pub(super) pool: Option<PoolId>,
    /// A static number, for this caller alone.
    pub(super) number: Option<PhoneNumber>,
    /// Shown when the pool has none left.
    pub(super) overflow: Option<PhoneNumber>,
    pub(super) tags: Tags,
    pub(super) extra: Tags,
    pub(super) ttl: Duration,
    pub(super) promise: Option<Promise>,
}

impl Checked {
    /// # Errors
    /// All that is wrong with the ping.
    pub fn of(snapshot: &RoutingSnapshot, ping: &PingRequest) -> Result<Self, PingRefusals> {
        check(snapshot, ping, PingRequest::to_tags)
    }

    /// # Errors
    /// No target would take a call of it, and its campaign wants none of those.
    pub fn is_worth_it(&self, snapshot: &RoutingSnapshot, now: Wall) -> Result<(), PingRefusals> {
        let campaign = snapshot.campaign(&self.campaign);
        let Some(campaign) = campaign.filter(|it| it.ping_filter == PingFilter::On) else {
            return Ok(());
        };
        let said = (self.caller, &self.tags);
        match worthless(snapshot, campaign, said, now, now + self.ttl) {
            None => Ok(()),
            Some(found) => Err(PingRefusals::worthless(&self.campaign, &found)),
        }
    }

    /// Whether the session was opened for a ping that said the same, and what was promised for it still holds.
    pub fn was_quoted(&self, session: &Session, now: Wall) -> bool {
        let Self { publisher, campaign, caller, pool, number, tags, .. } = self;
        let place = if pool.is_some() { session.pool == *pool } else { session.number == *number };
        let is_theirs = session.publisher == *publisher && session.campaign == *campaign;
        let is_open = session.consumed_at.is_none() && session.expires_at > now;
        let is_promised = session.promise.as_ref().is_some_and(|promise| promise.is_live(now));
        let is_caller = session.caller == *caller && caller.is_some();
        is_theirs && is_caller && is_open && is_promised && place && session.tags == *tags
    }

    pub fn caller(&self) -> Option<PhoneNumber> {
        self.caller
    }

    pub fn campaign(&self) -> &CampaignId {
        &self.campaign
    }

    pub fn publisher(&self) -> &PublisherId {
        &self.publisher
    }

    /// The static number at which the call will come in.
    pub fn number(&self) -> Option<PhoneNumber> {
        self.number
    }

    /// How long the session will live.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Its publisher is promised this for the session's first call.
    #[must_use]
    pub fn promising(self, promise: Promise) -> Self {
        Self { promise: Some(promise), ..self }
    }

    /// The session that it will open, as a call of it would find it.
    pub fn announcing(&self, ids: NewIds, now: Wall) -> SessionReading {
        SessionReading {
            session: ids.session,
            ping: ids.ping,
            publisher: self.publisher.clone(),
            campaign: self.campaign.clone(),
            number: self.number,
            caller: self.caller,
            created_at: now,
            expires_at: now + self.ttl,
            tags: self.tags.clone(),
            former: None,
            sharing: None,
            promise: self.promise,
            enriched: Tags::new(),
        }
    }

    /// The pool a number is wanted of, if one is.
    pub fn pool(&self) -> Option<&PoolId> {
        self.pool.as_ref()
    }
}

/// Whose a ping is that names its publisher, a pool or a campaign; `None`: nobody's who is known.
pub fn publisher_of(
    snapshot: &RoutingSnapshot,
    (publisher, pool, campaign): (Option<&PublisherId>, Option<&PoolId>, Option<&CampaignId>),
) -> Option<PublisherId> {
    let of_pool = || pool.and_then(|id| snapshot.pool(id)).map(|pool| &pool.publisher);
    let of_campaign =
        || campaign.and_then(|id| snapshot.campaign(id)).and_then(|it| it.publisher.as_ref());
    publisher.or_else(of_pool).or_else(of_campaign).cloned()
}

/// Resolves the names of a ping and checks that they fit together.
pub(super) fn check(
    snapshot: &RoutingSnapshot,
    ping: &PingRequest,
    to_tags: impl FnOnce(&PingRequest, Option<&Vertical>) -> Result<Tags, PingRefusals>,
) -> Result<Checked, PingRefusals> {
    ping.check()?;
    let caller = ping.caller()?;
    let pool = match &ping.pool {
        Some(id) => Some(snapshot.pool(id).ok_or_else(|| unknown("pool", id.as_str()))?),
        None => None,
    };
    let campaign = match (&ping.campaign, pool) {
        (Some(id), _) => id,
        (None, Some(pool)) => &pool.campaign,
        (None, None) => {
            let detail = "name the campaign the call will be for";
            return Err(PingRefusal::new("campaign", RefusalCode::Missing, detail).into());
        }
    };
    let campaign =
        snapshot.campaign(campaign).ok_or_else(|| unknown("campaign", campaign.as_str()))?;
    let publisher = ping
        .publisher
        .as_ref()
        .or_else(|| pool.map(|pool| &pool.publisher))
        .or(campaign.publisher.as_ref())
        .ok_or_else(|| {
            let detail = "the campaign has no publisher of its own; name one";
            PingRefusal::new("publisher", RefusalCode::Missing, detail)
        })?;
    let publisher =
        snapshot.publisher(publisher).ok_or_else(|| unknown("publisher", publisher.as_str()))?;
    if let Some(pool) = pool {
        for (field, fits) in [
            ("campaign", pool.campaign == campaign.id),
            ("publisher", pool.publisher == publisher.id),
        ] {
            if !fits {
                let detail = format!("the pool `{}` belongs to another {field}", pool.id);
                return Err(PingRefusal::new(field, RefusalCode::Mismatch, detail).into());
            }
        }
    }
    for (field, paused) in [("campaign", campaign.paused), ("publisher", publisher.paused)] {
        if paused {
            return Err(PingRefusal::new(
                field,
                RefusalCode::Paused,
                format!("the {field} is paused"),
            )
            .into());
        }
    }
    let extra = ping.to_extra(ping.strict.unwrap_or(publisher.strict_pings))?;
    let number = ping.number()?;
    if let Some(number) = number {
        let fits = snapshot.number(number).is_some_and(|owner| {
            let is_its = owner.campaign.id == campaign.id && owner.publisher.id == publisher.id;
            is_its && owner.pool.is_none()
        });
        if !fits {
            let detail = "is no static number of this campaign and publisher";
            return Err(PingRefusal::new("number", RefusalCode::Mismatch, detail).into());
        }
    }
    let ttl = match (ping.ttl_s, pool) {
        (Some(seconds), _) => Duration::from_secs(seconds.into()),
        (None, Some(pool)) => pool.session_ttl,
        (None, None) => DEFAULT_TTL,
    };
    Ok(Checked {
        publisher: publisher.id.clone(),
        campaign: campaign.id.clone(),
        caller,
        overflow: pool.and_then(|pool| pool.overflow),
        pool: pool.map(|pool| pool.id.clone()),
        number,
        tags: to_tags(ping, campaign.vertical.as_deref())?,
        extra,
        ttl,
        promise: None,
    })
}

pub(super) fn unknown(field: &str, name: &str) -> PingRefusal {
    let shown = &name[..name.floor_char_boundary(64)];
    PingRefusal::new(field, RefusalCode::Unknown, format!("there is no {field} `{shown}`"))
}

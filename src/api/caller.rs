//! Who asks, and what of pings and sessions is theirs.
//!
//! An operator's key opens everything. A publisher's opens pings and sessions, its own alone: of
//! others' it learns nothing, not even that they are there. A site key stands in a public page and
//! opens page views alone, of the pages it is for.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use smol_str::SmolStr;

use super::error::{Code, Place, Problem};
use crate::id::{PoolId, PublisherId};
use crate::routing::access::{Access, Holder};

/// Whose request it is, as a request extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Operator,
    Publisher(PublisherId),
    /// A page with a site key.
    Page {
        publisher: PublisherId,
        pool: Option<PoolId>,
    },
    /// Its key is in the body, if anywhere: a page that is left can send nothing but a body.
    KeyInBody,
}

/// A caller who may send pings: an operator or a publisher.
pub(super) struct Sender(pub(super) Caller);

/// A caller who may speak for a visitor; to be told apart by [`Visiting::caller`].
pub(super) struct Visiting {
    caller: Caller,
    origin: Option<SmolStr>,
}

impl Caller {
    /// Who holds a publisher's key or a page's.
    pub(super) fn of(holder: &Holder, origin: Option<&str>) -> Result<Self, Problem> {
        let publisher = holder.publisher.clone();
        let Some(site) = &holder.site else { return Ok(Self::Publisher(publisher)) };
        match origin {
            Some(origin) if site.origins.iter().any(|known| known == origin) => {
                Ok(Self::Page { publisher, pool: site.pool.clone() })
            }
            Some(_) | None => Err(Code::OriginForbidden.into()),
        }
    }

    /// Lets a request leave out whose it is, and name no other publisher.
    pub(super) fn sign(&self, publisher: &mut Option<PublisherId>) -> Result<(), Problem> {
        let own = match self {
            Self::Operator => return Ok(()),
            Self::Publisher(own) | Self::Page { publisher: own, .. } => own,
            Self::KeyInBody => return Err(Code::KeyMissing.into()),
        };
        match publisher {
            Some(named) if named != own => {
                let place = Place::Body(String::from("/publisher"));
                let detail = "is not the publisher whose key this is; leave it out";
                Err(Problem::at(Code::PublisherForbidden, place, "forbidden", detail))
            }
            Some(_) => Ok(()),
            None => {
                *publisher = Some(own.clone());
                Ok(())
            }
        }
    }

    /// Whether what is this publisher's is the caller's to see.
    pub(super) fn sees(&self, publisher: &PublisherId) -> bool {
        match self {
            Self::Operator => true,
            Self::Publisher(own) | Self::Page { publisher: own, .. } => own == publisher,
            Self::KeyInBody => false,
        }
    }
}

impl Visiting {
    /// The caller, whose key may be `in_body`.
    pub(super) fn caller(self, in_body: Option<&str>, access: &Access) -> Result<Caller, Problem> {
        match self.caller {
            Caller::KeyInBody => {
                let key = in_body.ok_or(Code::KeyMissing)?;
                let holder = access.holder(key.as_bytes()).ok_or(Code::KeyUnknown)?;
                Caller::of(holder, self.origin.as_deref())
            }
            known @ (Caller::Operator | Caller::Publisher(_) | Caller::Page { .. }) => Ok(known),
        }
    }
}

/// What a browser says of the page that sends a request.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

fn known(parts: &Parts) -> Caller {
    // Whoever passed without one has shown no key.
    parts.extensions.get().cloned().unwrap_or(Caller::KeyInBody)
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match known(parts) {
            Caller::Page { .. } => Err(Code::KeyForbidden.into()),
            Caller::KeyInBody => Err(Code::KeyMissing.into()),
            sender @ (Caller::Operator | Caller::Publisher(_)) => Ok(Self(sender)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visiting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let origin = origin(&parts.headers).map(SmolStr::new);
        Ok(Self { caller: known(parts), origin })
    }
}

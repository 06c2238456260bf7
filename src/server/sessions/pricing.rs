//! Priced pings that come again to another server. Those in the forms of other platforms have no key: one is
//! known by what it says.

use std::time::Duration;

use tokio::time::timeout;

use crate::api::PingError;
use crate::cdr::journal::Lsn;
use crate::routing::ping::{Accepted, Claim, Fingerprint, RequestKey};
use crate::server::clock;
use crate::server::control::Control;
use crate::server::deciding::Vetting;
use crate::time::Wall;

use super::SharedSessions;
use super::asking::accepted_again;
use super::shared::{Asked, next_claim};

/// How long a ping waits for another server that answers the same one, and for the store to say so.
const WAIT_MAX: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is known of a ping that asks for a price.
pub(in crate::server) enum Priced<'a> {
    /// This server answers it; where others are there, none of them does meanwhile.
    Here(Option<Pricing<'a>>),
    /// Another has, and what it promised still holds.
    Again(Accepted),
}

/// No other server answers the same ping while this is kept: until all can see its session.
pub(in crate::server) struct Pricing<'a> {
    shared: &'a SharedSessions,
    key: RequestKey,
    claim: u64,
    /// Where the session is in the journal, once it is on its way to the disk.
    up_to: Option<Lsn>,
}

impl Pricing<'_> {
    /// Also if whoever asked goes away meanwhile nobody else answers before the journal is on disk up to there.
    pub(in crate::server) fn on_its_way(&mut self, up_to: Lsn) {
        self.up_to = Some(up_to);
    }

    /// The session did not get there.
    pub(in crate::server) fn failed(&mut self) {
        self.up_to = None;
    }
}

impl Drop for Pricing<'_> {
    fn drop(&mut self) {
        self.shared.left(self.key, self.claim, self.up_to);
    }
}

impl Control {
    /// Whether another server has priced the ping. One without a caller is another each time. While another is
    /// at it, what was promised before is promised again.
    ///
    /// # Errors
    /// Another is at it and takes its time, and nothing was promised before.
    pub(in crate::server) async fn priced_before(
        &self,
        vetting: &mut Vetting<'_>,
        now: Wall,
    ) -> Result<Priced<'_>, PingError> {
        let here = Ok(Priced::Here(None));
        let Some(shared) = self.deciding.sessions() else { return here };
        let snapshot = self.deciding.snapshot();
        // What is wrong with it, or why it is worth nothing, is told by whoever opens its session.
        let request = vetting.request;
        let Ok(checked) = vetting.look(&snapshot, now) else { return here };
        if checked.caller().is_none() {
            return here;
        }
        let key = RequestKey::of_ping(checked.publisher(), Fingerprint::of(request));
        let claim = next_claim();
        let give_up = clock::mono() + WAIT_MAX;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let claimed = timeout(WAIT_MAX, shared.claim_price(key, claim)).await;
            let pricing = match claimed.unwrap_or(Asked::Away) {
                Asked::Told(Claim::First) => Some(Pricing { shared, key, claim, up_to: None }),
                Asked::Told(_) => None,
                Asked::Unknown | Asked::Away => {
                    // It may hear of the claim yet.
                    shared.left(key, claim, None);
                    return here;
                }
            };
            // All can see only what is on disk: a promise that another has yet to make is not among it.
            let quoted = shared.quoted(&*self.deciding, checked, now).await;
            return match (pricing, quoted) {
                (None, Some(session)) => Ok(Priced::Again(accepted_again(&snapshot, &session))),
                (None, None) if clock::mono() < give_up => continue,
                (None, None) => {
                    let reason = String::from("another server is answering the same ping");
                    Err(PingError::Unavailable { reason, retry_after_s: 1 })
                }
                // What is here the desk knows best.
                (Some(_), Some(session)) if self.deciding.session(session.session).is_none() => {
                    Ok(Priced::Again(accepted_again(&snapshot, &session)))
                }
                (pricing, _) => Ok(Priced::Here(pricing)),
            };
        }
    }
}

//! What a ping is told: that it has a session, and what of a number and a price.

use serde::Serialize;

use crate::id::{PingId, SessionId};
use crate::phone::PhoneNumber;
use crate::routing::ping::request::PingRefusal;
use crate::routing::quote::Promise;
use crate::time::Wall;

use super::{Checked, Desk, Session};

/// The answer to a ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    pub ping: PingId,
    pub session: SessionId,
    pub number: Option<PhoneNumber>,
    pub number_status: NumberStatus,
    pub expires_at: Wall,
    /// What is promised for the session's first call; absent: nothing was asked.
    pub promise: Option<Promise>,
    /// The same request came before, or the same visitor; no new session was made.
    pub repeated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberStatus {
    NotAsked,
    Leased,
    /// The pool has no free number; the one that is shown is shown to others too.
    Shared,
    /// The pool has no free number; the call is then recognised by its caller, if at all.
    Exhausted,
}

impl Desk {
    /// What a ping would be told of a number, if it came now. `elsewhere`: where numbers are lent elsewhere,
    /// whether one is left there.
    ///
    /// # Errors
    /// No more sessions may be opened.
    pub fn would_open(
        &self,
        checked: &Checked,
        elsewhere: Option<bool>,
        now: Wall,
    ) -> Result<NumberStatus, PingRefusal> {
        self.is_full()?;
        let Some(pool) = &checked.pool else {
            let asked = checked.number.map(|_| NumberStatus::Leased);
            return Ok(asked.unwrap_or(NumberStatus::NotAsked));
        };
        Ok(match elsewhere.unwrap_or_else(|| self.leases.has_any(pool, now)) {
            true => NumberStatus::Leased,
            false if checked.overflow.is_some() => NumberStatus::Shared,
            false => NumberStatus::Exhausted,
        })
    }

    /// The answer to a ping that was priced before, while its promise lives: one of the same publisher,
    /// campaign and caller that said the same. `None`: it is the first, or names no caller.
    pub fn quoted(&self, checked: &Checked, now: Wall) -> Option<Accepted> {
        let of_caller = self.of_caller(&checked.campaign, checked.caller?);
        let quoted = of_caller.rev().find(|it| checked.was_quoted(it, now));
        quoted.map(|session| self.answer(session, true))
    }

    pub(super) fn answer(&self, session: &Session, repeated: bool) -> Accepted {
        Accepted {
            ping: session.ping,
            session: session.session,
            number: session.number,
            number_status: match (&session.pool, session.number) {
                (None, None) => NumberStatus::NotAsked,
                (Some(_), Some(_)) if self.shared_number(session).is_some() => NumberStatus::Shared,
                (Some(_) | None, Some(_)) => NumberStatus::Leased,
                (Some(_), None) => NumberStatus::Exhausted,
            },
            expires_at: session.expires_at,
            promise: session.promise.as_deref().copied(),
            repeated,
        }
    }
}

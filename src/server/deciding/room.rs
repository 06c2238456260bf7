//! Room that attempts take under limits, and what becomes of it.

use crate::id::{CallId, HoldId};
use crate::reason::{NoPayout, Reason};
use crate::routing::decision::Terms;
use crate::routing::hold::{Bucket, BucketRequest, Counts, Juncture, NoRoom, Refused};
use crate::routing::{CallScope, PlannedAttempt};
use crate::time::{Mono, Wall};

use super::{AtAttempt, Deciding};

impl Deciding {
    /// What an attempt on these terms needs room for, and the hold it gets it by; `None`: nothing.
    pub fn wanted(
        &self,
        call: CallId,
        leg: u8,
        planned: &PlannedAttempt,
        terms: Option<Terms>,
        scope: Option<&CallScope>,
        wall: Wall,
    ) -> Option<(HoldId, Vec<BucketRequest>)> {
        // Not the holds of the plan: a window may have ended since the decision.
        let at_attempt = AtAttempt { deciding: self, at: wall };
        let mut holds = self.snapshot.load().holds(planned, terms, scope, wall, &at_attempt);
        // A cap that came since is met by calls that were planned with it: what becomes of this one
        // nobody follows, and it may be handed over.
        if !planned.is_counted_at_end() {
            holds.retain(|request| !request.counts.is_known_at_end());
        }
        (!holds.is_empty()).then(|| (planned.hold_id(call, u16::from(leg), terms), holds))
    }

    /// Takes room, all or nothing.
    pub fn reserve(&self, hold: HoldId, holds: &[BucketRequest], now: Mono) -> Result<(), NoRoom> {
        match self.state.lock().holds(now).reserve(hold, holds, now) {
            Ok(_) => Ok(()),
            Err(Refused::Full(denied)) => Err(denied.into()),
            Err(Refused::LedgerFull) => Err(Reason::HoldsFull.into()),
            Err(Refused::Ended) => Err(Reason::DecisionFailed.into()),
        }
    }

    /// On which terms an attempt goes on that found no room: unpaid, where only the publisher's
    /// payout has none, its cap stops no more than that, and nothing was promised.
    pub fn unpaid_instead(
        &self,
        terms: Terms,
        scope: Option<&CallScope>,
        no_room: &NoRoom,
    ) -> Option<Terms> {
        if terms.promised {
            return None;
        }
        let (cap, scope) = (no_room.cap()?, scope?);
        let stops_paying = self.snapshot.load().stops_paying(&scope.publisher, cap);
        stops_paying.then(|| terms.unpaid(NoPayout::PublisherCap))
    }

    /// The counted event happened. Returns the buckets in which it counts.
    pub fn settle(&self, hold: HoldId, event: Counts, now: Mono, at: Wall) -> Vec<Bucket> {
        let mut state = self.state.lock();
        let kept = self.shared.get().map(|_| state.ledger.held_by(hold).to_vec());
        let settled = state.holds(now).settle(hold, event, now, at).buckets;
        if let Some(kept) = kept {
            self.tell_settled(hold, event, kept, settled.clone());
        }
        settled
    }

    /// It has become known what the call of this hold comes to, and it goes on. Said again it changes
    /// nothing.
    pub fn come_to(&self, hold: HoldId, juncture: Juncture, came_to: &[(Bucket, i64)], now: Mono) {
        if came_to.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let known = self.shared.get().map(|_| state.ledger.known_of(hold).to_vec());
        let is_news = state.holds(now).come_to(hold, juncture, came_to, now);
        if let Some((shared, known)) = self.shared.get().zip(known).filter(|_| is_news) {
            shared.came_to(hold, juncture, came_to, &known);
        }
    }

    /// The call of this hold is over, and came to so much. Whether the hold was live.
    pub fn conclude(
        &self,
        hold: HoldId,
        juncture: Juncture,
        came_to: &[(Bucket, i64)],
        now: Mono,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(shared) = self.shared.get() else {
            return state.holds(now).conclude(hold, juncture, came_to, now);
        };
        // Of a live hold what is known is what it holds.
        let is_live = !state.ledger.held_by(hold).is_empty();
        let known = state.ledger.known_of(hold).to_vec();
        let is_news = !state.ledger.has_heard(hold, juncture);
        let was_live = state.holds(now).conclude(hold, juncture, came_to, now);
        if was_live || is_news {
            let news = if is_news { came_to } else { &[] };
            let kept = if is_live { &known[..] } else { &[] };
            shared.concluded(hold, juncture, news, &known, kept);
        }
        was_live
    }

    /// Keeps room for a call that a crash left up.
    pub fn adopt(&self, hold: HoldId, held: Vec<BucketRequest>, until: Mono) {
        let mut state = self.state.lock();
        if let Some(shared) = self.shared.get() {
            shared.adopted(hold, held.clone());
        }
        state.ledger.adopt(hold, held, until);
    }

    /// Buckets in which a live hold waits for `event`.
    pub fn waiting_for(&self, hold: HoldId, event: Counts) -> Vec<BucketRequest> {
        self.state.lock().ledger.waiting_for(hold, event)
    }

    pub fn release(&self, hold: HoldId) -> bool {
        let mut state = self.state.lock();
        let Some(shared) = self.shared.get() else { return state.ledger.release(hold) };
        let kept = state.ledger.held_by(hold).to_vec();
        let was_live = state.ledger.release(hold);
        if was_live {
            shared.released(hold, &kept);
        }
        was_live
    }

    pub fn renew(&self, holds: impl IntoIterator<Item = HoldId>, now: Mono) {
        let mut state = self.state.lock();
        for hold in holds {
            state.holds(now).renew(hold, now);
        }
    }
}

//! Room in caps that count calls and pings as they come, where other servers take theirs: it is had
//! before anything is decided, for what is counted at once cannot be taken back.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};
use tokio::sync::oneshot;

use crate::id::{CallId, HoldId, PingId, PoolId};
use crate::reason::Reason;
use crate::routing::hold::{Bucket, BucketRequest, Counts, HoldLedger, NoRoom};
use crate::routing::ping::{PingRefusal, PingRefusals, RefusalCode};
use crate::routing::{Known, RouteRequest, RoutingSnapshot, Usage, offered};
use crate::time::{Mono, Wall};

use super::super::clock;
use super::super::sessions::Looked;
use super::{Deciding, Read, capped};

/// What room is asked for, and the hold it is had by.
pub type Asked = (HoldId, Vec<BucketRequest>);

/// Why a ping is not counted.
pub(super) enum Uncounted {
    Refused(PingRefusal),
    /// Room has to be had first.
    Ask(Asked),
}

/// Why a ping has opened no session.
#[derive(Debug)]
pub enum Unopened {
    Refused(PingRefusals),
    /// Room has to be had first, by [`Deciding::ask_for_room`].
    Ask(Asked),
    /// A number has to be lent first, where others are lent theirs.
    Lend(Lending),
}

/// A number that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lending {
    pub pool: PoolId,
    pub ttl: Duration,
}

/// What came of the question for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedRoom {
    pub hold: HoldId,
    pub requests: Vec<BucketRequest>,
    /// Present: there was none.
    pub denied: Option<NoRoom>,
}

impl Deciding {
    /// What a call is to have room for before it is decided, and the hold it gets it by; `None`:
    /// nothing, or nobody else takes any.
    pub fn offered(
        &self,
        request: &RouteRequest,
        now: Mono,
        looked: Option<&Looked>,
    ) -> Option<Asked> {
        let snapshot = self.snapshot.load();
        if self.shared.get().is_none() || !snapshot.counts_offered() {
            return None;
        }
        let (requests, _) =
            self.consider(&snapshot, request, now, looked, &[], |known, read, _| {
                offered(&snapshot, request, known, &Read { asks: true, ..*read })
            });
        (!requests.is_empty()).then(|| (HoldId::of(request.call, 0, "room"), requests))
    }

    /// Asks where others take theirs. What is granted to somebody who has gone away is given back.
    pub async fn ask_for_room(self: &Arc<Self>, (hold, requests): Asked) -> OfferedRoom {
        let Some(shared) = self.shared().cloned() else {
            return OfferedRoom { hold, requests, denied: None };
        };
        let (this, asked) = (Arc::clone(self), requests.clone());
        let (tell, told) = oneshot::channel();
        // The store is asked to the end: a question that is cut off may have been granted.
        tokio::spawn(async move {
            let denied = this.ask(&shared, hold, &asked).await.err();
            if let Err(None) = tell.send(denied) {
                this.release(hold);
            }
        });
        let denied = told.await.unwrap_or_else(|_| Some(Reason::DecisionFailed.into()));
        OfferedRoom { hold, requests, denied }
    }

    /// Counts a ping in the caps that count pings, if all have room.
    ///
    /// # Errors
    /// One has none, or room has to be asked for first.
    pub(super) fn count_ping(
        &self,
        ledger: &mut HoldLedger,
        requests: &[BucketRequest],
        room: Option<&OfferedRoom>,
        ping: PingId,
        at: Wall,
    ) -> Result<Vec<Bucket>, Uncounted> {
        if requests.is_empty() {
            return Ok(vec![]);
        }
        if let Some(room) = room
            && let Some(no_room) = &room.denied
        {
            return Err(Uncounted::Refused(room.refusal(no_room)));
        }
        let asked = |it: &&BucketRequest| self.shared.get().is_some() && it.leeway.is_none();
        let own = |it: &&BucketRequest| !room.is_some_and(|room| room.has(it));
        let own: Vec<_> = requests.iter().filter(own).cloned().collect();
        ledger.check_room(&own).map_err(|denied| Uncounted::Refused(capped(&denied)))?;
        // One that was not asked for before, for the configuration is another now, is asked for too.
        if own.iter().any(|it| asked(&it)) {
            let requests = requests.iter().filter(asked).cloned().collect();
            return Err(Uncounted::Ask((HoldId::of(CallId(ping.0), 0, "room"), requests)));
        }
        let counted = (HoldId::of(CallId(ping.0), 0, "pinged"), Counts::Pinged);
        Ok(self.count_come(ledger, counted, room, requests, (clock::mono(), at)))
    }

    /// What a call is decided with that came to have this room: where it counts in a strict cap that the
    /// store was not asked for, as its session or the configuration is another now, it finds none there.
    pub(super) fn room_now<'r>(
        &self,
        snapshot: &RoutingSnapshot,
        request: &RouteRequest,
        known: Known<'_>,
        read: &Read<'_>,
        room: Option<&'r OfferedRoom>,
    ) -> Option<Cow<'r, OfferedRoom>> {
        if self.shared.get().is_none() || !snapshot.counts_offered() {
            return None;
        }
        let mut requests = offered(snapshot, request, known, &Read { asks: true, ..*read });
        requests.retain(|it| !room.is_some_and(|room| room.has(it)));
        if requests.is_empty() {
            return room.map(Cow::Borrowed);
        }
        let hold = room.map_or_else(|| HoldId::of(request.call, 0, "room"), |room| room.hold);
        Some(Cow::Owned(OfferedRoom::late(hold, requests)))
    }

    /// Gives back room that nothing came of, or nothing any more. Who goes to be lent a number first comes
    /// again with it.
    pub(super) fn give_back_of(&self, room: Option<&OfferedRoom>, unopened: Option<&Unopened>) {
        if let Some(hold) = room.and_then(OfferedRoom::granted)
            && !matches!(unopened, Some(Unopened::Lend(_)))
        {
            self.release(hold);
        }
    }

    /// Counts in these buckets what has come: by the hold it has, or at once. Nothing of that is held
    /// any more.
    pub(super) fn count_come(
        &self,
        ledger: &mut HoldLedger,
        (hold, event): (HoldId, Counts),
        room: Option<&OfferedRoom>,
        requests: &[BucketRequest],
        (now, at): (Mono, Wall),
    ) -> Vec<Bucket> {
        let mut counted = vec![];
        if let Some(hold) = room.and_then(OfferedRoom::granted) {
            if !requests.is_empty() {
                let kept = ledger.held_by(hold).to_vec();
                counted = ledger.settle(hold, event, now, at).buckets;
                self.tell_settled(hold, event, kept, counted.clone());
            }
            // What is counted is not given back.
            let left = ledger.held_by(hold).to_vec();
            if ledger.release(hold)
                && let Some(shared) = self.shared.get()
            {
                shared.released(hold, &left);
            }
        }
        let is_new = |request: &&BucketRequest| {
            !counted.iter().any(|bucket| bucket.cap == request.bucket.cap)
        };
        let rest: Vec<_> = requests.iter().filter(is_new).cloned().collect();
        if !rest.is_empty() {
            // What was read is as it was, and there was room.
            let at_once = ledger.count(&rest, at);
            self.tell_counted(hold, event, &rest, &at_once);
            counted.extend(at_once);
        }
        counted
    }
}

impl OfferedRoom {
    /// Whether the store has given room.
    pub(super) fn granted(&self) -> Option<HoldId> {
        self.denied.is_none().then_some(self.hold)
    }

    fn has(&self, request: &BucketRequest) -> bool {
        self.requests.iter().any(|it| it.bucket == request.bucket)
    }

    fn refusal(&self, no_room: &NoRoom) -> PingRefusal {
        let full = no_room.cap();
        let full = full.and_then(|cap| self.requests.iter().find(|it| it.bucket.cap == *cap));
        let detail = match full {
            Some(BucketRequest { bucket, counts, limit, .. }) => {
                format_smolstr!(
                    "{} has all of its {} in this window",
                    bucket.cap,
                    counts.show(*limit)
                )
            }
            None => SmolStr::new_static("other servers may have what is left, and cannot be asked"),
        };
        PingRefusal::new("ping", RefusalCode::Capped, detail.as_str())
    }

    /// Nobody has answered in time.
    pub fn late(hold: HoldId, requests: Vec<BucketRequest>) -> Self {
        Self { hold, requests, denied: Some(Reason::CapFullHere.into()) }
    }

    /// Whether nobody could say if there is room in the bucket.
    pub(super) fn withholds(&self, bucket: &Bucket) -> bool {
        self.denied.as_ref().is_some_and(|no_room| no_room.cap().is_none())
            && self.requests.iter().any(|it| it.bucket == *bucket)
    }

    /// How full a bucket is for who has this. Where the store has found room there is some, whatever was
    /// seen since: what is used now may still be seen held. Where it has found none nothing is left.
    pub(super) fn as_read(&self, bucket: &Bucket, usage: Usage) -> Usage {
        let Some(own) = self.requests.iter().find(|it| it.bucket == *bucket) else { return usage };
        match &self.denied {
            None => {
                let others = own.limit.saturating_sub(own.amount);
                let used = usage.used.min(others);
                Usage { used, held: usage.held.saturating_sub(own.amount).min(others - used) }
            }
            Some(no_room) if no_room.cap() != Some(&bucket.cap) => usage,
            Some(_) => {
                Usage { held: usage.held.max(own.limit.saturating_sub(usage.used)), ..usage }
            }
        }
    }
}

impl From<PingRefusals> for Unopened {
    fn from(refusals: PingRefusals) -> Self {
        Self::Refused(refusals)
    }
}

/// Remembers what is to be asked for of one that is refused only for that.
pub(super) fn or_ask(
    counted: Result<Vec<Bucket>, Uncounted>,
    ask: &mut Option<Asked>,
) -> Result<Vec<Bucket>, PingRefusal> {
    counted.map_err(|uncounted| match uncounted {
        Uncounted::Refused(refusal) => refusal,
        Uncounted::Ask(asked) => {
            *ask = Some(asked);
            PingRefusal::new("ping", RefusalCode::Capped, "room has to be asked for")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::hold::Denied;

    const LIMIT: u64 = 3;

    fn room(denied: Option<NoRoom>) -> (OfferedRoom, Bucket) {
        let bucket = Bucket { cap: "campaign/a/offered/total".into(), window: "total".into() };
        let request = BucketRequest {
            bucket: bucket.clone(),
            counts: Counts::Offered,
            limit: LIMIT,
            amount: 1,
            ends_at: None,
            leeway: None,
        };
        let hold = HoldId::of(CallId::from_bytes([1; 16]), 0, "room");
        (OfferedRoom { hold, requests: vec![request], denied }, bucket)
    }

    fn total(usage: Usage) -> u64 {
        usage.used + usage.held
    }

    #[test]
    fn who_was_given_room_finds_it_however_much_is_seen_held() {
        let (room, bucket) = room(None);
        let own_only = room.as_read(&bucket, Usage { used: 1, held: 1 });
        assert_eq!(own_only, Usage { used: 1, held: 0 });
        for (used, held) in [(1, 3), (2, 3), (3, 3), (0, 0)] {
            let read = room.as_read(&bucket, Usage { used, held });
            assert!(total(read) < LIMIT, "{used} used and {held} held: {read:?}");
        }
    }

    #[test]
    fn who_was_denied_room_finds_none_where_it_was_denied() {
        let seen = Usage { used: 1, held: 0 };
        let full = |cap: &str| {
            let bucket = Bucket { cap: cap.into(), window: "total".into() };
            let (counts, used, held, limit) = (Counts::Offered, LIMIT, 0, LIMIT);
            NoRoom::from(Denied { bucket, counts, used, held, limit })
        };
        let (here, bucket) = room(Some(full("campaign/a/offered/total")));
        assert_eq!(total(here.as_read(&bucket, seen)), LIMIT);
        let (elsewhere, bucket) = room(Some(full("publisher/p")));
        assert_eq!(elsewhere.as_read(&bucket, seen), seen);
        assert!(!here.withholds(&bucket) && !elsewhere.withholds(&bucket));
        let (unknown, bucket) = room(Some(Reason::CapFullHere.into()));
        assert_eq!(unknown.as_read(&bucket, seen), seen);
        assert!(unknown.withholds(&bucket));
    }
}

//! Answers to requests that may be sent again (spec/data §2.6).
//!
//! A request is known by its key: the publisher, with the `Idempotency-Key` of the request or else the
//! publisher's own reference. While one is being worked on, another with its key has to wait; for
//! [`KEPT_MS`] of the wall clock after it was taken it gets the same answer, if its body is the same.
//! A request that was refused leaves nothing behind: nothing was made, and it may be mended and sent again.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;

use crate::id::PublisherId;
use crate::time::Wall;

use super::Accepted;

/// How long an answer is kept: 24 hours, in milliseconds.
pub const KEPT_MS: i64 = 24 * 3_600_000;

/// Answers that are kept at most where nobody says, some 200 bytes each, and up to a kilobyte for a visit of
/// which much is left out ([`KeptVisit::left_out`]); of more, the oldest are forgotten.
pub const ANSWERS_MAX: usize = 1_000_000;

/// What a publisher tells its request by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The `Idempotency-Key` of a ping.
    Header(SmolStr),
    /// That of a batch, and which of its pings it is.
    Item(SmolStr, u32),
    /// The publisher's own id of a ping.
    Own(SmolStr),
    /// The `Idempotency-Key` of a visit.
    Visit(SmolStr),
}

/// Publisher and reference: the first half of their SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 16]);

/// What a request says: the first half of the SHA-256 of its body as it was understood, so that the order
/// of fields and blanks do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

/// By what a request is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub key: RequestKey,
    pub fingerprint: Fingerprint,
}

/// An answer that is given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub accepted: Accepted,
    /// Present if it was one to a visit.
    pub visit: Option<Box<KeptVisit>>,
}

/// What the answer to a visit has besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVisit {
    pub visitor: SmolStr,
    pub heartbeat_s: u32,
    /// At most nine names of 64 bytes.
    pub left_out: Vec<SmolStr>,
}

/// What is known of a request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the first: whoever asked answers it, and says so by [`Answers::keep`] or
    /// [`Answers::release`].
    First,
    /// The first is being worked on.
    InProgress,
    /// The same key came before with another body.
    Other,
    Answered(Kept),
}

/// Requests by their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    max: usize,
    known: BTreeMap<RequestKey, Known>,
    /// The oldest first; one that was kept anew since stands there twice.
    ends: VecDeque<(Wall, RequestKey)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    InProgress,
    Answered { fingerprint: Fingerprint, until: Wall, kept: Kept },
}

impl RequestKey {
    pub fn of(publisher: &PublisherId, reference: &Reference) -> Self {
        let (kind, name, place) = match reference {
            Reference::Header(name) => (0, name, 0),
            Reference::Item(name, place) => (1, name, *place),
            Reference::Own(name) => (2, name, 0),
            Reference::Visit(name) => (3, name, 0),
        };
        let mut hash = Sha256::new();
        hash.update([kind]);
        hash.update(u32::to_be_bytes(place));
        // Nobody's name ends where another's goes on.
        hash.update(publisher.as_str().len().to_be_bytes());
        hash.update(publisher.as_str());
        hash.update(name.as_str());
        Self(first_half(&hash.finalize()))
    }

    /// Of a ping that is known by nothing but what it says.
    pub fn of_ping(publisher: &PublisherId, Fingerprint(said): Fingerprint) -> Self {
        let hash = Sha256::new().chain_update([4]).chain_update(said);
        Self(first_half(&hash.chain_update(publisher.as_str()).finalize()))
    }
}

impl Fingerprint {
    /// Of a request whose fields have an order.
    pub fn of(request: &impl Serialize) -> Self {
        let body = serde_json::to_vec(request).expect("what was read from JSON can be written");
        Self(first_half(&Sha256::digest(body)))
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::with_room_for(ANSWERS_MAX)
    }
}

impl Answers {
    pub fn with_room_for(max: usize) -> Self {
        Self { max, known: BTreeMap::new(), ends: VecDeque::new() }
    }

    /// A request came.
    pub fn claim(&mut self, identity: Identity, now: Wall) -> Claim {
        let claim = self.look(identity, now);
        if claim == Claim::First {
            self.known.insert(identity.key, Known::InProgress);
        }
        claim
    }

    /// What a request would find that came now.
    pub fn look(&self, identity: Identity, now: Wall) -> Claim {
        match self.known.get(&identity.key) {
            Some(Known::InProgress) => Claim::InProgress,
            Some(Known::Answered { fingerprint, until, kept }) if now < *until => {
                if *fingerprint == identity.fingerprint {
                    Claim::Answered(kept.clone())
                } else {
                    Claim::Other
                }
            }
            Some(Known::Answered { .. }) | None => Claim::First,
        }
    }

    /// A request that came first was answered, as of `at`.
    pub fn keep(&mut self, identity: Identity, kept: Kept, at: Wall) {
        let until = Wall(at.0.saturating_add(KEPT_MS));
        let fingerprint = identity.fingerprint;
        self.known.insert(identity.key, Known::Answered { fingerprint, until, kept });
        self.ends.push_back((until, identity.key));
        while self.ends.len() > self.max {
            self.forget_oldest();
        }
    }

    /// A request that came first has no answer that is to be kept: it may come again as if it never had.
    pub fn release(&mut self, key: RequestKey) {
        if self.known.get(&key) == Some(&Known::InProgress) {
            self.known.remove(&key);
        }
    }

    /// Puts back an answer from before a restart; the newest has to come first. False: there is no room
    /// for it, nor for older ones.
    pub fn restore(&mut self, identity: Identity, kept: Kept, at: Wall) -> bool {
        if self.ends.len() >= self.max {
            return false;
        }
        let until = Wall(at.0.saturating_add(KEPT_MS));
        let fingerprint = identity.fingerprint;
        let answered = Known::Answered { fingerprint, until, kept };
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.known.entry(identity.key) {
            vacant.insert(answered);
            self.ends.push_front((until, identity.key));
        }
        true
    }

    /// Forgets answers whose time is over; says how many.
    pub fn expire(&mut self, now: Wall) -> usize {
        let before = self.known.len();
        while self.ends.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
        before - self.known.len()
    }

    /// Answers that are kept at most.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Answers that are kept, and requests that are being worked on.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn forget_oldest(&mut self) {
        let Some((end, key)) = self.ends.pop_front() else { return };
        if matches!(self.known.get(&key), Some(Known::Answered { until, .. }) if *until == end) {
            self.known.remove(&key);
        }
    }
}

fn first_half(digest: &[u8]) -> [u8; 16] {
    digest[..16].try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
impl Kept {
    /// To a ping without a number, by which this one is told from others.
    pub(crate) fn of_test(n: u8, expires_at: Wall) -> Self {
        let accepted = Accepted {
            ping: crate::id::PingId::from_bytes([n; 16]),
            session: crate::id::SessionId::from_bytes([n; 16]),
            number: None,
            number_status: super::NumberStatus::NotAsked,
            expires_at,
            promise: None,
            repeated: false,
        };
        Self { accepted, visit: None }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Wall = Wall(1_773_759_852_318);

    #[test]
    fn a_request_gets_its_answer_again_for_a_day_and_another_body_never() {
        let mut answers = Answers::default();
        assert_eq!(answers.claim(request(1, 1), AT), Claim::First);
        assert_eq!(answers.claim(request(1, 1), AT), Claim::InProgress);
        assert_eq!(answers.claim(request(1, 2), AT), Claim::InProgress);
        answers.keep(request(1, 1), answer(7), AT);

        for ms in [-60_000, 0, KEPT_MS - 1] {
            assert_eq!(answers.claim(request(1, 1), after(ms)), Claim::Answered(answer(7)));
            assert_eq!(answers.claim(request(1, 2), after(ms)), Claim::Other);
        }
        assert_eq!(answers.claim(request(1, 2), after(KEPT_MS)), Claim::First, "it is a new one");
        // The time of the old one does not end the new one's.
        answers.keep(request(1, 2), answer(8), after(KEPT_MS));
        answers.expire(after(2 * KEPT_MS - 1));
        assert_eq!(answers.claim(request(1, 2), after(KEPT_MS)), Claim::Answered(answer(8)));
        assert_eq!(answers.expire(after(2 * KEPT_MS)), 1);
        assert!(answers.is_empty());
    }

    #[test]
    fn a_request_that_came_to_nothing_may_come_again_with_another_body() {
        let mut answers = Answers::default();
        answers.claim(request(1, 1), AT);
        answers.release(request(1, 1).key);
        assert_eq!(answers.claim(request(1, 2), AT), Claim::First);
        answers.keep(request(1, 2), answer(7), AT);
        answers.release(request(1, 2).key);
        assert_eq!(answers.claim(request(1, 2), AT), Claim::Answered(answer(7)), "it has one");
    }

    #[test]
    fn of_too_many_answers_the_oldest_are_forgotten_after_a_restart_too() {
        let mut answers = Answers::with_room_for(2);
        for n in 1..=3 {
            answers.claim(request(n, n), AT);
            answers.keep(request(n, n), answer(n), after(i64::from(n)));
        }
        assert_eq!(answers.len(), 2);
        assert_eq!(answers.claim(request(3, 3), AT), Claim::Answered(answer(3)));
        assert_eq!(answers.claim(request(1, 1), AT), Claim::First);
        answers.release(request(1, 1).key);

        let mut restored = Answers::with_room_for(2);
        for n in [3, 2] {
            assert!(restored.restore(request(n, n), answer(n), after(i64::from(n))));
        }
        assert!(!restored.restore(request(1, 1), answer(1), after(1)));
        assert_eq!(restored, answers);
    }

    #[test]
    fn a_key_is_of_its_publisher_and_of_how_it_was_given() {
        let (one, other) = (PublisherId::from("a"), PublisherId::from("ab"));
        let keys = [
            RequestKey::of(&one, &Reference::Header("bc".into())),
            RequestKey::of(&other, &Reference::Header("c".into())),
            RequestKey::of(&one, &Reference::Own("bc".into())),
            RequestKey::of(&one, &Reference::Visit("bc".into())),
            RequestKey::of(&one, &Reference::Item("bc".into(), 0)),
            RequestKey::of(&one, &Reference::Item("bc".into(), 1)),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[n + 1..].contains(key), "{n}");
        }
    }

    proptest! {
        #[test]
        fn of_any_requests_with_one_key_one_is_answered_within_a_day(
            steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..2, 0_i64..9_000_000), 1..200),
        ) {
            let mut answers = Answers::with_room_for(1_000);
            let mut now = 0;
            let mut open = BTreeMap::new();
            let mut answered: BTreeMap<u8, (u8, u8, i64)> = BTreeMap::new();
            for (n, (step, key, body, wait)) in (0_u8..=u8::MAX).cycle().zip(steps) {
                now += wait;
                let id = request(key, body);
                match step {
                    0 | 1 => {
                        let known = answered.get(&key).filter(|(.., at)| now < at + KEPT_MS);
                        let expected = match (open.get(&key), known) {
                            (Some(_), _) => Claim::InProgress,
                            (None, Some((with, answer, _))) if *with == body =>
                                Claim::Answered(self::answer(*answer)),
                            (None, Some(_)) => Claim::Other,
                            (None, None) => Claim::First,
                        };
                        let claim = answers.claim(id, after(now));
                        prop_assert_eq!(&claim, &expected);
                        if claim == Claim::First {
                            open.insert(key, body);
                        }
                    }
                    2 => if let Some(body) = open.remove(&key) {
                        answers.keep(request(key, body), answer(n), after(now));
                        answered.insert(key, (body, n, now));
                    },
                    _ => {
                        if open.remove(&key).is_some() {
                            answers.release(id.key);
                            answered.remove(&key);
                        }
                        answers.expire(after(now));
                    }
                }
            }
        }
    }

    fn request(key: u8, body: u8) -> Identity {
        Identity { key: RequestKey([key; 16]), fingerprint: Fingerprint([body; 16]) }
    }

    fn answer(n: u8) -> Kept {
        Kept::of_test(n, AT)
    }

    fn after(ms: i64) -> Wall {
        Wall(AT.0 + ms)
    }
}

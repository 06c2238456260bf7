//! What of the pings that can be taken is whose, when they are more than that.
//!
//! Max-min fair: whoever sends no more than an equal part has all of it taken, and what it leaves is
//! divided among the others in the same way. Nobody gets more by sending more.
//!
//! Nothing here is written down. Memory is bounded by the publishers of the configuration.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::PublisherId;
use crate::time::Mono;

const SECOND_NS: u64 = 1_000_000_000;
/// Who sent less than one ping in a hundred seconds lately is forgotten.
const FORGOTTEN_MILLI: u64 = 10;
/// Of each publisher's pings so many a second are taken however little room there is.
const LEAST: u64 = 1;

/// What publishers send, and what of it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    senders: BTreeMap<PublisherId, Sender>,
    /// Since boot.
    second: u64,
    /// Pings a second that can be taken of all together. Absent: there is room for all.
    room: Option<u64>,
    /// The largest share of one of them.
    share: u64,
    /// Pings that were taken.
    taken: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sender {
    /// In this second.
    sent: u64,
    taken: u64,
    /// Thousandths of a ping a second, over the last few.
    rate_milli: u64,
}

/// A publisher sends more than its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverShare {
    /// Pings a second.
    pub share: u64,
}

/// For the publisher to read.
impl fmt::Display for OverShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share } = self;
        write!(
            f,
            "fewer pings can be taken at the moment than come; each publisher has {share} a second"
        )
    }
}

impl OverShare {
    /// When to send it again.
    pub fn retry_after_s(&self) -> u32 {
        1
    }
}

impl Shares {
    /// From now on so many pings a second can be taken of all publishers together; `None`: all.
    pub fn set_room(&mut self, room: Option<u64>) {
        if self.room != room {
            self.room = room;
            self.divide();
        }
    }

    /// A ping of the publisher came; it counts as taken if it is within its share.
    ///
    /// # Errors
    /// It is not.
    pub fn handle(&mut self, publisher: &PublisherId, now: Mono) -> Result<(), OverShare> {
        self.turn(now);
        if !self.senders.contains_key(publisher) {
            self.senders.insert(publisher.clone(), Sender::default());
        }
        let sender = self.senders.get_mut(publisher).expect("it is there or was added");
        sender.sent += 1;
        if self.room.is_some() && sender.taken >= self.share {
            return Err(OverShare { share: self.share });
        }
        sender.taken += 1;
        self.taken += 1;
        Ok(())
    }

    /// Pings that were taken since the start.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// A new second may have begun.
    fn turn(&mut self, now: Mono) {
        let second = now.0 / SECOND_NS;
        let passed = second.saturating_sub(self.second);
        if passed == 0 {
            return;
        }
        self.second = second;
        self.senders.retain(|_, sender| {
            let rate = (sender.rate_milli + sender.sent * 1_000) / 2;
            // In all further ones it sent nothing.
            let rate_milli = rate.checked_shr(u32::try_from(passed - 1).unwrap_or(u32::MAX));
            *sender = Sender { rate_milli: rate_milli.unwrap_or(0), ..Sender::default() };
            sender.rate_milli >= FORGOTTEN_MILLI
        });
        self.divide();
    }

    fn divide(&mut self) {
        let Some(room) = self.room else { return };
        let rates = self.senders.values().map(|sender| sender.rate_milli).collect();
        self.share = (fair_share(rates, room.saturating_mul(1_000)) / 1_000).max(LEAST);
    }
}

/// The share that divides `room` among those who want so much: each gets what it wants, but no more than
/// the share. If there is room for all, the share is what is left for one who comes now.
fn fair_share(mut wanted: Vec<u64>, room: u64) -> u64 {
    wanted.sort_unstable();
    let (mut room, mut others) = (room, wanted.len() as u64);
    for one in wanted {
        let share = room / others;
        if one > share {
            return share;
        }
        room -= one;
        others -= 1;
    }
    u64::MAX
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_small_leave_is_divided_among_the_large() {
        assert_eq!(fair_share(vec![10, 100, 1_000], 300), 190);
        assert_eq!(fair_share(vec![1_000, 1_000, 1_000], 300), 100);
        assert_eq!(fair_share(vec![10, 20, 30], 60), u64::MAX, "there is room for all");
        assert_eq!(fair_share(vec![], 60), u64::MAX);
        assert_eq!(fair_share(vec![5], 0), 0);
    }

    #[test]
    fn with_little_room_the_large_are_refused_and_the_small_are_not() {
        let mut shares = Shares::default();
        play(&mut shares, 0, 5);
        shares.set_room(Some(50));
        for second in 5..20 {
            let taken = second_of(&mut shares, second);
            assert_eq!(taken, [2, 10, 38], "in second {second}");
        }
        shares.set_room(None);
        assert_eq!(second_of(&mut shares, 20), [2, 10, 400]);
    }

    #[test]
    fn without_any_room_each_has_one_ping_a_second() {
        let mut shares = Shares::default();
        play(&mut shares, 0, 3);
        shares.set_room(Some(0));
        assert_eq!(second_of(&mut shares, 3), [1, 1, 1]);
        let over = shares.handle(&"large".into(), at(3)).unwrap_err();
        assert_eq!((over.share, over.retry_after_s()), (1, 1));
    }

    #[test]
    fn who_sends_no_more_leaves_its_share_to_the_others_and_is_forgotten() {
        let mut shares = Shares::default();
        play(&mut shares, 0, 5);
        shares.set_room(Some(50));
        for second in 5..30 {
            for _ in 0..400 {
                let _refused = shares.handle(&"large".into(), at(second));
            }
        }
        assert_eq!(shares.senders.keys().collect::<Vec<_>>(), [&PublisherId::from("large")]);
        assert_eq!(shares.share, 50);
    }

    proptest! {
        #[test]
        fn shares_are_max_min_fair(
            wanted in prop::collection::vec(0_u64..10_000, 1..40),
            room in 0_u64..100_000,
            more in 1_u64..10_000,
            who in any::<prop::sample::Index>(),
        ) {
            let share = fair_share(wanted.clone(), room);
            let got = |wanted: &[u64], share: u64| {
                wanted.iter().map(|one| *one.min(&share)).collect::<Vec<_>>()
            };
            let all = got(&wanted, share);
            prop_assert!(all.iter().sum::<u64>() <= room);
            // Nothing is left that one of those who want more could have, but for what does not divide.
            if share < u64::MAX {
                let left = room - all.iter().sum::<u64>();
                prop_assert!(left < wanted.iter().filter(|one| **one > share).count() as u64);
            }
            // Whoever wants more gets no less, and the others no more than before.
            let who = who.index(wanted.len());
            let mut greedier = wanted.clone();
            greedier[who] += more;
            let after = got(&greedier, fair_share(greedier.clone(), room));
            prop_assert!(after[who] >= all[who].min(after[who]));
            for n in (0..wanted.len()).filter(|n| *n != who) {
                prop_assert!(after[n] <= all[n]);
            }
            if wanted[who] > share {
                prop_assert_eq!(&after, &all, "who is over its share gains nothing by wanting more");
            }
        }

        /// Of one publisher no more is taken in a second than its share, and of no one who sends less
        /// than that anything is refused.
        #[test]
        fn a_share_is_kept(
            sent in prop::collection::vec(prop::collection::vec(0_u64..60, 4), 1..20),
            room in 0_u64..200,
        ) {
            let mut shares = Shares::default();
            shares.set_room(Some(room));
            for (second, counts) in (1_u64..).zip(sent) {
                for (n, count) in counts.into_iter().enumerate() {
                    let publisher = PublisherId::from(format!("p{n}").as_str());
                    let taken =
                        (0..count).filter(|_| shares.handle(&publisher, at(second)).is_ok()).count();
                    if count > 0 {
                        prop_assert_eq!(taken as u64, count.min(shares.share));
                    }
                }
            }
        }
    }

    /// Two, ten and four hundred pings a second.
    fn second_of(shares: &mut Shares, second: u64) -> [usize; 3] {
        [("small", 2), ("middling", 10), ("large", 400)].map(|(publisher, count)| {
            (0..count).filter(|_| shares.handle(&publisher.into(), at(second)).is_ok()).count()
        })
    }

    fn play(shares: &mut Shares, from: u64, seconds: u64) {
        for second in from..from + seconds {
            assert_eq!(second_of(shares, second), [2, 10, 400]);
        }
    }

    fn at(second: u64) -> Mono {
        Mono(second * SECOND_NS)
    }
}

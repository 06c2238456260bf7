//! Who may be connected to the REST service, and who makes room for whom.
//!
//! There are so many seats in all, and so many for one source address. A connection for which there is none
//! takes that of the one that has been without a request for longest, of its own source if that has too many.
//! Where all are being answered, it is the one that came last that is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// All seats.
pub(super) struct Seats {
    most: usize,
    of_source_most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    count: usize,
    by_source: BTreeMap<IpAddr, usize>,
    /// Those without a request, the longest first.
    idle: BTreeMap<Turn, (IpAddr, Arc<Notify>)>,
    idle_of: BTreeSet<(IpAddr, Turn)>,
    turns: u64,
}

/// Since when a connection has been without a request.
type Turn = u64;

/// The seat of one connection. Dropping it frees it.
pub(super) struct Seat {
    seats: Arc<Seats>,
    source: IpAddr,
    leave: Arc<Notify>,
    was_anothers: bool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle(Turn),
    Busy,
    /// It is another's.
    Given,
}

impl Seats {
    pub(super) fn new(most: usize, of_source_most: usize) -> Arc<Self> {
        Arc::new(Self { most, of_source_most, taken: Mutex::default() })
    }

    /// A seat for a connection from there, which has no request yet. Whoever has to make room is told. `None`:
    /// all others are being answered.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr) -> Option<Seat> {
        let source = source.to_canonical();
        let mut taken = self.taken.lock();
        let of_source = taken.by_source.get(&source).copied().unwrap_or(0);
        let gives = if of_source >= self.of_source_most {
            Some(taken.idle_of.range((source, 0)..=(source, Turn::MAX)).next()?.1)
        } else if taken.count >= self.most {
            Some(*taken.idle.first_key_value()?.0)
        } else {
            None
        };
        if let Some(turn) = gives {
            taken.give(turn);
        }
        taken.count += 1;
        *taken.by_source.entry(source).or_default() += 1;
        let leave = Arc::new(Notify::new());
        let turn = taken.rest(source, &leave);
        drop(taken);
        let (seats, state) = (Arc::clone(self), Mutex::new(State::Idle(turn)));
        Some(Seat { seats, source, leave, was_anothers: gives.is_some(), state })
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().count
    }
}

impl Taken {
    fn rest(&mut self, source: IpAddr, leave: &Arc<Notify>) -> Turn {
        self.turns += 1;
        self.idle.insert(self.turns, (source, Arc::clone(leave)));
        self.idle_of.insert((source, self.turns));
        self.turns
    }

    /// It is idle no more. Whether it was.
    fn wake(&mut self, source: IpAddr, turn: Turn) -> bool {
        self.idle_of.remove(&(source, turn));
        self.idle.remove(&turn).is_some()
    }

    fn give(&mut self, turn: Turn) {
        let Some((source, leave)) = self.idle.remove(&turn) else { return };
        self.idle_of.remove(&(source, turn));
        self.free(source);
        leave.notify_one();
    }

    fn free(&mut self, source: IpAddr) {
        self.count -= 1;
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Seat {
    /// A request has come. False: the seat is another's by now, and this is the last one to be answered.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        if let State::Idle(turn) = *state {
            let is_still = self.seats.taken.lock().wake(self.source, turn);
            *state = if is_still { State::Busy } else { State::Given };
        }
        *state == State::Busy
    }

    /// It has been answered.
    pub(super) fn rest(&self) {
        let mut state = self.state.lock();
        if *state == State::Busy {
            *state = State::Idle(self.seats.taken.lock().rest(self.source, &self.leave));
        }
    }

    /// Somebody had to make room for it.
    pub(super) fn was_anothers(&self) -> bool {
        self.was_anothers
    }

    /// Returns when the seat is another's.
    pub(super) async fn given(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        match *self.state.get_mut() {
            State::Busy => taken.free(self.source),
            State::Idle(turn) if taken.wake(self.source, turn) => taken.free(self.source),
            State::Idle(_) | State::Given => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const THREE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

    #[test]
    fn who_has_been_without_a_request_for_longest_makes_room() {
        let seats = Seats::new(3, 3);
        let [first, second, third] = [ONE, TWO, ONE].map(|it| seats.take(it).unwrap());
        // The first has been answered since, and the second is being answered.
        assert!(first.begin() && second.begin());
        first.rest();

        let fourth = seats.take(TWO).expect("somebody makes room");
        assert!(fourth.was_anothers() && !third.was_anothers());

        assert_eq!([&first, &second, &third, &fourth].map(is_told), [false, false, true, false]);
        assert!(!third.begin(), "its seat is another's");
        third.rest();
        drop(third);
        assert_eq!(seats.taken(), 3);
        drop([first, fourth]);
        assert_eq!(seats.taken(), 1);
        drop(second);
        assert_eq!((seats.taken(), seats.taken.lock().by_source.len()), (0, 0));
    }

    #[test]
    fn a_source_with_too_many_takes_nothing_from_others() {
        let seats = Seats::new(8, 2);
        let others = [TWO, TWO, THREE].map(|it| seats.take(it).unwrap());
        let mut crowd: Vec<Seat> = vec![];
        for n in 0..10 {
            crowd.push(seats.take(ONE).expect("its own makes room"));
            let told: Vec<_> = crowd.iter().map(is_told).collect();
            let expected: Vec<_> = (0..=n).map(|it| it + 2 == n).collect();
            assert_eq!(told, expected, "after {n}");
        }
        assert_eq!((seats.taken(), others.each_ref().map(is_told)), (5, [false; 3]));
        // The same machine, as a socket of both families has it.
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert!(crowd[8..].iter().all(Seat::begin), "both are being answered");
        assert!(seats.take(mapped).is_none() && seats.take(ONE).is_none());
        assert!(seats.take(THREE).is_some());
    }

    #[test]
    fn where_all_are_being_answered_nobody_is_sent_away() {
        let seats = Seats::new(2, 2);
        let both = [ONE, TWO].map(|it| seats.take(it).unwrap());
        assert!(both.iter().all(Seat::begin));
        assert!(seats.take(THREE).is_none());
        both[1].rest();
        assert!(seats.take(THREE).is_some());
        assert_eq!(both.each_ref().map(is_told), [false, true]);
    }

    /// Told since it was last looked at.
    fn is_told(seat: &Seat) -> bool {
        use std::future::Future;
        use std::task::{Context, Waker};
        let given = std::pin::pin!(seat.given());
        given.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

//! What all shards think of the addresses of targets (spec/sip T17).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{counter, gauge};
use parking_lot::Mutex;

use crate::id::TargetId;
use crate::sip::call::plan::Destination;
use crate::sip::flow::Transport;
use crate::sip::locate::choice::{Order, order};
use crate::sip::locate::{Failing, Health, HealthRules, Location};
use crate::time::Mono;

use super::metrics as names;

/// Addresses by what calls to them, and probes, have shown. One that nothing bad is known of is not
/// among them.
#[derive(Debug)]
pub(super) struct Standing {
    rules: HealthRules,
    rated: Mutex<BTreeMap<Address, Health>>,
    /// Where each target is that is probed.
    probed: Mutex<BTreeMap<TargetId, Vec<Address>>>,
    /// Targets whose requests were found too long for a datagram.
    long: Mutex<BTreeSet<TargetId>>,
    /// Targets whose calls were bridged, though their delivery is another.
    bridged: Mutex<BTreeSet<TargetId>>,
    /// How many `rated` holds, so that a call need not look into it when it holds none.
    count: AtomicUsize,
}

pub(super) type Address = (Transport, SocketAddr);

/// Most addresses that are rated at a time.
const RATED_MAX: usize = 65_536;

impl Standing {
    pub(super) fn new(rules: HealthRules) -> Self {
        let (rated, probed) = (Mutex::default(), Mutex::default());
        let (long, bridged) = <(Mutex<_>, Mutex<_>)>::default();
        Self { rules, rated, probed, long, bridged, count: AtomicUsize::new(0) }
    }

    /// The order in which a call tries the addresses of its target.
    pub(super) fn order<'a>(&self, locations: &'a [Location], draw: u64, now: Mono) -> Order<'a> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return order(locations, draw, |_| false);
        }
        let rated = self.rated.lock();
        order(locations, draw, |location| {
            let health = rated.get(&(location.transport, location.peer));
            health.is_some_and(|health| health.is_down(now))
        })
    }

    /// Whether an address is to be tried after all others.
    pub(super) fn is_down(&self, address: Address, now: Mono) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && self.rated.lock().get(&address).is_some_and(|health| health.is_down(now))
    }

    /// A call goes to this address. Not when it is planned: whoever is to be called after others may
    /// never be.
    pub(super) fn tried(&self, address: Address, now: Mono) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(health) = self.rated.lock().get_mut(&address) {
            health.begin_trial(now);
        }
    }

    /// What a call has learnt of an address.
    pub(super) fn rate(&self, address: Address, how: Result<(), Failing>, now: Mono) {
        if how.is_ok() && self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Err(how) = how {
            let why = match how {
                Failing::Gone => "gone",
                Failing::Unavailable { .. } => "unavailable",
            };
            counter!(names::ADDRESS_FAILURES, "reason" => why).increment(1);
        }
        self.change(address, |health, rules| match how {
            Ok(()) => health.answered(),
            Err(how) => health.failed(how, rules, now),
        });
    }

    /// These targets are probed at these addresses from now on, and no others.
    pub(super) fn watch(&self, probed: BTreeMap<TargetId, Vec<Address>>) {
        let known: BTreeSet<Address> = probed.values().flatten().copied().collect();
        let mut rated = self.rated.lock();
        for (_, health) in rated.iter_mut().filter(|(address, _)| !known.contains(address)) {
            health.unprobed();
        }
        rated.retain(|_, health| !health.is_spotless());
        self.count.store(rated.len(), Ordering::Relaxed);
        *self.probed.lock() = probed;
    }

    /// Whether it is the first time that a request to this target is too long. There are no more of
    /// them than targets.
    pub(super) fn is_first_long(&self, target: &TargetId) -> bool {
        self.long.lock().insert(target.clone())
    }

    /// Whether it is the first time that a call to this target is bridged against its delivery.
    pub(super) fn is_first_bridged(&self, target: &TargetId) -> bool {
        self.bridged.lock().insert(target.clone())
    }

    /// What probes have found of an address.
    pub(super) fn probed(&self, address: Address, up: bool) {
        let (transport, peer) = address;
        if up {
            tracing::info!(%transport, %peer, "an address of a target answers probes again");
        } else {
            tracing::warn!(%transport, %peer, "an address of a target does not answer probes");
        }
        self.change(address, |health, _| health.probed(up));
    }

    /// The targets that probes find at none of their addresses.
    pub(super) fn down(&self) -> BTreeSet<TargetId> {
        let (probed, rated) = (self.probed.lock(), self.rated.lock());
        let is_down = |address: &Address| rated.get(address).is_some_and(Health::is_probed_down);
        let down = probed.iter().filter(|(_, addresses)| addresses.iter().all(is_down));
        for (target, addresses) in probed.iter() {
            let up = addresses.iter().filter(|address| !is_down(address)).count();
            gauge!(names::TARGET_ADDRESSES_UP, "target" => target.to_string()).set(up as f64);
        }
        down.map(|(target, _)| target.clone()).collect()
    }

    fn change(&self, address: Address, change: impl FnOnce(&mut Health, &HealthRules)) {
        let mut rated = self.rated.lock();
        if !rated.contains_key(&address) && rated.len() >= RATED_MAX {
            return;
        }
        let health = rated.entry(address).or_default();
        change(health, &self.rules);
        if health.is_spotless() {
            rated.remove(&address);
        }
        self.count.store(rated.len(), Ordering::Relaxed);
    }

    /// Forgets addresses that nothing was heard of for long; said now and then.
    pub(super) fn sweep(&self, now: Mono) {
        let mut rated = self.rated.lock();
        rated.retain(|_, health| !health.is_old(&self.rules, now));
        self.count.store(rated.len(), Ordering::Relaxed);
        let down = rated.values().filter(|health| health.is_down(now)).count();
        gauge!(names::ADDRESSES_DOWN).set(down as f64);
    }
}

/// A call's places in the order in which they are tried: the first, and the others, the next one
/// last.
pub(super) fn places(order: &Order<'_>) -> Option<(Destination, Option<Vec<Destination>>)> {
    let (first, further) = order.split_first()?;
    let further = (!further.is_empty()).then(|| {
        further.iter().rev().map(|location| super::addresses::destination(location)).collect()
    });
    Some((super::addresses::destination(first), further))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULES: HealthRules =
        HealthRules { penalty: Duration::from_secs(30), penalty_max: Duration::from_secs(300) };

    #[test]
    fn calls_that_do_not_go_there_leave_an_address_its_trial() {
        let standing = Standing::new(RULES);
        let second = Location { rank: 1, entry: 2, ..at(2) };
        let locations = [second, at(1)];
        let address = |location: &Location| (location.transport, location.peer);
        standing.rate(address(&locations[0]), Err(Failing::Gone), Mono(0));
        let over = Mono(0) + RULES.penalty;
        let first = || standing.order(&locations, 1, over)[0].peer;

        for _ in 0..10 {
            assert_eq!(first(), locations[0].peer, "all of them are planned to begin there");
            standing.tried(address(&locations[1]), over);
        }
        standing.tried(address(&locations[0]), over);
        assert_eq!(first(), locations[1].peer, "until one does");
    }

    #[test]
    fn an_address_that_failed_is_tried_last_by_all_and_its_neighbours_as_before() {
        let standing = Standing::new(RULES);
        let locations = [at(1), at(2), at(3)];
        let address = (Transport::Udp, locations[1].peer);

        standing.rate(address, Err(Failing::Gone), Mono(0));

        for draw in 0..50 {
            let before = order(&locations, draw, |_| false);
            let now = standing.order(&locations, draw, Mono(1));
            let others = before.into_iter().filter(|it| it.peer != address.1);
            let expected: Vec<_> = others.chain([&locations[1]]).collect();
            assert_eq!(now.to_vec(), expected);
        }
        standing.rate(address, Ok(()), Mono(2));
        assert_eq!(standing.order(&locations, 7, Mono(3)), order(&locations, 7, |_| false));
        assert_eq!(standing.rated.lock().len(), 0, "nothing bad is known any more");
    }

    #[test]
    fn what_was_bad_long_ago_is_forgotten() {
        let standing = Standing::new(RULES);
        standing.rate((Transport::Udp, at(1).peer), Err(Failing::Gone), Mono(0));

        standing.sweep(Mono(30_000_000_000));
        assert_eq!(standing.rated.lock().len(), 1, "a further failure would count double");
        standing.sweep(Mono(331_000_000_000));
        assert_eq!(standing.rated.lock().len(), 0);
    }

    #[test]
    fn the_other_places_are_taken_from_the_end() {
        let locations = [at(1), at(2), at(3)];

        let (first, further) = places(&locations.iter().collect()).unwrap();

        let hosts = [first.peer, further.as_ref().unwrap()[1].peer, further.unwrap()[0].peer];
        assert_eq!(hosts, [locations[0].peer, locations[1].peer, locations[2].peer]);
        assert_eq!(places(&locations[..1].iter().collect()).unwrap().1, None);
    }

    fn at(host: u8) -> Location {
        let peer = SocketAddr::from(([192, 0, 2, host], 5060));
        let (rank, entry, weight) = (0, 0, 0);
        Location { transport: Transport::Udp, peer, rank, entry, weight, tcp_port: None }
    }
}

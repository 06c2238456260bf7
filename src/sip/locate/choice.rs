//! In which order the locations of one call are tried: by rank, within a rank by chance and weight
//! (RFC 2782), and what is rated down last.

use smallvec::SmallVec;

use super::steps::Location;

/// Locations in the order in which they are tried.
pub type Order<'a> = SmallVec<[&'a Location; 4]>;

/// All of `locations`, which are sorted by rank and entry. `draw` is chance: calls with other
/// numbers are spread by weight, the same number gives the same order. Those that `is_down` says are
/// down come last, in the same order among themselves.
pub fn order<'a>(
    locations: &'a [Location],
    draw: u64,
    is_down: impl Fn(&Location) -> bool,
) -> Order<'a> {
    let mut chance = Chance(draw);
    let mut chosen = Order::new();
    for rank in locations.chunk_by(|one, other| one.rank == other.rank) {
        let mut hosts: SmallVec<[&[Location]; 4]> =
            rank.chunk_by(|one, other| one.entry == other.entry).collect();
        while !hosts.is_empty() {
            let host = hosts.remove(draw_by_weight(&hosts, &mut chance));
            push_addresses(host, &mut chance, &mut chosen);
        }
    }
    if locations.len() < 2 {
        return chosen;
    }
    let (down, mut up): (Order<'_>, Order<'_>) = chosen.into_iter().partition(|it| is_down(it));
    up.extend(down);
    up
}

/// RFC 2782: a number up to the sum of the weights falls on one of them; those without weight have
/// a small chance.
fn draw_by_weight(hosts: &[&[Location]], chance: &mut Chance) -> usize {
    let weight = |host: &&[Location]| host.first().map_or(0, |it| u64::from(it.weight));
    let sum: u64 = hosts.iter().map(weight).sum();
    if sum == 0 {
        return chance.below(hosts.len());
    }
    let mut left = chance.up_to(sum);
    if left == 0
        && let Some(weightless) = hosts.iter().position(|host| weight(host) == 0)
    {
        return weightless;
    }
    for (position, host) in hosts.iter().enumerate() {
        let weight = weight(host);
        if weight > 0 && left <= weight {
            return position;
        }
        left -= weight;
    }
    hosts.len() - 1
}

/// The addresses of one host: each may be first among those of its family.
fn push_addresses<'a>(host: &'a [Location], chance: &mut Chance, chosen: &mut Order<'a>) {
    for family in host.chunk_by(|one, other| one.peer.is_ipv4() == other.peer.is_ipv4()) {
        let first = chance.below(family.len());
        let (before, after) = family.split_at(first);
        chosen.extend(after.iter().chain(before));
    }
}

/// Numbers that follow from one (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `0..=most`.
    fn up_to(&mut self, most: u64) -> u64 {
        // The high part of the product is spread evenly enough for any sum of weights.
        ((u128::from(self.next()) * (u128::from(most) + 1)) >> 64) as u64
    }

    /// `0..len`; 0 of nothing.
    fn below(&mut self, len: usize) -> usize {
        match len {
            0 | 1 => 0,
            len => usize::try_from(self.up_to(len as u64 - 1)).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;
    use crate::sip::flow::Transport;

    const CALLS: u64 = 20_000;

    #[test]
    fn calls_are_spread_by_weight_within_a_rank_and_never_begin_with_a_higher_one() {
        let locations = [at(1, 0, 0, 60), at(2, 0, 1, 30), at(3, 0, 2, 10), at(4, 1, 3, 65_535)];

        let first = shares(&locations, 0);

        assert!(!first.contains_key(&4), "{first:?}");
        for (host, percent) in [(1, 60), (2, 30), (3, 10)] {
            let share = first[&host] * 100 / CALLS;
            assert!((percent - 2..=percent + 2).contains(&share), "{host} has {share} %");
        }
        let last = shares(&locations, 3);
        assert_eq!(last.keys().copied().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn what_has_no_weight_beside_what_has_is_hardly_ever_first_and_alone_as_often_as_its_like() {
        let first = shares(&[at(1, 0, 0, 0), at(2, 0, 1, 100)], 0);
        assert!(first[&1] * 100 / CALLS < 3, "{first:?}");
        assert!(first[&1] > 0, "{first:?}");

        let first = shares(&[at(1, 0, 0, 0), at(2, 0, 1, 0)], 0);
        assert!((45..=55).contains(&(first[&1] * 100 / CALLS)), "{first:?}");
    }

    #[test]
    fn addresses_of_one_host_take_turns_as_the_first() {
        let host = [at(1, 0, 0, 5), at(2, 0, 0, 5), at(3, 0, 0, 5)];

        let first = shares(&host, 0);

        for share in first.values() {
            assert!((30..=36).contains(&(share * 100 / CALLS)), "{first:?}");
        }
    }

    #[test]
    fn what_is_down_is_tried_last_and_never_not_at_all() {
        let locations = [at(1, 0, 0, 10), at(2, 0, 1, 10), at(3, 1, 2, 0)];

        for draw in 0..100 {
            let chosen = order(&locations, draw, |it| host(it) < 3);
            assert_eq!(host(chosen[0]), 3);
            assert_eq!(chosen.len(), 3);
            assert_eq!(order(&locations, draw, |_| true), order(&locations, draw, |_| false));
        }
    }

    #[test]
    fn the_same_number_gives_the_same_order() {
        let locations: Vec<_> = (0..9).map(|n| at(n, 0, u16::from(n), 7)).collect();

        assert_eq!(order(&locations, 42, |_| false), order(&locations, 42, |_| false));
        assert_ne!(order(&locations, 42, |_| false), order(&locations, 43, |_| false));
    }

    /// How often which host has which place.
    fn shares(locations: &[Location], place: usize) -> BTreeMap<u8, u64> {
        let mut shares = BTreeMap::new();
        for call in 0..CALLS {
            *shares.entry(host(order(locations, call, |_| false)[place])).or_default() += 1;
        }
        shares
    }

    fn at(host: u8, rank: u16, entry: u16, weight: u16) -> Location {
        let peer = SocketAddr::from(([192, 0, 2, host], 5060));
        Location { transport: Transport::Udp, peer, rank, entry, weight, tcp_port: None }
    }

    fn host(location: &Location) -> u8 {
        match location.peer {
            SocketAddr::V4(peer) => peer.ip().octets()[3],
            SocketAddr::V6(_) => 0,
        }
    }
}

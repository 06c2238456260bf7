//! Who is refused before any state exists (spec/sip O1, S2, S5, S13).
//!
//! What opens nothing passes: a message of a call that is up, a CANCEL, a repetition are never
//! counted here. Sources are told apart by address, in a table that never grows: a crowd of forged
//! addresses displaces older ones, which costs these the memory of what they did and nothing else.
//! Nobody is banned: an address on UDP proves nothing (spec/sip S3).

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::time::Mono;

/// A token bucket: so many at once, and so many a second after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub per_s: u32,
    /// At least 1.
    pub burst: u32,
}

impl Rate {
    /// A trunk's, unless it says otherwise (spec/data §11.2).
    pub const OF_A_TRUNK: Self = Self { per_s: 500, burst: 2000 };
    /// That of a source which is let in, but has nothing to open here.
    pub const OF_A_PEER: Self = Self { per_s: 20, burst: 60 };
}

/// How much may be open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Calls that are up or being set up.
    pub calls_max: usize,
    /// Calls whose caller has not confirmed an answer yet.
    pub half_open_max: usize,
    /// The same, from one address.
    pub half_open_per_source_max: u32,
    pub transactions_max: usize,
    /// Each of so many endpoints sees its share of what a source sends.
    pub shares: u32,
}

/// Why a request that would open something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The process is being taken out of service.
    Draining,
    /// It is behind its work.
    Behind,
    /// It has used up its memory.
    Memory,
    Calls,
    HalfOpen,
    HalfOpenSource,
    Transactions,
    /// The source is over its rate.
    Rate,
}

impl Busy {
    pub const ALL: [Self; 8] = [
        Self::Draining,
        Self::Behind,
        Self::Memory,
        Self::Calls,
        Self::HalfOpen,
        Self::HalfOpenSource,
        Self::Transactions,
        Self::Rate,
    ];

    /// The label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Behind => "behind",
            Self::Memory => "memory",
            Self::Calls => "calls",
            Self::HalfOpen => "half_open",
            Self::HalfOpenSource => "half_open_source",
            Self::Transactions => "transactions",
            Self::Rate => "rate",
        }
    }
}

/// Whether a source may ask for anything at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admit,
    /// Say so: 503.
    Refuse,
    /// It has been told often enough.
    Ignore,
}

/// Refusals a source hears before there is silence, until it has kept quiet for as long as its
/// bucket takes to fill.
pub const REFUSALS_MAX: u16 = 16;

/// Addresses that share a place in the table.
const WAYS: usize = 4;
const SETS: usize = 1024;

/// Sources and what they have open.
#[derive(Clone, Debug)]
pub struct Gate {
    caps: Caps,
    hash: FixedState,
    sources: Box<[Option<Source>]>,
    half_open: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    network: u128,
    /// Up to when it has used up what it may send: the theoretical arrival time of the generic
    /// cell rate algorithm.
    used_up_to: Mono,
    /// Refused since the bucket was last full.
    refused: u16,
    half_open: u32,
    seen: Mono,
}

impl Gate {
    /// `seed` keeps others from choosing addresses that share a place.
    pub fn new(caps: Caps, seed: u64) -> Self {
        Self {
            caps,
            hash: FixedState::with_seed(seed),
            sources: vec![None; SETS * WAYS].into_boxed_slice(),
            half_open: 0,
        }
    }

    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Counts a request that would open something.
    pub fn take(&mut self, ip: IpAddr, rate: Rate, now: Mono) -> Verdict {
        let shares = u64::from(self.caps.shares.max(1));
        let interval = 1_000_000_000 * shares / u64::from(rate.per_s.max(1));
        let burst = u64::from(rate.burst.max(1)).div_ceil(shares) * interval;
        let source = self.source(ip, now);
        if source.used_up_to <= now {
            (source.used_up_to, source.refused) = (now, 0);
        }
        let next = source.used_up_to.0 + interval;
        if next <= now.0.saturating_add(burst) {
            source.used_up_to = Mono(next);
            return Verdict::Admit;
        }
        source.refused = source.refused.saturating_add(1);
        if source.refused > REFUSALS_MAX { Verdict::Ignore } else { Verdict::Refuse }
    }

    /// Whether one more half-open call from there is too many.
    pub fn room(&mut self, ip: IpAddr, now: Mono) -> Result<(), Busy> {
        if self.half_open >= self.caps.half_open_max {
            return Err(Busy::HalfOpen);
        }
        let max = self.caps.half_open_per_source_max;
        if self.source(ip, now).half_open >= max { Err(Busy::HalfOpenSource) } else { Ok(()) }
    }

    /// A call came from there and is not confirmed yet.
    pub fn opened(&mut self, ip: IpAddr, now: Mono) {
        self.half_open += 1;
        self.source(ip, now).half_open += 1;
    }

    /// It is now, or is over.
    pub fn settled(&mut self, ip: IpAddr) {
        self.half_open = self.half_open.saturating_sub(1);
        let network = network_of(ip);
        let set = self.set(network);
        let known = self.sources[set].iter_mut().flatten().find(|it| it.network == network);
        if let Some(source) = known {
            source.half_open = source.half_open.saturating_sub(1);
        }
    }

    pub fn half_open(&self) -> usize {
        self.half_open
    }

    /// The entry of this address. A new one takes the place of whom nobody heard for longest, of
    /// those without open calls if there is one.
    fn source(&mut self, ip: IpAddr, now: Mono) -> &mut Source {
        let network = network_of(ip);
        let set = self.set(network);
        let places = &mut self.sources[set];
        let known = places.iter().position(|it| it.is_some_and(|it| it.network == network));
        let place = known.unwrap_or_else(|| {
            let oldest = places
                .iter()
                .enumerate()
                .min_by_key(|(_, place)| place.map(|source| (source.half_open > 0, source.seen)));
            oldest.map_or(0, |(place, _)| place)
        });
        let fresh = Source { network, used_up_to: now, refused: 0, half_open: 0, seen: now };
        let source = match (&mut places[place], known) {
            (Some(source), Some(_)) => source,
            (place, _) => place.insert(fresh),
        };
        source.seen = now;
        source
    }

    fn set(&self, network: u128) -> std::ops::Range<usize> {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u128(network);
        let set = usize::try_from(hasher.finish() % (SETS as u64)).unwrap_or(0);
        set * WAYS..(set + 1) * WAYS
    }
}

/// An IPv4 address, or the /64 of an IPv6 one, of which one party has all addresses.
fn network_of(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip) & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_s: 10, burst: 20 };
    const CAPS: Caps = Caps {
        calls_max: 100,
        half_open_max: 5,
        half_open_per_source_max: 3,
        transactions_max: 100,
        shares: 1,
    };

    #[test]
    fn a_source_may_burst_then_hears_503_a_few_times_and_then_nothing() {
        let mut gate = Gate::new(CAPS, 7);
        let mut verdicts = |at_ms, count: usize| {
            let take = |_| gate.take(ip("192.0.2.1"), RATE, ms(at_ms));
            let found: Vec<_> = (0..count).map(take).collect();
            let of = |wanted| found.iter().filter(|verdict| **verdict == wanted).count();
            [of(Verdict::Admit), of(Verdict::Refuse), of(Verdict::Ignore)]
        };

        assert_eq!(verdicts(0, 100), [20, 16, 64]);
        assert_eq!(verdicts(500, 100), [5, 0, 95], "its rate, and silence beyond it");
        assert_eq!(verdicts(2_000, 15), [15, 0, 0]);
        assert_eq!(verdicts(9_000, 30), [20, 10, 0], "it kept quiet, and is told again");
    }

    #[test]
    fn what_one_source_does_costs_no_other_anything() {
        let mut gate = Gate::new(CAPS, 7);
        for _ in 0..1_000 {
            gate.take(ip("192.0.2.1"), RATE, ms(0));
        }

        assert_eq!(gate.take(ip("192.0.2.2"), RATE, ms(0)), Verdict::Admit);
        assert_eq!(gate.take(ip("2001:db8::1"), RATE, ms(0)), Verdict::Admit);
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_are_one_source() {
        let mut gate = Gate::new(CAPS, 7);
        let admitted = (0..100)
            .filter(|n| gate.take(ip(&format!("2001:db8::{n}")), RATE, ms(0)) == Verdict::Admit);
        assert_eq!(admitted.count(), 20);

        assert_eq!(gate.take(ip("2001:db8:0:1::1"), RATE, ms(0)), Verdict::Admit);
    }

    #[test]
    fn each_of_several_endpoints_grants_its_share() {
        let mut gate = Gate::new(Caps { shares: 4, ..CAPS }, 7);
        let mut admitted = |at_ms| {
            (0..100)
                .filter(|_| gate.take(ip("192.0.2.1"), RATE, ms(at_ms)) == Verdict::Admit)
                .count()
        };

        assert_eq!((admitted(0), admitted(1_000)), (5, 2));
    }

    #[test]
    fn half_open_calls_have_a_cap_for_each_source_and_for_all() {
        let mut gate = Gate::new(CAPS, 7);
        let (first, second) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(gate.room(first, ms(0)), Ok(()));
            gate.opened(first, ms(0));
        }
        assert_eq!(gate.room(first, ms(0)), Err(Busy::HalfOpenSource));
        for _ in 0..2 {
            assert_eq!(gate.room(second, ms(0)), Ok(()));
            gate.opened(second, ms(0));
        }
        assert_eq!(gate.room(second, ms(0)), Err(Busy::HalfOpen));

        gate.settled(first);

        assert_eq!((gate.room(first, ms(0)), gate.room(second, ms(0))), (Ok(()), Ok(())));
        assert_eq!(gate.half_open(), 4);
    }

    /// spec/sip S2.
    #[test]
    fn a_million_forged_addresses_take_no_more_room_than_a_few_and_spare_who_has_calls() {
        let mut gate = Gate::new(CAPS, 7);
        let trunk = ip("192.0.2.1");
        gate.opened(trunk, ms(0));
        for n in 0..1_000_000_u32 {
            let forged = IpAddr::V4((0x0a00_0000 + n).into());
            assert_eq!(gate.take(forged, RATE, ms(1 + u64::from(n) / 100)), Verdict::Admit);
        }

        assert_eq!(gate.source(trunk, ms(20_000)).half_open, 1);
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ms(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }
}

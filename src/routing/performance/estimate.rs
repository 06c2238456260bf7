//! What a call is worth at a target: chances as Beta posteriors, in whole millionths.

use std::fmt;

use crate::money::Money;

use super::super::config::{CountAttempts, PerformanceConfig};
use super::super::decision::Terms;
use super::{ScopeKind, Tallies, Tally};

/// A probability, and how far it may well be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::routing) struct Chance {
    pub ppm: u32,
    /// Standard deviation.
    pub spread_ppm: u32,
}

/// What is expected of a call at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::routing) struct Estimate {
    pub connect: Chance,
    /// Of a call that was connected.
    pub convert: Chance,
    /// Attempts it is drawn from.
    pub attempts: u32,
    /// Absent: no scope had calls enough, and the default stands in.
    pub scope: Option<ScopeKind>,
    /// Attempts in the narrowest scope that is tracked.
    pub own_attempts: u32,
    /// Expected revenue less expected payout.
    pub value: Money,
}

const MILLION: u64 = 1_000_000;

impl Chance {
    /// The mean of the Beta posterior of `hits` among `of`, when `prior_calls` were expected to hit
    /// with `prior_ppm`.
    pub(super) fn of(hits: u32, of: u32, prior_ppm: u32, prior_calls: u32) -> Self {
        let weight = u64::from(of) + u64::from(prior_calls);
        let hits =
            u64::from(hits.min(of)) * MILLION + u64::from(prior_calls) * u64::from(prior_ppm);
        let ppm = hits.checked_div(weight).unwrap_or_else(|| prior_ppm.into()).min(MILLION);
        let spread_ppm = (ppm * (MILLION - ppm) / (weight + 1)).isqrt();
        let small = |ppm| u32::try_from(ppm).unwrap_or(u32::MAX);
        Self { ppm: small(ppm), spread_ppm: small(spread_ppm) }
    }

    const CERTAIN: Self = Self { ppm: 1_000_000, spread_ppm: 0 };
}

impl Estimate {
    pub(in crate::routing) fn new(
        rules: &PerformanceConfig,
        tallies: &Tallies,
        terms: Option<Terms>,
    ) -> Self {
        let attempts = |tally: &Tally| match rules.count_attempts_on {
            CountAttempts::Dial => tally.dialed,
            CountAttempts::Connect => tally.connected,
        };
        let mut tracked = ScopeKind::ALL
            .into_iter()
            .zip(tallies)
            .filter(|(kind, _)| rules.track_by.contains(kind));
        let own_attempts = tracked.clone().next().map_or(0, |(_, tally)| attempts(tally));
        let enough = tracked.find(|(_, tally)| attempts(tally) >= rules.min_calls);
        let tally = enough.map(|(_, tally)| *tally).unwrap_or_default();
        let (percent, calls) = (|percent: u32| percent * 10_000, rules.default_calls);
        let connect = match rules.count_attempts_on {
            CountAttempts::Dial => {
                Chance::of(tally.connected, tally.dialed, percent(rules.default_connect_pct), calls)
            }
            CountAttempts::Connect => Chance::CERTAIN,
        };
        let prior = percent(rules.default_convert_pct);
        let convert = Chance::of(tally.converted, tally.connected, prior, calls);
        Self {
            connect,
            convert,
            attempts: attempts(&tally),
            scope: enough.map(|(kind, _)| kind),
            own_attempts,
            value: terms.map_or(Money::ZERO, |terms| value(terms, connect, convert)),
        }
    }
}

/// A payout that falls due before the conversion is owed for every connected call, as far as one can
/// tell; else it comes with the conversion.
fn value(terms: Terms, connect: Chance, convert: Chance) -> Money {
    let million = i128::from(MILLION);
    let connected = i128::from(connect.ppm);
    let converted = connected * i128::from(convert.ppm) / million;
    let owed = if terms.payout_seconds < terms.seconds { connected } else { converted };
    let (revenue, payout) = (i128::from(terms.revenue.0), i128::from(terms.payout.0));
    let value = (revenue * converted - payout * owed) / million;
    Money(i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
}

/// As a percentage, such as `31.4 % ± 2.0`.
impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |ppm: u32| (ppm + 500) / 1_000;
        let (mean, spread) = (tenths(self.ppm), tenths(self.spread_ppm));
        write!(f, "{}.{} % ± {}.{}", mean / 10, mean % 10, spread / 10, spread % 10)
    }
}

/// For explanations.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect, convert, attempts, scope, value, .. } = self;
        // To the hundredth.
        let value = Money(value.0 / 10_000 * 10_000);
        write!(f, "expected {value}: connects {connect}, converts {convert}, by ")?;
        match scope {
            Some(scope) => {
                let calls = if *attempts == 1 { "call" } else { "calls" };
                write!(f, "{attempts} {calls} of {}", scope.name())
            }
            None => f.write_str("default, for want of calls"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_the_means_of_their_posteriors() {
        // (10 × 0.5 + 30) / (10 + 50), and the root of 0.583 × 0.417 / 61.
        let chance = Chance::of(30, 50, 500_000, 10);
        assert_eq!(chance, Chance { ppm: 583_333, spread_ppm: 63_123 });
        assert_eq!(chance.to_string(), "58.3 % ± 6.3");
        assert_eq!(Chance::of(0, 0, 250_000, 0).ppm, 250_000);
        assert_eq!(Chance::of(9, 3, 0, 0).ppm, 1_000_000, "no more hits than attempts");
    }

    #[test]
    fn the_narrowest_scope_with_calls_enough_speaks() {
        let rules = PerformanceConfig { min_calls: 30, ..PerformanceConfig::default() };
        let speaks = |dialed: [u32; 4]| {
            let tallies = dialed.map(|dialed| Tally { dialed, ..Tally::default() });
            let estimate = Estimate::new(&rules, &tallies, None);
            (estimate.scope, estimate.attempts, estimate.own_attempts)
        };
        assert_eq!(speaks([30, 40, 50, 60]), (Some(ScopeKind::TargetPublisherCampaign), 30, 30));
        assert_eq!(speaks([29, 29, 50, 60]), (Some(ScopeKind::Target), 50, 29));
        assert_eq!(speaks([0, 0, 1, 30]), (Some(ScopeKind::Buyer), 30, 0));
        assert_eq!(speaks([1, 2, 3, 29]), (None, 0, 1));
    }

    #[test]
    fn only_the_scopes_that_are_tracked_speak() {
        let rules = PerformanceConfig {
            track_by: vec![ScopeKind::Target],
            count_attempts_on: CountAttempts::Connect,
            ..PerformanceConfig::default()
        };
        let tally =
            |connected| Tally { dialed: 1_000, connected, converted: 20, ..Tally::default() };
        let estimate = Estimate::new(&rules, &[200, 300, 40, 500].map(tally), None);
        assert_eq!((estimate.scope, estimate.attempts), (Some(ScopeKind::Target), 40));
        assert_eq!((estimate.own_attempts, estimate.connect), (40, Chance::CERTAIN));
    }

    #[test]
    fn a_call_is_worth_what_it_brings_less_what_it_costs() {
        let rules = PerformanceConfig { default_calls: 0, ..PerformanceConfig::default() };
        let tally = Tally { dialed: 100, connected: 80, converted: 20, ..Tally::default() };
        let terms = |payout_seconds| Terms {
            seconds: 60,
            revenue: "40.00".parse().unwrap(),
            payout_seconds,
            payout: "10.00".parse().unwrap(),
            no_payout: None,
            promised: false,
        };
        let value = |seconds| Estimate::new(&rules, &[tally; 4], Some(terms(seconds))).value;
        assert_eq!(value(60), "6.00".parse().unwrap(), "0.2 × (40 - 10)");
        assert_eq!(value(30), "0.00".parse().unwrap(), "0.2 × 40 - 0.8 × 10");
    }
}

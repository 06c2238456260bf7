//! Chance that can be repeated: numbers drawn from the name of the call and of what is drawn for.
//!
//! All of it is integers, so that every machine draws the same.

use crate::id::CallId;

/// Binary places of [`surprise`].
const PLACES: u32 = 40;

/// Puts targets, or whatever has a name, given with their weights, in an order drawn without replacement: at every place
/// each that is left comes with its share of the weights that are left. One with no weight comes
/// last. Returns indices into `entrants`.
///
/// What a target draws depends on the call and on itself alone: whoever else takes part changes
/// nothing of the order of the others.
pub(in crate::routing) fn order<N: AsRef<str>>(call: CallId, entrants: &[(N, u64)]) -> Vec<usize> {
    let keys = entrants.iter().map(|(name, weight)| key(call, name.as_ref(), *weight));
    let keys: Vec<_> = keys.collect();
    let mut order: Vec<_> = (0..entrants.len()).collect();
    order.sort_by_key(|&index| (keys[index], entrants[index].0.as_ref()));
    order
}

/// Whether something happens to a call that happens to `chance_ppm` of a million.
pub(super) fn happens(call: CallId, what: &str, chance_ppm: u32) -> bool {
    let scaled = (u128::from(number(call, what)) * 1_000_000) >> 64;
    scaled < u128::from(chance_ppm)
}

/// `-log2(u) / weight`, which grows as `u^(1/weight)` falls (spec/domain §2.5). The lowest goes
/// first.
fn key(call: CallId, name: &str, weight: u64) -> u128 {
    let surprise = u128::from(surprise(number(call, name)));
    (surprise << 64).checked_div(u128::from(weight)).unwrap_or(u128::MAX)
}

/// `-log2(u / 2^64)` in units of 2^-[`PLACES`], rounded up: the logarithm bit by bit, by squaring.
fn surprise(u: u64) -> u64 {
    let u = u.max(1);
    let zeros = u.leading_zeros();
    // From 1 to 2, with 63 binary places.
    let mut mantissa = u128::from(u << zeros);
    let mut log = 0_u64;
    for _ in 0..PLACES {
        mantissa = (mantissa * mantissa) >> 63;
        let is_two_or_more = mantissa >> 64;
        log = log << 1 | u64::from(is_two_or_more == 1);
        mantissa >>= is_two_or_more;
    }
    (u64::from(zeros + 1) << PLACES) - log
}

/// What the call draws for `name`. Mixed once more, so that it has nothing to do with what else is
/// drawn by that name, such as at which of its addresses a target is tried.
fn number(call: CallId, name: &str) -> u64 {
    let z = call.draw(name).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use smol_str::{SmolStr, format_smolstr};

    use super::*;

    #[test]
    fn draws_are_the_same_on_every_machine() {
        let call = CallId::from_bytes([7; 16]);
        assert_eq!(number(call, "tgt_summit"), 2_789_063_964_242_022_182);
        assert_eq!(surprise(u64::MAX), 1);
        assert_eq!(surprise(1 << 63), 1 << PLACES);
        assert_eq!(surprise(1), 64 << PLACES);
        // log2(3) = 1.584962500721156…, so -log2(0.75) = 0.415037499278843…
        assert_eq!(surprise(3 << 62), 456_338_556_421);
    }

    #[test]
    fn over_many_calls_each_target_is_drawn_first_and_second_as_often_as_its_weight_says() {
        let ids = ["a", "b", "c", "d"].map(SmolStr::new);
        let weights = [50, 100, 250, 600];
        let entrants: Vec<_> = ids.iter().zip(weights).collect();
        let (mut firsts, mut second_after_d) = ([0_u32; 4], [0_u32; 4]);
        let calls = 20_000;
        for n in 0..calls {
            let order = order(CallId::of_simulation(5, n), &entrants);
            firsts[order[0]] += 1;
            second_after_d[order[1]] += u32::from(order[0] == 3);
        }
        // Three degrees of freedom, then two: exceeded by chance once in 1,000 seeds.
        assert!(chi_squared(&firsts, &weights, calls) < 16.27, "{firsts:?}");
        let behind_d = firsts[3];
        let seconds = &second_after_d[..3];
        assert!(chi_squared(seconds, &weights[..3], behind_d) < 13.82, "{seconds:?}");
    }

    #[test]
    fn what_happens_to_one_call_in_twenty_does() {
        let calls = 20_000;
        let happened = (0..calls)
            .filter(|n| happens(CallId::of_simulation(9, *n), "exploration", 50_000))
            .count();
        assert!((900..1_100).contains(&happened), "{happened}");
        assert!(!happens(CallId::of_simulation(9, 1), "exploration", 0));
        assert!(happens(CallId::of_simulation(9, 1), "exploration", 1_000_000));
    }

    #[test]
    fn without_weight_a_target_comes_last() {
        let (a, b) = (SmolStr::new("a"), SmolStr::new("b"));
        for n in 0..50 {
            assert_eq!(order(CallId::of_simulation(1, n), &[(&a, 0), (&b, 1)]), [1, 0]);
        }
    }

    proptest! {
        #[test]
        fn who_else_takes_part_changes_nothing_of_the_order_of_the_others(
            seed in any::<u64>(),
            weights in prop::collection::vec(1_u64..=1_000, 2..30),
            left_out in any::<prop::sample::Index>(),
        ) {
            let call = CallId::of_simulation(seed, 0);
            let name = |n| format_smolstr!("t{n}");
            let ids: Vec<_> = (0..weights.len()).map(name).collect();
            let all: Vec<_> = ids.iter().zip(weights.iter().copied()).collect();
            let left_out = left_out.index(all.len());
            let mut fewer = all.clone();
            fewer.remove(left_out);

            let named = |entrants: &[(&SmolStr, u64)]| -> Vec<SmolStr> {
                order(call, entrants).into_iter().map(|index| entrants[index].0.clone()).collect()
            };
            let mut expected = named(&all);
            expected.retain(|target| *target != ids[left_out]);
            prop_assert_eq!(named(&fewer), expected);
        }
    }

    /// How far counts are from what weights say, relative to what chance explains.
    fn chi_squared(counts: &[u32], weights: &[u64], calls: u32) -> f64 {
        let total = weights.iter().sum::<u64>() as f64;
        let terms = counts.iter().zip(weights).map(|(&count, &weight)| {
            let expected = f64::from(calls) * weight as f64 / total;
            (f64::from(count) - expected).powi(2) / expected
        });
        terms.sum()
    }
}

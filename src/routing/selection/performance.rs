//! By what a call is expected to bring at each target.

use std::cmp::Reverse;

use smol_str::format_smolstr;

use crate::money::Money;

use super::super::config::{PerformanceConfig, Ranking};
use super::super::decision::Readings;
use super::super::performance::estimate::Estimate;
use super::super::performance::{Concerned, day_of};
use super::super::request::UsageReader;
use super::{Entrant, PerformanceReading, Ranked, Rotation, Scene, draw};

/// Puts the targets in order, and says of each what was expected of it.
pub(super) fn order<U: UsageReader + ?Sized>(
    rules: &PerformanceConfig,
    scene: &Scene<'_, U>,
    entrants: &[Entrant<'_>],
    rotation: &mut Rotation,
    readings: &mut Readings,
) -> Ranked {
    let estimates: Vec<_> =
        entrants.iter().map(|entrant| estimate(rules, scene, entrant, readings)).collect();
    let scores = scores(rules, &estimates);
    let mut order = ranked(rules.order, scene, entrants, &scores);
    let explored = explored(rules, scene, entrants, &estimates, &order, rotation, readings);
    if let Some(place) = explored {
        let chosen = order.remove(place);
        order.insert(0, chosen);
    }
    let notes = estimates.iter().enumerate().map(|(index, estimate)| {
        let is_explored = explored.is_some() && order[0] == index;
        match is_explored {
            true => format_smolstr!("{estimate}; explored"),
            false => format_smolstr!("{estimate}"),
        }
    });
    Ranked { notes: notes.collect(), order }
}

/// The highest score first, or a draw in which scores are weights. Of equal ones a draw by weight
/// decides.
pub(super) fn ranked<U: ?Sized>(
    ranking: Ranking,
    scene: &Scene<'_, U>,
    entrants: &[Entrant<'_>],
    scores: &[i64],
) -> Vec<usize> {
    let weights = entrants.iter().zip(scores).map(|(entrant, score)| {
        let weight = match ranking {
            Ranking::Strict => entrant.member.weight.into(),
            Ranking::Weighted => {
                let score = u64::try_from(*score).unwrap_or(0);
                score.saturating_mul(entrant.member.weight.into())
            }
        };
        (entrant.target.id.as_str(), weight)
    });
    let mut order = draw::order(scene.request.call, &weights.collect::<Vec<_>>());
    match ranking {
        // The sort keeps the order drawn where scores are equal.
        Ranking::Strict => order.sort_by_key(|index| Reverse(scores[*index])),
        Ranking::Weighted => {
            let worth = |index: &usize| Reverse(scores[*index].min(0));
            order.sort_by_key(worth);
        }
    }
    order
}

fn estimate<U: UsageReader + ?Sized>(
    rules: &PerformanceConfig,
    scene: &Scene<'_, U>,
    entrant: &Entrant<'_>,
    readings: &mut Readings,
) -> Estimate {
    let concerned = Concerned {
        campaign: scene.campaign.clone(),
        publisher: scene.publisher.clone(),
        target: entrant.target.id.clone(),
        buyer: entrant.target.buyer.clone(),
    };
    let since = day_of(scene.request.at) + 1 - i64::from(rules.lookback_days);
    let tallies = scene.usage.tallies(&concerned, since);
    let target = concerned.target;
    readings.performance.push(PerformanceReading { target, tallies });
    Estimate::new(rules, &tallies, entrant.terms)
}

/// What each is worth, with what is added for those that are new and those that are behind.
fn scores(rules: &PerformanceConfig, estimates: &[Estimate]) -> Vec<i64> {
    let sum: i128 = estimates.iter().map(|it| i128::from(it.value.0)).sum();
    let count = i128::try_from(estimates.len().max(1)).unwrap_or(1);
    let score = |estimate: &Estimate| {
        let value = i128::from(estimate.value.0);
        let missing = rules.desired_calls.saturating_sub(estimate.own_attempts);
        let bonus = if missing > 0 {
            let desired = i128::from(rules.desired_calls);
            value.max(0) * i128::from(rules.new_bonus_pct) * i128::from(missing) / desired
        } else if value * count < sum {
            value.max(0) * i128::from(rules.behind_bonus_pct)
        } else {
            0
        };
        i64::try_from(value + bonus / 100).unwrap_or(i64::MAX)
    };
    estimates.iter().map(score).collect()
}

/// The place in `order` of the target that is tried to learn about it, if this call is for that and
/// the day's money for it is not used up.
fn explored<U: ?Sized>(
    rules: &PerformanceConfig,
    scene: &Scene<'_, U>,
    entrants: &[Entrant<'_>],
    estimates: &[Estimate],
    order: &[usize],
    rotation: &mut Rotation,
    readings: &mut Readings,
) -> Option<usize> {
    let call = scene.request.call;
    if !draw::happens(call, "exploration", rules.exploration_pct * 10_000) {
        return None;
    }
    let is_new = |place: &usize| estimates[order[*place]].own_attempts < rules.desired_calls;
    let new: Vec<_> = (0..order.len()).filter(is_new).collect();
    let weighed = new.iter().map(|place| {
        let entrant = &entrants[order[*place]];
        (entrant.target.id.as_str(), u64::from(entrant.member.weight))
    });
    let drawn = draw::order(call, &weighed.collect::<Vec<_>>());
    let place = new[*drawn.first()?];
    let value = |place: usize| estimates[order[place]].value;
    let best = (0..order.len()).map(value).max()?;
    let loss = Money((best - value(place)).0.max(0));
    rotation
        .explore(scene.campaign, day_of(scene.request.at), loss, rules.exploration_daily, readings)
        .then_some(place)
}

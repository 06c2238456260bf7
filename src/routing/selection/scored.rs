//! By what a scorer says.

use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use crate::money::Money;

use super::super::config::{Ranking, ScoreTimes};
use super::super::decision::Readings;
use super::super::request::UsageReader;
use super::super::scorer::{CallFeatures, KnownScorer, ScoredBy, Scorer as _};
use super::performance::ranked;
use super::{Distribution, Entrant, Ranked, Scene, ScoreReading};

/// How a scorer orders a tier.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredRules {
    pub scorer: Arc<KnownScorer>,
    pub order: Ranking,
    pub times: ScoreTimes,
    /// What orders the tier for want of scores.
    pub otherwise: Box<Distribution>,
}

/// `Err`: there are no scores, as is said of each target.
pub(super) fn order<U: UsageReader + ?Sized>(
    rules: &ScoredRules,
    scene: &Scene<'_, U>,
    entrants: &[Entrant<'_>],
    readings: &mut Readings,
) -> Result<Ranked, SmolStr> {
    let id = &rules.scorer.id;
    if entrants.len() < 2 && matches!(rules.scorer.by, ScoredBy::Asked(_)) {
        return Err(format_smolstr!("the only one, so {id} is not asked"));
    }
    let mut scores = Vec::with_capacity(entrants.len());
    for entrant in entrants {
        let features = CallFeatures {
            request: scene.request,
            campaign: scene.campaign,
            publisher: scene.publisher,
            facts: scene.facts,
            target: entrant.target,
            terms: entrant.terms,
        };
        let score = match &rules.scorer.by {
            ScoredBy::Logistic(model) => Some(model.score(&features)),
            ScoredBy::Table(model) => Some(model.score(&features)),
            ScoredBy::Asked(_) => {
                let target = &entrant.target.id;
                let score = scene.usage.score(id, target);
                readings.scores.extend(score.map(|score| ScoreReading {
                    scorer: id.clone(),
                    target: target.clone(),
                    score,
                }));
                score
            }
        };
        scores.push(score);
    }
    let Some(scores) = scores.into_iter().collect::<Option<Vec<_>>>() else {
        return Err(format_smolstr!("no score of {id} in time"));
    };
    let compared: Vec<_> = entrants
        .iter()
        .zip(&scores)
        .map(|(entrant, score)| compared(rules.times, *score, entrant))
        .collect();
    let notes = scores.iter().zip(&compared).map(|(score, compared)| {
        let (score, compared) = (Money(*score), Money(*compared));
        match rules.times {
            ScoreTimes::Nothing => format_smolstr!("{id} scores {score}"),
            ScoreTimes::Revenue => {
                format_smolstr!("{id} scores {score}, of the revenue {compared}")
            }
            ScoreTimes::Margin => format_smolstr!("{id} scores {score}, of the margin {compared}"),
        }
    });
    Ok(Ranked { notes: notes.collect(), order: ranked(rules.order, scene, entrants, &compared) })
}

fn compared(times: ScoreTimes, score: i64, entrant: &Entrant<'_>) -> i64 {
    let (revenue, payout) = entrant.terms.map(|it| (it.revenue, it.payout)).unwrap_or_default();
    let times = match times {
        ScoreTimes::Nothing => return score,
        ScoreTimes::Revenue => revenue,
        ScoreTimes::Margin => revenue - payout,
    };
    let product = i128::from(score) * i128::from(times.0) / i128::from(Money::UNIT);
    i64::try_from(product).unwrap_or(if product < 0 { i64::MIN } else { i64::MAX })
}

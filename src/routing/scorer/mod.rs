//! Models that say how well a call suits a target (spec/domain §2.5).
//!
//! Owns: what a scorer is, the two that are built in and read from a file, and what they are told of
//! a call. Does not own: asking one elsewhere, which the server does before the decision and hands
//! in as readings.
//!
//! All numbers are millionths in integers: every machine computes the same.

mod heard;
mod logistic;
mod question;
mod table;

use std::sync::Arc;

use smol_str::{SmolStr, ToSmolStr, format_smolstr};

use crate::id::{CampaignId, PublisherId};
use crate::money::Money;
use crate::suggest::slip_of;

use super::config::PeerTlsConfig;
use super::decision::Terms;
use super::facts::Facts;
use super::request::RouteRequest;
use super::snapshot::Target;
use super::vertical::Vertical;

pub use heard::{Heard, Outcome, millionths_of};
pub use logistic::Logistic;
pub use question::{AskedTarget, Question, questions};
pub use table::Table;

/// Ranks targets for a call. The same features give the same score.
pub trait Scorer {
    /// In millionths; the higher, the sooner is the target tried.
    fn score(&self, features: &dyn Features) -> i64;
}

/// What a scorer is told of a call at a target.
pub trait Features {
    /// `None`: it is not known.
    fn feature(&self, name: &str) -> Option<SmolStr>;
}

/// A scorer of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownScorer {
    pub id: SmolStr,
    pub by: ScoredBy,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ScoredBy {
    Logistic(Logistic),
    Table(Table),
    /// Someone else, who is asked before the decision.
    Asked(Arc<AskedScorer>),
}

/// Who is asked for scores, how, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedScorer {
    pub id: SmolStr,
    pub url: String,
    /// Absent: it is spoken to without TLS.
    pub tls: Option<PeerTlsConfig>,
    pub deadline_ms: u32,
    /// What is told of the call.
    pub features: Vec<SmolStr>,
}

/// Features that are not tags.
pub const BUILT_IN: [&str; 9] = [
    "call.campaign",
    "call.hour",
    "call.publisher",
    "call.trunk",
    "call.weekday",
    "target.buyer",
    "target.id",
    "target.payout",
    "target.revenue",
];

/// The feature that was surely meant by a name which is none.
pub(super) fn meant_by(name: &str) -> Option<&'static str> {
    Vertical::place_meant_by(name).or_else(|| slip_of(name, &BUILT_IN))
}

/// Tags, places, and what [`BUILT_IN`] names.
pub(super) struct CallFeatures<'a> {
    pub(super) request: &'a RouteRequest,
    pub(super) campaign: &'a CampaignId,
    pub(super) publisher: &'a PublisherId,
    pub(super) facts: &'a dyn Features,
    pub(super) target: &'a Target,
    pub(super) terms: Option<Terms>,
}

impl Features for Facts<'_> {
    fn feature(&self, name: &str) -> Option<SmolStr> {
        self.get(name).map(|fact| fact.value.clone())
    }
}

impl Features for CallFeatures<'_> {
    fn feature(&self, name: &str) -> Option<SmolStr> {
        const HOUR_MS: i64 = 3_600_000;
        const WEEKDAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
        let hours = self.request.at.0.div_euclid(HOUR_MS);
        let money = |of: fn(Terms) -> Money| self.terms.map_or(Money::ZERO, of).to_smolstr();
        Some(match name {
            "call.campaign" => self.campaign.0.clone(),
            "call.publisher" => self.publisher.0.clone(),
            "call.trunk" => self.request.trunk.0.clone(),
            // Of UTC; the epoch was a Thursday.
            "call.hour" => format_smolstr!("{}", hours.rem_euclid(24)),
            "call.weekday" => {
                let day = usize::try_from(hours.div_euclid(24).rem_euclid(7)).unwrap_or(0);
                SmolStr::new_static(WEEKDAYS[day])
            }
            "target.id" => self.target.id.0.clone(),
            "target.buyer" => self.target.buyer.0.clone(),
            "target.revenue" => money(|terms| terms.revenue),
            "target.payout" => money(|terms| terms.payout),
            _ => return self.facts.feature(name),
        })
    }
}

/// A line of a file that is not understood: what is wrong, and what to write instead.
pub(super) type Misread = (String, String);

/// A decimal number in millionths.
fn millionths(text: &str) -> Option<i64> {
    text.parse().ok().map(|Money(millionths)| millionths)
}

#[cfg(test)]
impl Features for std::collections::BTreeMap<&str, &str> {
    fn feature(&self, name: &str) -> Option<SmolStr> {
        self.get(name).map(SmolStr::new)
    }
}

//! Whose each number is.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::phone::PhoneNumber;
use crate::routing::config::{CampaignConfig, NumberConfig, PoolConfig};
use crate::routing::snapshot::{NumberRange, Pool};

use super::{Compiler, settings};

/// Numbers a range may span.
const RANGE_MAX: u64 = 1_000_000;

impl Compiler<'_> {
    pub(super) fn static_number(
        &mut self,
        path: &str,
        campaign: usize,
        config: &NumberConfig,
        owner: &CampaignConfig,
    ) {
        let digits = match number_range(&config.number) {
            Ok(digits) => Some(digits),
            Err(problem) => {
                let remedy = "write +18005550100 or +18005550100-+18005550149";
                self.fault_at(path, &config.number, &problem, remedy);
                None
            }
        };
        let publisher = match (&config.publisher, &owner.publisher) {
            (Some(publisher), _) => {
                self.publisher(&format!("{path}.publisher"), publisher.as_str())
            }
            // A dangling name of the campaign is a fault of the campaign, found there.
            (None, Some(publisher)) => self.publisher_index.get(publisher.as_str()).copied(),
            (None, None) => {
                let remedy = "name one here, or as the campaign's `publisher`";
                self.fault_at(path, &config.number, "belongs to no publisher", remedy);
                None
            }
        };
        if let (Some(digits), Some(publisher)) = (digits, publisher) {
            let range = NumberRange { digits, campaign, publisher, pool: None };
            self.claims.push((range, path.to_owned()));
        }
    }

    pub(super) fn pools(&mut self, configs: &[PoolConfig]) -> Vec<Pool> {
        let mut pools = vec![];
        for (p, config) in configs.iter().enumerate() {
            let path = format!("pools[{p}]");
            let campaign = self.campaign(&format!("{path}.campaign"), config.campaign.as_str());
            let publisher = self.publisher(&format!("{path}.publisher"), config.publisher.as_str());
            self.setting(&path, "session_ttl_s", &config.session_ttl_s, settings::SESSION_TTL_S);
            self.setting(&path, "quarantine_s", &config.quarantine_s, settings::QUARANTINE_S);
            if config.numbers.is_empty() {
                self.fault(&path, "numbers", "[]", "is empty", "add a number");
            }
            if let (Some(campaign), Some(publisher)) = (campaign, publisher) {
                let claims = config.numbers.iter().enumerate().map(|(n, number)| {
                    let digits = number.digits()..=number.digits();
                    let range = NumberRange { digits, campaign, publisher, pool: Some(p) };
                    (range, format!("{path}.numbers[{n}]"))
                });
                self.claims.extend(claims);
            }
            pools.push(Pool {
                id: config.id.clone(),
                campaign: config.campaign.clone(),
                publisher: config.publisher.clone(),
                numbers: config.numbers.clone(),
                session_ttl: Duration::from_secs((*config.session_ttl_s).into()),
                quarantine: Duration::from_secs((*config.quarantine_s).into()),
            });
        }
        pools
    }

    /// All claims in ascending order; a number claimed twice is a fault.
    pub(super) fn sorted_numbers(&mut self) -> Vec<NumberRange> {
        let mut claims = std::mem::take(&mut self.claims);
        claims.sort_by_key(|(range, _)| *range.digits.start());
        // Against the claim that reaches furthest so far, so that a number within a long range
        // is found however many ranges lie between.
        let mut furthest: Option<&(NumberRange, String)> = None;
        for claim in &claims {
            let (range, path) = claim;
            if let Some((other, other_path)) = furthest
                && range.digits.start() <= other.digits.end()
            {
                let problem = format!("is claimed already at {other_path}");
                let value = format!("+{}", range.digits.start());
                self.fault_at(path, value, &problem, "let each number stand in one place");
            }
            if furthest.is_none_or(|(other, _)| other.digits.end() < range.digits.end()) {
                furthest = Some(claim);
            }
        }
        claims.into_iter().map(|(range, _)| range).collect()
    }
}

/// Reads `+18005550100` or `+18005550100-+18005550149`.
fn number_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parse = |part: &str| {
        let number: Result<PhoneNumber, _> = part.trim().parse();
        number.map(PhoneNumber::digits).map_err(|e| e.to_string())
    };
    // Only a hyphen before a `+` separates: hyphens also group the digits of one number.
    let (first, last) = match text.split_once("-+") {
        Some((first, last)) => (parse(first)?, parse(last)?),
        None => {
            let number = parse(text)?;
            (number, number)
        }
    };
    match last.checked_sub(first) {
        None => Err("ends before it begins".to_owned()),
        Some(span) if span >= RANGE_MAX => Err(format!("spans more than {RANGE_MAX} numbers")),
        Some(_) => Ok(first..=last),
    }
}

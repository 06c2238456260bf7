//! Whose each number is.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::phone::PhoneNumber;
use crate::routing::config::{
    CampaignConfig, NumberConfig, NumberLimitsConfig, PoolConfig, Source,
};
use crate::routing::effective::PoolSources;
use crate::routing::snapshot::{NumberLimits, NumberRange, Pool};

use super::caps::Clock;
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
        let digits = self.numbers(path, &config.number);
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
            let is_own = config.publisher.is_some();
            let publisher_from = if is_own { Source::Own } else { Source::Campaign };
            let range = NumberRange { digits, campaign, publisher, pool: None, publisher_from };
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
            self.setting(&path, "heartbeat_s", &config.heartbeat_s, settings::HEARTBEAT_S);
            let closed = &config.closed_browser_delay_s;
            let range = settings::CLOSED_BROWSER_DELAY_S;
            self.setting(&path, "closed_browser_delay_s", closed, range);
            if config.numbers.is_empty() {
                self.fault(&path, "numbers", "[]", "is empty", "add a number");
            }
            let mut numbers = vec![];
            for (n, text) in config.numbers.iter().enumerate() {
                let path = format!("{path}.numbers[{n}]");
                let Some(digits) = self.numbers(&path, text) else { continue };
                numbers.extend(digits.clone().filter_map(PhoneNumber::from_digits));
                if let (Some(campaign), Some(publisher)) = (campaign, publisher) {
                    let (pool, publisher_from) = (Some(p), Source::Pool);
                    let range = NumberRange { digits, campaign, publisher, pool, publisher_from };
                    self.claims.push((range, path));
                }
            }
            if let (Some(campaign), Some(publisher), Some(number)) =
                (campaign, publisher, config.overflow_number)
            {
                self.overflow_number(&path, number, campaign, publisher);
            }
            if let Some(seconds) = config.take_idle_after_s {
                self.within(&path, "take_idle_after_s", seconds, settings::TAKE_IDLE_AFTER_S);
            }
            if let Some(cost) = config.number_cost.filter(|cost| cost.0 < 0) {
                self.fault(&path, "number_cost", cost, "is negative", "write what a number costs");
            }
            pools.push(Pool {
                id: config.id.clone(),
                campaign: config.campaign.clone(),
                publisher: config.publisher.clone(),
                numbers,
                session_ttl: Duration::from_secs((*config.session_ttl_s).into()),
                quarantine: Duration::from_secs((*config.quarantine_s).into()),
                heartbeat_s: *config.heartbeat_s,
                closed_browser_delay: Duration::from_secs((**closed).into()),
                taken_after: config.take_idle_after_s.map(|it| Duration::from_secs(it.into())),
                overflow: config.overflow_number,
                number_cost: config.number_cost,
                from: PoolSources {
                    session_ttl_s: config.session_ttl_s.from(),
                    quarantine_s: config.quarantine_s.from(),
                    heartbeat_s: config.heartbeat_s.from(),
                    closed_browser_delay_s: closed.from(),
                },
            });
        }
        pools
    }

    /// The limits of single numbers, in ascending order. `known` are all numbers there are.
    pub(super) fn number_limits(
        &mut self,
        configs: &[NumberLimitsConfig],
        known: &[NumberRange],
    ) -> Vec<NumberLimits> {
        let mut all: Vec<(NumberLimits, usize)> = vec![];
        for (n, config) in configs.iter().enumerate() {
            let path = format!("numbers[{n}]");
            let digits = self.numbers(&format!("{path}.number"), &config.number);
            if config.caps.is_empty() && config.concurrency.is_none() {
                let remedy = "add `caps` or `concurrency`, or leave it out";
                self.fault_at(&path, &config.number, "limits nothing", remedy);
            }
            let Some(digits) = digits else { continue };
            let owner = match digits.start() == digits.end() {
                true => format!("number/+{}", digits.start()),
                false => format!("number/+{}-+{}", digits.start(), digits.end()),
            };
            if !are_all(&digits, known) {
                let problem = "is dialled by no call: no campaign and no pool has all of it";
                let remedy = "write it among `numbers` of one, or correct it";
                self.fault(&path, "number", &config.number, problem, remedy);
            }
            let caps = self.caps(&path, &owner, &config.caps, &Clock::OF_ACCOUNT);
            let concurrency = config.concurrency.as_ref();
            let concurrency = self.concurrency(&path, &owner, concurrency, &Clock::OF_ACCOUNT);
            all.push((NumberLimits { digits, caps, concurrency }, n));
        }
        all.sort_by_key(|(limits, _)| *limits.digits.start());
        // Of those before each the one that goes farthest.
        let mut farthest: Option<(u64, usize)> = None;
        for (NumberLimits { digits, .. }, n) in &all {
            if let Some((_, other)) = farthest.filter(|(end, _)| digits.start() <= end) {
                let (first, later) = (other.min(*n), other.max(*n));
                let problem = format!("has limits already in numbers[{first}]");
                let (path, number) = (format!("numbers[{later}]"), &configs[later].number);
                let remedy = "put the limits of both into one";
                self.fault(&path, "number", number, &problem, remedy);
            }
            if farthest.is_none_or(|(end, _)| end < *digits.end()) {
                farthest = Some((*digits.end(), *n));
            }
        }
        all.into_iter().map(|(limits, _)| limits).collect()
    }

    /// A number, or a range of them.
    fn numbers(&mut self, path: &str, text: &str) -> Option<RangeInclusive<u64>> {
        match number_range(text) {
            Ok(digits) => Some(digits),
            Err(problem) => {
                let remedy = "write +18005550100 or +18005550100-+18005550149";
                self.fault_at(path, text, &problem, remedy);
                None
            }
        }
    }

    /// It may be one of the campaign already, or the overflow of another of its pools.
    fn overflow_number(
        &mut self,
        path: &str,
        number: PhoneNumber,
        campaign: usize,
        publisher: usize,
    ) {
        let digits = number.digits()..=number.digits();
        let publisher_from = Source::Pool;
        let range = NumberRange { digits, campaign, publisher, pool: None, publisher_from };
        let is_it = |claim: &&(NumberRange, String)| claim.0.digits.contains(&number.digits());
        match self.claims.iter().find(is_it) {
            Some((owner, _)) if (owner.campaign, owner.publisher) != (campaign, publisher) => {
                let problem = "belongs to another campaign or publisher";
                let remedy =
                    "write a number of the pool's own campaign and publisher, or a new one";
                self.fault(path, "overflow_number", number.to_e164(), problem, remedy);
            }
            Some((NumberRange { pool: Some(_), .. }, _)) => {
                let remedy = "write a number that no pool lends";
                let (value, problem) = (number.to_e164(), "is lent by a pool");
                self.fault(path, "overflow_number", value, problem, remedy);
            }
            Some(_) => {}
            None => self.claims.push((range, format!("{path}.overflow_number"))),
        }
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

/// Whether each of these is among the known, which are ascending.
fn are_all(digits: &RangeInclusive<u64>, known: &[NumberRange]) -> bool {
    let mut next = *digits.start();
    for range in known.iter().filter(|range| *range.digits.end() >= *digits.start()) {
        if *range.digits.start() > next {
            break;
        }
        next = next.max(range.digits.end().saturating_add(1));
    }
    next > *digits.end()
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

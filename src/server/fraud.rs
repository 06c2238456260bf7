//! Scores calls and sessions behind the journal: a consumer that tells `cdr::fraud` what it needs of
//! routing's words, and keeps what comes of it with its offset (spec/domain §1M). Nothing is refused for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use metrics::counter;
use sha2::Sha256;
use smol_str::SmolStr;

use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Work, ends_a_call};
use crate::cdr::fact::{FactBody, Opener, PingAccepted};
use crate::cdr::fraud::duration::SpikeRules;
use crate::cdr::fraud::{
    self, Attested, Dialed, Engine, FraudEffects, FraudReason, Rules, Scored, ScoredCall, SeenCall,
    SeenMatch, SeenSession, SeenTalk,
};
use crate::cdr::record::{CallRecord, Flags};
use crate::cdr::store::StoreError;
use crate::cdr::store::fraud::FraudBook;
use crate::config::{Config, FraudSettings};
use crate::id::SessionId;
use crate::phone::PhoneNumber;
use crate::routing::attestation;
use crate::routing::config::Attestation;
use crate::routing::enrich::line_type;
use crate::routing::{RoutingSnapshot, Tags};
use crate::suggest::suggestion;
use crate::time::Wall;

use super::consumers::Post;
use super::deciding::Deciding;
use super::error::StartError;
use super::metrics as names;

/// The consumer's name.
const NAME: &str = "fraud";

/// Most facts that are scored together.
const PORTION_MAX: usize = 5_000;

/// How long they may gather.
const PACE: Duration = Duration::from_millis(300);

/// What scoring works with.
pub(super) struct Means {
    pub(super) deciding: Arc<Deciding>,
    pub(super) book: Arc<dyn FraudBook>,
    pub(super) rules: Rules,
    pub(super) seed: u128,
}

/// The rules that `[fraud]` says.
///
/// # Errors
/// Reasons that nobody knows.
pub(super) fn rules(config: &Config) -> Result<Rules, StartError> {
    let FraudSettings { points: written, .. } = &config.settings.fraud;
    let (mut points, mut faults) = (BTreeMap::new(), vec![]);
    for (code, value) in written {
        match FraudReason::from_code(code) {
            Some(reason) => {
                points.insert(reason, *value);
            }
            None => faults.push((
                format!("fraud.points.{code}"),
                value.to_string(),
                String::from("is of no reason that is known"),
                suggestion(code, FraudReason::ALL.into_iter().map(FraudReason::code)),
            )),
        }
    }
    if !faults.is_empty() {
        return Err(config.faults(faults).into());
    }
    let settings = &config.settings.fraud;
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let unless_zero = |most: u32| (most > 0).then_some(u64::from(most));
    Ok(Rules {
        half_life_ms: ms(settings.half_life).max(1),
        caller_calls: settings.caller_calls.into(),
        prefix_calls: unless_zero(settings.prefix_calls),
        trunk_calls: unless_zero(settings.trunk_calls),
        caller_pings: settings.caller_pings.into(),
        caller_numbers: settings.caller_numbers as usize,
        prefix_numbers: settings.prefix_numbers as usize,
        numbers_window_ms: ms(settings.numbers_window),
        too_soon_ms: settings.too_soon_ms.into(),
        short_ms: settings.short_ms.into(),
        bin_s: settings.bin_s,
        spike: spikes(settings),
        days: settings.days,
        keys_max: settings.keys_max as usize,
        points,
    })
}

/// When a histogram is suspicious.
pub(super) fn spikes(settings: &FraudSettings) -> SpikeRules {
    SpikeRules { min_calls: settings.min_calls.into(), deviations: settings.deviations.into() }
}

pub(super) fn post(means: Means) -> Post {
    let means = Arc::new(means);
    Post {
        name: NAME.into(),
        portion: PORTION_MAX,
        reads_records: true,
        ordered_strict: false,
        pace: PACE,
        open: Box::new(move || {
            let means = Arc::clone(&means);
            Box::pin(async move {
                let opened: Result<Box<dyn Consumer>, StoreError> =
                    Ok(Box::new(FraudConsumer::open(means).await?));
                opened
            })
        }),
    }
}

struct FraudConsumer {
    means: Arc<Means>,
    engine: Engine,
    hash: Hmac<Sha256>,
}

/// How a session was announced, and when.
type Announced = BTreeMap<SessionId, (PingAccepted, Wall)>;

impl Consumer for FraudConsumer {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(self.score(facts))
    }
}

impl FraudConsumer {
    /// As it was when its offset was written.
    async fn open(means: Arc<Means>) -> Result<Self, StoreError> {
        let key = means.book.hash_key(means.seed.to_be_bytes()).await?;
        let hash = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        let mut engine = Engine::new(means.rules.clone());
        for (key, held) in means.book.known().await? {
            engine.restore(key, held);
        }
        let today = fraud::day_of(super::clock::wall());
        for (side, id, day, bins) in
            means.book.bins(today + 1 - i64::from(means.rules.days)).await?
        {
            engine.restore_bins(side, id, day, bins);
        }
        Ok(Self { means, engine, hash })
    }

    async fn score(&mut self, facts: &Facts) -> Result<Effects, Fault> {
        let snapshot = self.means.deciding.snapshot();
        let announced = self.announced(facts).await?;
        let mut scored = FraudEffects::default();
        for entry in facts.iter() {
            let body = &entry.fact.body;
            if let FactBody::PingAccepted(ping) = body
                && let Some(caller) = ping.caller
            {
                let seen = SeenSession {
                    at: entry.fact.at.wall(),
                    caller: self.whom(caller.digits()),
                    impossible: is_impossible(caller),
                };
                let score = self.engine.session(&seen);
                count("session", &score);
                scored.sessions.push((ping.session, score));
            }
            let Some(call) = entry.fact.call.filter(|_| ends_a_call(body)) else { continue };
            let record = facts.record(call).ok_or_else(|| Fault::Permanent {
                class: "record_missing",
                detail: format!("{call} is not on record"),
            })?;
            // The true end of a call that was scored when its process had died.
            let is_scored = record.flags.contains(Flags::ORPHAN_CORRECTED)
                && matches!(body, FactBody::Ended(_));
            if !is_scored {
                scored.calls.push(self.call(&snapshot, record, &announced));
            }
        }
        scored.changes = self.engine.take_changes();
        Ok(Effects { fraud: scored, ..Effects::default() })
    }

    /// The sessions of calls that end in these facts.
    async fn announced(&self, facts: &Facts) -> Result<Announced, Fault> {
        let ended = facts.iter().filter(|entry| ends_a_call(&entry.fact.body));
        let records = ended.filter_map(|entry| facts.record(entry.fact.call?));
        let sessions: BTreeSet<_> = records.filter_map(|record| record.session).collect();
        if sessions.is_empty() {
            return Ok(Announced::new());
        }
        let found = self.means.book.announced(sessions.into_iter().collect()).await;
        let found = found.map_err(|error| match error {
            StoreError::Database(_) => Fault::Outage(error.to_string()),
            StoreError::Damaged { .. } | StoreError::Outdated { .. } => {
                Fault::Permanent { class: "session_damaged", detail: error.to_string() }
            }
        })?;
        Ok(found.into_iter().map(|(ping, at)| (ping.session, (ping, at))).collect())
    }

    fn call(
        &mut self,
        snapshot: &RoutingSnapshot,
        record: &CallRecord,
        announced: &Announced,
    ) -> ScoredCall {
        let seen = self.seen(snapshot, record, announced);
        let scored = self.engine.call(&seen);
        count("call", &scored);
        let publisher = record.publisher.as_ref().map(|id| id.as_str().into());
        let binned = seen.talk.map(|talk| talk.binned(self.means.rules.bin_s));
        ScoredCall {
            call: record.call,
            day: fraud::day_of(record.started_at()),
            publisher: publisher.unwrap_or_default(),
            scored,
            binned: binned.unwrap_or_default(),
        }
    }

    fn seen(
        &self,
        snapshot: &RoutingSnapshot,
        record: &CallRecord,
        announced: &Announced,
    ) -> SeenCall {
        let at = record.started_at();
        let trunk = record.trunk.as_ref().map(|id| id.as_str()).unwrap_or_default();
        let session = record.session.and_then(|session| announced.get(&session));
        let hashed = |number: u64| self.whom(number);
        SeenCall {
            at,
            caller: record.caller.map(|caller| hashed(caller.digits())),
            prefix: record.caller.map(|caller| hashed(caller.digits() / 10_000)),
            trunk: self.of_bytes(trunk.as_bytes()),
            dialed: record.did.map(|did| (hashed(did.digits()) >> 32) as u32),
            number: dialed(snapshot, record),
            attested: attested(record),
            impossible: record.caller.is_some_and(is_impossible),
            session: session.map(|(ping, opened)| matched(snapshot, record, ping, *opened)),
            talk: talk(record),
        }
    }

    /// What stands for a number.
    fn whom(&self, number: u64) -> u64 {
        self.of_bytes(&number.to_be_bytes())
    }

    fn of_bytes(&self, bytes: &[u8]) -> u64 {
        let hashed = self.hash.clone().chain_update(bytes).finalize().into_bytes();
        u64::from_be_bytes(*hashed.first_chunk().expect("it has 32 bytes"))
    }
}

fn count(what: &'static str, scored: &Scored) {
    for found in &scored.reasons {
        let reason = found.reason.code();
        counter!(names::FRAUD_REASONS, "of" => what, "reason" => reason).increment(1);
    }
    let level = if scored.score >= fraud::HIGH { "high" } else { "low" };
    counter!(names::FRAUD_SCORES, "of" => what, "level" => level).increment(1);
}

/// Nobody calls from a number that only takes calls.
fn is_impossible(caller: PhoneNumber) -> bool {
    matches!(line_type(caller), "toll_free" | "premium")
}

fn dialed(snapshot: &RoutingSnapshot, record: &CallRecord) -> Dialed {
    let owner = record.did.and_then(|did| snapshot.number(did));
    // It may well have been lent: nobody could say.
    let is_degraded = record.flags.contains(Flags::MATCH_DEGRADED);
    match (owner, &record.campaign) {
        (None, None) => Dialed::Unknown,
        (Some(owner), _) if owner.pool.is_some() && record.session.is_none() && !is_degraded => {
            Dialed::Unleased
        }
        (Some(_), _) | (None, Some(_)) => Dialed::Ours,
    }
}

fn attested(record: &CallRecord) -> Attested {
    let tags: Tags = record.captured.iter().cloned().collect();
    match attestation::Attested::of(&tags) {
        attestation::Attested::As(Attestation::A | Attestation::B) => Attested::Fully,
        attestation::Attested::As(Attestation::C) => Attested::Weakly,
        attestation::Attested::Failed => Attested::Failed,
        attestation::Attested::Nothing => Attested::Nobody,
    }
}

fn matched(
    snapshot: &RoutingSnapshot,
    record: &CallRecord,
    ping: &PingAccepted,
    opened: Wall,
) -> SeenMatch {
    let declared = ping.tags.iter().find(|(tag, _)| tag == "geo.state").map(|(_, state)| state);
    let by_number = record.caller.and_then(|it| snapshot.embedded(it).remove("geo.state"));
    let states = declared.cloned().zip(by_number).filter(|(declared, known)| declared != known);
    // Whoever pings may already have the caller on the line; a visitor of a page has to dial.
    let is_shown = ping.opener == Some(Opener::PageView) && ping.number == record.did;
    let before = u64::try_from(record.started_at().0.saturating_sub(opened.0)).ok();
    SeenMatch {
        is_other_caller: ping.caller.zip(record.caller).is_some_and(|(told, has)| told != has),
        states,
        shown_ms: before.filter(|_| is_shown),
    }
}

fn talk(record: &CallRecord) -> Option<SeenTalk> {
    let (talk_ms, attempt) = (record.talk_ms?, record.attempt()?);
    record.answered_ms?;
    let terms = attempt.terms.as_ref();
    let publisher = record.publisher.as_ref().map(|id| SmolStr::new(id.as_str()));
    let target = SmolStr::new(attempt.target.as_str());
    Some(SeenTalk {
        talk_ms,
        ended_by: record.end_party,
        publisher: publisher.zip(terms.map(|terms| terms.payout_seconds)),
        target: terms.map(|terms| (target, terms.seconds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;

    #[test]
    fn a_reason_that_nobody_knows_is_a_fault_with_its_remedy() {
        let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n\
                    [fraud.points]\n\"velocity.callr\" = 9\nshort_call = 0\n";
        let config = Config::parse("c.toml", text, Format::Toml, std::iter::empty(), &[]).unwrap();
        let told = rules(&config).unwrap_err().to_string();
        let expected = "fraud.points.velocity.callr = 9: is of no reason that is known";
        assert!(told.contains(expected) && told.contains("`velocity.caller`"), "{told}");

        let text = text.replace("\"velocity.callr\"", "\"velocity.caller\"");
        let config = Config::parse("c.toml", &text, Format::Toml, std::iter::empty(), &[]).unwrap();
        let rules = rules(&config).unwrap();
        let points = [(FraudReason::VelocityCaller, 9), (FraudReason::ShortCall, 0)];
        assert_eq!(rules.points, points.into());
        assert_eq!((rules.trunk_calls, rules.prefix_calls), (None, Some(60)));
    }

    #[test]
    fn what_only_takes_calls_calls_nobody() {
        for (number, expected) in
            [("+18005550100", true), ("+19005550100", true), ("+16145550100", false)]
        {
            assert_eq!(is_impossible(number.parse().unwrap()), expected, "{number}");
        }
    }
}

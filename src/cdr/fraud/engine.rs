//! Scores calls and sessions by what is known of those before.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::{SmolStr, format_smolstr};

use super::distinct::{Distinct, TOLD_MAX};
use super::duration::{BINS, Bins, Side};
use super::level::{Level, ONE};
use super::{
    Attested, Changes, Counted, Dialed, Found, FraudReason, Held, Key, Kind, Rules, Scored,
    SeenCall, SeenSession, day_of,
};
use crate::time::Wall;

/// What is known of callers, prefixes, trunks, publishers and targets.
#[derive(Clone, Debug)]
pub struct Engine {
    rules: Rules,
    known: BTreeMap<Key, Held>,
    /// Those that were heard of longest ago first.
    order: BTreeSet<(Wall, Key)>,
    bins: BTreeMap<(Side, SmolStr), BTreeMap<i64, Bins>>,
    changed: BTreeSet<Key>,
    gone: BTreeSet<Key>,
}

impl Engine {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            known: BTreeMap::new(),
            order: BTreeSet::new(),
            bins: BTreeMap::new(),
            changed: BTreeSet::new(),
            gone: BTreeSet::new(),
        }
    }

    /// Puts back what was kept.
    pub fn restore(&mut self, key: Key, held: Held) {
        let at = held.at;
        if let Some(before) = self.known.insert(key, held) {
            self.order.remove(&(before.at, key));
        }
        self.order.insert((at, key));
    }

    /// Puts back a day of a histogram.
    pub fn restore_bins(&mut self, side: Side, id: SmolStr, day: i64, bins: Bins) {
        self.bins.entry((side, id)).or_default().insert(day, bins);
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        let kept = changed.into_iter().filter_map(|key| Some((key, self.known.get(&key)?.clone())));
        Changes { kept: kept.collect(), gone: std::mem::take(&mut self.gone).into_iter().collect() }
    }

    /// What is known of whom.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Scores a call that is over, and takes it in.
    pub fn call(&mut self, seen: &SeenCall) -> Scored {
        let mut found = vec![];
        self.velocity(seen, &mut found);
        self.numbers(seen, &mut found);
        self.attestation(seen, &mut found);
        if seen.impossible {
            self.add(&mut found, FraudReason::CallerImpossible, None, None);
        }
        if let Some(matched) = &seen.session {
            if matched.is_other_caller {
                self.add(&mut found, FraudReason::CallerMismatch, None, None);
            }
            if let Some((declared, by_number)) = &matched.states {
                let (have, want) = (Some(by_number.clone()), Some(declared.clone()));
                self.add(&mut found, FraudReason::StateMismatch, have, want);
            }
            if let Some(ms) = matched.shown_ms.filter(|ms| *ms < self.rules.too_soon_ms) {
                let (have, want) = (in_ms(ms), in_ms(self.rules.too_soon_ms));
                self.add(&mut found, FraudReason::TooSoon, have, want);
            }
        }
        self.talk(seen, &mut found);
        scored(found)
    }

    /// Scores a session with a caller, and takes it in.
    pub fn session(&mut self, seen: &SeenSession) -> Scored {
        let mut found = vec![];
        let most = Some(self.rules.caller_pings);
        let key = Key { kind: Kind::PingsOfCaller, whom: seen.caller };
        self.often(key, seen.at, most, FraudReason::VelocityPings, &mut found);
        if seen.impossible {
            self.add(&mut found, FraudReason::CallerImpossible, None, None);
        }
        scored(found)
    }

    fn velocity(&mut self, seen: &SeenCall, found: &mut Vec<Found>) {
        let Rules { caller_calls, prefix_calls, trunk_calls, .. } = self.rules;
        for (kind, whom, most, reason) in [
            (Kind::CallsOfCaller, seen.caller, Some(caller_calls), FraudReason::VelocityCaller),
            (Kind::CallsOfPrefix, seen.prefix, prefix_calls, FraudReason::VelocityPrefix),
            (Kind::CallsOfTrunk, Some(seen.trunk), trunk_calls, FraudReason::VelocityTrunk),
        ] {
            if let Some(whom) = whom {
                self.often(Key { kind, whom }, seen.at, most, reason, found);
            }
        }
    }

    /// Takes in an event, and adds the reason if there were more of late than `most`.
    fn often(
        &mut self,
        key: Key,
        at: Wall,
        most: Option<u64>,
        reason: FraudReason,
        found: &mut Vec<Found>,
    ) {
        let Some(most) = most else { return };
        let level = self.raise(key, at);
        if level > most.saturating_mul(ONE) {
            let have = Some(format_smolstr!("{}.{}", level / ONE, level % ONE / (ONE / 10)));
            self.add(found, reason, have, Some(format_smolstr!("{most}")));
        }
    }

    fn raise(&mut self, key: Key, at: Wall) -> u64 {
        let before = self.level(key);
        let level = before.more(at, self.rules.half_life_ms);
        self.hold(key, Held { at: level.at, count: Counted::Level(level.milli) });
        level.milli
    }

    fn level(&self, key: Key) -> Level {
        match self.known.get(&key) {
            Some(Held { at, count: Counted::Level(milli) }) => Level { milli: *milli, at: *at },
            Some(Held { count: Counted::Numbers(_), .. }) | None => Level::default(),
        }
    }

    /// What was dialled, and what else of late.
    fn numbers(&mut self, seen: &SeenCall, found: &mut Vec<Found>) {
        match seen.number {
            Dialed::Ours => {}
            Dialed::Unleased => self.add(found, FraudReason::HarvestUnleased, None, None),
            Dialed::Unknown => self.add(found, FraudReason::HarvestUnknown, None, None),
        }
        let Some(dialed) = seen.dialed else { return };
        let Rules { caller_numbers, prefix_numbers, numbers_window_ms, .. } = self.rules;
        for (kind, whom, most, reason) in [
            (Kind::NumbersOfCaller, seen.caller, caller_numbers, FraudReason::HarvestCaller),
            (Kind::NumbersOfPrefix, seen.prefix, prefix_numbers, FraudReason::HarvestPrefix),
        ] {
            let Some(whom) = whom else { continue };
            let key = Key { kind, whom };
            let mut numbers = match self.known.get(&key) {
                Some(Held { count: Counted::Numbers(numbers), .. }) => numbers.clone(),
                Some(Held { count: Counted::Level(_), .. }) | None => Distinct::default(),
            };
            let count = numbers.add(dialed, seen.at, numbers_window_ms);
            let at = self.known.get(&key).map_or(seen.at, |held| held.at.max(seen.at));
            self.hold(key, Held { at, count: Counted::Numbers(numbers) });
            if count > most.min(TOLD_MAX - 1) {
                let (have, want) = (format_smolstr!("{count}"), format_smolstr!("{most}"));
                self.add(found, reason, Some(have), Some(want));
            }
        }
    }

    /// That nobody vouches speaks against a caller only where others are vouched for.
    fn attestation(&mut self, seen: &SeenCall, found: &mut Vec<Found>) {
        let key = Key { kind: Kind::Vouching, whom: seen.trunk };
        match seen.attested {
            Attested::Nobody => {
                if self.level(key).at(seen.at, self.rules.half_life_ms) > 0 && seen.caller.is_some()
                {
                    self.add(found, FraudReason::AttestationMissing, None, None);
                }
                return;
            }
            Attested::Fully => {}
            Attested::Weakly => self.add(found, FraudReason::AttestationWeak, None, None),
            Attested::Failed => self.add(found, FraudReason::AttestationFailed, None, None),
        }
        self.raise(key, seen.at);
    }

    /// How long it talked.
    fn talk(&mut self, seen: &SeenCall, found: &mut Vec<Found>) {
        let Some(talk) = &seen.talk else { return };
        let by_caller = talk.ended_by == Some(Side::Publisher.ended_by());
        if by_caller && talk.talk_ms < self.rules.short_ms {
            let (have, want) = (in_ms(talk.talk_ms), in_ms(self.rules.short_ms));
            self.add(found, FraudReason::ShortCall, have, want);
        }
        let day = day_of(seen.at);
        for binned in talk.binned(self.rules.bin_s) {
            let bins = self.take_in(binned.side, binned.id, day, binned.bin);
            let spike = binned.side.spike(&bins, &self.rules.spike);
            if spike.is_suspicious && binned.bin == binned.side.suspect() {
                let reason = match binned.side {
                    Side::Publisher => FraudReason::DurationPadded,
                    Side::Target => FraudReason::DurationCut,
                };
                let have = format_smolstr!("{} of {} calls", spike.here, spike.calls);
                let want = format_smolstr!("as beside it, {}", spike.beside);
                self.add(found, reason, Some(have), Some(want));
            }
        }
    }

    /// The histogram over all its days, with one call more.
    fn take_in(&mut self, side: Side, id: SmolStr, day: i64, bin: usize) -> Bins {
        let days = self.bins.entry((side, id)).or_default();
        days.entry(day).or_insert([0; BINS])[bin] += 1;
        let latest = days.last_key_value().map_or(day, |(day, _)| *day);
        *days = days.split_off(&(latest + 1 - i64::from(self.rules.days)));
        let mut all = [0; BINS];
        for bins in days.values() {
            all.iter_mut().zip(bins).for_each(|(sum, count)| *sum += count);
        }
        all
    }

    fn hold(&mut self, key: Key, held: Held) {
        self.gone.remove(&key);
        self.changed.insert(key);
        let at = held.at;
        if let Some(before) = self.known.insert(key, held) {
            self.order.remove(&(before.at, key));
        }
        self.order.insert((at, key));
        while self.known.len() > self.rules.keys_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.known.remove(&oldest);
            self.changed.remove(&oldest);
            self.gone.insert(oldest);
        }
    }

    fn add(
        &self,
        found: &mut Vec<Found>,
        reason: FraudReason,
        have: Option<SmolStr>,
        want: Option<SmolStr>,
    ) {
        let points = self.rules.points(reason);
        if points > 0 {
            found.push(Found { reason, points, have, want });
        }
    }
}

fn in_ms(ms: u64) -> Option<SmolStr> {
    Some(format_smolstr!("{ms} ms"))
}

fn scored(mut reasons: Vec<Found>) -> Scored {
    reasons.sort_by_key(|found| (std::cmp::Reverse(found.points), found.reason));
    let sum: u32 = reasons.iter().map(|found| u32::from(found.points)).sum();
    Scored { score: u8::try_from(sum.min(100)).unwrap_or(100), reasons }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::super::duration::SpikeRules;
    use super::super::{SeenMatch, SeenTalk};
    use super::*;
    use crate::cdr::fact::Party;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_caller_is_suspected_by_calls_of_late_and_no_more_when_they_are_long_ago() {
        let mut engine = Engine::new(rules());
        let mut codes = |minute| codes(&engine.call(&seen(minute * MINUTE)));
        for _ in 0..3 {
            assert_eq!(codes(0), [""; 0]);
        }
        assert_eq!(codes(0), ["velocity.caller"]);
        // Half of four and one more is three.
        assert_eq!(codes(10), [""; 0]);

        for (caller, expected) in [(7, &[][..]), (8, &[]), (9, &["velocity.prefix"])] {
            let other = SeenCall { caller: Some(caller), ..seen(10 * MINUTE) };
            assert_eq!(self::codes(&engine.call(&other)), expected, "{caller}");
        }
        let elsewhere = SeenCall { caller: Some(9), prefix: Some(9), ..seen(20 * MINUTE) };
        assert_eq!(engine.call(&elsewhere), Scored::default());
    }

    #[test]
    fn who_dials_many_of_our_numbers_harvests_them() {
        let mut engine = Engine::new(rules());
        for (n, expected) in [(1, &[][..]), (1, &[]), (2, &[]), (3, &["harvest.caller"])] {
            let call =
                SeenCall { dialed: Some(n), at: Wall(i64::from(n) * 60 * MINUTE), ..seen(0) };
            assert_eq!(codes(&engine.call(&call)), expected, "{n}");
        }
        for (number, code) in
            [(Dialed::Unleased, "harvest.unleased"), (Dialed::Unknown, "harvest.unknown")]
        {
            let call = SeenCall { number, caller: None, prefix: None, ..seen(0) };
            assert_eq!(codes(&engine.call(&call)), [code]);
        }
    }

    #[test]
    fn that_nobody_vouches_counts_where_others_are_vouched_for() {
        let mut engine = Engine::new(rules());
        let mut of = |attested, trunk| {
            let anybody = SeenCall { caller: Some(trunk), prefix: Some(trunk), ..seen(0) };
            codes(&engine.call(&SeenCall { attested, trunk, ..anybody }))
        };
        assert_eq!(of(Attested::Nobody, 1), [""; 0]);
        assert_eq!(of(Attested::Failed, 1), ["attestation.failed"]);
        assert_eq!(of(Attested::Nobody, 1), ["attestation.missing"]);
        assert_eq!(of(Attested::Nobody, 2), [""; 0], "another trunk");
        assert_eq!(of(Attested::Weakly, 2), ["attestation.weak"]);
        assert_eq!(of(Attested::Fully, 2), [""; 0]);
    }

    #[test]
    fn a_session_that_does_not_fit_its_call_says_how() {
        let mut engine = Engine::new(rules());
        let matched = SeenMatch {
            is_other_caller: true,
            states: Some(("OH".into(), "KY".into())),
            shown_ms: Some(900),
        };
        let call = SeenCall { session: Some(matched), impossible: true, ..seen(0) };
        let scored = engine.call(&call);
        assert_eq!(
            codes(&scored),
            ["caller.impossible", "mismatch.caller", "timing.too_soon", "mismatch.state"]
        );
        assert_eq!(scored.score, 40 + 20 + 20 + 10);
        let state = scored.reasons.last().unwrap();
        assert_eq!((state.have.as_deref(), state.want.as_deref()), (Some("KY"), Some("OH")));
    }

    #[test]
    fn a_score_is_a_hundred_at_most_and_what_adds_nothing_is_no_reason() {
        let mut rules = rules();
        rules.points =
            [(FraudReason::CallerImpossible, 70), (FraudReason::HarvestUnknown, 60)].into();
        let call = SeenCall { impossible: true, number: Dialed::Unknown, ..seen(0) };
        assert_eq!(Engine::new(rules.clone()).call(&call).score, 100);
        rules.points =
            [(FraudReason::CallerImpossible, 0), (FraudReason::HarvestUnknown, 7)].into();
        let scored = Engine::new(rules).call(&call);
        assert_eq!((codes(&scored), scored.score), (vec!["harvest.unknown"], 7));
    }

    #[test]
    fn a_call_that_ends_just_past_the_payout_is_suspected_once_many_of_its_publisher_do() {
        let mut engine = Engine::new(rules());
        let mut talk = |talk_ms, ended_by, day: i64| {
            let talk = SeenTalk {
                talk_ms,
                ended_by: Some(ended_by),
                publisher: Some(("p".into(), 90)),
                target: Some(("t".into(), 90)),
            };
            let at = Wall(day * 86_400_000);
            let call = SeenCall { talk: Some(talk), caller: None, prefix: None, at, ..seen(0) };
            codes(&engine.call(&call))
        };
        for _ in 0..19 {
            assert_eq!(talk(91_000, Party::Caller, 1), [""; 0]);
        }
        assert_eq!(talk(91_000, Party::Caller, 1), ["duration.padded"]);
        assert_eq!(talk(89_000, Party::Caller, 1), [""; 0]);
        assert_eq!(talk(91_000, Party::Target, 1), [""; 0], "nobody is paid to hang up late");
        // Two days on it is forgotten.
        assert_eq!(talk(91_000, Party::Caller, 3), [""; 0]);

        for n in 0..20 {
            let expected: &[&str] = if n < 19 { &[] } else { &["duration.cut"] };
            assert_eq!(talk(89_999, Party::Target, 3), expected, "{n}");
        }
        assert_eq!(talk(1_000, Party::Caller, 3), ["short_call"]);
    }

    #[test]
    fn a_session_whose_caller_is_announced_again_and_again_is_suspected() {
        let mut engine = Engine::new(rules());
        let session = SeenSession { at: Wall(0), caller: 7, impossible: false };
        assert_eq!(codes(&engine.session(&session)), [""; 0]);
        assert_eq!(codes(&engine.session(&session)), [""; 0]);
        assert_eq!(codes(&engine.session(&session)), ["velocity.pings"]);
        let other = SeenSession { caller: 8, impossible: true, ..session };
        assert_eq!(codes(&engine.session(&other)), ["caller.impossible"]);
    }

    /// What is kept after each portion is all there is to know: one that is put together from it goes on as
    /// the first does, and neither ever holds more than it may.
    #[test]
    fn an_engine_that_was_put_back_together_goes_on_as_the_one_before_would_have() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let rules = Rules { keys_max: 20, ..rules() };
        let mut engine = Engine::new(rules.clone());
        let mut kept: BTreeMap<Key, Held> = BTreeMap::new();
        let mut bins: BTreeMap<(Side, SmolStr, i64), Bins> = BTreeMap::new();
        for n in 0..600 {
            let call = any(&mut rng, n);
            let scored = engine.call(&call);
            let Changes { kept: new, gone } = engine.take_changes();
            kept.extend(new);
            gone.iter().for_each(|key| drop(kept.remove(key)));
            for binned in call.talk.iter().flat_map(|talk| talk.binned(rules.bin_s)) {
                let day = (binned.side, binned.id, day_of(call.at));
                bins.entry(day).or_insert([0; BINS])[binned.bin] += 1;
            }
            assert!(engine.len() <= 20 && kept.len() == engine.len(), "seed {seed}");
            assert!(scored.score <= 100);
            if n % 50 == 0 {
                let mut anew = Engine::new(rules.clone());
                for (key, held) in &kept {
                    anew.restore(*key, held.clone());
                }
                let latest = bins.keys().map(|(.., day)| *day).max().unwrap_or(0);
                for ((side, id, day), bins) in &bins {
                    if *day > latest - i64::from(rules.days) {
                        anew.restore_bins(*side, id.clone(), *day, *bins);
                    }
                }
                let next = any(&mut rng, n);
                assert_eq!(anew.clone().call(&next), engine.clone().call(&next), "seed {seed}");
                engine = anew;
            }
        }
    }

    fn any(rng: &mut Rng, n: i64) -> SeenCall {
        SeenCall {
            at: Wall(n * 1_800_000 + rng.i64(0..60_000)),
            caller: rng.bool().then(|| rng.u64(0..9)),
            prefix: rng.bool().then(|| rng.u64(0..3)),
            trunk: rng.u64(0..3),
            dialed: Some(rng.u32(0..9)),
            attested: [Attested::Nobody, Attested::Fully][rng.usize(0..2)],
            talk: rng.bool().then(|| SeenTalk {
                talk_ms: rng.u64(80_000..100_000),
                ended_by: Some([Party::Caller, Party::Target][rng.usize(0..2)]),
                publisher: Some((["p", "q"][rng.usize(0..2)].into(), 90)),
                target: Some(("t".into(), 90)),
            }),
            ..seen(0)
        }
    }

    fn rules() -> Rules {
        Rules {
            half_life_ms: 10 * MINUTE,
            caller_calls: 3,
            prefix_calls: Some(5),
            trunk_calls: None,
            caller_pings: 2,
            caller_numbers: 2,
            prefix_numbers: 9,
            numbers_window_ms: 180 * MINUTE,
            too_soon_ms: 3_000,
            short_ms: 6_000,
            bin_s: 5,
            spike: SpikeRules { min_calls: 20, deviations: 4 },
            days: 2,
            keys_max: 1_000,
            points: BTreeMap::new(),
        }
    }

    fn seen(at: i64) -> SeenCall {
        SeenCall {
            at: Wall(at),
            caller: Some(1),
            prefix: Some(5),
            trunk: 1,
            dialed: None,
            number: Dialed::Ours,
            attested: Attested::Nobody,
            impossible: false,
            session: None,
            talk: None,
        }
    }

    fn codes(scored: &Scored) -> Vec<&'static str> {
        scored.reasons.iter().map(|found| found.reason.code()).collect()
    }
}

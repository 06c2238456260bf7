//! What a publisher would earn with a call that is about to come, and what it is promised.
//!
//! A quote is a decision about the call that a ping announces: the same function, at this instant, as if
//! the call had come to the session's own address over a trunk of no name whose carrier vouches for the
//! caller. Nothing is taken, counted or moved on by it. It says what the target that would be tried first
//! makes the publisher earn, or why no target would take the call.
//!
//! What is quoted is promised: [`Promise`] is kept with the session, and goes before what the
//! configuration says of payouts when the call comes, whichever target takes it. That it is promised says
//! nothing of room: a target, a cap or an hour may still refuse the call. But a call that is taken is paid
//! as promised, or it is not taken: a cap on payouts that would make it unpaid refuses it, floors and
//! margins are held against the promised payout, and where no loss is allowed a target whose buyer owes
//! later than the publisher was promised to be paid does not get it. The promise holds
//!
//! * for the first call of the session from the caller that the ping named, or from anybody if it named
//!   none: what others call in the meantime uses nothing up;
//! * until [`GRACE`] after the end it was told with;
//! * for a call that is matched to the session as surely as the campaign asks for; any other is routed as if
//!   there were none;
//! * not for a duplicate, where [`Promise::no_duplicates`] said so.
//!
//! A call for which it does not hold is paid as the configuration says at that moment, and its decision
//! says why.

use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::Serialize;
use smol_str::{SmolStr, format_smolstr};

use crate::id::CallId;
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::{NoPayout, Reason};
use crate::time::Wall;

use super::attribution::{Named, SessionKey};
use super::config::{PayDuplicates, PayPolicy};
use super::decider::{Known, decide};
use super::decision::{Check, Decision, Finding, Step, Verdict};
use super::history::PastCall;
use super::request::{RouteRequest, SessionReading, Tags, UsageReader};
use super::selection::Rotation;
use super::snapshot::{Payout, RoutingSnapshot};

/// How long after its end a promise is still kept: the call was on its way.
pub const GRACE: Duration = Duration::from_secs(3);

/// What a quote takes the trunk to say of the caller.
const VOUCHED: (&str, &str) = ("caller.verstat", "TN-Validation-Passed-A");

/// A promise does not hold for a call of another caller than it was made for.
const OTHER_CALLER: &str = "match.caller_mismatch";

/// What the publisher of a session was promised for a call of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Encode, Decode)]
pub struct Promise {
    #[n(0)]
    pub payout: Money,
    /// Seconds after the answer at which it is owed, if the call is still up.
    #[n(1)]
    pub payout_seconds: u32,
    /// The call has to come before this.
    #[n(2)]
    pub until: Wall,
    /// Nothing is owed if the call is a duplicate by then.
    #[n(3)]
    pub no_duplicates: bool,
    /// A call was matched to the session that used it up, and this was for that one.
    #[n(4)]
    #[cbor(default)]
    pub spent: bool,
}

/// What would be paid for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub payout: Money,
    /// Seconds after the answer.
    pub payout_seconds: u32,
    /// Nothing is paid for a duplicate.
    pub no_duplicates: bool,
}

/// A decision about the call of a session, made as if it came now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    pub decision: Decision,
    /// What its publisher would earn; `Err`: why nothing.
    pub offer: Result<Offer, Reason>,
}

/// What is owed to the publisher of a call: by the configuration, or as it was promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    pub(super) payout: Option<Payout>,
    pub(super) promised: bool,
    /// What there is to say of a promise.
    pub(super) finding: Option<Finding>,
}

impl Offer {
    /// `life`: how long it is to hold.
    pub fn promised(self, now: Wall, life: Duration) -> Promise {
        let Self { payout, payout_seconds, no_duplicates } = self;
        Promise { payout, payout_seconds, until: now + life, no_duplicates, spent: false }
    }
}

impl Promise {
    /// Whether it is still told to whoever asks again.
    pub fn is_live(&self, now: Wall) -> bool {
        !self.spent && now < self.until
    }

    /// What counts as a duplicate is as the configuration says when the call comes.
    fn payout(&self, configured: Option<&Payout>) -> Payout {
        let never =
            PayDuplicates { policy: PayPolicy::NeverPayDuplicates, ..PayDuplicates::default() };
        let configured = configured.map(|it| it.dedupe).filter(|it| !it.is_all());
        let dedupe = match self.no_duplicates {
            true => configured.unwrap_or(never),
            false => PayDuplicates::default(),
        };
        Payout { amount: self.payout, seconds: Some(self.payout_seconds), dedupe }
    }

    /// Why it does not hold for a call of the session.
    fn is_void(&self, session: &SessionReading, request: &RouteRequest) -> Option<&'static str> {
        if self.spent {
            return Some("quote.spent");
        }
        if request.at >= self.until + GRACE {
            return Some("quote.expired");
        }
        let is_other = session.caller.is_some() && session.caller != request.caller;
        is_other.then_some(OTHER_CALLER)
    }
}

impl SessionReading {
    /// Whether it is still promised to another caller what a call of it earns: then this one uses nothing up.
    pub fn is_promised_to_another(&self, request: &RouteRequest) -> bool {
        self.promise.and_then(|it| it.is_void(self, request)) == Some(OTHER_CALLER)
    }
}

impl Owed {
    /// `session` is the one that the call was matched to.
    pub(super) fn of(
        configured: Option<&Payout>,
        session: Option<&SessionReading>,
        request: &RouteRequest,
    ) -> Self {
        let by_configuration = Self { payout: configured.copied(), ..Self::default() };
        let Some((session, promise)) = session.and_then(|it| Some((it, it.promise?))) else {
            return by_configuration;
        };
        let Promise { payout, payout_seconds, until, .. } = promise;
        let have = format_smolstr!("{payout} after {payout_seconds} s");
        let told = |subject, want: Option<SmolStr>| {
            let subject = Some(SmolStr::new_static(subject));
            Some(Finding { subject, have: Some(have), want, ..Finding::default() })
        };
        if let Some(why) = promise.is_void(session, request) {
            let want = match why {
                "quote.expired" => Some(format_smolstr!("a call before {}", until.to_rfc3339())),
                _ => None,
            };
            return Self { finding: told(why, want), ..by_configuration };
        }
        let late = if request.at < until { "quote" } else { "quote.late" };
        let payout = Some(promise.payout(configured));
        Self { payout, promised: true, finding: told(late, None) }
    }
}

/// The call that a session announces, as if it came at `at`. `dialed` is the number that stands in for
/// the session's own address.
pub fn announced(session: &SessionReading, dialed: PhoneNumber, at: Wall) -> RouteRequest {
    let (name, value) = VOUCHED;
    RouteRequest {
        call: CallId(session.ping.0),
        at,
        dialed,
        caller: session.caller,
        trunk: "".into(),
        named: Some(Named { key: SessionKey::Ping(session.ping), is_all: true }),
        tags: Tags::from([(name.into(), value.into())]),
        announced: true,
    }
}

/// What the publisher of a session would earn with the call that it announces, or why nothing: what stops
/// the call, what refuses the target that would be tried before all others, or why nothing would be owed.
/// `request` is that of [`announced`]; `calls` are the caller's earlier ones, the latest first.
pub fn quote<U: UsageReader + ?Sized>(
    snapshot: &RoutingSnapshot,
    request: &RouteRequest,
    session: &SessionReading,
    calls: &[PastCall],
    usage: &U,
    rotation: &Rotation,
) -> Quoted {
    let session = SessionReading { promise: None, ..session.clone() };
    let mut rotation = rotation.of(&session.campaign);
    let known = Known { sessions: std::slice::from_ref(&session), calls };
    let decision = decide(snapshot, request, known, usage, &mut rotation);
    let offer = offer(snapshot, &session, &decision);
    Quoted { decision, offer }
}

fn offer(
    snapshot: &RoutingSnapshot,
    session: &SessionReading,
    decision: &Decision,
) -> Result<Offer, Reason> {
    let Some(first) = decision.plan.first() else { return Err(refusal(decision)) };
    let payout = snapshot
        .publisher(&session.publisher)
        .and_then(|publisher| publisher.payouts.get(&session.campaign));
    let terms = first.terms.ok_or(Reason::PayoutNone)?;
    if terms.payout <= Money::ZERO {
        return Err(match terms.no_payout {
            Some(NoPayout::PublisherCap) => Reason::PayoutCapped,
            Some(NoPayout::Duplicate) => Reason::PayoutDuplicate,
            None => Reason::PayoutNone,
        });
    }
    let rule = snapshot.campaign(&session.campaign).map(|it| it.callers.duplicates.is_some());
    let policy = payout.map(|it| it.dedupe.policy).unwrap_or_default();
    Ok(Offer {
        payout: terms.payout,
        payout_seconds: terms.payout_seconds,
        no_duplicates: match policy {
            PayPolicy::PayAll => false,
            PayPolicy::NeverPayDuplicates => rule == Some(true),
            PayPolicy::OncePer => true,
        },
    })
}

/// Why a call goes nowhere, more closely than [`Decision::refused`] where its targets have different
/// reasons: that of the first one in their order that somebody has not taken out on purpose.
fn refusal(decision: &Decision) -> Reason {
    let common = decision.refused.unwrap_or(Reason::NoneEligible);
    if common != Reason::NoneEligible {
        return common;
    }
    let is_of_target = |step: &&Step| step.target.is_some() && step.verdict == Verdict::Refused;
    let refused = || decision.steps.iter().filter(is_of_target);
    let is_out = |step: &&Step| matches!(step.check, Check::State | Check::Weight);
    let best = refused().find(|step| !is_out(step)).or_else(|| refused().next());
    best.and_then(|step| step.reason).unwrap_or(common)
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { payout, payout_seconds, until, .. } = self;
        write!(f, "{payout} after {payout_seconds} s, until {}", until.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::*;
    use crate::id::{PingId, SessionId, TargetId};
    use crate::routing::config::RoutingConfig;
    use crate::routing::history::Connected;
    use crate::routing::hold::Bucket;
    use crate::routing::ping::{Checked, NewIds, PingRequest};
    use crate::routing::replay::{DecisionRecord, record_bytes};
    use crate::routing::{Usage, decide};

    const AT: Wall = Wall(1_773_759_852_318);
    const CALLER: &str = "+16145550188";
    const LIFE: Duration = Duration::from_secs(60);
    const CONFIG: &str = r#"
        buyers = [{ id = "b" }]
        [[publishers]]
        id = "p"
        payouts = [{ campaign = "c", amount = "24.00", dedupe = { policy = "never_pay_duplicates" } }]
        caps = [{ metric = "payout", window = "daily", limit = "100.00", on_full = "stop_paying" }]
        [[targets]]
        id = "first"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:a" }
        conversion = { seconds = 90, revenue = "38.00" }
        filters = { all = [{ tag = "geo.state", op = "in", value = ["OH", "KY"] }] }
        [[targets]]
        id = "second"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:b" }
        conversion = { seconds = 120, revenue = "35.00" }
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        callers = { duplicates = { mark_on = "connected" } }
        routing = { tiers = [
            { tier = 1, targets = [{ target = "first" }] },
            { tier = 2, targets = [{ target = "second" }] },
        ] }
    "#;

    type Used = BTreeMap<Bucket, Usage>;

    #[test]
    fn a_quote_is_what_the_first_target_makes_the_publisher_earn() {
        let offer = |seconds| Offer {
            payout: Money(24_000_000),
            payout_seconds: seconds,
            no_duplicates: true,
        };
        assert_eq!(quoted(CONFIG, "OH", &[]), Ok(offer(90)));
        assert_eq!(quoted(CONFIG, "TX", &[]), Ok(offer(120)), "the first one does not want Texans");
        let always = CONFIG.replace("never_pay_duplicates", "pay_all");
        let always_paid = Offer { no_duplicates: false, ..offer(90) };
        assert_eq!(quoted(&always, "OH", &[]), Ok(always_paid));
    }

    #[test]
    fn nothing_is_bid_for_a_call_that_earns_nothing_and_it_is_said_why() {
        let paused = CONFIG.replace("publisher = \"p\"\n", "publisher = \"p\"\npaused = true\n");
        let closed = CONFIG.replacen(
            "id = \"first\"\n",
            "id = \"first\"\nschedule = { time_zone = \"UTC\", hours = [{ day = \"mon\", open = \"09:00\", close = \"18:00\" }] }\n",
            1,
        );
        let nobody = closed.replace("id = \"second\"\n", "id = \"second\"\npaused = true\n");
        let before = past_call();
        for (config, state, calls, reason) in [
            (paused.as_str(), "OH", &[][..], Reason::CampaignPaused),
            (&nobody, "OH", &[], Reason::ScheduleClosed),
            (&CONFIG.replace("payouts", "#"), "OH", &[], Reason::PayoutNone),
            (&CONFIG.replace("\"100.00\"", "\"23.99\""), "OH", &[], Reason::PayoutCapped),
            (CONFIG, "OH", std::slice::from_ref(&before), Reason::PayoutDuplicate),
        ] {
            assert_eq!(quoted(config, state, calls), Err(reason), "{reason:?}");
        }
    }

    #[test]
    fn what_was_promised_is_paid_whoever_takes_the_call_and_whatever_is_paid_since() {
        let promise = promised("OH");
        let since = without_the_first(CONFIG)
            .replace("\"24.00\"", "\"11.00\"")
            .replace("id = \"c\"\n", "id = \"c\"\nprice = { allow_loss = true }\n");
        let decision = decided(&since, Some(promise), |_| ());
        assert_eq!(paid(&decision), ["second 24.00 90"]);
        let step = payout_step(&decision);
        assert_eq!(step.subject.as_deref(), Some("quote"));
        assert_eq!(step.have.as_deref(), Some("24.00 after 90 s"));

        let late = |ms| {
            let decision = decided(&since, Some(promise), |it| it.at = Wall(AT.0 + ms));
            let subject = payout_step(&decision).subject.clone();
            (paid(&decision).join(", "), subject.unwrap().to_string())
        };
        assert_eq!(late(59_999), ("second 24.00 90".to_owned(), "quote".into()));
        assert_eq!(late(60_000), ("second 24.00 90".to_owned(), "quote.late".into()));
        assert_eq!(late(62_999), ("second 24.00 90".to_owned(), "quote.late".into()));
        assert_eq!(late(63_000), ("second 11.00 120".to_owned(), "quote.expired".into()));
    }

    #[test]
    fn a_target_that_owes_later_than_was_promised_does_not_get_the_call() {
        let promise = promised("OH");
        assert_eq!(promise.payout_seconds, 90);

        let decision = decided(&without_the_first(CONFIG), Some(promise), |_| ());

        let is_loss = |step: &&Step| step.reason == Some(Reason::PriceLoss);
        let step = decision.steps.iter().find(is_loss).unwrap();
        assert_eq!(step.target, Some("second".into()));
        let have = "a revenue after 120 s and a payout after 90 s";
        assert_eq!(step.have.as_deref(), Some(have));
        assert_eq!(step.want.as_deref(), Some("no payout before the revenue"));
        assert_eq!(paid(&decision), Vec::<String>::new());
        let later = decided(&without_the_first(CONFIG), Some(promised("TX")), |_| ());
        assert_eq!(paid(&later), ["second 24.00 120"], "it was promised after 120 s");
        // Nothing is lost where nothing is paid.
        let unpaid = CONFIG.replace("\"100.00\"", "\"23.99\"");
        assert_eq!(paid(&decided(&unpaid, None, |_| ())), ["first 0.00 90", "second 0.00 120"]);
    }

    #[test]
    fn a_promise_is_for_its_caller_s_first_call_alone() {
        let promise = promised("OH");
        let today = ["first 11.00 90", "second 11.00 120"];
        let since = CONFIG.replace("\"24.00\"", "\"11.00\"");
        let other = decided(&since, Some(promise), |it| it.caller = "+16145550199".parse().ok());
        assert_eq!(paid(&other), today);
        assert_eq!(payout_step(&other).subject.as_deref(), Some("match.caller_mismatch"));
        let hidden = decided(&since, Some(promise), |it| it.caller = None);
        assert_eq!(paid(&hidden), today);
        let again = decided(&since, Some(Promise { spent: true, ..promise }), |_| ());
        assert_eq!(paid(&again), today);
        assert_eq!(payout_step(&again).subject.as_deref(), Some("quote.spent"));
        assert_eq!(paid(&decided(&since, None, |_| ())), today);
    }

    #[test]
    fn a_match_that_is_not_sure_enough_leaves_a_plain_call() {
        let since = CONFIG
            .replace("\"24.00\"", "\"11.00\"")
            .replace("id = \"c\"\n", "id = \"c\"\nmin_match_confidence = 0.95\n");
        // By its number and caller alone the session is known to 0.9.
        let plain = decided(&since, Some(promised("OH")), |it| it.named = None);
        assert_eq!(paid(&plain), ["first 11.00 90", "second 11.00 120"]);
        let doubt = |step: &Step| step.subject.as_deref() == Some("match.below_minimum");
        assert!(plain.steps.iter().any(doubt), "{:?}", plain.steps);
    }

    #[test]
    fn a_call_whose_promise_cannot_be_paid_is_not_taken() {
        let promise = promised("OH");
        let no_room = CONFIG.replace("\"100.00\"", "\"23.99\"");
        let decision = decided(&no_room, Some(promise), |_| ());
        assert_eq!(
            (paid(&decision), decision.refused),
            (Vec::<String>::new(), Some(Reason::PayoutCapped))
        );
        let plain = decided(&no_room, None, |_| ());
        assert_eq!(paid(&plain), ["first 0.00 90", "second 0.00 120"]);

        let no_loss =
            CONFIG.replace("id = \"c\"\n", "id = \"c\"\nprice = { allow_loss = false }\n");
        let dear = Promise { payout: Money(36_000_000), ..promise };
        let decision = decided(&no_loss, Some(dear), |_| ());
        assert_eq!(paid(&decision), ["first 36.00 90"], "of 35.00 nothing would be left");
    }

    #[test]
    fn a_decision_with_a_promise_is_made_again() {
        let (snapshot, session) = (compiled(CONFIG), session("OH", Some(promised("OH"))));
        let request = announced(&session, "+18005550100".parse().unwrap(), AT);
        let known = Known { sessions: &[session], calls: &[] };
        let decision = decide(&snapshot, &request, known, &Used::new(), &mut Rotation::default());
        let record = record_bytes(&request, known, &decision);
        let record = DecisionRecord::from_bytes(&record).unwrap();
        assert_eq!(record.decision, decision);
        let known = Known { sessions: &record.sessions, calls: &[] };
        let again =
            decide(&snapshot, &record.request, known, &Used::new(), &mut Rotation::default());
        assert_eq!(again, decision);
    }

    /// Whatever the configuration becomes while a promise lives, what takes the call pays it.
    #[test]
    fn no_configuration_pays_less_than_was_promised() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let (mut taken, mut refused) = (0, 0);
        for n in 0..300 {
            let before = any_config(&mut rng);
            let state = if rng.bool() { "OH" } else { "TX" };
            let Ok(offer) = quoted(&before, state, &[]) else { continue };
            let promise = offer.promised(AT, LIFE);
            let calls = if rng.bool() { vec![past_call()] } else { vec![] };
            let (after, session) = (compiled(&any_config(&mut rng)), session(state, Some(promise)));
            let at = Wall(AT.0 + rng.i64(0..63_000));
            let request = announced(&session, "+18005550100".parse().unwrap(), at);
            let known = Known { sessions: &[session], calls: &calls };
            let decision = decide(&after, &request, known, &Used::new(), &mut Rotation::default());
            let is_duplicate = decision.steps.iter().any(|it| it.check == Check::Duplicate);
            let is_due = !(promise.no_duplicates && is_duplicate);
            for attempt in &decision.plan {
                let terms = attempt.terms.unwrap();
                let due = if is_due { promise.payout } else { Money::ZERO };
                let have = (terms.payout, terms.payout_seconds);
                assert_eq!(have, (due, promise.payout_seconds), "seed {seed}, {n}");
                taken += 1;
            }
            refused += usize::from(decision.plan.is_empty());
        }
        assert!(taken > 50 && refused > 10, "{taken} taken, {refused} refused, seed {seed}");
    }

    fn without_the_first(config: &str) -> String {
        config.replacen("id = \"first\"\n", "id = \"first\"\npaused = true\n", 1)
    }

    fn any_config(rng: &mut Rng) -> String {
        let allows_loss = rng.u8(0..3) > 0;
        // Where no loss is allowed the least of the targets brings 35.00.
        let most = if allows_loss { 60 } else { 36 };
        let amount = format!("\"{}.00\"", rng.u8(1..most));
        let limit = if rng.u8(0..4) == 0 { "\"10.00\"" } else { "\"100.00\"" };
        let mut config = CONFIG.replace("\"24.00\"", &amount).replace("\"100.00\"", limit);
        if rng.bool() {
            let least = if allows_loss { 10 } else { 120 };
            let seconds = rng.u8(least..200);
            config = config.replacen(&amount, &format!("{amount}, seconds = {seconds}"), 1);
        }
        if rng.bool() {
            config = config.replace("never_pay_duplicates", "pay_all");
        }
        if rng.u8(0..3) == 0 {
            config = without_the_first(&config);
        }
        let price = format!("id = \"c\"\nprice = {{ allow_loss = {allows_loss} }}\n");
        config.replace("id = \"c\"\n", &price)
    }

    fn promised(state: &str) -> Promise {
        quoted(CONFIG, state, &[]).unwrap().promised(AT, LIFE)
    }

    fn quoted(config: &str, state: &str, calls: &[PastCall]) -> Result<Offer, Reason> {
        let (snapshot, session) = (compiled(config), session(state, None));
        let request = announced(&session, "+18005550100".parse().unwrap(), AT);
        let rotation = Rotation::default();
        quote(&snapshot, &request, &session, calls, &Used::new(), &rotation).offer
    }

    fn decided(
        config: &str,
        promise: Option<Promise>,
        change: impl FnOnce(&mut RouteRequest),
    ) -> Decision {
        let (snapshot, session) = (compiled(config), session("OH", promise));
        let mut request = announced(&session, "+18005550100".parse().unwrap(), AT);
        change(&mut request);
        let known = Known { sessions: &[session], calls: &[] };
        decide(&snapshot, &request, known, &Used::new(), &mut Rotation::default())
    }

    /// Each target that would be tried, with what the publisher is paid and when.
    fn paid(decision: &Decision) -> Vec<String> {
        let paid = decision.plan.iter().map(|attempt| {
            let terms = attempt.terms.unwrap();
            format!("{} {} {}", attempt.target, terms.payout, terms.payout_seconds)
        });
        paid.collect()
    }

    fn payout_step(decision: &Decision) -> &Step {
        let is_it = |step: &&Step| step.check == Check::Payout && step.target.is_none();
        decision.steps.iter().find(is_it).unwrap()
    }

    fn past_call() -> PastCall {
        PastCall {
            call: CallId::from_bytes([1; 16]),
            at: Wall(AT.0 - 3_600_000),
            dialed: "+18005550100".parse().unwrap(),
            campaign: "c".into(),
            publisher: "p".into(),
            connected: Some(Connected {
                target: TargetId::new("second"),
                buyer: "b".into(),
                at: Wall(AT.0 - 3_600_000),
            }),
            converted_at: None,
            talk_ms: None,
            charges: false,
            pays_after_ms: None,
            left: vec![],
        }
    }

    fn session(state: &str, promise: Option<Promise>) -> SessionReading {
        let ping = PingRequest {
            campaign: Some("c".into()),
            caller_id: Some(CALLER.into()),
            state: Some(state.into()),
            ..PingRequest::default()
        };
        let checked = Checked::of(&compiled(CONFIG), &ping).unwrap();
        let ids =
            NewIds { ping: PingId::from_bytes([7; 16]), session: SessionId::from_bytes([8; 16]) };
        SessionReading { promise, ..checked.announcing(ids, AT) }
    }

    fn compiled(config: &str) -> RoutingSnapshot {
        let config: RoutingConfig = toml::from_str(config).unwrap();
        RoutingSnapshot::compile(config, 1).unwrap()
    }
}

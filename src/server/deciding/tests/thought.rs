//! Sessions behind calls that are thought of: those that are live, and those that are assumed.

use super::*;
use crate::routing::Decision;
use crate::routing::simulate::{AskedCall, AssumedSession, Dialed};

const OPENED: Wall = Wall(1_773_759_838_318);
const CALLED: Wall = Wall(1_773_759_852_318);
/// Not of Ohio, unless somebody says so.
const CALLER: &str = "+12125550188";

/// Two targets by what the ping says, a pool and a static number.
const RULES: &str = r#"
    publishers = [{ id = "p" }, { id = "q" }]
    pools = [{ id = "pool", campaign = "c", publisher = "p", numbers = ["+16145550101"] }]
    [[buyers]]
    id = "b"
    [[buyers]]
    id = "rich"
    credit = { limit = "10.00" }
    [[targets]]
    id = "ohio"
    buyer = "rich"
    dial = { kind = "sip", uri = "sip:ohio" }
    conversion = { seconds = 60, revenue = "42.00" }
    concurrency = { limit = 5 }
    filters = { all = [{ tag = "geo.state", op = "eq", value = "OH" }] }
    [[targets]]
    id = "rest"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:rest" }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = { tiers = [
        { tier = 1, targets = [{ target = "ohio" }] }, { tier = 2, targets = [{ target = "rest" }] },
    ] }
"#;

/// By its number, by its address and by its caller: whoever is thought to call is who then calls.
#[test]
fn a_live_session_whose_call_is_thought_of_is_that_of_the_call_which_comes() {
    for (pool, by_address) in
        [(Some("pool"), false), (Some("pool"), true), (None, true), (None, false)]
    {
        let deciding = deciding();
        let ping = open(&deciding, pool);
        let live = deciding.live_session(SessionKey::Ping(ping)).unwrap();
        assert_eq!(live.caller, CALLER.parse().ok());
        let dialed = if by_address { live.named } else { live.dialed };
        let asked = AskedCall { caller: live.caller, ..asked(dialed) };
        let (request, sessions) = asked.request(&deciding.snapshot()).unwrap();
        assert_eq!(sessions, []);
        // Without a number of its own, its address is all there is to call.
        let is_named = by_address || pool.is_none();
        assert_eq!(request.named.is_some_and(|it| it.is_all), is_named);

        let thought = deciding.simulate(&deciding.snapshot(), &request, &rich(), NOW).decision;
        let attribution = thought.attribution.clone().unwrap();
        assert_eq!(attribution.ping, Some(ping));
        let method = if is_named { "address" } else { "caller_lease" };
        assert_eq!(attribution.method.name(), method);
        assert_eq!(thought.plan.len(), 2, "its tags speak");

        let nothing = Assumed::default();
        let thought = deciding.simulate(&deciding.snapshot(), &request, &nothing, NOW).decision;
        let real = deciding.decide(&request, NOW, &[], None, None).decision;
        assert_eq!(thought, real);
    }
    assert!(deciding().live_session(SessionKey::Ping(PingId::from_bytes([7; 16]))).is_none());
}

/// A call with an assumed session goes where it goes once there is such a session.
#[test]
fn a_session_that_is_assumed_does_what_one_that_is_opened_does() {
    let session = || AssumedSession {
        tags: [("geo.state".into(), "OH".into())].into(),
        age_ms: u32::try_from(CALLED.0 - OPENED.0).unwrap(),
        ..AssumedSession::default()
    };
    let number = |text: &str| Dialed::Number(text.parse().unwrap());
    for (dialed, pool) in [
        (Dialed::Pool("pool".into()), Some("pool")),
        (number("+16145550101"), Some("pool")),
        (number("+18005550100"), None),
    ] {
        let deciding = deciding();
        let asked = AskedCall { session: Some(session()), ..asked(dialed) };
        let (request, sessions) = asked.request(&deciding.snapshot()).unwrap();
        let assumed = Assumed { sessions, ..Assumed::default() };
        let thought = deciding.simulate(&deciding.snapshot(), &request, &assumed, NOW).decision;
        let without = Assumed::default();
        let without = deciding.simulate(&deciding.snapshot(), &request, &without, NOW).decision;
        assert_ne!(told(&thought), told(&without), "the session makes a difference");

        open(&deciding, pool);
        let real = deciding.decide(&request, NOW, &[], None, None).decision;

        assert_eq!(told(&thought), told(&real));
        assert_eq!(thought.plan, real.plan);
    }

    // By its address alone, it has to say whose it is.
    let deciding = deciding();
    let snapshot = deciding.snapshot();
    let own = |campaign: Option<&str>, publisher: Option<&str>| {
        let (campaign, publisher) = (campaign.map(Into::into), publisher.map(Into::into));
        let session = AssumedSession { campaign, publisher, ..session() };
        AskedCall { session: Some(session), ..asked(Dialed::Assumed) }.request(&snapshot)
    };
    let (request, sessions) = own(Some("c"), Some("q")).unwrap();
    let assumed = Assumed { sessions, ..Assumed::default() };
    let thought = deciding.simulate(&snapshot, &request, &assumed, NOW).decision;
    let attribution = thought.attribution.unwrap();
    assert_eq!((attribution.method.name(), attribution.publisher.as_str()), ("address", "q"));
    for (session, field) in [
        (own(None, Some("p")), "session"),
        (own(Some("c"), None), "session"),
        (own(Some("nobody"), Some("p")), "session/campaign"),
        (own(Some("c"), Some("nobody")), "session/publisher"),
    ] {
        assert_eq!(session.unwrap_err().field, field);
    }
    let nobody = asked(Dialed::Pool("nobody".into())).request(&snapshot);
    assert_eq!(nobody.unwrap_err().to_string(), "pool `nobody` is no pool of this configuration");
}

#[test]
fn buyers_may_be_thought_of_with_more_credit_with_fewer_agents_or_paused() {
    let deciding = deciding();
    let snapshot = deciding.snapshot();
    let mut call = asked(Dialed::Number("+18005550100".parse().unwrap()));
    call.tags = [("geo.state".into(), "OH".into())].into();
    let (request, _) = call.request(&snapshot).unwrap();
    let first = |snapshot: &RoutingSnapshot, assumed: &Assumed| {
        let decision = deciding.simulate(snapshot, &request, assumed, NOW).decision;
        let refused = decision.steps.iter().find_map(|step| step.reason);
        (decision.plan[0].target.to_string(), refused)
    };
    let (ohio, rest) = ("ohio".to_owned(), "rest".to_owned());
    let credit = |left: &str| {
        let left = left.parse().unwrap();
        Assumed { used: snapshot.credit_left(&"rich".into(), left).unwrap(), ..Assumed::default() }
    };
    let no_credit = Some(Reason::NoCredit);
    assert_eq!(first(&snapshot, &Assumed::default()), (rest.clone(), no_credit));
    assert_eq!(first(&snapshot, &credit("42.00")), (ohio, None));
    assert_eq!(first(&snapshot, &credit("41.99")), (rest.clone(), no_credit));
    assert_eq!(snapshot.credit_left(&"b".into(), Money::ZERO), None);

    let none_ready =
        Assumed { ready: [("target/ohio/concurrency".into(), 0)].into(), ..credit("42.00") };
    assert_eq!(first(&snapshot, &none_ready), (rest.clone(), Some(Reason::ConcurrencyFull)));
    let without = snapshot.without_buyers(&["rich".into()].into());
    assert_eq!(first(&without, &credit("42.00")), (rest, Some(Reason::TargetPaused)));
}

/// By what, how surely, of whom, and whether its ping is heard.
fn told(decision: &Decision) -> (String, u8, Option<u64>, Vec<String>) {
    let attribution = decision.attribution.as_ref().unwrap();
    let reasons = decision.steps.iter().filter_map(|step| step.reason);
    let reasons = reasons.map(|reason| reason.code().to_owned()).collect();
    let (method, sure) = (attribution.method.name().to_owned(), attribution.confidence.0);
    (method, sure, attribution.age_ms, reasons)
}

fn asked(dialed: Dialed) -> AskedCall {
    AskedCall {
        dialed,
        caller: CALLER.parse().ok(),
        trunk: "t".into(),
        at: CALLED,
        tags: Tags::new(),
        session: None,
        seed: 1,
    }
}

/// So that the first target has room.
fn rich() -> Assumed {
    Assumed { used: [("buyer/rich/deposits".into(), 100_000_000)].into(), ..Assumed::default() }
}

fn deciding() -> Deciding {
    Deciding::new(RoutingSnapshot::compile(toml::from_str(RULES).unwrap(), 1).unwrap())
}

fn open(deciding: &Deciding, pool: Option<&str>) -> PingId {
    let ids = NewIds { ping: PingId::from_bytes([3; 16]), session: SessionId::from_bytes([3; 16]) };
    let ping = PingRequest {
        campaign: Some("c".into()),
        publisher: Some("p".into()),
        pool: pool.map(Into::into),
        caller_id: Some(CALLER.into()),
        state: Some("OH".into()),
        ..PingRequest::default()
    };
    deciding.accept_ping(&mut Vetting::of(&ping), ids, OPENED, None, None).unwrap();
    ids.ping
}

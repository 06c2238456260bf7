//! Pings that ask for a price.

use std::time::Duration;

use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::routing::history::PastCall;
use crate::routing::ping::{Accepted, Lent, NewIds, PingRefusals, Session};
use crate::routing::quote::{Quoted, announced, quote};
use crate::routing::{Decision, RouteRequest, RoutingSnapshot, SessionReading};
use crate::time::{Mono, Wall};

use super::admitting::{Refusal, Vetting};
use super::offering::{OfferedRoom, Unopened, or_ask};
use super::{Counted, Deciding, Opened, Read, State};

/// Why a priced ping has opened no session.
#[derive(Debug)]
pub enum Unpriced {
    Unopened(Unopened),
    /// Nothing would be paid for its call.
    NoBid(Reason),
}

/// A call that has not come, and what would be decided about it.
pub(super) struct Foreseen<T> {
    pub(super) request: RouteRequest,
    /// The caller's earlier ones, the latest first.
    pub(super) calls: Vec<PastCall>,
    pub(super) quoted: Quoted,
    /// What was looked up besides, on what the decision was made on.
    pub(super) besides: T,
}

impl Deciding {
    /// Opens a session with a promise that holds for `life`, or answers as before a ping that was priced
    /// and came again. The answer may be given once its fact is durable. `room` is what came of the question
    /// for it, if there was one. Scorers elsewhere are not asked.
    ///
    /// # Errors
    /// It is refused, nothing would be paid for its call, or room or a number has to be had first.
    pub(in crate::server) fn accept_priced(
        &self,
        vetting: &mut Vetting<'_>,
        life: Duration,
        ids: NewIds,
        (now, at): (Mono, Wall),
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Accepted, Option<Opened>), Unpriced> {
        let opened = self.open_priced(vetting, life, ids, (now, at), room, lent);
        let unopened = opened.as_ref().err().and_then(|unpriced| match unpriced {
            Unpriced::Unopened(unopened) => Some(unopened),
            Unpriced::NoBid(_) => None,
        });
        self.give_back_of(room, unopened);
        opened
    }

    fn open_priced(
        &self,
        vetting: &mut Vetting<'_>,
        life: Duration,
        ids: NewIds,
        (now, at): (Mono, Wall),
        room: Option<&OfferedRoom>,
        lent: Option<Lent>,
    ) -> Result<(Accepted, Option<Opened>), Unpriced> {
        let snapshot = self.snapshot.load();
        let checked = vetting.look(&snapshot, at).map_err(Refusal::counted)?;
        let mut state = self.state.lock();
        state.desk.expire(at);
        if let Some(again) = state.desk.quoted(checked, at) {
            return Ok((again, None));
        }
        let session = checked.announcing(ids, at);
        let foreseen =
            self.foresee(&snapshot, &state, &session, checked.number(), (now, at), |_, _, _| ());
        let offer = foreseen.and_then(|it| it.quoted.offer).map_err(Unpriced::NoBid)?;
        self.lend_first(checked, lent)?;
        let promise = offer.promised(at, life.min(checked.ttl()));
        let State { ledger, desk, .. } = &mut *state;
        let (mut counted, mut ask) = (vec![], None);
        let checked = vetting.take(&snapshot, at).map_err(Refusal::counted)?.promising(promise);
        let request_id = vetting.request.request_id.clone();
        let accepted =
            desk.accept_lent(checked, request_id, ids, at, lent, |publisher, campaign| {
                let requests = snapshot.of_ping(publisher, campaign, at);
                let ping = self.count_ping(ledger, &requests, room, ids.ping, at);
                counted = or_ask(ping, &mut ask)?;
                Ok(())
            });
        let opened = accepted.as_ref().ok();
        let session = opened.and_then(|it| desk.session(it.session)).cloned();
        drop(state);
        if let Some(asked) = ask {
            return Err(Unopened::Ask(asked).into());
        }
        let accepted = accepted.map_err(PingRefusals::from)?;
        if let Some(session) = &session {
            self.delivery_expected(&session.publisher, at);
        }
        Ok((accepted, session.map(|session| Opened { session, counted })))
    }

    /// The live session of a priced ping, if its promise still lives and some target would take its call.
    ///
    /// # Errors
    /// Why none would; `None`: its promise is over.
    pub fn confirm(
        &self,
        session: Session,
        (now, at): (Mono, Wall),
    ) -> Result<Session, Option<Reason>> {
        let snapshot = self.snapshot.load();
        let state = self.state.lock();
        let lives = session.promise.as_ref().is_some_and(|promise| promise.is_live(at));
        if !lives || session.consumed_at.is_some() {
            return Err(None);
        }
        let number = session.number.filter(|it| snapshot.number(*it).is_some());
        let announced = session.announced();
        let nothing = |_: &_, _: &_, _: &Read<'_>| ();
        self.foresee(&snapshot, &state, &announced, number, (now, at), nothing)?.quoted.offer?;
        Ok(session)
    }

    /// The call of a session, as if it came now to its number or to any of its campaign. Nothing is taken
    /// or moved on by it; a store elsewhere is not asked. `look` sees what it was decided on.
    ///
    /// # Errors
    /// Its campaign has no number.
    pub(super) fn foresee<T>(
        &self,
        snapshot: &RoutingSnapshot,
        state: &State,
        session: &SessionReading,
        number: Option<PhoneNumber>,
        (now, at): (Mono, Wall),
        look: impl FnOnce(&RouteRequest, &Decision, &Read<'_>) -> T,
    ) -> Result<Foreseen<T>, Reason> {
        let stand_in = || snapshot.stand_in(&session.campaign, &session.publisher);
        let dialed = number.or_else(stand_in).ok_or(Reason::NumberUnknown)?;
        let request = announced(session, dialed, at);
        let remembered = snapshot.remembered(&request, std::slice::from_ref(session));
        let (calls, prior) =
            self.known_of(snapshot, remembered.as_ref(), &request, &state.history, None);
        let State { ledger, circuits, ways, performance, rotation, .. } = state;
        let (down, counts) = (self.down.load(), Counted { ledger, circuits, ways, performance });
        let read = Read::of(self, counts, &down, (now, at));
        let read = Read { prior: prior.as_ref(), ..read };
        let quoted = quote(snapshot, &request, session, &calls, &read, rotation);
        let besides = look(&request, &quoted.decision, &read);
        Ok(Foreseen { request, calls, quoted, besides })
    }
}

impl From<Unopened> for Unpriced {
    fn from(unopened: Unopened) -> Self {
        Self::Unopened(unopened)
    }
}

impl From<PingRefusals> for Unpriced {
    fn from(refusals: PingRefusals) -> Self {
        Self::Unopened(refusals.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CallId, PingId, PublisherId, SessionId};
    use crate::money::Money;
    use crate::reason::NoPayout;
    use crate::routing::attribution::{Named, SessionKey};
    use crate::routing::decision::Terms;
    use crate::routing::hold::{Bucket, Counts, Denied, NoRoom};
    use crate::routing::ping::PingRequest;
    use crate::routing::{CallScope, Tags};

    const CONFIG: &str = r#"
        buyers = [{ id = "b" }]
        [[publishers]]
        id = "p"
        payouts = [{ campaign = "c", amount = "24.00" }]
        caps = [
            { metric = "payout", window = "daily", limit = "48.00", on_full = "stop_paying" },
            { metric = "pinged", window = "daily", limit = 3 },
        ]
        [[targets]]
        id = "t1"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:a" }
        conversion = { seconds = 90, revenue = "38.00" }
        caps = [{ metric = "attempted", window = "daily", limit = 100 }]
        [[targets]]
        id = "t2"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:b" }
        conversion = { seconds = 60, revenue = "38.00" }
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [{ target = "t1" }, { target = "t2" }] }] }
    "#;
    const LIFE: Duration = Duration::from_secs(60);
    /// 2026-03-17T15:00Z.
    const AT: Wall = Wall(1_773_759_600_000);

    #[test]
    fn the_same_ping_gets_the_same_answer_while_its_promise_lives_and_no_call_has_come() {
        let deciding = deciding();
        let first = priced(&deciding, 1, "OH", AT).unwrap();
        let again = |n, state, at| priced(&deciding, n, state, at).unwrap();

        let repeated = again(2, "OH", Wall(AT.0 + 59_999));
        assert_eq!(repeated, Accepted { repeated: true, ..first.clone() });
        let other = again(3, "KY", AT);
        assert!(!other.repeated && other.ping != first.ping, "it says something else");
        deciding.decide(&call(&first, 1), Mono(1), &[], None, None);
        let new = again(4, "OH", Wall(AT.0 + 1));
        assert!(!new.repeated && new.ping != first.ping, "a call has come of the first");
        let refused = priced(&deciding, 5, "OH", Wall(AT.0 + 60_001)).unwrap_err();
        assert!(
            matches!(refused, Unpriced::Unopened(Unopened::Refused(_))),
            "the cap has no fourth"
        );
        assert!(again(6, "OH", Wall(AT.0 + 2)).repeated, "which counts no repetition");
    }

    #[test]
    fn a_quote_takes_no_turn_and_no_room() {
        let (asked, plain) = (deciding(), deciding());
        let meters = |it: &Deciding| {
            let mut meters = it.meters(AT);
            meters.retain(|cap, _| !cap.contains("pinged"));
            meters
        };
        let mut seconds = vec![];
        for n in 1..=3 {
            let state = format!("S{n}");
            let accepted = priced(&asked, n, &state, AT).unwrap();
            seconds.push(accepted.promise.unwrap().payout_seconds);
            let session = asked.session_of(accepted.ping).unwrap();
            assert!(asked.confirm(session, (Mono(1), AT)).is_ok());
        }
        assert_eq!(seconds, [90, 90, 90], "each is asked as if it were the next");
        assert_eq!(meters(&asked), meters(&plain));
        for n in 0..10 {
            let call = RouteRequest { call: CallId::from_bytes([n; 16]), ..number_call() };
            let first = |it: &Deciding| {
                it.decide(&call, Mono(1), &[], None, None)
                    .decision
                    .plan
                    .first()
                    .map(|it| it.target.clone())
            };
            assert_eq!(first(&asked), first(&plain), "call {n}");
        }
    }

    #[test]
    fn a_promised_attempt_does_not_go_on_unpaid() {
        let deciding = deciding();
        let bucket = Bucket { cap: "publisher/p/payout/daily".into(), window: "total".into() };
        let (counts, limit) = (Counts::Payout, 1);
        let no_room = NoRoom::from(Denied { bucket, counts, used: 1, held: 0, limit });
        let scope = CallScope {
            campaign: "c".into(),
            publisher: PublisherId::new("p"),
            trunk: "trk".into(),
            number: PhoneNumber::from_digits(18_005_550_100).unwrap(),
        };
        let accepted = priced(&deciding, 1, "OH", AT).unwrap();
        let decided = deciding.decide(&call(&accepted, 1), Mono(1), &[], None, None);
        let terms = decided.decision.plan[0].terms.unwrap();
        assert!(terms.promised);
        assert_eq!(deciding.unpaid_instead(terms, Some(&scope), &no_room), None);
        let plain = Terms { promised: false, ..terms };
        let unpaid = deciding.unpaid_instead(plain, Some(&scope), &no_room).unwrap();
        assert_eq!((unpaid.payout, unpaid.no_payout), (Money::ZERO, Some(NoPayout::PublisherCap)));
    }

    #[test]
    fn a_promise_is_confirmed_until_it_is_over_or_used_or_nobody_is_left() {
        let deciding = deciding();
        let accepted = priced(&deciding, 1, "OH", AT).unwrap();
        let confirm = |ms| {
            let session = deciding.session_of(accepted.ping).ok_or(None)?;
            let confirmed = deciding.confirm(session, (Mono(1), Wall(AT.0 + ms)));
            confirmed.map(|session| session.session)
        };
        assert_eq!(confirm(59_999), Ok(accepted.session));
        assert_eq!(confirm(60_000), Err(None));
        let paused = CONFIG.replace("buyer = \"b\"\n", "buyer = \"b\"\npaused = true\n");
        deciding.configure(compiled(&paused));
        assert_eq!(confirm(1), Err(Some(Reason::TargetPaused)));
        deciding.configure(compiled(CONFIG));
        deciding.decide(&call(&accepted, 1), Mono(1), &[], None, None);
        assert_eq!(confirm(1), Err(None));
    }

    #[test]
    fn a_stranger_s_call_leaves_the_promise_to_the_caller_it_was_made_to() {
        let deciding = deciding();
        let accepted = priced(&deciding, 1, "OH", AT).unwrap();
        let decide = |caller: Option<&str>, ms, n| {
            let caller = caller.map(|it| it.parse().unwrap());
            let request = RouteRequest { caller, at: Wall(AT.0 + ms), ..call(&accepted, n) };
            let decided = deciding.decide(&request, Mono(1), &[], None, None);
            let attribution = decided.decision.attribution.unwrap();
            assert_eq!(attribution.session, Some(accepted.session), "it is a call of the ping");
            (decided.decision.plan[0].terms.unwrap().promised, decided.consumed)
        };
        let (own, other) = (Some("+16145550101"), Some("+16145550199"));

        assert_eq!(decide(other, 0, 1), (false, false));
        assert_eq!(decide(None, 1, 2), (false, false));
        let again = priced(&deciding, 2, "OH", AT).unwrap();
        assert!(again.repeated, "no call has used it up");
        assert_eq!(decide(own, 2, 3), (true, true));
        assert_eq!(decide(own, 40_000, 4), (false, false));

        // There is nothing to leave to anybody any more.
        let accepted = priced(&deciding, 3, "KY", AT).unwrap();
        let request = RouteRequest {
            caller: other.and_then(|it| it.parse().ok()),
            at: Wall(AT.0 + 63_000),
            ..call(&accepted, 5)
        };
        assert!(deciding.decide(&request, Mono(1), &[], None, None).consumed);
    }

    fn priced(deciding: &Deciding, n: u8, state: &str, at: Wall) -> Result<Accepted, Unpriced> {
        let ping = PingRequest {
            campaign: Some("c".into()),
            caller_id: Some("+16145550101".into()),
            state: Some(state.into()),
            ..PingRequest::default()
        };
        let ids =
            NewIds { ping: PingId::from_bytes([n; 16]), session: SessionId::from_bytes([n; 16]) };
        let accepted =
            deciding.accept_priced(&mut Vetting::of(&ping), LIFE, ids, (Mono(1), at), None, None);
        accepted.map(|(accepted, _)| accepted)
    }

    /// To the session's own address.
    fn call(accepted: &Accepted, n: u8) -> RouteRequest {
        let named = Some(Named { key: SessionKey::Ping(accepted.ping), is_all: true });
        RouteRequest { call: CallId::from_bytes([n; 16]), named, ..number_call() }
    }

    fn number_call() -> RouteRequest {
        RouteRequest {
            call: CallId::from_bytes([0; 16]),
            at: AT,
            dialed: "+18005550100".parse().unwrap(),
            caller: "+16145550101".parse().ok(),
            trunk: "trk".into(),
            named: None,
            tags: Tags::default(),
            announced: false,
        }
    }

    fn deciding() -> Deciding {
        Deciding::new(compiled(CONFIG))
    }

    fn compiled(config: &str) -> RoutingSnapshot {
        RoutingSnapshot::compile(toml::from_str(config).unwrap(), 1).unwrap()
    }
}

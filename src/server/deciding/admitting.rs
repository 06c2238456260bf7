//! How many pings publishers may send.

use std::sync::Arc;

use metrics::counter;

use crate::id::{CampaignId, PublisherId};
use crate::routing::RoutingSnapshot;
use crate::routing::config::QuotaConfig;
use crate::routing::ping::{
    Admission, Checked, OverQuota, PingRefusals, PingRequest, QuotaKind, RefusalCode,
};
use crate::time::{Mono, Wall};

use crate::server::metrics as names;

use super::Deciding;

/// How many pings of a publisher are only thought of: as many as somebody tries who writes a form.
const TRIALS: QuotaConfig =
    QuotaConfig { per_second: Some(10), burst: Some(20), per_day: None, delivery: None };

/// A ping, and what was found of it. That is found once, unless another configuration comes into force before
/// its session is opened.
pub(in crate::server) struct Vetting<'a> {
    pub(in crate::server) request: &'a PingRequest,
    found: Option<(Arc<RoutingSnapshot>, Checked)>,
}

/// What a ping is refused for that nobody has answered before.
pub(in crate::server) struct Refusal {
    refusals: PingRefusals,
    /// Its campaign, if nothing is wrong with it but that it is worth nothing.
    of: Option<CampaignId>,
}

impl Deciding {
    /// Counts a ping against the quota of its publisher.
    ///
    /// # Errors
    /// It has used up its quota.
    pub(in crate::server) fn admit(
        &self,
        publisher: &PublisherId,
        now: Mono,
        at: Wall,
    ) -> Result<(), OverQuota> {
        let snapshot = self.snapshot.load();
        let Some(quota) = snapshot.quota(publisher) else { return Ok(()) };
        let admission = self.quotas.lock().handle(publisher, quota, now, at);
        match admission {
            Admission::Admitted => Ok(()),
            Admission::Refused(over) => {
                let publisher = publisher.to_string();
                counter!(names::PINGS_OVER_QUOTA, "publisher" => publisher, "quota" => over.of.name())
                    .increment(1);
                Err(over)
            }
        }
    }

    /// The same for a ping that is only thought of.
    pub(in crate::server) fn would_admit(
        &self,
        publisher: &PublisherId,
        now: Mono,
        at: Wall,
    ) -> Result<(), OverQuota> {
        let snapshot = self.snapshot.load();
        let Some(quota) = snapshot.quota(publisher) else { return Ok(()) };
        match self.quotas.lock().would_admit(publisher, quota, now, at) {
            Admission::Admitted => Ok(()),
            Admission::Refused(over) => Err(over),
        }
    }

    /// Whether one more ping is only thought of. Each costs a decision, and none of the quota for those that
    /// are taken. All publishers whom nobody knows are one.
    pub(in crate::server) fn admit_trial(
        &self,
        publisher: &PublisherId,
        now: Mono,
        at: Wall,
    ) -> Result<(), OverQuota> {
        let known = self.snapshot.load().publisher(publisher).is_some();
        let nobody = PublisherId::default();
        let publisher = if known { publisher } else { &nobody };
        match self.trials.lock().handle(publisher, &TRIALS, now, at) {
            Admission::Admitted => Ok(()),
            Admission::Refused(over) => Err(OverQuota { of: QuotaKind::Trials, ..over }),
        }
    }

    /// A session was opened.
    pub(super) fn delivery_expected(&self, publisher: &PublisherId, at: Wall) {
        if self.has_to_deliver(publisher) {
            self.quotas.lock().opened(publisher, at);
        }
    }

    /// The first call of a session came.
    pub(super) fn delivered(&self, publisher: &PublisherId, at: Wall) {
        if self.has_to_deliver(publisher) {
            self.quotas.lock().called(publisher, at);
        }
    }

    fn has_to_deliver(&self, publisher: &PublisherId) -> bool {
        self.snapshot.load().quota(publisher).is_some_and(|quota| quota.delivery.is_some())
    }
}

impl<'a> Vetting<'a> {
    pub(in crate::server) fn of(request: &'a PingRequest) -> Self {
        Self { request, found: None }
    }

    /// What the ping names, if all of it is there and some target would take its call, where its campaign asks
    /// for that.
    ///
    /// # Errors
    /// It is refused, whatever room and numbers there are.
    pub(in crate::server) fn look(
        &mut self,
        snapshot: &Arc<RoutingSnapshot>,
        now: Wall,
    ) -> Result<&Checked, Refusal> {
        let checked = self.take(snapshot, now)?;
        let (_, checked) = self.found.insert((Arc::clone(snapshot), checked));
        Ok(checked)
    }

    /// The same, to be used up.
    ///
    /// # Errors
    /// See [`look`](Self::look).
    pub(super) fn take(
        &mut self,
        snapshot: &Arc<RoutingSnapshot>,
        now: Wall,
    ) -> Result<Checked, Refusal> {
        if let Some((by, checked)) = self.found.take()
            && Arc::ptr_eq(&by, snapshot)
        {
            return Ok(checked);
        }
        let checked = Checked::of(snapshot, self.request);
        let checked = checked.map_err(|refusals| Refusal { refusals, of: None })?;
        match checked.is_worth_it(snapshot, now) {
            Ok(()) => Ok(checked),
            Err(refusals) => Err(Refusal { refusals, of: Some(checked.campaign().clone()) }),
        }
    }
}

impl Refusal {
    /// The ping was not answered before: it is refused.
    pub(in crate::server) fn counted(self) -> PingRefusals {
        if let (Some(campaign), RefusalCode::Worthless(reason)) =
            (&self.of, &self.refusals.first().code)
        {
            let campaign = campaign.to_string();
            counter!(names::PINGS_FILTERED, "campaign" => campaign, "reason" => reason.code())
                .increment(1);
        }
        self.refusals
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::{CallId, PingId, SessionId};
    use crate::routing::ping::NewIds;
    use crate::routing::{RouteRequest, Tags};

    const CONFIG: &str = r#"
        publishers = [{ id = "p" }]
        buyers = [{ id = "b" }]
        [defaults.quota]
        per_second = 100
        delivery = { wanted = "50%", min_pings = 2, window_h = 1 }
        [[targets]]
        id = "t"
        buyer = "b"
        dial = { kind = "sip", uri = "sip:a" }
        [[campaigns]]
        id = "c"
        publisher = "p"
        numbers = ["+18005550100"]
        routing = { tiers = [{ targets = [{ target = "t" }] }] }
    "#;
    /// 2026-03-17T15:00Z.
    const AT: Wall = Wall(1_773_759_600_000);

    #[test]
    fn a_publisher_may_have_a_few_of_its_pings_thought_of_in_a_second() {
        let config = toml::from_str(CONFIG).unwrap();
        let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
        let second = Mono(1_000_000_000);
        let thought_of = |publisher: &str, now| {
            let publisher = PublisherId::new(publisher);
            (0..100).filter(|_| deciding.admit_trial(&publisher, now, AT).is_ok()).count()
        };
        assert_eq!(thought_of("p", second), 20);
        let over = deciding.admit_trial(&"p".into(), second, AT).unwrap_err();
        assert_eq!(over.to_string(), "more than 10 trials a second");
        assert_eq!((over.of, over.retry_after_s()), (QuotaKind::Trials, 1));
        assert_eq!(thought_of("p", second + Duration::from_secs(1)), 10);
        assert_eq!(thought_of("nobody", second) + thought_of("nobody else", second), 20);
        assert_eq!(deciding.admit(&"p".into(), second, AT), Ok(()), "its quota is its own");
    }

    #[test]
    fn a_ping_is_looked_at_once_and_again_where_another_configuration_is_in_force() {
        let compiled = |config: &str, revision| {
            let config = toml::from_str(config).unwrap();
            Arc::new(RoutingSnapshot::compile(config, revision).unwrap())
        };
        const FILTER: &str = r#"
            filters = { all = [{ tag = "geo.state", op = "eq", value = "KY" }] }
            dial ="#;
        let picky = CONFIG.replace("dial =", FILTER);
        let picky = picky.replace("routing =", "ping_filter = \"on\"\nrouting =");
        let (first, second) = (compiled(CONFIG, 1), compiled(&picky, 2));
        let said = |caller: &str| PingRequest {
            campaign: Some("c".into()),
            caller_id: Some(caller.into()),
            state: Some("OH".into()),
            ..PingRequest::default()
        };
        let (ping, other) = (said("+16145550101"), said("+16145550102"));
        let mut vetting = Vetting::of(&ping);
        let caller = |found: Result<&Checked, Refusal>| match found {
            Ok(checked) => Ok(checked.caller()),
            Err(refusal) => Err(refusal.refusals.to_string()),
        };
        let (pings, others) = ("+16145550101".parse().ok(), "+16145550102".parse().ok());

        assert_eq!(caller(vetting.look(&first, AT)), Ok(pings));
        // What was found is not found again.
        vetting.found = Some((Arc::clone(&first), Checked::of(&first, &other).unwrap()));
        assert_eq!(caller(vetting.look(&first, AT)), Ok(others));

        let found = caller(vetting.look(&second, AT));
        assert!(found.as_ref().is_err_and(|it| it.contains("state")), "{found:?}");
        assert_eq!(caller(vetting.look(&first, AT)), Ok(pings));
    }

    #[test]
    fn a_publisher_whose_sessions_get_calls_keeps_its_quota_and_another_does_not() {
        for (called, expected) in [(false, 10), (true, 100)] {
            let config = toml::from_str(CONFIG).unwrap();
            let deciding = Deciding::new(RoutingSnapshot::compile(config, 1).unwrap());
            for n in 1..=2 {
                let ids = NewIds {
                    ping: PingId::from_bytes([n; 16]),
                    session: SessionId::from_bytes([n; 16]),
                };
                let ping = PingRequest {
                    campaign: Some("c".into()),
                    caller_id: Some(format!("+1614555010{n}")),
                    ..PingRequest::default()
                };
                deciding.accept_ping(&mut Vetting::of(&ping), ids, AT, None, None).unwrap();
            }
            // The caller's second call delivers no more than its first.
            for n in 0..if called { 2 } else { 0 } {
                let request = RouteRequest {
                    call: CallId::from_bytes([n; 16]),
                    at: AT,
                    dialed: "+18005550100".parse().unwrap(),
                    caller: "+16145550101".parse().ok(),
                    trunk: "trk".into(),
                    named: None,
                    tags: Tags::default(),
                    announced: false,
                };
                deciding.decide(&request, Mono(1), &[], None, None);
            }
            let (now, at) = (Mono(1), Wall(AT.0 + 3_600_000));
            let admitted = (0..500).filter(|_| deciding.admit(&"p".into(), now, at).is_ok());
            assert_eq!(admitted.count(), expected, "{called}");
        }
    }
}

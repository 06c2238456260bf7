//! How many pings publishers may send.

use metrics::counter;

use crate::id::PublisherId;
use crate::routing::RoutingSnapshot;
use crate::routing::ping::{Admission, Checked, OverQuota, PingRefusals, RefusalCode};
use crate::time::{Mono, Wall};

use crate::server::metrics as names;

use super::Deciding;

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

    /// Refuses a ping, and counts it, of which no target would take a call, where its campaign asks for that.
    pub(super) fn is_worth_it(
        snapshot: &RoutingSnapshot,
        checked: &Checked,
        now: Wall,
    ) -> Result<(), PingRefusals> {
        checked.is_worth_it(snapshot, now).inspect_err(|refusals| {
            if let RefusalCode::Worthless(reason) = refusals.first().code {
                let campaign = checked.campaign().to_string();
                counter!(names::PINGS_FILTERED, "campaign" => campaign, "reason" => reason.code())
                    .increment(1);
            }
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{CallId, PingId, SessionId};
    use crate::routing::ping::{NewIds, PingRequest};
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
                deciding.accept_ping(&ping, ids, AT, None, None).unwrap();
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

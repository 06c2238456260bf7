//! How many pings publishers may send, and who gets less because few of its pings become calls.
//!
//! Nothing here is written down: a server that starts has seen nobody. Memory is bounded by the publishers
//! of the configuration that have a quota.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::id::PublisherId;
use crate::routing::config::{DeliveryConfig, Percent, QuotaConfig};
use crate::routing::snapshot::RoutingSnapshot;
use crate::time::{Mono, Wall};

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 25;
const WHOLE_PPM: u64 = 1_000_000;
const SECOND_NS: u128 = 1_000_000_000;

/// Whether a ping is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    Refused(OverQuota),
}

/// Which quota a publisher has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverQuota {
    pub of: QuotaKind,
    /// Of pings in that time, with the share that the publisher has.
    pub limit: u32,
    /// Millionths of the quota.
    pub share_ppm: u32,
    /// When there is room again.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    PerSecond,
    PerDay,
    /// Pings that are only thought of, in a second.
    Trials,
}

/// What each publisher has used of its quota.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    used: BTreeMap<PublisherId, Used>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Used {
    /// Up to when what the rate allows is used, nanoseconds of boot time: the theoretical arrival time of
    /// the generic cell rate algorithm.
    up_to_ns: u128,
    /// Since the epoch.
    day: i64,
    in_day: u32,
    hours: [Hour; HOURS],
    /// Worked out once an hour.
    share: Option<Share>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hour {
    /// Since the epoch.
    number: i64,
    opened: u32,
    called: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    hour: i64,
    of: DeliveryConfig,
    ppm: u64,
}

/// For the publisher to read.
impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.of {
            QuotaKind::PerSecond => "pings a second",
            QuotaKind::PerDay => "pings a day",
            QuotaKind::Trials => "trials a second",
        };
        write!(f, "more than {} {what}", self.limit)?;
        if u64::from(self.share_ppm) < WHOLE_PPM {
            let share = Percent(self.share_ppm);
            write!(
                f,
                ", which is {share} of the quota, since few sessions were followed by a call"
            )?;
        }
        Ok(())
    }
}

impl OverQuota {
    /// When to send it again, in whole seconds.
    pub fn retry_after_s(&self) -> u32 {
        u32::try_from(self.wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
    }
}

impl QuotaKind {
    /// As metrics say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "per_second",
            Self::PerDay => "per_day",
            Self::Trials => "trials",
        }
    }
}

impl Quotas {
    /// Publishers that have no quota any more are forgotten; what the others have used stays used.
    pub fn configure(&mut self, snapshot: &RoutingSnapshot) {
        let has_quota = |id: &PublisherId| snapshot.quota(id).is_some();
        self.used.retain(|id, _| has_quota(id));
    }

    /// The same where all publishers have one.
    pub fn configure_all(&mut self, snapshot: &RoutingSnapshot) {
        self.used.retain(|id, _| snapshot.publisher(id).is_some());
    }

    /// A ping of the publisher came; it counts if it is admitted.
    pub fn handle(
        &mut self,
        publisher: &PublisherId,
        quota: &QuotaConfig,
        now: Mono,
        at: Wall,
    ) -> Admission {
        let used = self.of(publisher);
        let share = quota.delivery.map_or(WHOLE_PPM, |delivery| used.share(delivery, at));
        let refused = |of, limit: u32, wait| {
            let share_ppm = u32::try_from(share).unwrap_or(u32::MAX);
            Admission::Refused(OverQuota { of, limit, share_ppm, wait })
        };
        let day = at.0.div_euclid(DAY_MS);
        let in_day = if used.day == day { used.in_day } else { 0 };
        if let Some(per_day) = quota.per_day.map(|limit| part(limit, share))
            && in_day >= per_day
        {
            let left_ms = u64::try_from((day + 1) * DAY_MS - at.0).unwrap_or(0);
            return refused(QuotaKind::PerDay, per_day, Duration::from_millis(left_ms));
        }
        if let Some(per_second) = quota.per_second {
            let rate_ppm = u128::from(per_second) * u128::from(share);
            let interval = (SECOND_NS * u128::from(WHOLE_PPM)).div_ceil(rate_ppm.max(1));
            let burst = part(quota.burst.unwrap_or(per_second), share);
            let now = u128::from(now.0);
            let next = used.up_to_ns.max(now) + interval;
            let allowed = now + interval * u128::from(burst);
            if next > allowed {
                let wait = u64::try_from(next - allowed).unwrap_or(u64::MAX);
                let limit = part(per_second, share);
                return refused(QuotaKind::PerSecond, limit, Duration::from_nanos(wait));
            }
            used.up_to_ns = next;
        }
        (used.day, used.in_day) = (day, in_day + 1);
        Admission::Admitted
    }

    /// The same for a ping that is only thought of.
    pub fn would_admit(
        &self,
        publisher: &PublisherId,
        quota: &QuotaConfig,
        now: Mono,
        at: Wall,
    ) -> Admission {
        let used = self.used.get(publisher).cloned().unwrap_or_default();
        Self { used: [(publisher.clone(), used)].into() }.handle(publisher, quota, now, at)
    }

    /// A session was opened for a ping of the publisher, which has to deliver.
    pub fn opened(&mut self, publisher: &PublisherId, at: Wall) {
        self.of(publisher).hour(at).opened += 1;
    }

    /// The first call came to a session of the publisher.
    pub fn called(&mut self, publisher: &PublisherId, at: Wall) {
        self.of(publisher).hour(at).called += 1;
    }

    fn of(&mut self, publisher: &PublisherId) -> &mut Used {
        if !self.used.contains_key(publisher) {
            self.used.insert(publisher.clone(), Used::default());
        }
        self.used.get_mut(publisher).expect("it is there or was added")
    }
}

impl Used {
    fn hour(&mut self, at: Wall) -> &mut Hour {
        let number = at.0.div_euclid(HOUR_MS);
        let slot = usize::try_from(number.rem_euclid(HOURS as i64)).unwrap_or(0);
        let hour = &mut self.hours[slot];
        if hour.number != number {
            *hour = Hour { number, ..Hour::default() };
        }
        hour
    }

    /// The share of its quota that a publisher has in the hour of `at`, in millionths.
    fn share(&mut self, delivery: DeliveryConfig, at: Wall) -> u64 {
        let hour = at.0.div_euclid(HOUR_MS);
        if let Some(share) = self.share.filter(|share| share.hour == hour && share.of == delivery) {
            return share.ppm;
        }
        let counted = hour - i64::from(delivery.window_h)..hour;
        let counted = || self.hours.iter().filter(|it| counted.contains(&it.number));
        let opened: u64 = counted().map(|it| u64::from(it.opened)).sum();
        let called: u64 = counted().map(|it| u64::from(it.called)).sum();
        let wanted = u64::from(delivery.wanted.0).max(1);
        let ppm = if opened < u64::from(delivery.min_pings).max(1) {
            WHOLE_PPM
        } else {
            let delivered = called * WHOLE_PPM / opened;
            let share = delivered.saturating_mul(WHOLE_PPM) / wanted;
            share.clamp(u64::from(delivery.least.0), WHOLE_PPM)
        };
        self.share = Some(Share { hour, of: delivery, ppm });
        ppm
    }
}

/// At least one, so that nobody is shut out for good.
fn part(limit: u32, share_ppm: u64) -> u32 {
    let part = u64::from(limit) * share_ppm / WHOLE_PPM;
    u32::try_from(part).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing::config::RoutingConfig;

    /// 2026-03-17T15:00Z.
    const AT: Wall = Wall(1_773_759_600_000);

    #[test]
    fn pings_come_at_once_up_to_the_burst_and_then_at_the_rate() {
        let quota = QuotaConfig { per_second: Some(10), burst: Some(25), ..QuotaConfig::default() };
        let mut quotas = Quotas::default();
        assert_eq!(admitted(&mut quotas, &quota, 0, 100), 25);
        let Admission::Refused(over) = ask(&mut quotas, &quota, 40) else { panic!("it is full") };
        assert_eq!((over.of, over.limit), (QuotaKind::PerSecond, 10));
        assert_eq!(over.wait, Duration::from_millis(60));
        assert_eq!(ask(&mut quotas, &quota, 100), Admission::Admitted);
        assert_eq!(admitted(&mut quotas, &quota, 1_100, 100), 10);
        assert_eq!(admitted(&mut quotas, &quota, 60_000, 100), 25, "no more than the burst");
    }

    #[test]
    fn a_day_has_so_many_pings_and_the_next_begins_anew() {
        let quota = QuotaConfig { per_day: Some(7), ..QuotaConfig::default() };
        let mut quotas = Quotas::default();
        assert_eq!(admitted(&mut quotas, &quota, 0, 100), 7);
        let Admission::Refused(over) = ask(&mut quotas, &quota, 0) else { panic!("it is full") };
        assert_eq!((over.of, over.wait), (QuotaKind::PerDay, Duration::from_secs(9 * 3_600)));
        let midnight = 9 * 3_600_000;
        assert_eq!(admitted(&mut quotas, &quota, midnight - 1, 100), 0);
        assert_eq!(admitted(&mut quotas, &quota, midnight, 100), 7);
    }

    #[test]
    fn a_refused_ping_uses_nothing_and_publishers_do_not_share() {
        let quota = QuotaConfig { per_second: Some(1), per_day: Some(3), ..QuotaConfig::default() };
        let mut quotas = Quotas::default();
        assert_eq!(admitted(&mut quotas, &quota, 0, 100), 1);
        assert_eq!(admitted(&mut quotas, &quota, 1_000, 100), 1, "99 refused ones cost no time");
        assert_eq!(admitted(&mut quotas, &quota, 2_000, 100), 1, "nor of the day");
        assert_eq!(admitted(&mut quotas, &quota, 3_000, 100), 0);
        let other = quotas.handle(&"other".into(), &quota, Mono(0), AT);
        assert_eq!(other, Admission::Admitted);
    }

    #[test]
    fn who_seldom_delivers_has_a_smaller_share_until_it_does() {
        let delivery = DeliveryConfig {
            wanted: Percent(50_000),
            least: Percent(100_000),
            window_h: 2,
            min_pings: 100,
        };
        let quota = QuotaConfig {
            per_second: Some(100),
            delivery: Some(delivery),
            ..QuotaConfig::default()
        };
        // Sessions and calls of the first hour, and how many pings of a second are then taken.
        for (opened, called, taken) in
            [(99, 0, 100), (100, 0, 10), (100, 1, 20), (100, 3, 60), (100, 5, 100), (100, 90, 100)]
        {
            let mut quotas = Quotas::default();
            (0..opened).for_each(|_| quotas.opened(&publisher(), AT));
            (0..called).for_each(|_| quotas.called(&publisher(), AT));
            let hour = 3_600_000;
            assert_eq!(admitted(&mut quotas, &quota, hour - 1, 500), 100, "the hour is not over");
            assert_eq!(admitted(&mut quotas, &quota, hour + 10_000, 500), taken, "{called}");
            assert_eq!(admitted(&mut quotas, &quota, 3 * hour, 500), 100, "it is forgotten");
        }
    }

    #[test]
    fn a_reload_forgets_only_those_without_a_quota() {
        let quota = QuotaConfig { per_second: Some(1), ..QuotaConfig::default() };
        let mut quotas = Quotas::default();
        for id in ["pub", "gone"] {
            quotas.handle(&id.into(), &quota, Mono(0), AT);
        }
        let config: RoutingConfig = toml::from_str(
            "publishers = [{ id = \"pub\", quota = { per_second = 1 } }, { id = \"gone\" }]",
        )
        .unwrap();
        quotas.configure(&RoutingSnapshot::compile(config, 1).unwrap());
        assert_eq!(quotas.used.keys().collect::<Vec<_>>(), [&publisher()]);
        assert_ne!(ask(&mut quotas, &quota, 0), Admission::Admitted);
    }

    proptest! {
        #[test]
        fn within_any_time_no_more_are_taken_than_the_burst_and_the_rate_allow(
            per_second in 1_u32..50,
            burst in 1_u32..50,
            waits in prop::collection::vec(0_u64..200, 1..300),
        ) {
            let quota =
                QuotaConfig { per_second: Some(per_second), burst: Some(burst), ..QuotaConfig::default() };
            let mut quotas = Quotas::default();
            let (mut now, mut taken) = (0, vec![]);
            for wait in waits {
                now += wait;
                match ask(&mut quotas, &quota, now) {
                    Admission::Admitted => taken.push(now),
                    Admission::Refused(over) => {
                        // Who waits as long as it is told is taken.
                        let later = Mono(now * 1_000_000) + over.wait;
                        let then = quotas.clone().handle(&publisher(), &quota, later, AT);
                        prop_assert_eq!(then, Admission::Admitted);
                    }
                }
            }
            for (n, from) in taken.iter().enumerate() {
                for (m, until) in taken.iter().enumerate().skip(n) {
                    let allowed = u64::from(burst) + (until - from) * u64::from(per_second) / 1_000 + 1;
                    prop_assert!((m - n + 1) as u64 <= allowed);
                }
            }
        }
    }

    /// How many of `count` pings are taken so long after the start.
    fn admitted(quotas: &mut Quotas, quota: &QuotaConfig, ms: u64, count: usize) -> usize {
        (0..count).filter(|_| ask(quotas, quota, ms) == Admission::Admitted).count()
    }

    fn ask(quotas: &mut Quotas, quota: &QuotaConfig, ms: u64) -> Admission {
        let at = Wall(AT.0 + i64::try_from(ms).unwrap());
        quotas.handle(&publisher(), quota, Mono(ms * 1_000_000), at)
    }

    fn publisher() -> PublisherId {
        "pub".into()
    }
}

//! The windows of caps that come after those in which calls count now.

use std::collections::BTreeMap;

use crate::time::Wall;

use super::decision::Readings;
use super::hold::{Bucket, BucketRequest};
use super::request::Usage;
use super::snapshot::RoutingSnapshot;

impl RoutingSnapshot {
    /// What each of these would ask for in the window that comes next, or in that of `at` if it is over by
    /// then: as much room, of what is the cap's limit there. `None`: no window comes next, or there is no such
    /// cap any more. What a paced cap's calls came to of late is not read: all of them are taken to count.
    pub fn following(&self, ending: &[BucketRequest], at: Wall) -> Vec<Option<BucketRequest>> {
        let mut of_caps: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, request) in ending.iter().enumerate() {
            of_caps.entry(&request.bucket.cap).or_default().push(place);
        }
        let (unread, mut unnoted) = (BTreeMap::<Bucket, Usage>::new(), Readings::default());
        let (mut found, mut windows) = (vec![None; ending.len()], BTreeMap::new());
        for cap in self.caps() {
            for place in of_caps.remove(cap.key.as_str()).unwrap_or_default() {
                let request = &ending[place];
                let Some(ends_at) = request.ends_at else { continue };
                let begins_at = ends_at.max(at);
                let windows = windows.entry(begins_at).or_insert_with(|| self.windows(begins_at));
                let next = cap.need(request.amount, windows, &unread, &mut unnoted);
                let next = next.map(|need| need.request);
                found[place] = next.filter(|next| next.bucket != request.bucket);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::hold::{Counts, Leeway};

    /// Saturday 2026-10-31, 23:59:30 in New York; the clock is put back on Sunday.
    const NEARLY: Wall = Wall(1_793_505_570_000);

    #[test]
    fn the_next_window_has_the_limit_of_the_cap_and_as_much_room_is_asked_for() {
        let before = [
            request("target/t/connected/daily", "d:2026-10-31", Some(NEARLY.0 + 30_000)),
            request("target/t/revenue/hourly", "h:2026-10-31T23-04:00", Some(NEARLY.0 + 30_000)),
        ];

        let next = rules(60).following(&before, NEARLY);

        let next: Vec<_> = next.into_iter().map(|it| it.unwrap()).collect();
        let told = next.iter().map(|it| (&*it.bucket.window, it.limit, it.amount, it.counts));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("d:2026-11-01", 60, 3, Counts::Connected),
                ("h:2026-11-01T00-04:00", 9_000_000, 3, Counts::Revenue)
            ]
        );
        let ends_at: Vec<_> = next.iter().map(|it| it.ends_at.unwrap().0 - NEARLY.0).collect();
        assert_eq!(ends_at, [30_000 + 25 * 3_600_000, 30_000 + 3_600_000]);
    }

    #[test]
    fn after_a_window_that_is_over_comes_the_one_of_now() {
        let before =
            request("target/t/connected/daily", "d:2026-10-29", Some(NEARLY.0 - 150_000_000));
        let next = rules(60).following(&[before], NEARLY);
        assert_eq!(next[0].as_ref().unwrap().bucket.window, "d:2026-10-31");
    }

    #[test]
    fn of_a_paced_cap_so_much_may_be_used_as_by_the_beginning_of_its_window() {
        let cap = "target/t/attempted/daily";
        let before =
            BucketRequest { amount: 1, ..request(cap, "d:2026-10-31", Some(NEARLY.0 + 30_000)) };
        let next = rules(60).following(&[before], NEARLY).remove(0).unwrap();
        let Some(Leeway::Paced(pace)) = next.leeway else { panic!("{next:?}") };
        assert_eq!((pace.by_now, next.limit), (1, 500));
    }

    #[test]
    fn nothing_comes_after_what_has_no_end_or_is_alone_or_is_configured_no_more() {
        let soon = Some(NEARLY.0 + 30_000);
        let before = [
            request("target/t/connected/total", "total", None),
            request("target/t/concurrency", "live", None),
            request("target/t/connected/period:2026-10-25/2026-11-01", "p:…", soon),
            request("target/gone/connected/daily", "d:2026-10-31", soon),
            // Its zone was another when it was asked for: here it is not over yet.
            request("target/t/connected/daily", "d:2026-10-31", Some(NEARLY.0 - 1)),
        ];
        let next = rules(60).following(&before, NEARLY);
        assert_eq!(
            next.iter().map(Option::is_some).collect::<Vec<_>>(),
            [false, false, false, false, false]
        );
    }

    fn rules(limit: u32) -> RoutingSnapshot {
        let config = format!(
            r#"
            account = {{ time_zone = "America/New_York" }}
            publishers = [{{ id = "p" }}]
            buyers = [{{ id = "b" }}]
            [[targets]]
            id = "t"
            buyer = "b"
            dial = {{ kind = "sip", uri = "sip:a" }}
            conversion = {{ seconds = 90, revenue = "0.50" }}
            concurrency = {{ limit = 4 }}
            caps = [
                {{ metric = "connected", window = "daily", limit = {limit} }},
                {{ metric = "connected", window = "total", limit = 70 }},
                {{ metric = "connected", window = "period:2026-10-25/2026-11-01", limit = 8 }},
                {{ metric = "revenue", window = "hourly", limit = "9.00" }},
                {{ metric = "attempted", window = "daily", limit = 500, mode = "paced" }},
            ]
            [[campaigns]]
            id = "c"
            publisher = "p"
            numbers = ["+18005550100"]
            routing = {{ tiers = [{{ targets = [{{ target = "t" }}] }}] }}
            "#
        );
        RoutingSnapshot::compile(toml::from_str(&config).unwrap(), 1).unwrap()
    }

    fn request(cap: &str, window: &str, ends_at: Option<i64>) -> BucketRequest {
        BucketRequest {
            bucket: Bucket { cap: cap.into(), window: window.into() },
            counts: Counts::Connected,
            limit: 40,
            amount: 3,
            ends_at: ends_at.map(Wall),
            leeway: None,
        }
    }
}

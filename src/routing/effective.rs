//! What holds for a target or a campaign, and who said so.

use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::id::{CampaignId, TargetId};

use super::config::{Source, TargetConfig};
use super::duplicate::Dedupe;
use super::schedule::zone_name;
use super::snapshot::{Campaign, RoutingSnapshot, Target};

/// The value of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// As it is written, such as `ring_timeout_s`.
    pub setting: &'static str,
    /// As it is written; null: none.
    pub value: Value,
    pub from: Source,
}

/// Where a target's settings came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetSources {
    ring_timeout_s: Source,
    first_response_ms: Source,
    max_pdd_ms: Source,
    ring_timeout_covers_progress: Source,
    max_duration_s: Source,
    pub(super) tables: InheritedTables,
}

/// Where its tables came from, and the zone of its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InheritedTables {
    pub(super) schedule: Source,
    pub(super) time_zone: Source,
    pub(super) dedupe: Source,
    pub(super) circuit: Source,
}

/// The same of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CampaignSources {
    pub(super) advance_on: Source,
    pub(super) max_attempts: Source,
    pub(super) total_ring_budget_s: Source,
    pub(super) min_match_confidence: Source,
    pub(super) callers: Source,
    pub(super) ping_filter: Source,
}

impl TargetSources {
    pub(super) fn of(config: &TargetConfig, tables: InheritedTables) -> Self {
        Self {
            ring_timeout_s: config.ring_timeout_s.from(),
            first_response_ms: config.first_response_ms.from(),
            max_pdd_ms: config.max_pdd_ms.from(),
            ring_timeout_covers_progress: config.ring_timeout_covers_progress.from(),
            max_duration_s: config.max_duration_s.from(),
            tables,
        }
    }
}

impl TargetSources {
    /// Whose schedule it is, where it is not the target's own.
    pub(super) fn speaks_for(&self) -> Option<SmolStr> {
        let from = self.tables.schedule;
        (from != Source::Own).then(|| SmolStr::new_static(from.name()))
    }
}

impl RoutingSnapshot {
    /// `None`: there is no such target.
    pub fn effective_target(&self, id: &TargetId) -> Option<Vec<Effective>> {
        self.target(id).map(|target| target.effective(self.time_zone()))
    }

    /// `None`: there is no such campaign.
    pub fn effective_campaign(&self, id: &CampaignId) -> Option<Vec<Effective>> {
        self.campaign(id).map(|campaign| campaign.effective(self))
    }
}

impl Target {
    fn effective(&self, time_zone: &str) -> Vec<Effective> {
        let from = &self.from;
        let circuit = self.circuit.as_deref();
        let own_zone = self.schedule.as_ref().map(|schedule| zone_name(schedule.zone()));
        [
            ("ring_timeout_s", json!(self.ring_timeout_ms / 1_000), from.ring_timeout_s),
            ("first_response_ms", json!(self.first_response_ms), from.first_response_ms),
            ("max_pdd_ms", json!(self.max_pdd_ms), from.max_pdd_ms),
            (
                "ring_timeout_covers_progress",
                json!(self.ring_timeout_covers_progress),
                from.ring_timeout_covers_progress,
            ),
            ("max_duration_s", json!(self.max_duration_ms / 1_000), from.max_duration_s),
            ("schedule", json!(self.written_schedule.as_deref()), from.tables.schedule),
            ("time_zone", json!(own_zone.unwrap_or(time_zone)), from.tables.time_zone),
            ("dedupe", self.dedupe.as_ref().map_or(Value::Null, written), from.tables.dedupe),
            (
                "circuit",
                circuit.map_or_else(|| json!({ "enabled": false }), |it| json!(it)),
                from.tables.circuit,
            ),
        ]
        .map(|(setting, value, from)| Effective { setting, value, from })
        .into()
    }
}

impl Campaign {
    fn effective(&self, snapshot: &RoutingSnapshot) -> Vec<Effective> {
        let from = &self.from;
        let (time_zone, zone_from) = (json!(snapshot.time_zone()), snapshot.account.zone_from);
        let ring_budget_s = self.total_ring_budget_ms / 1_000;
        [
            ("advance_on", json!(self.advance_on), from.advance_on),
            ("max_attempts", json!(self.max_attempts), from.max_attempts),
            ("total_ring_budget_s", json!(ring_budget_s), from.total_ring_budget_s),
            ("min_match_confidence", json!(self.min_match_confidence), from.min_match_confidence),
            ("callers", json!(self.callers), from.callers),
            ("time_zone", time_zone, zone_from),
            ("ping_filter", json!(self.ping_filter), from.ping_filter),
        ]
        .map(|(setting, value, from)| Effective { setting, value, from })
        .into()
    }
}

fn written(dedupe: &Dedupe) -> Value {
    let Dedupe { after, by, window, campaigns } = dedupe;
    json!({ "after": after, "by": by, "window_s": window, "campaigns": campaigns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::config::RoutingConfig;

    const CONFIG: &str = r#"
        publishers = [{ id = "p" }]
        [account]
        time_zone = "America/Chicago"
        [defaults]
        ring_timeout_s = 20
        max_duration_s = 600
        dedupe = { after = "converted" }
        max_attempts = 5
        callers = { repeat_after_s = 2 }
        quarantine_s = 60
        [[buyers]]
        id = "b"
        max_duration_s = 900
        ring_timeout_covers_progress = true
        [[buyers]]
        id = "plain"
        [[targets]]
        id = "own"
        buyer = "b"
        ring_timeout_s = 9
        schedule = { time_zone = "America/Denver", always_open = true }
        dial = { kind = "sip", uri = "sip:a" }
        [[targets]]
        id = "plain"
        buyer = "plain"
        dial = { kind = "sip", uri = "sip:b" }
        [[pools]]
        id = "pool"
        campaign = "c"
        publisher = "p"
        numbers = ["+16145550101"]
        session_ttl_s = 70
        [[campaigns]]
        id = "c"
        publisher = "p"
        min_match_confidence = 0.5
        routing = { tiers = [{ targets = [{ target = "own" }, { target = "plain" }] }] }
    "#;

    #[test]
    fn the_nearest_who_says_a_value_is_heard_and_named() {
        let snapshot = compiled(CONFIG);
        let (own, buyer, defaults, built_in) =
            (Source::Own, Source::Buyer, Source::Defaults, Source::BuiltIn);
        let by_default = json!({
            "after": "converted", "by": "target", "window_s": 2_592_000, "campaigns": "same",
        });
        let found = |settings: Option<Vec<Effective>>, left_out: &[&str]| {
            let settings = settings.unwrap().into_iter();
            let settings = settings.filter(|it| !left_out.contains(&it.setting));
            settings.map(|it| (it.setting, it.value, it.from)).collect::<Vec<_>>()
        };
        assert_eq!(
            found(snapshot.effective_target(&"own".into()), &["circuit", "schedule"]),
            [
                ("ring_timeout_s", json!(9), own),
                ("first_response_ms", json!(1_500), built_in),
                ("max_pdd_ms", json!(8_000), built_in),
                ("ring_timeout_covers_progress", json!(true), buyer),
                ("max_duration_s", json!(900), buyer),
                ("time_zone", json!("America/Denver"), own),
                ("dedupe", by_default.clone(), defaults),
            ]
        );
        assert_eq!(
            found(snapshot.effective_target(&"plain".into()), &["circuit", "schedule"]),
            [
                ("ring_timeout_s", json!(20), defaults),
                ("first_response_ms", json!(1_500), built_in),
                ("max_pdd_ms", json!(8_000), built_in),
                ("ring_timeout_covers_progress", json!(false), built_in),
                ("max_duration_s", json!(600), defaults),
                ("time_zone", json!("America/Chicago"), Source::Account),
                ("dedupe", by_default, defaults),
            ]
        );
        let campaign = found(snapshot.effective_campaign(&"c".into()), &["advance_on"]);
        let callers = &campaign[3];
        assert_eq!(
            (callers.0, &callers.1["repeat_after_s"], callers.2),
            ("callers", &json!(2), defaults)
        );
        let of_account = ("time_zone", json!("America/Chicago"), Source::Account);
        assert_eq!(campaign[4], of_account);
        assert_eq!(
            campaign[..3],
            [
                ("max_attempts", json!(5), defaults),
                ("total_ring_budget_s", json!(60), built_in),
                ("min_match_confidence", json!(0.5), own),
            ]
        );
        assert_eq!(snapshot.effective_target(&"nobody".into()), None);
        // And they are what calls and pings meet.
        let target = snapshot.target(&"own".into()).unwrap();
        assert_eq!((target.ring_timeout_ms, target.max_duration_ms), (9_000, 900_000));
        let pool = &snapshot.pools()[0];
        assert_eq!((pool.session_ttl.as_secs(), pool.quarantine.as_secs()), (70, 60));
        assert!(snapshot.history().is_some(), "a default rule looks back, too");
    }

    #[test]
    fn a_table_is_that_of_the_nearest_who_writes_one() {
        let text =
            CONFIG.replace("[defaults]", "[defaults]\ncircuit = { trial_percent = 7 }").replace(
                "max_duration_s = 900",
                "max_duration_s = 900\ncircuit = { trial_percent = 50 }\n\
                 dedupe = { after = \"connected\" }",
            );
        let own = text.replace(
            "ring_timeout_s = 9",
            "ring_timeout_s = 9\ncircuit = { trial_percent = 60 }\n\
             dedupe = { after = \"off\" }",
        );
        for (text, target, percent, after, from) in [
            (&own, "own", 60, None, Source::Own),
            (&text, "own", 50, Some("connected"), Source::Buyer),
            (&text, "plain", 7, Some("converted"), Source::Defaults),
        ] {
            let snapshot = compiled(text);
            let settings = snapshot.effective_target(&target.into()).unwrap();
            let setting = |name| settings.iter().find(|it| it.setting == name).unwrap();
            let (circuit, dedupe) = (setting("circuit"), setting("dedupe"));
            assert_eq!((&circuit.value["trial_percent"], circuit.from), (&json!(percent), from));
            assert_eq!((dedupe.value["after"].as_str(), dedupe.from), (after, from));
            // And it is what calls meet.
            let target = snapshot.target(&target.into()).unwrap();
            assert_eq!(target.circuit.as_ref().map(|it| it.trial_percent), Some(percent));
        }
    }

    #[test]
    fn a_schedule_is_that_of_the_nearest_who_says_one() {
        let nights =
            "[[schedules]]\nid = \"nights\"\ntime_zone = \"Asia/Tokyo\"\nalways_open = true";
        let by_default = CONFIG.replace("[defaults]", "[defaults]\nschedule = \"nights\"") + nights;
        let of_buyer = by_default.replace(
            "id = \"plain\"\n        [[targets]]",
            "id = \"plain\"\n        schedule = { hours = [\n             {day = \"mon\", open = \"03:00\", close = \"03:01\" }] }\n        [[targets]]",
        );
        let own = json!({ "time_zone": "America/Denver", "always_open": true, "hours": [],
            "holidays": [], "stop_before_close_s": 0 });
        let hours = json!([{ "day": "mon", "open": "03:00", "close": "03:01", "breaks": [] }]);
        let buyers = json!({ "always_open": false, "hours": hours, "holidays": [],
            "stop_before_close_s": 0 });
        let (chicago, tokyo) = ("America/Chicago", "Asia/Tokyo");
        for (text, target, value, from, zone, zone_from) in [
            (CONFIG, "plain", Value::Null, Source::BuiltIn, chicago, Source::Account),
            (&by_default, "plain", json!("nights"), Source::Defaults, tokyo, Source::Schedule),
            (&of_buyer, "plain", buyers, Source::Buyer, chicago, Source::Account),
            (&of_buyer, "own", own, Source::Own, "America/Denver", Source::Own),
        ] {
            let snapshot = compiled(text);
            let settings = snapshot.effective_target(&target.into()).unwrap();
            let setting = |name| settings.iter().find(|it| it.setting == name).unwrap();
            let (schedule, time_zone) = (setting("schedule"), setting("time_zone"));
            assert_eq!((&schedule.value, schedule.from), (&value, from), "{target}");
            assert_eq!((&time_zone.value, time_zone.from), (&json!(zone), zone_from), "{target}");
            // And it is what calls meet.
            let is_closed = |target: &Target| {
                target.schedule.as_ref().is_some_and(|it| it.check(crate::time::Wall(0)).is_err())
            };
            let target = snapshot.target(&target.into()).unwrap();
            assert_eq!(is_closed(target), from == Source::Buyer);
            let document = crate::routing::revision::pack(&toml::from_str(text).unwrap());
            assert_eq!(crate::routing::revision::compile(&document, 1).unwrap(), snapshot);
        }
    }

    #[test]
    fn a_configuration_that_is_kept_comes_to_the_same() {
        let config: RoutingConfig = toml::from_str(CONFIG).unwrap();
        let document = crate::routing::revision::pack(&config);
        let kept = crate::routing::revision::compile(&document, 1).unwrap();
        assert_eq!(kept, compiled(CONFIG));
    }

    #[test]
    fn what_is_wrong_is_a_fault_where_it_is_written_and_there_alone() {
        for (sound, faulty, path) in [
            ("ring_timeout_s = 20", "ring_timeout_s = 301", "defaults.ring_timeout_s"),
            ("max_attempts = 5", "max_attempts = 21", "defaults.max_attempts"),
            ("quarantine_s = 60", "quarantine_s = 604801", "defaults.quarantine_s"),
            ("repeat_after_s = 2", "repeat_after_s = 3601", "defaults.callers.repeat_after_s"),
            (
                "after = \"converted\"",
                "after = \"converted\", window_s = 0",
                "defaults.dedupe.window_s",
            ),
            ("max_attempts = 5", "advance_on = [200]", "defaults.advance_on[0]"),
            ("max_duration_s = 900", "max_duration_s = 0", "buyers[0].max_duration_s"),
            ("ring_timeout_s = 9", "ring_timeout_s = 0", "targets[0].ring_timeout_s"),
            ("max_attempts = 5", "schedule = \"nights\"", "defaults.schedule"),
            (
                "max_duration_s = 900",
                "schedule = { time_zone = \"Mars/Olympus\", always_open = true }",
                "buyers[0].schedule.time_zone",
            ),
        ] {
            let config = toml::from_str(&CONFIG.replacen(sound, faulty, 1)).unwrap();
            let faults = RoutingSnapshot::compile(config, 1).unwrap_err();
            let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert_eq!(paths, [path]);
        }
    }

    fn compiled(text: &str) -> RoutingSnapshot {
        RoutingSnapshot::compile(toml::from_str(text).unwrap(), 1).unwrap()
    }
}

//! Those who are asked about callers.

use serde_json::json;

use super::world::Broken;
use super::{Fixture, refused_whole};

#[test]
fn an_enricher_is_shown_as_it_is_doing() {
    let fixture = Fixture::new();

    let shown = fixture.get("/v1/enrichers");

    let expected = json!({ "items": [{
        "id": "lineinfo", "state": "resting", "failures": null, "failures_max": 5, "rests_s": 13,
        "asked_today": 7, "calls_per_day": 50_000, "cost_today": "0.028", "cost_per_day": null,
        "cost": "0.004", "cached_callers": 5, "cache_s": 86_400,
        "outcomes": { "told": 6, "cached": 9 },
    }] });
    assert_eq!(shown.json(), expected);
    fixture.world.breaks(Broken::Database);
    let broken = fixture.get("/v1/enrichers");
    assert_eq!(broken.problem(), refused_whole(503, "store.unavailable"));
}

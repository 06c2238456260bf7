//! The parts of the REST API the tests read, with its field names in this one place.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use tollbridge::money::Money;

use super::http;

/// One call record of `GET /v1/calls`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) call_id: String,
    /// Call-ID of the carrier's leg.
    pub(crate) sip_call_id: String,
    /// `open`, `closed` or `orphan_closed`.
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    pub(crate) end_reason: Option<String>,
    pub(crate) end_party: Option<String>,
    /// Signed here, so that a negative one is seen and not refused.
    pub(crate) setup_ms: Option<i64>,
    pub(crate) ring_ms: Option<i64>,
    /// Present exactly for an answered call.
    pub(crate) talk_ms: Option<i64>,
    pub(crate) answered_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) money: Owed,
    /// What is odd about the record.
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    #[serde(default)]
    pub(crate) attempts: Vec<Attempt>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Owed {
    /// By the buyer, such as `12.50`.
    pub(crate) revenue: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) target: String,
    /// `pending`, `answered`, `failed` or `abandoned`.
    pub(crate) result: String,
    /// Why it failed, such as `attempt.busy`.
    pub(crate) reason: Option<String>,
    /// The target's final status.
    pub(crate) sip: Option<u16>,
}

impl Attempt {
    /// `busy`, `no_answer` … for a failed attempt, else its result.
    pub(crate) fn outcome(&self) -> &str {
        let reason = self.reason.as_deref().filter(|_| self.result == "failed");
        reason.and_then(|code| code.strip_prefix("attempt.")).unwrap_or(&self.result)
    }
}

#[derive(Deserialize)]
struct Page {
    calls: Vec<Value>,
    next: Option<String>,
}

impl Call {
    pub(crate) fn is_answered(&self) -> bool {
        self.talk_ms.is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "closed" | "orphan_closed")
    }

    /// Invariant I4: no negative duration, and answered, with its time, exactly if talk is defined.
    pub(crate) fn audit(&self) -> Result<()> {
        for (name, value) in
            [("setup_ms", self.setup_ms), ("ring_ms", self.ring_ms), ("talk_ms", self.talk_ms)]
        {
            ensure!(value.unwrap_or(0) >= 0, "I4: {name} = {value:?} in {self:?}");
        }
        ensure!(
            self.answered_at.is_some() == self.talk_ms.is_some(),
            "I4: answered_at and talk_ms disagree in {self:?}"
        );
        if let (Some(answered), Some(ended), Some(talk)) =
            (&self.answered_at, &self.ended_at, self.talk_ms)
        {
            let answered: jiff::Timestamp = answered.parse()?;
            let ended: jiff::Timestamp = ended.parse()?;
            ensure!(
                ended.as_millisecond() - answered.as_millisecond() == talk,
                "I4: ended_at - answered_at is not talk_ms in {self:?}"
            );
        }
        Ok(())
    }
}

/// Every call record, over all pages.
pub(crate) fn calls(api: SocketAddr) -> Result<Vec<Call>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let reply = http::get(api, &format!("/v1/calls?limit=200{cursor}"))?;
        ensure!(reply.status == 200, "GET /v1/calls: {} {}", reply.status, reply.body);
        let page: Page = reply.json()?;
        for row in page.calls {
            match Call::deserialize(&row) {
                Ok(call) => found.push(call),
                Err(error) => bail!("unexpected call record ({error}): {row}"),
            }
        }
        match page.next {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

/// A cap or concurrency of `GET /v1/caps`. Amounts are calls, or micros where money is capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cap {
    pub(crate) used: u64,
    pub(crate) held: u64,
    /// How much of that is held for calls that a crash left up.
    pub(crate) awaited: u64,
    pub(crate) limit: u64,
}

/// Every cap and all concurrency, by their names.
pub(crate) fn caps(api: SocketAddr) -> Result<BTreeMap<String, Cap>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Item>,
    }

    #[derive(Deserialize)]
    struct Item {
        cap: String,
        used: String,
        held: String,
        awaited: String,
        limit: String,
    }

    let reply = http::get(api, "/v1/caps")?;
    ensure!(reply.status == 200, "GET /v1/caps: {} {}", reply.status, reply.body);
    let items = reply.json::<List>()?.items.into_iter();
    let caps = items.map(|Item { cap, used, held, awaited, limit }| {
        let amounts = [used, held, awaited, limit].map(|text| amount(&text));
        let [used, held, awaited, limit] = amounts;
        Ok((cap, Cap { used: used?, held: held?, awaited: awaited?, limit: limit? }))
    });
    caps.collect()
}

/// `3` as it is, and `12.50` in micros.
pub(crate) fn amount(text: &str) -> Result<u64> {
    if !text.contains('.') {
        return Ok(text.parse()?);
    }
    let money: Money = text.parse()?;
    Ok(u64::try_from(money.0)?)
}

/// Posts a ping; its id if it was accepted (202).
pub(crate) fn ping(api: SocketAddr, request_id: &str, caller: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Accepted {
        ping_id: String,
    }

    let body = serde_json::json!({
        "request_id": request_id,
        "campaign": super::server::example()?.campaign,
        "publisher": super::server::example()?.publisher,
        "caller_id": caller,
    });
    let reply = http::post(api, "/v1/pings", &body.to_string())?;
    Ok(if reply.status == 202 { Some(reply.json::<Accepted>()?.ping_id) } else { None })
}

/// Whether the server knows this ping.
pub(crate) fn knows_ping(api: SocketAddr, ping_id: &str) -> Result<bool> {
    let reply = http::get(api, &format!("/v1/pings/{ping_id}"))?;
    ensure!(matches!(reply.status, 200 | 404), "GET ping: {} {}", reply.status, reply.body);
    Ok(reply.status == 200)
}

/// The sum over all label sets of each metric.
pub(crate) fn metrics(api: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let mut sums = BTreeMap::new();
    for (series, value) in series(api)? {
        let name = series.split('{').next().unwrap_or(&series);
        *sums.entry(name.to_owned()).or_insert(0.0) += value;
    }
    Ok(sums)
}

/// Each metric with its labels, as it is written.
pub(crate) fn series(api: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let reply = http::get(api, "/metrics")?;
    ensure!(reply.status == 200, "GET /metrics: {} {}", reply.status, reply.body);
    let lines = reply.body.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| line.rsplit_once(' '));
    series.map(|(series, value)| Ok((series.to_owned(), value.parse()?))).collect()
}

/// Counters that stay at zero as long as all is well.
const FAULTS: [&str; 4] = [
    "tollbridge_invariant_violations_total",
    "tollbridge_fact_gap_total",
    "tollbridge_cap_overshoot_total",
    "tollbridge_sip_panics_total",
];

/// A counter may be absent until it first counts.
pub(crate) fn no_fault_is_counted(metrics: &BTreeMap<String, f64>) -> Result<()> {
    for name in FAULTS {
        let count = metrics.get(name).copied().unwrap_or_default();
        ensure!(count == 0.0, "{name} = {count}");
    }
    Ok(())
}

//! What the server says about the calls, read through its REST API like anybody would.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, interval};
use tollbridge::money::Money;
use tollbridge::server;

use super::paint::{self, Paint};

/// How long a record may take to be written after the end of its call.
const RECORD_WAIT: Duration = Duration::from_secs(5);

/// Columns of an entry's text.
const ENTRY_WIDTH: usize = 88;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The server's REST API.
pub(super) struct Api {
    client: reqwest::Client,
    base: String,
    key: String,
}

/// A record as `GET /v1/calls` lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Call {
    pub(super) call_id: String,
    state: String,
    pub(super) outcome: String,
    publisher: Option<String>,
    pub(super) answered_at: Option<String>,
    talk_ms: Option<u64>,
    end_party: Option<String>,
    end_reason: Option<String>,
    sip_status: Option<u16>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) money: Amounts,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    n: u16,
    pub(super) target: String,
    pub(super) result: String,
    sip: Option<u16>,
    reason: Option<String>,
    ring_ms: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Amounts {
    /// Absent if there is none to speak of.
    currency: Option<String>,
    pub(super) revenue: Money,
    pub(super) payout: Money,
    pub(super) margin: Money,
}

/// `GET /v1/calls/{id}/explain`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Explanation {
    pub(super) candidates: Vec<Candidate>,
    text: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Candidate {
    pub(super) dialed: bool,
    pub(super) reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page {
    calls: Vec<Call>,
}

/// What a ping was answered.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pinged {
    pub(super) ping_id: String,
    pub(super) session_id: String,
    /// Lent from the pool.
    pub(super) number: Option<String>,
}

impl Api {
    pub(super) fn new(address: SocketAddr, key: &str) -> Self {
        let (base, key) = (format!("http://{address}"), key.to_owned());
        Self { client: server::http_client(None), base, key }
    }

    pub(super) async fn ping(&self, ping: &serde_json::Value) -> Result<Pinged> {
        let url = format!("{}/v1/pings", self.base);
        let request = self.client.post(url).bearer_auth(&self.key).json(ping);
        read(request).await.context("failed to post a ping")
    }

    /// The records of the calls of `caller`, once they are closed. After a while, as they are.
    pub(super) async fn calls_of(&self, caller: &str) -> Result<Vec<Call>> {
        let path = format!("/v1/calls?limit=200&caller={}", caller.replace('+', "%2B"));
        let patience = Instant::now() + RECORD_WAIT;
        let mut look = interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let Page { calls } = self.read(&path).await?;
            let are_closed = !calls.is_empty() && calls.iter().all(|call| call.state != "open");
            if are_closed || Instant::now() > patience {
                return Ok(calls);
            }
        }
    }

    pub(super) async fn explanation(&self, call: &Call) -> Result<Explanation> {
        self.read(&format!("/v1/calls/{}/explain", call.call_id)).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.key);
        read(request).await.with_context(|| format!("failed to read {path}"))
    }
}

async fn read<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        bail!("the API answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).context("the API's answer is not what it was")
}

/// A call and why it went where it went.
pub(super) struct Told {
    pub(super) call: Call,
    pub(super) explanation: Explanation,
}

impl Told {
    /// Candidates that were not dialled, and nobody knows why.
    pub(super) fn unexplained(&self) -> usize {
        let no_reason = |it: &&Candidate| !it.dialed && it.reason.is_none();
        self.explanation.candidates.iter().filter(no_reason).count()
    }

    pub(super) fn failed_over(&self) -> bool {
        self.call.attempts.iter().rev().skip(1).any(|attempt| attempt.result == "failed")
    }

    /// Decision, record and money, a line each and more where needed.
    pub(super) fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        let mut label = Some("Decision");
        for text in &self.explanation.text {
            lines.extend(entry(label.take().unwrap_or_default(), text, paint));
        }
        lines.extend(entry("Record", &self.record(paint), paint));
        for attempt in &self.call.attempts {
            lines.extend(entry("", &attempt.line(), paint));
        }
        lines.extend(entry("Money", &self.money(paint), paint));
        lines
    }

    fn record(&self, paint: Paint) -> String {
        let call = &self.call;
        let outcome = call.outcome.replace('_', " ");
        let outcome = match call.outcome.as_str() {
            "converted" | "connected" => paint.good(&outcome),
            _ => paint.bad(&outcome),
        };
        let mut parts = vec![format!("{} {outcome}", call.call_id)];
        parts.extend(call.talk_ms.map(|ms| format!("talked {}", seconds(ms))));
        parts.extend(call.sip_status.map(|status| format!("SIP {status}")));
        let by = call.end_party.as_deref().map(|party| format!("ended by the {party}"));
        let why = call.end_reason.as_deref().map(|reason| format!("({reason})"));
        match (by, why) {
            (Some(by), Some(why)) => parts.push(format!("{by} {why}")),
            (by, why) => parts.extend(by.or(why)),
        }
        parts.join(", ")
    }

    fn money(&self, paint: Paint) -> String {
        let Amounts { currency, revenue, payout, margin } = &self.call.money;
        if *revenue == Money::ZERO && *payout == Money::ZERO {
            return String::from("none: the call did not convert");
        }
        let buyer = self.call.attempts.last().map_or("buyer", |attempt| attempt.target.as_str());
        let publisher = self.call.publisher.as_deref().unwrap_or("publisher");
        let currency = currency.as_deref().unwrap_or_default();
        let margin = paint.good(&margin.to_string());
        format!("{buyer} owes {revenue}, {publisher} earns {payout}, {margin} {currency} stay here")
    }
}

impl Attempt {
    fn line(&self) -> String {
        let mut line = format!("{}. {} {}", self.n, self.target, self.result);
        if let Some(status) = self.sip {
            line.push_str(&format!(" with {status}"));
        }
        if let Some(ms) = self.ring_ms {
            line.push_str(&format!(" after {} of ringing", seconds(ms)));
        }
        if let Some(reason) = &self.reason {
            line.push_str(&format!(" ({reason})"));
        }
        line
    }
}

/// A labelled entry of the story, broken into lines.
pub(super) fn entry(label: &str, text: &str, paint: Paint) -> Vec<String> {
    let label = paint.bold(&format!("{label:<9}"));
    let mut lines = paint::wrap(text, ENTRY_WIDTH).into_iter();
    let first = format!("  {label} {}", lines.next().unwrap_or_default());
    std::iter::once(first).chain(lines.map(|line| format!("{:14}{line}", ""))).collect()
}

fn seconds(ms: u64) -> String {
    format!("{}.{:01} s", ms / 1000, ms % 1000 / 100)
}

/// How it all came out, and what decides about the exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Totals {
    /// Calls the carrier made.
    pub(super) calls: usize,
    pub(super) answered: usize,
    /// Calls that a target failed and that went on to another.
    pub(super) failed_over: usize,
    /// Records there are.
    pub(super) cdrs: usize,
    /// Candidates that were not dialled without a reason.
    pub(super) unexplained: usize,
    /// Calls without exactly one record.
    pub(super) miscounted: usize,
    /// Calls that came out other than foretold.
    pub(super) unexpected: usize,
    pub(super) converted: usize,
    pub(super) revenue: Money,
    pub(super) payout: Money,
    pub(super) margin: Money,
}

impl Totals {
    /// Counts one call and the records found of it.
    pub(super) fn count(&mut self, records: &[Told], as_foretold: bool) {
        self.calls += 1;
        self.cdrs += records.len();
        self.miscounted += usize::from(records.len() != 1);
        self.unexpected += usize::from(!as_foretold);
        for told in records {
            self.answered += usize::from(told.call.answered_at.is_some());
            self.failed_over += usize::from(told.failed_over());
            self.converted += usize::from(told.call.outcome == "converted");
            self.unexplained += told.unexplained();
            self.revenue = self.revenue + told.call.money.revenue;
            self.payout = self.payout + told.call.money.payout;
            self.margin = self.margin + told.call.money.margin;
        }
    }

    /// Whether every call has one record, and every choice its reason, as foretold.
    pub(super) fn is_good(&self) -> bool {
        self.calls > 0 && self.miscounted + self.unexplained + self.unexpected == 0
    }
}

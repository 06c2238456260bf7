//! What no single setting shows to be wrong, and numbers out of range.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use super::fault::Finding;
use super::settings::{ApiSettings, Settings, SipSettings};
use super::shippers;

/// A key shorter than this may only guard a loopback address.
const KEY_CHARS_MIN: usize = 16;

impl Settings {
    /// All that is wrong.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.sip.check(&mut findings);
        self.api.check(&mut findings);
        self.redis.check(&mut findings);
        let journal = &self.journal;
        let mut times = Ranges(&mut findings);
        times.check_ms("journal.linger_ms", journal.linger, 0..=1000);
        times.check_ms("journal.answer_wait_ms", journal.answer_wait, 0..=5000);
        times.check_s("journal.segment_age_s", journal.segment_age, 1..=86_400);
        times.check_s("journal.checkpoint_interval_s", journal.checkpoint_interval, 1..=3600);
        times.check("journal.segment_bytes", journal.segment_bytes, 1 << 20..=4 << 30, "bytes");
        times.check_ms("decision.deadline_ms", self.decision.deadline, 50..=30_000);
        self.redis.check_beside(self.decision.deadline, times.0);
        self.consumers.check(&mut times);
        self.rollups.check(&mut times);
        self.pressure.check(&mut times);
        self.sessions.check(&mut times);
        if journal.reserve_water_bytes > journal.low_water_bytes {
            findings.push(Finding {
                path: String::from("journal.reserve_water_bytes"),
                value: journal.reserve_water_bytes.to_string(),
                problem: format!("is above low_water_bytes, {}", journal.low_water_bytes),
                remedy: String::from("pings are given up before calls; set it to that or less"),
            });
        }
        self.egress.check(&mut findings);
        shippers::check(&self.shippers, &mut findings);
        self.fraud.check(&mut findings);
        findings
    }
}

impl SipSettings {
    fn check(&self, findings: &mut Vec<Finding>) {
        let mut ranges = Ranges(findings);
        ranges.check_ms("sip.t1_ms", self.t1, 10..=5000);
        ranges.check_ms("sip.trying_after_ms", self.trying_after, 0..=200);
        ranges.check_ms("sip.t2_ms", self.t2, 10..=60_000);
        ranges.check_ms("sip.t4_ms", self.t4, 10..=60_000);
        ranges.check("sip.shards", u64::from(self.shards), 0..=256, "threads");
        ranges.check("sip.calls_max", u64::from(self.calls_max), 1..=10_000_000, "calls");
        ranges.check_s("sip.max_call_s", self.max_call, 1..=604_800);
        let bytes = "bytes";
        ranges.check("sip.message_bytes_max", count(self.message_bytes_max), 1500..=65_535, bytes);
        let datagram = count(self.udp_request_bytes_max);
        ranges.check("sip.udp_request_bytes_max", datagram, 500..=65_535, bytes);
        ranges.check("sip.header_bytes_max", count(self.header_bytes_max), 1024..=65_535, bytes);
        ranges.check("sip.gather_us", u64::from(self.gather_us), 0..=20_000, "microseconds");
        let buffer = count(self.receive_buffer_bytes);
        ranges.check("sip.receive_buffer_bytes", buffer, 65_536..=1 << 30, bytes);
        ranges.check("sip.headers_max", count(self.headers_max), 16..=4096, "fields");
        let tcp = &self.tcp;
        ranges.check_ms("sip.tcp.connect_timeout_ms", tcp.connect_timeout, 50..=32_000);
        ranges.check_ms("sip.tcp.header_timeout_ms", tcp.header_timeout, 100..=60_000);
        let connections = u64::from(tcp.connections_max);
        ranges.check("sip.tcp.connections_max", connections, 1..=1_000_000, "connections");
        let per_source = u64::from(tcp.connections_per_source_max);
        ranges.check(
            "sip.tcp.connections_per_source_max",
            per_source,
            1..=connections,
            "connections",
        );
        let queue = count(tcp.write_queue_bytes);
        ranges.check("sip.tcp.write_queue_bytes", queue, 65_536..=64 << 20, bytes);
        ranges.check_s("sip.tls.reload_s", self.tls.reload, 1..=86_400);
        self.overload.check(&mut ranges);
        self.dns.check(&mut ranges);
        self.health.check(&mut ranges);
        self.check_listeners(findings);
        self.tls.check(&self.listen, findings);
        self.check_user_agent(findings);
    }

    fn check_listeners(&self, findings: &mut Vec<Finding>) {
        if self.listen.is_empty() {
            findings.push(Finding {
                path: String::from("sip.listen"),
                value: String::from("[]"),
                problem: String::from("names no address"),
                remedy: String::from("list at least one, such as \"udp:127.0.0.1:5060\""),
            });
        }
        let mut seen = BTreeSet::new();
        for (position, address) in self.listen.iter().enumerate() {
            let path = || format!("sip.listen[{position}]");
            let ephemeral = address.address.port() == 0;
            if !seen.insert(address) && !ephemeral {
                findings.push(Finding {
                    path: path(),
                    value: address.to_string(),
                    problem: String::from("is listed twice"),
                    remedy: String::from("remove one"),
                });
            }
            if address.address.ip().is_unspecified() && !self.advertise.contains_key(address) {
                findings.push(Finding {
                    path: path(),
                    value: address.to_string(),
                    problem: String::from("is every address, which no peer can answer to"),
                    remedy: format!(
                        "name one, or add sip.advertise = {{ \"{address}\" = \"HOST\" }}"
                    ),
                });
            }
        }
        for address in self.advertise.keys().filter(|address| !self.listen.contains(address)) {
            findings.push(Finding {
                path: format!("sip.advertise.{address}"),
                value: address.to_string(),
                problem: String::from("is no listener"),
                remedy: String::from("write it as it stands in sip.listen"),
            });
        }
    }

    fn check_user_agent(&self, findings: &mut Vec<Finding>) {
        let Some(text) = &self.user_agent else { return };
        if text.is_empty() {
            findings.push(Finding {
                path: String::from("sip.user_agent"),
                value: text.clone(),
                problem: String::from("is empty"),
                remedy: String::from("write one line of text, or leave it out to send none"),
            });
        }
    }
}

/// Texts and names of fields that hold a control character, a line end first of all. None has a use
/// for one, and in a header field or a line of the log it would forge another.
pub(super) fn broken_lines(root: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    look_for_breaks(String::new(), root, &mut findings);
    findings
}

fn look_for_breaks(path: String, value: &Value, findings: &mut Vec<Finding>) {
    let mut look_at = |path: &str, text: &str| {
        if text.contains(char::is_control) {
            findings.push(Finding {
                path: path.to_owned(),
                value: text.escape_debug().to_string(),
                problem: String::from("holds a line end or another control character"),
                remedy: String::from("write one line of plain text"),
            });
        }
    };
    match value {
        Value::String(text) => look_at(&path, text),
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                look_for_breaks(format!("{path}[{position}]"), item, findings);
            }
        }
        Value::Object(fields) => {
            fields.keys().for_each(|name| look_at(&path, name));
            for (name, field) in fields {
                let separator = if path.is_empty() { "" } else { "." };
                look_for_breaks(format!("{path}{separator}{name}"), field, findings);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl ApiSettings {
    fn check(&self, findings: &mut Vec<Finding>) {
        let connections = u64::from(self.connections_max);
        let mut ranges = Ranges(&mut *findings);
        ranges.check("api.connections_max", connections, 1..=1_000_000, "connections");
        let per_source = u64::from(self.connections_per_source_max);
        let path = "api.connections_per_source_max";
        ranges.check(path, per_source, 1..=1_000_000, "connections");
        let mut seen = BTreeSet::new();
        for (position, key) in self.keys.iter().enumerate() {
            if !seen.insert(&key.id) {
                findings.push(Finding {
                    path: format!("api.keys[{position}].id"),
                    value: key.id.to_string(),
                    problem: String::from("is listed twice"),
                    remedy: String::from("give each key its own id"),
                });
            }
            let chars = key.key.reveal().chars().count();
            let required = if self.listen.ip().is_loopback() { 1 } else { KEY_CHARS_MIN };
            if chars < required {
                findings.push(Finding {
                    path: format!("api.keys[{position}].key"),
                    value: format!("{chars} characters"),
                    problem: format!("is too short for {}, which is open to others", self.listen),
                    remedy: format!("use {KEY_CHARS_MIN} random characters or more"),
                });
            }
        }
    }
}

/// Collects numbers that are out of their range.
pub(super) struct Ranges<'a>(pub(super) &'a mut Vec<Finding>);

impl Ranges<'_> {
    pub(super) fn check(&mut self, path: &str, value: u64, range: RangeInclusive<u64>, unit: &str) {
        if !range.contains(&value) {
            self.0.push(Finding {
                path: path.to_owned(),
                value: value.to_string(),
                problem: String::from("is out of range"),
                remedy: format!("use {} to {} {unit}", range.start(), range.end()),
            });
        }
    }

    pub(super) fn check_ms(&mut self, path: &str, value: Duration, range: RangeInclusive<u64>) {
        let value = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        self.check(path, value, range, "milliseconds");
    }

    pub(super) fn check_s(&mut self, path: &str, value: Duration, range: RangeInclusive<u64>) {
        self.check(path, value.as_secs(), range, "seconds");
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

//! Every metric: its name, its labels, its help, and who counts (spec/data §8.2).
//!
//! Labels are bounded sets: a trunk, a target, a reason code, a class. Never a number, a caller, a
//! call.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::id::{CampaignId, TargetId, TrunkId};
use crate::reason::{NoRoute, Reason};
use crate::routing::hold::HoldLedger;
use crate::sip::admission::Busy;
use crate::sip::call::report::Party;
use crate::sip::endpoint::{COUNTED_METHODS, Counters, INVITE_SIZES, LONG_WAYS};
use crate::sip::transport::TcpStats;
use crate::sip::trunk::TrunkIndex;

use super::clock;
use super::deciding::Deciding;

pub const CALLS: &str = "tollbridge_calls_total";
pub const CALLS_ACTIVE: &str = "tollbridge_calls_active";
pub const CALL_END: &str = "tollbridge_call_end_total";
pub const CALL_SETUP: &str = "tollbridge_call_setup_seconds";
pub const TALK: &str = "tollbridge_talk_seconds";
pub const ATTEMPTS: &str = "tollbridge_attempts_total";
pub const CONVERSIONS: &str = "tollbridge_conversions_total";
pub const DECISION: &str = "tollbridge_route_decision_seconds";
pub const NO_MATCH: &str = "tollbridge_route_no_match_total";
pub const NO_ROUTE: &str = "tollbridge_calls_no_route_total";
pub const CAP_DENIED: &str = "tollbridge_cap_denied_total";
pub const CAP_OVERSHOOT: &str = "tollbridge_cap_overshoot_total";
pub const HOLDS_ACTIVE: &str = "tollbridge_holds_active";
pub const STORE_STATE: &str = "tollbridge_hold_store_state";
pub const STORE_RESERVE: &str = "tollbridge_hold_store_reserve_seconds";
pub const STORE_FAULTS: &str = "tollbridge_hold_store_faults_total";
pub const STORE_LOCAL: &str = "tollbridge_hold_store_local_total";
pub const STORE_TOKENS: &str = "tollbridge_hold_store_tokens";
pub const STORE_OTHERS: &str = "tollbridge_hold_store_others_parts";
pub const STORE_LATE: &str = "tollbridge_hold_store_late_settles_total";
pub const SESSION_STORE_STATE: &str = "tollbridge_session_store_state";
pub const SESSION_STORE_LOOKUP: &str = "tollbridge_session_store_lookup_seconds";
pub const SESSION_STORE_LEND: &str = "tollbridge_session_store_lend_seconds";
pub const SESSION_STORE_FAULTS: &str = "tollbridge_session_store_faults_total";
pub const SESSION_STORE_LOCAL: &str = "tollbridge_session_store_local_total";
pub const SESSION_STORE_REMATCHED: &str = "tollbridge_session_store_rematched_total";
pub const SESSION_STORE_APART: &str = "tollbridge_session_store_apart_numbers";
pub const SESSION_STORE_UNSAID: &str = "tollbridge_session_store_unsaid_total";
pub const SESSION_CACHE_READS: &str = "tollbridge_session_cache_reads_total";
pub const SESSION_CACHE_CHANGES: &str = "tollbridge_session_cache_invalidations_total";
pub const SESSION_CACHE_DROPS: &str = "tollbridge_session_cache_drops_total";
pub const SESSION_STORE_CONFLICTS: &str = "tollbridge_session_store_conflicts_total";
pub const SESSIONS: &str = "tollbridge_sessions_active";
pub const SESSIONS_MAX: &str = "tollbridge_sessions_max";
pub const ANSWERS: &str = "tollbridge_answers_kept";
pub const ANSWERS_KEPT_MAX: &str = "tollbridge_answers_kept_max";
pub const POOL_NUMBERS: &str = "tollbridge_pool_numbers";
pub const POOL_NEEDED: &str = "tollbridge_pool_needed_numbers";
pub const POOL_MISSES: &str = "tollbridge_pool_misses";
pub const POOL_MISSING: &str = "tollbridge_pool_missing_numbers";
pub const POOL_MISSING_COST: &str = "tollbridge_pool_missing_cost_micros";
pub const POOL_SHARING: &str = "tollbridge_pool_sharing_sessions";
pub const SIP_MESSAGES: &str = "tollbridge_sip_messages_total";
pub const SIP_TRANSACTIONS: &str = "tollbridge_sip_transactions_active";
pub const OBJECTS: &str = "tollbridge_objects_active";
pub const SIP_RETRANSMISSIONS: &str = "tollbridge_sip_retransmissions_total";
pub const SIP_INVITE_SIZE: &str = "tollbridge_sip_invite_size_total";
pub const SIP_LONG_REQUESTS: &str = "tollbridge_sip_long_requests_total";
pub const SIP_PARSE_ERRORS: &str = "tollbridge_sip_parse_errors_total";
pub const SIP_DROPPED: &str = "tollbridge_sip_dropped_total";
pub const TLS_HANDSHAKES: &str = "tollbridge_sip_tls_handshakes_total";
pub const TLS_UNVERIFIED: &str = "tollbridge_sip_tls_unverified_total";
pub const TLS_UNVERIFIED_PEERS: &str = "tollbridge_sip_tls_unverified_peers";
pub const TLS_EXPIRY: &str = "tollbridge_sip_tls_certificate_expiry_seconds";
pub const TLS_RELOADS: &str = "tollbridge_sip_tls_reloads_total";
pub const DNS_LOOKUPS: &str = "tollbridge_dns_lookups_total";
pub const DNS_UNANSWERED: &str = "tollbridge_dns_unanswered_questions";
pub const DNS_LOST: &str = "tollbridge_dns_lost_names";
pub const ADDRESS_FAILURES: &str = "tollbridge_target_address_failures_total";
pub const CIRCUITS_OPENED: &str = "tollbridge_target_circuits_opened_total";
pub const WAYS_OPENED: &str = "tollbridge_way_circuits_opened_total";
pub const WAY_ATTEMPTS: &str = "tollbridge_way_attempts_total";
pub const WAY_PDD: &str = "tollbridge_way_post_dial_delay_seconds";
pub const WAYS_ILL: &str = "tollbridge_ways_not_well";
pub const SCORER_ANSWERS: &str = "tollbridge_scorer_answers_total";
pub const TARGETS_ILL: &str = "tollbridge_targets_not_well";
pub const ADDRESSES_DOWN: &str = "tollbridge_target_addresses_down";
pub const TARGET_ADDRESSES_UP: &str = "tollbridge_target_addresses_up";
pub const SIP_REFUSED: &str = "tollbridge_sip_refused_total";
pub const SIP_BACKLOG: &str = "tollbridge_sip_backlog_seconds";
pub const HALF_OPEN: &str = "tollbridge_calls_half_open";
pub const MEMORY: &str = "tollbridge_memory_bytes";
pub const PANICS: &str = "tollbridge_sip_panics_total";
pub const LATENESS: &str = "tollbridge_sip_timer_lateness_seconds";
pub const REAPED: &str = "tollbridge_sip_reaped_calls_total";
pub const PINGS: &str = "tollbridge_pings_total";
pub const PINGS_FILTERED: &str = "tollbridge_pings_filtered_total";
pub const PINGS_OVER_QUOTA: &str = "tollbridge_pings_over_quota_total";
pub const SIGNS_LEFT_OUT: &str = "tollbridge_signs_of_life_left_out_total";
pub const PINGS_OVER_SHARE: &str = "tollbridge_pings_over_share_total";
pub const PINGS_IN_PROGRESS: &str = "tollbridge_pings_in_progress";
pub const PINGS_IN_PROGRESS_MAX: &str = "tollbridge_pings_in_progress_limit";
pub const API_REFUSED: &str = "tollbridge_api_connections_refused_total";
pub const PRESSURE: &str = "tollbridge_pressure_level";
pub const PING_ACK: &str = "tollbridge_ping_ack_seconds";
pub const JOURNAL_COMMIT: &str = "tollbridge_journal_commit_seconds";
pub const JOURNAL_BATCH: &str = "tollbridge_journal_batch_records";
pub const JOURNAL_ERRORS: &str = "tollbridge_journal_fsync_errors_total";
pub const JOURNAL_BYTES: &str = "tollbridge_journal_written_bytes_total";
pub const JOURNAL_UNSYNCED: &str = "tollbridge_journal_unsynced_bytes";
pub const OPEN_RECORDS: &str = "tollbridge_cdr_open";
pub const JOURNAL_PRESSURE: &str = "tollbridge_journal_pressure";
pub const FACT_GAP: &str = "tollbridge_fact_gap_total";
pub const CONSUMER_LAG: &str = "tollbridge_consumer_lag_facts";
pub const CONSUMER_LAG_SECONDS: &str = "tollbridge_consumer_lag_seconds";
pub const CONSUMER_FACTS: &str = "tollbridge_consumer_facts_total";
pub const CONSUMER_FAILURES: &str = "tollbridge_consumer_failures_total";
pub const CONSUMER_RETRIES: &str = "tollbridge_consumer_retries_total";
pub const CONSUMER_RESTARTS: &str = "tollbridge_consumer_restarts_total";
pub const CONSUMER_LOST: &str = "tollbridge_consumer_lost_facts_total";
pub const CONSUMER_LETTERS: &str = "tollbridge_consumer_dead_letters";
pub const SHIPPER_EVENTS: &str = "tollbridge_shipper_events_total";
pub const SHIPPER_REPEATED: &str = "tollbridge_shipper_repeated_events_total";
pub const SHIPPER_OUTAGES: &str = "tollbridge_shipper_outages_total";
pub const SHIPPER_QUEUE_FULL: &str = "tollbridge_shipper_queue_full_total";
pub const CONSUMER_STOPPED: &str = "tollbridge_consumer_stopped";
pub const SEGMENTS_UNREAD: &str = "tollbridge_journal_unread_segments_deleted_total";
pub const ENRICHMENTS: &str = "tollbridge_enrichments_total";
pub const ENRICHMENTS_LATE: &str = "tollbridge_enrichments_after_call_total";
pub const ENRICHER_REFUSED: &str = "tollbridge_enricher_refused_tags_total";
pub const ENRICHER_SECONDS: &str = "tollbridge_enricher_answer_seconds";
pub const ENRICHER_RESTS: &str = "tollbridge_enricher_resting";
pub const EGRESS_REFUSED: &str = "tollbridge_egress_refused_total";
pub const ENRICHER_COST: &str = "tollbridge_enricher_cost_micros_total";
pub const FRAUD_SCORES: &str = "tollbridge_fraud_scores_total";
pub const FRAUD_REASONS: &str = "tollbridge_fraud_reasons_total";
pub const ORPHANS: &str = "tollbridge_orphans_closed_total";
pub const ORPHANS_ENDED: &str = "tollbridge_orphans_ended_total";
pub const VIOLATIONS: &str = "tollbridge_invariant_violations_total";
/// Those that a running server can find broken; see docs/invariants.md.
pub const OBSERVED: [&str; 9] = ["I2", "I3", "I4", "I5", "I6", "I7", "I9", "I10", "I11"];
pub const RELOADS: &str = "tollbridge_config_reloads_total";
pub const BUILD: &str = "tollbridge_build_info";

/// Buckets of every histogram in seconds: from a decision to a long call.
pub const SECONDS: &[f64] = &[
    0.000_01, 0.000_05, 0.000_2, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0,
];

/// Help texts; said once, when the recorder is installed.
fn describe() {
    describe_counter!(CALLS, "Calls that ended, by outcome");
    describe_gauge!(CALLS_ACTIVE, "Calls admitted and not yet ended");
    describe_counter!(CALL_END, "Calls that ended, by who ended them and why");
    describe_histogram!(CALL_SETUP, "From the caller's INVITE to the target's answer");
    describe_histogram!(TALK, "From the answer to the end");
    describe_counter!(ATTEMPTS, "INVITEs to targets, by target, result and status class");
    describe_counter!(CONVERSIONS, "Calls that lasted as long as their terms ask");
    describe_histogram!(
        LATENESS,
        "From the tick of a timer to its handling; of timers that are handled together, the first"
    );
    describe_histogram!(DECISION, "Making and recording a routing decision");
    describe_counter!(NO_MATCH, "Calls that were not routed, by reason");
    describe_counter!(NO_ROUTE, "Calls that got to nobody, by campaign and class");
    describe_counter!(CAP_DENIED, "Holds that were denied when an attempt was to start");
    describe_counter!(CAP_OVERSHOOT, "Settlements that took a cap over its limit");
    describe_gauge!(HOLDS_ACTIVE, "Live holds on caps and concurrency");
    describe_gauge!(
        SESSION_STORE_STATE,
        "The shared store of sessions: 0 open, 1 recovering, 2 away"
    );
    describe_histogram!(SESSION_STORE_LOOKUP, "Asking the shared store for the sessions of a call");
    describe_histogram!(SESSION_STORE_LEND, "Asking the shared store for a number");
    describe_counter!(
        SESSION_STORE_FAULTS,
        "What the shared store of sessions did not do, by kind"
    );
    describe_counter!(
        SESSION_STORE_LOCAL,
        "What was done without the shared store of sessions: lookups, numbers, or no number"
    );
    describe_counter!(
        SESSION_STORE_REMATCHED,
        "Calls that were matched without the shared store of sessions and looked at again, by outcome"
    );
    describe_gauge!(SESSION_STORE_APART, "Numbers set apart for when the store is away");
    describe_counter!(
        SESSION_STORE_UNSAID,
        "Answers and claims that the store was never told of, for it was away too long"
    );
    describe_counter!(
        SESSION_STORE_CONFLICTS,
        "Numbers that two sessions had when the store was back: the later one keeps it"
    );
    describe_counter!(
        SESSION_CACHE_READS,
        "Reads of sessions, numbers and lists of callers' sessions: `hit` of what is kept of the shared store, `miss` of the store"
    );
    describe_counter!(
        SESSION_CACHE_CHANGES,
        "What was kept of the shared store of sessions and has changed there"
    );
    describe_counter!(
        SESSION_CACHE_DROPS,
        "Times that all that was kept of a server of the shared store counted no more: its connection was lost, or it was emptied"
    );
    describe_gauge!(STORE_STATE, "The shared store of holds: 0 open, 1 recovering, 2 away");
    describe_histogram!(STORE_RESERVE, "Asking the shared store for room, by outcome");
    describe_counter!(STORE_FAULTS, "Times the shared store was of no use, by kind");
    describe_counter!(
        STORE_LOCAL,
        "Holds asked of this server's own room, the shared store being away, by outcome"
    );
    describe_gauge!(STORE_TOKENS, "Tokens kept for when the shared store is away");
    describe_gauge!(
        STORE_OTHERS,
        "What other servers have used of windows, remembered for when the shared store loses it"
    );
    describe_counter!(
        STORE_LATE,
        "Settlements that came after their lease was over and what they held was given to others"
    );
    describe_counter!(
        API_REFUSED,
        "Connections to the REST service beyond what may be open, each of which closed another or was refused"
    );
    describe_gauge!(SESSIONS, "Live ping sessions");
    describe_gauge!(SESSIONS_MAX, "Live sessions above which no more are opened");
    describe_gauge!(ANSWERS, "Answers that are given again to the same request");
    describe_gauge!(ANSWERS_KEPT_MAX, "Of more answers the oldest are forgotten");
    describe_gauge!(POOL_NUMBERS, "Numbers of a pool, by `state`");
    describe_gauge!(
        POOL_NEEDED,
        "Numbers a pool should have by the busiest hour and moment of the last 24 hours"
    );
    describe_gauge!(
        POOL_MISSES,
        "Sessions of the last 24 hours for whom a pool had no number left"
    );
    describe_gauge!(POOL_MISSING, "Numbers that a pool should have and has not");
    describe_gauge!(
        POOL_MISSING_COST,
        "What these would cost a month, in millionths of the account's currency; absent: the pool says no `number_cost`"
    );
    describe_gauge!(POOL_SHARING, "Live sessions that are shown a pool's overflow number");
    describe_counter!(SIP_MESSAGES, "SIP messages, by direction and method or class");
    describe_gauge!(SIP_TRANSACTIONS, "Transactions in memory");
    describe_gauge!(
        OBJECTS,
        "What the shards hold, by kind; zero at rest, deadlines half a minute after it"
    );
    describe_counter!(SIP_RETRANSMISSIONS, "Messages sent or received again");
    describe_counter!(
        SIP_INVITE_SIZE,
        "INVITEs that were sent to targets, by trunk of the call and the bytes they have at most"
    );
    describe_counter!(
        SIP_LONG_REQUESTS,
        "Requests too long for a datagram, by what became of them"
    );
    describe_counter!(SIP_PARSE_ERRORS, "Messages that could not be parsed, by fault");
    describe_counter!(SIP_DROPPED, "Datagrams and messages dropped, by reason");
    describe_counter!(TLS_HANDSHAKES, "TLS handshakes, by our side of them and result");
    describe_counter!(TLS_UNVERIFIED, "TLS connections to peers that are not verified");
    describe_gauge!(TLS_UNVERIFIED_PEERS, "Peers that are configured not to be verified");
    describe_gauge!(
        TLS_EXPIRY,
        "Until a certificate of ours ends; negative once it has, NaN if it is configured no more"
    );
    describe_counter!(TLS_RELOADS, "Times TLS files changed, by whether they could be used");
    describe_counter!(DNS_LOOKUPS, "Names looked up, by result");
    describe_gauge!(DNS_UNANSWERED, "Questions to DNS whose last answer was none");
    describe_gauge!(DNS_LOST, "Names of targets that lead nowhere");
    describe_counter!(
        ADDRESS_FAILURES,
        "Calls that failed at one of several addresses of a target"
    );
    describe_counter!(CIRCUITS_OPENED, "Times that calls to a target went badly, by target");
    describe_counter!(WAYS_OPENED, "Times that calls over a way to targets went badly, by way");
    describe_counter!(WAY_ATTEMPTS, "Attempts over ways that are watched, by way and outcome");
    describe_histogram!(WAY_PDD, "From the INVITE to the first ringing or the answer, by way");
    describe_gauge!(WAYS_ILL, "Ways to targets that calls say are not well");
    describe_counter!(SCORER_ANSWERS, "Questions to scorers elsewhere, by scorer and outcome");
    describe_gauge!(TARGETS_ILL, "Targets that calls or probes say are not well");
    describe_gauge!(ADDRESSES_DOWN, "Addresses of targets that are tried after all others");
    describe_gauge!(TARGET_ADDRESSES_UP, "Addresses of a target that answer probes, by target");
    describe_counter!(SIP_REFUSED, "Requests that would have opened something, by reason");
    describe_gauge!(SIP_BACKLOG, "For how long a thread has not been done with its work");
    describe_gauge!(HALF_OPEN, "Calls whose caller has not confirmed an answer yet");
    describe_gauge!(MEMORY, "Memory in use by the process");
    describe_counter!(PANICS, "Handlers that panicked; each ended one call");
    describe_counter!(REAPED, "Calls that did not end by themselves and were taken away");
    describe_counter!(crate::api::REQUESTS, "API requests, by route, method and status");
    describe_counter!(PINGS, "Pings, by result");
    describe_counter!(
        PINGS_FILTERED,
        "Pings of which no target would take a call, by campaign and reason"
    );
    describe_counter!(PINGS_OVER_QUOTA, "Pings and visits refused, by publisher and quota");
    describe_counter!(
        SIGNS_LEFT_OUT,
        "Signs of life of sessions that were not written down, for there is pressure"
    );
    describe_counter!(
        PINGS_OVER_SHARE,
        "Pings and visits refused under pressure, beyond their publisher's share, by publisher"
    );
    describe_gauge!(PINGS_IN_PROGRESS, "Requests with pings that are being answered");
    describe_gauge!(PINGS_IN_PROGRESS_MAX, "How many of them the server finds it can bear");
    describe_gauge!(
        PRESSURE,
        "What is given up: 0 nothing, 1 strained, 2 pings beyond shares, 3 all pings, 4 new calls"
    );
    describe_histogram!(PING_ACK, "From a ping to its answer");
    describe_histogram!(JOURNAL_COMMIT, "Making a group of facts durable");
    describe_histogram!(JOURNAL_BATCH, "Facts of one commit");
    describe_counter!(JOURNAL_ERRORS, "Failed writes and syncs of the journal");
    describe_counter!(JOURNAL_BYTES, "Bytes written to the journal");
    describe_gauge!(JOURNAL_UNSYNCED, "Bytes of the journal that are not on stable storage yet");
    describe_gauge!(OPEN_RECORDS, "Calls the projection holds open");
    describe_gauge!(
        JOURNAL_PRESSURE,
        "State of the journal's disk: 0 good, 1 low, 2 reserve, 3 failing"
    );
    describe_counter!(FACT_GAP, "Sequence numbers missing from the journal");
    describe_gauge!(CONSUMER_LAG, "Facts in the book that a consumer has not read, by consumer");
    describe_gauge!(
        CONSUMER_LAG_SECONDS,
        "Age of the last fact a consumer read, while there are more"
    );
    describe_counter!(CONSUMER_FACTS, "Facts that consumers have worked from, by consumer");
    describe_counter!(CONSUMER_FAILURES, "Facts that failed at a consumer, by consumer and class");
    describe_counter!(CONSUMER_RETRIES, "Facts that were tried again, by consumer");
    describe_counter!(CONSUMER_RESTARTS, "Consumers that panicked and were started again");
    describe_counter!(CONSUMER_LOST, "Facts that were deleted before a consumer read them");
    describe_gauge!(CONSUMER_LETTERS, "Facts that are set aside, by consumer and state");
    describe_counter!(SHIPPER_EVENTS, "Events that the other side has taken, by shipper");
    describe_counter!(
        SHIPPER_REPEATED,
        "Events that were offered again and that the other side had, by shipper"
    );
    describe_counter!(
        SHIPPER_OUTAGES,
        "Times that events were not taken and have to wait, by shipper"
    );
    describe_counter!(
        SHIPPER_QUEUE_FULL,
        "Times that an event had to wait for room in librdkafka's queue, by shipper"
    );
    describe_gauge!(CONSUMER_STOPPED, "1 while a consumer waits for something to be repaired");
    describe_counter!(SEGMENTS_UNREAD, "Journal segments deleted before every consumer read them");
    describe_counter!(ENRICHMENTS, "Looks at callers of sessions, by enricher and outcome");
    describe_counter!(
        ENRICHMENTS_LATE,
        "Answers that came after the first call of their session, by enricher"
    );
    describe_counter!(
        ENRICHER_REFUSED,
        "Tags of answers that are not what they have to be, by enricher"
    );
    describe_histogram!(ENRICHER_SECONDS, "From a question to an enricher to its answer");
    describe_gauge!(ENRICHER_RESTS, "1 while an enricher is not asked, for it failed");
    describe_counter!(EGRESS_REFUSED, "Addresses that were not asked over HTTP, by what they are");
    describe_counter!(ENRICHER_COST, "What questions to an enricher cost, in micros");
    describe_counter!(FRAUD_SCORES, "Calls and sessions scored, by whether the score is high");
    describe_counter!(FRAUD_REASONS, "What spoke for fraud, of calls and sessions, by reason");
    describe_counter!(ORPHANS, "Calls closed after a crash, by policy");
    describe_counter!(ORPHANS_ENDED, "Calls closed after a crash whose true end became known");
    describe_counter!(VIOLATIONS, "Invariants found broken; always zero");
    for inv in OBSERVED {
        counter!(VIOLATIONS, "inv" => inv).absolute(0);
    }
    describe_counter!(RELOADS, "Configurations read again, by whether they were put in force");
    describe_gauge!(BUILD, "Always 1; says the version");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    counter!(FACT_GAP).absolute(0);
}

/// The process's one recorder.
#[derive(Clone)]
pub struct Prometheus {
    handle: PrometheusHandle,
}

impl Prometheus {
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Histograms keep samples until they are read; nobody may be reading.
    pub fn condense(&self) {
        self.handle.run_upkeep();
    }
}

/// Installs the recorder, once per process.
pub fn install() -> Prometheus {
    static INSTALLED: OnceLock<Prometheus> = OnceLock::new();
    let install = || {
        let handle = PrometheusBuilder::new()
            .set_buckets(SECONDS)
            .expect("the list of buckets is not empty")
            .set_buckets_for_metric(Matcher::Full(JOURNAL_BATCH.to_owned()), RECORDS)
            .expect("the list of buckets is not empty")
            .install_recorder()
            .expect("no other recorder is installed in this process");
        describe();
        Prometheus { handle }
    };
    INSTALLED.get_or_init(install).clone()
}

/// What the routing state holds and has counted.
pub fn routing(deciding: &Deciding) {
    let holds = deciding.ledger(HoldLedger::live);
    let (sessions, answers) = deciding.filled();
    gauge!(HOLDS_ACTIVE).set(holds as f64);
    gauge!(SESSIONS).set(sessions.now as f64);
    gauge!(SESSIONS_MAX).set(sessions.max as f64);
    gauge!(ANSWERS).set(answers.now as f64);
    gauge!(ANSWERS_KEPT_MAX).set(answers.max as f64);
    gauge!(TARGETS_ILL).set(deciding.conditions(clock::mono()).len() as f64);
    gauge!(WAYS_ILL).set(deciding.ways_ill(clock::mono()) as f64);
    let counters = deciding.ledger(HoldLedger::counters);
    counter!(VIOLATIONS, "inv" => "I6").absolute(counters.leaked);
    counter!(VIOLATIONS, "inv" => "I7").absolute(counters.reused);
    // Where others have a say, the store knows.
    if deciding.shared().is_none() {
        counter!(CAP_OVERSHOOT).absolute(counters.overshoots);
        counter!(VIOLATIONS, "inv" => "I5").absolute(counters.overshoots);
        counter!(VIOLATIONS, "inv" => "I9").absolute(counters.overdrawn);
    }
}

/// What the transport has counted of TLS.
pub fn tls(stats: &TcpStats) {
    let counts = [
        ("server", "ok", &stats.tls_accepted),
        ("server", "failed", &stats.tls_accept_failed),
        ("client", "ok", &stats.tls_connected),
        ("client", "failed", &stats.tls_connect_failed),
    ];
    for (side, result, count) in counts {
        counter!(TLS_HANDSHAKES, "side" => side, "result" => result).absolute(count.value());
    }
    counter!(TLS_UNVERIFIED).absolute(stats.tls_unverified.value());
}

/// Buckets of the number of facts in a commit.
const RECORDS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

/// What a shard counts of calls.
pub struct CallMetrics {
    active: Gauge,
    setup: Histogram,
    talk: Histogram,
    decision: Histogram,
    conversions: Counter,
    attempts: BTreeMap<(TargetId, &'static str, u16), Counter>,
    ends: BTreeMap<(&'static str, Reason), Counter>,
    outcomes: BTreeMap<&'static str, Counter>,
}

impl CallMetrics {
    /// Looks the handles up once; counting is cheap from then on.
    pub fn register() -> Self {
        Self {
            active: gauge!(CALLS_ACTIVE),
            setup: histogram!(CALL_SETUP),
            talk: histogram!(TALK),
            decision: histogram!(DECISION),
            conversions: counter!(CONVERSIONS),
            attempts: BTreeMap::new(),
            ends: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    pub fn admitted(&mut self, _trunk: &TrunkId) {
        self.active.increment(1.0);
    }

    pub fn decided(&mut self, took: Duration) {
        self.decision.record(took);
    }

    pub fn no_route(&mut self, reason: Reason) {
        counter!(NO_MATCH, "reason" => reason.code()).increment(1);
    }

    /// Of a call that is over.
    pub fn got_to_nobody(&self, campaign: Option<&CampaignId>, class: NoRoute) {
        let campaign = campaign.map(ToString::to_string).unwrap_or_default();
        counter!(NO_ROUTE, "campaign" => campaign, "class" => class.name()).increment(1);
    }

    pub fn hold_denied(&mut self, reason: Reason) {
        counter!(CAP_DENIED, "kind" => reason.code()).increment(1);
    }

    pub fn attempt(
        &mut self,
        target: Option<&TargetId>,
        result: &'static str,
        status: Option<u16>,
    ) {
        let Some(target) = target else { return };
        let class = status.map_or(0, |status| status / 100);
        let key = (target.clone(), result, class);
        let count = self.attempts.entry(key).or_insert_with(|| {
            let class = if class == 0 { String::from("none") } else { format!("{class}xx") };
            counter!(ATTEMPTS, "target" => target.to_string(), "result" => result, "sip_class" => class)
        });
        count.increment(1);
    }

    pub fn answered(&mut self, setup: Duration) {
        self.setup.record(setup);
    }

    pub fn orphan_ended(&self) {
        counter!(ORPHANS_ENDED).increment(1);
    }

    pub fn converted(&mut self) {
        self.conversions.increment(1);
    }

    pub fn ended(&mut self, party: Party, reason: Reason, talk: Option<Duration>) {
        self.active.decrement(1.0);
        let party = match party {
            Party::Caller => "caller",
            Party::Target => "target",
            Party::System => "system",
        };
        let end = self
            .ends
            .entry((party, reason))
            .or_insert_with(|| counter!(CALL_END, "party" => party, "reason" => reason.code()));
        end.increment(1);
        if let Some(talk) = talk {
            self.talk.record(talk);
        }
        let outcome = outcome(reason, talk.is_some());
        let count = self
            .outcomes
            .entry(outcome)
            .or_insert_with(|| counter!(CALLS, "direction" => "inbound", "outcome" => outcome));
        count.increment(1);
    }
}

/// The outcomes of spec/data §8.2.
fn outcome(reason: Reason, answered: bool) -> &'static str {
    if answered {
        return "ok";
    }
    let is_one_of = |reasons: &[Reason]| reasons.contains(&reason);
    let is_ours = |kind: &&str| reason.code().starts_with(*kind);
    if reason == Reason::CallerAbandoned {
        "caller_abandon"
    } else if reason == Reason::HandedOver {
        "handed_over"
    } else if reason == Reason::AttemptBusy {
        "busy"
    } else if is_one_of(&[
        Reason::AttemptNoAnswer,
        Reason::AttemptNoResponse,
        Reason::AttemptNoRinging,
    ]) {
        "no_answer"
    } else if is_one_of(&[Reason::AttemptRejected, Reason::AttemptRedirected]) {
        "rejected"
    } else if ["attempt.", "system.", "decision."].iter().any(is_ours) {
        "system_error"
    } else {
        "no_route"
    }
}

/// Kinds of [`OBJECTS`]: calls of the endpoint, its deadlines, calls the server accounts for, inputs
/// that wait for the disk, conversions that are due at some time.
const OBJECT_KINDS: [&str; 5] = ["call", "deadline", "accounted_call", "disk_wait", "conversion"];

/// What a shard counts of messages. The endpoint counts in plain numbers; they come here once a
/// second.
pub struct ShardMetrics {
    unknown_source: Counter,
    garbage: Counter,
    mailbox_full: Counter,
    send_queue: Counter,
    send_fault: Counter,
    transactions: Gauge,
    objects: [Gauge; OBJECT_KINDS.len()],
    requests: [[Counter; COUNTED_METHODS.len()]; 2],
    responses: [[Counter; 6]; 2],
    retransmissions: [Counter; 2],
    panics: Counter,
    overload: Counter,
    refused: [Counter; Busy::ALL.len()],
    reaped: Counter,
    lateness: Histogram,
    transactions_before: usize,
    objects_before: [usize; OBJECT_KINDS.len()],
}

impl ShardMetrics {
    /// Looks the handles up once.
    pub fn register() -> Self {
        let dropped = |reason: &'static str| counter!(SIP_DROPPED, "reason" => reason);
        let directions = ["in", "out"];
        Self {
            unknown_source: dropped("acl"),
            garbage: dropped("garbage"),
            mailbox_full: dropped("mailbox_full"),
            send_queue: dropped("send_queue"),
            send_fault: dropped("send_fault"),
            transactions: gauge!(SIP_TRANSACTIONS),
            objects: OBJECT_KINDS.map(|kind| gauge!(OBJECTS, "kind" => kind)),
            requests: directions.map(|dir| {
                COUNTED_METHODS
                    .map(|method| counter!(SIP_MESSAGES, "dir" => dir, "method" => method))
            }),
            responses: directions.map(|dir| {
                ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"]
                    .map(|class| counter!(SIP_MESSAGES, "dir" => dir, "class" => class))
            }),
            retransmissions: directions.map(|dir| counter!(SIP_RETRANSMISSIONS, "dir" => dir)),
            panics: counter!(PANICS),
            overload: dropped("overload"),
            refused: Busy::ALL.map(|busy| counter!(SIP_REFUSED, "reason" => busy.name())),
            reaped: counter!(REAPED),
            lateness: histogram!(LATENESS),
            transactions_before: 0,
            objects_before: [0; OBJECT_KINDS.len()],
        }
    }

    pub fn dropped_unknown_source(&self, count: u64) {
        self.unknown_source.increment(count);
    }

    pub fn dropped_garbage(&self, count: u64) {
        self.garbage.increment(count);
    }

    pub fn dropped_mailbox_full(&self, count: u64) {
        self.mailbox_full.increment(count);
    }

    pub fn dropped_send_queue(&self, count: u64) {
        self.send_queue.increment(count);
    }

    pub fn dropped_send_fault(&self, count: u64) {
        self.send_fault.increment(count);
    }

    pub fn dropped_overload(&self, count: u64) {
        self.overload.increment(count);
    }

    /// What is due now has been due for so long; of several the first.
    pub fn timers_late(&self, by: Duration) {
        self.lateness.record(by);
    }

    /// How far a shard is behind, and what it has half-open.
    pub fn strained(&self, shard: u16, standing: Duration, half_open: usize) {
        let shard = shard.to_string();
        gauge!(SIP_BACKLOG, "shard" => shard.clone()).set(standing.as_secs_f64());
        gauge!(HALF_OPEN, "shard" => shard).set(half_open as f64);
    }

    /// `counts` are those of [`OBJECT_KINDS`], in that order.
    pub fn publish_objects(&mut self, counts: [usize; OBJECT_KINDS.len()]) {
        for ((gauge, count), before) in
            self.objects.iter().zip(counts).zip(&mut self.objects_before)
        {
            gauge.increment(count as f64 - *before as f64);
            *before = count;
        }
    }

    /// `trunk` names a trunk.
    pub fn publish(
        &mut self,
        counters: Counters,
        transactions: usize,
        trunk: impl Fn(TrunkIndex) -> Option<TrunkId>,
    ) {
        let add = |metrics: &[Counter], counts: &[u64]| {
            for (metric, count) in metrics.iter().zip(counts) {
                if *count > 0 {
                    metric.increment(*count);
                }
            }
        };
        add(&self.requests[0], &counters.requests_in);
        add(&self.requests[1], &counters.requests_out);
        add(&self.responses[0], &counters.responses_in);
        add(&self.responses[1], &counters.responses_out);
        add(&self.retransmissions, &[counters.retransmissions_in, counters.retransmissions_out]);
        add(&self.refused, &counters.refused);
        self.panics.increment(counters.panics);
        self.reaped.increment(counters.reaped);
        for (index, sizes) in counters.invite_sizes.iter().enumerate() {
            let trunk = u16::try_from(index).ok().and_then(|index| trunk(TrunkIndex(index)));
            let trunk = trunk.map(|id| id.to_string()).unwrap_or_default();
            for (position, count) in sizes.iter().enumerate().filter(|(_, count)| **count > 0) {
                let most =
                    INVITE_SIZES.get(position).map_or_else(|| "more".into(), usize::to_string);
                let labels = [("trunk", trunk.clone()), ("bytes", most)];
                counter!(SIP_INVITE_SIZE, &labels).increment(*count);
            }
        }
        for (way, count) in LONG_WAYS.into_iter().zip(counters.long_requests) {
            if count > 0 {
                counter!(SIP_LONG_REQUESTS, "way" => way).increment(count);
            }
        }
        for (fault, count) in counters.malformed {
            counter!(SIP_PARSE_ERRORS, "kind" => fault).increment(count);
        }
        // The gauge is shared by all shards, so each adds its own change.
        let change = transactions as f64 - self.transactions_before as f64;
        self.transactions.increment(change);
        self.transactions_before = transactions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_the_carrier_was_told_to_make_is_none_without_a_route() {
        let cases = [
            (Reason::HandedOver, false, "handed_over"),
            (Reason::CallerAbandoned, false, "caller_abandon"),
            (Reason::AttemptBusy, false, "busy"),
            (Reason::AttemptUnresolved, false, "system_error"),
            (Reason::NoneEligible, false, "no_route"),
            (Reason::CallerHungUp, true, "ok"),
        ];
        for (reason, answered, expected) in cases {
            assert_eq!(outcome(reason, answered), expected, "{reason:?}");
        }
    }
}

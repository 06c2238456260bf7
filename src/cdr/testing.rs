//! Calls as tests tell them.

use std::sync::Arc;

use super::fact::{
    Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Converted, Decided,
    Dialogs, Ended, Fact, FactBody, OrphanClosed, OrphanPolicy, Party, PingAccepted, Shortage,
    Stamp, Terms,
};
use super::journal::{Entry, Lsn};
use super::record::CallRecord;
use super::store::sqlite::SqliteStore;
use super::store::{Batch, Book};
use super::timeline;
use crate::id::{CallId, PingId, SessionId};
use crate::money::Money;
use crate::phone::PhoneNumber;
use crate::reason::Reason;

/// 2026-03-17T15:04:12.318Z.
pub(crate) const START_MS: i64 = 1_773_759_852_318;

/// The `n`-th call of a test, admitted `n` ms after [`START_MS`].
pub(crate) fn call_id(n: u64) -> CallId {
    let ms = u128::from(START_MS.unsigned_abs() + n);
    CallId(uuid::Uuid::from_u128(ms << 80 | 0x7 << 76 | 0x8 << 60 | u128::from(n)))
}

/// The ping whose bytes are all `n`, accepted at [`START_MS`].
pub(crate) fn ping(n: u8, ttl_ms: i64) -> PingAccepted {
    PingAccepted {
        ping: PingId::from_bytes([n; 16]),
        session: SessionId::from_bytes([n; 16]),
        publisher: "pub_brightpath".into(),
        campaign: "cmp_hvac".into(),
        caller: None,
        pool: Some("pool_hvac".into()),
        number: None,
        tags: vec![("zip".into(), "43215".into())],
        expires_at_ms: START_MS + ttl_ms,
        request_id: None,
        visitor: None,
        opener: None,
        reply: None,
        promise: None,
        extra: vec![],
    }
}

/// A book of calls of every outcome.
pub(crate) async fn book_of_calls(count: u64) -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::TempDir::new().unwrap();
    let store = SqliteStore::open(&dir.path().join("book.db")).await.unwrap();
    let calls = (1..=count).map(|n| {
        let script = Script::of(n);
        let script = match n % 5 {
            0 => script.dial(1).answer_at(1_000).end_at(200_000),
            1 => script.dial(1).answer_at(1_000).end_at(2_000),
            2 => script.dial(1).fail_at(900, 486, Reason::AttemptBusy).abandon_at(1_000),
            3 => script.abandon_at(10),
            _ => script.dial(1).answer_at(1_000).orphan(30_000),
        };
        Arc::new(script.record())
    });
    let batch = Batch { calls: calls.collect(), ..Batch::default() };
    store.write(Arc::new(batch)).await.unwrap();
    (dir, store)
}

/// Facts of one call, at milliseconds since its admission.
#[derive(Clone)]
pub(crate) struct Script {
    call: CallId,
    wall_step_ms: i64,
    last_leg: u16,
    last_ms: u64,
    entries: Vec<Entry>,
}

impl Script {
    /// The same, matched without the store that servers share.
    pub(crate) fn degraded(n: u64) -> Self {
        let mut script = Self::of(n);
        let degraded = Decided { degraded: true, ..decided() };
        script.entries[1].fact.body = degraded.into();
        script
    }

    /// A call that was admitted and decided.
    pub(crate) fn new() -> Self {
        Self::of(1)
    }

    pub(crate) fn of(n: u64) -> Self {
        let script = Self {
            call: call_id(n),
            wall_step_ms: 0,
            last_leg: 0,
            last_ms: 0,
            entries: Vec::new(),
        };
        script.then(0, admitted(n)).then(7, decided())
    }

    pub(crate) fn dial(self, leg: u16) -> Self {
        self.dial_over(leg, None, 0)
    }

    /// The target is called in the way of this name that stands at this place.
    pub(crate) fn dial_over(mut self, leg: u16, way: Option<&str>, dial: u8) -> Self {
        self.last_leg = leg;
        let at = self.last_ms;
        self.then(
            at,
            AttemptStarted {
                leg,
                target: "tgt_summit".into(),
                buyer: "buy_summit".into(),
                uri: "sip:+18005550101@192.0.2.9".into(),
                way: way.map(Into::into),
                dial,
                terms: Some(Terms {
                    seconds: 90,
                    revenue: Money(20_000_000),
                    payout: Money(10_000_000),
                    payout_seconds: 90,
                    no_payout: None,
                    currency: "USD".into(),
                }),
            },
        )
    }

    pub(crate) fn ring_at(self, ms: u64) -> Self {
        let leg = self.last_leg;
        self.then(ms, AttemptProgress { leg, status: 180 })
    }

    pub(crate) fn fail_at(self, ms: u64, status: u16, reason: Reason) -> Self {
        let leg = self.last_leg;
        let (target, shortage, way) = (Some("tgt_summit".into()), None, None);
        self.then(ms, AttemptFailed { leg, status, q850: None, reason, target, shortage, way })
    }

    /// It was the turn of `target`, and it was not called.
    pub(crate) fn deny_at(self, ms: u64, leg: u16, target: &str, reason: Reason) -> Self {
        let cap = format!("target/{target}/attempted/total").into();
        let shortage = Some(Shortage { cap, limit: 1, used: 1, held: 0 });
        let (status, target, way) = (reason.status(), Some(target.into()), None);
        self.then(ms, AttemptFailed { leg, status, q850: None, reason, target, shortage, way })
    }

    pub(crate) fn answer_at(self, ms: u64) -> Self {
        let leg = self.last_leg;
        let dialogs = Some(Dialogs { caller: ms, target: ms + 1 });
        self.then(ms, Answered { leg, dialogs, codec: Some("PCMU/8000".into()) })
    }

    pub(crate) fn convert_at(self, ms: u64) -> Self {
        let leg = self.last_leg;
        self.then(ms, Converted { leg })
    }

    pub(crate) fn end_at(self, ms: u64) -> Self {
        let (party, reason) = (Party::Caller, Reason::CallerHungUp);
        self.then(ms, Ended { party, reason, status: 200, q850: Some(16), talk_ms: None })
    }

    /// Found at `ms` without a party that was last heard `talk_ms` after the answer.
    pub(crate) fn lose_at(self, ms: u64, talk_ms: u64) -> Self {
        let (party, reason) = (Party::System, Reason::PeerUnreachable);
        self.then(ms, Ended { party, reason, status: 200, q850: None, talk_ms: Some(talk_ms) })
    }

    pub(crate) fn abandon_at(self, ms: u64) -> Self {
        let (party, reason) = (Party::Caller, Reason::CallerAbandoned);
        self.then(ms, Ended { party, reason, status: 487, q850: Some(16), talk_ms: None })
    }

    pub(crate) fn orphan(self, talk_ms: u64) -> Self {
        let at = self.last_ms;
        self.then(at, OrphanClosed { talk_ms, policy: OrphanPolicy::Checkpoint })
    }

    /// Someone sets the wall clock.
    pub(crate) fn step_wall(mut self, by_ms: i64) -> Self {
        self.wall_step_ms += by_ms;
        self
    }

    pub(crate) fn then(mut self, ms: u64, body: impl Into<FactBody>) -> Self {
        self.last_ms = ms;
        let at = stamp(self.call.minted_at_ms() as i64 + ms as i64);
        let at = Stamp { wall_ms: at.wall_ms + self.wall_step_ms, ..at };
        let seq = self.entries.len() as u64 + 1;
        let fact = Fact::of_call(self.call, at, body);
        self.entries.push(Entry { lsn: Lsn { epoch: 1, seq }, fact });
        self
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn facts(&self) -> Vec<Fact> {
        self.entries.iter().map(|entry| entry.fact.clone()).collect()
    }

    pub(crate) fn record(&self) -> CallRecord {
        let mut record = CallRecord::begin(self.call, &self.entries[0]);
        for entry in &self.entries {
            timeline::apply(&mut record, entry);
        }
        record
    }
}

/// Both clocks when the wall shows `wall_ms`; the machine booted 1,000 s before [`START_MS`].
pub(crate) fn stamp(wall_ms: i64) -> Stamp {
    let since_boot_ms = (wall_ms - START_MS + 1_000_000).unsigned_abs();
    Stamp { wall_ms, boot_ns: since_boot_ms * 1_000_000 }
}

fn admitted(n: u64) -> Admitted {
    Admitted {
        captured: Vec::new(),
        carrier_call_id: None,
        trunk: "trk_a".into(),
        sip_call_id: format!("{n}@198.51.100.7").into(),
        dialed: "sip:+18005550100@edge.example".into(),
        did: PhoneNumber::from_digits(18_005_550_100),
        caller: PhoneNumber::from_digits(16_145_550_000 + n),
        source: "udp:198.51.100.7:5060".into(),
    }
}

fn decided() -> Decided {
    Decided {
        config_rev: 418,
        campaign: Some("cmp_hvac".into()),
        publisher: Some("pub_brightpath".into()),
        session: None,
        match_method: "static".into(),
        confidence_pct: 60,
        record: bytes::Bytes::from_static(b"{\"steps\":[]}"),
        refused: None,
        no_route: None,
        degraded: false,
    }
}

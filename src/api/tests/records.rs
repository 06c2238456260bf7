//! Calls as their facts tell them.

use bytes::Bytes;

use crate::api::tests::CALLER;
use crate::cdr::fact::{
    Admitted, Answered, AttemptFailed, AttemptProgress, AttemptStarted, Confirmed, Converted,
    Decided, Ended, Fact, FactBody, Party, Stamp, Terms,
};
use crate::cdr::journal::{Entry, Lsn};
use crate::cdr::record::CallRecord;
use crate::cdr::timeline;
use crate::id::{CallId, SessionId};
use crate::money::Money;
use crate::reason::Reason;
use crate::time::{Mono, Wall};

use super::world::START;

/// The `n`th call after [`START`], one each second.
pub(super) fn call_id(n: u8) -> CallId {
    let ms = u64::try_from(START.0).unwrap() + 1_000 * u64::from(n);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    bytes[15] = n;
    CallId::from_bytes(bytes)
}

/// The record of a call after `facts`, each so many milliseconds after its admission.
pub(super) fn record(call: CallId, facts: &[(u64, FactBody)]) -> CallRecord {
    let start = i64::try_from(call.minted_at_ms()).unwrap();
    let mut entries = facts.iter().zip(1..).map(|((ms, body), seq)| {
        let at = Stamp::new(Wall(start + i64::try_from(*ms).unwrap()), Mono(ms * 1_000_000));
        let fact = Fact { call: Some(call), at, body: body.clone() };
        Entry { lsn: Lsn { epoch: 0, seq: seq + 9 }, fact }
    });
    let first = entries.next().unwrap();
    let mut record = CallRecord::begin(call, &first);
    timeline::apply(&mut record, &first);
    for entry in entries {
        timeline::apply(&mut record, &entry);
    }
    record
}

/// A call that was just admitted.
pub(super) fn admitted() -> Vec<(u64, FactBody)> {
    let admitted = Admitted {
        trunk: "trk_a".into(),
        sip_call_id: "a84b4c76e66710@198.51.100.7".into(),
        dialed: "sip:+16145550104@edge.example".into(),
        did: "+16145550104".parse().ok(),
        caller: CALLER.parse().ok(),
        source: "udp:198.51.100.7:5060".into(),
        captured: vec![("header.x-lead".into(), "7".into())],
        carrier_call_id: Some("CA17".into()),
    };
    vec![(0, admitted.into())]
}

/// A call that its first target refused and its second answered, up after 4.1 s.
pub(super) fn answered() -> Vec<(u64, FactBody)> {
    let started = |leg, target: &str, buyer: &str| AttemptStarted {
        leg,
        target: target.into(),
        buyer: buyer.into(),
        uri: format!("sip:{target}@192.0.2.10").into(),
        way: None,
        dial: 0,
        terms: Some(Terms {
            seconds: 90,
            revenue: Money(41_500_000),
            payout: Money(33_200_000),
            currency: "USD".into(),
            payout_seconds: 90,
            no_payout: None,
        }),
    };
    let decided = Decided {
        config_rev: 418,
        campaign: Some("cmp_hvac".into()),
        publisher: Some("pub_bright".into()),
        session: Some(SessionId::from_bytes([3; 16])),
        match_method: "pool_lease".into(),
        confidence_pct: 99,
        record: Bytes::new(),
        refused: None,
        no_route: None,
        degraded: false,
    };
    let busy = AttemptFailed {
        leg: 1,
        status: 486,
        q850: Some(17),
        reason: Reason::AttemptBusy,
        target: Some("tgt_summit".into()),
        shortage: None,
        way: None,
    };
    let mut facts = admitted();
    facts.extend([
        (7, decided.into()),
        (9, started(1, "tgt_summit", "buy_summit").into()),
        (500, busy.into()),
        (501, started(2, "tgt_cool", "buy_cool").into()),
        (1_001, AttemptProgress { leg: 2, status: 180 }.into()),
        (4_100, Answered { leg: 2, dialogs: None, codec: Some("PCMU/8000".into()) }.into()),
        (4_150, Confirmed::default().into()),
    ]);
    facts
}

/// The same call, converted and over.
pub(super) fn ended() -> Vec<(u64, FactBody)> {
    let (party, reason) = (Party::Caller, Reason::CallerHungUp);
    let ended = Ended { party, reason, status: 200, q850: Some(16), talk_ms: None };
    let mut facts = answered();
    facts.extend([(94_100, Converted { leg: 2 }.into()), (293_568, ended.into())]);
    facts
}

//! The stores that tests are run against, and what is asked of them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use thin_vec::ThinVec;
use tollbridge::id::{CallId, PingId, SessionId};
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::attribution::{Named, SessionKey};
use tollbridge::routing::ping::{Session, SessionKind};
use tollbridge::routing::snapshot::Pool;
use tollbridge::routing::{RouteRequest, RoutingSnapshot, Tags};
use tollbridge::server::redis::{Address, LinkSettings};
use tollbridge::server::sessions::redis::{RedisSessions, RedisSessionsSettings, TimeOfNumbers};
use tollbridge::time::Wall;

/// Generous: the machine of a test does other things as well.
const TIMEOUT: Duration = Duration::from_secs(2);
/// 2100-01-01: what Redis forgets by its own time is not forgotten meanwhile.
pub(super) const AT: Wall = Wall(4_102_444_800_000);

/// Pools of every kind. A lease lasts a minute, a rest half of one.
pub(super) const CONFIG: &str = r#"
publishers = [{ id = "p" }, { id = "other" }]
[[buyers]]
id = "b"
[[targets]]
id = "t"
buyer = "b"
dial = { kind = "sip", uri = "sip:a" }
[[campaigns]]
id = "c"
publisher = "p"
numbers = ["+18005550100", "+18005550101"]
routing = { tiers = [{ targets = [{ target = "t" }] }] }
[[campaigns]]
id = "content"
publisher = "p"
numbers = ["+18005550102"]
min_match_confidence = 0.5
routing = { tiers = [{ targets = [{ target = "t" }] }] }
[[pools]]
id = "plain"
campaign = "c"
publisher = "p"
numbers = ["+18005550201", "+18005550202", "+18005550203"]
session_ttl_s = 60
quarantine_s = 30
[[pools]]
id = "taking"
campaign = "c"
publisher = "p"
numbers = ["+18005550301", "+18005550302"]
session_ttl_s = 300
quarantine_s = 30
take_idle_after_s = 60
[[pools]]
id = "overflowing"
campaign = "c"
publisher = "p"
numbers = ["+18005550401"]
overflow_number = "+18005550101"
session_ttl_s = 60
quarantine_s = 30
"#;

pub(super) fn snapshot() -> Result<RoutingSnapshot> {
    let config = toml::from_str(CONFIG)?;
    RoutingSnapshot::compile(config, 1).map_err(|faults| anyhow!("{faults:?}"))
}

pub(super) fn pool<'a>(snapshot: &'a RoutingSnapshot, id: &str) -> &'a Pool {
    snapshot.pool(&id.into()).expect("it is configured")
}

pub(super) fn settings(seeds: Vec<Address>, node: &str) -> RedisSessionsSettings {
    RedisSessionsSettings {
        link: LinkSettings {
            seeds,
            username: None,
            password: None,
            connect_timeout: TIMEOUT,
            tls: None,
        },
        account: "contract".into(),
        node: node.into(),
        call_timeout: TIMEOUT,
        timeout: TIMEOUT,
        lease: Duration::from_secs(86_400),
        apart_for: Duration::from_secs(86_400),
        open_after: Duration::ZERO,
        time: TimeOfNumbers::Caller,
        kept_max: 10_000,
    }
}

/// Connected, with all pools open.
pub(super) async fn open(
    settings: RedisSessionsSettings,
    snapshot: &RoutingSnapshot,
) -> Result<RedisSessions> {
    let store = RedisSessions::new(settings);
    store.connect().await?;
    store.keep_gates().await?;
    for pool in snapshot.pools() {
        store.announce(pool, AT).await?;
    }
    Ok(store)
}

pub(super) fn at(seconds: i64) -> Wall {
    Wall(AT.0 + seconds * 1_000)
}

pub(super) fn id(number: u32) -> SessionId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

pub(super) fn call(number: u8) -> CallId {
    CallId::from_bytes([number; 16])
}

pub(super) fn number(text: &str) -> PhoneNumber {
    text.parse().expect("a number")
}

pub(super) fn caller(nth: u64) -> PhoneNumber {
    PhoneNumber::from_digits(16_145_550_100 + nth).expect("a number")
}

/// A ping of publisher `p` for campaign `c`, which lives for a minute.
pub(super) fn session(nth: u32, now: Wall) -> Session {
    let session = id(nth);
    Session {
        session,
        ping: PingId(session.0),
        publisher: "p".into(),
        campaign: "c".into(),
        caller: None,
        pool: None,
        number: None,
        tags: [("nth".into(), nth.to_string().into())].into(),
        extra: [("odd".into(), nth.to_string().into())].into(),
        request_id: None,
        kind: SessionKind::Ping,
        visitor: None,
        created_at: now,
        expires_at: now + Duration::from_secs(60),
        consumed_at: None,
        promise: None,
        enriched: ThinVec::new(),
    }
}

pub(super) fn request(dialed: PhoneNumber, caller: Option<PhoneNumber>, at: Wall) -> RouteRequest {
    RouteRequest {
        call: call(1),
        at,
        dialed,
        caller,
        trunk: "".into(),
        named: None,
        tags: Tags::default(),
        announced: false,
    }
}

pub(super) fn naming(key: SessionKey, at: Wall) -> RouteRequest {
    let named = Some(Named { key, is_all: true });
    RouteRequest { named, ..request(number("+18005550100"), None, at) }
}

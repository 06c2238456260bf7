//! A ping of any JSON is taken or refused with a field and a detail; the same one again gets the same
//! answer.

use std::sync::OnceLock;

use tollbridge::config::{Config, Format};
use tollbridge::id::{PingId, SessionId};
use tollbridge::routing::ping::{Desk, DeskLimits, NewIds, PingRequest};
use tollbridge::routing::{RoutingConfig, RoutingSnapshot};
use tollbridge::time::Wall;

/// Publishers, campaigns and pools of the demo.
fn snapshot() -> &'static RoutingSnapshot {
    static SNAPSHOT: OnceLock<RoutingSnapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let text = include_str!("../../examples/demo.toml");
        let config = Config::parse("demo.toml", text, Format::Toml, std::iter::empty(), &[]);
        let routing: RoutingConfig = config
            .and_then(|config| config.routing().whole())
            .expect("the demo is well configured");
        RoutingSnapshot::compile(routing, 1).expect("the demo has a routing")
    })
}

pub(crate) fn check(data: &[u8]) {
    let Ok(ping) = serde_json::from_slice::<PingRequest>(data) else { return };
    let snapshot = snapshot();
    let mut desk = Desk::new(DeskLimits::default());
    desk.configure(snapshot);
    let now = Wall(1_773_759_852_318);
    let ids =
        |n| NewIds { ping: PingId::from_bytes([n; 16]), session: SessionId::from_bytes([n; 16]) };

    let first = desk.accept(snapshot, ping.clone(), ids(1), now);

    match first {
        Ok(accepted) => {
            assert_eq!(desk.len(), 1);
            assert!(accepted.expires_at > now);
            let other = desk.accept(snapshot, ping, ids(2), now).expect("as the first");
            assert!(
                !accepted.repeated && !other.repeated,
                "what comes again is told by its answer"
            );
            assert_ne!(other.session, accepted.session);
            assert_eq!(desk.len(), 2);
        }
        Err(refusal) => {
            assert!(desk.is_empty(), "a refused ping leaves nothing");
            for it in refusal.iter() {
                assert!(!it.field.is_empty() && !it.detail.is_empty());
            }
            assert_eq!(desk.accept(snapshot, ping, ids(2), now), Err(refusal));
        }
    }
}

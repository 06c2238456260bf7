use thin_vec::ThinVec;

use super::*;
use crate::cdr::fact::{Fact, SessionReleased, Stamp};
use crate::cdr::journal::file::disk::RealDisk;
use crate::cdr::journal::file::{Hooks, Journal, Settings, Steps};
use crate::cdr::journal::{Durability, Lsn};
use crate::id::PingId;
use crate::routing::ping::{Fingerprint, Identity, Kept, KeptTags, RequestKey, SessionKind};
use crate::server::redis::{Address, LinkSettings};
use crate::server::sessions::redis::{RedisSessionsSettings, TimeOfNumbers};

pub(super) const MOMENT: Duration = Duration::from_secs(1);
pub(super) const AT: Wall = Wall(1_773_759_852_318);
const CONFIG: &str = r#"
    publishers = [{ id = "p" }]
    buyers = [{ id = "b" }]
    [[targets]]
    id = "t"
    buyer = "b"
    dial = { kind = "sip", uri = "sip:a" }
    [[campaigns]]
    id = "c"
    publisher = "p"
    numbers = ["+18005550100"]
    routing = { tiers = [{ targets = [{ target = "t" }] }] }
    [[pools]]
    id = "pool"
    campaign = "c"
    publisher = "p"
    numbers = ["+18005550201"]
"#;

#[test]
fn calls_are_looked_at_again_when_a_store_has_had_a_lease_to_be_told() {
    let shared = shared();
    let before = clock::mono();
    let open_since = |told_since: Mono| {
        let mut inner = shared.inner.lock();
        (inner.state, inner.all_untold, inner.told_since) = (State::Open, None, told_since);
    };
    open_since(Mono(before.0 - 1_500_000_000));
    assert!(shared.is_settled());
    shared.inner.lock().state = State::Away;
    assert!(!shared.is_settled());

    // Emptied in use, and told by this server at once: others have yet to do so.
    open_since(Mono(0));
    shared.inner.lock().is_forgotten();
    assert!(!shared.is_settled(), "it is being told");
    shared.inner.lock().all_untold = None;
    assert!(shared.inner.lock().told_since >= before);
}

#[test]
fn a_session_that_changes_while_it_is_told_is_told_again() {
    let (shared, id) = (shared(), SessionId::from_bytes([7; 16]));
    shared.untold(id);
    let first = shared.inner.lock().untold[&id];
    shared.untold(id);
    shared.inner.lock().told(id, first);
    assert!(shared.is_untold_alone(id));
    let second = shared.inner.lock().untold[&id];
    shared.inner.lock().told(id, second);
    assert!(!shared.is_untold_alone(id));
}

impl SharedSessions {
    /// Of this one by itself.
    pub(super) fn is_untold_alone(&self, session: SessionId) -> bool {
        self.inner.lock().untold.contains_key(&session)
    }
}

#[tokio::test]
async fn what_the_store_does_not_take_is_passed_by() {
    let shared = shared();
    let mut desk = Desk::of(snapshot());
    let number = "+18005550201".parse().unwrap();
    let opened = |nth: u8| session(SessionId::from_bytes([nth; 16]), number);
    for nth in 1..=40 {
        desk.opened.push(opened(nth));
        shared.untold(opened(nth).session);
    }
    for nth in 100..102 {
        shared.gone(opened(nth));
        shared.not_used("pool".into(), opened(nth).session, None);
    }

    let mut asked = vec![];
    for _ in 0..3 {
        assert!(shared.tell_some(&desk).await.is_err());
        asked.push(desk.asked.lock().len());
    }

    assert_eq!(asked, [16, 32, 40], "those behind are not kept waiting");
    let inner = shared.inner.lock();
    let left = (inner.gone.len(), inner.unasked[&PoolId::from("pool")].len(), inner.untold.len());
    assert_eq!(left, (2, 2, 40), "nothing was told");
}

#[tokio::test]
async fn all_sessions_are_told_once_there_are_too_many_to_tell_one_by_one() {
    let shared = shared();
    let mut desk = Desk::of(snapshot());
    let number = "+18005550201".parse().unwrap();
    desk.opened.push(session(SessionId::from_bytes([7; 16]), number));
    shared.inner.lock().all_untold = None;
    for nth in 0..=UNTOLD_MAX {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&nth.to_be_bytes());
        shared.untold(SessionId::from_bytes(id));
    }
    assert!(shared.inner.lock().all_untold.is_some());

    // The store is not there to be told.
    assert!(shared.tell_all(&desk).await.is_err());

    assert_eq!(*desk.read.lock(), 2, "all were tried");
    let inner = shared.inner.lock();
    assert!(inner.all_untold.is_none() && inner.are_missed, "it is told again when it is back");
}

#[tokio::test]
async fn an_answer_is_told_once_it_is_on_disk_and_a_claim_that_came_to_nothing_at_once() {
    let (shared, mut disk) = (shared(), Disk::of_a_test());
    shared.follow(disk.journal.appender());
    let up_to = disk.takes_a_fact();
    let identity = Identity { key: RequestKey([1; 16]), fingerprint: Fingerprint([1; 16]) };
    shared.answered_before((identity, Kept::of_test(7, AT), clock::wall()), Some(up_to));
    shared.left(RequestKey([2; 16]), 7, Some(up_to));
    for _ in 0..2 {
        assert!(shared.tell_words().await.is_ok(), "the store, which is nowhere, was told");
    }
    assert_eq!(shared.inner.lock().words.len(), 2);

    shared.left(RequestKey([3; 16]), 8, None);
    assert!(shared.tell_words().await.is_err(), "the store was not told");
    shared.inner.lock().words.pop_back();
    assert!(shared.tell_words().await.is_ok());

    disk.steps.turn();
    assert!(shared.tell_words().await.is_err(), "the store was not told");
    assert_eq!(shared.inner.lock().words.len(), 2, "it is told again");
}

#[tokio::test]
async fn a_session_is_told_by_nobody_while_its_request_or_the_disk_has_it() {
    let (shared, mut disk) = (shared(), Disk::of_a_test());
    shared.follow(disk.journal.appender());
    shared.inner.lock().all_untold = None;
    let mut desk = Desk::of(snapshot());
    let (id, number) = (SessionId::from_bytes([7; 16]), "+18005550201".parse().unwrap());
    desk.opened.push(session(id, number));
    let may_be_told = |shared: &SharedSessions| !shared.seen(desk.opened.clone()).is_empty();

    // It has changed meanwhile.
    shared.opening(id);
    shared.untold(id);
    assert!(shared.tell_some(&desk).await.is_ok() && !may_be_told(&shared));
    let up_to = disk.takes_a_fact();
    shared.opened_for_nobody(id, up_to);
    assert!(shared.tell_some(&desk).await.is_ok() && !may_be_told(&shared));
    assert!(desk.asked.lock().is_empty());

    disk.steps.turn();
    assert!(shared.tell_some(&desk).await.is_err(), "the store was not told");
    assert!(may_be_told(&shared));
    assert_eq!(*desk.asked.lock(), [id]);
}

#[tokio::test]
async fn a_session_whose_request_has_ended_is_as_any_other() {
    let (shared, desk) = (shared(), Desk::of(snapshot()));
    let id = SessionId::from_bytes([7; 16]);
    shared.opening(id);
    shared.opening_ended(id);

    shared.tell_some(&desk).await.unwrap();
    assert!(!shared.is_untold_alone(id), "others have seen it, or it never was");
    shared.untold(id);
    shared.tell_some(&desk).await.unwrap();
    assert_eq!(*desk.asked.lock(), [id]);
}

/// A journal that is synced when a test says so.
struct Disk {
    journal: Journal,
    steps: Steps,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn of_a_test() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            Settings { segment_bytes: 1 << 16, emergency_bytes: 4096, ..Settings::default() };
        let hooks = Hooks::silent(Arc::new(Stamp::default));
        let opened = Journal::stepped(Arc::new(RealDisk), dir.path(), 1, settings, hooks);
        let (journal, steps, _) = opened.unwrap();
        Self { journal, steps, _dir: dir }
    }

    fn takes_a_fact(&self) -> Lsn {
        let released =
            SessionReleased { session: SessionId::from_bytes([9; 16]), expires_at_ms: AT.0 };
        let fact = Fact::of_node(Stamp::default(), released);
        self.journal.appender().append(fact, Durability::Durable).unwrap()
    }
}

/// Keeps what it is asked for.
pub(super) struct Desk {
    snapshot: Arc<RoutingSnapshot>,
    pub(super) opened: Vec<Session>,
    /// Leases that are over.
    pub(super) over: Vec<(Lease, Wall)>,
    asked: Mutex<Vec<SessionId>>,
    /// How often all were read.
    read: Mutex<usize>,
}

impl Desk {
    /// At which nothing was opened.
    pub(super) fn of(snapshot: RoutingSnapshot) -> Self {
        let (asked, read) = (Mutex::default(), Mutex::default());
        Self { snapshot: snapshot.into(), opened: vec![], over: vec![], asked, read }
    }
}

impl OwnSessions for Desk {
    fn in_force(&self) -> Arc<RoutingSnapshot> {
        Arc::clone(&self.snapshot)
    }

    fn opened(&self, session: SessionId) -> Option<Session> {
        self.asked.lock().push(session);
        self.opened.iter().find(|it| it.session == session).cloned()
    }

    fn opened_after(&self, session: Option<SessionId>, most: usize) -> Vec<Session> {
        *self.read.lock() += 1;
        let behind = self.opened.iter().filter(|it| Some(it.session) > session);
        behind.take(most).cloned().collect()
    }

    fn lent(&self, _numbers: &[PhoneNumber]) -> Vec<(Lease, Wall)> {
        vec![]
    }

    fn had(&self, number: PhoneNumber, session: SessionId) -> Option<(Lease, Wall)> {
        let is_it = |lease: &Lease| (lease.number, lease.session) == (number, session);
        self.over.iter().find(|(lease, _)| is_it(lease)).copied()
    }

    fn lent_to(&self, _session: SessionId) -> Option<(Lease, Wall)> {
        None
    }

    fn asked(&self, _: &PoolId, _: Wall) -> Vec<AskedHour> {
        vec![]
    }

    fn lost(&self, _lease: Lease) {}

    fn follow(&self, session: Session) -> Session {
        session
    }

    fn agree(&self, session: Session) -> Session {
        session
    }

    fn calls_after(&self, _caller: Option<&Caller>, _most: usize) -> Option<CallsOfSome> {
        None
    }
}

pub(super) fn session(id: SessionId, number: PhoneNumber) -> Session {
    Session {
        session: id,
        ping: PingId(id.0),
        publisher: "p".into(),
        campaign: "c".into(),
        caller: None,
        pool: Some("pool".into()),
        number: Some(number),
        tags: KeptTags::default(),
        extra: KeptTags::default(),
        request_id: None,
        kind: SessionKind::Ping,
        visitor: None,
        created_at: AT,
        expires_at: AT + MOMENT,
        consumed_at: None,
        promise: None,
        enriched: ThinVec::new(),
    }
}

pub(super) fn snapshot() -> RoutingSnapshot {
    RoutingSnapshot::compile(toml::from_str(CONFIG).unwrap(), 1).unwrap()
}

/// Whose store is nowhere.
pub(super) fn shared() -> SharedSessions {
    let store = RedisSessions::new(RedisSessionsSettings {
        link: LinkSettings {
            seeds: vec![Address { host: "127.0.0.1".into(), port: 9 }],
            username: None,
            password: None,
            connect_timeout: MOMENT,
            tls: None,
        },
        account: "default".into(),
        node: "1".into(),
        call_timeout: MOMENT,
        timeout: MOMENT,
        lease: MOMENT,
        apart_for: MOMENT * 4,
        open_after: MOMENT,
        time: TimeOfNumbers::Server,
        kept_max: 10_000,
    });
    SharedSessions::new(store, MOMENT)
}

//! The column of the table in [`history`](super::history) in which an edge is killed (spec/data §0.4,
//! §7.3): one that keeps its holds itself, one that has them in Redis, and one that has them in a cluster.
//!
//! It is the server as it is built, killed (SIGKILL) in the middle of calls, again and again, and
//! started on what its journal has on disk. Calls of five kinds meet their limits at once; money is
//! deposited meanwhile. Carrier and target go on: calls that were up stay up, until the carrier hangs
//! up to the next process. An observer looks at all limits all the time. At the end what is used is
//! what the records say, by the server and in Redis, before a last restart and after it, and nothing
//! is held once no call can be up.
//!
//! `TOLLBRIDGE_HOLD_ROUNDS` kills it more often, `TOLLBRIDGE_HOLD_SEED` repeats one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use tollbridge::server::holds::redis::KeySpace;
use tollbridge::server::redis::Address;

use crate::support::api::{self, Call, Cap};
use crate::support::load::{Ledger, Load, Plan};
use crate::support::redis::{Cluster, Redis};
use crate::support::server::{Server, Setup};
use crate::support::{cells, http, ports, wait_for};

const ROUNDS: u32 = 5;
/// Nothing is held for a call for longer.
const CALL_MAX: Duration = Duration::from_secs(3);
/// A call that talks for a second is worth this.
const PRICE: u64 = 12_500_000;

/// Who pays in advance, but for this.
const BUYER: &str = r#"
[[buyers]]
id = "prepaid"
credit = { limit = "50.00" }
"#;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Strict,
    Conversion,
    Revenue,
    Concurrency,
    Prepaid,
}

const KINDS: [Kind; 5] =
    [Kind::Strict, Kind::Conversion, Kind::Revenue, Kind::Concurrency, Kind::Prepaid];

impl Kind {
    /// The number of its campaign.
    fn number(self) -> &'static str {
        match self {
            Self::Strict => "+18005550200",
            Self::Conversion => "+18005550201",
            Self::Revenue => "+18005550202",
            Self::Concurrency => "+18005550203",
            Self::Prepaid => "+18005550204",
        }
    }

    /// Of its target and its campaign.
    fn id(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// The name of the limit.
    fn cap(self) -> &'static str {
        match self {
            Self::Strict => "target/strict/connected/total",
            Self::Conversion => "target/conversion/converted/total",
            Self::Revenue => "target/revenue/revenue/total",
            Self::Concurrency => "target/concurrency/concurrency",
            Self::Prepaid => "buyer/prepaid/credit",
        }
    }

    /// The fields of its target that limit it.
    fn limits(self) -> &'static str {
        match self {
            Self::Strict => r#"caps = [{ metric = "connected", window = "total", limit = 60 }]"#,
            Self::Conversion => {
                r#"caps = [{ metric = "converted", window = "total", limit = 10 }]"#
            }
            Self::Revenue => {
                r#"caps = [{ metric = "revenue", window = "total", limit = "125.00" }]"#
            }
            Self::Concurrency => "concurrency = { limit = 5 }",
            // Its buyer has credit.
            Self::Prepaid => "caps = []",
        }
    }

    /// What calls to its target have used for good, by their records.
    fn used(self, calls: &[Call]) -> Result<u64> {
        let id = self.id();
        let calls = calls.iter().filter(|call| call.is_answered());
        let calls = calls.filter(|call| call.attempts.iter().any(|it| it.target == id));
        let owed: Vec<u64> =
            calls.map(|call| api::amount(&call.money.revenue)).collect::<Result<_>>()?;
        Ok(match self {
            Self::Strict => u64::try_from(owed.len())?,
            Self::Conversion => u64::try_from(owed.iter().filter(|owed| **owed > 0).count())?,
            Self::Revenue | Self::Prepaid => owed.iter().sum(),
            Self::Concurrency => 0,
        })
    }
}

/// Where the holds are, if the server does not keep them itself.
struct Shared<'a> {
    name: &'static str,
    /// What it is told of them.
    seeds: Vec<Address>,
    /// The one that has the keys.
    keeper: &'a Redis,
}

/// What Redis says of a limit, at every instant: also between the end of a server and the start of the
/// next (spec/data I5, read literally). The server that asks it puts what it last heard beside what it
/// knows itself, and may show a call twice for a moment.
struct Store(redis::Connection);

impl Store {
    fn open(redis: &Redis) -> Result<Self> {
        let client = redis::Client::open(format!("redis://{}/", redis.address()))?;
        Ok(Self(client.get_connection()?))
    }

    /// Lines that are taken, and of all else what is used and held.
    fn look(&mut self, kind: Kind) -> Result<u64> {
        Ok(self.read(kind)?.iter().sum())
    }

    /// What is used, and held.
    fn read(&mut self, kind: Kind) -> Result<[u64; 2]> {
        if kind == Kind::Concurrency {
            let script = "local time = redis.call('TIME') \
                 local now = string.format('(%d%03d', time[1], math.floor(time[2] / 1000)) \
                 return redis.call('ZCOUNT', KEYS[1], now, '+inf')";
            let key = format!("conc:{{default}}:{}", kind.cap());
            return Ok([0, redis::cmd("EVAL").arg(script).arg(1).arg(key).query(&mut self.0)?]);
        }
        let key = format!("cap:{{default}}:{}:total", kind.cap());
        let told: [Option<u64>; 2] =
            redis::cmd("HMGET").arg(key).arg(&["used", "held"]).query(&mut self.0)?;
        Ok(told.map(Option::unwrap_or_default))
    }

    /// Soon of everything so much is used as is recorded, and at a server that nobody has called yet nothing is
    /// held: one that was called keeps some room for when the store is away.
    fn knows(&mut self, calls: &[Call], is_called: bool) -> Result<()> {
        let give_up = Instant::now() + Duration::from_secs(5);
        for kind in KINDS {
            let recorded = kind.used(calls)?;
            loop {
                let has = self.read(kind)?;
                if has[0] == recorded && (is_called || has[1] == 0) {
                    break;
                }
                let is_late = Instant::now() > give_up;
                ensure!(!is_late, "{kind:?}: {has:?} used and held, {recorded} recorded");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// Looks at all limits until it is told to stop.
struct Observer {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Result<Seen>>,
}

/// What it saw.
#[derive(Default)]
struct Seen {
    looks: u64,
    /// By how much more was used and held than the limit, at most.
    over: BTreeMap<String, u64>,
    /// How much was held for calls of before a crash, at most.
    awaited: BTreeMap<String, u64>,
}

impl Observer {
    fn start(api: SocketAddr, store: Option<Store>) -> Self {
        let over = Arc::<AtomicBool>::default();
        let watching = std::thread::spawn({
            let over = Arc::clone(&over);
            move || watch(api, store, &over)
        });
        Self { over, watching }
    }

    fn stop(self) -> Result<Seen> {
        self.over.store(true, Ordering::SeqCst);
        self.watching.join().map_err(|_| anyhow!("the observer panicked"))?
    }
}

fn watch(api: SocketAddr, mut store: Option<Store>, over: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    while !over.load(Ordering::SeqCst) {
        // Before the limits, which deposits raise.
        let mut by_store = BTreeMap::new();
        for kind in KINDS {
            if let Some(store) = &mut store {
                by_store.insert(kind.cap(), store.look(kind)?);
            }
        }
        // Nobody answers while the server is down, and it may die in the middle of an answer.
        if let Ok(caps) = api::caps(api) {
            seen.looks += 1;
            for (name, Cap { used, held, awaited, limit }) in caps {
                let had = by_store.get(name.as_str()).copied().unwrap_or(used + held);
                let by = had.saturating_sub(limit);
                for (most, seen) in [(&mut seen.over, by), (&mut seen.awaited, awaited)] {
                    let most = most.entry(name.clone()).or_default();
                    *most = seen.max(*most);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(seen)
}

/// The server's life over all rounds.
struct Killed {
    /// What keeps the holds.
    keeper: &'static str,
    setup: Setup,
    carrier_port: u16,
    advertiser_port: u16,
    draw: Rng,
    /// Of all rounds.
    acknowledged: Ledger,
    /// Removed at the end.
    _work: tempfile::TempDir,
}

impl Killed {
    fn new(seed: u64, shared: Option<&Shared<'_>>) -> Result<Self> {
        let work = tempfile::tempdir()?;
        let first = ports::block(4)?;
        let [sip_port, api_port, carrier_port, advertiser_port] = [0, 1, 2, 3].map(|n| first + n);
        let mut more = String::from(BUYER);
        for kind in KINDS {
            let (id, number, limits) = (kind.id(), kind.number(), kind.limits());
            let buyer = if kind == Kind::Prepaid { "prepaid" } else { "tests" };
            more += &format!(
                "[[targets]]\n\
                 id = \"{id}\"\n\
                 buyer = \"{buyer}\"\n\
                 dial = {{ kind = \"sip\", uri = \"sip:127.0.0.1:{advertiser_port}\" }}\n\
                 conversion = {{ seconds = 1, revenue = \"12.50\" }}\n\
                 {limits}\n\
                 [[campaigns]]\n\
                 id = \"{id}\"\n\
                 publisher = \"tests\"\n\
                 numbers = [\"{number}\"]\n\
                 routing = {{ tiers = [{{ tier = 1, targets = [{{ target = \"{id}\" }}] }}] }}\n"
            );
        }
        let mut set = vec![
            format!("sip.max_call_s={}", CALL_MAX.as_secs()),
            String::from("journal.checkpoint_interval_s=1"),
            // A slow disk of a test machine must not turn into an answer relayed unsaved.
            String::from("journal.answer_wait_ms=5000"),
        ];
        if let Some(Shared { seeds, .. }) = shared {
            let urls: Vec<_> = seeds.iter().map(|seed| format!("\"redis://{seed}\"")).collect();
            // Generous: the machine of a test does other things as well.
            let shared = [
                "node.id=1",
                &format!("redis.urls=[{}]", urls.join(",")),
                "redis.lease_s=4",
                "redis.call_timeout_ms=500",
                "redis.slow_ms=500",
                "redis.timeout_ms=1000",
                "redis.open_after_ms=100",
                "decision.deadline_ms=8000",
            ];
            set.extend(shared.map(str::to_owned));
        }
        Ok(Self {
            keeper: shared.map_or("in-process", |shared| shared.name),
            setup: Setup { data: work.path().join("data"), sip_port, api_port, set, more },
            carrier_port,
            advertiser_port,
            draw: Rng::with_seed(seed),
            acknowledged: Ledger::default(),
            _work: work,
        })
    }

    fn plan(&mut self, name: String, calls_per_second: u32, talk_ms: u64) -> Plan {
        Plan {
            name,
            seed: self.draw.u64(..),
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.sip_port)),
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.api_port)),
            carrier_port: self.carrier_port,
            advertiser_port: self.advertiser_port,
            numbers: KINDS.map(Kind::number).to_vec(),
            calls_per_second,
            pings_per_second: 0,
            talk: (Duration::from_millis(20), Duration::from_millis(talk_ms)),
        }
    }

    /// A deposit in the middle of calls, in the middle of which the server is killed.
    fn round(&mut self, round: u32, server: Server) -> Result<Server> {
        let api = server.api;
        let before_ms = self.draw.u64(1_200..2_400);
        std::thread::sleep(Duration::from_millis(before_ms));
        let depositing = std::thread::spawn(move || deposit(api, round));
        std::thread::sleep(Duration::from_millis(self.draw.u64(0..12)));
        server.kill()?;
        // Whether it came to the disk is known to nobody.
        let _told = depositing.join().map_err(|_| anyhow!("the depositor panicked"))?;

        let mut server = Server::start(&self.setup)?;
        // Now and then the recovery itself is cut short.
        if self.draw.u8(..4) == 0 {
            server.kill()?;
            server = Server::start(&self.setup)?;
        }
        let all = deposit(api, round)?;
        ensure!(all == PRICE * u64::from(round), "{all} micros are deposited after {round} rounds");
        Ok(server)
    }

    fn acknowledge(&mut self, ledger: Ledger) {
        self.acknowledged.offered += ledger.offered;
        self.acknowledged.answered.extend(ledger.answered);
        for (number, count) in ledger.refused {
            *self.acknowledged.refused.entry(number).or_default() += count;
        }
        for (number, up) in ledger.up_max {
            let most = self.acknowledged.up_max.entry(number).or_default();
            *most = up.max(*most);
        }
    }

    /// The last calls, all of which end as they should; then nothing is held any more.
    fn come_to_rest(&mut self, server: &Server) -> Result<BTreeMap<String, Cap>> {
        std::thread::sleep(CALL_MAX + Duration::from_millis(200));
        let load = Load::start(&self.plan(String::from("last"), 50, 60))?;
        std::thread::sleep(Duration::from_millis(300));
        load.calm_down();
        std::thread::sleep(Duration::from_millis(400));
        self.acknowledge(load.stop()?);
        let free = wait_for("nothing to be held", Duration::from_secs(30), || {
            let caps = api::caps(server.api)?;
            Ok(caps.values().all(|cap| cap.held == 0).then_some(caps))
        });
        free.or_else(|_| api::caps(server.api))
    }

    fn records(&self, server: &Server) -> Result<Vec<Call>> {
        let missing = |calls: &[Call]| {
            let is_known = |id: &String| calls.iter().any(|call| call.sip_call_id == *id);
            self.acknowledged.answered.keys().filter(|id| !is_known(id)).count()
        };
        wait_for("all calls to be on record", Duration::from_secs(5), || {
            let calls = api::calls(server.api)?;
            Ok((calls.iter().all(Call::is_over) && missing(&calls) == 0).then_some(calls))
        })
    }

    /// Prints a line for each kind, and says what is wrong.
    fn judge(
        &self,
        seed: u64,
        caps: &BTreeMap<String, Cap>,
        calls: &[Call],
        seen: &Seen,
    ) -> Result<Vec<String>> {
        let mut wrong = vec![];
        for kind in KINDS {
            let Cap { used, held, limit, .. } =
                *caps.get(kind.cap()).with_context(|| format!("no cap {}", kind.cap()))?;
            let number = kind.number();
            let answered = self.acknowledged.answered.values().filter(|it| **it == number).count();
            let denied = self.acknowledged.refused.get(number).copied().unwrap_or_default();
            let recorded = kind.used(calls)?;
            // What carrier and records have seen, besides the server's own word.
            let by_others = match kind {
                Kind::Strict => u64::try_from(answered)?.max(recorded),
                Kind::Concurrency => {
                    let up = self.acknowledged.up_max.get(number).copied().unwrap_or_default();
                    u64::try_from(up)?
                }
                Kind::Conversion | Kind::Revenue | Kind::Prepaid => recorded,
            };
            let by_itself = seen.over.get(kind.cap()).copied().unwrap_or_default();
            let overshoot = by_itself.max(by_others.max(used).saturating_sub(limit));
            let line = format!(
                "{:<10} {:<14} {:<11} seed {seed:<20} calls {answered:>5} denied {denied:>5} \
                 used {used} of {limit} late 0 overshoot {overshoot} leaked {held}",
                self.keeper,
                "KillServer",
                format!("{kind:?}"),
            );
            cells::tell(&line)?;
            // A limit that nobody meets proves nothing, nor one that no call of before is held in.
            let was_awaited = seen.awaited.get(kind.cap()).is_some_and(|most| *most > 0);
            let is_met = answered > 0 && denied > 0 && (was_awaited || kind != Kind::Concurrency);
            if overshoot > 0 || held > 0 || used != recorded || !is_met {
                wrong.push(format!("{line}: by the records {recorded} are used"));
            }
        }
        Ok(wrong)
    }
}

/// Deposits the price of a call. The same in each try of a round; returns all that is deposited.
fn deposit(api: SocketAddr, round: u32) -> Result<u64> {
    let key = format!("round-{round}");
    let headers = [("Idempotency-Key", key.as_str())];
    let path = "/v1/buyers/prepaid/deposits";
    let reply = http::post_with(api, path, r#"{ "amount": "12.50" }"#, &headers)?;
    ensure!(reply.status == 201, "{}: {}", reply.status, reply.body);
    let deposited: serde_json::Value = reply.json()?;
    api::amount(deposited["deposited"].as_str().context("an answer without `deposited`")?)
}

#[test]
fn no_limit_is_passed_in_a_process_that_is_killed_and_started_again() {
    play(None);
}

#[test]
fn no_limit_is_passed_on_redis_by_a_process_that_is_killed_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::alone(folder.path()).unwrap_or_else(|error| panic!("{error:#}"));
    play(Some(&Shared { name: "redis", seeds: vec![redis.address()], keeper: &redis }));
}

#[test]
fn no_limit_is_passed_on_a_cluster_by_a_process_that_is_killed_and_started_again() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error:#}"));
    let keeper = cluster.master_of(KeySpace::new("default").slot());
    let keeper = &cluster.nodes[keeper.unwrap_or_else(|error| panic!("{error:#}"))];
    play(Some(&Shared { name: "cluster", seeds: cluster.seeds(), keeper }));
}

fn play(shared: Option<&Shared<'_>>) {
    let from_env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = from_env("TOLLBRIDGE_HOLD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let rounds = from_env("TOLLBRIDGE_HOLD_ROUNDS").map_or(ROUNDS, |rounds| rounds as u32);
    let run = || -> Result<()> {
        let mut killed = Killed::new(seed, shared)?;
        let mut server = Server::start(&killed.setup)?;
        let open = |shared: &Shared<'_>| {
            anyhow::Ok((Store::open(shared.keeper)?, Store::open(shared.keeper)?))
        };
        let (watched, mut asked) = shared.map(open).transpose()?.unzip();
        let observer = Observer::start(server.api, watched);
        let load = Load::start(&killed.plan(String::from("killed"), 100, 2_000))?;
        for round in 1..=rounds {
            server = killed.round(round, server).with_context(|| format!("round {round}"))?;
        }
        killed.acknowledge(load.stop()?);
        let caps = killed.come_to_rest(&server)?;
        let calls = killed.records(&server)?;
        let metrics = api::metrics(server.api)?;
        let mut by_store = asked.as_mut().map_or(Ok(()), |store| store.knows(&calls, true));
        server.kill()?;
        let server = Server::start(&killed.setup)?;
        // Calls that the book had yet to take count as held until it has.
        let same = wait_for("the same after a restart", Duration::from_secs(10), || {
            let again = api::caps(server.api)?;
            Ok((again == caps).then_some(again))
        });
        let again = same.or_else(|_| api::caps(server.api))?;
        if let Some(store) = &mut asked {
            by_store =
                by_store.and_then(|()| store.knows(&calls, false).context("after a restart"));
        }
        let seen = observer.stop()?;

        let wrong = killed.judge(seed, &caps, &calls, &seen)?;
        ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), server.log());
        by_store.with_context(|| format!("in Redis:\n{}", server.log()))?;
        ensure!(again == caps, "{caps:?} before the last restart, {again:?} after it");
        ensure!(seen.looks >= 20 * u64::from(rounds), "only {} looks", seen.looks);
        api::no_fault_is_counted(&metrics)
    };
    run().unwrap_or_else(|error| panic!("TOLLBRIDGE_HOLD_SEED={seed}: {error:#}"));
}

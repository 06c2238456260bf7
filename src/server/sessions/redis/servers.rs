//! The servers that keep sessions and pools, each its slots, and which of them are of use.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Cmd, PushInfo, Value};
use tokio::task::JoinSet;

use super::keys::KeySpace;
use super::near::{Followed, Follower, Near};
use super::scripts::Script;
use crate::server::redis::{
    Address, Link, Live, Script as _, StoreFault, Topology, send, send_all, slot_of, unread,
};

/// Names of gates that are tried until each server has one.
const GATES_MAX: u32 = 1 << 18;
/// Late answers in a row after which a server is taken to be away.
const LATE_MAX: u32 = 3;

/// Who keeps what, as it was last seen.
#[derive(Default)]
pub(super) struct Servers {
    topology: Topology,
    /// In the order of the topology's owners.
    all: Vec<Arc<Server>>,
    /// Of each, in the same order; absent: it has hardly a slot.
    gates: Vec<Option<String>>,
}

pub(super) struct Server {
    address: Address,
    /// Absent: it could not be connected.
    live: Option<Live<Script>>,
    late: AtomicU32,
    is_out: AtomicBool,
    /// It says that others keep what it was asked for.
    is_stale: AtomicBool,
    /// On which it says what has changed; absent: it does not.
    follower: ArcSwapOption<Follower>,
    /// It was asked to, and will not.
    is_silent: AtomicBool,
}

/// Something to be done where a key is.
pub(super) struct Asked {
    slot: u16,
    what: What,
    /// By which the answer is kept.
    kept_as: Option<String>,
    /// It is not asked for itself.
    is_aside: bool,
}

enum What {
    Plain(Cmd),
    Script(Script, Vec<String>, Vec<Vec<u8>>),
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Call,
    Upkeep,
    /// Whoever keeps the answer until it changes.
    Keeping,
}

impl Asked {
    pub(super) fn plain(key: &str, command: Cmd) -> Self {
        Self { slot: slot_of(key), what: What::Plain(command), kept_as: None, is_aside: false }
    }

    /// What a key is, always asked for in the same way.
    pub(super) fn what_is(key: String, command: Cmd) -> Self {
        let slot = slot_of(&key);
        Self { slot, what: What::Plain(command), kept_as: Some(key), is_aside: false }
    }

    /// Asked besides what is asked for: that it is kept, or not, is not counted.
    pub(super) fn aside(self) -> Self {
        Self { is_aside: true, ..self }
    }

    /// Whether it is counted that the answer is kept, or not.
    pub(super) fn counts(&self) -> bool {
        self.kept_as.is_some() && !self.is_aside
    }

    pub(super) fn kept_as(&self) -> Option<&str> {
        self.kept_as.as_deref()
    }

    /// The key of a session that is not afterwards what it was.
    pub(super) fn changes(&self) -> Option<&str> {
        match &self.what {
            What::Script(Script::Put | Script::Mark, keys, _) => keys.first().map(String::as_str),
            What::Script(..) | What::Plain(_) => None,
        }
    }

    /// `keys` are in one slot; there is one at least.
    pub(super) fn script(script: Script, mut keys: Vec<String>, arguments: Vec<Vec<u8>>) -> Self {
        let slot = keys.first().map_or(0, |key| slot_of(key));
        debug_assert!(keys.iter().all(|key| slot_of(key) == slot), "{keys:?}");
        if let Some(nowhere) = keys.first().map(|key| KeySpace::nowhere(key)) {
            keys.push(nowhere);
        }
        Self { slot, what: What::Script(script, keys, arguments), kept_as: None, is_aside: false }
    }

    /// `by_text`: the server does not know the script by its hash.
    fn command(&self, live: &Live<Script>, by_text: bool) -> Cmd {
        match &self.what {
            What::Plain(command) => command.clone(),
            What::Script(script, keys, arguments) => {
                let mut eval = redis::cmd(if by_text { "EVAL" } else { "EVALSHA" });
                let named = if by_text { script.body() } else { live.hash(*script) };
                eval.arg(named).arg(keys.len()).arg(keys).arg(arguments);
                eval
            }
        }
    }
}

impl Server {
    fn following(&self) -> Option<Arc<Follower>> {
        self.follower.load_full().filter(|it| !it.followed.is_lost())
    }

    fn is_of_use(&self) -> bool {
        self.live.is_some() && !self.is_out.load(Ordering::Relaxed)
    }

    /// The server has answered, or not.
    fn note(&self, answer: Result<(), &StoreFault>) {
        match answer {
            Ok(()) => {
                self.late.store(0, Ordering::Relaxed);
                self.is_stale.store(false, Ordering::Relaxed);
            }
            Err(StoreFault::Refused(_) | StoreFault::NotOpen | StoreFault::Unconfirmed) => {
                self.late.store(0, Ordering::Relaxed);
            }
            Err(StoreFault::Elsewhere(_)) => self.is_stale.store(true, Ordering::Relaxed),
            Err(StoreFault::Timeout) => {
                if self.late.fetch_add(1, Ordering::Relaxed) + 1 >= LATE_MAX {
                    self.is_out.store(true, Ordering::Relaxed);
                }
            }
            Err(StoreFault::Away(_) | StoreFault::Unreached) => {
                self.is_out.store(true, Ordering::Relaxed)
            }
        }
    }
}

impl Servers {
    /// Finds out who keeps what, and connects where it has to. Returns all servers as they are now, and
    /// those that were connected anew.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub(super) async fn connect(
        &self,
        link: &Link,
        keys: &KeySpace,
    ) -> Result<(Self, Vec<Address>), StoreFault> {
        let topology = link.topology().await?;
        let (mut all, mut new) = (Vec::new(), Vec::new());
        for owner in &topology.owners {
            let known = self.all.iter().find(|it| it.address == *owner && it.is_of_use());
            if let Some(known) = known {
                all.push(Arc::clone(known));
                continue;
            }
            let live = link.connect_to(owner.clone(), None).await;
            if let Err(fault) = &live {
                tracing::debug!(server = %owner, %fault, "a server of the store is not there");
            } else {
                new.push(owner.clone());
            }
            all.push(Arc::new(Server {
                address: owner.clone(),
                live: live.ok(),
                late: AtomicU32::new(0),
                is_out: AtomicBool::new(false),
                is_stale: AtomicBool::new(false),
                follower: ArcSwapOption::empty(),
                is_silent: AtomicBool::new(false),
            }));
        }
        let gates = gates_of(&topology, keys);
        Ok((Self { topology, all, gates }, new))
    }

    /// Sees to it that servers say what has changed of what was read there: those that do not are asked to, and
    /// the others whether they are still there.
    pub(super) async fn follow(&self, link: &Link, near: &Arc<Near>, limit: Duration) {
        let speaks = |it: &&Arc<Server>| it.is_of_use() && !it.is_silent.load(Ordering::Relaxed);
        for server in self.all.iter().filter(speaks) {
            if let Some(follower) = server.following() {
                let ping = redis::cmd("PING");
                if send(&mut follower.lane.connection(), &ping, limit).await.is_ok() {
                    continue;
                }
                server.follower.store(None);
            }
            let followed = Followed::new();
            let (near, by) = (Arc::clone(near), Arc::clone(&followed));
            let hears = move |pushed: PushInfo| {
                near.pushed(&by, &pushed);
                Ok::<(), Infallible>(())
            };
            match link.follow(&server.address, Arc::new(hears)).await {
                Ok(lane) => server.follower.store(Some(Arc::new(Follower { lane, followed }))),
                Err(StoreFault::Refused(why)) => {
                    server.is_silent.store(true, Ordering::Relaxed);
                    tracing::warn!(
                        server = %server.address,
                        why,
                        "a server of the store does not say what changes: nothing that is read there is kept"
                    );
                }
                Err(fault) => {
                    tracing::debug!(server = %server.address, %fault, "a server says no changes");
                }
            }
        }
    }

    /// The server of the question by its place, and whoever hears what changes there.
    pub(super) fn followed(&self, asked: &Asked) -> Option<(usize, Arc<Followed>)> {
        let place = self.topology.place(asked.slot)?;
        let follower = self.all.get(place)?.following()?;
        Some((place, Arc::clone(&follower.followed)))
    }

    /// All of them are connected and answer, and keep what is asked of them.
    pub(super) fn are_well(&self) -> bool {
        let is_well = |it: &Arc<Server>| it.is_of_use() && !it.is_stale.load(Ordering::Relaxed);
        !self.all.is_empty() && self.all.iter().all(is_well)
    }

    /// Some of them are connected and answer.
    pub(super) fn are_of_use(&self) -> bool {
        self.all.iter().any(|it| it.is_of_use())
    }

    /// A question for each of them, which a cluster that is not whole does not answer.
    pub(super) fn probes(&self) -> Vec<Asked> {
        let exists = |key| Asked::plain(key, redis::cmd("EXISTS").arg(key).take());
        self.gates().map(exists).collect()
    }

    /// The key of each that is gone where all is.
    pub(super) fn gates(&self) -> impl Iterator<Item = &str> {
        self.gates.iter().flatten().map(String::as_str)
    }

    /// That of the server of the question.
    pub(super) fn gate_of(&self, asked: &Asked) -> Option<&str> {
        self.gates.get(self.topology.place(asked.slot)?)?.as_deref()
    }

    /// The run of the process that has the key.
    pub(super) fn run_at(&self, key: &str) -> Result<&str, StoreFault> {
        self.run(slot_of(key))
    }

    /// The run of the process that has the slot.
    pub(super) fn run(&self, slot: u16) -> Result<&str, StoreFault> {
        let server = self.of(slot)?;
        server.live.as_ref().map(|live| live.run.as_str()).ok_or_else(not_connected)
    }

    fn of(&self, slot: u16) -> Result<&Arc<Server>, StoreFault> {
        let server = self.topology.place(slot).and_then(|place| self.all.get(place));
        server.filter(|it| it.is_of_use()).ok_or_else(not_connected)
    }

    /// Asks all at once. The answers are in the order of the questions.
    pub(super) async fn ask(
        &self,
        asked: &[Asked],
        who: For,
        limit: Duration,
    ) -> Vec<Result<Value, StoreFault>> {
        let places: Vec<usize> = (0..asked.len()).collect();
        self.ask_at(asked, places, who, limit).await
    }

    /// Asks those at these places. The answers are in their order.
    pub(super) async fn ask_at(
        &self,
        asked: &[Asked],
        places: Vec<usize>,
        who: For,
        limit: Duration,
    ) -> Vec<Result<Value, StoreFault>> {
        let mut answers = self.ask_some(asked, &places, who, limit, false).await;
        let is_unknown = |answer: &Result<Value, StoreFault>| matches!(answer, Err(StoreFault::Refused(why)) if why.starts_with("NOSCRIPT"));
        let unknown = |nth: &usize| answers.get(*nth).is_some_and(is_unknown);
        let again: Vec<usize> = (0..places.len()).filter(unknown).collect();
        if !again.is_empty() {
            let at: Vec<usize> = again.iter().filter_map(|nth| places.get(*nth).copied()).collect();
            let told = self.ask_some(asked, &at, who, limit, true).await;
            for (nth, answer) in again.into_iter().zip(told) {
                answers[nth] = answer;
            }
        }
        answers
    }

    async fn ask_some(
        &self,
        asked: &[Asked],
        places: &[usize],
        who: For,
        limit: Duration,
        by_text: bool,
    ) -> Vec<Result<Value, StoreFault>> {
        let mut answers: Vec<Result<Value, StoreFault>> = Vec::with_capacity(places.len());
        // Of each server: what it is asked, and at which places of the answers its own belong.
        let mut by_server: Vec<(&Arc<Server>, redis::Pipeline, Vec<usize>)> = Vec::new();
        for (nth, place) in places.iter().enumerate() {
            answers.push(Err(not_connected()));
            let Some(question) = asked.get(*place) else { continue };
            let Ok(server) = self.of(question.slot) else { continue };
            let Some(live) = &server.live else { continue };
            let command = question.command(live, by_text);
            match by_server.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, server)) {
                Some((_, pipe, its)) => {
                    pipe.add_command(command);
                    its.push(nth);
                }
                None => {
                    let mut pipe = redis::pipe();
                    pipe.add_command(command);
                    by_server.push((server, pipe, vec![nth]));
                }
            }
        }
        let told = match <[_; 1]>::try_from(by_server) {
            Ok([(server, pipe, its)]) => vec![(converse(server, &pipe, who, limit).await, its)],
            Err(several) => {
                let mut conversations = JoinSet::new();
                for (server, pipe, its) in several {
                    let server = Arc::clone(server);
                    conversations
                        .spawn(async move { (converse(&server, &pipe, who, limit).await, its) });
                }
                conversations.join_all().await
            }
        };
        for (told, its) in told {
            for (answer, nth) in told.into_iter().zip(its) {
                answers[nth] = answer;
            }
        }
        answers
    }
}

async fn converse(
    server: &Server,
    pipe: &redis::Pipeline,
    who: For,
    limit: Duration,
) -> Vec<Result<Value, StoreFault>> {
    let Some(live) = &server.live else { return vec![] };
    let follower = server.following().filter(|_| who == For::Keeping);
    let mut connection = match (who, &follower) {
        (For::Keeping, Some(follower)) => follower.lane.connection(),
        (For::Call | For::Keeping, _) => live.lane(),
        (For::Upkeep, _) => live.upkeep(),
    };
    let mut told = send_all(&mut connection, pipe, limit).await;
    // The connection may be gone, and the server there.
    if let Some(follower) = follower.filter(|_| told.as_ref().is_err_and(StoreFault::is_away)) {
        follower.followed.lose();
        told = send_all(&mut live.lane(), pipe, limit).await;
    }
    match told {
        Ok(mut answers) => {
            answers.resize_with(pipe.len(), || Err(unread()));
            for answer in &answers {
                server.note(answer.as_ref().map(drop));
            }
            answers
        }
        Err(fault) => {
            server.note(Err(&fault));
            vec![Err(fault); pipe.len()]
        }
    }
}

/// For each server the first of the gates that falls to it.
fn gates_of(topology: &Topology, keys: &KeySpace) -> Vec<Option<String>> {
    let mut gates = vec![None; topology.owners.len()];
    let mut left = gates.len();
    for key in (0..GATES_MAX).map(|nth| keys.gate(nth)) {
        if left == 0 {
            break;
        }
        let place = topology.place(slot_of(&key));
        if let Some(gate) = place.and_then(|place| gates.get_mut(place))
            && gate.is_none()
        {
            *gate = Some(key);
            left -= 1;
        }
    }
    gates
}

fn not_connected() -> StoreFault {
    StoreFault::Unreached
}

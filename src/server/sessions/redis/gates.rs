//! Whether a server knows what it was told (spec/data §3.5). One that was emptied, or came back with less than it
//! had, says of every key that there is none, and no connection is lost by that.
//!
//! So each server has a gate: a key that goes with all others, and that whoever finds it gone puts there anew,
//! before it tells the server what it knows. Who hears of nothing at a server looks at its gate behind the question:
//! there is nothing if that is as it was when this node told all it knew, and the others have had the time to do so.
//! It is kept as any other answer (see [`near`](super::near)), so that a look costs nothing while nothing changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::Value;
use smol_str::SmolStr;

use crate::routing::attribution::SessionKey;
use crate::server::clock;
use crate::server::redis::StoreFault;
use crate::time::Mono;

use super::scripts::Script;
use super::servers::{Asked, For, Servers};
use super::{RedisSessions, read};

/// The gates as this node has found them.
#[derive(Debug, Default)]
pub(super) struct Gates {
    known: Mutex<BTreeMap<String, Gate>>,
    /// One was not as it was.
    are_in_doubt: AtomicBool,
}

#[derive(Clone, Debug)]
struct Gate {
    /// `RUN/SINCE`: the server's process, and when that was found to know nothing, by its own time.
    text: SmolStr,
    /// All nodes have told the server by then.
    opens_at: Mono,
}

/// What became of the gates of all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gated {
    /// Some have lost what they had since this node saw them last, or are new to it.
    pub has_lost: bool,
    /// For how long others may have yet to tell them.
    pub closed_for: Duration,
}

impl Gates {
    /// Whether one was not as it was since this was asked last.
    pub(super) fn are_in_doubt(&self) -> bool {
        self.are_in_doubt.swap(false, Ordering::Relaxed)
    }

    /// The gate was there, for so long, when it was looked for. Says what is new.
    fn found(&self, key: &str, text: SmolStr, closed_for: Duration) -> bool {
        let mut known = self.known.lock();
        if known.get(key).is_some_and(|it| it.text == text) {
            return false;
        }
        let opens_at = clock::mono() + closed_for;
        known.insert(key.to_owned(), Gate { text, opens_at });
        true
    }

    /// Whether the process behind a gate knows what all nodes have told it.
    fn is_sure(&self, key: &str, run: &str, text: Option<&str>) -> bool {
        let known = self.known.lock();
        let of_run = |text: &str| text.rsplit_once('/').is_some_and(|(of, _)| of == run);
        let same = known.get(key).filter(|it| text == Some(it.text.as_str()) && of_run(&it.text));
        match same {
            Some(gate) => gate.opens_at <= clock::mono(),
            None => {
                self.are_in_doubt.store(true, Ordering::Relaxed);
                false
            }
        }
    }
}

impl RedisSessions {
    /// Looks at the gates of all servers that are there, and puts those anew that are gone.
    ///
    /// # Errors
    /// A server does not do as it is asked; one that is away is not.
    pub async fn keep_gates(&self) -> Result<Gated, StoreFault> {
        let servers = self.servers.load_full();
        let (mut keys, mut asked) = (vec![], vec![]);
        for key in servers.gates() {
            let Ok(run) = servers.run_at(key) else { continue };
            let arguments = vec![run.as_bytes().to_vec()];
            asked.push(Asked::script(Script::Gate, vec![key.to_owned()], arguments));
            keys.push(key);
        }
        let mut gated = Gated::default();
        for (key, answer) in keys.into_iter().zip(self.ask(&asked, For::Upkeep).await) {
            let (text, open_for): (String, u64) = match answer {
                Err(fault) if fault.is_away() => continue,
                answer => read(answer?)?,
            };
            let open_for = Duration::from_millis(open_for);
            let closed_for = self.settings.open_after.saturating_sub(open_for);
            gated.has_lost |= self.gates_of_servers.found(key, text.into(), closed_for);
            gated.closed_for = gated.closed_for.max(closed_for);
        }
        Ok(gated)
    }

    /// Whether a server may have lost what it had, by what it has said to whoever asked or follows it: the gates
    /// are to be looked at.
    pub fn is_in_doubt(&self) -> bool {
        let (is_one, was_emptied) = (self.gates_of_servers.are_in_doubt(), self.near.was_emptied());
        is_one || was_emptied
    }

    /// What keys are, as [`RedisSessions::see`] has it, and whether what is not there never was: no server of theirs
    /// has lost what it had, unless all nodes have told it again.
    pub(super) async fn see_surely(
        &self,
        mut asked: Vec<Asked>,
        limit: Duration,
    ) -> (Vec<Result<Value, StoreFault>>, bool) {
        let servers = self.servers.load_full();
        let mut keys: Vec<&str> = asked.iter().filter_map(|it| servers.gate_of(it)).collect();
        keys.sort_unstable();
        keys.dedup();
        let count = asked.len();
        asked.extend(keys.iter().map(|key| look_at(key)));
        let mut answers = self.see(&asked, limit).await;
        let gates = answers.split_off(count);
        (answers, self.are_sure(&servers, &keys, gates))
    }

    /// The same of all servers.
    ///
    /// # Errors
    /// One of them may have lost what it had, or none can say.
    pub(super) async fn all_are_sure(&self) -> Result<(), StoreFault> {
        let servers = self.servers.load_full();
        self.gates_are_sure(&servers, &servers.gates().collect::<Vec<_>>()).await
    }

    /// The same of the server of a session that is not there.
    ///
    /// # Errors
    /// As [`RedisSessions::all_are_sure`].
    pub(super) async fn never_was(&self, key: SessionKey) -> Result<(), StoreFault> {
        let servers = self.servers.load_full();
        let key = servers.gate_of(&self.get(key));
        self.gates_are_sure(&servers, key.as_slice()).await
    }

    async fn gates_are_sure(&self, servers: &Servers, keys: &[&str]) -> Result<(), StoreFault> {
        let asked: Vec<_> = keys.iter().map(|key| look_at(key)).collect();
        let gates = self.see(&asked, self.settings.timeout).await;
        if self.are_sure(servers, keys, gates) { Ok(()) } else { Err(StoreFault::NotOpen) }
    }

    fn are_sure(
        &self,
        servers: &Servers,
        keys: &[&str],
        gates: Vec<Result<Value, StoreFault>>,
    ) -> bool {
        let is_sure = |(key, gate): (&&str, Result<Value, StoreFault>)| {
            let text = gate.and_then(read::<Option<String>>);
            let run = servers.run_at(key);
            let sure =
                text.and_then(|text| Ok(self.gates_of_servers.is_sure(key, run?, text.as_deref())));
            sure.unwrap_or(false)
        };
        keys.iter().zip(gates).all(is_sure)
    }
}

fn look_at(key: &str) -> Asked {
    Asked::what_is(key.to_owned(), redis::cmd("HGET").arg(key).arg("gate").take()).aside()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn a_gate_is_sure_while_it_is_as_it_was_found_and_all_have_had_the_time() {
        let gates = Gates::default();
        assert!(!gates.is_sure("a", "r1", Some("r1/5")), "nobody has told the server anything");
        assert!(gates.are_in_doubt() && !gates.are_in_doubt());

        assert!(gates.found("a", "r1/5".into(), NOW));
        assert!(!gates.found("a", "r1/5".into(), LATER), "it is no new one");
        assert!(gates.is_sure("a", "r1", Some("r1/5")));
        assert!(!gates.are_in_doubt());
        for (why, run, text) in [
            ("gone", "r1", None),
            ("put there by another", "r1", Some("r1/6")),
            ("that of the process which this one has replaced", "r2", Some("r1/5")),
        ] {
            assert!(!gates.is_sure("a", run, text), "{why}");
            assert!(gates.are_in_doubt(), "{why}");
        }
        assert!(!gates.is_sure("b", "r1", Some("r1/5")), "that is of another server");

        assert!(gates.found("a", "r1/6".into(), LATER));
        assert!(gates.are_in_doubt());
        assert!(!gates.is_sure("a", "r1", Some("r1/6")), "others have yet to tell it");
        assert!(!gates.are_in_doubt(), "that is known here");
    }
}

//! What calls have shown of addresses, kept a second time: none begins at one that is known to be
//! dead while its target has another that nothing bad is known of (spec/sip T17).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::Verdict;
use crate::sip::call::plan::Plan;
use crate::sip::locate::Failing;
use crate::time::Mono;

/// How long an address is left alone at least after nobody was there.
const PENALTY: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Nobody was there, until when calls go elsewhere.
    dead: BTreeMap<SocketAddr, Mono>,
    /// Something bad is known of them.
    doubted: BTreeSet<SocketAddr>,
    broken: Option<String>,
}

impl Standing {
    pub(super) fn rated(&mut self, peer: SocketAddr, how: Result<(), Failing>, now: Mono) {
        match how {
            Ok(()) => {
                self.dead.remove(&peer);
                self.doubted.remove(&peer);
            }
            Err(how) => {
                self.doubted.insert(peer);
                match how {
                    Failing::Gone => self.dead.insert(peer, now + PENALTY),
                    // It says itself for how long.
                    Failing::Unavailable { .. } => self.dead.remove(&peer),
                };
            }
        }
    }

    pub(super) fn planned(&mut self, plan: &Plan, now: Mono) {
        for attempt in &plan.attempts {
            let (Some(first), Some(further)) = (attempt.destination, &attempt.further) else {
                continue;
            };
            let is_dead = self.dead.get(&first.peer).is_some_and(|until| now < *until);
            if is_dead && further.iter().any(|it| !self.doubted.contains(&it.peer)) {
                self.broken = Some(format!("a call is to begin at {}, which is dead", first.peer));
            }
        }
    }

    pub(super) fn verdict(&mut self) -> Verdict {
        self.broken.take().map_or(Ok(()), |what| Err((None, what)))
    }
}

//! What is done now and then, whatever calls do.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::sip::transport::TcpStats;

use super::deciding::{Deciding, RENEW_EVERY};
use super::overload::MemoryFlag;
use super::shortage::Shortages;
use super::standing::Standing;
use super::{accounting, clock, machine, metrics};

/// How often the memory in use is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// How often counts that nobody pushes are read, and the metrics' samples are condensed.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Clears away expired holds and sessions, and what was thought of addresses long ago.
pub(super) async fn sweep(
    deciding: Arc<Deciding>,
    standing: Arc<Standing>,
    ended: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::new(RENEW_EVERY, ended);
    while rounds.next().await {
        deciding.sweep(clock::mono(), clock::wall());
        standing.sweep(clock::mono());
    }
}

/// Has new calls refused while the process uses more memory than it should.
pub(super) async fn watch_memory(
    memory: Arc<MemoryFlag>,
    max: Option<u64>,
    ended: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::new(MEMORY_EVERY, ended);
    while rounds.next().await {
        let Some(used) = machine::memory_used() else { return };
        ::metrics::gauge!(metrics::MEMORY).set(used as f64);
        let Some(max) = max else { continue };
        let was_short = memory.is_short();
        match (was_short, memory.set(used, max)) {
            (false, true) => tracing::error!(used, max, "memory is used up: calls are refused"),
            (true, false) => tracing::info!(used, "memory has become free: calls are taken again"),
            (false, false) | (true, true) => {}
        }
    }
}

pub(super) async fn upkeep(
    prometheus: metrics::Prometheus,
    deciding: Arc<Deciding>,
    gauges: accounting::Gauges,
    tcp: Arc<TcpStats>,
    ended: watch::Receiver<bool>,
) {
    let mut rounds = Rounds::new(UPKEEP_EVERY, ended);
    let mut shortages = Shortages::default();
    while rounds.next().await {
        prometheus.condense();
        shortages.look(&deciding);
        metrics::routing(&deciding);
        gauges.publish();
        metrics::tls(&tcp);
    }
}

/// Does what may fail, and does it again in each turn until it is done; `false`: the process ended first.
/// `what`: what is lacking meanwhile.
pub(super) async fn until_done<E, F>(
    mut rounds: Rounds,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> bool
where
    E: Display,
    F: Future<Output = Result<(), E>>,
{
    let mut ended = rounds.ended.clone();
    while rounds.next().await {
        let done = tokio::select! {
            done = attempt() => done,
            _ = ended.changed() => return false,
        };
        match done {
            Ok(()) => return true,
            Err(error) => tracing::error!(%error, "{what}"),
        }
    }
    false
}

/// A task's turns, until the process ends.
pub(super) struct Rounds {
    tick: tokio::time::Interval,
    ended: watch::Receiver<bool>,
}

impl Rounds {
    pub(super) fn new(period: Duration, ended: watch::Receiver<bool>) -> Self {
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { tick, ended }
    }

    /// `false` once the process ends.
    pub(super) async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.tick.tick() => true,
            _ = self.ended.changed() => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep_until};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_has_failed_is_done_again_after_a_pause_until_it_is_done() {
        let (_end, ended) = watch::channel(false);
        let (began, mut tries) = (Instant::now(), 0);

        let is_done = until_done(Rounds::new(PERIOD, ended), "it is lacking", || {
            tries += 1;
            std::future::ready(if tries < 3 { Err("it failed") } else { Ok(()) })
        })
        .await;

        assert!(is_done);
        assert_eq!((tries, began.elapsed()), (3, PERIOD * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_once_the_process_ends() {
        let (end, ended) = watch::channel(false);
        let rounds = Rounds::new(PERIOD, ended);
        let never = until_done(rounds, "it is lacking", std::future::pending::<Result<(), String>>);
        let ends = async {
            sleep_until(Instant::now() + PERIOD).await;
            end.send(true)
        };

        let (is_done, sent) = tokio::join!(never, ends);

        assert!(sent.is_ok() && !is_done);
    }
}

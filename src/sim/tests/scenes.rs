//! What scenes are made of.

use std::time::Duration;

use crate::sim::habits::{Habits, OnCancel};
use crate::sim::mind::Scene;
use crate::sim::net::Weather;
use crate::sim::world::World;

pub(super) const MS: Duration = Duration::from_millis(1);

/// One who waits for the answer and says nothing.
pub(super) fn caller() -> Habits {
    Habits { ack: Some(Duration::ZERO), ..Habits::default() }
}

/// One who rings at once, answers after a while and obeys.
pub(super) fn rings(answer: Duration) -> Habits {
    Habits {
        steps: vec![(Duration::ZERO, 180), (answer, 200)],
        on_cancel: OnCancel::Obey(MS),
        ..Habits::default()
    }
}

pub(super) fn scene<const N: usize>(targets: [Habits; N]) -> Scene {
    Scene {
        caller: caller(),
        targets: targets.to_vec(),
        decided: Some(10 * MS),
        held: Some(MS),
        durable: Some(MS),
        weather: Weather::FAIR,
        together: false,
        one_name: false,
    }
}

/// The same with the real edge, in this market.
pub(super) fn play_in(market: usize, seed: u64, scene: Scene) -> Vec<String> {
    let world = World::in_market(market, seed, scene);
    world.play().unwrap_or_else(|breach| panic!("{}\n{}", breach.what, breach.ladder))
}

/// What passes the endpoint, in order.
pub(super) fn play(scene: Scene) -> Vec<String> {
    World::of(scene).play().unwrap_or_else(|breach| panic!("{}\n{}", breach.what, breach.ladder))
}

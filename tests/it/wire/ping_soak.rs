//! Pings for a long time, whose sessions end: nothing is left of them, and memory does not grow.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Setup, Stage, play_with};
use crate::support::{api, http, wait_for};

/// How long, seconds: a moment, or what `make soak` says.
const SECONDS: &str = "TOLLBRIDGE_PING_SOAK_SECONDS";
/// Pings a second.
const RATE: &str = "TOLLBRIDGE_PING_SOAK_RATE";
const SENDERS: u32 = 4;
/// A session lives so long, seconds.
const LIFE: u32 = 2;
/// From half an hour on memory tells what grows: allocators and caches have what they will have by then.
const TELLING: Duration = Duration::from_secs(1_800);
/// Of the memory in an hour.
const GROWTH_MAX: f64 = 0.05;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

const POOL: &str = r#"
[[pools]]
id = "soaked"
campaign = "alone"
publisher = "tests"
numbers = ["+16145550100-+16145550199"]
quarantine_s = 1
"#;

#[test]
fn nothing_is_left_of_pings_whose_sessions_are_over() {
    let number = |name: &str, default: u32| -> u32 {
        env::var(name).map_or(default, |it| it.parse().expect("a number"))
    };
    let (time, rate) = (Duration::from_secs(number(SECONDS, 8).into()), number(RATE, 200));
    // Answers are kept for a day, up to a number.
    let bounds = ["sessions.answers_max=1000"];
    play_with(Setup { more: POOL, set: &bounds, ..Setup::default() }, |stage| {
        let (stop, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        let resident = |stage: &mut Stage| stage.server()?.resident_bytes();
        let (api, mut samples) = (stage.api, vec![]);
        let load = thread::scope(|scope| -> Result<()> {
            let senders: Vec<_> =
                (0..SENDERS).map(|_| scope.spawn(|| send(api, rate, &stop, &sent))).collect();
            let began = Instant::now();
            while began.elapsed() < time && !senders.iter().any(|it| it.is_finished()) {
                thread::sleep(SAMPLE_EVERY);
                samples.push((began.elapsed().as_secs_f64(), resident(stage)? as f64));
            }
            stop.store(true, Ordering::Relaxed);
            senders.into_iter().try_for_each(|it| it.join().expect("it does not panic"))
        });
        load?;

        let sent = sent.load(Ordering::Relaxed);
        let counted = api::series(api)?;
        let accepted = counted.get(r#"tollbridge_pings_total{result="accepted"}"#);
        ensure!(accepted == Some(&f64::from(sent)), "{accepted:?} of {sent} were accepted");
        ensure!(counted.get("tollbridge_answers_kept") <= Some(&1_000.0), "{counted:?}");
        wait_for("all sessions to be over, and numbers free", Duration::from_secs(60), || {
            let sessions = api::metrics(api)?.get("tollbridge_sessions_active").copied();
            let pools: Value = http::get(api, "/v1/pools")?.json()?;
            let all = pools["items"].as_array().context("pools")?;
            let its = all.iter().find(|it| it["id"] == "soaked");
            let free = its.map(|it| it["free"] == 100);
            Ok((sessions == Some(0.0) && free == Some(true)).then_some(()))
        })?;
        if time >= TELLING {
            does_not_grow(&samples)?;
        }
        stage.is_clean()
    });
}

/// Pings of every kind, a part of so many a second, until it is to stop.
fn send(api: std::net::SocketAddr, rate: u32, stop: &AtomicBool, sent: &AtomicU32) -> Result<()> {
    let (every, mut due) = (Duration::from_secs(1) * SENDERS / rate, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let nth = sent.fetch_add(1, Ordering::Relaxed);
        let mut body = json!({ "ttl_s": LIFE, "zip": "43215", "nth": nth });
        match nth % 3 {
            0 => body["pool"] = json!("soaked"),
            1 => {
                body["campaign"] = json!("alone");
                body["caller_id"] = json!(format!("+1614555{:04}", nth % 10_000));
            }
            _ => {
                body["campaign"] = json!("alone");
                body["sip_ok"] = json!(true);
                body["request_id"] = json!(format!("click-{nth}"));
            }
        }
        let reply = http::post(api, "/v1/pings", &body.to_string())?;
        ensure!(reply.status == 202, "{body}: {reply:?}");
        due += every;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// By the line through the second half.
fn does_not_grow(samples: &[(f64, f64)]) -> Result<()> {
    let half = &samples[samples.len() / 2..];
    let count = half.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| half.iter().map(of).sum::<f64>() / count;
    let (at, bytes) = (mean(|it| it.0), mean(|it| it.1));
    let spread: f64 = half.iter().map(|it| (it.0 - at).powi(2)).sum();
    let slope = half.iter().map(|it| (it.0 - at) * (it.1 - bytes)).sum::<f64>() / spread;
    let (grown, mib) = (slope * 3_600.0 / bytes, bytes / 1_048_576.0);
    println!("memory in the second half: {mib:.1} MiB, {:+.2} % an hour", grown * 100.0);
    ensure!(grown.abs() <= GROWTH_MAX, "memory changes by {:+.2} % an hour", grown * 100.0);
    Ok(())
}

//! Pings at a steady rate through a real server, beside the same HTTP stack doing nothing.
//!
//! `make bench-ping`. `RATE` pings a second (5,000) for `SECONDS` (60), in turn: to the floor, a server of
//! the same stack that reads the body and answers; to a server whose journal is on the disk that
//! `BENCH_DIR` is on (the folder of temporary files); to one whose journal is in memory (`/dev/shm`), where
//! a sync costs nothing. Then one is killed by SIGKILL in the middle and started again while pings go on, and what
//! both processes acknowledged is asked for. It fails if a ping was refused or lost, or if 99 of 100 did not have
//! their answers in time with the journal on disk. With `OUTAGE` set, see [`outage`]. A ping is late from when it was
//! due, not from when it could be sent.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and tells")]

mod load;
mod outage;
mod peers;
mod server;

use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use load::{Load, Measured};
use server::Server;

/// 99 of 100 pings are to be answered sooner, each on disk (spec/data §2.3).
const P99_BELOW: Duration = Duration::from_millis(50);

fn main() -> Result<()> {
    if env::var_os(server::FLOOR).is_some() {
        return server::be_the_floor();
    }
    if env::var_os("OUTAGE").is_some() {
        return outage::run();
    }
    let load = Load {
        rate: number("RATE", 5_000)?,
        time: Duration::from_secs(number("SECONDS", 60)?),
        connections: number("CONNECTIONS", 256)?,
    };
    let disk = env::var_os("BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    println!(
        "{} pings/s for {} s over {} connections, one in ten lent a number\n",
        load.rate,
        load.time.as_secs(),
        load.connections
    );
    println!(
        "{:<34}{:>9}{:>9}{:>9}{:>9}{:>12}{:>10}",
        "", "p50 ms", "p99", "p99.9", "max", "CPU us", "MiB"
    );
    show("the same HTTP stack, doing nothing", &mut Server::floor()?, &load)?;
    let p99 = show("journal on disk, synced", &mut Server::at(&disk)?, &load)?;
    show("journal in memory, no sync", &mut Server::at(Path::new("/dev/shm"))?, &load)?;
    loses_nothing(&disk, load)?;
    ensure!(p99 < P99_BELOW, "P99 with the journal on disk is {p99:.1?}, not below {P99_BELOW:?}");
    Ok(())
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env::var(name).map_or(Ok(default), |text| {
        text.parse().with_context(|| format!("{name}={text} is no number"))
    })
}

/// A line of the table. Returns P99.
fn show(name: &str, server: &mut Server, load: &Load) -> Result<Duration> {
    let before = server.cpu()?;
    let Measured { mut took, acknowledged, refused, refusal } = load.put_on(server.address)?;
    let cpu = server.cpu()? - before;
    took.sort_unstable();
    let at = |share: f64| {
        let place = (took.len() as f64 * share) as usize;
        took.get(place.min(took.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let at_ms = |share: f64| at(share).as_secs_f64() * 1e3;
    println!(
        "{name:<34}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>12.1}{:>10}",
        at_ms(0.5),
        at_ms(0.99),
        at_ms(0.999),
        at_ms(1.0),
        cpu.as_secs_f64() * 1e6 / took.len() as f64,
        server.memory_mib()?,
    );
    ensure!(
        refused == 0,
        "{refused} of {} were refused: {}",
        refused + acknowledged.len(),
        refusal.unwrap_or_default()
    );
    Ok(at(0.99))
}

/// SIGKILL in the middle of the load, and every ping that was acknowledged before and after is known in the end.
fn loses_nothing(disk: &Path, load: Load) -> Result<()> {
    let (mut server, half) = (Server::at(disk)?, load.time / 2);
    let (address, connections) = (server.address, load.connections);
    let sending = thread::spawn(move || load.put_on_one_that_dies(address));
    thread::sleep(half);
    server.kill()?;
    let killed = Instant::now();
    server.start_again()?;
    let away = killed.elapsed();
    let sent = sending.join().expect("the load does not panic")?;
    let lost = load::missing(address, &sent.acknowledged, connections)?;
    println!(
        "\nkilled after {:.1} s of {:.1}, back after {away:.1?}: {} pings acknowledged, {} refused, {lost} of those \
         acknowledged unknown in the end",
        half.as_secs_f64(),
        half.as_secs_f64() * 2.0,
        sent.acknowledged.len(),
        sent.refused,
    );
    ensure!(lost == 0, "acknowledged pings were lost");
    Ok(())
}

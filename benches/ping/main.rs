//! Pings at a steady rate through a real server, beside the same HTTP stack doing nothing.
//!
//! `make bench-ping`. `RATE` pings a second (5,000) for `SECONDS` (60), in turn: to the floor, a server of
//! the same stack that reads the body and answers; to a server whose journal is on the disk that
//! `BENCH_DIR` is on (the folder of temporary files); to one whose journal is in memory (`/dev/shm`), where
//! a sync costs nothing. Then a server is killed by SIGKILL in the middle, and what it had acknowledged is
//! asked for at the next one. With `OUTAGE` set, see [`outage`]. A ping is late from when it was due, not from when it could be sent.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures, and tells")]

mod load;
mod outage;
mod peers;
mod server;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use load::{Load, Measured};
use server::Server;

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
    show("journal on disk, synced", &mut Server::at(&disk)?, &load)?;
    show("journal in memory, no sync", &mut Server::at(Path::new("/dev/shm"))?, &load)?;
    loses_nothing(&disk, &load)
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    env::var(name).map_or(Ok(default), |text| {
        text.parse().with_context(|| format!("{name}={text} is no number"))
    })
}

/// A line of the table.
fn show(name: &str, server: &mut Server, load: &Load) -> Result<()> {
    let before = server.cpu()?;
    let Measured { mut took, acknowledged, refused, refusal } = load.put_on(server.address)?;
    let cpu = server.cpu()? - before;
    took.sort_unstable();
    let at = |share: f64| {
        let place = (took.len() as f64 * share) as usize;
        took.get(place.min(took.len() - 1)).map_or(0.0, |it| it.as_secs_f64() * 1e3)
    };
    println!(
        "{name:<34}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>12.1}{:>10}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        cpu.as_secs_f64() * 1e6 / took.len() as f64,
        server.memory_mib()?,
    );
    ensure!(
        refused == 0,
        "{refused} of {} were refused: {}",
        refused + acknowledged.len(),
        refusal.unwrap_or_default()
    );
    Ok(())
}

/// SIGKILL in the middle, and every ping that was acknowledged is known to the next process.
fn loses_nothing(disk: &Path, load: &Load) -> Result<()> {
    let (mut server, half) = (Server::at(disk)?, load.time / 2);
    let Measured { acknowledged, .. } = load.put_on_and_kill(&mut server, half)?;
    server.start_again()?;
    let lost = load::missing(server.address, &acknowledged, load.connections)?;
    println!(
        "\nkilled after {:.1} s: {} pings acknowledged, {lost} unknown to the next process",
        half.as_secs_f64(),
        acknowledged.len()
    );
    ensure!(lost == 0, "acknowledged pings were lost");
    Ok(())
}

//! `tollbridge replay`: recorded decisions made again, on what they were made on or on what is to come.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use anyhow::{Context, anyhow};
use tollbridge::cdr::store::sqlite::SqliteStore;
use tollbridge::cdr::store::{LastDecisions, Revisions as _};
use tollbridge::config::Config;
use tollbridge::routing::RoutingSnapshot;
use tollbridge::routing::comparison::Comparison;
use tollbridge::routing::replay::{DecisionRecord, Difference, replay};
use tollbridge::routing::revision::compile;
use tollbridge::server;

use super::Failure;

/// Differences that are shown.
const SHOWN_MAX: u32 = 20;

/// Prints what comes out differently. On the recorded configurations that is a fault, and an error.
pub(crate) fn run(config: &Config, last: u32, against: bool) -> Result<(), Failure> {
    let path = server::accounting::book_path(&config.settings);
    if !path.is_file() {
        let at = path.display();
        return Err(anyhow!("there are no call records at {at}; see store.dir").into());
    }
    let candidate = match against {
        true => Some(server::compile(config, 0)?.routing),
        false => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let opening = "opening the call records";
    let store = runtime.block_on(SqliteStore::look(&path)).context(opening)?;
    let told = match candidate {
        Some(candidate) => runtime.block_on(compare(&store, last, &candidate)),
        None => runtime.block_on(check(&store, last)),
    };
    runtime.block_on(store.close()).context("closing the call records")?;
    told
}

/// Each on the configuration it was made on.
async fn check(store: &SqliteStore, last: u32) -> Result<(), Failure> {
    let mut snapshots = BTreeMap::new();
    let (mut calls, mut different, mut unknown) = (0, 0, 0);
    let mut out = io::stdout().lock();
    for record in records(store, last).await? {
        calls += 1;
        let revision = record.decision.revision;
        let snapshot = match snapshots.entry(revision) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(match snapshot(store, revision).await {
                Ok(snapshot) => snapshot,
                Err(Failure::Other(error)) => {
                    writeln!(out, "{error:#}")?;
                    None
                }
                Err(failure) => return Err(failure),
            }),
        };
        let Some(snapshot) = snapshot else {
            unknown += 1;
            continue;
        };
        let Some(Difference { at, recorded, recomputed }) = replay(snapshot, &record).difference
        else {
            continue;
        };
        different += 1;
        if different <= SHOWN_MAX {
            let shown = |side: Option<String>| side.unwrap_or_else(|| String::from("nothing"));
            let (call, was, is) = (record.decision.call, shown(recorded), shown(recomputed));
            writeln!(out, "{call}: {at} was {was} and is {is}")?;
        }
    }
    writeln!(
        out,
        "{calls} decisions: {} the same, {different} different, {unknown} on a configuration that is \
         not on record or not understood",
        calls - different - unknown
    )?;
    match different {
        0 => Ok(()),
        _ => Err(anyhow!("{different} of {calls} decisions come out differently").into()),
    }
}

/// All on another configuration.
async fn compare(
    store: &SqliteStore,
    last: u32,
    candidate: &RoutingSnapshot,
) -> Result<(), Failure> {
    let mut comparison = Comparison::default();
    for record in records(store, last).await? {
        comparison.add(None, candidate, &record);
    }
    let Comparison { calls, moved, moved_first, repriced, refused_now, taken_now, .. } = comparison;
    let Comparison { revenue_delta, payout_delta, examples, .. } = comparison;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{calls} decisions: {moved_first} would go to another target first, {} to other targets or in \
         another order behind it, {repriced} on other terms, {refused_now} would be refused, \
         {taken_now} would no longer be refused",
        moved - moved_first
    )?;
    writeln!(
        out,
        "if every call converted with its first target: revenue {revenue_delta}, payout \
         {payout_delta} more"
    )?;
    for call in examples {
        writeln!(out, "  {call}")?;
    }
    Ok(())
}

async fn records(store: &SqliteStore, last: u32) -> Result<Vec<DecisionRecord>, Failure> {
    let reading = "reading the decisions (records of an older version have to be opened by a server of \
                   this one first)";
    let (mut pages, mut records) = (LastDecisions::new(store, last), vec![]);
    loop {
        let page = pages.page().await.context(reading)?;
        if page.is_empty() {
            return Ok(records);
        }
        for bytes in &page {
            records.push(DecisionRecord::from_bytes(bytes).context(reading)?);
        }
    }
}

async fn snapshot(store: &SqliteStore, revision: u64) -> Result<Option<RoutingSnapshot>, Failure> {
    let reading = || format!("reading revision {revision} of the configuration");
    let document = store.find(revision).await.with_context(reading)?;
    let snapshot = document.map(|document| compile(&document, revision)).transpose();
    Ok(snapshot.with_context(reading)?)
}

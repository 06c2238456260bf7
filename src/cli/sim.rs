//! `tollbridge sim`: the edge among scripted parties in virtual time, to be broken by whoever can.

use std::io::{self, Write};
use std::ops::Range;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use tollbridge::sim::{self, Course, Faults, Sabotage, Summary, Violation};

use super::Failure;

/// What is asked of the simulator.
#[derive(Debug, Args)]
pub(crate) struct SimOptions {
    /// The world to live; the first one, if there are more
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many worlds to live, from the seed on
    #[arg(long, value_name = "WORLDS", default_value_t = 1, conflicts_with = "seeds")]
    count: u64,
    /// The worlds to live, such as 1..2001
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "seed")]
    seeds: Option<Range<u64>>,
    /// How long new calls come in each world, in minutes of its time; ten a minute
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
    /// What goes wrong: all, none, or some of loss, dup, reorder, delay, disk, crash, store, clock
    #[arg(long, value_name = "LIST", default_value_t = Faults::ALL)]
    faults: Faults,
    /// Leave out all calls but these, by their numbers from 0
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    only: Option<Vec<usize>>,
    /// Breaks a rule on purpose, to see that it is noticed
    #[arg(long = "break", value_name = "RULE")]
    sabotage: Option<Sabotage>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl SimOptions {
    fn worlds(&self) -> Range<u64> {
        let from_seed = || self.seed..self.seed.saturating_add(self.count);
        self.seeds.clone().unwrap_or_else(from_seed)
    }

    fn course(&self) -> Course {
        Course {
            seed: self.worlds().start,
            minutes: self.minutes,
            faults: self.faults,
            only: self.only.clone(),
            sabotage: self.sabotage,
        }
    }
}

/// Lives the worlds and tells what came of them. Fails with the shortest ladder that shows a broken
/// rule.
pub(crate) fn run(options: &SimOptions) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = options.worlds();
    let first = seeds.start;
    match sim::run(&options.course(), seeds, threads) {
        Ok(summary) if options.json => {
            writeln!(io::stdout(), "{}", in_json(first, &summary))?;
            Ok(())
        }
        Ok(summary) => {
            write!(io::stdout(), "{}", in_words(&summary))?;
            Ok(())
        }
        Err(violation) => {
            if options.json {
                writeln!(io::stdout(), "{}", violation_in_json(&violation))?;
            }
            Err(anyhow!("{violation}").into())
        }
    }
}

fn in_json(first: u64, summary: &Summary) -> serde_json::Value {
    let Summary { worlds, tally, digest } = summary;
    let mut line = json!({ "seed": first, "worlds": worlds, "violations": 0 });
    line["digest"] = format!("{digest:016x}").into();
    if let (Some(line), Ok(serde_json::Value::Object(tally))) =
        (line.as_object_mut(), serde_json::to_value(tally))
    {
        line.extend(tally);
    }
    line
}

fn violation_in_json(violation: &Violation) -> serde_json::Value {
    json!({
        "seed": violation.found.seed,
        "violations": 1,
        "rule": violation.rule,
        "again": violation.course.to_string(),
        "ladder": violation.ladder.lines().collect::<Vec<_>>(),
    })
}

fn in_words(summary: &Summary) -> String {
    let Summary { worlds, tally, digest } = summary;
    let sim::Tally { calls, messages, answered, refused, cancelled, failed_over, .. } = tally;
    format!(
        "{worlds} worlds, {calls} calls, {messages} messages: no rule was broken\n\
         answered {answered}, refused {refused}, cancelled {cancelled}, failed over {failed_over}\n\
         digest {digest:016x}\n"
    )
}

/// `1..2001`
fn range(text: &str) -> Result<Range<u64>, String> {
    let bounds = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.trim().parse().ok()?..to.trim().parse().ok()?));
    bounds
        .filter(|range: &Range<u64>| !range.is_empty())
        .ok_or_else(|| String::from("write two seeds such as 1..2001, the second above the first"))
}

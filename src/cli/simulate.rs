//! `tollbridge simulate`: where a call would go on a configuration, without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use clap::Args;
use serde_json::json;
use smol_str::SmolStr;
use tollbridge::config::Config;
use tollbridge::id::{BuyerId, PoolId, TargetId, TrunkId};
use tollbridge::money::Money;
use tollbridge::phone::PhoneNumber;
use tollbridge::routing::counterfactual::{besides, counterfactuals};
use tollbridge::routing::course::Course;
use tollbridge::routing::hold::Bucket;
use tollbridge::routing::replay::DecisionRecord;
use tollbridge::routing::scorer::{Heard, millionths_of, questions};
use tollbridge::routing::simulate::{
    AskedCall, Assumed, AssumedSession, Assuming, Dialed, distribution, unmatched,
};
use tollbridge::routing::{Known, Rotation, RoutingSnapshot, Tags, Usage, decide};
use tollbridge::server::{self, Compiled};
use tollbridge::time::Wall;

use super::Failure;

/// The call that is thought of.
#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// The number that is called
    #[arg(
        long, value_name = "NUMBER", value_parser = PhoneNumber::from_text,
        required_unless_present_any = ["pool", "session_of"]
    )]
    dialed: Option<PhoneNumber>,
    /// A pool of whose numbers one is called
    #[arg(long, value_name = "POOL", conflicts_with = "dialed")]
    pool: Option<PoolId>,
    /// Assume a session behind the call, opened so many seconds ago
    #[arg(long, value_name = "SECONDS")]
    session_age: Option<u32>,
    /// What the ping of that session said, such as geo.state=OH; may be repeated. It is the call's if the
    /// number is a pool's, or if --caller says who calls
    #[arg(long = "session-tag", value_name = "TAG=VALUE", value_parser = pair)]
    session_tags: Vec<(String, String)>,
    /// Whose that session is, if not that of the number; without a number the call names the session by its
    /// address
    #[arg(long, value_name = "CAMPAIGN:PUBLISHER")]
    session_of: Option<String>,
    /// Who calls; nobody knows, if absent
    #[arg(long, value_name = "NUMBER", value_parser = PhoneNumber::from_text)]
    caller: Option<PhoneNumber>,
    /// The trunk it comes from
    #[arg(long, value_name = "TRUNK", default_value = "")]
    trunk: String,
    /// When it comes, such as 2026-03-17T15:04:12Z; now, if absent
    #[arg(long, value_name = "INSTANT")]
    at: Option<jiff::Timestamp>,
    /// What the trunk says of it, such as geo.state=OH; may be repeated
    #[arg(long = "tag", value_name = "TAG=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// How much of a cap is used, in calls, micros or milliseconds, such as
    /// target/tgt_summit/connected/daily=80; may be repeated. What is not named is unused
    #[arg(long = "used", value_name = "CAP=AMOUNT", value_parser = pair)]
    used: Vec<(String, String)>,
    /// A target that is not there; may be repeated
    #[arg(long = "down", value_name = "TARGET")]
    down: Vec<String>,
    /// A buyer whose targets take no call; may be repeated
    #[arg(long = "paused", value_name = "BUYER")]
    paused: Vec<BuyerId>,
    /// How much more a buyer may owe, such as buy_summit=100.00; may be repeated
    #[arg(long = "credit", value_name = "BUYER=AMOUNT", value_parser = pair)]
    credit: Vec<(String, String)>,
    /// How many agents are ready, such as target/tgt_summit/concurrency=3; may be repeated
    #[arg(long = "ready", value_name = "CONCURRENCY=COUNT", value_parser = pair)]
    ready: Vec<(String, String)>,
    /// What a scorer elsewhere says of a target, such as learned:first=0.31; may be repeated. Whoever
    /// is named so is not asked
    #[arg(long = "score", value_name = "SCORER:TARGET=SCORE", value_parser = pair)]
    scores: Vec<(String, String)>,
    /// Ask scorers elsewhere, as a server asks them about a call that comes; if absent, nobody is
    #[arg(long)]
    ask_scorers: bool,
    /// How many such calls are shared out
    #[arg(long, value_name = "CALLS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Names the calls; the same seed gives the same answer
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print the INVITE that the first target of the plan would be sent, too. Names are not looked up
    #[arg(long)]
    sip: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Prints what would be decided, and why.
pub(crate) fn run(config: &Config, options: &SimulateOptions) -> Result<(), Failure> {
    let compiled = server::compile(config, 0)?;
    let Compiled { routing: snapshot, scorers: peers, .. } = &compiled;
    let known_caps: BTreeSet<&str> = snapshot.cap_keys().collect();
    let mut used = BTreeMap::new();
    for (cap, amount) in &options.used {
        if !known_caps.contains(cap.as_str()) {
            let caps: Vec<_> = known_caps.iter().copied().collect();
            let caps = if caps.is_empty() { String::from("none") } else { caps.join(", ") };
            return Err(Failure::Argument(format!(
                "--used {cap}: there is no such cap; there are {caps}"
            )));
        }
        let parsed = amount.parse::<u64>();
        let amount =
            parsed.map_err(|error| Failure::Argument(format!("--used {cap}={amount}: {error}")))?;
        used.insert(SmolStr::new(cap), amount);
    }
    let mut down = BTreeSet::new();
    for target in &options.down {
        let id = TargetId::new(target);
        if snapshot.target(&id).is_none() {
            return Err(Failure::Argument(format!("--down {target}: there is no such target")));
        }
        down.insert(id);
    }
    for (buyer, left) in &options.credit {
        let wrong = |what: String| Failure::Argument(format!("--credit {buyer}={left}: {what}"));
        let amount = left.parse::<Money>().map_err(|error| wrong(format!("{error}")))?;
        let of_buyer = snapshot.credit_left(&BuyerId::new(buyer), amount);
        let none = || wrong(String::from("no buyer with a limit of credit is called so"));
        used.extend(of_buyer.ok_or_else(none)?);
    }
    let mut ready = BTreeMap::new();
    for (concurrency, count) in &options.ready {
        let wrong =
            |what: String| Failure::Argument(format!("--ready {concurrency}={count}: {what}"));
        if !concurrency.ends_with("/concurrency") || !known_caps.contains(concurrency.as_str()) {
            return Err(wrong(String::from("there is no such concurrency")));
        }
        let parsed = count.parse::<u32>().map_err(|error| wrong(format!("{error}")))?;
        ready.insert(SmolStr::new(concurrency), parsed);
    }
    let scores = assumed_scores(&options.scores, snapshot)?;
    let asked = options.asked()?;
    let (request, sessions) =
        asked.request(snapshot).map_err(|error| Failure::Argument(error.to_string()))?;
    let snapshot = snapshot.without_buyers(&options.paused(snapshot)?);
    let nothing_used = BTreeMap::<Bucket, Usage>::new();
    let mut assumed = Assumed { used, down, scores, ready, sessions: vec![] };
    let known = Known { sessions: &sessions, calls: &[] };
    let usage = Assuming { usage: &nothing_used, assumed: &assumed };
    let questions = questions(&snapshot, &request, known, &usage, &Rotation::default());
    let (left, mut heard) = assumed.left_to_ask(questions, options.ask_scorers);
    if !left.is_empty() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        heard.extend(runtime.block_on(server::ask_scorers(config, peers, left))?);
    }
    assumed.heed(&heard);
    let usage = Assuming { usage: &nothing_used, assumed: &assumed };
    let decision = decide(&snapshot, &request, known, &usage, &mut Rotation::default());
    let besides = besides(&snapshot, &request, &decision, &usage);
    let record = DecisionRecord { besides, ..DecisionRecord::new(&request, known, &decision) };
    let shares = distribution(&snapshot, &record, options.count, options.seed);
    let mut text = record.decision.explain_plan();
    let unmatched = unmatched(&request, &sessions, &decision);
    text.extend(unmatched.clone());
    let nobody = Course::default();
    text.extend(counterfactuals(&snapshot, &record, &nobody).iter().map(ToString::to_string));
    let mut out = io::stdout().lock();
    let refused = shares.refused.iter().map(|(reason, calls)| (reason.code(), calls));
    let preview = (options.json || options.sip)
        .then(|| server::sip_preview(config, &compiled, &record))
        .flatten();
    if options.json {
        let first: BTreeMap<_, _> = shares.first.iter().map(|(id, n)| (id.as_str(), n)).collect();
        let refused: BTreeMap<_, _> = refused.collect();
        let document = json!({
            "text": text, "session_unmatched": unmatched, "first": first, "refused": refused, "digest": record.digest.to_string(),
            "scorers": heard.iter().map(|it| (&it.scorer, it.outcome.name())).collect::<BTreeMap<_, _>>(),
            "sip_preview": preview,
            "latency_estimate": server::latency_estimate(&snapshot, &record),
        });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    for line in text {
        writeln!(out, "{line}")?;
    }
    if let Some(preview) = preview {
        write!(out, "{preview}")?;
    }
    for Heard { scorer, outcome, .. } in &heard {
        let why = outcome.why().map(|why| format!(": {why}")).unwrap_or_default();
        writeln!(out, "scorer {scorer}: {}{why}", outcome.name())?;
    }
    if options.count > 1 {
        for (target, calls) in &shares.first {
            writeln!(out, "{calls} of {} first to {target}", options.count)?;
        }
        for (reason, calls) in refused {
            writeln!(out, "{calls} of {} refused: {reason}", options.count)?;
        }
    }
    Ok(())
}

impl SimulateOptions {
    fn asked(&self) -> Result<AskedCall, Failure> {
        let whose = self.session_of.as_ref().map(|whose| {
            let both = whose.split_once(':');
            both.ok_or_else(|| {
                Failure::Argument(format!("--session-of {whose}: write it as CAMPAIGN:PUBLISHER"))
            })
        });
        let (campaign, publisher) = whose.transpose()?.unzip();
        let is_assumed =
            campaign.is_some() || self.session_age.is_some() || !self.session_tags.is_empty();
        let session = is_assumed.then(|| AssumedSession {
            campaign: campaign.map(Into::into),
            publisher: publisher.map(Into::into),
            tags: tags(&self.session_tags),
            enriched: Tags::new(),
            age_ms: self.session_age.unwrap_or(0).saturating_mul(1_000),
        });
        let at = self.at.unwrap_or_else(jiff::Timestamp::now);
        Ok(AskedCall {
            dialed: match (self.dialed, &self.pool) {
                (Some(number), _) => Dialed::Number(number),
                (None, Some(pool)) => Dialed::Pool(pool.clone()),
                (None, None) => Dialed::Assumed,
            },
            caller: self.caller,
            trunk: TrunkId::new(&self.trunk),
            at: Wall(at.as_millisecond()),
            tags: tags(&self.tags),
            session,
            seed: self.seed,
        })
    }

    fn paused(&self, snapshot: &RoutingSnapshot) -> Result<BTreeSet<BuyerId>, Failure> {
        for buyer in &self.paused {
            if !snapshot.buyers().iter().any(|it| it.id == *buyer) {
                return Err(Failure::Argument(format!("--paused {buyer}: there is no such buyer")));
            }
        }
        Ok(self.paused.iter().cloned().collect())
    }
}

fn tags(said: &[(String, String)]) -> Tags {
    said.iter().map(|(tag, value)| (tag.into(), value.into())).collect()
}

/// By scorer and target, in millionths.
fn assumed_scores(
    said: &[(String, String)],
    snapshot: &RoutingSnapshot,
) -> Result<BTreeMap<SmolStr, BTreeMap<TargetId, i64>>, Failure> {
    let asked: BTreeSet<&str> = snapshot.asked_scorers().map(SmolStr::as_str).collect();
    let mut scores = BTreeMap::<SmolStr, BTreeMap<TargetId, i64>>::new();
    for (name, score) in said {
        let wrong = |what: String| Failure::Argument(format!("--score {name}={score}: {what}"));
        let (scorer, target) = name
            .split_once(':')
            .ok_or_else(|| wrong(String::from("write it as SCORER:TARGET=SCORE")))?;
        if !asked.contains(scorer) {
            let asked: Vec<_> = asked.iter().copied().collect();
            let asked = if asked.is_empty() { String::from("none") } else { asked.join(", ") };
            let what = format!("no scorer that is asked is called {scorer}; there are {asked}");
            return Err(wrong(what));
        }
        let id = TargetId::new(target);
        if snapshot.target(&id).is_none() {
            return Err(wrong(format!("there is no target {target}")));
        }
        let millionths = score.parse().ok().and_then(millionths_of);
        let millionths =
            millionths.ok_or_else(|| wrong(String::from("a score is a number up to a billion")))?;
        scores.entry(scorer.into()).or_default().insert(id, millionths);
    }
    Ok(scores)
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

//! Events into streams of Redis, each once (spec/data §2.4, §2.5).
//!
//! Owns: the streams' names, what is offered to them at once, and what is offered again because Redis
//! may have lost it. Does not own: what an event says, and where reading goes on, which is the runner's.
//!
//! ```text
//! q:{p07}                          entries: id, type, content-type, event
//! off:{p07}:q:SHIPPER:JOURNAL      how far the stream has come with the facts of a journal
//! ```
//!
//! Invariants: an event is in its stream once, whatever is offered twice: entries and how far the
//! stream has come change in one script (`ship.lua`). A stream is offered one batch at a time, so none
//! is passed over. No entry is removed that a group of the stream has not acknowledged. What Redis had
//! taken and may have lost (it writes its file once a second, or a replica took over) is offered again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use redis::{Cmd, Pipeline, from_redis_value};

use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Work};
use crate::cdr::event::{Form, Teller};
use crate::cdr::journal::{Entry, Lsn};
use crate::server::holds::StoreFault;
use crate::server::holds::redis::{
    Address, Lane, LinkSettings, open, owners, send_together, slot_of,
};
use crate::server::metrics as names;

/// Streams of a prefix. Readers share them out among themselves.
const STREAMS: u32 = 64;
/// Entries of one script: nobody else is served while it runs.
const OFFERED_AT_ONCE: usize = 64;
/// Bytes that are under way to Redis.
const BYTES_AT_ONCE: usize = 1 << 20;
/// Places in the journal that are known by their time.
const MARKS_MAX: usize = 512;

const SCRIPT: &str = include_str!("ship.lua");

/// What a shipper to Redis is made of.
#[derive(Clone, Debug)]
pub(super) struct StreamPlan {
    pub(super) name: Arc<str>,
    pub(super) teller: Arc<Teller>,
    pub(super) form: Form,
    pub(super) link: LinkSettings,
    /// How long the answer to one batch may take.
    pub(super) timeout: Duration,
    pub(super) prefix: String,
    /// Told apart from what other shippers and journals put into the same streams.
    pub(super) source: String,
    pub(super) keep: Duration,
    pub(super) entries_max: u64,
    /// For how long what was shipped is offered again after something went wrong.
    pub(super) repeat: Duration,
}

/// Ships to Redis.
pub(super) struct Streams {
    plan: Arc<StreamPlan>,
    ways: Option<Ways>,
    /// What may be lost, and is offered before anything else.
    past: Vec<Facts>,
    recent: Recent,
}

/// Connections to all that have one of the streams.
struct Ways {
    lanes: BTreeMap<Address, Lane>,
    /// By stream.
    owners: Vec<Address>,
    hash: String,
}

/// What one stream is offered.
#[derive(Default)]
struct Offer {
    entries: Vec<Offered>,
}

struct Offered {
    at: Lsn,
    id: String,
    kind: String,
    text: Vec<u8>,
}

/// Where the journal stood when.
#[derive(Debug, Default)]
struct Recent {
    /// Before the first fact that is known of.
    begin: Option<Lsn>,
    /// Milliseconds since the Unix epoch, not falling.
    marks: VecDeque<(i64, Lsn)>,
}

impl Streams {
    pub(super) fn new(plan: Arc<StreamPlan>) -> Self {
        Self { plan, ways: None, past: Vec::new(), recent: Recent::default() }
    }

    async fn ship(&mut self, facts: &Facts) -> Result<(), StoreFault> {
        if self.ways.is_none() {
            self.ways = Some(Ways::open(&self.plan).await?);
        }
        for past in std::mem::take(&mut self.past) {
            self.offer_all(&past).await?;
        }
        self.offer_all(facts).await?;
        self.recent.passed(facts);
        Ok(())
    }

    async fn offer_all(&self, facts: &Facts) -> Result<(), StoreFault> {
        let (mut offers, mut bytes) = (BTreeMap::<u32, Offer>::new(), 0);
        for entry in facts.iter() {
            let record = entry.fact.call.and_then(|call| facts.record(call));
            let Some(event) = self.plan.teller.tell(entry, record.map(|it| &**it)) else {
                continue;
            };
            let text = self.plan.form.write(&event);
            bytes += text.len();
            let offer = offers.entry(event.shard % STREAMS).or_default();
            let offered = Offered { at: entry.lsn, id: event.id, kind: event.r#type, text };
            offer.entries.push(offered);
            if offer.entries.len() >= OFFERED_AT_ONCE || bytes >= BYTES_AT_ONCE {
                self.offer(std::mem::take(&mut offers)).await?;
                bytes = 0;
            }
        }
        self.offer(offers).await
    }

    /// Offers each stream its batch, and waits until all are taken.
    async fn offer(&self, offers: BTreeMap<u32, Offer>) -> Result<(), StoreFault> {
        let ways = self.ways.as_ref().expect("they were opened before anything is offered");
        let mut by_owner: BTreeMap<&Address, Vec<(u32, Offer)>> = BTreeMap::new();
        for (stream, offer) in offers {
            let owner = &ways.owners[stream as usize];
            by_owner.entry(owner).or_default().push((stream, offer));
        }
        let plan = &*self.plan;
        for (owner, offers) in by_owner {
            let mut commands = Pipeline::new();
            for (stream, offer) in &offers {
                commands.add_command(offer.command(plan, &ways.hash, *stream));
            }
            let mut connection = ways.lanes[owner].connection();
            let answers = send_together(&mut connection, &commands, plan.timeout).await?;
            for ((stream, offer), answer) in offers.iter().zip(answers) {
                let key = plan.stream(*stream);
                let answer = answer.map_err(|fault| refused(&key, fault))?;
                let new: i64 = from_redis_value(answer)
                    .map_err(|error| StoreFault::Refused(format!("{key}: {error}")))?;
                let Ok(new) = u64::try_from(new) else { return Err(full(&key, plan)) };
                let repeated = offer.entries.len() as u64 - new;
                counter!(names::SHIPPER_EVENTS, "shipper" => plan.name.clone()).increment(new);
                counter!(names::SHIPPER_REPEATED, "shipper" => plan.name.clone())
                    .increment(repeated);
            }
        }
        Ok(())
    }
}

impl Consumer for Streams {
    fn recall(&mut self, facts: &Facts) {
        self.recent.passed(facts);
        self.past.push(facts.clone());
    }

    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(async move {
            match self.ship(facts).await {
                Ok(()) => Ok(Effects::default()),
                Err(fault) => {
                    counter!(names::SHIPPER_OUTAGES, "shipper" => self.plan.name.clone())
                        .increment(1);
                    Err(Fault::Outage(fault.to_string()))
                }
            }
        })
    }

    fn recall_after(&self) -> Option<Lsn> {
        self.recent.before(self.plan.repeat)
    }
}

impl StreamPlan {
    fn stream(&self, stream: u32) -> String {
        format!("{}:{}", self.prefix, tag(stream))
    }

    fn reached(&self, stream: u32) -> String {
        format!("off:{}:{}:{}", tag(stream), self.prefix, self.source)
    }
}

impl Offer {
    fn command(&self, plan: &StreamPlan, hash: &str, stream: u32) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(hash).arg(2).arg(plan.stream(stream)).arg(plan.reached(stream));
        command.arg(plan.entries_max);
        command.arg(u64::try_from(plan.keep.as_millis()).unwrap_or(u64::MAX));
        for Offered { at, id, kind, text } in &self.entries {
            command.arg(position(*at)).arg(id).arg(kind).arg(plan.form.media_type()).arg(&text[..]);
        }
        command
    }
}

impl Ways {
    async fn open(plan: &StreamPlan) -> Result<Self, StoreFault> {
        let slots: Vec<u16> = (0..STREAMS).map(|stream| slot_of(&tag(stream))).collect();
        let owners = owners(&plan.link, &slots).await?;
        let mut lanes = BTreeMap::new();
        let mut hash = String::new();
        for owner in &owners {
            if lanes.contains_key(owner) {
                continue;
            }
            let lane = open(owner, &plan.link).await?;
            let mut load = Pipeline::new();
            load.cmd("SCRIPT").arg("LOAD").arg(SCRIPT);
            let mut connection = lane.connection();
            let answers = send_together(&mut connection, &load, plan.timeout).await?;
            for answer in answers {
                hash = from_redis_value(answer?)
                    .map_err(|error| StoreFault::Refused(error.to_string()))?;
            }
            lanes.insert(owner.clone(), lane);
        }
        Ok(Self { lanes, owners, hash })
    }
}

impl Recent {
    fn passed(&mut self, facts: &Facts) {
        let Some((first, last)) = facts.iter().next().zip(facts.last()) else { return };
        self.passed_to(first, last);
    }

    fn passed_to(&mut self, first: &Entry, last: &Entry) {
        let before = Lsn { seq: first.lsn.seq.saturating_sub(1), ..first.lsn };
        self.begin.get_or_insert(before);
        let latest = self.marks.back().map_or(i64::MIN, |(at, _)| *at);
        self.marks.push_back((last.fact.at.wall_ms.max(latest), last.lsn));
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
    }

    /// Where the journal stood at least so long before its last fact. Where that is not known, the
    /// first place that is.
    fn before(&self, ago: Duration) -> Option<Lsn> {
        if ago.is_zero() {
            return None;
        }
        let (latest, _) = self.marks.back()?;
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        let early = self.marks.iter().rev().find(|(at, _)| *at <= latest.saturating_sub(ago));
        early.map(|(_, lsn)| *lsn).or(self.begin)
    }
}

/// In braces: what of a key its place in a cluster depends on.
fn tag(stream: u32) -> String {
    format!("{{p{stream:02}}}")
}

/// In the order of the journal, as a text: a number of Lua has not enough digits.
fn position(at: Lsn) -> String {
    format!("{:020}{:020}", at.epoch, at.seq)
}

fn refused(key: &str, fault: StoreFault) -> StoreFault {
    if let StoreFault::Refused(why) = fault {
        return StoreFault::Refused(format!("{key}: {why}"));
    }
    fault
}

fn full(key: &str, plan: &StreamPlan) -> StoreFault {
    let most = plan.entries_max;
    StoreFault::Refused(format!(
        "{key} has {most} entries, as many as it may: groups have to acknowledge them (XINFO GROUPS \
         {key} shows who is behind), or raise redis.entries_max"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::testing::Script;

    #[test]
    fn positions_are_ordered_as_texts() {
        let at = |epoch, seq| Lsn { epoch, seq };
        let ordered = [at(1, 9), at(1, 10), at(1, 1 << 60), at(2, 3), at(10, 1)];
        assert!(ordered.map(position).is_sorted());
        assert!(ordered.map(position).iter().all(|text| text.len() == 40));
    }

    #[test]
    fn keys_of_a_stream_are_in_one_slot() {
        for stream in 0..STREAMS {
            let tag = tag(stream);
            assert_eq!(slot_of(&format!("q:{tag}")), slot_of(&format!("off:{tag}:q:a:b")));
        }
        assert_eq!(tag(7), "{p07}");
    }

    #[test]
    fn what_is_offered_again_begins_where_the_journal_stood_then() {
        let script = Script::new().dial(1).answer_at(8_000).convert_at(98_000).end_at(99_500);
        let entries = script.entries();
        let mut recent = Recent::default();
        assert_eq!(recent.before(Duration::from_secs(10)), None);

        let mut stood = Vec::new();
        for entry in entries {
            recent.passed_to(entry, entry);
            stood.push(recent.before(Duration::from_secs(10)).unwrap().seq);
        }

        // Admitted at 0, decided and dialled at 7 ms, then at 8, 98 and 99.5 seconds.
        assert_eq!(stood, [0, 0, 0, 0, 4, 4]);
        assert_eq!(recent.before(Duration::ZERO), None);
    }
}

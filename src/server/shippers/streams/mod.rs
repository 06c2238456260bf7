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

mod recent;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use redis::{Cmd, Pipeline, from_redis_value};

use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Recall, Work};
use crate::cdr::event::{Form, Teller};
use crate::cdr::journal::Lsn;
use crate::server::metrics as names;
use crate::server::redis::{
    Address, Lane, LinkSettings, StoreFault, open, owners, send_all, slot_of,
};
use crate::time::Mono;

use recent::Recent;

/// Streams of a prefix. Readers share them out among themselves.
const STREAMS: u32 = 64;
/// Entries of one script: nobody else is served while it runs.
const OFFERED_AT_ONCE: usize = 64;
/// Bytes that are under way to Redis.
const BYTES_AT_ONCE: usize = 1 << 20;

const SCRIPT: &str = include_str!("ship.lua");

/// What a shipper to Redis is made of.
#[derive(Debug)]
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
    /// What was acknowledged so lately is offered again after something went wrong.
    pub(super) repeat: Duration,
    pub(super) clock: fn() -> Mono,
    /// Of this start of the journal: nothing of it is in a stream before this process ships.
    pub(super) epoch: u64,
    /// That was seen to be so.
    pub(super) is_looked_at: AtomicBool,
}

/// Ships to Redis.
pub(super) struct Streams {
    plan: Arc<StreamPlan>,
    ways: Option<Ways>,
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

impl Streams {
    pub(super) fn new(plan: Arc<StreamPlan>) -> Self {
        Self { plan, ways: None, recent: Recent::default() }
    }

    async fn ship(&mut self, facts: &Facts) -> Result<(), Fault> {
        let shipped = self.try_ship(facts).await;
        shipped.map_err(|fault| {
            counter!(names::SHIPPER_OUTAGES, "shipper" => self.plan.name.clone()).increment(1);
            Fault::Outage(fault.to_string())
        })
    }

    async fn try_ship(&mut self, facts: &Facts) -> Result<(), StoreFault> {
        if self.ways.is_none() {
            let ways = Ways::open(&self.plan).await?;
            if !self.plan.is_looked_at.load(Ordering::Relaxed) {
                ways.look(&self.plan).await?;
                self.plan.is_looked_at.store(true, Ordering::Relaxed);
            }
            self.ways = Some(ways);
        }
        self.offer_all(facts).await?;
        self.recent.acknowledged(facts, (self.plan.clock)(), self.plan.repeat);
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
            let answers = send_all(&mut connection, &commands, plan.timeout).await?;
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
    /// What may be lost is offered before anything else.
    fn recall<'a>(&'a mut self, facts: &'a Facts) -> Recall<'a> {
        Box::pin(self.ship(facts))
    }

    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(async move { self.ship(facts).await.map(|()| Effects::default()) })
    }

    fn recall_after(&self) -> Option<Lsn> {
        self.recent.begin().filter(|_| !self.plan.repeat.is_zero())
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
            let answers = send_all(&mut connection, &load, plan.timeout).await?;
            for answer in answers {
                hash = from_redis_value(answer?)
                    .map_err(|error| StoreFault::Refused(error.to_string()))?;
            }
            lanes.insert(owner.clone(), lane);
        }
        Ok(Self { lanes, owners, hash })
    }

    /// Looks whether streams have come further than the journal ever has: they would refuse its facts.
    async fn look(&self, plan: &StreamPlan) -> Result<(), StoreFault> {
        let begin = position(Lsn { epoch: plan.epoch, seq: 0 });
        for (address, lane) in &self.lanes {
            let theirs = (0..STREAMS).filter(|stream| self.owners[*stream as usize] == *address);
            let keys: Vec<String> = theirs.map(|stream| plan.reached(stream)).collect();
            let mut gets = Pipeline::new();
            for key in &keys {
                gets.cmd("GET").arg(key);
            }
            let mut connection = lane.connection();
            let answers = send_all(&mut connection, &gets, plan.timeout).await?;
            for (key, answer) in keys.iter().zip(answers) {
                let answer = answer.map_err(|fault| refused(key, fault))?;
                let has: Option<String> = from_redis_value(answer)
                    .map_err(|error| StoreFault::Refused(format!("{key}: {error}")))?;
                if has.is_some_and(|has| has >= begin) {
                    return Err(beyond(key));
                }
            }
        }
        Ok(())
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

fn beyond(key: &str) -> StoreFault {
    StoreFault::Refused(format!(
        "{key} is further than the journal has ever been: the data directory was restored from a copy. \
         Remove JOURNAL_ID from it and start the server again"
    ))
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
}

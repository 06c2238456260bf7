//! Events in topics of Kafka: librdkafka's cluster of mock brokers, or the brokers that
//! `TOLLBRIDGE_TEST_KAFKA` names, which have the topics `edge.facts` and `edge.pings`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::{PATIENCE, Told, each_is_told_once, metric, ping, pings_of, waits_for};
use crate::support::wait_for;
use crate::wire::program::Program;
use crate::wire::{Setup, Stage};

const PARTITIONS: i32 = 48;
const TOPICS: [&str; 2] = ["edge.facts", "edge.pings"];
const BROKERS: i32 = 3;

type Mock = MockCluster<'static, DefaultProducerContext>;

fn mock(partitions: i32) -> Mock {
    let mock = MockCluster::new(BROKERS).unwrap();
    for topic in TOPICS {
        mock.create_topic(topic, partitions, BROKERS).unwrap();
    }
    mock
}

fn stage(brokers: &str, more: &str) -> Stage {
    let brokers: Vec<String> = brokers.split(',').map(|it| format!("\"{it}\"")).collect();
    let shipper = format!(
        "[[shippers]]\nid = \"audit\"\nform = \"json\"\ncallers = {{ tell = \"nothing\" }}\n\n\
         [shippers.kafka]\nbrokers = [{}]\ndelivery_timeout_s = 3\n{more}\n",
        brokers.join(", ")
    );
    let setup = Setup { more: &shipper, ..Setup::default() };
    Stage::start(setup).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A failure shows how far the shipper is, and the server's log.
fn check(stage: &Stage, outcome: Result<()>) {
    if let Err(error) = outcome {
        let names = ["shipper_events_total", "shipper_outages_total", "consumer_lag_facts"];
        let shipper = names.map(|name| {
            let value = metric(stage.api, &format!("tollbridge_{name}"), "ship:audit");
            format!("{name} {value:?}")
        });
        panic!("{error:#}\n{}\nlog of the server:\n{}", shipper.join(", "), stage.log());
    }
}

/// After so long without an event a reader connects anew: librdkafka's consumer does not always go on with a
/// mock broker that was away.
const SILENCE: Duration = Duration::from_secs(8);

/// Reads all partitions along.
struct Reader {
    brokers: String,
    consumer: BaseConsumer,
    /// Where reading goes on, by topic and partition.
    next: BTreeMap<(&'static str, i32), Offset>,
    heard: Instant,
    told: Vec<Told>,
    /// How often an event came, by id.
    times: BTreeMap<String, usize>,
    /// Later than any event that was there before.
    since_ms: i64,
}

impl Reader {
    fn of(brokers: &str) -> Result<Self> {
        let all = TOPICS.into_iter().flat_map(|it| (0..PARTITIONS).map(move |n| (it, n)));
        let next = all.map(|place| (place, Offset::Beginning)).collect();
        let consumer = consumer(brokers, &next)?;
        let since_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let since_ms = i64::try_from(since_ms.as_millis())? - 1_000;
        let (brokers, heard) = (brokers.to_owned(), Instant::now());
        let (told, times) = (Vec::new(), BTreeMap::new());
        Ok(Self { brokers, consumer, next, heard, told, times, since_ms })
    }

    /// All events so far, each as it came first. One that comes again is the same.
    fn read(&mut self) -> Result<Vec<Told>> {
        if self.heard.elapsed() >= SILENCE {
            self.consumer = consumer(&self.brokers, &self.next)?;
            self.heard = Instant::now();
        }
        let give_up = Instant::now() + Duration::from_millis(300);
        while let Some(message) = self.consumer.poll(give_up - Instant::now()) {
            // Brokers that are away are no end of it.
            let Ok(message) = message else { continue };
            self.heard = Instant::now();
            for topic in TOPICS.into_iter().filter(|it| *it == message.topic()) {
                let next = Offset::Offset(message.offset() + 1);
                self.next.insert((topic, message.partition()), next);
            }
            let text =
                |bytes: Option<&[u8]>| bytes.map(|it| String::from_utf8_lossy(it).into_owned());
            let headers = message.headers().context("no headers")?;
            let mut fields = BTreeMap::new();
            for header in headers.iter() {
                fields.insert(header.key.to_owned(), text(header.value).unwrap_or_default());
            }
            let event: serde_json::Value =
                serde_json::from_slice(message.payload().unwrap_or(&[]))?;
            if event["at_ms"].as_i64().is_none_or(|at| at < self.since_ms) {
                continue;
            }
            let shard = event["shard"].as_i64().context("no shard")?;
            ensure!(text(message.key()) == Some(shard.to_string()), "the key is the shard");
            ensure!(i64::from(message.partition()) == shard % i64::from(PARTITIONS), "{event}");
            ensure!(fields["content-type"] == "application/json", "{fields:?}");
            let (id, kind) = (fields["id"].clone(), fields["type"].clone());
            let of_pings = kind.starts_with("ping.") || kind.starts_with("session.");
            ensure!(message.topic() == TOPICS[usize::from(of_pings)], "{kind}");
            let times = self.times.entry(id.clone()).or_default();
            *times += 1;
            if *times == 1 {
                self.told.push(Told { id, kind, event });
            } else {
                let first = self.told.iter().find(|it| it.id == id).context("it came before")?;
                ensure!(first.event == event, "it came as {event} and {}", first.event);
            }
            if Instant::now() >= give_up {
                break;
            }
        }
        Ok(self.told.clone())
    }

    fn repeats_nothing(&self) -> Result<()> {
        let repeated = self.times.values().filter(|times| **times > 1).count();
        ensure!(repeated == 0, "{repeated} came twice");
        Ok(())
    }
}

fn consumer(brokers: &str, next: &BTreeMap<(&str, i32), Offset>) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for ((topic, partition), offset) in next {
        all.add_partition_offset(topic, *partition, *offset)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn send(stage: &Stage, callers: std::ops::Range<u64>, pings: &mut BTreeSet<String>) -> Result<()> {
    for caller in callers {
        pings.insert(ping(stage.api, caller)?);
    }
    Ok(())
}

#[test]
fn calls_and_pings_come_to_their_topics_by_shard_and_in_order() {
    let named = std::env::var("TOLLBRIDGE_TEST_KAFKA").ok();
    let mock = named.is_none().then(|| mock(PARTITIONS));
    let brokers = named.unwrap_or_else(|| mock.as_ref().unwrap().bootstrap_servers());
    let mut reader = Reader::of(&brokers).unwrap();
    let stage = stage(&brokers, "");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        send(&stage, 16_145_550_000..16_145_550_100, &mut pings)?;
        stage.is_well("told")?;

        wait_for("the call to be told", PATIENCE, || {
            Ok(reader.read()?.iter().any(|it| it.kind == "call.ended").then_some(()))
        })?;
        let told = each_is_told_once(&pings, || reader.read())?;

        let of_call = told.iter().filter(|it| it.event["call_id"].is_string());
        let kinds: Vec<&str> = of_call.map(|it| it.kind.as_str()).collect();
        let expected =
            ["call.admitted", "route.decided", "attempt.started", "call.answered", "call.ended"];
        ensure!(kinds == expected, "{kinds:?}");
        reader.repeats_nothing()?;
        let shipped = metric(stage.api, "tollbridge_shipper_events_total", "ship:audit")?;
        ensure!(shipped >= 105.0, "{shipped}");
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn requests_that_fail_for_the_time_being_lose_nothing() {
    let mock = mock(PARTITIONS);
    let brokers = mock.bootstrap_servers();
    let mut reader = Reader::of(&brokers).unwrap();
    let stage = stage(&brokers, "");
    let mut play = || -> Result<()> {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR__TRANSPORT as LOST, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as FEW,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
            RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
        };
        let mut pings = BTreeSet::new();
        for (round, errors) in
            [&[MOVED, MOVED][..], &[FEW, LATE, FEW], &[LOST], &[LATE, LOST, MOVED]]
                .into_iter()
                .enumerate()
        {
            mock.request_errors(RDKafkaApiKey::Produce, errors);
            let first = 16_145_550_000 + round as u64 * 1_000;
            send(&stage, first..first + 50, &mut pings)?;
            if !errors.contains(&LOST) {
                each_is_told_once(&pings, || reader.read())?;
                // Only where a connection is lost nobody knows what became of a request.
                reader.repeats_nothing()?;
            }
        }

        each_is_told_once(&pings, || reader.read())?;
        let outages = metric(stage.api, "tollbridge_shipper_outages_total", "ship:audit")?;
        ensure!(outages == 0.0, "the producer tries again by itself, and {outages} times did not");
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn while_all_brokers_are_away_pings_and_calls_go_on_and_everything_comes_later() {
    let mock = mock(PARTITIONS);
    let brokers = mock.bootstrap_servers();
    let mut reader = Reader::of(&brokers).unwrap();
    let stage = stage(&brokers, "");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        send(&stage, 16_145_550_000..16_145_550_010, &mut pings)?;
        each_is_told_once(&pings, || reader.read())?;
        for broker in 1..=BROKERS {
            mock.broker_down(broker)?;
        }

        send(&stage, 16_145_551_000..16_145_551_050, &mut pings)?;
        stage.is_well("meanwhile")?;
        wait_for("the lag to show", PATIENCE, || {
            let lag = metric(stage.api, "tollbridge_consumer_lag_facts", "ship:audit")?;
            let outages = metric(stage.api, "tollbridge_shipper_outages_total", "ship:audit")?;
            Ok((lag >= 50.0 && outages >= 1.0).then_some(()))
        })?;

        for broker in 1..=BROKERS {
            mock.broker_up(broker)?;
        }
        each_is_told_once(&pings, || reader.read())?;
        wait_for("the lag to be gone", PATIENCE, || {
            let lag = metric(stage.api, "tollbridge_consumer_lag_facts", "ship:audit")?;
            Ok((lag == 0.0).then_some(()))
        })?;
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn a_full_queue_waits_for_what_is_under_way() {
    let mock = mock(PARTITIONS);
    for broker in 1..=BROKERS {
        mock.broker_round_trip_time(broker, Duration::from_millis(20)).unwrap();
    }
    let brokers = mock.bootstrap_servers();
    let mut reader = Reader::of(&brokers).unwrap();
    let stage = stage(&brokers, "queue_messages_max = 5");
    let mut play = || -> Result<()> {
        let mut pings = BTreeSet::new();
        send(&stage, 16_145_550_000..16_145_550_300, &mut pings)?;

        each_is_told_once(&pings, || reader.read())?;
        reader.repeats_nothing()?;
        let full = metric(stage.api, "tollbridge_shipper_queue_full_total", "ship:audit")?;
        ensure!(full >= 1.0, "the queue was never full");
        let outages = metric(stage.api, "tollbridge_shipper_outages_total", "ship:audit")?;
        ensure!(outages == 0.0, "{outages} outages");
        stage.is_clean()
    };
    let outcome = play();
    check(&stage, outcome);
}

#[test]
fn topics_with_too_few_partitions_are_said_and_nothing_is_shipped_past_them() {
    let mock = mock(4);
    let stage = stage(&mock.bootstrap_servers(), "");
    let play = || -> Result<()> {
        ping(stage.api, 16_145_550_000)?;
        wait_for("the shipper to say that it cannot", PATIENCE, || {
            let says = "the topic edge.facts has 4 partitions, and kafka.partitions is 48";
            Ok(waits_for(stage.api)?.unwrap_or_default().contains(says).then_some(()))
        })?;
        let shipped = metric(stage.api, "tollbridge_shipper_events_total", "ship:audit")?;
        ensure!(shipped == 0.0, "{shipped} were shipped");
        stage.is_clean()
    };
    check(&stage, play());
}

#[test]
fn after_a_kill_of_the_server_what_comes_again_has_the_same_ids() {
    let mock = mock(PARTITIONS);
    let brokers = mock.bootstrap_servers();
    let mut reader = Reader::of(&brokers).unwrap();
    let mut stage = stage(&brokers, "");
    let mut play = |stage: &mut Stage| -> Result<()> {
        let mut pings = BTreeSet::new();
        for round in 0..3 {
            let first = 16_145_550_000 + round * 1_000;
            send(stage, first..first + 60, &mut pings)?;
            wait_for("some to be told", PATIENCE, || {
                let told = pings_of(&reader.read()?);
                Ok(pings.iter().any(|ping| told.contains_key(ping)).then_some(()))
            })?;
            send(stage, first + 500..first + 520, &mut pings)?;
            stage.restart(Program::kill)?;
        }

        // A ping has one id, however often it is told of.
        each_is_told_once(&pings, || reader.read())?;
        Ok(())
    };
    let outcome = play(&mut stage);
    check(&stage, outcome);
}

//! Events into topics of Kafka, each at least once (spec/data §2.4).
//!
//! Owns: what librdkafka is told, which topic and partition an event goes to, and what is done when it
//! takes no more. Does not own: what an event says, and where reading goes on, which is the runner's.
//!
//! Invariants: facts count as shipped when brokers have acknowledged every event of them (`acks=all`).
//! A producer does not repeat and does not reorder (`enable.idempotence`); after a failure it is made
//! anew, and what was not known to be there is sent again under the same ids.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use crate::cdr::consumer::{Consumer, Effects, Facts, Fault, Work};
use crate::cdr::event::{Body, Event, Form, Teller};
use crate::config::KafkaSettings;
use crate::server::metrics as names;

/// How long brokers may take to say which topics there are.
const LOOK: Duration = Duration::from_secs(5);

/// What a shipper to Kafka is made of.
#[derive(Clone, Debug)]
pub(super) struct KafkaPlan {
    pub(super) name: Arc<str>,
    pub(super) teller: Arc<Teller>,
    pub(super) form: Form,
    pub(super) settings: KafkaSettings,
}

/// Ships to Kafka.
pub(super) struct Kafka {
    plan: Arc<KafkaPlan>,
    producer: Option<FutureProducer<Says>>,
}

/// Passes on what librdkafka says.
#[derive(Clone, Debug)]
struct Says {
    shipper: Arc<str>,
}

impl Kafka {
    pub(super) fn new(plan: Arc<KafkaPlan>) -> Self {
        Self { plan, producer: None }
    }

    async fn ship(&mut self, facts: &Facts) -> Result<(), Fault> {
        if self.producer.is_none() {
            self.producer = Some(open(&self.plan).await?);
        }
        let producer = self.producer.as_ref().expect("it was opened just now");
        let (mut under_way, mut count) = (VecDeque::new(), 0);
        for entry in facts.iter() {
            let record = entry.fact.call.and_then(|call| facts.record(call));
            let Some(event) = self.plan.teller.tell(entry, record.map(|it| &**it)) else {
                continue;
            };
            self.send(producer, &event, &mut under_way).await?;
            count += 1;
        }
        for delivery in under_way {
            arrive(delivery).await?;
        }
        let shipper = self.plan.name.clone();
        counter!(names::SHIPPER_EVENTS, "shipper" => shipper).increment(count);
        Ok(())
    }

    /// Where librdkafka takes no more, waits for what is under way.
    async fn send(
        &self,
        producer: &FutureProducer<Says>,
        event: &Event,
        under_way: &mut VecDeque<DeliveryFuture>,
    ) -> Result<(), Fault> {
        let KafkaPlan { settings, form, .. } = &*self.plan;
        let (key, value) = (event.shard.to_string(), form.write(event));
        let partition = event.shard % u32::from(settings.partitions);
        let mut record = FutureRecord::to(topic_of(event, settings))
            .partition(i32::try_from(partition).unwrap_or(i32::MAX))
            .timestamp(event.at_ms)
            .key(&key)
            .payload(&value)
            .headers(headers(event, *form));
        loop {
            match producer.send_result(record) {
                Ok(delivery) => {
                    under_way.push_back(delivery);
                    return Ok(());
                }
                Err((error, again)) if is_full(&error) => {
                    let Some(first) = under_way.pop_front() else { return Err(fault(&error)) };
                    let shipper = self.plan.name.clone();
                    counter!(names::SHIPPER_QUEUE_FULL, "shipper" => shipper).increment(1);
                    arrive(first).await?;
                    record = again;
                }
                Err((error, _)) => return Err(fault(&error)),
            }
        }
    }
}

impl Consumer for Kafka {
    fn work<'a>(&'a mut self, facts: &'a Facts) -> Work<'a> {
        Box::pin(async move {
            let shipped = self.ship(facts).await;
            if let Err(Fault::Outage(_)) = &shipped {
                let shipper = self.plan.name.clone();
                counter!(names::SHIPPER_OUTAGES, "shipper" => shipper).increment(1);
            }
            shipped.map(|()| Effects::default())
        })
    }
}

impl Drop for Kafka {
    /// A producer waits for its threads.
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}

impl ClientContext for Says {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let shipper = &*self.shipper;
        tracing::debug!(shipper, ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(shipper = &*self.shipper, %error, "Kafka: {reason}");
    }
}

/// What librdkafka is told.
pub(super) fn client_config(settings: &KafkaSettings, node: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    let ms = |time: Duration| time.as_millis().to_string();
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", format!("tollbridge-{node}"))
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "zstd")
        .set("linger.ms", ms(settings.linger))
        .set("delivery.timeout.ms", ms(settings.delivery_timeout))
        .set("queue.buffering.max.messages", settings.queue_messages_max.to_string())
        .set("socket.keepalive.enable", "true");
    let protocol = match (&settings.sasl, &settings.tls) {
        (None, None) => "plaintext",
        (None, Some(_)) => "ssl",
        (Some(_), None) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &settings.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.client_cert),
            ("ssl.key.location", &tls.client_key),
        ];
        for (property, file) in files {
            if let Some(file) = file {
                config.set(property, file.display().to_string());
            }
        }
    }
    if let Some(sasl) = &settings.sasl {
        config
            .set("sasl.mechanisms", sasl.mechanism.name())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.reveal());
    }
    config
}

/// A producer that reaches brokers with both topics.
async fn open(plan: &Arc<KafkaPlan>) -> Result<FutureProducer<Says>, Fault> {
    let plan = Arc::clone(plan);
    let opened = tokio::task::spawn_blocking(move || {
        let config = client_config(&plan.settings, plan.teller.node);
        let says = Says { shipper: Arc::clone(&plan.name) };
        let producer: FutureProducer<Says> =
            config.create_with_context(says).map_err(|error| fault(&error))?;
        // Asking for all of them makes none.
        let metadata = producer.client().fetch_metadata(None, LOOK);
        let metadata = metadata.map_err(|error| fault(&error))?;
        has_topics(&metadata, &plan.settings)?;
        Ok(producer)
    });
    opened.await.map_err(|error| Fault::Outage(error.to_string()))?
}

fn has_topics(metadata: &Metadata, settings: &KafkaSettings) -> Result<(), Fault> {
    let wanted = usize::from(settings.partitions);
    for name in [&settings.facts_topic, &settings.pings_topic] {
        let topic = metadata.topics().iter().find(|topic| topic.name() == name.as_str());
        let has = topic.map_or(0, |topic| topic.partitions().len());
        if has < wanted {
            return Err(Fault::Outage(format!(
                "the topic {name} has {has} partitions, and kafka.partitions is {wanted}: create it \
                 with so many, such as by `kafka-topics.sh --create --topic {name} --partitions \
                 {wanted}`, or lower kafka.partitions"
            )));
        }
    }
    Ok(())
}

fn topic_of<'a>(event: &Event, settings: &'a KafkaSettings) -> &'a str {
    match event.body {
        Some(
            Body::PingAccepted(_)
            | Body::SessionTouched(_)
            | Body::SessionReleased(_)
            | Body::SessionEnriched(_)
            | Body::SessionConsumed(_),
        ) => &settings.pings_topic,
        Some(
            Body::CallAdmitted(_)
            | Body::RouteDecided(_)
            | Body::AttemptStarted(_)
            | Body::AttemptFailed(_)
            | Body::AttemptEndedEarly(_)
            | Body::CallAnswered(_)
            | Body::CallTransferred(_)
            | Body::CallHandedOver(_)
            | Body::ConversionReached(_)
            | Body::CallEnded(_)
            | Body::CallOrphanClosed(_)
            | Body::CallRematched(_)
            | Body::BuyerDeposited(_)
            | Body::CapReset(_),
        )
        | None => &settings.facts_topic,
    }
}

fn headers(event: &Event, form: Form) -> OwnedHeaders {
    let texts = [("id", &*event.id), ("type", &*event.r#type), ("content-type", form.media_type())];
    texts.into_iter().fold(OwnedHeaders::new_with_capacity(texts.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

async fn arrive(delivery: DeliveryFuture) -> Result<(), Fault> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(fault(&error)),
        Err(_) => Err(Fault::Outage(String::from("the producer is gone"))),
    }
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// What is wrong with one event stops none of the others; anything else is a matter of brokers.
fn fault(error: &KafkaError) -> Fault {
    let code = error.rdkafka_error_code();
    let of_event = [RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::InvalidMessageSize];
    match code.filter(|code| of_event.contains(code)) {
        Some(_) => Fault::Permanent { class: "too_large", detail: error.to_string() },
        None => Fault::Outage(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> KafkaSettings {
        toml::from_str(&format!("brokers = [\"10.0.0.5:9092\", \"10.0.0.6:9092\"]\n{more}"))
            .unwrap()
    }

    #[test]
    fn every_event_is_acknowledged_by_all_and_repeated_by_none() {
        let config = client_config(&settings(""), 7);

        for (property, value) in [
            ("bootstrap.servers", "10.0.0.5:9092,10.0.0.6:9092"),
            ("client.id", "tollbridge-7"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("compression.type", "zstd"),
            ("linger.ms", "5"),
            ("delivery.timeout.ms", "120000"),
            ("security.protocol", "plaintext"),
        ] {
            assert_eq!(config.config_map().get(property).copied(), Some(value), "{property}");
        }
    }

    /// librdkafka takes them, which it does not of a mechanism or a protocol it was built without.
    #[test]
    fn every_way_to_be_known_to_brokers_is_one_that_librdkafka_has() {
        let tls = "[tls]\n";
        let sasl = |mechanism: &str| {
            format!(
                "[sasl]\nmechanism = \"{mechanism}\"\nusername = \"edge\"\npassword = \"a-secret\"\n"
            )
        };
        let ways = [
            (String::new(), "plaintext"),
            (tls.to_owned(), "ssl"),
            (sasl("SCRAM-SHA-256"), "sasl_plaintext"),
            (sasl("PLAIN") + tls, "sasl_ssl"),
            (sasl("SCRAM-SHA-512") + tls, "sasl_ssl"),
        ];
        for (way, protocol) in ways {
            let config = client_config(&settings(&way), 1);
            assert_eq!(config.config_map().get("security.protocol").copied(), Some(protocol));
            let made: Result<FutureProducer, _> = config.create();
            assert!(made.is_ok(), "{way}: {:?}", made.err());
        }
    }
}

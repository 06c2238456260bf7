//! Tells others of facts as events: consumers of the facts whose effects are elsewhere.
//!
//! Owns: what the configuration says of shippers, made ready ([`load`], [`posts`]), and where events go
//! ([`streams`], and `kafka` where it is built in). Does not own: what an event says (`cdr::event`), and how a consumer is run,
//! which waits while the other side is away. No call and no request waits for any of it.

mod identity;
#[cfg(feature = "kafka")]
mod kafka;
mod streams;

#[cfg(feature = "kafka")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};

use crate::cdr::consumer::Consumer;
use crate::cdr::event::{Callers, Form, Tags, Teller};
use crate::cdr::store::Answer;
#[cfg(feature = "kafka")]
use crate::config::KafkaSettings;
use crate::config::{CallerForm, Config, EventForm, ShipperSettings, StreamSettings};
#[cfg(feature = "kafka")]
use crate::sip::transport::{CertificateFiles, FileSpec, PeerSpec, TlsFault, client_config};

use super::clock;
use super::consumers::Post;
use super::error::{Faults, StartError};
use super::redis::{Address, LinkSettings, LinkTls};
use super::settings::{RedisFiles, tls_to_redis};

#[cfg(feature = "kafka")]
use kafka::{Kafka, KafkaPlan};
use streams::{StreamPlan, Streams};

/// Most facts that are shipped before it is written down that they are.
const PORTION_MAX: usize = 2_000;

/// How long facts gather before they are shipped.
const PACE: Duration = Duration::from_millis(200);

/// A shipper that is ready but for the name of the journal.
pub(super) struct Shipper {
    settings: ShipperSettings,
    to: Destination,
}

enum Destination {
    Redis {
        settings: StreamSettings,
        tls: Option<LinkTls>,
    },
    #[cfg(feature = "kafka")]
    Kafka(KafkaSettings),
}

/// Reads the files that shippers need.
///
/// # Errors
/// All that is wrong with them.
pub(super) fn load(config: &Config) -> Result<Vec<Shipper>, StartError> {
    let (mut faults, mut shippers) = (Faults::default(), Vec::new());
    for (place, settings) in config.settings.shippers.iter().enumerate() {
        let loaded = destination(config, &format!("shippers[{place}]"), settings);
        if let Some(Some(to)) = faults.keep(loaded)? {
            shippers.push(Shipper { settings: settings.clone(), to });
        }
    }
    faults.none()?;
    Ok(shippers)
}

/// The consumers that ship; none if none is configured. `epoch` is that of this start of the journal;
/// `chance` names it if it has no name.
///
/// # Errors
/// The name of the journal can be neither read nor written.
pub(super) fn posts(
    config: &Config,
    shippers: Vec<Shipper>,
    epoch: u64,
    chance: u128,
) -> Result<Vec<Post>, StartError> {
    if shippers.is_empty() {
        return Ok(Vec::new());
    }
    let settings = &config.settings;
    let journal =
        identity::journal_id(&settings.store.dir, chance).map_err(StartError::JournalId)?;
    let post = |Shipper { settings: shipper, to }: Shipper| {
        let name: Arc<str> = format!("ship:{}", shipper.id).into();
        let teller = Arc::new(Teller {
            journal: journal.clone(),
            node: settings.node.id,
            account: settings.account.id.as_str().into(),
            callers: callers(&shipper),
            tags: tags(&shipper.tags),
        });
        Post {
            name: Arc::clone(&name),
            portion: PORTION_MAX,
            reads_records: true,
            ordered_strict: to.keeps_no_gaps(),
            pace: PACE,
            open: to.open(name, teller, epoch, &shipper),
        }
    };
    Ok(shippers.into_iter().map(post).collect())
}

/// Makes a consumer.
type Open = Box<dyn Fn() -> Answer<'static, Box<dyn Consumer>> + Send + Sync>;

impl Destination {
    /// What it was once passed over for it never takes again: a fact that fails has to be waited for.
    fn keeps_no_gaps(&self) -> bool {
        match self {
            Self::Redis { .. } => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => false,
        }
    }

    fn open(
        self,
        name: Arc<str>,
        teller: Arc<Teller>,
        epoch: u64,
        shipper: &ShipperSettings,
    ) -> Open {
        let form = match shipper.form {
            EventForm::Protobuf => Form::Protobuf,
            EventForm::Json => Form::Json,
        };
        match self {
            Self::Redis { settings, tls } => {
                let urls = settings.urls.into_iter();
                let seeds = urls.map(|url| Address { host: url.host, port: url.port });
                let plan = Arc::new(StreamPlan {
                    name,
                    source: format!("{}:{}", shipper.id, teller.journal),
                    teller,
                    form,
                    link: LinkSettings {
                        seeds: seeds.collect(),
                        username: settings.username,
                        password: settings.password,
                        connect_timeout: settings.connect_timeout,
                        tls,
                    },
                    timeout: settings.timeout,
                    prefix: settings.prefix.to_string(),
                    keep: settings.keep,
                    entries_max: settings.entries_max,
                    repeat: settings.repeat,
                    clock: clock::mono,
                    epoch,
                    is_looked_at: AtomicBool::new(false),
                });
                Box::new(move || ready(Streams::new(Arc::clone(&plan))))
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(settings) => {
                let plan = Arc::new(KafkaPlan { name, teller, form, settings });
                Box::new(move || ready(Kafka::new(Arc::clone(&plan))))
            }
        }
    }
}

fn ready(consumer: impl Consumer + 'static) -> Answer<'static, Box<dyn Consumer>> {
    let consumer: Box<dyn Consumer> = Box::new(consumer);
    Box::pin(std::future::ready(Ok(consumer)))
}

/// `None`: the settings say nowhere, which was told.
fn destination(
    config: &Config,
    path: &str,
    shipper: &ShipperSettings,
) -> Result<Option<Destination>, StartError> {
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &shipper.kafka {
        check_files(config, path, kafka)?;
        return Ok(Some(Destination::Kafka(kafka.clone())));
    }
    let Some(redis) = &shipper.redis else { return Ok(None) };
    let files = RedisFiles {
        field: format_smolstr!("{path}.redis"),
        is_tls: redis.is_tls(),
        tls_name: redis.tls_name.as_ref(),
        extra_ca: redis.extra_ca.as_ref(),
        client_cert: redis.client_cert.as_ref(),
        client_key: redis.client_key.as_ref(),
    };
    let tls = tls_to_redis(config, &files)?;
    Ok(Some(Destination::Redis { settings: redis.clone(), tls }))
}

/// Reads the files of TLS to Kafka, which librdkafka reads again by itself.
///
/// # Errors
/// All that is wrong with them.
#[cfg(feature = "kafka")]
fn check_files(config: &Config, path: &str, kafka: &KafkaSettings) -> Result<(), StartError> {
    let Some(tls) = &kafka.tls else { return Ok(()) };
    let file = |path_of: &Option<PathBuf>, name: &str| {
        let field = format!("{path}.kafka.tls.{name}");
        path_of.clone().map(|path| FileSpec { path, field })
    };
    let (cert, key) = (file(&tls.client_cert, "client_cert"), file(&tls.client_key, "client_key"));
    let peer = PeerSpec {
        field: format!("{path}.kafka.tls"),
        names: vec![],
        sni: true,
        verify: true,
        extra_ca: file(&tls.ca, "ca"),
        pins: vec![],
        client_certificate: cert.zip(key).map(|(chain, key)| CertificateFiles { chain, key }),
    };
    let told = |it: TlsFault| (it.field, it.value, it.problem, it.remedy.to_owned());
    let loaded = client_config(&peer);
    loaded.map(drop).map_err(|faults| config.faults(faults.into_iter().map(told)).into())
}

fn callers(shipper: &ShipperSettings) -> Callers {
    match (shipper.callers.tell, &shipper.callers.key) {
        (CallerForm::Number, _) => Callers::Numbers,
        (CallerForm::Hash, Some(key)) => Callers::hashed_with(key.reveal().as_bytes()),
        (CallerForm::Hash, None) | (CallerForm::Nothing, _) => Callers::Nothing,
    }
}

fn tags(names: &[SmolStr]) -> Tags {
    if names.iter().any(|name| name == "*") { Tags::All } else { Tags::Named(names.to_vec()) }
}

//! `tollbridge demo`: a server on loopback, a carrier that calls it, three advertisers that take
//! the calls, and the story of each call.
//!
//! Everything goes over real sockets: the calls over UDP, the ping and the records over HTTP. The
//! agents know nothing of the server but its addresses.
//!
//! ```text
//! script ─► carrier ──UDP──► server ──UDP──► advertiser
//!              └────► tape (ladder) ◄────────────┘
//!           report ──HTTP──► server
//! ```

mod advertiser;
mod carrier;
mod ladder;
mod paint;
mod phone;
mod report;
mod script;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tollbridge::config::{Config, ConfigError, Format};
use tollbridge::server::Server;

use super::stop::StopSignals;
use super::{Failure, logging};

use advertiser::Advertiser;
use carrier::{Behaviour, Heard};
use ladder::Tape;
use paint::Paint;
use report::{Api, Pinged, Told, Totals, entry};
use script::{ACTS, CHANGES, CONFIGURATION, CONFIGURATION_NAME, Dialed, ROLES, Scene};

/// What `tollbridge demo` was asked for.
#[derive(Debug)]
pub(crate) struct DemoOptions {
    /// End after the calls.
    pub(crate) once: bool,
    /// Print one JSON document and nothing else.
    pub(crate) json: bool,
    /// Absent: free ports.
    pub(crate) sip: Option<SocketAddr>,
    pub(crate) api: Option<SocketAddr>,
    /// Absent: a temporary folder.
    pub(crate) data: Option<PathBuf>,
}

/// Key of the sample configuration.
const KEY: &str = "demo";

/// Calls that are still up at the end get this long.
const GRACE: Duration = Duration::from_secs(1);

pub(crate) fn run(options: DemoOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(demo(options))
}

async fn demo(options: DemoOptions) -> Result<(), Failure> {
    let tape = Tape::new();
    let mut advertisers = JoinSet::new();
    let mut addresses = Vec::new();
    for role in &ROLES {
        let advertiser = Advertiser::new(role.name, role.manner, tape.clone()).await?;
        addresses.push(advertiser.address());
        advertisers.spawn(advertiser.run());
    }
    let data = DataDir::new(options.data.clone())?;
    let config = configuration(&options, &addresses, data.path())?;
    logging::start(&config)?;
    let server = Server::start(config).await?;
    let mut signals = StopSignals::new().context("failed to listen for signals")?;
    let (_, sip) = server.sip_addresses().first().context("the server listens for no SIP")?;
    let stage = Stage {
        sip: *sip,
        api: Api::new(server.api_address(), KEY),
        tape,
        voice: Voice { paint: Paint::for_stdout(), silent: options.json },
    };

    stage.introduce(&server, &addresses)?;
    let played = tokio::select! {
        played = stage.play() => Some(played),
        _ = signals.next() => None,
    };
    let outcome = match played {
        Some(Ok(totals)) => {
            if options.json {
                let json = serde_json::to_string(&totals).context("failed to write JSON")?;
                writeln!(io::stdout(), "{json}")?;
            }
            stage.conclude(&totals)?;
            if !options.once {
                stage.invite_to_try(&server, data.path())?;
                signals.next().await;
            }
            if totals.is_good() {
                Ok(())
            } else {
                Err(anyhow!("the calls did not come out as they have to: {totals:?}"))
            }
        }
        Some(Err(error)) => Err(error),
        None => Err(anyhow!("interrupted before the last call")),
    };
    server.drain_and_stop(GRACE).await;
    outcome.map_err(Failure::from)
}

/// The sample business, with the targets where our advertisers are.
fn configuration(
    options: &DemoOptions,
    advertisers: &[SocketAddr],
    data: &Path,
) -> Result<Config, ConfigError> {
    let mut sets: Vec<String> = CHANGES.map(str::to_owned).into();
    for (role, address) in ROLES.iter().zip(advertisers) {
        sets.push(format!("targets.{}.dial.uri=sip:{address}", role.target));
    }
    sets.push(match options.sip {
        Some(address) => format!("sip.listen=[\"udp:{address}\", \"tcp:{address}\"]"),
        None => String::from("sip.listen=[\"udp:127.0.0.1:0\"]"),
    });
    let api = options.api.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    sets.push(format!("api.listen={api}"));
    sets.push(format!("store.dir={}", data.display()));
    // The story is told on standard output; the log only disturbs, unless somebody wants it.
    if std::env::var_os("TOLLBRIDGE_LOG__FILTER").is_none() {
        sets.push(String::from("log.filter=warn"));
    }
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::parse(CONFIGURATION_NAME, CONFIGURATION, Format::Toml, env, &sets)
}

/// Where the calls are played.
struct Stage {
    sip: SocketAddr,
    api: Api,
    tape: Tape,
    voice: Voice,
}

impl Stage {
    /// Plays every act and tells it, and counts what came of it.
    async fn play(&self) -> anyhow::Result<Totals> {
        let mut totals = Totals::default();
        let mut number = 0;
        for act in ACTS {
            for (scene, pinged, heard) in self.perform(act).await? {
                number += 1;
                let mut records = Vec::new();
                for call in self.api.calls_of(scene.caller).await? {
                    let explanation = self.api.explanation(&call).await?;
                    records.push(Told { call, explanation });
                }
                totals.count(&records, is_as_foretold(scene, heard, &records));
                self.tell(number, scene, pinged.as_ref(), heard, &records)?;
            }
        }
        Ok(totals)
    }

    /// Places the calls of an act: one, or two of which the second begins when the first is
    /// answered.
    async fn perform<'s>(
        &self,
        act: &'s [Scene],
    ) -> anyhow::Result<Vec<(&'s Scene, Option<Pinged>, Heard)>> {
        let (answered, is_answered) = oneshot::channel();
        match act {
            [scene] => {
                let (pinged, heard) = self.place(scene, answered).await?;
                Ok(vec![(scene, pinged, heard)])
            }
            [first, second] => {
                let other = async {
                    // If nobody answers, the second call is made all the same.
                    let _ = is_answered.await;
                    self.place(second, oneshot::channel().0).await
                };
                let (one, two) = tokio::try_join!(self.place(first, answered), other)?;
                Ok(vec![(first, one.0, one.1), (second, two.0, two.1)])
            }
            _ => Err(anyhow!("an act has one call or two")),
        }
    }

    async fn place(
        &self,
        scene: &Scene,
        answered: oneshot::Sender<()>,
    ) -> anyhow::Result<(Option<Pinged>, Heard)> {
        let (dialed, pinged) = match scene.dialed {
            Dialed::Number(number) => (number.to_owned(), None),
            Dialed::FromPing => {
                let pinged = self.api.ping(&script::ping(scene.caller)).await?;
                let number = pinged.number.clone().context("the ping was lent no number")?;
                (number, Some(pinged))
            }
        };
        let behaviour = Behaviour {
            caller: scene.caller.to_owned(),
            dialed,
            patience: scene.patience,
            talk: scene.talk,
        };
        let heard = carrier::call(self.sip, behaviour, answered, self.tape.clone()).await?;
        Ok((pinged, heard))
    }

    fn introduce(&self, server: &Server, advertisers: &[SocketAddr]) -> io::Result<()> {
        let (voice, paint) = (&self.voice, self.voice.paint);
        voice.say("")?;
        voice.say(&paint.bold("A morning at Harbor Call Exchange, on this machine alone"))?;
        voice.say("")?;
        voice.tell(
            "Publishers advertise telephone numbers; people call them. A carrier hands the calls \
             to Tollbridge, which decides for each which buyer's target gets it, bridges the two, \
             goes on to the next target if one fails, and writes down what everybody owes.",
        )?;
        voice.say("")?;
        voice.say(&format!("  {:<17}{:<24}{}", "carrier", "", "+1614555… call in from here"))?;
        let api = format!("http://{}", server.api_address());
        voice.say(&format!("  {:<17}{:<24}{api}", "tollbridge", format!("sip:{}", self.sip)))?;
        for (role, address) in ROLES.iter().zip(advertisers) {
            let uri = format!("sip:{address}");
            voice.say(&format!("  {:<17}{uri:<24}{}", role.name, role.about))?;
        }
        Ok(())
    }

    /// Title, ladder, decision, record, money.
    fn tell(
        &self,
        number: usize,
        scene: &Scene,
        pinged: Option<&Pinged>,
        heard: Heard,
        records: &[Told],
    ) -> io::Result<()> {
        let (voice, paint) = (&self.voice, self.voice.paint);
        voice.say("")?;
        voice.say(&paint.bold(&format!("{number}  {}", scene.title)))?;
        voice.tell(scene.about)?;
        voice.say("")?;
        for row in ladder::draw(&self.tape.of(scene.caller), paint) {
            voice.say(&row)?;
        }
        voice.say("")?;
        if let Some(Pinged { ping_id, session_id, number }) = pinged {
            let number = number.as_deref().unwrap_or("no number");
            let text = format!("{ping_id}: {number} lent to {session_id}");
            voice.entry("Ping", &text)?;
        }
        for line in records.iter().flat_map(|told| told.lines(paint)) {
            voice.say(&line)?;
        }
        if !is_as_foretold(scene, heard, records) {
            let text = format!(
                "not as foretold: the carrier heard {}, and there are {} records; wanted {:?}",
                heard.status,
                records.len(),
                scene.expect
            );
            voice.entry("Note", &paint.bad(&text))?;
        }
        Ok(())
    }

    fn conclude(&self, totals: &Totals) -> io::Result<()> {
        let (voice, paint) = (&self.voice, self.voice.paint);
        let Totals { calls, answered, failed_over, cdrs, unexplained, converted, .. } = totals;
        voice.say("")?;
        voice.say(
            &paint.bold(&format!("{calls} calls, {cdrs} records, {unexplained} unexplained")),
        )?;
        voice.say(&format!(
            "  {answered} answered, {failed_over} after a failed attempt; {converted} converted"
        ))?;
        voice.say(&format!(
            "  buyers owe {}, publishers earn {}, {} stay here",
            totals.revenue, totals.payout, totals.margin
        ))
    }

    fn invite_to_try(&self, server: &Server, data: &Path) -> io::Result<()> {
        let (voice, paint) = (&self.voice, self.voice.paint);
        let api = format!("http://{}", server.api_address());
        let curl = format!("curl -s -H 'Authorization: Bearer {KEY}'");
        let sip = self.sip;
        let program = std::env::args().next().unwrap_or_else(|| String::from("tollbridge"));
        voice.say("")?;
        voice.say(&paint.bold("The server and the advertisers stay up until Ctrl-C. Try:"))?;
        for command in [
            format!("{curl} '{api}/v1/calls?outcome=converted'"),
            format!("{curl} {api}/v1/calls/CALL_ID/explain"),
            format!("{curl} -X POST {api}/v1/pings --json '{{\"pool\": \"pool_hvac\"}}'"),
            format!("{curl} {api}/metrics"),
            format!("{curl} {api}/openapi.json"),
            format!("curl -s {api}/readyz"),
            format!("{program} journal inspect {}", data.display()),
            format!("sipp -sn uac -s +18005550199 -m 1 {sip}"),
        ] {
            voice.say(&format!("  {command}"))?;
        }
        Ok(())
    }
}

/// Whether the carrier and the records say what had to come.
fn is_as_foretold(scene: &Scene, heard: Heard, records: &[Told]) -> bool {
    let expect = &scene.expect;
    records.iter().all(|Told { call, .. }| {
        let tried = call.attempts.iter().map(|attempt| attempt.target.as_str());
        call.outcome == expect.outcome
            && call.money.revenue.to_string() == expect.revenue
            && tried.eq(expect.tried.iter().copied())
    }) && heard.status == expect.status
}

/// Prints the story.
struct Voice {
    paint: Paint,
    silent: bool,
}

/// Columns of running text.
const TEXT_WIDTH: usize = 92;

impl Voice {
    fn say(&self, line: &str) -> io::Result<()> {
        if self.silent { Ok(()) } else { writeln!(io::stdout(), "{line}") }
    }

    /// Running text, broken into lines.
    fn tell(&self, text: &str) -> io::Result<()> {
        paint::wrap(text, TEXT_WIDTH).iter().try_for_each(|line| self.say(&format!("  {line}")))
    }

    fn entry(&self, label: &str, text: &str) -> io::Result<()> {
        entry(label, text, self.paint).iter().try_for_each(|line| self.say(line))
    }
}

/// Where the demonstration keeps its journal and records.
enum DataDir {
    Kept(PathBuf),
    /// Removed when dropped.
    Temporary(PathBuf),
}

impl DataDir {
    fn new(kept: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = kept {
            return Ok(Self::Kept(path));
        }
        let name = format!("tollbridge-demo-{}-{}", std::process::id(), phone::token());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Self::Temporary(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Temporary(path) => path,
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Self::Temporary(path) = self {
            // What cannot be removed, the system's own clean-up will find.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

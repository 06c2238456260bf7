//! baresip as a telephone that does what it is told: without sound, controlled over TCP.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::authority::{Authority, Issued};
use super::software::Software;
use super::wait_for;
use super::wire::{Direction, Message};

/// Ports of one telephone: SIP over UDP and TCP, SIP over TLS, control, and some for sound.
pub(crate) const PORTS: u16 = 10;

/// What may be waited for at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lowest port of sockets that were given none; those of the tests are all below.
const EPHEMERAL: u16 = 32_768;

/// A telephone that is switched on.
pub(crate) struct Phone {
    process: Software,
    control: TcpStream,
    /// Received of the control connection, but not read yet.
    buffer: Vec<u8>,
    events: VecDeque<Event>,
    name: String,
    /// Where it is called over UDP and TCP, and over TLS.
    plain: SocketAddr,
    tls: SocketAddr,
}

/// What the telephone tells of itself; an answer to a command has no type.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    r#type: String,
    param: String,
}

impl Phone {
    /// A telephone of this user, with the first of [`PORTS`] ports. Over TLS it shows a certificate
    /// of `authority`, the only one it trusts.
    pub(crate) fn start(
        user: &str,
        ports: u16,
        authority: &Authority,
        work: &Path,
    ) -> Result<Self> {
        let at = |n| SocketAddr::from((Ipv4Addr::LOCALHOST, ports + n));
        let (plain, tls, control) = (at(0), at(1), at(2));
        let name = format!("phone-{user}");
        let folder = work.join(&name);
        fs::create_dir_all(&folder)?;
        let Issued { chain, key } = authority.issue(&[&name, "127.0.0.1"]);
        let pair = folder.join("pair.pem");
        fs::write(&pair, fs::read_to_string(chain)? + &fs::read_to_string(key)?)?;
        let config = format!(
            "sip_listen {plain}\n\
             sip_certificate {}\n\
             sip_cafile {}\n\
             net_interface 127.0.0.1\n\
             rtp_ports {}-{}\n\
             module_path {}\n\
             module g711.so\n\
             module_tmp account.so\n\
             module_app menu.so\n\
             module_app ctrl_tcp.so\n\
             ctrl_tcp_listen {control}\n",
            pair.display(),
            authority.file.display(),
            ports + 4,
            ports + PORTS - 1,
            modules()?,
        );
        fs::write(folder.join("config"), config)?;
        fs::write(folder.join("accounts"), format!("<sip:{user}@127.0.0.1>;regint=0\n"))?;
        let arguments = ["-s", "-f", &folder.display().to_string()].map(str::to_owned);
        let log = folder.join("log");
        let mut process = Software::start("baresip", "baresip-core", arguments, &log)?;
        let control = wait_for(&format!("control of {name}"), PATIENCE, || {
            process.is_running()?;
            Ok(TcpStream::connect(control).ok())
        })?;
        let (buffer, events) = (vec![], VecDeque::new());
        Ok(Self { process, control, buffer, events, name, plain, tls })
    }

    /// Calls somebody.
    pub(crate) fn dial(&mut self, uri: &str) -> Result<()> {
        self.command("dial", uri)
    }

    /// `accept`, `hangup` (also of a call that is refused), `hold`, `resume`.
    pub(crate) fn press(&mut self, key: &str) -> Result<()> {
        self.command(key, "")
    }

    fn command(&mut self, command: &str, params: &str) -> Result<()> {
        let text = serde_json::json!({ "command": command, "params": params }).to_string();
        // A netstring.
        write!(self.control, "{}:{text},", text.len()).with_context(|| self.name.clone())
    }

    /// Waits for an event, as its type and the beginning of what it says; others are passed over,
    /// but for an end of the call.
    pub(crate) fn until(&mut self, event: &str) -> Result<String> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let found = self.event(left)?;
            let Some(Event { r#type, param }) = found else {
                bail!("{}: no {event} came; log:\n{}", self.name, self.process.log());
            };
            let found = format!("{type} {param}");
            if found.starts_with(event) {
                return Ok(param);
            }
            ensure!(!found.starts_with("CALL_CLOSED"), "{}: {found}, not {event}", self.name);
        }
    }

    /// The next event; `None` once nothing came for so long.
    fn event(&mut self, limit: Duration) -> Result<Option<Event>> {
        let give_up = Instant::now() + limit;
        loop {
            while let Some(event) = self.framed()? {
                self.events.push_back(event);
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.control.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut bytes = [0; 4096];
            match self.control.read(&mut bytes) {
                Ok(0) => bail!("{} closed its control connection", self.name),
                Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a netstring off the buffer.
    fn framed(&mut self) -> Result<Option<Event>> {
        let Some(colon) = self.buffer.iter().position(|byte| *byte == b':') else {
            return Ok(None);
        };
        let length: usize = std::str::from_utf8(&self.buffer[..colon])?.parse()?;
        let (first, last) = (colon + 1, colon + 1 + length);
        if self.buffer.len() <= last {
            return Ok(None);
        }
        let event = serde_json::from_slice(&self.buffer[first..last])?;
        self.buffer.drain(..=last);
        Ok(Some(event))
    }

    /// Switches it off; what it sent and received.
    pub(crate) fn leave(mut self) -> Result<Vec<Message>> {
        self.process.end()?;
        Ok(self.traced())
    }

    /// Its trace: a `#` in colour, `UDP from -> to`, the message, the end of the colour.
    fn traced(&self) -> Vec<Message> {
        let log = self.process.log();
        log.split("\u{1b}[36;1m#\n")
            .skip(1)
            .filter_map(|entry| {
                let (way, text) = entry.split("\u{1b}[;m").next()?.split_once('\n')?;
                let (from, to) = way.split_once(' ')?.1.split_once(" -> ")?;
                let (from, to): (SocketAddr, SocketAddr) = (from.parse().ok()?, to.parse().ok()?);
                let is_ours = |address| [self.plain, self.tls].contains(&address);
                // Only what opened a connection has a port that nobody chose.
                let is_received = is_ours(to) || (!is_ours(from) && from.port() < EPHEMERAL);
                let direction = if is_received { Direction::Received } else { Direction::Sent };
                Some(Message { direction, text: text.to_owned() })
            })
            .collect()
    }
}

/// Where Debian keeps the modules, or who installed it by hand.
fn modules() -> Result<String> {
    let places = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    found.map(str::to_owned).context("baresip is not installed: apt-get install baresip-core")
}

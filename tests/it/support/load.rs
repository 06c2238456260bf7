//! A load with a memory: plays a carrier and an advertiser over UDP and a publisher over HTTP, and
//! keeps a list of what the server has acknowledged to them. That list is what must be found again
//! after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::api;
use super::wire::{Direction, Message};

/// What to play.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Makes the identifiers of this load unlike those of any other.
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) server: SocketAddr,
    pub(crate) api: SocketAddr,
    /// Where the carrier and the advertiser listen, on 127.0.0.1.
    pub(crate) carrier_port: u16,
    pub(crate) advertiser_port: u16,
    /// Dialled in turn.
    pub(crate) numbers: Vec<&'static str>,
    pub(crate) calls_per_second: u32,
    pub(crate) pings_per_second: u32,
    /// Talk time is drawn from this range.
    pub(crate) talk: (Duration, Duration),
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Call-ID and dialled number of each call whose 200 reached the carrier.
    pub(crate) answered: BTreeMap<String, &'static str>,
    /// Call-IDs whose BYE was answered with 200.
    pub(crate) ended: BTreeSet<String>,
    /// Ids of pings that were answered with 202.
    pub(crate) pings: Vec<String>,
    /// INVITEs sent.
    pub(crate) offered: u64,
    /// Those that were refused, by the dialled number.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// The most calls to each number that were up at once: from the 200 to the BYE.
    pub(crate) up_max: BTreeMap<&'static str, usize>,
}

/// A load that is running on threads of its own.
pub(crate) struct Load {
    calm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    signaling: JoinHandle<Result<Ledger>>,
    pinging: JoinHandle<Vec<String>>,
}

impl Load {
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let (calm, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut players = Players::new(plan.clone())?;
        let signaling = std::thread::spawn({
            let (calm, stop) = (Arc::clone(&calm), Arc::clone(&stop));
            move || players.play(&calm, &stop)
        });
        let pinging = std::thread::spawn({
            let (stop, plan) = (Arc::clone(&stop), plan.clone());
            move || ping_until(&stop, &plan)
        });
        Ok(Self { calm, stop, signaling, pinging })
    }

    /// Begins no more calls, and goes on with those that are up.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Ends the load and gives what was acknowledged to it.
    pub(crate) fn stop(self) -> Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("a thread of the load panicked");
        let pings = self.pinging.join().map_err(panicked)?;
        let ledger = self.signaling.join().map_err(panicked)??;
        Ok(Ledger { pings, ..ledger })
    }
}

/// Posts pings one after the other. The server may be killed at any moment: a ping without an
/// answer is not acknowledged and not listed.
fn ping_until(stop: &AtomicBool, plan: &Plan) -> Vec<String> {
    let interval = Duration::from_secs(1) / plan.pings_per_second.max(1);
    let mut accepted = Vec::new();
    // An area code per load: a caller has room for few sessions.
    let area = 201 + plan.seed % 700;
    for n in 0_u32.. {
        if stop.load(Ordering::Relaxed) || plan.pings_per_second == 0 {
            break;
        }
        let caller = format!("+1{area}555{:04}", n % 10_000);
        if let Ok(Some(id)) = api::ping(plan.api, &format!("{}-{n}", plan.name), &caller) {
            accepted.push(id);
        }
        std::thread::sleep(interval);
    }
    accepted
}

/// The carrier and the advertiser, in one loop over two sockets.
struct Players {
    plan: Plan,
    carrier: UdpSocket,
    advertiser: UdpSocket,
    draw: fastrand::Rng,
    calls: BTreeMap<String, Call>,
    ledger: Ledger,
}

/// A call of the carrier's.
struct Call {
    number: &'static str,
    /// The answered dialog, once there is one.
    dialog: Option<Dialog>,
}

struct Dialog {
    /// The server's Contact, and its To with tag.
    target: String,
    to: String,
    bye_at: Instant,
    bye_sent: bool,
}

impl Players {
    fn new(plan: Plan) -> Result<Self> {
        let bind = |port: u16| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self {
            carrier: bind(plan.carrier_port)?,
            advertiser: bind(plan.advertiser_port)?,
            draw: fastrand::Rng::with_seed(plan.seed),
            calls: BTreeMap::new(),
            ledger: Ledger::default(),
            plan,
        })
    }

    fn play(&mut self, calm: &AtomicBool, stop: &AtomicBool) -> Result<Ledger> {
        let begin = Instant::now();
        let interval = Duration::from_secs(1) / self.plan.calls_per_second;
        while !stop.load(Ordering::Relaxed) {
            while !calm.load(Ordering::Relaxed)
                && begin + interval * u32::try_from(self.ledger.offered)? <= Instant::now()
            {
                self.call()?;
            }
            self.hang_up()?;
            let mut idle = true;
            while let Some((message, _)) = receive(&self.carrier)? {
                self.on_carrier_message(&message)?;
                idle = false;
            }
            while let Some((message, from)) = receive(&self.advertiser)? {
                self.on_advertiser_message(&message, from)?;
                idle = false;
            }
            if idle {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(std::mem::take(&mut self.ledger))
    }

    fn call(&mut self) -> Result<()> {
        let n = self.ledger.offered;
        self.ledger.offered += 1;
        let number = self.plan.numbers[n as usize % self.plan.numbers.len()];
        let call_id = format!("{}-{n}@harbor.example", self.plan.name);
        self.calls.insert(call_id.clone(), Call { number, dialog: None });
        let uri = format!("sip:{number}@{}", self.plan.server);
        let sdp = session_description(self.plan.carrier_port);
        let head = self.request("INVITE", &uri, "z9hG4bKi", &call_id, &format!("<{uri}>"), 1);
        let port = self.plan.carrier_port;
        self.send(format!(
            "{head}Contact: <sip:carrier@127.0.0.1:{port}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ))
    }

    /// Ends the calls whose time has come.
    fn hang_up(&mut self) -> Result<()> {
        let now = Instant::now();
        let due: Vec<String> = self
            .calls
            .iter_mut()
            .filter_map(|(call_id, call)| {
                let dialog = call.dialog.as_mut()?;
                let is_due = !dialog.bye_sent && dialog.bye_at <= now;
                dialog.bye_sent |= is_due;
                is_due.then(|| call_id.clone())
            })
            .collect();
        for call_id in due {
            self.send_in_dialog("BYE", 2, &call_id)?;
        }
        Ok(())
    }

    fn on_carrier_message(&mut self, message: &Message) -> Result<()> {
        let Some(call_id) = message.header("Call-ID").map(str::to_owned) else { return Ok(()) };
        let kind = message.kind();
        let Some(call) = self.calls.get_mut(&call_id) else { return Ok(()) };
        match kind.split_once(' ') {
            Some((status, "INVITE")) if status.starts_with('1') => {}
            Some((status, "INVITE")) if status.starts_with('2') => {
                if call.dialog.is_none() {
                    let (least, most) = self.plan.talk;
                    let talk = least + (most - least).mul_f64(self.draw.f64());
                    call.dialog = Some(Dialog::of(message, Instant::now() + talk)?);
                    let number = call.number;
                    self.ledger.answered.insert(call_id.clone(), number);
                    let up = self.calls.values().filter(|it| it.number == number && it.is_up());
                    let up = up.count();
                    let most = self.ledger.up_max.entry(number).or_default();
                    *most = up.max(*most);
                }
                self.send_in_dialog("ACK", 1, &call_id)?;
            }
            Some((_, "INVITE")) => {
                *self.ledger.refused.entry(call.number).or_default() += 1;
                let uri = format!("sip:{}@{}", call.number, self.plan.server);
                let to = message.header("To").context("a response without To")?;
                let head = self.request("ACK", &uri, "z9hG4bKi", &call_id, to, 1);
                self.send(format!("{head}Content-Length: 0\r\n\r\n"))?;
                self.calls.remove(&call_id);
            }
            Some(("200", "BYE")) => {
                self.ledger.ended.insert(call_id.clone());
                self.calls.remove(&call_id);
            }
            Some(_) => {}
            // A request: the other side hung up, or asks whether we are alive.
            None => self.send(response(message, 200, "OK", ""))?,
        }
        Ok(())
    }

    fn on_advertiser_message(&mut self, message: &Message, from: SocketAddr) -> Result<()> {
        let answers = match message.kind().as_str() {
            "INVITE" => {
                let sdp = session_description(self.plan.advertiser_port);
                vec![response(message, 180, "Ringing", ""), response(message, 200, "OK", &sdp)]
            }
            "BYE" | "CANCEL" | "OPTIONS" => vec![response(message, 200, "OK", "")],
            _ => vec![],
        };
        for answer in answers {
            self.advertiser.send_to(answer.as_bytes(), from)?;
        }
        Ok(())
    }

    fn send_in_dialog(&self, method: &str, cseq: u32, call_id: &str) -> Result<()> {
        let Some(dialog) = self.calls.get(call_id).and_then(|call| call.dialog.as_ref()) else {
            return Ok(());
        };
        let branch = format!("z9hG4bK{method}");
        let head = self.request(method, &dialog.target, &branch, call_id, &dialog.to, cseq);
        self.send(format!("{head}Content-Length: 0\r\n\r\n"))
    }

    /// Start line and the headers every request has, without the end of the headers. The branch is
    /// made unique by the Call-ID; the ACK of a CSeq method line is that of its INVITE.
    fn request(
        &self,
        method: &str,
        uri: &str,
        branch: &str,
        call_id: &str,
        to: &str,
        cseq: u32,
    ) -> String {
        let port = self.plan.carrier_port;
        let unique = call_id.replace('@', ".");
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch}-{unique}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+16145550188@127.0.0.1:{port}>;tag=c\r\nTo: {to}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
        )
    }

    fn send(&self, text: String) -> Result<()> {
        self.carrier.send_to(text.as_bytes(), self.plan.server)?;
        Ok(())
    }
}

impl Call {
    fn is_up(&self) -> bool {
        self.dialog.as_ref().is_some_and(|dialog| !dialog.bye_sent)
    }
}

impl Dialog {
    fn of(answer: &Message, bye_at: Instant) -> Result<Self> {
        let contact = answer.header("Contact").context("a 200 without Contact")?;
        let target = contact.split_once('<').map_or(contact, |(_, rest)| rest);
        let target = target.split('>').next().unwrap_or(target).to_owned();
        let to = answer.header("To").context("a 200 without To")?.to_owned();
        Ok(Self { target, to, bye_at, bye_sent: false })
    }
}

/// The next datagram, if one is there.
fn receive(socket: &UdpSocket) -> Result<Option<(Message, SocketAddr)>> {
    let mut datagram = [0; 4096];
    match socket.recv_from(&mut datagram) {
        Ok((length, from)) => {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            Ok(Some((Message { direction: Direction::Received, text }, from)))
        }
        // A refusal is an ICMP error for something sent earlier, while the server was down.
        Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A response with the tag `a` of the advertiser where To has none yet.
fn response(request: &Message, status: u16, phrase: &str, sdp: &str) -> String {
    let mut text = format!("SIP/2.0 {status} {phrase}\r\n");
    for line in request.text.lines().skip(1).take_while(|line| !line.trim().is_empty()) {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        if matches!(name.as_str(), "via" | "from" | "to" | "call-id" | "cseq") {
            text.push_str(line);
            if name == "to" && !line.contains(";tag=") {
                text.push_str(";tag=a");
            }
            text.push_str("\r\n");
        }
    }
    if request.kind() == "INVITE" {
        // Reached where the request was sent to.
        let uri = request.text.split_whitespace().nth(1).unwrap_or_default();
        text.push_str(&format!("Contact: <{uri}>\r\n"));
    }
    if !sdp.is_empty() {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len()));
    text
}

fn session_description(port: u16) -> String {
    format!(
        "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
    )
}

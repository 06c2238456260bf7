//! A name server of a few lines: what its zone says, to whoever asks over UDP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// A running name server. Dropping it ends it.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    /// Questions heard, such as `_sip._udp.b.test SRV`, by how often.
    asked: Mutex<BTreeMap<String, u32>>,
    silent: AtomicBool,
    ended: AtomicBool,
}

type Zone = Vec<Record>;

impl Dns {
    /// See [`Dns::tell`].
    pub(crate) fn start(zone: &str) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (address, shared) = (socket.local_addr()?, Arc::<Shared>::default());
        *shared.zone.lock().expect("nobody panics with it") = parse(zone)?;
        let theirs = Arc::clone(&shared);
        let thread = Some(std::thread::spawn(move || serve(&socket, &theirs)));
        Ok(Self { address, shared, thread })
    }

    /// Another zone. A record a line: `NAME TTL A ADDRESS`, `NAME TTL SRV PRIORITY WEIGHT PORT HOST`
    /// or `NAME TTL NAPTR ORDER PREFERENCE SERVICE REPLACEMENT`. A name that is not there does not
    /// exist, for a second.
    pub(crate) fn tell(&self, zone: &str) -> Result<()> {
        *self.shared.zone.lock().expect("nobody panics with it") = parse(zone)?;
        Ok(())
    }

    /// Whether questions get no answer from now on.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// How often this was asked, such as `b.test A`.
    pub(crate) fn asked(&self, question: &str) -> u32 {
        let asked = self.shared.asked.lock().expect("nobody panics with it");
        asked.get(question).copied().unwrap_or(0)
    }

    /// What a server asks it with.
    pub(crate) fn settings(&self) -> String {
        format!("sip.dns={{servers=[\"{}\"],timeout_ms=250,attempts=2,ttl_min_s=1}}", self.address)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has told of its panic already.
            let _ended = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut bytes = [0; 4096];
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut bytes) else { continue };
        let Ok(query) = Message::from_vec(&bytes[..length]) else { continue };
        let Some(question) = query.queries.first() else { continue };
        let name = Name::from_ascii(question.name().to_ascii().to_lowercase()).expect("a name");
        let text = name.to_ascii();
        let asked = format!("{} {}", text.trim_end_matches('.'), question.query_type());
        *shared.asked.lock().expect("nobody panics with it").entry(asked).or_default() += 1;
        if shared.silent.load(Ordering::SeqCst) {
            continue;
        }
        let zone = shared.zone.lock().expect("nobody panics with it");
        let of_name: Vec<&Record> = zone.iter().filter(|record| record.name == name).collect();
        let mut answer = Message::response(query.id, query.op_code);
        answer.metadata = Metadata::response_from_request(&query.metadata);
        answer.add_query(question.clone());
        let wanted = of_name.iter().filter(|record| record.record_type() == question.query_type());
        answer.add_answers(wanted.map(|record| (*record).clone()));
        if of_name.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        if answer.answers.is_empty() {
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 1);
            answer.add_authorities([Record::from_rdata(Name::root(), 1, RData::SOA(soa))]);
        }
        let Ok(bytes) = answer.to_vec() else { continue };
        // Whoever asked may be gone.
        let _sent = socket.send_to(&bytes, from);
    }
}

fn parse(zone: &str) -> Result<Zone> {
    let lines = zone.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| record(line).with_context(|| line.to_owned())).collect()
}

fn record(line: &str) -> Result<Record> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let word = |at: usize| words.get(at).copied().context("a word lacks");
    let number = |at: usize| Ok::<u16, anyhow::Error>(word(at)?.parse()?);
    let name = |at: usize| Ok::<Name, anyhow::Error>(Name::from_ascii(format!("{}.", word(at)?))?);
    let data = match word(2)? {
        "A" => RData::A(A(word(3)?.parse()?)),
        "SRV" => RData::SRV(SRV::new(number(3)?, number(4)?, number(5)?, name(6)?)),
        _ => {
            let text = |text: &str| Box::<[u8]>::from(text.as_bytes());
            let (order, preference, service) = (number(3)?, number(4)?, word(5)?);
            let (flags, none) = (text("s"), text(""));
            RData::NAPTR(NAPTR::new(order, preference, flags, text(service), none, name(6)?))
        }
    };
    let ttl = word(1)?.parse()?;
    Ok(Record::from_rdata(name(0)?, ttl, data))
}

//! What carrier and advertisers have in common: a UDP socket whose traffic is on the tape, and
//! messages that are sent again until they are answered.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use tollbridge::sip::message::{HeaderName, Headers, Limits, Message, Writer, reason_phrase};

use super::ladder::{Direction, Party, Tape};

/// RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// After this a message that was not answered never will be.
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);

const DATAGRAM_MAX: usize = 65_535;

/// One side's telephone.
pub(super) struct Phone {
    socket: UdpSocket,
    address: SocketAddr,
    party: Party,
    tape: Tape,
}

/// What a phone waited for.
pub(super) enum Event {
    Message(Message, SocketAddr),
    /// The time came that was named.
    Due,
}

impl Phone {
    /// Takes a free port of this machine.
    pub(super) async fn new(party: Party, tape: Tape) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { address: socket.local_addr()?, socket, party, tape })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a message of the call that `caller` makes.
    pub(super) async fn send(
        &self,
        caller: &str,
        message: &Bytes,
        to: SocketAddr,
    ) -> io::Result<()> {
        self.tape.note(caller, &self.party, Direction::Sent, message);
        match self.socket.send_to(message, to).await {
            // The server has just gone: retransmissions go on, as they would for any lost packet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// The next message, or the time `due`. `caller_of` tells whose call a message is part of; one
    /// of no call is on the tape of nobody.
    pub(super) async fn next(
        &self,
        due: Option<Instant>,
        caller_of: impl Fn(&Message) -> Option<String>,
    ) -> io::Result<Event> {
        let mut buffer = BytesMut::zeroed(DATAGRAM_MAX);
        loop {
            let datagram = self.socket.recv_from(&mut buffer);
            let received = match due {
                None => datagram.await,
                Some(due) => match timeout_at(due, datagram).await {
                    Ok(received) => received,
                    Err(_) => return Ok(Event::Due),
                },
            };
            let (len, source) = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let raw = Bytes::copy_from_slice(&buffer[..len]);
            let Ok(message) = Message::parse(raw.clone(), &Limits::default()) else { continue };
            if let Some(caller) = caller_of(&message) {
                self.tape.note(&caller, &self.party, Direction::Received, &raw);
            }
            return Ok(Event::Message(message, source));
        }
    }

    /// Begins an answer to the request with these headers: everything up to and without Contact.
    pub(super) fn answer(
        &self,
        writer: &mut Writer,
        status: u16,
        request: &Headers,
        source: SocketAddr,
        to_tag: &str,
    ) {
        writer.response(status, reason_phrase(status).as_bytes());
        writer.vias_for_response(request, source);
        writer.copy_all(HeaderName::RecordRoute, request);
        writer.copy_all(HeaderName::From, request);
        if request.to_tag().is_some() {
            writer.copy_all(HeaderName::To, request);
        } else {
            let to = request.line(HeaderName::To).unwrap_or_default();
            writer.header_parts(HeaderName::To, &[to, b";tag=", to_tag.as_bytes()]);
        }
        writer.copy_all(HeaderName::CallId, request);
        writer.copy_all(HeaderName::CSeq, request);
    }
}

/// A message on its way, until something stops it from being sent again.
pub(super) struct Resend {
    message: Bytes,
    to: SocketAddr,
    next: Instant,
    interval: Duration,
    interval_max: Duration,
    give_up: Instant,
}

impl Resend {
    /// An INVITE: the interval doubles without bound (RFC 3261 §17.1.1.2).
    pub(super) fn invite(message: Bytes, to: SocketAddr) -> Self {
        Self::new(message, to, GIVE_UP)
    }

    /// Anything else: the interval stays below T2.
    pub(super) fn other(message: Bytes, to: SocketAddr) -> Self {
        Self::new(message, to, T2)
    }

    fn new(message: Bytes, to: SocketAddr, interval_max: Duration) -> Self {
        let now = Instant::now();
        let (next, give_up) = (now + T1, now + GIVE_UP);
        Self { message, to, next, interval: T1, interval_max, give_up }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next.min(self.give_up)
    }

    /// Sends again if it is time to. `false` when there is no more hope.
    pub(super) async fn fire(&mut self, phone: &Phone, caller: &str) -> io::Result<bool> {
        let now = Instant::now();
        if now >= self.give_up {
            return Ok(false);
        }
        if now >= self.next {
            phone.send(caller, &self.message, self.to).await?;
            self.interval = (self.interval * 2).min(self.interval_max);
            self.next = now + self.interval;
        }
        Ok(true)
    }
}

/// Something nobody else has chosen: for tags, branches and Call-IDs.
pub(super) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// An offer or answer of one telephone-quality audio stream that nobody will send.
pub(super) fn sdp(address: SocketAddr) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=- {session} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
        session = fastrand::u32(..),
        port = fastrand::u16(20_000..30_000) & !1,
    )
}

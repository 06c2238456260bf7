//! The carrier: calls the server as a SIP trunk would, one socket per call.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tollbridge::sip::message::{HeaderName, Message, Method, Request, Response, Writer};

use super::ladder::{Party, Tape};
use super::phone::{Event, GIVE_UP, Phone, Resend, sdp, token};

/// What a caller does.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    /// E.164, such as `+16145550188`. One caller makes one call of the demonstration.
    pub(super) caller: String,
    /// E.164.
    pub(super) dialed: String,
    /// How long the caller listens to ringing before hanging up; absent: as long as it rings.
    pub(super) patience: Option<Duration>,
    /// How long the caller talks before hanging up.
    pub(super) talk: Duration,
}

/// What a caller heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The final status.
    pub(super) status: u16,
}

/// Makes one call and stays until it is over. `answered` is told when somebody answers.
pub(super) async fn call(
    server: SocketAddr,
    behaviour: Behaviour,
    answered: oneshot::Sender<()>,
    tape: Tape,
) -> io::Result<Heard> {
    let mut call = Call::new(server, behaviour, tape).await?;
    let heard = match call.invite().await? {
        Invited::Refused(status) => Heard { status },
        Invited::Answered(answer) => {
            // The other end is gone if nobody cares.
            let _ = answered.send(());
            let status = answer.status();
            call.talk(answer).await?;
            Heard { status }
        }
    };
    // What the server has to say again, it says within this time.
    tokio::spawn(call.linger());
    Ok(heard)
}

struct Call {
    phone: Phone,
    server: SocketAddr,
    behaviour: Behaviour,
    writer: Writer,
    call_id: String,
    from_tag: String,
    invite_branch: String,
    /// The last ACK, for a final response that comes again.
    ack: Option<Bytes>,
}

enum Invited {
    Answered(Box<Response>),
    Refused(u16),
}

/// Parts of a request that differ from one to the next.
struct Head<'a> {
    method: Method,
    uri: &'a [u8],
    branch: &'a str,
    cseq: u32,
    /// With tag once there is one.
    to: &'a [u8],
    route: &'a [&'a [u8]],
}

const INVITE_CSEQ: u32 = 1;

impl Call {
    async fn new(server: SocketAddr, behaviour: Behaviour, tape: Tape) -> io::Result<Self> {
        let phone = Phone::new(Party::Carrier, tape).await?;
        Ok(Self {
            phone,
            server,
            behaviour,
            writer: Writer::new(),
            call_id: format!("{}@carrier.example", token()),
            from_tag: token(),
            invite_branch: format!("z9hG4bK{}", token()),
            ack: None,
        })
    }

    /// Sends the INVITE and waits for its final response, or cancels it when patience ends.
    async fn invite(&mut self) -> io::Result<Invited> {
        let uri = self.dialed_uri();
        let to = format!("<{uri}>");
        let branch = self.invite_branch.clone();
        let head = |method| Head {
            method,
            uri: uri.as_bytes(),
            branch: &branch,
            cseq: INVITE_CSEQ,
            to: to.as_bytes(),
            route: &[],
        };
        let offer = sdp(self.phone.address());
        let invite = self.request(&head(Method::Invite), Some(&offer));
        self.send(&invite).await?;
        let mut resend = Some(Resend::invite(invite, self.server));
        let mut hang_up_at = None;
        loop {
            match self.next(&mut resend, hang_up_at).await? {
                Some(Event::Message(Message::Response(response), _)) => {
                    let status = response.status();
                    if response.cseq().method() != Method::Invite {
                        // The CANCEL was heard; the INVITE's own end comes by itself.
                        resend = None;
                    } else if status >= 300 {
                        let to = response.line(HeaderName::To).unwrap_or_default();
                        let ack = Head { to, ..head(Method::Ack) };
                        self.acknowledge(&ack).await?;
                        return Ok(Invited::Refused(status));
                    } else if status >= 200 {
                        self.acknowledge_answer(&response).await?;
                        return Ok(Invited::Answered(Box::new(response)));
                    } else {
                        resend = None;
                        if status > 100 && hang_up_at.is_none() {
                            hang_up_at = self.behaviour.patience.map(|it| Instant::now() + it);
                        }
                    }
                }
                Some(Event::Message(Message::Request(request), source)) => {
                    self.serve(&request, source).await?;
                }
                Some(Event::Due) => {
                    hang_up_at = None;
                    self.behaviour.patience = None;
                    let cancel = self.request(&head(Method::Cancel), None);
                    self.send(&cancel).await?;
                    resend = Some(Resend::other(cancel, self.server));
                }
                // RFC 3261 §8.1.3.1.
                None => return Ok(Invited::Refused(408)),
            }
        }
    }

    /// Talks, then hangs up, unless the other side does so first.
    async fn talk(&mut self, answer: Box<Response>) -> io::Result<()> {
        let until = Instant::now() + self.behaviour.talk;
        let mut over = false;
        while !over {
            match self.next(&mut None, Some(until)).await? {
                Some(Event::Message(Message::Response(response), _)) => {
                    self.acknowledge_again(&response).await?;
                }
                Some(Event::Message(Message::Request(request), source)) => {
                    if self.serve(&request, source).await? {
                        return Ok(());
                    }
                }
                Some(Event::Due) | None => over = true,
            }
        }
        let (uri, route) = remote_target(&answer);
        let branch = format!("z9hG4bK{}", token());
        let to = answer.line(HeaderName::To).unwrap_or_default();
        let (method, cseq) = (Method::Bye, INVITE_CSEQ + 1);
        let bye = Head { method, uri, branch: &branch, cseq, to, route: &route };
        let bye = self.request(&bye, None);
        self.send(&bye).await?;
        let mut resend = Some(Resend::other(bye, self.server));
        loop {
            match self.next(&mut resend, None).await? {
                Some(Event::Message(Message::Response(response), _)) => {
                    if response.cseq().method() == Method::Bye && response.status() >= 200 {
                        return Ok(());
                    }
                    self.acknowledge_again(&response).await?;
                }
                Some(Event::Message(Message::Request(request), source)) => {
                    self.serve(&request, source).await?;
                }
                Some(Event::Due) | None => return Ok(()),
            }
        }
    }

    /// Answers what is said again after the call.
    async fn linger(mut self) -> io::Result<()> {
        let until = Instant::now() + GIVE_UP;
        loop {
            match self.next(&mut None, Some(until)).await? {
                Some(Event::Message(Message::Response(response), _)) => {
                    self.acknowledge_again(&response).await?;
                }
                Some(Event::Message(Message::Request(request), source)) => {
                    self.serve(&request, source).await?;
                }
                Some(Event::Due) | None => return Ok(()),
            }
        }
    }

    /// The next message of this call, or the time `due`; `None` when what is sent again was sent
    /// often enough.
    async fn next(
        &self,
        resend: &mut Option<Resend>,
        due: Option<Instant>,
    ) -> io::Result<Option<Event>> {
        loop {
            let deadline = match (resend.as_ref().map(Resend::deadline), due) {
                (Some(resend), Some(due)) => Some(resend.min(due)),
                (resend, due) => resend.or(due),
            };
            let caller_of = |_: &Message| Some(self.behaviour.caller.clone());
            match self.phone.next(deadline, caller_of).await? {
                Event::Message(message, source) => {
                    if message.headers().call_id() == self.call_id.as_bytes() {
                        return Ok(Some(Event::Message(message, source)));
                    }
                }
                Event::Due if due.is_some_and(|due| Instant::now() >= due) => {
                    return Ok(Some(Event::Due));
                }
                Event::Due => {
                    if let Some(resend) = resend
                        && !resend.fire(&self.phone, &self.behaviour.caller).await?
                    {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Answers a request of the server's. `true` if it ended the call.
    async fn serve(&mut self, request: &Request, source: SocketAddr) -> io::Result<bool> {
        let method = request.method();
        if method == Method::Ack {
            return Ok(false);
        }
        let is_ours = matches!(method, Method::Bye | Method::Options);
        let status = if is_ours { 200 } else { 405 };
        self.phone.answer(&mut self.writer, status, request, source, &self.from_tag);
        if !is_ours {
            self.writer.header(HeaderName::Allow, b"INVITE, ACK, BYE, CANCEL, OPTIONS");
        }
        let response = self.writer.finish();
        self.send(&response).await?;
        Ok(method == Method::Bye)
    }

    /// RFC 3261 §13.2.2.4: to the Contact of the answer, in a transaction of its own.
    async fn acknowledge_answer(&mut self, answer: &Response) -> io::Result<()> {
        let (uri, route) = remote_target(answer);
        let branch = format!("z9hG4bK{}", token());
        let to = answer.line(HeaderName::To).unwrap_or_default();
        let (method, cseq) = (Method::Ack, INVITE_CSEQ);
        self.acknowledge(&Head { method, uri, branch: &branch, cseq, to, route: &route }).await
    }

    async fn acknowledge(&mut self, head: &Head<'_>) -> io::Result<()> {
        let ack = self.request(head, None);
        self.ack = Some(ack.clone());
        self.send(&ack).await
    }

    /// A final response to the INVITE came again: our ACK was lost.
    async fn acknowledge_again(&self, response: &Response) -> io::Result<()> {
        let is_final = response.status() >= 200 && response.cseq().method() == Method::Invite;
        match &self.ack {
            Some(ack) if is_final => self.send(ack).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn send(&self, message: &Bytes) -> io::Result<()> {
        self.phone.send(&self.behaviour.caller, message, self.server).await
    }

    fn request(&mut self, head: &Head<'_>, offer: Option<&str>) -> Bytes {
        let address = self.phone.address();
        let caller = &self.behaviour.caller;
        let writer = &mut self.writer;
        writer.request(head.method.name().as_bytes(), head.uri);
        let via = format!("SIP/2.0/UDP {address};branch={};rport", head.branch);
        writer.header(HeaderName::Via, via.as_bytes());
        writer.header_number(HeaderName::MaxForwards, 70);
        for route in head.route {
            writer.header(HeaderName::Route, route);
        }
        let from = format!("<sip:{caller}@carrier.example>;tag={}", self.from_tag);
        writer.header(HeaderName::From, from.as_bytes());
        writer.header(HeaderName::To, head.to);
        writer.header(HeaderName::CallId, self.call_id.as_bytes());
        let cseq = format!("{} {}", head.cseq, head.method.name());
        writer.header(HeaderName::CSeq, cseq.as_bytes());
        match offer {
            None => writer.finish(),
            Some(offer) => {
                let contact = format!("<sip:{caller}@{address}>");
                writer.header(HeaderName::Contact, contact.as_bytes());
                writer.header(HeaderName::Allow, b"INVITE, ACK, BYE, CANCEL, OPTIONS");
                writer.finish_with(b"application/sdp", offer.as_bytes())
            }
        }
    }

    fn dialed_uri(&self) -> String {
        format!("sip:{}@{}", self.behaviour.dialed, self.server)
    }
}

/// Where requests inside the answered dialog go: Contact and the recorded route, last hop first.
fn remote_target(answer: &Response) -> (&[u8], Vec<&[u8]>) {
    let contact = answer.contact().ok().flatten().map(|contact| contact.uri());
    let mut route: Vec<_> = answer.values(HeaderName::RecordRoute).collect();
    route.reverse();
    (contact.unwrap_or_else(|| answer.to().uri()), route)
}

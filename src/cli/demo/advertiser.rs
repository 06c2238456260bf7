//! An advertiser: where a buyer's calls ring. One socket, any number of calls.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tollbridge::sip::message::{HeaderName, Message, Method, Request, Writer};

use super::ladder::{Party, Tape};
use super::phone::{Event, Phone, Resend, sdp, token};

/// What an advertiser does when it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers after this time.
    Answers(Duration),
    /// Answers after this time, but is busy while a call is up.
    HasOneLine(Duration),
    /// Rings, and nobody is there.
    NeverAnswers,
}

pub(super) struct Advertiser {
    phone: Phone,
    manner: Manner,
    writer: Writer,
    /// By Call-ID.
    legs: BTreeMap<Bytes, Leg>,
}

/// A call as the advertiser sees it.
struct Leg {
    invite: Request,
    source: SocketAddr,
    caller: String,
    tag: String,
    /// Said again when the INVITE is.
    last: Bytes,
    state: State,
}

enum State {
    Ringing {
        answer_at: Option<Instant>,
    },
    /// A final response is sent again until its ACK comes.
    Settled {
        resend: Resend,
        answered: bool,
    },
    Up,
    Over,
}

impl Advertiser {
    pub(super) async fn new(name: &str, manner: Manner, tape: Tape) -> io::Result<Self> {
        let phone = Phone::new(Party::Advertiser(name.into()), tape).await?;
        Ok(Self { phone, manner, writer: Writer::new(), legs: BTreeMap::new() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.phone.address()
    }

    /// Takes calls for as long as it is polled.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            let due = self.legs.values().filter_map(Leg::deadline).min();
            let caller_of = |message: &Message| self.caller_of(message);
            match self.phone.next(due, caller_of).await? {
                Event::Message(Message::Request(request), source) => {
                    self.serve(request, source).await?;
                }
                // Answers to nothing: this side asks for nothing.
                Event::Message(Message::Response(_), _) => {}
                Event::Due => self.work_off().await?,
            }
        }
    }

    async fn serve(&mut self, request: Request, source: SocketAddr) -> io::Result<()> {
        let key = Bytes::copy_from_slice(request.call_id());
        let method = request.method();
        let Some(leg) = self.legs.get_mut(&key) else {
            if method == Method::Invite {
                return self.ring(key, request, source).await;
            }
            if method == Method::Ack {
                return Ok(());
            }
            let status = if method == Method::Options { 200 } else { 481 };
            return self.reply(status, &request, source, "", &token()).await;
        };
        if method == Method::Invite && leg.repeats(&request) {
            return self.phone.send(&leg.caller, &leg.last, source).await;
        }
        if method == Method::Ack {
            if let State::Settled { answered, .. } = leg.state {
                leg.state = if answered { State::Up } else { State::Over };
            }
            return Ok(());
        }
        let is_ringing = matches!(leg.state, State::Ringing { .. });
        if method == Method::Bye {
            leg.state = State::Over;
        }
        let (caller, tag) = (leg.caller.clone(), leg.tag.clone());
        let is_known = matches!(method, Method::Bye | Method::Cancel | Method::Options);
        let status = if is_known { 200 } else { 405 };
        self.reply(status, &request, source, &caller, &tag).await?;
        if method == Method::Cancel && is_ringing { self.settle(&key, 487).await } else { Ok(()) }
    }

    /// A new call.
    async fn ring(&mut self, key: Bytes, invite: Request, source: SocketAddr) -> io::Result<()> {
        let is_up = |leg: &Leg| !matches!(leg.state, State::Over);
        let is_busy = self.legs.values().any(is_up);
        let answer_at = match self.manner {
            Manner::Answers(after) | Manner::HasOneLine(after) => Some(Instant::now() + after),
            Manner::NeverAnswers => None,
        };
        let leg = Leg {
            caller: caller(&invite),
            invite,
            source,
            tag: token(),
            last: Bytes::new(),
            state: State::Ringing { answer_at },
        };
        self.legs.insert(key.clone(), leg);
        if is_busy && matches!(self.manner, Manner::HasOneLine(_)) {
            return self.settle(&key, 486).await;
        }
        self.respond(&key, 180).await
    }

    /// Answers, and sends again, whatever is due.
    async fn work_off(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut to_answer = Vec::new();
        for (key, leg) in &mut self.legs {
            match &mut leg.state {
                State::Ringing { answer_at } if answer_at.is_some_and(|at| at <= now) => {
                    to_answer.push(key.clone());
                }
                State::Settled { resend, .. } if resend.deadline() <= now => {
                    if !resend.fire(&self.phone, &leg.caller).await? {
                        leg.state = State::Over;
                    }
                }
                State::Ringing { .. } | State::Settled { .. } | State::Up | State::Over => {}
            }
        }
        for key in to_answer {
            self.settle(&key, 200).await?;
        }
        Ok(())
    }

    /// Sends the final response.
    async fn settle(&mut self, key: &Bytes, status: u16) -> io::Result<()> {
        self.respond(key, status).await?;
        if let Some(leg) = self.legs.get_mut(key) {
            let resend = Resend::other(leg.last.clone(), leg.source);
            leg.state = State::Settled { resend, answered: status == 200 };
        }
        Ok(())
    }

    /// A response to the INVITE.
    async fn respond(&mut self, key: &Bytes, status: u16) -> io::Result<()> {
        let Some(leg) = self.legs.get_mut(key) else { return Ok(()) };
        let address = self.phone.address();
        self.phone.answer(&mut self.writer, status, &leg.invite, leg.source, &leg.tag);
        let contact = format!("<sip:desk@{address}>");
        self.writer.header(HeaderName::Contact, contact.as_bytes());
        leg.last = if status == 200 {
            self.writer.finish_with(b"application/sdp", sdp(address).as_bytes())
        } else {
            self.writer.finish()
        };
        self.phone.send(&leg.caller, &leg.last, leg.source).await
    }

    /// A response to any other request.
    async fn reply(
        &mut self,
        status: u16,
        request: &Request,
        source: SocketAddr,
        caller: &str,
        tag: &str,
    ) -> io::Result<()> {
        self.phone.answer(&mut self.writer, status, request, source, tag);
        if status == 405 {
            self.writer.header(HeaderName::Allow, b"INVITE, ACK, BYE, CANCEL, OPTIONS");
        }
        let response = self.writer.finish();
        self.phone.send(caller, &response, source).await
    }

    fn caller_of(&self, message: &Message) -> Option<String> {
        let known = self.legs.get(message.headers().call_id()).map(|leg| leg.caller.clone());
        known.or_else(|| match message {
            Message::Request(request) => Some(caller(request)),
            Message::Response(_) => None,
        })
    }
}

impl Leg {
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing { answer_at } => *answer_at,
            State::Settled { resend, .. } => Some(resend.deadline()),
            State::Up | State::Over => None,
        }
    }

    /// Whether this is the INVITE we know, once more.
    fn repeats(&self, request: &Request) -> bool {
        request.cseq() == self.invite.cseq() && request.via().branch() == self.invite.via().branch()
    }
}

/// The caller's number as From has it; empty if it is withheld.
fn caller(request: &Request) -> String {
    let user = request.from().parsed_uri().ok().and_then(|uri| uri.user_part());
    String::from_utf8_lossy(user.unwrap_or_default()).into_owned()
}

//! The INVITE that a call would send to its first target, without a call: one is played on an endpoint of its
//! own, of which nothing leaves.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::phone::PhoneNumber;
use crate::reason::Reason;
use crate::sip::call::plan::Plan;
use crate::sip::call::report::Report;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::ids::IdSource;
use crate::sip::message::{HeaderName, Message, Request, Writer};
use crate::sip::trunk::{Caller, TrunkIndex, Trunks};
use crate::time::{Mono, Wall};

use super::inviting::{Arrival, OfTrunk};
use super::{Endpoint, Input, Output, Settings};

/// A call that is only thought of.
#[derive(Clone, Debug)]
pub struct Thought {
    /// Absent: over none in particular.
    pub trunk: Option<TrunkIndex>,
    pub dialed: PhoneNumber,
    pub caller: Caller,
    /// What its INVITE says besides what each does: names and values of fields. What is no name, or steers
    /// the protocol, is left out.
    pub fields: Vec<(SmolStr, SmolStr)>,
    pub at: Wall,
    /// Of its attempts the first is made.
    pub plan: Box<Plan>,
}

/// What would leave, and where it would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    pub flow: Flow,
    pub invite: Bytes,
}

/// Where the caller is said to be, which only a real call tells (RFC 5737).
const CALLER_AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5060);

/// What it offers, for the same reason.
const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
    m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

/// Plays the call up to its first INVITE. `settings` and `trunks` are those of the endpoints that calls are
/// played on.
///
/// # Errors
/// Why no INVITE would leave for the first attempt.
pub fn foresee(
    settings: Settings,
    trunks: Arc<Trunks>,
    ids: IdSource,
    thought: Thought,
) -> Result<Foreseen, Reason> {
    let now = Mono(0);
    let Thought { trunk, dialed, caller, fields, at: wall, mut plan } = thought;
    plan.attempts.truncate(1);
    let settings = Settings { registers: false, ..settings };
    let mut endpoint = Endpoint::new(settings, trunks, ids, now);
    let request = endpoint.thought_of(dialed, caller, &fields).ok_or(Reason::DecisionFailed)?;
    let of_trunk = trunk.and_then(|index| {
        let failures = &endpoint.failures[usize::from(index.0)];
        endpoint.trunks.get(index).map(|trunk| OfTrunk::of(trunk, failures))
    });
    let key = endpoint.wire.keys.of(&request, request.method(), request.method_bytes());
    let flow = Flow::new(ListenerId(0), Transport::Udp, CALLER_AT);
    let trunk = trunk.unwrap_or(TrunkIndex(0));
    let arrival = Arrival { request, key, flow, wall, trunk, caller };
    let (call, _) = endpoint.open_call(arrival, of_trunk.unwrap_or_default(), now);
    let mut out = vec![];
    endpoint.handle(Input::Decided { call, outcome: Ok(plan) }, now, &mut out);
    while !out.is_empty() {
        for output in mem::take(&mut out) {
            if let Output::Send { flow, message: invite } = output {
                if invite.starts_with(b"INVITE ") {
                    return Ok(Foreseen { flow, invite });
                }
            } else if let Output::PlaceHold { call, attempt } = output {
                endpoint.handle(Input::Held { call, attempt, outcome: Ok(()) }, now, &mut out);
            } else if let Output::Report { report: Report::AttemptFailed { reason, .. }, .. } =
                output
            {
                return Err(reason);
            }
        }
    }
    Err(Reason::DecisionFailed)
}

impl Endpoint {
    /// The caller's INVITE as it might be; `None`: it would not be one that we take.
    fn thought_of(
        &mut self,
        dialed: PhoneNumber,
        caller: Caller,
        fields: &[(SmolStr, SmolStr)],
    ) -> Option<Request> {
        let listener = self.wire.settings.listeners.first()?;
        let host = String::from_utf8_lossy(&listener.advertised).into_owned();
        let (uri, at) = (format!("sip:{}@{host}", dialed.to_e164()), CALLER_AT);
        let from = match caller.number {
            Some(number) => format!("<sip:{}@{at}>;tag=thought", number.to_e164()),
            None => String::from("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=thought"),
        };
        let mut writer = Writer::new();
        writer.request(b"INVITE", uri.as_bytes());
        let via = format!("SIP/2.0/UDP {at};branch=z9hG4bKthought");
        let (to, contact) = (format!("<{uri}>"), format!("<sip:{at}>"));
        for (name, value) in [
            (HeaderName::Via, via.as_str()),
            (HeaderName::MaxForwards, "70"),
            (HeaderName::From, &from),
            (HeaderName::To, &to),
            (HeaderName::CallId, "thought"),
            (HeaderName::CSeq, "1 INVITE"),
            (HeaderName::Contact, &contact),
        ] {
            writer.header(name, value.as_bytes());
        }
        for (name, value) in fields {
            writer.named(name.as_bytes(), value.as_bytes());
        }
        let message = writer.finish_with(b"application/sdp", OFFER);
        match Message::parse(message, &self.wire.settings.limits) {
            Ok(Message::Request(request)) => Some(request),
            Ok(Message::Response(_)) | Err(_) => None,
        }
    }
}

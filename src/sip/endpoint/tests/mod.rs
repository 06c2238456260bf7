//! A carrier and targets made of text, a clock made of numbers.

mod addresses;
mod branches;
mod bugs;
mod calls;
mod challenge;
mod descriptions;
mod farewell;
mod guards;
mod handover;
mod informing;
mod life;
mod long;
mod pace;
mod policy;
mod preview;
mod probes;
mod proof;
mod recovery;
mod redirect;
mod reliable;
mod timers;
mod transfer;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::*;
use crate::id::CallId;
use crate::reason::Reason;
use crate::sip::admission::Caps;
use crate::sip::call::plan::{Attempt, Destination, FailedAs, Manner, Plan};
use crate::sip::call::report::{Party, Report};
use crate::sip::call::{Call, CallLimits};
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::leg::event::LegEvent;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::locate::Failing;
use crate::sip::locate::probe::Verdict;
use crate::sip::message::Limits;
use crate::sip::orphan::{DialogPrint, Farewell};
use crate::sip::transaction::Timers;
use crate::sip::trunk::{Carriers, TrunkConfig, TrunkIndex, TrunkListener};
use crate::time::Wall;

const CARRIER: &str = "192.0.2.1:5060";
const TARGET: &str = "198.51.100.1:5070";
const SECOND: &str = "198.51.100.2:5080";

const SDP_A: &str = "v=0\r\no=session-of-a 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
const SDP_B: &str = "v=0\r\no=b 1 1 IN IP4 198.51.100.9\r\ns=-\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n";

struct Rig {
    endpoint: Endpoint,
    now: Mono,
    origin: Origin,
    /// Everything sent, in order, with its destination.
    all: Vec<(SocketAddr, String)>,
    other: Vec<Output>,
    reports: Vec<Report>,
    /// Of the newest end that was inferred.
    last_heard: Option<Mono>,
    /// What is decided for every call.
    plan: Box<Plan>,
    /// Whether a hold is granted as soon as it is asked for.
    grants: bool,
    /// Whether what is waited for is on disk at once.
    writes: bool,
    dialogs: Vec<[DialogPrint; 2]>,
    farewells: Vec<[Farewell; 2]>,
    /// What was told to be spoken, answer by answer and with the confirmations that say it.
    codecs: Vec<Option<SmolStr>>,
    orphans: Vec<(CallId, Party)>,
    /// Whose calls they were.
    admitted: Vec<TrunkIndex>,
    rated: Vec<(SocketAddr, Result<(), Failing>)>,
    tried: Vec<SocketAddr>,
    verdicts: Vec<(SocketAddr, Verdict)>,
    fragmented: Vec<usize>,
    /// Over what each of `all` was sent.
    transports: Vec<Transport>,
}

impl Rig {
    fn new() -> Self {
        Self::with(serde_json::json!({}), LegPolicy::default())
    }

    /// `dialog` is that table of the trunk.
    fn with(dialog: serde_json::Value, policy: LegPolicy) -> Self {
        Self::begun(serde_json::json!({ "dialog": dialog }), policy, false)
    }

    /// `inbound` replaces fields of the trunk's table of that name.
    fn with_trunk(inbound: serde_json::Value) -> Self {
        Self::trunk(serde_json::json!({ "inbound": inbound }))
    }

    /// With more settings of the trunk.
    fn trunk(more: serde_json::Value) -> Self {
        Self::begun(more, LegPolicy::default(), false)
    }

    /// The same, and the endpoint registers.
    fn registering(more: serde_json::Value) -> Self {
        Self::begun(more, LegPolicy::default(), true)
    }

    fn begun(more: serde_json::Value, policy: LegPolicy, registers: bool) -> Self {
        let listener = Listener {
            transport: Transport::Udp,
            local: addr("203.0.113.1:5060"),
            advertised: Bytes::from("203.0.113.1:5060"),
            address: IpAddr::from([203, 0, 113, 1]),
        };
        let settings = Settings {
            timers: Timers::default(),
            trying_after: Duration::ZERO,
            limits: Limits::default(),
            udp_request_bytes_max: 1300,
            listeners: vec![listener.clone(), Listener { transport: Transport::Tcp, ..listener }],
            call: CallLimits {
                decision: Duration::from_secs(3),
                answer_wait: Duration::from_millis(20),
                max_call: Duration::from_secs(14_400),
            },
            caps: Caps {
                calls_max: 100,
                half_open_max: 100,
                half_open_per_source_max: 100,
                transactions_max: 100_000,
                shares: 1,
            },
            probe_interval: Some(Duration::from_secs(300)),
            user_agent: None,
            registers,
            loop_token: Bytes::from("f00d"),
        };
        let trunks = trunks_of(&[more]);
        let now = Mono(1_000_000_000);
        Self {
            endpoint: Endpoint::new(settings, Arc::new(trunks), IdSource::new(7, 0), now),
            now,
            origin: Origin::Trunk(TrunkIndex(0)),
            all: vec![],
            other: vec![],
            reports: vec![],
            last_heard: None,
            plan: plan(policy),
            grants: true,
            writes: true,
            dialogs: vec![],
            farewells: vec![],
            codecs: vec![],
            orphans: vec![],
            admitted: vec![],
            rated: vec![],
            tried: vec![],
            verdicts: vec![],
            fragmented: vec![],
            transports: vec![],
        }
    }

    fn caller(&self, name: &'static str) -> Side_ {
        Side_ {
            address: addr(CARRIER),
            branch: format!("z9hG4bK{name}"),
            tag: format!("tag-{name}"),
            call_id: format!("callid-{name}"),
            peer_tag: String::new(),
            cseq: 1,
            offer: SDP_A,
            extra: "",
            fields: String::new(),
            kind: "application/sdp",
            invite: String::new(),
            seen: [self.all.len(); 2],
        }
    }

    /// A caller whose INVITE has been routed.
    fn invite(&mut self, name: &'static str) -> Side_ {
        let mut caller = self.caller(name);
        caller.send_invite(self);
        self.route();
        caller
    }

    /// A call that is up.
    fn connected(&mut self) -> (Side_, Side_) {
        let mut caller = self.invite("a");
        let mut target = self.target(TARGET);
        target.respond(self, 200, SDP_B);
        caller.statuses(self);
        caller.ack(self);
        target.requests(self);
        (caller, target)
    }

    /// Decides for every admitted call, and grants what it asks for.
    fn route(&mut self) {
        while let Some(output) = self.other.pop() {
            match output {
                Output::Admitted(admission) => {
                    self.admitted.push(admission.trunk);
                    assert_eq!(
                        admission.number.map(|it| it.to_e164()).as_deref(),
                        Ok("+18005550100")
                    );
                    let outcome = Ok(self.plan.clone());
                    self.input(Input::Decided { call: admission.call, outcome });
                }
                Output::PlaceHold { call, attempt } if self.grants => {
                    self.input(Input::Held { call, attempt, outcome: Ok(()) });
                }
                Output::AwaitDurable { call } if self.writes => self.input(Input::Durable { call }),
                kept @ (Output::PlaceHold { .. }
                | Output::AwaitDurable { .. }
                | Output::Locate { .. }
                | Output::Registration { .. }) => {
                    self.other.push(kept);
                    return;
                }
                Output::Send { .. }
                | Output::Tried { .. }
                | Output::Rated { .. }
                | Output::Probed { .. }
                | Output::Fragmented { .. }
                | Output::Report { .. }
                | Output::Dialogs { .. }
                | Output::Spoken { .. }
                | Output::OrphanEnded { .. } => unreachable!(),
            }
        }
    }

    /// The target that the newest INVITE to this address is for.
    fn target(&mut self, address: &str) -> Side_ {
        let to = addr(address);
        let found =
            self.all.iter().rposition(|(peer, text)| *peer == to && text.starts_with("INVITE"));
        let at = found.expect("an INVITE for the target");
        let invite = self.all[at].1.clone();
        Side_ {
            address: to,
            branch: String::from("z9hG4bKtarget"),
            tag: String::from("target"),
            call_id: header(&invite, "Call-ID").to_owned(),
            peer_tag: tag_of(header(&invite, "From")),
            cseq: 0,
            offer: "",
            extra: "",
            fields: String::new(),
            kind: "application/sdp",
            invite,
            seen: [at + 1; 2],
        }
    }

    fn receive(&mut self, from: &str, text: &str) {
        let peer = addr(from);
        let flow = Flow::udp(ListenerId(0), peer);
        let is_carrier = peer == addr(CARRIER);
        let origin = if is_carrier { self.origin } else { Origin::Peer };
        let message = Bytes::from(text.to_owned());
        self.input(Input::Received { flow, origin, wall: Wall(1_000), message });
        self.route();
    }

    fn input(&mut self, input: Input) {
        let mut out = vec![];
        self.endpoint.handle(input, self.now, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { flow, message } => {
                    let text = String::from_utf8(message.to_vec()).unwrap();
                    self.all.push((flow.peer, text));
                    self.transports.push(flow.transport);
                }
                Output::Report { report, last_heard, .. } => {
                    self.reports.push(report);
                    self.last_heard = last_heard.or(self.last_heard);
                }
                Output::Rated { peer, how, .. } => self.rated.push((peer, how)),
                Output::Tried { peer, .. } => self.tried.push(peer),
                Output::Fragmented { bytes, .. } => self.fragmented.push(bytes),
                Output::Probed { peer, verdict, .. } => self.verdicts.push((peer, verdict)),
                Output::Spoken { codec, .. } => self.codecs.push(Some(codec)),
                Output::Dialogs { caller, target, codec, farewells, .. } => {
                    self.dialogs.push([caller, target]);
                    self.codecs.push(codec);
                    self.farewells.extend(farewells.map(|both| *both));
                }
                Output::OrphanEnded { id, party, .. } => self.orphans.push((id, party)),
                other @ (Output::Admitted(_)
                | Output::PlaceHold { .. }
                | Output::AwaitDurable { .. }
                | Output::Locate { .. }
                | Output::Registration { .. }) => self.other.insert(0, other),
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = vec![];
            self.endpoint.handle_timeouts(self.now, &mut out);
            self.take(out);
            self.route();
        }
        self.now = end;
    }

    fn to(&self, address: &str) -> Vec<String> {
        let to = addr(address);
        self.all.iter().filter(|(peer, _)| *peer == to).map(|(_, text)| text.clone()).collect()
    }

    fn reports(&self) -> &[Report] {
        &self.reports
    }
}

/// Either side of us, as seen from outside.
#[derive(Clone)]
struct Side_ {
    address: SocketAddr,
    branch: String,
    tag: String,
    call_id: String,
    /// Our tag, once it is known.
    peer_tag: String,
    cseq: u32,
    offer: &'static str,
    extra: &'static str,
    /// Header fields of what it sends within the call and in answer to us.
    fields: String,
    /// Content-Type of its responses with a body.
    kind: &'static str,
    /// Our newest request that wants a response.
    invite: String,
    /// How much of what was sent this party has looked at, for responses and for requests.
    seen: [usize; 2],
}

impl Side_ {
    fn our_tag(&self) -> &String {
        &self.peer_tag
    }

    fn call_id(&self) -> &str {
        &self.call_id
    }

    fn send_invite(&mut self, rig: &mut Rig) {
        let text = self.invite_like("INVITE");
        rig.receive(CARRIER, &text);
    }

    fn invite_like(&self, method: &str) -> String {
        let body = if method == "INVITE" { self.offer } else { "" };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:+18005550100@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+12125550111@192.0.2.1>;tag={}\r\n\
             To: <sip:+18005550100@203.0.113.1>\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
             Contact: <sip:carrier-user@192.0.2.1:5060>\r\n{}{kind}Content-Length: {}\r\n\r\n{body}",
            self.branch,
            self.tag,
            self.call_id,
            self.cseq,
            self.extra,
            body.len()
        )
    }

    fn cancel(&mut self, rig: &mut Rig) {
        let text = self.invite_like("CANCEL");
        rig.receive(CARRIER, &text);
    }

    fn ack_failure(&mut self, rig: &mut Rig) {
        let text = self.invite_like("ACK").replace(
            "To: <sip:+18005550100@203.0.113.1>",
            &format!("To: <sip:+18005550100@203.0.113.1>;tag={}", self.peer_tag),
        );
        rig.receive(CARRIER, &text);
    }

    fn ack(&mut self, rig: &mut Rig) {
        self.ack_with(rig, "");
    }

    fn ack_with(&mut self, rig: &mut Rig, body: &str) {
        let text = self
            .text("ACK", body)
            .replace(&format!("CSeq: {} ACK", self.cseq + 1), &format!("CSeq: {} ACK", self.cseq));
        rig.receive(&self.address.to_string(), &text);
    }

    /// A request in the dialog.
    fn request(&mut self, rig: &mut Rig, method: &str, body: &str) {
        let text = self.text(method, body);
        self.cseq += 1;
        rig.receive(&self.address.to_string(), &text);
    }

    fn text(&self, method: &str, body: &str) -> String {
        let cseq = self.cseq + 1;
        let kind = match (body.is_empty(), body.starts_with("v=")) {
            (true, _) => "",
            (false, true) => "Content-Type: application/sdp\r\n",
            (false, false) => "Content-Type: application/dtmf-relay\r\n",
        };
        let to_tag = if self.peer_tag.is_empty() {
            String::new()
        } else {
            format!(";tag={}", self.peer_tag)
        };
        format!(
            "{method} sip:203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={}r{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:me@{}>;tag={}\r\nTo: <sip:you@203.0.113.1>{to_tag}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:carrier-user@{}>\r\n{}{kind}Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.branch,
            self.address.ip(),
            self.tag,
            self.call_id,
            self.address,
            self.fields,
            body.len()
        )
    }

    /// Answers our newest request to this party.
    fn respond(&mut self, rig: &mut Rig, status: u16, body: &str) {
        let newest = rig.all.iter().rfind(|(to, text)| {
            *to == self.address && !text.starts_with("SIP/2.0") && !text.starts_with("ACK")
        });
        let request = newest.map_or_else(|| self.invite.clone(), |(_, text)| text.clone());
        self.respond_to(rig, &request, status, body);
    }

    fn respond_to_invite(&mut self, rig: &mut Rig, status: u16, body: &str) {
        let invite = self.invite.clone();
        self.respond_to(rig, &invite, status, body);
    }

    /// Answers every request of ours but ACK that this party has not looked at.
    fn respond_to_all(&mut self, rig: &mut Rig, status: u16) {
        let requests: Vec<_> = rig.all[self.seen[1]..]
            .iter()
            .filter(|(to, text)| {
                *to == self.address && !text.starts_with("SIP/2.0") && !text.starts_with("ACK")
            })
            .map(|(_, text)| text.clone())
            .collect();
        for request in requests {
            self.respond_to(rig, &request, status, "");
        }
    }

    fn respond_to(&mut self, rig: &mut Rig, request: &str, status: u16, body: &str) {
        let to = header(request, "To");
        let tag = if to.contains("tag=") || status == 100 {
            String::new()
        } else {
            format!(";tag={}", self.tag)
        };
        let kind = match body {
            "" => String::new(),
            _ => format!("Content-Type: {}\r\n", self.kind),
        };
        let contact = if self.fields.contains("Contact: ") {
            String::new()
        } else {
            format!("Contact: <sip:{}>\r\n", self.address)
        };
        let text = format!(
            "SIP/2.0 {status} Whatever\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             {contact}{}{kind}Content-Length: {}\r\n\r\n{body}",
            header(request, "Via"),
            header(request, "From"),
            header(request, "Call-ID"),
            header(request, "CSeq"),
            self.fields,
            body.len()
        );
        rig.receive(&self.address.to_string(), &text);
    }

    /// Statuses of the responses to this party since it last looked; learns our tag from them.
    fn statuses(&mut self, rig: &mut Rig) -> Vec<u16> {
        self.news(rig, 0)
            .iter()
            .filter_map(|text| text.strip_prefix("SIP/2.0 "))
            .map(|rest| rest[..3].parse().unwrap())
            .collect()
    }

    /// Methods of the requests to this party since it last looked.
    fn requests(&mut self, rig: &mut Rig) -> Vec<String> {
        self.news(rig, 1)
            .iter()
            .filter(|text| !text.starts_with("SIP/2.0"))
            .map(|text| text.split(' ').next().unwrap().to_owned())
            .collect()
    }

    fn news(&mut self, rig: &mut Rig, kind: usize) -> Vec<String> {
        let address = self.address;
        let new: Vec<_> = rig.all[self.seen[kind]..]
            .iter()
            .filter(|(to, text)| *to == address && header(text, "Call-ID") == self.call_id)
            .map(|(_, text)| text.clone())
            .collect();
        self.seen[kind] = rig.all.len();
        for text in &new {
            if let Some(rest) = text.strip_prefix("SIP/2.0 ")
                && !rest.starts_with("100")
            {
                self.peer_tag = tag_of(header(text, "To"));
            }
        }
        new
    }
}

fn plan(dialog: LegPolicy) -> Box<Plan> {
    let attempt = |address: &str| Attempt {
        uri: Bytes::from(format!("sip:+18005550100@{address}")),
        destination: Some(Destination {
            transport: Transport::Udp,
            peer: addr(address),
            tls: None,
            tcp_port: None,
        }),
        further: None,
        ring_timeout: Duration::from_secs(6),
        first_response: Duration::from_secs(2),
        max_pdd: Duration::from_secs(8),
        max_duration: Duration::from_secs(3600),
        recovers_within: Duration::ZERO,
        dialog,
        manner: Manner::default(),
        rules: None,
        handover: None,
    };
    Box::new(Plan {
        attempts: SmallVec::from_iter([attempt(TARGET), attempt(SECOND)]),
        advance_on: Arc::from([486, 503]),
        ring_budget: Duration::from_secs(60),
        variables: None,
        known: vec![],
        redirects: 0,
        recoveries: 0,
        failed: FailedAs::default(),
    })
}

fn header<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn tag_of(value: &str) -> String {
    value.split("tag=").nth(1).unwrap_or_default().to_owned()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Trunks that all send from the carrier's network, with more than that each. The first is `trk`.
fn trunks_of(all: &[serde_json::Value]) -> Trunks {
    let config = |(position, more): (usize, &serde_json::Value)| -> TrunkConfig {
        let id = if position == 0 { "trk".into() } else { format!("trk{position}") };
        let mut config = serde_json::json!({ "id": id, "carrier": "loopback", "inbound": {} });
        for (name, value) in more.as_object().unwrap() {
            config[name.as_str()] = value.clone();
        }
        config["inbound"]["cidrs"] = serde_json::json!(["192.0.2.0/24"]);
        serde_json::from_value(config).unwrap()
    };
    let configs: Vec<TrunkConfig> = all.iter().enumerate().map(config).collect();
    let listeners = [TrunkListener {
        id: ListenerId(0),
        transport: Transport::Udp,
        name: "udp:203.0.113.1:5060".into(),
    }];
    Trunks::compile(&configs, &listeners, &Carriers::built_in()).unwrap()
}

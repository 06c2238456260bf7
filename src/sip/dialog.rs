//! A dialog: what two parties agreed on so that a request finds its way, RFC 3261 §12.
//!
//! A dialog does not know which of its parties hung up; it names the peer, counts requests and
//! writes the head of a request. Its texts share one small buffer, so that nothing of it keeps the
//! datagram alive that it was read from.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::sip::auth::Account;
use crate::sip::flow::{Flow, Transport};
use crate::sip::message::{HeaderName, Headers, NameAddr, Request, Response, Scheme, Uri, Writer};
use crate::sip::orphan::DialogPrint;
use crate::sip::transaction::InviteHead;

#[derive(Clone, Debug, PartialEq)]
pub struct Dialog {
    call_id: Bytes,
    /// From or To as we write it in our requests, with our tag.
    local: Bytes,
    remote: Bytes,
    local_tag: Bytes,
    remote_tag: Bytes,
    /// The number of our last request, or zero.
    local_cseq: u32,
    remote_cseq: Option<u32>,
    remote_target: Bytes,
    route_set: SmallVec<[Bytes; 1]>,
    /// Where our requests go: the connection the dialog lives on while it is open, else the first
    /// route or the remote target (spec/sip T7, T8).
    flow: Flow,
    /// What the peer's challenges are answered with.
    account: Option<Arc<Account>>,
}

/// CSeq stays below 2³¹ (RFC 3261 §8.1.1.5).
const CSEQ_MAX: u32 = (1 << 31) - 1;

/// Why a request in the dialog is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleCSeq;

impl Dialog {
    /// The caller's side of a call: we are the UAS (RFC 3261 §12.1.1). `local_tag` is the tag of
    /// our responses. `None` if the INVITE has no usable Contact.
    pub fn with_caller(invite: &Request, local_tag: &Bytes, flow: Flow) -> Option<Self> {
        let contact = invite.contact().ok().flatten()?;
        let mut text = Text::default();
        let call_id = text.push(&[invite.call_id()]);
        let to = invite.line(HeaderName::To).unwrap_or_default();
        let local = text.push(&[to, b";tag=", local_tag]);
        let remote = text.push(&[invite.line(HeaderName::From).unwrap_or_default()]);
        let remote_tag = text.push(&[invite.from_tag().unwrap_or_default()]);
        let remote_target = text.push(&[contact.uri()]);
        let routes: SmallVec<[Span; 1]> =
            invite.values(HeaderName::RecordRoute).map(|route| text.push(&[route])).collect();
        let text = text.freeze();
        let mut dialog = Self {
            call_id: text.get(call_id),
            local: text.get(local),
            remote: text.get(remote),
            local_tag: local_tag.clone(),
            remote_tag: text.get(remote_tag),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq().number),
            remote_target: text.get(remote_target),
            route_set: routes.into_iter().map(|route| text.get(route)).collect(),
            flow,
            account: None,
        };
        dialog.flow = dialog.destination(flow);
        Some(dialog)
    }

    /// The target's side: we are the UAC (RFC 3261 §12.1.2). `None` if the response has no To tag.
    pub fn with_callee(
        head: &InviteHead,
        local_tag: &Bytes,
        response: &Response,
        flow: Flow,
    ) -> Option<Self> {
        let tag = response.to_tag()?;
        let contact = response.contact().ok().flatten();
        let mut text = Text::default();
        let remote = text.push(&[response.line(HeaderName::To).unwrap_or_default()]);
        let remote_tag = text.push(&[tag]);
        let remote_target = text.push(&[contact.map_or(&head.uri[..], |contact| contact.uri())]);
        let mut routes: SmallVec<[Span; 1]> =
            response.values(HeaderName::RecordRoute).map(|route| text.push(&[route])).collect();
        routes.reverse();
        let text = text.freeze();
        let mut dialog = Self {
            call_id: head.call_id.clone(),
            local: head.from.clone(),
            remote: text.get(remote),
            local_tag: local_tag.clone(),
            remote_tag: text.get(remote_tag),
            local_cseq: head.cseq,
            remote_cseq: None,
            remote_target: text.get(remote_target),
            route_set: routes.into_iter().map(|route| text.get(route)).collect(),
            flow,
            account: None,
        };
        dialog.flow = dialog.destination(flow);
        Some(dialog)
    }

    /// The dialog of an answer nobody waits for any more, read from the response alone: enough to
    /// acknowledge and end it (RFC 3261 §13.2.2.4, RFC 5407 §3.1).
    pub fn with_late_answer(response: &Response, flow: Flow) -> Option<Self> {
        let head = InviteHead {
            uri: Bytes::copy_from_slice(response.contact().ok().flatten()?.uri()),
            via: Bytes::new(),
            from: Bytes::copy_from_slice(response.line(HeaderName::From)?),
            to: Bytes::new(),
            call_id: Bytes::copy_from_slice(response.call_id()),
            cseq: response.cseq().number,
            route: SmallVec::new(),
        };
        let local_tag = Bytes::copy_from_slice(response.from_tag()?);
        Self::with_callee(&head, &local_tag, response, flow)
    }

    /// The answer confirms this early dialog: both sides count on (RFC 3261 §12.2.1.1).
    pub fn continue_from(&mut self, early: &Self) {
        self.local_cseq = self.local_cseq.max(early.local_cseq);
        self.remote_cseq = early.remote_cseq;
    }

    /// Leaves room for requests that were sent here before, fewer than `count`, of which nothing is
    /// known any more.
    pub fn pass_over(&mut self, count: u32) {
        self.local_cseq = self.local_cseq.wrapping_add(count) & CSEQ_MAX;
    }

    /// Whether a request belongs here: Call-ID and both tags (RFC 3261 §12.2.2).
    pub fn matches(&self, request: &Headers) -> bool {
        request.call_id() == self.call_id
            && request.to_tag() == Some(&self.local_tag[..])
            && request.from_tag().unwrap_or_default() == self.remote_tag
    }

    /// Whether a request of ours was made here.
    pub fn has_made(&self, request: &Headers) -> bool {
        request.call_id() == self.call_id
            && request.from_tag() == Some(&self.local_tag[..])
            && request.to_tag().unwrap_or_default() == self.remote_tag
    }

    /// Numbers of the peer's requests must rise; gaps are fine (RFC 3261 §12.2.2).
    pub fn take_cseq(&mut self, number: u32) -> Result<(), StaleCSeq> {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return Err(StaleCSeq);
        }
        self.remote_cseq = Some(number);
        Ok(())
    }

    /// The peer spoke on this flow. A stream dialog follows it to its newest connection: a peer
    /// may refuse ours (spec/sip T7).
    pub fn heard_on(&mut self, flow: Flow) {
        if flow.transport.is_stream() && flow.transport == self.flow.transport {
            (self.flow.listener, self.flow.connection) = (flow.listener, flow.connection);
        }
    }

    /// A re-INVITE or UPDATE, or a success to one of ours, may move the peer (RFC 3261 §12.2).
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Ok(Some(contact)) = headers.contact()
            && contact.uri() != self.remote_target
        {
            self.remote_target = Bytes::copy_from_slice(contact.uri());
            self.flow = self.destination(self.flow);
        }
    }

    /// Begins a new request: start line, Route, Max-Forwards, From, To, Call-ID and CSeq. The
    /// caller of this adds what else it wants and finishes the message.
    pub fn begin_request(&mut self, method: &[u8], via: &[u8], writer: &mut Writer) {
        self.local_cseq = self.local_cseq.wrapping_add(1) & CSEQ_MAX;
        self.begin(method, self.local_cseq, via, writer);
    }

    /// Begins a request that may be sent after others, which are fewer than `ahead`.
    pub fn begin_ahead(&self, method: &[u8], ahead: u32, via: &[u8], writer: &mut Writer) {
        self.begin(method, self.local_cseq.wrapping_add(ahead) & CSEQ_MAX, via, writer);
    }

    /// Begins the ACK to a success; it has the number of its INVITE (RFC 3261 §13.2.2.4).
    pub fn begin_ack(&self, invite_cseq: u32, via: &[u8], writer: &mut Writer) {
        self.begin(b"ACK", invite_cseq, via, writer);
    }

    /// What the ACK to a failure of the re-INVITE just begun is written from.
    pub fn invite_head(&self, via: Bytes) -> InviteHead {
        let (uri, route) = self.route();
        InviteHead {
            uri,
            via,
            from: self.local.clone(),
            to: self.remote.clone(),
            call_id: self.call_id.clone(),
            cseq: self.local_cseq,
            route,
        }
    }

    /// What names this dialog in the journal.
    pub fn print(&self) -> DialogPrint {
        DialogPrint::of(&self.call_id, &self.local_tag, &self.remote_tag)
    }

    /// The next number of ours, for a request that is sent once more.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1) & CSEQ_MAX;
        self.local_cseq
    }

    /// The Request-URI of our requests.
    pub fn request_uri(&self) -> Bytes {
        self.route().0
    }

    /// From now on challenges of the peer are answered with `account`.
    pub fn set_account(&mut self, account: Option<Arc<Account>>) {
        self.account = account;
    }

    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    pub fn call_id(&self) -> &Bytes {
        &self.call_id
    }

    pub fn local_tag(&self) -> &Bytes {
        &self.local_tag
    }

    pub fn remote_tag(&self) -> &Bytes {
        &self.remote_tag
    }

    /// The number of our last request.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Whether the peer is reached at a `sips:` URI; then it is told one of ours (RFC 3261
    /// §12.1.1, §12.1.2).
    pub fn is_secure(&self) -> bool {
        is_secure(&self.remote_target)
    }

    fn begin(&self, method: &[u8], cseq: u32, via: &[u8], writer: &mut Writer) {
        let (uri, route) = self.route();
        writer.request(method, &uri);
        writer.header(HeaderName::Via, via);
        for route in &route {
            writer.header(HeaderName::Route, route);
        }
        writer.header(HeaderName::MaxForwards, b"70");
        writer.header(HeaderName::From, &self.local);
        writer.header(HeaderName::To, &self.remote);
        writer.header(HeaderName::CallId, &self.call_id);
        let mut number = itoa::Buffer::new();
        writer.header_parts(HeaderName::CSeq, &[number.format(cseq).as_bytes(), b" ", method]);
    }

    /// Request-URI and Route. A first route without `lr` is a strict router: it wants itself in the
    /// Request-URI and the target as the last route (RFC 3261 §12.2.1.1).
    fn route(&self) -> (Bytes, SmallVec<[Bytes; 1]>) {
        let strict = self.route_set.first().and_then(|first| {
            let uri = route_uri(first).filter(|uri| !is_loose(uri))?;
            Some(first.slice_ref(uri))
        });
        let Some(strict) = strict else {
            return (self.remote_target.clone(), self.route_set.clone());
        };
        let mut route: SmallVec<[Bytes; 1]> = self.route_set.iter().skip(1).cloned().collect();
        route.push(Bytes::from([b"<", &self.remote_target[..], b">"].concat()));
        (strict, route)
    }

    /// The first route or the remote target where it is an address, else where the peer spoke from.
    fn destination(&self, current: Flow) -> Flow {
        let hop = match self.route_set.first() {
            Some(route) => route_uri(route),
            None => Some(&self.remote_target[..]),
        };
        let Some(hop) = hop.and_then(|hop| Uri::parse(hop).ok()) else { return current };
        let Some(ip) = hop.host_ip() else { return current };
        let transport = match current.transport {
            Transport::Tcp | Transport::Tls => current.transport,
            Transport::Udp => transport_of(&hop),
        };
        // Whoever was there over TLS has to be there still, whatever address it gives.
        let peer = SocketAddr::new(ip, hop.port().unwrap_or_else(|| transport.default_port()));
        Flow { transport, peer, ..current }
    }
}

/// The `transport` parameter, UDP without one (RFC 3263 §4.1, without NAPTR). A `sips:` URI leads
/// over TLS whatever it says (RFC 3261 §26.2.2).
pub fn transport_of(uri: &Uri<'_>) -> Transport {
    if uri.scheme() == Scheme::Sips {
        return Transport::Tls;
    }
    match uri.params().get(b"transport").flatten() {
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"tls") => Transport::Tls,
        _ => Transport::Udp,
    }
}

/// Whether a URI asks for TLS all the way.
pub fn is_secure(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

fn route_uri(route: &[u8]) -> Option<&[u8]> {
    NameAddr::parse(route).ok().map(|name_addr| name_addr.uri())
}

fn is_loose(uri: &[u8]) -> bool {
    Uri::parse(uri).is_ok_and(|uri| uri.params().get(b"lr").is_some())
}

#[derive(Default)]
struct Text {
    buffer: BytesMut,
}

type Span = (usize, usize);

struct FrozenText(Bytes);

impl Text {
    fn push(&mut self, parts: &[&[u8]]) -> Span {
        let start = self.buffer.len();
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        (start, self.buffer.len())
    }

    /// Copies once more, into a buffer of just the right size.
    fn freeze(self) -> FrozenText {
        FrozenText(Bytes::copy_from_slice(&self.buffer))
    }
}

impl FrozenText {
    fn get(&self, (start, end): Span) -> Bytes {
        self.0.slice(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::flow::{ConnectionId, ListenerId, TlsPeer};
    use crate::sip::message::{Limits, Message};

    #[test]
    fn a_caller_dialog_sends_to_the_contact_through_its_record_route_in_order() {
        let mut dialog = caller_dialog(
            "Record-Route: <sip:192.0.2.11;lr>, <sip:192.0.2.12;lr>\r\n",
            "sip:carrier@192.0.2.20:5080",
        );

        let bye = write(&mut dialog, b"BYE");

        assert!(bye.starts_with("BYE sip:carrier@192.0.2.20:5080 SIP/2.0\r\n"), "{bye}");
        assert!(
            bye.contains("Route: <sip:192.0.2.11;lr>\r\nRoute: <sip:192.0.2.12;lr>\r\n"),
            "{bye}"
        );
        assert!(
            bye.contains(
                "From: <sip:1@192.0.2.1>;tag=ours\r\nTo: <sip:2@192.0.2.2>;tag=theirs\r\n"
            ),
            "{bye}"
        );
        assert!(bye.contains("CSeq: 1 BYE\r\n"), "{bye}");
        assert_eq!(dialog.flow().peer, "192.0.2.11:5060".parse().unwrap());
    }

    #[test]
    fn a_callee_dialog_reverses_its_record_route() {
        let response =
            response("Record-Route: <sip:192.0.2.11;lr>\r\nRecord-Route: <sip:192.0.2.12;lr>\r\n");
        let mut dialog =
            Dialog::with_callee(&head(), &Bytes::from("ours"), &response, flow()).unwrap();

        let bye = write(&mut dialog, b"BYE");

        assert!(
            bye.contains("Route: <sip:192.0.2.12;lr>\r\nRoute: <sip:192.0.2.11;lr>\r\n"),
            "{bye}"
        );
        assert!(bye.contains("CSeq: 8 BYE\r\n"), "{bye}");
    }

    #[test]
    fn a_strict_router_is_put_into_the_request_uri() {
        let mut dialog = caller_dialog(
            "Record-Route: <sip:192.0.2.11>, <sip:192.0.2.12;lr>\r\n",
            "sip:carrier@192.0.2.20",
        );

        let bye = write(&mut dialog, b"BYE");

        assert!(bye.starts_with("BYE sip:192.0.2.11 SIP/2.0\r\n"), "{bye}");
        assert!(
            bye.contains("Route: <sip:192.0.2.12;lr>\r\nRoute: <sip:carrier@192.0.2.20>\r\n"),
            "{bye}"
        );
    }

    #[test]
    fn a_number_that_does_not_rise_is_stale_and_gaps_are_fine() {
        let mut dialog = caller_dialog("", "sip:192.0.2.20");

        assert_eq!(dialog.take_cseq(1), Err(StaleCSeq));
        assert_eq!(dialog.take_cseq(9), Ok(()));
        assert_eq!(dialog.take_cseq(9), Err(StaleCSeq));
    }

    #[test]
    fn both_tags_and_the_call_id_must_match() {
        let dialog = caller_dialog("", "sip:192.0.2.20");

        assert!(dialog.matches(&bye("c", "theirs", "ours")));
        assert!(!dialog.matches(&bye("c", "theirs", "other")));
        assert!(!dialog.matches(&bye("c", "other", "ours")));
        assert!(!dialog.matches(&bye("d", "theirs", "ours")));
    }

    #[test]
    fn a_name_in_the_contact_leaves_the_flow_as_it_is() {
        let dialog = caller_dialog("", "sip:carrier.example.com");

        assert_eq!(dialog.flow(), flow());
    }

    #[test]
    fn a_tls_dialog_stays_on_tls_with_whom_it_was_made() {
        let made = Flow { transport: Transport::Tls, tls: Some(TlsPeer(3)), ..flow() };
        let places = [
            ("sip:192.0.2.20", "192.0.2.20:5061"),
            ("sip:192.0.2.20:5080;transport=tcp", "192.0.2.20:5080"),
            ("sips:192.0.2.20", "192.0.2.20:5061"),
        ];
        for (contact, peer) in places {
            let mut dialog =
                Dialog::with_caller(&invite("", contact), &Bytes::from("ours"), made).unwrap();

            assert_eq!(dialog.flow(), Flow { peer: peer.parse().unwrap(), ..made });
            assert_eq!(dialog.is_secure(), contact.starts_with("sips:"));
            // It follows the peer to its newest connection, whoever that is said to be from.
            let connection = Some(ConnectionId(9));
            dialog.heard_on(Flow { connection, tls: None, ..made });
            assert_eq!(dialog.flow(), Flow { peer: peer.parse().unwrap(), connection, ..made });
            dialog.heard_on(Flow { transport: Transport::Tcp, connection: None, ..made });
            assert_eq!(dialog.flow().connection, connection);
        }
    }

    #[test]
    fn a_uri_leads_over_what_it_names_and_sips_always_over_tls() {
        let cases = [
            ("sip:192.0.2.1", Transport::Udp),
            ("sip:192.0.2.1;transport=TCP", Transport::Tcp),
            ("sip:192.0.2.1;transport=tls", Transport::Tls),
            ("sips:192.0.2.1", Transport::Tls),
            ("sips:192.0.2.1;transport=tcp", Transport::Tls),
        ];
        for (uri, transport) in cases {
            assert_eq!(transport_of(&Uri::parse(uri.as_bytes()).unwrap()), transport, "{uri}");
        }
    }

    fn caller_dialog(record_routes: &str, contact: &str) -> Dialog {
        let invite = invite(record_routes, contact);
        Dialog::with_caller(&invite, &Bytes::from("ours"), flow()).unwrap()
    }

    fn invite(record_routes: &str, contact: &str) -> Request {
        let text = format!(
            "INVITE sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKa\r\n{record_routes}\
             From: <sip:2@192.0.2.2>;tag=theirs\r\nTo: <sip:1@192.0.2.1>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\nContact: <{contact}>\r\nContent-Length: 0\r\n\r\n"
        );
        request(&text)
    }

    fn write(dialog: &mut Dialog, method: &[u8]) -> String {
        let mut writer = Writer::new();
        dialog.begin_request(method, b"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb", &mut writer);
        String::from_utf8(writer.finish().to_vec()).unwrap()
    }

    fn bye(call_id: &str, from_tag: &str, to_tag: &str) -> Request {
        request(&format!(
            "BYE sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKb\r\n\
             From: <sip:2@192.0.2.2>;tag={from_tag}\r\nTo: <sip:1@192.0.2.1>;tag={to_tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    fn request(text: &str) -> Request {
        match Message::parse(Bytes::from(text.to_owned()), &Limits::default()) {
            Ok(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    fn response(record_routes: &str) -> Response {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n{record_routes}\
             From: <sip:1@192.0.2.1>;tag=ours\r\nTo: <sip:3@192.0.2.3>;tag=theirs\r\nCall-ID: b\r\n\
             CSeq: 7 INVITE\r\nContact: <sip:192.0.2.3>\r\nContent-Length: 0\r\n\r\n"
        );
        match Message::parse(Bytes::from(text), &Limits::default()) {
            Ok(Message::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn head() -> InviteHead {
        InviteHead {
            uri: Bytes::from("sip:3@192.0.2.3"),
            via: Bytes::new(),
            from: Bytes::from("<sip:1@192.0.2.1>;tag=ours"),
            to: Bytes::from("<sip:3@192.0.2.3>"),
            call_id: Bytes::from("b"),
            cseq: 7,
            route: SmallVec::new(),
        }
    }

    fn flow() -> Flow {
        Flow::udp(ListenerId(0), "192.0.2.2:5060".parse().unwrap())
    }
}

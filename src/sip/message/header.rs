//! The header of a message: an index of spans over the received bytes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::params::split_list;
use super::view::delta_seconds;
use super::{
    CSeq, Credentials, HeaderError, HeaderName, NameAddr, RAck, Reason, Replaces, SessionExpires,
    TokenParams, Via,
};

/// Header and body of a message. A clone shares both.
///
/// The mandatory fields (Via, From, To, Call-ID, CSeq) were checked when the message was parsed:
/// their accessors cannot fail. Only in [`Refusal::headers`](super::Refusal) may they be empty.
#[derive(Clone)]
pub struct Headers {
    /// Exactly one message: start line, header with folding undone, body.
    pub(super) raw: Bytes,
    pub(super) index: Arc<Index>,
}

/// What parsing found out, as positions in the raw message.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) lines: Vec<Line>,
    /// One bit for each [`HeaderName`] that occurs.
    pub(super) present: u128,
    pub(super) via: ViaSpans,
    pub(super) from: AddrSpans,
    pub(super) to: AddrSpans,
    pub(super) call_id: Span,
    pub(super) cseq: u32,
    pub(super) cseq_method: Span,
    pub(super) max_forwards: Option<u8>,
    pub(super) body: u32,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) name: HeaderName,
    pub(super) name_len: u16,
    pub(super) start: u32,
    pub(super) value: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ViaSpans {
    raw: Span,
    transport: Span,
    sent_by: Span,
    host: Span,
    port: Option<u16>,
    params: Span,
    branch: Option<Span>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AddrSpans {
    display: Span,
    uri: Span,
    params: Span,
    tag: Option<Span>,
}

impl Headers {
    /// The first Via value.
    pub fn via(&self) -> Via<'_> {
        let spans = &self.index.via;
        Via {
            raw: self.at(spans.raw),
            transport: self.at(spans.transport),
            sent_by: self.at(spans.sent_by),
            host: self.at(spans.host),
            port: spans.port,
            params: self.at(spans.params),
            branch: spans.branch.map(|span| self.at(span)),
        }
    }

    pub fn from(&self) -> NameAddr<'_> {
        self.addr(&self.index.from)
    }

    pub fn to(&self) -> NameAddr<'_> {
        self.addr(&self.index.to)
    }

    /// `None` if the sender speaks RFC 2543.
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.index.from.tag.map(|span| self.at(span))
    }

    pub fn to_tag(&self) -> Option<&[u8]> {
        self.index.to.tag.map(|span| self.at(span))
    }

    pub fn call_id(&self) -> &[u8] {
        self.at(self.index.call_id)
    }

    pub fn cseq(&self) -> CSeq<'_> {
        CSeq { number: self.index.cseq, method: self.at(self.index.cseq_method) }
    }

    /// `None` if the field is missing.
    pub fn max_forwards(&self) -> Option<u8> {
        self.index.max_forwards
    }

    /// The first Contact. `*` is an error here: it means something in REGISTER only.
    pub fn contact(&self) -> Result<Option<NameAddr<'_>>, HeaderError> {
        self.first(HeaderName::Contact, NameAddr::parse)
    }

    /// The first line of that name: its value without blanks around it, folding undone.
    pub fn line(&self, name: HeaderName) -> Option<&[u8]> {
        if self.index.present & name.bit() == 0 {
            return None;
        }
        self.lines(name).next()
    }

    /// The value of every line of that name, in order.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let lines = self.index.lines.iter().filter(move |line| line.name == name);
        lines.map(|line| self.at(line.value))
    }

    /// Every value of that name in order, whether written in one line with commas or in several
    /// lines (RFC 3261 §7.3.1). Empty values are left out; of a field that is no list each line is
    /// one value.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let is_list = name.is_list();
        self.lines(name).flat_map(move |line| {
            let (list, single) = if is_list { (line, None) } else { (&line[..0], Some(line)) };
            split_list(list).chain(single.filter(|line| !line.is_empty()))
        })
    }

    /// Every value of that name read as an address.
    pub fn addresses(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.values(name).map(NameAddr::parse)
    }

    /// Every Via value in order, the top one first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(HeaderName::Via).map(Via::parse)
    }

    /// Every line: what its name means, the name as written, the value.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, &[u8], &[u8])> {
        self.index.lines.iter().map(|line| (line.name, self.name_of(line), self.at(line.value)))
    }

    /// The values of the lines with a name this server does not know, any case.
    pub fn extension<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let others = self.index.lines.iter().filter(|line| line.name == HeaderName::Other);
        let named = others.filter(move |line| self.name_of(line).eq_ignore_ascii_case(name));
        named.map(|line| self.at(line.value))
    }

    /// Whether the field is there at all.
    pub fn has(&self, name: HeaderName) -> bool {
        self.index.present & name.bit() != 0
    }

    /// Whether an option tag is among the values of Supported, Require, Allow or the like; any
    /// case.
    pub fn has_option(&self, name: HeaderName, tag: &[u8]) -> bool {
        self.has(name) && self.values(name).any(|value| value.eq_ignore_ascii_case(tag))
    }

    pub fn content_type(&self) -> Option<&[u8]> {
        self.line(HeaderName::ContentType)
    }

    /// Seconds of Expires, Min-Expires, Min-SE, Retry-After: `None` if the field is missing. A
    /// number too large to mean anything reads as `u32::MAX`.
    pub fn seconds(&self, name: HeaderName) -> Result<Option<u32>, HeaderError> {
        self.first_line(name, delta_seconds)
    }

    /// Seconds a peer wants to be left alone.
    pub fn retry_after(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(HeaderName::RetryAfter)
    }

    pub fn min_se(&self) -> Result<Option<u32>, HeaderError> {
        self.seconds(HeaderName::MinSe)
    }

    pub fn session_expires(&self) -> Result<Option<SessionExpires>, HeaderError> {
        self.first_line(HeaderName::SessionExpires, SessionExpires::parse)
    }

    /// The number of a reliable provisional response (RFC 3262 §7.1).
    pub fn rseq(&self) -> Result<Option<u32>, HeaderError> {
        self.first_line(HeaderName::RSeq, |value| {
            let number = super::chars::number(value);
            number.and_then(|n| u32::try_from(n).ok()).ok_or(HeaderError::Number)
        })
    }

    pub fn rack(&self) -> Result<Option<RAck<'_>>, HeaderError> {
        self.first_line(HeaderName::RAck, RAck::parse)
    }

    /// Every Reason value.
    pub fn reasons(&self) -> impl Iterator<Item = Result<Reason<'_>, HeaderError>> {
        self.values(HeaderName::Reason).map(Reason::parse)
    }

    pub fn refer_to(&self) -> Result<Option<NameAddr<'_>>, HeaderError> {
        self.first(HeaderName::ReferTo, NameAddr::parse)
    }

    pub fn replaces(&self) -> Result<Option<Replaces<'_>>, HeaderError> {
        self.first_line(HeaderName::Replaces, Replaces::parse)
    }

    pub fn event(&self) -> Result<Option<TokenParams<'_>>, HeaderError> {
        self.first_line(HeaderName::Event, TokenParams::parse)
    }

    pub fn subscription_state(&self) -> Result<Option<TokenParams<'_>>, HeaderError> {
        self.first_line(HeaderName::SubscriptionState, TokenParams::parse)
    }

    /// Every line of Authorization, WWW-Authenticate or a proxy twin of theirs.
    pub fn credentials(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<Credentials<'_>, HeaderError>> {
        self.lines(name).map(Credentials::parse)
    }

    pub fn body(&self) -> &[u8] {
        self.raw.get(self.index.body as usize..).unwrap_or_default()
    }

    /// The body, sharing the message's memory.
    pub fn body_bytes(&self) -> Bytes {
        self.raw.slice((self.index.body as usize).min(self.raw.len())..)
    }

    /// A part of this message that keeps the message's memory alive instead of copying. Text from
    /// elsewhere is copied.
    pub fn slice_of(&self, part: &[u8]) -> Bytes {
        match Span::of(&self.raw, part) {
            Some(span) => self.raw.slice(span.start as usize..span.end()),
            None => Bytes::copy_from_slice(part),
        }
    }

    /// The whole message: octets after it are dropped, and folding in its header is undone.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Name as written and value of the lines of that name.
    pub(super) fn named_lines(&self, name: HeaderName) -> impl Iterator<Item = (&[u8], &[u8])> {
        let lines = self.index.lines.iter().filter(move |line| line.name == name);
        lines.map(|line| (self.name_of(line), self.at(line.value)))
    }

    fn first<'a, T>(
        &'a self,
        name: HeaderName,
        parse: impl Fn(&'a [u8]) -> Result<T, HeaderError>,
    ) -> Result<Option<T>, HeaderError> {
        if self.has(name) { self.values(name).next().map(parse).transpose() } else { Ok(None) }
    }

    fn first_line<'a, T>(
        &'a self,
        name: HeaderName,
        parse: impl Fn(&'a [u8]) -> Result<T, HeaderError>,
    ) -> Result<Option<T>, HeaderError> {
        self.line(name).map(parse).transpose()
    }

    fn addr(&self, spans: &AddrSpans) -> NameAddr<'_> {
        NameAddr {
            display: self.at(spans.display),
            uri: self.at(spans.uri),
            params: self.at(spans.params),
            tag: spans.tag.map(|span| self.at(span)),
        }
    }

    fn name_of(&self, line: &Line) -> &[u8] {
        self.at(Span { start: line.start, len: u32::from(line.name_len) })
    }

    pub(super) fn at(&self, span: Span) -> &[u8] {
        span.of_text(&self.raw)
    }
}

impl PartialEq for Headers {
    /// Two messages are equal if their bytes are.
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    /// Names of the fields only: their values hold callers' numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers")
            .field("call_id", &String::from_utf8_lossy(self.call_id()))
            .field("cseq", &self.index.cseq)
            .field("bytes", &self.raw.len())
            .field("body_bytes", &self.body().len())
            .field(
                "names",
                &self.iter().map(|(_, name, _)| String::from_utf8_lossy(name)).collect::<Vec<_>>(),
            )
            .finish()
    }
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Messages are far shorter than 4 GiB: `Limits::message_bytes_max` is a u32.
        Self { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// Where `part` lies in `text`. `None` if it does not; an empty part lies anywhere.
    pub(super) fn of(text: &[u8], part: &[u8]) -> Option<Self> {
        if part.is_empty() {
            return Some(Self::default());
        }
        let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        (start + part.len() <= text.len()).then(|| Self::new(start, start + part.len()))
    }

    /// As [`Span::of`], for a part that was cut out of `text`.
    fn within(text: &[u8], part: &[u8]) -> Self {
        Self::of(text, part).expect("views are cut out of the message they are read from")
    }

    pub(super) fn of_text(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end()).unwrap_or_default()
    }

    fn end(self) -> usize {
        self.start as usize + self.len as usize
    }
}

impl ViaSpans {
    pub(super) fn of(text: &[u8], via: &Via<'_>) -> Self {
        Self {
            raw: Span::within(text, via.raw),
            transport: Span::within(text, via.transport),
            sent_by: Span::within(text, via.sent_by),
            host: Span::within(text, via.host),
            port: via.port,
            params: Span::within(text, via.params),
            branch: via.branch.map(|branch| Span::within(text, branch)),
        }
    }
}

impl AddrSpans {
    pub(super) fn of(text: &[u8], addr: &NameAddr<'_>) -> Self {
        Self {
            display: Span::within(text, addr.display),
            uri: Span::within(text, addr.uri),
            params: Span::within(text, addr.params),
            tag: addr.tag.map(|tag| Span::within(text, tag)),
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            present: 0,
            via: ViaSpans::default(),
            from: AddrSpans::default(),
            to: AddrSpans::default(),
            call_id: Span::default(),
            cseq: 0,
            cseq_method: Span::default(),
            max_forwards: None,
            body: u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::{Limits, Message};

    fn headers(fields: &str) -> Headers {
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\
             {fields}\r\n\r\nbody"
        );
        Message::parse(text.into(), &Limits::default()).unwrap().headers().clone()
    }

    #[test]
    fn the_comma_form_is_the_repeated_form() {
        let lines = headers("Route: <sip:a,b;lr>\r\nroute: <sip:c;lr>\r\nROUTE: <sip:d>");
        let commas = headers("Route: <sip:a,b;lr> , <sip:c;lr>,,<sip:d>");
        let values: Vec<_> = lines.values(HeaderName::Route).collect();
        assert_eq!(values, [&b"<sip:a,b;lr>"[..], b"<sip:c;lr>", b"<sip:d>"]);
        assert_eq!(values, commas.values(HeaderName::Route).collect::<Vec<_>>());
        assert_eq!(commas.lines(HeaderName::Route).count(), 1);
    }

    #[test]
    fn a_comma_in_a_field_that_is_no_list_is_text() {
        let headers = headers("Date: Tue, 17 Mar 2026 15:04:12 GMT\r\nSubject:");
        assert_eq!(headers.values(HeaderName::Date).count(), 1);
        assert_eq!(headers.values(HeaderName::Subject).count(), 0);
        assert_eq!(headers.line(HeaderName::Subject), Some(&b""[..]));
    }

    #[test]
    fn an_option_is_found_in_any_line_and_case() {
        let headers = headers("Supported: timer,100rel\r\nk: Replaces");
        for tag in [&b"timer"[..], b"100REL", b"replaces"] {
            assert!(headers.has_option(HeaderName::Supported, tag));
        }
        assert!(!headers.has_option(HeaderName::Supported, b"100"));
        assert!(!headers.has_option(HeaderName::Require, b"timer"));
    }

    #[test]
    fn the_first_contact_is_an_address_or_an_error() {
        assert_eq!(headers("X: 1").contact(), Ok(None));
        assert_eq!(
            headers("m: <sip:a@h1>;q=1, <sip:a@h2>").contact().unwrap().unwrap().uri(),
            b"sip:a@h1"
        );
        assert_eq!(headers("Contact: *").contact(), Err(HeaderError::Star));
        assert_eq!(headers("Contact: sip:a@b?x=y").contact(), Err(HeaderError::BareUri));
    }

    #[test]
    fn typed_fields_are_read_when_asked_for() {
        let headers = headers(
            "x: 1800;refresher=uas\r\nMin-SE: 90\r\nRetry-After: 30 (busy)\r\n\
             Reason: Q.850;cause=16, SIP;cause=200;text=\"a, b\"\r\nr: <sip:c@d?Replaces=x>\r\n\
             o: refer;id=2\r\nRSeq: 7\r\nRAck: 7 1 INVITE\r\nExpires: soon",
        );
        assert_eq!(headers.session_expires().unwrap().unwrap().delta, 1800);
        assert_eq!(headers.min_se(), Ok(Some(90)));
        assert_eq!(headers.retry_after(), Ok(Some(30)));
        let causes: Vec<_> = headers.reasons().map(|reason| reason.unwrap().cause).collect();
        assert_eq!(causes, [Some(16), Some(200)]);
        assert_eq!(headers.refer_to().unwrap().unwrap().uri(), b"sip:c@d?Replaces=x");
        assert_eq!(headers.event().unwrap().unwrap().token, b"refer");
        assert_eq!(headers.rseq(), Ok(Some(7)));
        assert_eq!(headers.rack().unwrap().unwrap().cseq.number, 1);
        assert_eq!(headers.seconds(HeaderName::Expires), Err(HeaderError::Number));
        assert_eq!(headers.subscription_state(), Ok(None));
    }

    #[test]
    fn a_slice_shares_the_message_and_foreign_text_is_copied() {
        let headers = headers("X: 1");
        let shared = headers.slice_of(headers.call_id());
        assert_eq!(shared.as_ptr(), headers.call_id().as_ptr());
        assert_eq!(headers.slice_of(b"elsewhere"), "elsewhere");
        assert_eq!(headers.slice_of(b""), "");
        assert_eq!(headers.body_bytes().as_ptr(), headers.body().as_ptr());
        assert_eq!(headers.body_bytes(), "body");
    }

    #[test]
    fn names_are_listed_as_written() {
        let headers = headers("x-FOO: 1");
        let last = headers.iter().last().unwrap();
        assert_eq!(last, (HeaderName::Other, &b"x-FOO"[..], &b"1"[..]));
    }
}

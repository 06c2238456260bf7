//! Reading a message: one pass over the lines, then the mandatory fields.
//!
//! The first fault decides what is reported, but lines are read to the end, so that a refusal can
//! be addressed. Nothing is looked at more often than a fixed number of times.

use std::sync::Arc;

use bytes::Bytes;
use memchr::{memchr, memchr2, memrchr};

use super::chars::{
    TOKEN, VISIBLE, find_near, is_lws, is_token, number, split_before, trim_end, trim_start,
};
use super::header::{AddrSpans, Index, Line, Span, ViaSpans};
use super::params::{split_list, split_value};
use super::{
    CSeq, Fault, HeaderError, HeaderName, Headers, Malformed, Message, Method, NameAddr, Refusal,
    Request, Response, Uri, Via,
};

/// A carrier's INVITE has about 25 header lines.
const LINES_USUAL: usize = 32;

/// How much of everything a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub message_bytes_max: u32,
    pub start_line_bytes_max: u32,
    /// Of one header field, folded lines together. A PASSporT in an Identity field can exceed
    /// 4 KiB (spec/sip P11).
    pub header_bytes_max: u32,
    pub headers_max: u32,
    /// Values, not lines.
    pub vias_max: u32,
    pub body_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 65_535,
            start_line_bytes_max: 8 * 1024,
            header_bytes_max: 16 * 1024,
            headers_max: 256,
            vias_max: 70,
            body_bytes_max: 65_535,
        }
    }
}

pub(super) fn parse(mut raw: Bytes, limits: &Limits) -> Result<Message, Malformed> {
    let blank = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if blank > 0 {
        raw = raw.split_off(blank);
    }
    if raw.is_empty() {
        return Err(Malformed { fault: Fault::Empty, refusal: None });
    }
    let too_large = raw.len() > limits.message_bytes_max as usize;
    if too_large {
        raw.truncate(limits.message_bytes_max as usize);
    }
    let mut draft = Draft::read(&raw, limits);
    if draft.folded {
        raw = unfold(&raw);
        draft = Draft::read(&raw, limits);
    }
    if too_large {
        draft.fault = Some(Fault::MessageTooLarge);
    }
    let start = draft.start_line(&raw, limits);
    draft.mandatory(&raw, start, limits);
    draft.finish(raw, start, limits)
}

/// The header with line breaks before blanks made blanks themselves, so that every offset stays.
/// The body stays as it is.
fn unfold(raw: &Bytes) -> Bytes {
    let mut text = raw.to_vec();
    let mut line = 0;
    while let Some(len) = memchr(b'\n', &text[line..]) {
        let end = line + len;
        let has_cr = len > 0 && text[end - 1] == b'\r';
        if len == usize::from(has_cr) {
            break;
        }
        if text.get(end + 1).is_some_and(|byte| is_lws(*byte)) {
            text[end] = b' ';
            if has_cr {
                text[end - 1] = b' ';
            }
        }
        line = end + 1;
    }
    text.into()
}

/// What the start line says.
#[derive(Clone, Copy)]
enum Start {
    Request {
        method: Method,
        method_text: Span,
        uri: Span,
    },
    Response {
        status: u16,
        reason: Span,
    },
    /// A request that is not readable beyond its method.
    BadRequest {
        method: Method,
    },
    /// Not readable, and nothing to answer.
    Unknown,
}

/// A message that is being read. Spans of header fields are of the first line with that name.
#[derive(Default)]
struct Draft {
    index: Index,
    /// End of the start line.
    start_line: usize,
    vias: usize,
    via: Option<Span>,
    from: Option<Span>,
    to: Option<Span>,
    call_id: Option<Span>,
    cseq: Option<Span>,
    max_forwards: Option<Span>,
    content_length: Option<Span>,
    has_via: bool,
    folded: bool,
    fault: Option<Fault>,
}

impl Draft {
    /// Finds the lines. Stops at the first folded one: the caller unfolds and starts again.
    fn read(raw: &[u8], limits: &Limits) -> Self {
        let mut draft = Self::default();
        draft.index.lines.reserve(LINES_USUAL);
        let mut at = 0;
        while let Some(len) = memchr2(b'\r', b'\n', &raw[at..]) {
            let line = &raw[at..at + len];
            let next = match raw[at + len..] {
                [b'\n', ..] => at + len + 1,
                [_, b'\n', ..] => at + len + 2,
                _ => match memchr(b'\n', &raw[at..]) {
                    // The whole line is left out: a CR must not reach an answer.
                    Some(len) => {
                        draft.blame(Fault::BareCr);
                        at += len + 1;
                        continue;
                    }
                    None => break,
                },
            };
            if line.is_empty() {
                draft.index.body = next as u32;
                return draft;
            }
            if raw.get(next).is_some_and(|byte| is_lws(*byte)) {
                draft.folded = true;
                return draft;
            }
            if at == 0 {
                draft.start_line = line.len();
            } else if draft.index.lines.len() >= limits.headers_max as usize {
                draft.blame(Fault::TooManyHeaders);
                return draft;
            } else if line.len() > limits.header_bytes_max as usize {
                draft.blame(Fault::HeaderTooLong);
            } else {
                draft.header_line(at, line);
            }
            at = next;
        }
        draft.blame(Fault::Unfinished);
        draft
    }

    fn header_line(&mut self, start: usize, line: &[u8]) {
        let Some(colon) = find_near(line, b':') else {
            return self.blame(Fault::HeaderLine);
        };
        let name_text = trim_end(&line[..colon]);
        let name = HeaderName::from_bytes(name_text);
        let Ok(name_len) = u16::try_from(name_text.len()) else {
            return self.blame(Fault::HeaderLine);
        };
        if name == HeaderName::Other && !is_token(name_text) {
            return self.blame(Fault::HeaderLine);
        }
        let after = trim_start(&line[colon + 1..]);
        let text = trim_end(after);
        let value_start = start + line.len() - after.len();
        let value = Span::new(value_start, value_start + text.len());
        if self.note(name, value, text) {
            self.index.present |= name.bit();
            self.index.lines.push(Line { name, name_len, start: start as u32, value });
        } else {
            self.blame(Fault::Repeated(name));
        }
    }

    /// Remembers where the mandatory fields are. `false` if one occurs again: two parsers could
    /// choose differently (spec/sip P4).
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these fields decide anything here")]
    fn note(&mut self, name: HeaderName, value: Span, text: &[u8]) -> bool {
        let place = match name {
            HeaderName::Via => {
                self.via.get_or_insert(value);
                self.vias += match memchr(b',', text) {
                    None => 1,
                    Some(_) => split_list(text).count(),
                };
                return true;
            }
            HeaderName::From => &mut self.from,
            HeaderName::To => &mut self.to,
            HeaderName::CallId => &mut self.call_id,
            HeaderName::CSeq => &mut self.cseq,
            HeaderName::MaxForwards => &mut self.max_forwards,
            HeaderName::ContentLength => &mut self.content_length,
            _ => return true,
        };
        let is_first = place.is_none();
        place.get_or_insert(value);
        is_first
    }

    fn start_line(&mut self, raw: &[u8], limits: &Limits) -> Start {
        let line = &raw[..self.start_line];
        if line.len() > limits.start_line_bytes_max as usize {
            // Only the answer depends on the method, and only on ACK.
            self.blame(Fault::StartLineTooLong);
            return method_at_start(line);
        }
        match line.get(..4) {
            Some(protocol) if protocol.eq_ignore_ascii_case(b"SIP/") => self.status_line(raw, line),
            _ => self.request_line(raw, line),
        }
    }

    /// RFC 3261 §7.2. The blank before an empty reason phrase may be missing.
    fn status_line(&mut self, raw: &[u8], line: &[u8]) -> Start {
        let (version, after) = split_before(line, b' ');
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            self.blame(Fault::Version);
            return Start::Unknown;
        }
        let (status, reason) = match after {
            [b' ', a, b, c] => ([a, b, c], &after[..0]),
            [b' ', a, b, c, b' ', reason @ ..] => ([a, b, c], reason),
            _ => {
                self.blame(Fault::StatusLine);
                return Start::Unknown;
            }
        };
        let digits = status.map(|digit| u16::from(digit.wrapping_sub(b'0')));
        match digits {
            [1..=6, 0..=9, 0..=9] => {
                let status = digits[0] * 100 + digits[1] * 10 + digits[2];
                Start::Response { status, reason: Span::of(raw, reason).unwrap_or_default() }
            }
            _ => {
                self.blame(Fault::StatusLine);
                Start::Unknown
            }
        }
    }

    /// RFC 3261 §7.1: one space each between method, URI and version, none elsewhere.
    fn request_line(&mut self, raw: &[u8], line: &[u8]) -> Start {
        let broken = method_at_start(line);
        let Start::BadRequest { method } = broken else {
            self.blame(Fault::NotSip);
            return broken;
        };
        let method_len = TOKEN.run(line);
        let after = &line[method_len + 1..];
        let Some(version_at) = memrchr(b' ', after).map(|space| space + 1) else {
            self.blame(Fault::RequestLine);
            return broken;
        };
        let (uri, version) = (&after[..version_at - 1], &after[version_at..]);
        if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            self.blame(match version.get(..4) {
                Some(protocol) if protocol.eq_ignore_ascii_case(b"SIP/") => Fault::Version,
                _ if version.is_empty() => Fault::RequestLine,
                _ => Fault::NotSip,
            });
            return broken;
        }
        match Uri::parse(uri) {
            // RFC 3261 §19.1.1, table 1: no header components in a Request-URI.
            Ok(parsed) if parsed.headers().is_some() => {
                self.blame(Fault::Uri(HeaderError::UriHeaders));
            }
            Ok(_) => {}
            Err(_) if uri.is_empty() || uri.iter().any(|byte| is_lws(*byte)) => {
                self.blame(Fault::RequestLine);
            }
            Err(error) => self.blame(Fault::Uri(error)),
        }
        let uri = Span::of(raw, uri).unwrap_or_default();
        Start::Request { method, method_text: Span::new(0, method_len), uri }
    }

    /// Reads what every message must have (RFC 3261 §8.1.1) into the index.
    fn mandatory(&mut self, raw: &[u8], start: Start, limits: &Limits) {
        if let Some(value) = self.field(HeaderName::Via, self.via) {
            let top = split_value(value.of_text(raw)).0;
            let via = self.checked(HeaderName::Via, Via::parse(top));
            if let Some(via) = via.or_else(|| Via::parse_for_refusal(top)) {
                self.index.via = ViaSpans::of(raw, &via);
                self.has_via = true;
            }
        }
        if self.vias > limits.vias_max as usize {
            self.blame(Fault::TooManyVias);
        }
        if let Some(value) = self.field(HeaderName::From, self.from)
            && let Some(addr) = self.checked(HeaderName::From, NameAddr::parse(value.of_text(raw)))
        {
            self.index.from = AddrSpans::of(raw, &addr);
        }
        if let Some(value) = self.field(HeaderName::To, self.to)
            && let Some(addr) = self.checked(HeaderName::To, NameAddr::parse(value.of_text(raw)))
        {
            self.index.to = AddrSpans::of(raw, &addr);
        }
        if let Some(value) = self.field(HeaderName::CallId, self.call_id)
            && self.checked(HeaderName::CallId, call_id(value.of_text(raw))).is_some()
        {
            self.index.call_id = value;
        }
        if let Some(value) = self.field(HeaderName::CSeq, self.cseq)
            && let Some(cseq) = self.checked(HeaderName::CSeq, CSeq::parse(value.of_text(raw)))
        {
            self.index.cseq = cseq.number;
            self.index.cseq_method = Span::of(raw, cseq.method).unwrap_or_default();
            if let Start::Request { method_text, .. } = start
                && method_text.of_text(raw) != cseq.method
            {
                self.blame(Fault::CSeqMethod);
            }
        }
        if let Some(value) = self.max_forwards {
            let hops = number(value.of_text(raw)).and_then(|hops| u8::try_from(hops).ok());
            self.index.max_forwards =
                self.checked(HeaderName::MaxForwards, hops.ok_or(HeaderError::Number));
        }
    }

    /// Where the message ends (RFC 3261 §18.3): without Content-Length, with the datagram.
    fn end(&mut self, raw: &[u8], limits: &Limits) -> usize {
        let body = (self.index.body as usize).min(raw.len());
        let mut end = raw.len();
        if let Some(value) = self.content_length {
            let len = number(value.of_text(raw)).ok_or(HeaderError::Number);
            if let Some(len) = self.checked(HeaderName::ContentLength, len) {
                match usize::try_from(len) {
                    Ok(len) if len <= raw.len() - body => end = body + len,
                    // What is too long on a stream is refused before it has come.
                    Ok(len) if len > limits.body_bytes_max as usize => {
                        self.blame(Fault::BodyTooLarge);
                    }
                    _ => self.blame(Fault::BodyShort),
                }
            }
        }
        if end - body > limits.body_bytes_max as usize {
            self.blame(Fault::BodyTooLarge);
        }
        end
    }

    fn finish(
        mut self,
        mut raw: Bytes,
        start: Start,
        limits: &Limits,
    ) -> Result<Message, Malformed> {
        let end = self.end(&raw, limits);
        raw.truncate(end);
        let headers = Headers { raw, index: Arc::new(self.index) };
        match (self.fault, start) {
            (None, Start::Request { method, method_text, uri }) => {
                Ok(Message::Request(Request { headers, method, method_text, uri }))
            }
            (None, Start::Response { status, reason }) => {
                Ok(Message::Response(Response { headers, status, reason }))
            }
            (fault, start) => {
                let fault = fault.unwrap_or(Fault::NotSip);
                let (status, reason) = fault.answer();
                let answerable = match start {
                    Start::Request { method, .. } | Start::BadRequest { method } => {
                        method != Method::Ack && self.has_via
                    }
                    Start::Response { .. } | Start::Unknown => false,
                };
                let refusal = answerable.then_some(Refusal { status, reason, headers });
                Err(Malformed { fault, refusal })
            }
        }
    }

    /// A mandatory field's value, or a fault.
    fn field(&mut self, name: HeaderName, value: Option<Span>) -> Option<Span> {
        if value.is_none() {
            self.blame(Fault::Missing(name));
        }
        value
    }

    /// A field's parsed value, or a fault.
    fn checked<T>(&mut self, name: HeaderName, parsed: Result<T, HeaderError>) -> Option<T> {
        parsed.map_err(|error| self.blame(Fault::Header(name, error))).ok()
    }

    /// The first fault is the one reported.
    fn blame(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// The method of what could be a request line.
fn method_at_start(line: &[u8]) -> Start {
    let (method, after) = TOKEN.split(line);
    match (method, after) {
        ([_, ..], [b' ', ..]) => Start::BadRequest { method: Method::from_bytes(method) },
        _ => Start::Unknown,
    }
}

/// `word [@ word]`, without insisting on which visible characters (RFC 3261 §20.8).
fn call_id(value: &[u8]) -> Result<(), HeaderError> {
    match value {
        [] => Err(HeaderError::Empty),
        _ if VISIBLE.has_all(value) => Ok(()),
        _ => Err(HeaderError::Character),
    }
}

#[cfg(test)]
mod tests;

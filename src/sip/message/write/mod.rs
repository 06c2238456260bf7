//! Writing messages from parts. A value can never make a line of its own (spec/sip P18).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use memchr::memchr3;

use super::chars::{TOKEN, URI, is_token, trim_end};
use super::params::split_value;
use super::{HeaderName, Headers, Via};

/// Builds one message after the other in the same buffer; a finished message is one allocation of
/// its own size.
#[derive(Debug, Default)]
pub struct Writer {
    text: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Self { text: Vec::with_capacity(2048) }
    }

    /// Starts a request; what was not finished is forgotten. Bytes that neither a method nor a URI
    /// may hold are replaced, so that the line stays one of three parts.
    pub fn request(&mut self, method: &[u8], uri: &[u8]) {
        self.text.clear();
        self.text.extend(method.iter().map(|byte| if TOKEN.has(*byte) { *byte } else { b'-' }));
        self.text.push(b' ');
        self.text.extend(uri.iter().map(|byte| if URI.has(*byte) { *byte } else { b'_' }));
        self.text.extend_from_slice(b" SIP/2.0\r\n");
    }

    /// Starts a response; what was not finished is forgotten.
    pub fn response(&mut self, status: u16, reason: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(b"SIP/2.0 ");
        self.number(u64::from(status));
        self.text.push(b' ');
        self.value(reason);
        self.line_end();
    }

    /// One line. CR, LF and NUL in the value become spaces. `HeaderName::Other` has no name and is
    /// left out: see [`Writer::named`].
    pub fn header(&mut self, name: HeaderName, value: &[u8]) {
        self.header_parts(name, &[value]);
    }

    /// One line whose value is the parts behind one another.
    pub fn header_parts(&mut self, name: HeaderName, parts: &[&[u8]]) {
        if name != HeaderName::Other {
            self.name(name);
            for part in parts {
                self.value(part);
            }
            self.line_end();
        }
    }

    pub fn header_number(&mut self, name: HeaderName, n: u64) {
        if name != HeaderName::Other {
            self.name(name);
            self.number(n);
            self.line_end();
        }
    }

    /// A line whose name comes from elsewhere, such as the configuration. `false`, and nothing
    /// written, if the name is no token, or is in any of its forms that of a field which
    /// [steers the protocol](HeaderName::is_protocol): such a line could forge a dialog.
    pub fn named(&mut self, name: &[u8], value: &[u8]) -> bool {
        let valid = is_token(name) && !HeaderName::from_bytes(name).is_protocol();
        if valid {
            self.text.extend_from_slice(name);
            self.text.extend_from_slice(b": ");
            self.value(value);
            self.line_end();
        }
        valid
    }

    /// Every line of that name, in order and byte for byte, under the name's canonical spelling;
    /// lines of `HeaderName::Other` under their own.
    pub fn copy_all(&mut self, name: HeaderName, from: &Headers) {
        for (written, value) in from.named_lines(name) {
            if name == HeaderName::Other {
                self.text.extend_from_slice(written);
                self.text.extend_from_slice(b": ");
            } else {
                self.name(name);
            }
            self.text.extend_from_slice(value);
            self.line_end();
        }
    }

    /// The Vias of a request as its response must carry them. The top one gets `received` when its
    /// sent-by host is not `source`'s address or when it asks for `rport`, which is then filled in
    /// (RFC 3261 §18.2.1, RFC 3581 §4). What the sender itself claims in these two is replaced.
    pub fn vias_for_response(&mut self, of: &Headers, source: SocketAddr) {
        let mut is_top = true;
        for (_, line) in of.named_lines(HeaderName::Via) {
            self.name(HeaderName::Via);
            let mut rest = line;
            if is_top {
                let (top, after) = split_value(line);
                self.top_via(&of.via(), top, source);
                rest = match after {
                    Some(_) => &line[top.len()..],
                    None => &[],
                };
                is_top = false;
            }
            self.text.extend_from_slice(rest);
            self.line_end();
        }
    }

    fn top_via(&mut self, via: &Via<'_>, raw: &[u8], source: SocketAddr) {
        let ip = source.ip().to_canonical();
        let params = via.params();
        let (asks, claims) = (params.has(b"rport"), params.has(b"received"));
        let differs = via.host_ip().map(|host| host.to_canonical()) != Some(ip);
        if !asks && !claims && !differs {
            return self.text.extend_from_slice(raw);
        }
        let (hop, _) = via.raw().split_at(via.raw().len() - params.raw().len());
        self.text.extend_from_slice(trim_end(hop));
        for (name, value) in params.iter() {
            if name.eq_ignore_ascii_case(b"received") {
                continue;
            }
            self.text.push(b';');
            self.text.extend_from_slice(name);
            if name.eq_ignore_ascii_case(b"rport") {
                self.text.push(b'=');
                self.number(u64::from(source.port()));
            } else if let Some(value) = value {
                self.text.push(b'=');
                self.text.extend_from_slice(value);
            }
        }
        if asks || differs {
            self.text.extend_from_slice(b";received=");
            self.ip(ip);
        }
    }

    /// Ends a message without body.
    pub fn finish(&mut self) -> Bytes {
        self.end(&[])
    }

    /// Ends a message with a body.
    pub fn finish_with(&mut self, content_type: &[u8], body: &[u8]) -> Bytes {
        self.header(HeaderName::ContentType, content_type);
        self.end(body)
    }

    fn end(&mut self, body: &[u8]) -> Bytes {
        self.header_number(HeaderName::ContentLength, body.len() as u64);
        self.line_end();
        self.text.extend_from_slice(body);
        let message = Bytes::copy_from_slice(&self.text);
        self.text.clear();
        message
    }

    fn name(&mut self, name: HeaderName) {
        self.text.extend_from_slice(name.name().as_bytes());
        self.text.extend_from_slice(b": ");
    }

    fn value(&mut self, value: &[u8]) {
        match memchr3(b'\r', b'\n', 0, value) {
            None => self.text.extend_from_slice(value),
            Some(_) => self.text.extend(value.iter().map(|byte| match byte {
                b'\r' | b'\n' | 0 => b' ',
                _ => *byte,
            })),
        }
    }

    fn number(&mut self, number: u64) {
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn ip(&mut self, ip: IpAddr) {
        append_ip(&mut self.text, ip);
    }

    fn line_end(&mut self) {
        self.text.extend_from_slice(b"\r\n");
    }
}

/// Appends an address as it stands in a Via or an SDP. Each response names one, and the formatting
/// of the standard library takes as long as the rest of the line.
pub(in crate::sip) fn append_ip(text: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (position, octet) in ip.octets().into_iter().enumerate() {
                if position > 0 {
                    text.push(b'.');
                }
                text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(ip) => {
            use std::io::Write as _;
            write!(text, "{ip}").expect("writing to memory cannot fail");
        }
    }
}

#[cfg(test)]
mod tests;

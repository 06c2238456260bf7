//! Parses anything, reads every view, answers what is refused.

use bytes::Bytes;
use tollbridge::sip::message::{
    Credentials, HeaderName, Headers, Limits, Malformed, Message, NameAddr, Uri, Via, Writer,
    unescape, unquote,
};

pub(crate) fn check(data: &[u8]) {
    match Message::parse(Bytes::copy_from_slice(data), &Limits::default()) {
        Ok(message) => {
            read_everything(message.headers());
            let again = Message::parse(message.headers().raw().clone(), &Limits::default());
            assert_eq!(again.as_ref(), Ok(&message), "what was taken is taken again");
        }
        Err(Malformed { refusal: Some(refusal), .. }) => {
            read_everything(&refusal.headers);
            answer(&refusal.headers, refusal.status);
        }
        Err(Malformed { refusal: None, .. }) => {}
    }
}

fn read_everything(headers: &Headers) {
    for (name, _, value) in headers.iter() {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "a value is one line");
        assert!(headers.has(name));
        headers.values(name).for_each(read_value);
    }
    let _ = (headers.via().rport(), headers.via().received(), headers.via().host_ip());
    let _ = (headers.from().parsed_uri(), headers.to().parsed_uri(), headers.contact());
    let _ = (headers.session_expires(), headers.retry_after(), headers.rseq(), headers.rack());
    let _ = (headers.refer_to(), headers.replaces(), headers.event(), headers.body_bytes());
    headers.reasons().flatten().for_each(|reason| drop(reason.text()));
    drop(format!("{headers:?}"));
}

fn read_value(value: &[u8]) {
    let _ = Via::parse(value);
    let _ = (unescape(value), unquote(value));
    if let Ok(credentials) = Credentials::parse(value) {
        let _ = credentials.iter().count();
    }
    let uri = match NameAddr::parse(value) {
        Ok(addr) => addr.parsed_uri(),
        Err(_) => Uri::parse(value),
    };
    if let Ok(uri) = uri {
        let _ = (uri.user_params(), uri.host_ip(), uri.header_fields().count());
        assert!(uri.equivalent(&uri), "a URI is itself");
    }
}

/// The answer to a refused request is a message, or is refused for the same field.
fn answer(headers: &Headers, status: u16) {
    let mut writer = Writer::new();
    writer.response(status, b"Bad Request");
    writer.vias_for_response(headers, ([192, 0, 2, 1], 5060).into());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        writer.copy_all(name, headers);
    }
    let lines = writer.finish().iter().filter(|byte| **byte == b'\n').count();
    let copied = [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId];
    let fields: usize = copied.iter().map(|name| headers.lines(*name).count()).sum();
    let cseq = headers.lines(HeaderName::CSeq).count();
    assert_eq!(lines, fields + cseq + 3, "status line, fields, Content-Length, empty line");
}

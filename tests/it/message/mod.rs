//! The message layer from outside: torture messages, properties, an independent parser.

mod oracle;
mod roundtrip;
mod torture;

use bytes::Bytes;
use tollbridge::sip::message::{Limits, Malformed, Message, Request, Response};

fn parse(raw: impl Into<Bytes>) -> Result<Message, Malformed> {
    Message::parse(raw.into(), &Limits::default())
}

fn request(raw: impl Into<Bytes>) -> Request {
    match parse(raw) {
        Ok(Message::Request(request)) => request,
        other => panic!("not a request: {other:?}"),
    }
}

fn response(raw: impl Into<Bytes>) -> Response {
    match parse(raw) {
        Ok(Message::Response(response)) => response,
        other => panic!("not a response: {other:?}"),
    }
}

/// A start line, fields, and a body, with CRLF where they belong. A field's own line feeds (folds)
/// become CRLF too.
fn text(start: &str, fields: &[&str], body: &str) -> String {
    let lines = [&[start], fields].concat().join("\n").replace('\n', "\r\n");
    format!("{lines}\r\n\r\n{body}")
}

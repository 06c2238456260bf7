//! The few lines of HTTP the tests need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// Shows the key of examples/loopback.toml.
const OPERATOR: (&str, &str) = ("Authorization", "Bearer dev");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, it)| it)
    }

    /// The body as JSON; the error shows the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.body).with_context(|| format!("unexpected body: {}", self.body))
    }
}

pub(crate) fn get(to: SocketAddr, path: &str) -> Result<Reply> {
    exchange(to, ("GET", path), "", &[OPERATOR, JSON])
}

pub(crate) fn post(to: SocketAddr, path: &str, json: &str) -> Result<Reply> {
    post_with(to, path, json, &[])
}

/// With further headers.
pub(crate) fn post_with(
    to: SocketAddr,
    path: &str,
    json: &str,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    exchange(to, ("POST", path), json, &[headers, &[OPERATOR, JSON]].concat())
}

/// With these headers alone: `asked` is the method and the path.
pub(crate) fn ask(
    to: SocketAddr,
    asked: (&str, &str),
    body: &str,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    exchange(to, asked, body, headers)
}

/// One request on a connection of its own. HTTP/1.0, so that the answer ends with the connection
/// and never comes in chunks.
fn exchange(
    to: SocketAddr,
    (method, path): (&str, &str),
    body: &str,
    headers: &[(&str, &str)],
) -> Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = body.len();
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {to}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").context("an answer without an end of headers")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.context("an answer without a status")?;
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

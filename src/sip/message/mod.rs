//! The message layer: bytes to typed messages and back.
//!
//! Owns the syntax of RFC 3261 §7, §19.1, §20 and §25. Does not know transactions, transports, or
//! which methods and schemes this server takes: an unknown method is [`Method::Other`], an unknown
//! scheme [`Scheme::Other`].
//!
//! A parsed message is its bytes and an index over them; nothing else is copied. Views such as
//! [`Via`] and [`NameAddr`] borrow from it and are read when asked for, except the fields every
//! message must have: they are checked once, at parsing.
//!
//! Invariants:
//! * Text is bytes. What is not UTF-8 passes untouched.
//! * Of a field that may occur once there is one, so that no two readers see different ones.
//! * A line of a parsed message holds no CR or LF, and a written value cannot make a line.
//! * Reading takes time in proportion to the message's length, whatever it holds.
//! * `Debug` shows no caller: names of fields and parameters, lengths, hosts.
//!
//! ```text
//!  parse ─► Message ─ Request ─┐
//!                   └ Response ┴► Headers (index) ─► name_addr via uri params view
//!  write ◄─ parts, lines of received Headers
//! ```

mod chars;
mod fault;
mod header;
mod multipart;
mod name;
mod name_addr;
mod params;
mod parse;
mod status;
mod uri;
mod via;
mod view;
mod write;

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use self::header::Span;

pub use self::fault::{Fault, HeaderError, Malformed, Refusal};
pub use self::header::Headers;
pub use self::multipart::{BodyPart, body_parts, is_multipart, write_multipart};
pub use self::name::HeaderName;
pub use self::name_addr::{NameAddr, quote_display};
pub use self::params::{Params, unquote};
pub use self::parse::Limits;
pub use self::status::reason_phrase;
pub use self::uri::{Scheme, Uri, unescape};
pub use self::via::{Rport, Via};
pub use self::view::{
    CSeq, Challenge, Credentials, RAck, Reason, Refresher, Replaces, SessionExpires, TokenParams,
};
pub use self::write::Writer;
pub(in crate::sip) use self::write::append_ip;

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// Dereferences to its header fields and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    headers: Headers,
    method: Method,
    method_text: Span,
    uri: Span,
}

/// Dereferences to its header fields and body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    headers: Headers,
    status: u16,
    reason: Span,
}

impl Message {
    /// Reads one datagram, or one message framed by its Content-Length. Empty lines before it are
    /// skipped, octets after its body dropped; without Content-Length the body reaches to the end
    /// (RFC 3261 §7.5, §18.3). Lines end with CRLF or LF.
    pub fn parse(raw: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        parse::parse(raw, limits)
    }

    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => request,
            Self::Response(response) => response,
        }
    }
}

impl Request {
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as received, also if it is [`Method::Other`].
    pub fn method_bytes(&self) -> &[u8] {
        self.headers.at(self.method_text)
    }

    /// The Request-URI.
    pub fn uri(&self) -> &[u8] {
        self.headers.at(self.uri)
    }

    /// Cannot fail on a parsed message: parsing has checked it.
    pub fn parsed_uri(&self) -> Result<Uri<'_>, HeaderError> {
        Uri::parse(self.uri())
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Response {
    /// From 100 to 699.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// May be empty, and need not be UTF-8.
    pub fn reason_phrase(&self) -> &[u8] {
        self.headers.at(self.reason)
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

impl Deref for Request {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl Deref for Response {
    type Target = Headers;

    fn deref(&self) -> &Headers {
        &self.headers
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &String::from_utf8_lossy(self.method_bytes()))
            .field("uri", &self.parsed_uri())
            .field("headers", &self.headers)
            .finish()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("reason_phrase", &String::from_utf8_lossy(self.reason_phrase()))
            .field("headers", &self.headers)
            .finish()
    }
}

/// Declares the methods this server has a name for.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A request's method. Case matters (RFC 3261 §7.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Method { $($variant,)* Other }

        impl Method {
            /// `Other` for anything but the exact name.
            pub fn from_bytes(name: &[u8]) -> Self {
                $(if name == $name.as_bytes() { return Self::$variant; })*
                Self::Other
            }

            /// Empty for `Other`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* Self::Other => "" }
            }
        }
    };
}

methods! {
    Invite = "INVITE";
    Ack = "ACK";
    Bye = "BYE";
    Cancel = "CANCEL";
    Options = "OPTIONS";
    Register = "REGISTER";
    Info = "INFO";
    Update = "UPDATE";
    Prack = "PRACK";
    Refer = "REFER";
    Notify = "NOTIFY";
    Subscribe = "SUBSCRIBE";
    Message = "MESSAGE";
    Publish = "PUBLISH";
}

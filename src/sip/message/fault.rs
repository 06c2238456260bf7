//! What can be wrong with a message, and what to answer.

use std::fmt;

use super::{HeaderName, Headers};

/// Why a header field's value or a URI does not parse. Never repeats the text: it may hold a
/// caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("is empty")]
    Empty,
    #[error("has a quoted string without end")]
    Quote,
    #[error("has a display name that needs quotes")]
    DisplayName,
    #[error("has `<` without `>`")]
    Bracket,
    #[error("has a URI without a scheme")]
    Scheme,
    #[error("has a character no URI may hold")]
    UriCharacter,
    #[error("has a URI with header fields where none may be")]
    UriHeaders,
    #[error("has a URI that needs `<` and `>` around it")]
    BareUri,
    #[error("has no user part before `@`")]
    User,
    #[error("has no valid host")]
    Host,
    #[error("has no valid port")]
    Port,
    #[error("has a malformed parameter")]
    Param,
    #[error("is not a number in range")]
    Number,
    #[error("has no valid method")]
    Method,
    #[error("does not begin with a protocol such as SIP/2.0/UDP")]
    Protocol,
    #[error("is `*`")]
    Star,
    #[error("has characters it may not hold")]
    Character,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but line ends: a keep-alive (RFC 5626 §3.5.1), not a message.
    Empty,
    /// Not SIP at all.
    NotSip,
    MessageTooLarge,
    StartLineTooLong,
    HeaderTooLong,
    TooManyHeaders,
    TooManyVias,
    BodyTooLarge,
    /// Not exactly method, space, URI, space, version (RFC 3261 §7.1).
    RequestLine,
    Version,
    Uri(HeaderError),
    /// Not three digits from 100 to 699 (RFC 3261 §7.2).
    StatusLine,
    /// No name, or no colon.
    HeaderLine,
    /// A CR that ends no line: some parsers take it for an end, so it could hide a field.
    BareCr,
    /// No empty line after the header fields.
    Unfinished,
    Missing(HeaderName),
    Repeated(HeaderName),
    Header(HeaderName, HeaderError),
    /// CSeq names another method than the start line (RFC 3261 §8.1.1.5).
    CSeqMethod,
    /// Content-Length promises more than there is (RFC 3261 §18.3).
    BodyShort,
}

/// A message that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Malformed {
    pub fault: Fault,
    /// What to answer. `None` for responses, for ACK, and where no Via says whom to answer.
    pub refusal: Option<Refusal>,
}

/// The answer a malformed request deserves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
    /// What could be read of the request: its first Via is valid, every other mandatory field may
    /// be missing or malformed (its accessor then gives empty text). Meant for
    /// [`Writer::vias_for_response`](super::Writer::vias_for_response) and
    /// [`Writer::copy_all`](super::Writer::copy_all).
    pub headers: Headers,
}

impl Fault {
    /// A label for metrics; the set is small and fixed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotSip => "not_sip",
            Self::MessageTooLarge => "message_too_large",
            Self::StartLineTooLong => "start_line_too_long",
            Self::HeaderTooLong => "header_too_long",
            Self::TooManyHeaders => "too_many_headers",
            Self::TooManyVias => "too_many_vias",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::Uri(_) => "uri",
            Self::StatusLine => "status_line",
            Self::HeaderLine => "header_line",
            Self::BareCr => "bare_cr",
            Self::Unfinished => "unfinished",
            Self::Missing(_) => "header_missing",
            Self::Repeated(_) => "header_repeated",
            Self::Header(..) => "header_value",
            Self::CSeqMethod => "cseq_method",
            Self::BodyShort => "body_short",
        }
    }

    /// Status and reason phrase for the sender; the phrase says which field is at fault.
    pub(super) fn answer(self) -> (u16, &'static str) {
        match self {
            Self::MessageTooLarge | Self::HeaderTooLong | Self::TooManyHeaders => {
                (513, "Message Too Large")
            }
            Self::StartLineTooLong => (414, "Request-URI Too Long"),
            Self::TooManyVias => (483, "Too Many Hops"),
            Self::BodyTooLarge => (413, "Request Entity Too Large"),
            Self::Version => (505, "Version Not Supported"),
            Self::Empty | Self::NotSip | Self::StatusLine => (400, "Bad Request"),
            Self::RequestLine => (400, "Bad Request Line"),
            Self::Uri(_) => (400, "Bad Request-URI"),
            Self::HeaderLine | Self::BareCr => (400, "Bad Header Line"),
            Self::Unfinished => (400, "No Empty Line After Header"),
            Self::CSeqMethod => (400, "CSeq Method Mismatch"),
            Self::BodyShort => (400, "Body Shorter Than Content-Length"),
            Self::Missing(name) => (400, missing(name)),
            Self::Repeated(name) => (400, repeated(name)),
            Self::Header(name, _) => (400, bad(name)),
        }
    }
}

/// Declares a table of phrases, one per mandatory field.
macro_rules! phrases {
    ($($function:ident = $prefix:literal;)*) => { $(
        fn $function(name: HeaderName) -> &'static str {
            match name {
                HeaderName::Via => concat!($prefix, " Via"),
                HeaderName::From => concat!($prefix, " From"),
                HeaderName::To => concat!($prefix, " To"),
                HeaderName::CallId => concat!($prefix, " Call-ID"),
                HeaderName::CSeq => concat!($prefix, " CSeq"),
                HeaderName::MaxForwards => concat!($prefix, " Max-Forwards"),
                HeaderName::ContentLength => concat!($prefix, " Content-Length"),
                _ => "Bad Request",
            }
        }
    )* };
}

phrases! {
    missing = "Missing";
    repeated = "Repeated";
    bad = "Bad";
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing but line ends",
            Self::NotSip => "not SIP",
            Self::MessageTooLarge => "message too large",
            Self::StartLineTooLong => "start line too long",
            Self::HeaderTooLong => "header field too long",
            Self::TooManyHeaders => "too many header fields",
            Self::TooManyVias => "too many Via values",
            Self::BodyTooLarge => "body too large",
            Self::RequestLine => "malformed request line",
            Self::Version => "unsupported SIP version",
            Self::Uri(error) => return write!(f, "Request-URI {error}"),
            Self::StatusLine => "malformed status line",
            Self::HeaderLine => "header line without name or colon",
            Self::BareCr => "CR that ends no line",
            Self::Unfinished => "no empty line after the header fields",
            Self::Missing(name) => return write!(f, "no {}", name.name()),
            Self::Repeated(name) => return write!(f, "more than one {}", name.name()),
            Self::Header(name, error) => return write!(f, "{} {error}", name.name()),
            Self::CSeqMethod => "CSeq names another method than the request line",
            Self::BodyShort => "body shorter than Content-Length",
        })
    }
}

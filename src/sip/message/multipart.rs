//! Bodies of several parts (RFC 2046 §5.1, RFC 5621): finding the one that is wanted, and writing
//! new ones.

use super::chars::trim;
use super::params::unquote;
use super::{HeaderName, Params};

/// One part: its header lines as they stand, and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPart<'a> {
    head: &'a [u8],
    pub body: &'a [u8],
}

/// More parts than this are not looked at.
const PARTS_MAX: usize = 16;

/// Whether a Content-Type value is one of several parts.
pub fn is_multipart(content_type: &[u8]) -> bool {
    content_type.get(..10).is_some_and(|it| it.eq_ignore_ascii_case(b"multipart/"))
}

/// The parts of a body with this Content-Type, in order; none if it is not multipart or broken.
pub fn body_parts<'a>(content_type: &[u8], body: &'a [u8]) -> Vec<BodyPart<'a>> {
    split(content_type, body).unwrap_or_default()
}

fn split<'a>(content_type: &[u8], body: &'a [u8]) -> Option<Vec<BodyPart<'a>>> {
    if !is_multipart(content_type) {
        return None;
    }
    let params = &content_type[memchr::memchr(b';', content_type)?..];
    let boundary = unquote(Params::new(params).value(b"boundary")?);
    // RFC 2046 §5.1.1: 1 to 70 characters.
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = [b"--", &boundary[..]].concat();
    let mut parts = Vec::new();
    let mut rest = after_delimiter(body, &delimiter)?.1;
    while parts.len() < PARTS_MAX {
        // The last delimiter ends with two more hyphens.
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let line_end = memchr::memchr(b'\n', rest)? + 1;
        let (part, after) = after_delimiter(&rest[line_end..], &delimiter)?;
        parts.push(BodyPart::read(part));
        rest = after;
    }
    Some(parts)
}

/// What stands before the next delimiter that begins a line, without the line end that belongs to
/// the delimiter, and what follows it.
fn after_delimiter<'a>(text: &'a [u8], delimiter: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let mut finder = memchr::memmem::find_iter(text, delimiter);
    let at = finder.find(|at| *at == 0 || text[at - 1] == b'\n')?;
    let before = &text[..at];
    let before = before.strip_suffix(b"\n").unwrap_or(before);
    let before = before.strip_suffix(b"\r").unwrap_or(before);
    Some((before, &text[at + delimiter.len()..]))
}

impl<'a> BodyPart<'a> {
    fn read(text: &'a [u8]) -> Self {
        for empty_line in [&b"\r\n\r\n"[..], b"\n\n"] {
            if let Some(at) = memchr::memmem::find(text, empty_line) {
                return Self { head: &text[..at], body: &text[at + empty_line.len()..] };
            }
        }
        // A part without header lines begins with the empty line (RFC 2046 §5.1).
        let body = text.strip_prefix(b"\r\n").or_else(|| text.strip_prefix(b"\n"));
        match body {
            Some(body) => Self { head: &[], body },
            None => Self { head: text, body: &[] },
        }
    }

    /// Without its parameters; plain text if the part does not say (RFC 2046 §5.1).
    pub fn essence(&self) -> &'a [u8] {
        let lines = self.head.split(|byte| *byte == b'\n');
        let mut fields = lines.filter_map(|line| {
            let at = memchr::memchr(b':', line)?;
            Some((trim(&line[..at]), &line[at + 1..]))
        });
        let value = fields
            .find(|(name, _)| HeaderName::from_bytes(name) == HeaderName::ContentType)
            .map_or(&b"text/plain"[..], |(_, value)| value);
        value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
    }

    pub fn is_session(&self) -> bool {
        self.essence().eq_ignore_ascii_case(b"application/sdp")
    }
}

/// A `multipart/mixed` body: a session description first, then the other parts as they are.
/// `boundary` is a text that none of them holds.
pub fn write_multipart(sdp: &[u8], others: &[BodyPart<'_>], boundary: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(sdp.len() + 256);
    for text in [b"--", boundary, b"\r\nContent-Type: application/sdp\r\n\r\n", sdp] {
        body.extend_from_slice(text);
    }
    for part in others {
        for text in [b"\r\n--", boundary, b"\r\n", part.head, b"\r\n\r\n", part.body] {
            body.extend_from_slice(text);
        }
    }
    for text in [b"\r\n--", boundary, b"--\r\n"] {
        body.extend_from_slice(text);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/mixed; boundary=\"b-1\"";

    #[test]
    fn parts_are_found_between_their_delimiters() {
        let body = b"preamble\r\n--b-1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1\r\n\
            \r\n--b-1\r\nc: application/ISUP;version=x\r\nContent-Disposition: signal\r\n\r\n\x01--b-1\
            \r\n--b-1--\r\nepilogue";
        let parts = body_parts(TYPE, body);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].is_session());
        assert_eq!(parts[0].body, b"v=0\r\no=- 1 1\r\n");
        assert_eq!(parts[1].essence(), b"application/ISUP");
        assert_eq!(parts[1].body, b"\x01--b-1", "no delimiter in the middle of a line");
    }

    #[test]
    fn lines_may_end_with_a_line_feed_alone() {
        let parts = body_parts(b"multipart/related;boundary=x", b"--x\n\nplain\n--x--\n");
        assert_eq!(parts, [BodyPart { head: b"", body: b"plain" }]);
        assert_eq!(parts[0].essence(), b"text/plain");
    }

    #[test]
    fn what_is_broken_has_no_parts() {
        for (content_type, body) in [
            (TYPE, &b"--b-1\r\nContent-Type: application/sdp\r\n\r\nv=0"[..]),
            (TYPE, b""),
            (b"multipart/mixed", b"--\r\n\r\n----\r\n"),
            (b"application/sdp", b"--b-1\r\n\r\n--b-1--"),
            (b"multipart/mixed;boundary=\"\"", b"--\r\n\r\n----\r\n"),
        ] {
            assert_eq!(body_parts(content_type, body), [], "{}", content_type.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let isup = BodyPart { head: b"Content-Type: application/isup", body: b"\x01\x10" };
        let body = write_multipart(b"v=0\r\n", &[isup], b"zz");
        let parts = body_parts(b"multipart/mixed;boundary=zz", &body);
        assert_eq!(parts[0].body, b"v=0\r\n");
        assert_eq!(parts[1], isup);
    }
}

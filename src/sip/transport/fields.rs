//! Finds a header field in raw bytes without parsing the message, for steering and framing.

use memchr::memchr;

/// A header field by its full name and its compact form (RFC 3261 §7.3.3), both in lower case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub name: &'static [u8],
    pub compact: u8,
}

pub(super) const CALL_ID: Field = Field { name: b"call-id", compact: b'i' };
pub(super) const TO: Field = Field { name: b"to", compact: b't' };
pub(super) const CONTENT_LENGTH: Field = Field { name: b"content-length", compact: b'l' };

/// The values of `field` between the start line and the empty line, in order, with folded lines
/// kept as they are and white space around each removed. Lines may end in CRLF or LF, as the
/// parser accepts both.
pub(super) fn values(message: &[u8], field: Field) -> Values<'_> {
    let start = message.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut values = Values { rest: &message[start..], field };
    values.take_line();
    values
}

#[derive(Clone, Debug)]
pub(super) struct Values<'a> {
    /// Starts at the start of a line.
    rest: &'a [u8],
    field: Field,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let from_here = self.rest;
            let line = self.take_line();
            if matches!(line, [] | [b'\n'] | [b'\r', b'\n']) {
                self.rest = &[];
                return None;
            }
            if let Some(start) = self.field.value_start(line) {
                while let [b' ' | b'\t', ..] = self.rest {
                    self.take_line();
                }
                let end = from_here.len() - self.rest.len();
                return Some(from_here[start..end].trim_ascii());
            }
        }
    }
}

impl<'a> Values<'a> {
    /// The next line with its end; empty at the end of the message.
    fn take_line(&mut self) -> &'a [u8] {
        let end = memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        line
    }
}

impl Field {
    /// Where the value starts if `line` is this field: behind the colon.
    fn value_start(self, line: &[u8]) -> Option<usize> {
        let first = line.first()?.to_ascii_lowercase();
        if first != self.compact && first != self.name[0] {
            return None;
        }
        let name_end = match line.get(..self.name.len()) {
            Some(name) if name.eq_ignore_ascii_case(self.name) => self.name.len(),
            _ if first == self.compact => 1,
            _ => return None,
        };
        let blanks = line[name_end..].iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        let colon = name_end + blanks.count();
        (line.get(colon) == Some(&b':')).then_some(colon + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_any_spelling_the_grammar_allows() {
        for line in [
            "Call-ID: a@b",
            "CALL-ID:a@b",
            "call-id \t :\ta@b  ",
            "i:a@b",
            "I : a@b",
            "Call-ID:\r\n a@b",
            "Call-ID:\r\n\t\r\n a@b",
        ] {
            let message = format!("OPTIONS sip:x SIP/2.0\r\nTo: y\r\n{line}\r\nVia: z\r\n\r\n");
            assert_eq!(first(&message, CALL_ID), Some("a@b"), "{line:?}");
        }
    }

    #[test]
    fn bare_line_feeds_and_leading_empty_lines_are_accepted() {
        assert_eq!(first("\r\n\nA b\nl: 7\n\nx", CONTENT_LENGTH), Some("7"));
    }

    #[test]
    fn what_only_resembles_the_field_is_passed_over() {
        for text in [
            "Call-ID: in the start line\r\n\r\n",
            "A b\r\nContact: <sip:x>\r\nIdentity: y\r\nc: z\r\nCall-IDs: u\r\n\r\n",
            "A b\r\nSubject: x\r\n Call-ID: folded into the subject\r\n\r\n",
            "A b\r\n\r\nCall-ID: in the body\r\n",
            "A b\r\nCall-ID",
            "",
        ] {
            assert_eq!(first(text, CALL_ID), None, "{text:?}");
        }
    }

    #[test]
    fn every_occurrence_is_given_in_order() {
        let message = b"A b\r\nContent-Length: 1\r\nl:2\r\nTo: x\r\nContent-length:\r\n\r\nl: 4";
        let found: Vec<_> = values(message, CONTENT_LENGTH).collect();
        assert_eq!(found, [&b"1"[..], b"2", b""]);
    }

    fn first(message: &str, field: Field) -> Option<&str> {
        values(message.as_bytes(), field).next().map(|value| std::str::from_utf8(value).unwrap())
    }
}

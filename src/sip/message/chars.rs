//! The character classes of RFC 3261 §25.1 as one table of bits.

/// A set of bytes; a byte's sets are the bits of its entry in [`CLASSES`].
#[derive(Clone, Copy)]
pub(super) struct Class(u16);

/// A `token` character.
pub(super) const TOKEN: Class = Class(1);
/// What an unquoted display name may hold: tokens, blanks, and bytes outside ASCII, which many
/// senders forget to quote.
pub(super) const DISPLAY: Class = Class(1 << 1);
/// What a URI may hold between `<` and `>`: anything visible but quotes and brackets.
pub(super) const URI: Class = Class(1 << 2);
/// What a URI without `<>` may hold: RFC 3261 §20 takes `;`, `?` and `,` from it.
pub(super) const BARE_URI: Class = Class(1 << 3);
/// A host name character; `_` is none by the grammar, but names with it exist.
pub(super) const HOST: Class = Class(1 << 4);
/// What stands in the brackets of an IPv6 address.
pub(super) const IPV6: Class = Class(1 << 5);
/// What an unquoted parameter value may hold: more than a token or host, because carriers put
/// addresses and paths there.
pub(super) const VALUE: Class = Class(1 << 6);
pub(super) const DIGIT: Class = Class(1 << 7);
pub(super) const SCHEME: Class = Class(1 << 8);
/// Neither blank nor control character.
pub(super) const VISIBLE: Class = Class(1 << 9);

const CLASSES: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = classes_of(byte as u8);
        byte += 1;
    }
    table
};

const fn classes_of(byte: u8) -> u16 {
    let alphanumeric = byte.is_ascii_alphanumeric();
    let token = alphanumeric
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    let visible = byte > b' ' && byte != 0x7f;
    let uri = visible && !matches!(byte, b'<' | b'>' | b'"');
    TOKEN.bit_if(token)
        | DISPLAY.bit_if(token || is_lws(byte) || byte >= 0x80)
        | URI.bit_if(uri)
        | BARE_URI.bit_if(uri && !matches!(byte, b';' | b'?' | b','))
        | HOST.bit_if(alphanumeric || matches!(byte, b'-' | b'.' | b'_'))
        | IPV6.bit_if(byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        | VALUE.bit_if(uri && !matches!(byte, b';' | b','))
        | DIGIT.bit_if(byte.is_ascii_digit())
        | SCHEME.bit_if(alphanumeric || matches!(byte, b'+' | b'-' | b'.'))
        | VISIBLE.bit_if(visible)
}

impl Class {
    const fn bit_if(self, member: bool) -> u16 {
        if member { self.0 } else { 0 }
    }

    pub(super) fn has(self, byte: u8) -> bool {
        CLASSES[byte as usize] & self.0 != 0
    }

    pub(super) fn has_all(self, text: &[u8]) -> bool {
        self.run(text) == text.len()
    }

    /// How many bytes at the start of `text` are in the class.
    pub(super) fn run(self, text: &[u8]) -> usize {
        let mut len = 0;
        // Four at a time: most of parsing is this loop.
        for four in text.chunks_exact(4) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|at| CLASSES[four[at] as usize]);
            if a & b & c & d & self.0 == 0 {
                break;
            }
            len += 4;
        }
        while len < text.len() && self.has(text[len]) {
            len += 1;
        }
        len
    }

    /// Splits behind [`Class::run`].
    pub(super) fn split(self, text: &[u8]) -> (&[u8], &[u8]) {
        text.split_at(self.run(text))
    }
}

/// Linear white space once folding is undone.
pub(super) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether `text` is a non-empty `token`.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && TOKEN.has_all(text)
}

/// Position of the first `byte`. For one that is at most a few dozen bytes away: `memchr` costs
/// more to start.
pub(super) fn find_near(text: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = text.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // A zero byte of the difference is a hit; this sets the top bit of the first one.
        let difference = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let hits = difference.wrapping_sub(ONES) & !difference & (ONES << 7);
        if hits != 0 {
            return Some(at * 8 + hits.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|found| *found == byte).map(|at| words.len() * 8 + at)
}

/// Splits before the first `byte`, or behind everything.
pub(super) fn split_before(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    text.split_at(memchr::memchr(byte, text).unwrap_or(text.len()))
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_lws(*first)
    {
        text = rest;
    }
    text
}

pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_lws(*last)
    {
        text = rest;
    }
    text
}

/// Decimal digits only, at least one; leading zeros allowed. `None` for anything else and for
/// what does not fit.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Length of the quoted string at the start of `text`, both quotes included. `None` if it does
/// not end. `text` begins with a quote.
pub(super) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_hides_the_quote_after_it() {
        assert_eq!(quoted_len(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_len(br#""a\\" c"#), Some(5));
        assert_eq!(quoted_len(br#""a\""#), None);
        assert_eq!(quoted_len(br#""a\"#), None);
    }

    #[test]
    fn a_run_ends_at_the_first_stranger() {
        for (text, len) in
            [("", 0), ("a", 1), ("abcd", 4), ("abc;", 3), ("abcde fghi", 5), (";", 0)]
        {
            assert_eq!(TOKEN.run(text.as_bytes()), len, "{text}");
        }
    }

    #[test]
    fn the_first_of_several_is_found() {
        for (text, at) in
            [("", None), (":", Some(0)), ("Via: a:b", Some(3)), ("abcdefgh:", Some(8))]
        {
            assert_eq!(find_near(text.as_bytes(), b':'), at, "{text}");
        }
        assert_eq!(find_near(b"abcdefg;:9999999::", b':'), Some(8));
        assert_eq!(find_near(b"\x39\x3b\x3a\x3a\xba\x00\xff\x3a", b':'), Some(2));
        assert_eq!(find_near(b"abcdefghijklmnop", b':'), None);
    }

    #[test]
    fn a_number_is_digits_that_fit() {
        assert_eq!(number(b"0068"), Some(68));
        assert_eq!(number(b""), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"18446744073709551616"), None);
    }
}

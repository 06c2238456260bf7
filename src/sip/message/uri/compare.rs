//! When two URIs are one.

use smallvec::SmallVec;

use super::{Scheme, Uri, escaped_byte, ip, is_visual};
use crate::sip::message::Params;

impl Uri<'_> {
    /// RFC 3261 §19.1.4 for sip and sips, RFC 3966 §4 for tel; equal bytes for other schemes.
    /// As in the RFC's examples, `transport` in only one of the two makes them differ.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        // Also for a URI that names a parameter twice: every URI is itself.
        if self.raw == other.raw {
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                same_option(self.user, other.user, same_escaped)
                    && same_option(self.password, other.password, same_escaped)
                    && same_host(self.host, other.host)
                    && self.port == other.port
                    && same_params(self.params(), other.params(), decides_alone)
                    && same_headers(self, other)
            }
            Scheme::Tel => {
                same_number(self.user.unwrap_or_default(), other.user.unwrap_or_default())
                    && same_params(self.params(), other.params(), |_| true)
            }
            Scheme::Other => false,
        }
    }
}

fn same_option<T: Copy>(a: Option<T>, b: Option<T>, same: impl Fn(T, T) -> bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_host(a: &[u8], b: &[u8]) -> bool {
    a.eq_ignore_ascii_case(b) || ip(a).is_some_and(|address| ip(b) == Some(address))
}

/// Compares with case; an escaped character equals itself unescaped unless it is reserved.
fn same_escaped(a: &[u8], b: &[u8]) -> bool {
    a == b || Unescaped(a).eq(Unescaped(b))
}

fn same_escaped_any_case(a: &[u8], b: &[u8]) -> bool {
    let fold = |(byte, reserved): (u8, bool)| (byte.to_ascii_lowercase(), reserved);
    a.eq_ignore_ascii_case(b) || Unescaped(a).map(fold).eq(Unescaped(b).map(fold))
}

/// The characters of a text, each with whether it is a reserved one that was escaped: that one
/// differs from its plain form.
struct Unescaped<'a>(&'a [u8]);

impl Iterator for Unescaped<'_> {
    type Item = (u8, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let [byte, after @ ..] = self.0 else { return None };
        self.0 = after;
        if *byte == b'%'
            && let Some((value, after)) = escaped_byte(after)
        {
            self.0 = after;
            return Some((value, is_reserved(value)));
        }
        Some((*byte, false))
    }
}

/// RFC 3261 §25.1 `reserved`.
fn is_reserved(byte: u8) -> bool {
    matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',')
}

fn same_number(a: &[u8], b: &[u8]) -> bool {
    fn digits(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
        text.iter().filter(|byte| !is_visual(**byte)).map(u8::to_ascii_lowercase)
    }
    digits(a).eq(digits(b))
}

/// Parameters whose presence in only one of two URIs makes them differ.
fn decides_alone(name: &[u8]) -> bool {
    [&b"user"[..], b"ttl", b"method", b"maddr", b"transport"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Beyond this many fields two URIs are compared byte by byte, so that a long one costs no more
/// than its length.
const FIELDS_COMPARED: usize = 32;

type Fields<'a> = SmallVec<[(&'a [u8], &'a [u8]); 8]>;

fn same_params(a: Params<'_>, b: Params<'_>, decides: impl Fn(&[u8]) -> bool) -> bool {
    fn fields(params: Params<'_>) -> Fields<'_> {
        let pairs = params.iter().take(FIELDS_COMPARED + 1);
        pairs.map(|(name, value)| (name, value.unwrap_or_default())).collect()
    }
    let (left, right) = (fields(a), fields(b));
    if left.len().max(right.len()) > FIELDS_COMPARED {
        return a.raw() == b.raw();
    }
    let covered = |from: &Fields<'_>, by: &Fields<'_>| {
        from.iter().all(|(name, value)| {
            match by.iter().find(|(other, _)| same_escaped_any_case(name, other)) {
                Some((_, other)) => same_escaped_any_case(value, other),
                None => !decides(name),
            }
        })
    };
    covered(&left, &right) && covered(&right, &left)
}

/// Headers are never ignored; their order does not matter.
fn same_headers(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let left: Fields<'_> = a.header_fields().take(FIELDS_COMPARED + 1).collect();
    let right: Fields<'_> = b.header_fields().take(FIELDS_COMPARED + 1).collect();
    if left.len().max(right.len()) > FIELDS_COMPARED {
        return a.headers == b.headers;
    }
    let same = |x: &(&[u8], &[u8]), y: &(&[u8], &[u8])| {
        same_escaped_any_case(x.0, y.0) && same_escaped(x.1, y.1)
    };
    let covered = |from: &Fields<'_>, by: &Fields<'_>| {
        from.iter().all(|field| {
            let count =
                |among: &Fields<'_>| among.iter().filter(|other| same(field, other)).count();
            count(from) == count(by)
        })
    };
    left.len() == right.len() && covered(&left, &right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        assert_eq!(a.equivalent(&b), b.equivalent(&a), "comparison is symmetric");
        a.equivalent(&b)
    }

    #[test]
    fn case_counts_in_the_user_only() {
        assert!(same("sip:Ann@Example.com;Transport=TCP", "SIP:Ann@eXample.COM;transport=tcp"));
        assert!(!same("sip:Ann@example.com", "sip:ann@example.com"));
        assert!(!same("sip:a@example.com", "sips:a@example.com"));
    }

    #[test]
    fn an_escaped_character_is_itself_unless_reserved() {
        assert!(same("sip:%61nn@example.com", "sip:ann@example.com"));
        assert!(same("sip:a@b;x=%41", "sip:a@b;X=a"));
        assert!(!same("sip:a%3Bb@example.com", "sip:a;b@example.com"));
        assert!(same("sip:a%3bb@example.com", "sip:a%3Bb@example.com"));
    }

    #[test]
    fn a_port_equals_only_itself() {
        assert!(!same("sip:a@b", "sip:a@b:5060"));
        assert!(same("sip:a@b:05060", "sip:a@b:5060"));
    }

    #[test]
    fn some_parameters_decide_when_only_one_side_has_them() {
        assert!(same("sip:a@b", "sip:a@b;newparam=5"));
        assert!(same("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2"));
        assert!(same("sip:a@b;x=1;security=on", "sip:a@b;security=on;y"));
        assert!(!same("sip:a@b;security=on", "sip:a@b;security=off"));
        for decisive in ["user=phone", "ttl=1", "method=INVITE", "maddr=c", "transport=udp"] {
            assert!(!same("sip:a@b", &format!("sip:a@b;{decisive}")), "{decisive}");
        }
    }

    #[test]
    fn headers_count_but_their_order_does_not() {
        assert!(same("sip:a@b?x=1&y=2", "sip:a@b?Y=2&X=1"));
        assert!(!same("sip:a@b?x=1", "sip:a@b"));
        assert!(!same("sip:a@b?x=1&x=1&x=2", "sip:a@b?x=1&x=2&x=2"));
    }

    #[test]
    fn addresses_compare_by_value() {
        assert!(same("sip:[2001:db8::1]", "sip:[2001:DB8:0:0::1]"));
        assert!(!same("sip:[2001:db8::1]", "sip:[2001:db8::2]"));
    }

    #[test]
    fn telephone_numbers_compare_without_separators() {
        assert!(same("tel:+1-614-555-0163", "tel:+1(614)555.0163"));
        assert!(!same("tel:+16145550163", "tel:16145550163"));
        assert!(!same("tel:+16145550163", "tel:+16145550163;ext=1"));
    }
}

//! Properties: what is written reads back, and ways of writing the same read the same.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tollbridge::sip::message::{
    HeaderName, Headers, NameAddr, Params, Uri, Writer, quote_display, unescape, unquote,
};

use super::{parse, request};

/// What a request is made of. Every part is in its wire form.
#[derive(Clone, Debug)]
struct Parts {
    method: String,
    uri: String,
    vias: Vec<String>,
    display: Vec<u8>,
    from: String,
    from_tag: String,
    to: String,
    to_tag: Option<String>,
    call_id: String,
    cseq: u32,
    max_forwards: u8,
    extensions: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,20}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,10}(\\.[a-z]{2,5}){0,2}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
    ]
}

fn sip_uri() -> impl Strategy<Value = String> {
    let user = "[a-zA-Z0-9+_.!~*'()&=$,;?/-]{1,16}(%[0-9A-F]{2}){0,2}";
    let params = vec("[a-z]{1,8}(=[a-zA-Z0-9.-]{1,8})?", 0..4);
    (prop_oneof!["sip", "sips"], proptest::option::of(user), host(), any::<Option<u16>>(), params)
        .prop_map(|(scheme, user, host, port, params)| {
            let user = user.map(|user| user + "@").unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let params: String = params.iter().map(|param| format!(";{param}")).collect();
            format!("{scheme}:{user}{host}{port}{params}")
        })
}

fn via() -> impl Strategy<Value = String> {
    ("UDP|TCP|TLS|X-9", host(), any::<Option<u16>>(), token(), "(;rport)?(;x=\"a,b;c\")?").prop_map(
        |(transport, host, port, branch, params)| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            format!("SIP/2.0/{transport} {host}{port};branch={branch}{params}")
        },
    )
}

/// Anything but line ends and NUL, not beginning or ending with a blank.
fn value() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| {
        let kept = bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        let kept: Vec<_> = kept.collect();
        kept.trim_ascii().to_vec()
    })
}

fn parts() -> impl Strategy<Value = Parts> {
    let start = (token(), sip_uri(), vec(via(), 1..5), any::<u32>(), any::<u8>());
    let parties =
        (vec(any::<u8>(), 0..20), sip_uri(), token(), sip_uri(), proptest::option::of(token()));
    let rest = (
        "[a-zA-Z0-9.!%*_+`'~()<>:\\\\\"/\\[\\]?{}@-]{1,30}",
        vec(("X-[a-zA-Z0-9.!%*_+`'~-]{1,12}", value()), 0..6),
        vec(any::<u8>(), 0..200),
    );
    (start, parties, rest).prop_map(|(start, parties, rest)| {
        let (method, uri, vias, cseq, max_forwards) = start;
        let (display, from, from_tag, to, to_tag) = parties;
        let (call_id, extensions, body) = rest;
        Parts {
            method,
            uri,
            vias,
            display,
            from,
            from_tag,
            to,
            to_tag,
            call_id,
            cseq,
            max_forwards,
            extensions,
            body,
        }
    })
}

impl Parts {
    fn write(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.request(self.method.as_bytes(), self.uri.as_bytes());
        for via in &self.vias {
            writer.header(HeaderName::Via, via.as_bytes());
        }
        let mut display = Vec::new();
        quote_display(&self.display, &mut display);
        let tag = self.from_tag.as_bytes();
        writer.header_parts(
            HeaderName::From,
            &[&display, b" <", self.from.as_bytes(), b">;tag=", tag],
        );
        let to_tag = self.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        writer.header_parts(HeaderName::To, &[b"<", self.to.as_bytes(), b">", to_tag.as_bytes()]);
        writer.header(HeaderName::CallId, self.call_id.as_bytes());
        let number = self.cseq.to_string();
        writer.header_parts(HeaderName::CSeq, &[number.as_bytes(), b" ", self.method.as_bytes()]);
        writer.header_number(HeaderName::MaxForwards, self.max_forwards.into());
        for (name, value) in &self.extensions {
            assert!(writer.named(name.as_bytes(), value));
        }
        writer.finish_with(b"application/octet-stream", &self.body)
    }
}

fn values(headers: &Headers, name: HeaderName) -> Vec<Vec<u8>> {
    headers.values(name).map(<[u8]>::to_vec).collect()
}

proptest! {
    #[test]
    fn what_is_written_reads_back(parts in parts()) {
        let raw = parts.write();
        let message = request(raw.clone());

        prop_assert_eq!(message.method_bytes(), parts.method.as_bytes());
        prop_assert_eq!(message.uri(), parts.uri.as_bytes());
        let vias: Vec<_> = parts.vias.iter().map(|via| via.as_bytes().to_vec()).collect();
        prop_assert_eq!(values(&message, HeaderName::Via), vias);
        prop_assert_eq!(message.via().raw(), parts.vias[0].as_bytes());
        prop_assert!(message.vias().all(|via| via.is_ok_and(|via| via.branch().is_some())));
        prop_assert_eq!(message.from().uri(), parts.from.as_bytes());
        prop_assert_eq!(message.from_tag(), Some(parts.from_tag.as_bytes()));
        prop_assert_eq!(message.to().uri(), parts.to.as_bytes());
        prop_assert_eq!(message.to_tag(), parts.to_tag.as_ref().map(String::as_bytes));
        prop_assert_eq!(message.call_id(), parts.call_id.as_bytes());
        prop_assert_eq!(message.cseq().number, parts.cseq);
        prop_assert_eq!(message.cseq().method, parts.method.as_bytes());
        prop_assert_eq!(message.max_forwards(), Some(parts.max_forwards));
        prop_assert_eq!(message.body(), &parts.body[..]);
        prop_assert_eq!(message.raw(), &raw);
        let others = message.iter().filter(|(name, ..)| *name == HeaderName::Other);
        let others: Vec<_> = others.map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
        let expected = parts.extensions.iter();
        let expected: Vec<_> =
            expected.map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
        prop_assert_eq!(others, expected);
    }

    #[test]
    fn the_views_of_from_and_to_are_those_parsed_alone(parts in parts()) {
        let message = request(parts.write());
        let from = message.line(HeaderName::From).unwrap();
        prop_assert_eq!(Ok(message.from()), NameAddr::parse(from));
        prop_assert_eq!(Ok(message.to()), NameAddr::parse(message.line(HeaderName::To).unwrap()));
        prop_assert!(message.from().parsed_uri().is_ok());
        prop_assert!(message.parsed_uri().unwrap().equivalent(&message.parsed_uri().unwrap()));
    }

    #[test]
    fn a_list_in_one_line_is_a_list_in_many(
        parts in parts(),
        routes in vec(("(\"a, \\\\\\\\\"|b )?", sip_uri(), "(;p=\"x, y\")?(;lr)?"), 1..6),
    ) {
        let routes: Vec<_> =
            routes.iter().map(|(name, uri, params)| format!("{name}<{uri}>{params}")).collect();
        let raw = parts.write();
        let head = raw.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        let with = |lines: String| {
            let text = [&raw[..head], lines.as_bytes(), &raw[head..]].concat();
            values(&request(text), HeaderName::Route)
        };
        let many = with(routes.iter().map(|route| format!("route : {route}\r\n")).collect());
        let one = with(format!("Route: {}\r\n", routes.join(" ,\t")));
        prop_assert_eq!(&many, &one);
        let expected: Vec<_> = routes.iter().map(|route| route.as_bytes().to_vec()).collect();
        prop_assert_eq!(many, expected);
    }

    #[test]
    fn a_folded_message_reads_like_a_straight_one(parts in parts(), folds in vec(any::<bool>(), 64)) {
        let raw = parts.write();
        let straight = request(raw.clone());
        let end = raw.len() - straight.body().len();
        let first = raw.iter().position(|byte| *byte == b'\n').unwrap();
        let mut folded = raw[..first].to_vec();
        let mut blanks = 0;
        for &byte in &raw[first..end] {
            if byte == b' ' {
                blanks += 1;
                if folds[blanks % folds.len()] {
                    folded.extend_from_slice(if blanks % 2 == 0 { b"\r\n" } else { b"\n" });
                }
            }
            folded.push(byte);
        }
        folded.extend_from_slice(&raw[end..]);
        let folded = request(folded);

        prop_assert_eq!(folded.via().branch(), straight.via().branch());
        prop_assert_eq!(folded.via().host(), straight.via().host());
        prop_assert_eq!(folded.from().uri(), straight.from().uri());
        prop_assert_eq!(folded.from_tag(), straight.from_tag());
        prop_assert_eq!(folded.to_tag(), straight.to_tag());
        prop_assert_eq!(folded.call_id(), straight.call_id());
        prop_assert_eq!(folded.cseq(), straight.cseq());
        prop_assert_eq!(folded.max_forwards(), straight.max_forwards());
        prop_assert_eq!(folded.body(), straight.body());
        prop_assert_eq!(folded.iter().count(), straight.iter().count());
    }

    #[test]
    fn line_feeds_alone_read_like_crlf(parts in parts()) {
        let parts = Parts { body: Vec::new(), ..parts };
        let raw = parts.write();
        let bare: Vec<_> = raw.iter().copied().filter(|byte| *byte != b'\r').collect();
        let (crlf, bare) = (request(raw), request(bare));
        prop_assert!(crlf.iter().eq(bare.iter()));
    }

    #[test]
    fn a_written_value_stays_one_line(
        parts in parts(),
        hostile in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b':'), any::<u8>()], 0..60),
    ) {
        let plain = request(parts.write()).iter().count();
        let parts = Parts { extensions: vec![("X-A".into(), hostile.clone()), ("X-B".into(), hostile)], ..parts };
        let raw = parts.write();
        let added = parts.extensions.len();
        let before = plain - request(raw.clone()).iter().filter(|(name, ..)| *name != HeaderName::Other).count();
        prop_assert_eq!(request(raw).iter().count(), plain - before + added);
    }

    #[test]
    fn any_display_name_can_be_written(name in vec(any::<u8>(), 0..40)) {
        let mut value = Vec::new();
        quote_display(&name, &mut value);
        let quoted = value.clone();
        value.extend_from_slice(b" <sip:a@b>;tag=t");
        let parsed = NameAddr::parse(&value).unwrap();
        prop_assert_eq!(parsed.tag(), Some(&b"t"[..]));
        prop_assert_eq!(parsed.display(), quoted.trim_ascii());
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw in vec(any::<u8>(), 0..300)) {
        let _ = parse(raw.clone());
        let _ = NameAddr::parse(&raw);
        let _ = Uri::parse(&raw);
        let _ = (unescape(&raw), unquote(&raw));
    }

    #[test]
    fn a_damaged_message_is_read_or_refused(
        parts in parts(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut raw = parts.write().to_vec();
        for (at, byte) in damage {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Ok(message) = parse(raw) {
            let again = parse(message.headers().raw().clone());
            prop_assert_eq!(again, Ok(message), "a message that was taken is taken again");
        }
    }

    #[test]
    fn a_uri_is_equivalent_to_itself_escaped(user in "[a-zA-Z0-9]{1,12}", host in host()) {
        let escaped: String = user.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (plain, escaped) = (format!("sip:{user}@{host}"), format!("SIP:{escaped}@{host}"));
        let (plain, escaped) = (Uri::parse(plain.as_bytes()), Uri::parse(escaped.as_bytes()));
        prop_assert!(plain.unwrap().equivalent(&escaped.unwrap()));
    }
}

#[test]
fn params_of_nothing_are_none() {
    assert!(Params::default().is_empty());
}

//! rsip as an independent reader: valid messages mean the same to both.
//!
//! Kept out of the generated messages because rsip 0.4 gets them wrong (spec/crates §1.2): compact
//! names, folding, blanks before a colon, tel URIs, IPv6 in Via, bytes outside UTF-8, unknown
//! methods, trailing octets, Content-Length that disagrees with the body, quoted strings with
//! escapes or separators in display names.

use proptest::collection::vec;
use proptest::prelude::*;
use rsip::prelude::{HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};
use tollbridge::sip::message::HeaderName;

use super::request;

#[derive(Clone, Debug)]
struct Sample {
    method: String,
    user: String,
    host: String,
    port: Option<u16>,
    branches: Vec<String>,
    tags: (String, Option<String>),
    display: String,
    cseq: u32,
    max_forwards: u8,
    subject: String,
    body: String,
}

fn sample() -> impl Strategy<Value = Sample> {
    let host = prop_oneof![
        "[a-z][a-z0-9]{0,8}\\.[a-z]{2,4}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string())
    ];
    let who = ("\\+?[0-9]{7,15}|[a-z]{1,8}", host, proptest::option::of(1_u16..));
    let ids = (
        vec("z9hG4bK[a-zA-Z0-9]{1,20}", 1..4),
        "[a-zA-Z0-9]{1,16}",
        proptest::option::of("[a-zA-Z0-9]{1,16}"),
    );
    let rest = (
        "INVITE|ACK|BYE|CANCEL|OPTIONS|INFO|UPDATE|PRACK|REFER|NOTIFY",
        "[A-Z][a-z]{0,8}( [A-Z][a-z]{0,8})?",
        0..1_u32 << 31,
        any::<u8>(),
        "[a-zA-Z0-9 ]{0,20}[a-z]",
        "([a-z]=[a-zA-Z0-9 ]{1,20}\r\n){0,6}",
    );
    (who, ids, rest).prop_map(|((user, host, port), (branches, tag, to_tag), rest)| {
        let (method, display, cseq, max_forwards, subject, body) = rest;
        let subject = subject.trim().to_owned();
        let tags = (tag, to_tag);
        Sample {
            method,
            user,
            host,
            port,
            branches,
            tags,
            display,
            cseq,
            max_forwards,
            subject,
            body,
        }
    })
}

impl Sample {
    fn text(&self) -> String {
        let Self { method, user, host, cseq, max_forwards, subject, body, display, .. } = self;
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let vias: String = self
            .branches
            .iter()
            .map(|branch| format!("Via: SIP/2.0/UDP {host}{port};branch={branch}\r\n"))
            .collect();
        let to_tag = self.tags.1.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        format!(
            "{method} sip:{user}@{host}{port};transport=UDP SIP/2.0\r\n{vias}\
             Max-Forwards: {max_forwards}\r\n\
             From: \"{display}\" <sip:{user}@{host}>;tag={}\r\n\
             To: <sip:{user}@{host}{port};user=phone>{to_tag}\r\n\
             Call-ID: {}@{host}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{host}{port}>\r\nSubject: {subject}\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            self.tags.0,
            self.branches[0],
            body.len(),
        )
    }
}

fn utf8(text: &[u8]) -> &str {
    std::str::from_utf8(text).expect("the samples are ASCII")
}

proptest! {
    #[test]
    fn rsip_reads_the_same(sample in sample()) {
        let text = sample.text();
        let own = request(text.clone());
        let other = rsip::Request::try_from(text.as_bytes()).expect("rsip takes plain messages");

        prop_assert_eq!(utf8(own.method_bytes()), other.method.to_string());
        let uri = own.parsed_uri().unwrap();
        prop_assert_eq!(uri.user(), other.uri.user().map(str::as_bytes));
        prop_assert_eq!(utf8(uri.host()), other.uri.host().to_string());
        prop_assert_eq!(uri.port(), other.uri.port().map(|port| *port.value()));
        prop_assert_eq!(utf8(own.uri()), other.uri.to_string());

        let via = other.via_header().unwrap().clone().typed().unwrap();
        prop_assert_eq!(own.via().branch(), via.branch().map(|branch| branch.value().as_bytes()));
        prop_assert_eq!(utf8(own.via().host()), via.uri.host().to_string());
        prop_assert_eq!(own.via().port(), via.uri.port().map(|port| *port.value()));
        let vias = other.headers.iter().filter(|header| matches!(header, rsip::Header::Via(_)));
        prop_assert_eq!(own.vias().count(), vias.count());

        let from = other.from_header().unwrap().clone().typed().unwrap();
        prop_assert_eq!(own.from_tag(), from.tag().map(|tag| tag.value().as_bytes()));
        prop_assert_eq!(utf8(own.from().uri()), from.uri.to_string());
        let to = other.to_header().unwrap().clone().typed().unwrap();
        prop_assert_eq!(own.to_tag(), to.tag().map(|tag| tag.value().as_bytes()));
        prop_assert_eq!(utf8(own.to().uri()), to.uri.to_string());

        prop_assert_eq!(own.call_id(), other.call_id_header().unwrap().value().as_bytes());
        let cseq = other.cseq_header().unwrap().clone().typed().unwrap();
        prop_assert_eq!(own.cseq().number, cseq.seq);
        prop_assert_eq!(utf8(own.cseq().method), cseq.method.to_string());
        let hops = other.max_forwards_header().unwrap().num().unwrap();
        prop_assert_eq!(own.max_forwards().map(u32::from), Some(hops));
        prop_assert_eq!(own.body(), &other.body[..]);
        prop_assert_eq!(own.line(HeaderName::Subject), Some(sample.subject.as_bytes()));
        prop_assert_eq!(own.iter().count(), other.headers.iter().count());
    }
}

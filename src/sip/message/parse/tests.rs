use std::fmt::Write as _;

use super::*;

/// A request whose first line, fields after it, and body can be chosen.
fn text(start: &str, fields: &[&str], body: &str) -> String {
    let mut text = format!("{start}\r\n");
    for field in fields {
        write!(text, "{field}\r\n").unwrap();
    }
    text + "\r\n" + body
}

const START: &str = "INVITE sip:+18005550100@edge.example.com SIP/2.0";
const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK1";
const FROM: &str = "From: \"A\" <sip:+16145550163@c.example.com>;tag=f1";
const TO: &str = "To: <sip:+18005550100@edge.example.com>";
const CALL_ID: &str = "Call-ID: 7c1@192.0.2.7";
const CSEQ: &str = "CSeq: 11 INVITE";
const FIELDS: [&str; 5] = [VIA, FROM, TO, CALL_ID, CSEQ];

fn parse(text: impl AsRef<[u8]>) -> Result<Message, Malformed> {
    super::parse(Bytes::copy_from_slice(text.as_ref()), &Limits::default())
}

fn request(text: impl AsRef<[u8]>) -> Request {
    match parse(text).unwrap() {
        Message::Request(request) => request,
        Message::Response(response) => panic!("a response: {response:?}"),
    }
}

fn fault(text: impl AsRef<[u8]>) -> Fault {
    parse(text).unwrap_err().fault
}

/// [`FIELDS`] with one replaced, by what it begins with.
fn with<'a>(fields: &[&'a str]) -> Vec<&'a str> {
    let name = |field: &str| field.split(':').next().unwrap().to_owned();
    let kept = FIELDS.iter().filter(|known| fields.iter().all(|new| name(new) != name(known)));
    kept.chain(fields).copied().collect()
}

#[test]
fn a_request_is_read() {
    let message = request(text(START, &FIELDS, "v=0\r\n"));

    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.uri(), b"sip:+18005550100@edge.example.com");
    assert_eq!(message.via().branch(), Some(&b"z9hG4bK1"[..]));
    assert_eq!(message.from_tag(), Some(&b"f1"[..]));
    assert_eq!(message.from().display(), b"\"A\"");
    assert_eq!(message.to_tag(), None);
    assert_eq!(message.call_id(), b"7c1@192.0.2.7");
    assert_eq!(message.cseq().number, 11);
    assert_eq!(message.max_forwards(), None);
    assert_eq!(message.body(), b"v=0\r\n");
}

#[test]
fn a_response_is_read() {
    for (line, status, reason) in [
        ("SIP/2.0 486 Busy Here", 486, &b"Busy Here"[..]),
        ("sip/2.0 100 ", 100, b""),
        ("SIP/2.0 699", 699, b""),
        ("SIP/2.0 200 = 2**3 * 5**2", 200, b"= 2**3 * 5**2"),
    ] {
        match parse(text(line, &FIELDS, "")).unwrap() {
            Message::Response(response) => {
                assert_eq!((response.status(), response.reason_phrase()), (status, reason));
            }
            Message::Request(request) => panic!("a request: {request:?}"),
        }
    }
    for line in ["SIP/2.0 099 A", "SIP/2.0 700 A", "SIP/2.0 1000 A", "SIP/2.0 20 A", "SIP/2.0 2x0"]
    {
        assert_eq!(fault(text(line, &FIELDS, "")), Fault::StatusLine, "{line}");
    }
}

#[test]
fn a_line_feed_alone_ends_a_line() {
    let message = request(text(START, &FIELDS, "a\nb").replace("\r\n", "\n"));
    assert_eq!(message.cseq().number, 11);
    assert_eq!(message.body(), b"a\nb");
}

#[test]
fn folding_is_undone_in_the_header_only() {
    let fields = with(&["To:\r\n\t<sip:b@c>\n  ;\r\n tag=t1", "Subject: one\r\n  two"]);
    let message = request(text(START, &fields, "a\r\n b\r\n\r\n c"));

    assert_eq!(message.to_tag(), Some(&b"t1"[..]));
    assert_eq!(message.line(HeaderName::Subject), Some(&b"one    two"[..]));
    assert_eq!(message.body(), b"a\r\n b\r\n\r\n c");
}

#[test]
fn a_blank_line_of_spaces_continues_and_does_not_end_the_header() {
    let fields = with(&["Subject: a\r\n \r\nX-Last: b"]);
    let message = request(text(START, &fields, ""));
    assert_eq!(message.extension(b"x-last").next(), Some(&b"b"[..]));
}

#[test]
fn empty_lines_before_a_message_are_skipped() {
    let message = request(format!("\r\n\r\n\n{}", text(START, &FIELDS, "x")));
    assert!(message.raw().starts_with(b"INVITE"));
    assert_eq!(message.body(), b"x");
    assert_eq!(fault("\r\n\r\n"), Fault::Empty);
    assert_eq!(fault(""), Fault::Empty);
}

#[test]
fn the_request_line_has_exactly_two_spaces() {
    for line in [
        "INVITE  sip:a@b SIP/2.0",
        "INVITE sip:a@b  SIP/2.0",
        "INVITE sip:a@b SIP/2.0 ",
        "INVITE sip:a@b; lr SIP/2.0",
        "INVITE SIP/2.0",
        "INVITE sip:a\tb SIP/2.0",
    ] {
        assert_eq!(fault(text(line, &FIELDS, "")), Fault::RequestLine, "{line}");
    }
    for line in ["GET / HTTP/1.1", " INVITE sip:a@b SIP/2.0", "\0\0\0\0", "INV/TE sip:a@b SIP/2.0"]
    {
        assert_eq!(fault(text(line, &FIELDS, "")), Fault::NotSip, "{line}");
    }
}

#[test]
fn the_version_is_2_0_in_any_case() {
    request(text("INVITE sip:a@b sip/2.0", &FIELDS, ""));
    let malformed = parse(text("INVITE sip:a@b SIP/3.0", &FIELDS, "")).unwrap_err();
    assert_eq!(malformed.fault, Fault::Version);
    assert_eq!(malformed.refusal.unwrap().status, 505);
}

#[test]
fn a_request_uri_has_neither_brackets_nor_headers() {
    for uri in ["<sip:a@b>", "sip:a@b?Route=x", "sip:", "a@b", "sip:2001:db8::1"] {
        let found = fault(text(&format!("INVITE {uri} SIP/2.0"), &FIELDS, ""));
        assert!(matches!(found, Fault::Uri(_)), "{uri}: {found}");
    }
    request(text("INVITE nobody-knows:this SIP/2.0", &FIELDS, ""));
}

#[test]
fn every_mandatory_field_is_missed() {
    for (name, field) in [
        (HeaderName::Via, VIA),
        (HeaderName::From, FROM),
        (HeaderName::To, TO),
        (HeaderName::CallId, CALL_ID),
        (HeaderName::CSeq, CSEQ),
    ] {
        let fields: Vec<_> = FIELDS.into_iter().filter(|known| *known != field).collect();
        assert_eq!(fault(text(START, &fields, "")), Fault::Missing(name));
    }
}

#[test]
fn a_field_that_occurs_once_may_not_occur_twice_even_if_equal() {
    for (name, field) in [
        (HeaderName::From, FROM),
        (HeaderName::To, "t: <sip:other@example.com>"),
        (HeaderName::CallId, "i: other"),
        (HeaderName::CSeq, "cseq: 12 INVITE"),
    ] {
        let fields = [&FIELDS[..], &[field]].concat();
        assert_eq!(fault(text(START, &fields, "")), Fault::Repeated(name));
    }
    for (name, field) in [
        (HeaderName::ContentLength, "Content-Length: 0"),
        (HeaderName::MaxForwards, "Max-Forwards: 70"),
    ] {
        let fields = [&FIELDS[..], &[field, field]].concat();
        assert_eq!(fault(text(START, &fields, "")), Fault::Repeated(name));
    }
    let lists = with(&["From: <sip:a@b>;tag=1, <sip:c@d>;tag=2"]);
    assert_eq!(fault(text(START, &lists, "")), Fault::Header(HeaderName::From, HeaderError::Param));
}

#[test]
fn several_vias_are_a_list() {
    let fields = [&[VIA], &FIELDS[1..], &["v: SIP/2.0/TCP a, SIP/2.0/UDP b"]].concat();
    let message = request(text(START, &fields, ""));
    let hosts: Vec<_> = message.vias().map(|via| via.unwrap().host().to_vec()).collect();
    assert_eq!(hosts, [&b"192.0.2.7"[..], b"a", b"b"]);
    assert_eq!(message.via().host(), b"192.0.2.7");
}

#[test]
fn cseq_agrees_with_the_request_line() {
    assert_eq!(fault(text(START, &with(&["CSeq: 11 invite"]), "")), Fault::CSeqMethod);
    assert_eq!(fault(text(START, &with(&["CSeq: 11 BYE"]), "")), Fault::CSeqMethod);
    for value in ["4294967296 INVITE", "x INVITE", "INVITE", "-1 INVITE", ""] {
        let found = fault(text(START, &with(&[&format!("CSeq: {value}")]), ""));
        assert!(matches!(found, Fault::Header(HeaderName::CSeq, _)), "{value}: {found}");
    }
}

#[test]
fn max_forwards_is_one_byte() {
    assert_eq!(request(text(START, &with(&["Max-Forwards: 0068"]), "")).max_forwards(), Some(68));
    assert_eq!(request(text(START, &with(&["Max-Forwards: 0"]), "")).max_forwards(), Some(0));
    for value in ["256", "-1", "", "7 0", "ten"] {
        let found = fault(text(START, &with(&[&format!("Max-Forwards: {value}")]), ""));
        assert_eq!(found, Fault::Header(HeaderName::MaxForwards, HeaderError::Number), "{value}");
    }
}

#[test]
fn content_length_cuts_the_body_and_never_exceeds_it() {
    let message = request(text(START, &with(&["l: 3"]), "abcdef"));
    assert_eq!(message.body(), b"abc");
    assert!(message.raw().ends_with(b"\r\n\r\nabc"));
    assert_eq!(fault(text(START, &with(&["l: 7"]), "abcdef")), Fault::BodyShort);
    assert_eq!(fault(text(START, &with(&["l: 18446744073709551615"]), "a")), Fault::BodyTooLarge);
    for value in ["-1", "abc", "", "3, 3", "18446744073709551616", "3 "] {
        let found = parse(text(START, &with(&[&format!("l: {value}")]), "abcdef"));
        match value {
            "3 " => assert_eq!(found.unwrap().headers().body(), b"abc"),
            _ => assert_eq!(
                found.unwrap_err().fault,
                Fault::Header(HeaderName::ContentLength, HeaderError::Number),
                "{value}"
            ),
        }
    }
}

#[test]
fn a_header_line_has_a_token_and_a_colon() {
    for line in ["no colon here", ": no name", "a b: c", "Jos\u{e9}: x", "@: x"] {
        assert_eq!(fault(text(START, &with(&[line]), "")), Fault::HeaderLine, "{line}");
    }
    let message = request(text(START, &with(&["X-!.%*+_`'~-  \t: v", "Empty:"]), ""));
    assert_eq!(message.extension(b"X-!.%*+_`'~-").next(), Some(&b"v"[..]));
    assert_eq!(message.extension(b"empty").next(), Some(&b""[..]));
}

#[test]
fn a_cr_inside_a_line_is_refused_and_not_copied_into_the_answer() {
    let malformed =
        parse(text(START, &with(&["To: <sip:a@b>\rRoute: <sip:evil>"]), "")).unwrap_err();
    assert_eq!(malformed.fault, Fault::BareCr);
    assert_eq!(malformed.refusal.unwrap().headers.line(HeaderName::To), None);
}

#[test]
fn a_header_without_an_empty_line_after_it_is_refused() {
    let whole = text(START, &FIELDS, "");
    assert_eq!(fault(&whole[..whole.len() - 2]), Fault::Unfinished);
    assert_eq!(fault("INVITE sip:a@b SIP/2.0"), Fault::Unfinished);
}

#[test]
fn only_requests_that_name_a_sender_and_are_no_ack_are_answered() {
    let refusal = |text: String| parse(text).unwrap_err().refusal;
    let bad_to = with(&["To: \"x"]);

    let answer = refusal(text(START, &bad_to, "")).unwrap();
    assert_eq!((answer.status, answer.reason), (400, "Bad To"));
    assert_eq!(answer.headers.via().branch(), Some(&b"z9hG4bK1"[..]));
    assert_eq!(answer.headers.from_tag(), Some(&b"f1"[..]));
    assert_eq!(answer.headers.to().uri(), b"");
    assert_eq!(answer.headers.lines(HeaderName::To).count(), 1);

    let ack = bad_to.iter().map(|field| field.replace("INVITE", "ACK")).collect::<Vec<_>>();
    let ack: Vec<_> = ack.iter().map(String::as_str).collect();
    assert_eq!(refusal(text("ACK sip:a@b SIP/2.0", &ack, "")), None);
    assert_eq!(refusal(text("ACK sip:a@b SIP/3.0", &ack, "")), None);
    assert_eq!(refusal(text("SIP/2.0 200 OK", &bad_to, "")), None);
    assert_eq!(refusal(text("SIP/2.0 20 OK", &bad_to, "")), None);
    assert_eq!(refusal(text(START, &FIELDS[1..], "")), None);
}

#[test]
fn a_via_with_malformed_parameters_is_answered_too() {
    let fields = with(&["Via: SIP/2.0/UDP 192.0.2.15;;branch=z9hG4bK4,;,,"]);
    let answer = parse(text(START, &fields, "")).unwrap_err().refusal.unwrap();
    assert_eq!((answer.status, answer.reason), (400, "Bad Via"));
    assert_eq!(answer.headers.via().branch(), Some(&b"z9hG4bK4"[..]));
}

#[test]
fn a_refusal_repeats_no_field_twice() {
    let fields = [&FIELDS[..], &["From: <sip:x@y>;tag=2"]].concat();
    let answer = parse(text(START, &fields, "")).unwrap_err().refusal.unwrap();
    assert_eq!(answer.reason, "Repeated From");
    assert_eq!(answer.headers.lines(HeaderName::From).count(), 1);
    assert_eq!(answer.headers.from_tag(), Some(&b"f1"[..]), "the first one counts");
}

#[test]
fn everything_has_a_limit() {
    let limits = Limits {
        message_bytes_max: 2_000,
        start_line_bytes_max: 100,
        header_bytes_max: 200,
        headers_max: 10,
        vias_max: 3,
        body_bytes_max: 300,
    };
    let long = "x".repeat(300);
    let vias = "v: SIP/2.0/UDP a, SIP/2.0/UDP b, SIP/2.0/UDP c";
    for (message, expected) in [
        (text(START, &FIELDS, &"x".repeat(2_000)), (Fault::MessageTooLarge, 513)),
        (text(&format!("INVITE sip:{long} SIP/2.0"), &FIELDS, ""), (Fault::StartLineTooLong, 414)),
        (text(START, &with(&[&format!("X: {long}")]), ""), (Fault::HeaderTooLong, 513)),
        (text(START, &with(&["X: 1"; 6]), ""), (Fault::TooManyHeaders, 513)),
        (text(START, &with(&[vias]), ""), (Fault::TooManyVias, 483)),
        (text(START, &FIELDS, &"x".repeat(301)), (Fault::BodyTooLarge, 413)),
    ] {
        let malformed = super::parse(message.into(), &limits).unwrap_err();
        let status = malformed.refusal.unwrap().status;
        assert_eq!((malformed.fault, status), expected);
    }
    super::parse(text(START, &with(&["X: 1"; 5]), &long).into(), &limits).unwrap();
}

#[test]
fn bytes_that_are_not_utf_8_pass_untouched() {
    let mut raw = text(START, &[], "").into_bytes();
    raw.truncate(raw.len() - 2);
    for field in [VIA, CALL_ID, CSEQ, TO] {
        raw.extend_from_slice(field.as_bytes());
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"From: \"Jos\xe9\" <sip:a@b>;tag=1\r\nSubject: \xff\xfe\r\n\r\n");
    let message = request(raw);
    assert_eq!(message.from().display(), b"\"Jos\xe9\"");
    assert_eq!(message.line(HeaderName::Subject), Some(&b"\xff\xfe"[..]));
}

#[test]
fn debug_names_no_caller() {
    let message = parse(text(START, &FIELDS, "v=0")).unwrap();
    let shown = format!("{message:?}");
    assert!(!shown.contains("5550"), "{shown}");
    assert!(shown.contains("7c1@192.0.2.7"), "{shown}");
}

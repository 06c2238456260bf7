use super::*;
use crate::sip::message::{Limits, Message, Method, reason_phrase};

fn received(fields: &str) -> Headers {
    let text = format!(
        "OPTIONS sip:a@b SIP/2.0\r\n{fields}\r\n\
         f: <sip:a@b>;tag=1\r\nTo : <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
    );
    Message::parse(text.into(), &Limits::default()).unwrap().headers().clone()
}

fn vias(of: &Headers, source: &str) -> String {
    let mut writer = Writer::new();
    writer.vias_for_response(of, source.parse().unwrap());
    String::from_utf8(writer.text).unwrap()
}

#[test]
fn a_message_is_its_parts_in_order() {
    let mut writer = Writer::new();
    writer.request(b"INVITE", b"sip:+16145550163@gw.example.com");
    writer.header_parts(HeaderName::Via, &[b"SIP/2.0/UDP 192.0.2.1", b";branch=z9hG4bK1"]);
    writer.header_number(HeaderName::MaxForwards, 69);
    assert!(writer.named(b"X-Campaign", b"roofing"));
    let request = writer.finish_with(b"application/sdp", b"v=0\r\n");
    assert_eq!(
        request,
        "INVITE sip:+16145550163@gw.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
         Max-Forwards: 69\r\n\
         X-Campaign: roofing\r\n\
         Content-Type: application/sdp\r\n\
         Content-Length: 5\r\n\r\nv=0\r\n"
    );

    writer.response(404, reason_phrase(404).as_bytes());
    assert_eq!(writer.finish(), "SIP/2.0 404 Not Found\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_value_cannot_make_a_line() {
    let mut writer = Writer::new();
    writer.request(b"BYE\r\nRoute: x", b"sip:a@b SIP/2.0\r\nRoute: <sip:evil>");
    writer.header(HeaderName::Subject, b"a\r\nRoute: <sip:evil>\0");
    writer.header_parts(HeaderName::Reason, &[b"SIP;text=\"", b"\r\n\r\n", b"\""]);
    assert!(writer.named(b"X-A", b"1\nRoute: <sip:evil>"));
    let text = writer.finish();
    assert_eq!(
        text,
        "BYE--Route--x sip:a@b_SIP/2.0__Route:__sip:evil_ SIP/2.0\r\n\
         Subject: a  Route: <sip:evil> \r\n\
         Reason: SIP;text=\"    \"\r\n\
         X-A: 1 Route: <sip:evil>\r\n\
         Content-Length: 0\r\n\r\n"
    );

    writer.response(200, b"OK\r\nRoute: x");
    assert!(writer.finish().starts_with(b"SIP/2.0 200 OK  Route: x\r\n"));
}

#[test]
fn a_name_from_elsewhere_is_a_token_and_forges_no_protocol_field() {
    let mut writer = Writer::new();
    writer.response(200, b"OK");
    for name in [&b""[..], b"X A", b"X:", b"X\r\n", b"Route", b"i", b"call-id", b"CSEQ"] {
        assert!(!writer.named(name, b"x"), "{name:?}");
    }
    assert!(writer.named(b"Alert-Info", b"<urn:alert:source:external>"));
    assert_eq!(
        writer.finish(),
        "SIP/2.0 200 OK\r\nAlert-Info: <urn:alert:source:external>\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn lines_are_copied_in_order_under_their_canonical_name() {
    let headers = received(
        "Via: SIP/2.0/UDP h\r\nrecord-route: <sip:a;lr>,<sip:b;lr>\r\nX-One: \u{e9} 1\r\n\
         RECORD-ROUTE:\r\n <sip:c;lr>",
    );
    let mut writer = Writer::new();
    writer.copy_all(HeaderName::RecordRoute, &headers);
    writer.copy_all(HeaderName::From, &headers);
    writer.copy_all(HeaderName::Other, &headers);
    writer.copy_all(HeaderName::Contact, &headers);
    assert_eq!(
        String::from_utf8(writer.text).unwrap(),
        "Record-Route: <sip:a;lr>,<sip:b;lr>\r\nRecord-Route: <sip:c;lr>\r\n\
         From: <sip:a@b>;tag=1\r\nX-One: \u{e9} 1\r\n"
    );
}

#[test]
fn received_is_added_when_the_sender_is_not_where_it_says() {
    let headers = received("Via: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK1");
    assert_eq!(
        vias(&headers, "192.0.2.7:5080"),
        "Via: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK1\r\n"
    );
    assert_eq!(
        vias(&headers, "192.0.2.9:5080"),
        "Via: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK1;received=192.0.2.9\r\n"
    );
    assert_eq!(
        vias(&headers, "[::ffff:192.0.2.7]:1"),
        "Via: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK1\r\n"
    );
    let named = received("Via: SIP/2.0/UDP pbx.example.com;branch=z9hG4bK1");
    assert_eq!(
        vias(&named, "[2001:db8::9]:5060"),
        "Via: SIP/2.0/UDP pbx.example.com;branch=z9hG4bK1;received=2001:db8::9\r\n"
    );
}

#[test]
fn rport_is_filled_in_where_it_was_asked_for() {
    let headers = received("Via: SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK1");
    assert_eq!(
        vias(&headers, "192.0.2.7:40001"),
        "Via: SIP/2.0/UDP 192.0.2.7;rport=40001;branch=z9hG4bK1;received=192.0.2.7\r\n"
    );
}

#[test]
fn what_the_sender_claims_about_itself_is_replaced() {
    let headers = received("Via: SIP/2.0/UDP 192.0.2.7;received=10.0.0.1;RPORT=1;branch=z9hG4bK1");
    assert_eq!(
        vias(&headers, "192.0.2.9:5060"),
        "Via: SIP/2.0/UDP 192.0.2.7;RPORT=5060;branch=z9hG4bK1;received=192.0.2.9\r\n"
    );
    let honest = received("Via: SIP/2.0/UDP 192.0.2.7;received=10.0.0.1;branch=z9hG4bK1");
    assert_eq!(vias(&honest, "192.0.2.7:5060"), "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n");
}

#[test]
fn only_the_top_via_is_touched() {
    let headers = received(
        "Via: SIP/2.0/UDP a.example.com ; rport , SIP/2.0/TCP b;rport;x=\"1,2\"\r\n\
         v: SIP/2.0/TLS c;received=192.0.2.1",
    );
    assert_eq!(
        vias(&headers, "192.0.2.9:5060"),
        "Via: SIP/2.0/UDP a.example.com;rport=5060;received=192.0.2.9\
         , SIP/2.0/TCP b;rport;x=\"1,2\"\r\n\
         Via: SIP/2.0/TLS c;received=192.0.2.1\r\n"
    );
}

#[test]
fn the_buffer_starts_afresh_with_each_message() {
    let mut writer = Writer::new();
    writer.request(b"BYE", b"sip:a@b");
    writer.header(HeaderName::Subject, b"abandoned");
    writer.response(Method::Bye.name().len() as u16 + 197, b"OK");
    assert_eq!(writer.finish(), "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n");
}

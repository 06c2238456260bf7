//! RFC 4475 §3, message by message.

use super::Want::{Both, Nothing, Status, StatusAndEnd};
use super::{Case, INVITE, OPTIONS, REGISTER, case};
use crate::wire::peer::{SDP, request, with_body};

/// An INVITE that is well-formed and finds no number is not found; an OPTIONS is answered.
pub(super) const CASES: &[Case] = &[
    // RFC 4475 §3.1.1: valid.
    case("3.1.1.1 folds, blanks and case", Status(481), |line, id| {
        let start = "INVITE sip:desk9@hotel.example.org;strange SIP/2.0";
        let length = SDP.len();
        let fields = [
            &format!(
                "Via  : SIP  /   2.0\r\n /{}\r\n    {};branch=z9hG4bKf{id}",
                line.transport(),
                line.local
            ),
            "tO :\r\n sip:desk9@hotel.example.org ;   tag    = t40921",
            "from   : \"A Tester \\\\\\\"\"      <sip:tester@example.net>\r\n  ;\r\n  tag = f7gh2",
            "mAX-FORWARDS: 0042",
            "cSEQ: 0012\r\n  INVITE",
            "s :",
            "OddValue: ;;,,;;,;",
            "Route:\r\n <sip:hub.example.org;lr;alone;with=value>",
            "v:  SIP  / 2.0  / TCP     axle.example.net   ;\r\n  branch  =   z9hG4bK5rr",
            "m:\"Quoted \\\"\\\"\" <sip:tester@example.net> ; fresh =\r\n      value ;\r\n  alone",
            &format!("Content-Length   : {length}"),
        ];
        with_body(line, start, id, &fields, SDP).into()
    }),
    case("3.1.1.2 every character of a token", Status(405), |line, id| {
        let method = "!strange-Verb5678_*+`.%tail'~";
        let user = "9_odd.User~(what-a!)&so'it+goes$/on?,/;;*:&pass=1,wo!rd*pas$w~d.(isn't)";
        let fields = [
            "To: \"BEL:\\\u{7} NUL:\\\u{0} DEL:\\\u{7f}\" <sip:9_odd.User~(what)@example.org>",
            "From: word1~` word2'+_ word3*%!.- <sip:plain@example.org>;tag=_tok~1'+`*%!-.",
            "extField-!.%*+_`'~:\u{5927}\u{505c}\u{96fb}",
            "Max-Forwards: 255",
        ];
        request(line, &format!("{method} sip:{user}@example.org SIP/2.0"), id, &fields).into()
    }),
    case("3.1.1.3 escapes in a user part", Status(404), |line, id| {
        let start = "INVITE sip:sips%3Adesk%40example.org@example.net SIP/2.0";
        let fields = ["To: sip:%64es%6B@example.org", "Contact: <sip:a%6Ena@h.example.net;%6C%72>"];
        with_body(line, start, id, &fields, SDP).into()
    }),
    case("3.1.1.4 escaped NULs", Status(405), |line, id| {
        let fields =
            ["To: sip:a%00b@example.org", "Contact: <sip:%00@h>", "Contact: <sip:%00%00@h>"];
        request(line, REGISTER, id, &fields).into()
    }),
    case("3.1.1.5 a percent sign in a method", Status(405), |line, id| {
        request(line, "RE%47IST%45R sip:example.org SIP/2.0", id, &["C%6Fntact: <sip:b@h>"]).into()
    }),
    case("3.1.1.6 no blank before the bracket", Status(200), |line, id| {
        request(line, OPTIONS, id, &["From: anna<sip:anna@example.net>;tag=3"]).into()
    }),
    case("3.1.1.7 long values", Status(404), |line, id| {
        let long = "verylong".repeat(60);
        let fields = [
            &format!("To: \"{long}\"<sip:desk@example.org:6000;p1={long};{long}=x;{long}>"),
            &format!("F: sip:{long}@example.net;tag={long};{long}={long};q"),
            &format!("Unknown-{long}: {long}; {long} = {long}"),
            &format!("V :SIP/2.0/{} {};branch=z9hG4bKl{id}", line.transport(), line.local),
            &format!("v  : SIP/2.0/TCP last.example.org;received=192.0.2.5;branch={long}"),
        ];
        with_body(line, INVITE, id, &fields.map(String::as_str), SDP).into()
    }),
    Case {
        section: "3.1.1.8 octets after the message",
        udp: Status(405),
        tcp: Both(405, 404),
        message: |line, id| {
            let first = request(line, REGISTER, id, &["CSeq: 8 REGISTER"]);
            format!("{first}\r\n{}", with_body(line, INVITE, id, &[], SDP)).into()
        },
    },
    case("3.1.1.9 semicolons in a user part", Status(200), |line, id| {
        request(line, "OPTIONS sip:desk;p=u%40example.net@example.org SIP/2.0", id, &[]).into()
    }),
    case("3.1.1.10 transports nobody knows", Status(200), |line, id| {
        let fields = [
            &format!("Via: SIP/2.0/{} {};branch=z9hG4bKt{id}", line.transport(), line.local),
            "Via: SIP/2.0/SCTP t.example.org;branch=z9hG4bKa",
            "Via: SIP/2.0/TLS t.example.org;branch=z9hG4bKb",
            "Via: SIP/2.0/UNKNOWN t.example.org;branch=z9hG4bKc",
        ];
        request(line, OPTIONS, id, &fields).into()
    }),
    case("3.1.1.11 a binary body", Status(405), |line, id| {
        let body =
            "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\n\r\n0\0\u{1}\r\n \0\r\n--b--\r\n";
        let fields = ["Content-Type: multipart/mixed;boundary=b"];
        with_body(line, "MESSAGE sip:desk@example.org SIP/2.0", id, &fields, body).into()
    }),
    case("3.1.1.12 a response with an odd phrase", Nothing, |line, id| {
        request(line, "SIP/2.0 200 = 3**2 * 7 \u{43e}\u{434}", id, &["CSeq: 35 INVITE"]).into()
    }),
    case("3.1.1.13 a response without a phrase", Nothing, |line, id| {
        request(line, "SIP/2.0 100 ", id, &["CSeq: 35 INVITE"]).into()
    }),
    // RFC 4475 §3.1.2: invalid.
    case("3.1.2.1 separators with nothing between", Status(400), |line, id| {
        let via = format!("Via: SIP/2.0/{} {};;,;,,", line.transport(), line.local);
        with_body(line, INVITE, id, &[&via], SDP).into()
    }),
    Case {
        section: "3.1.2.2 Content-Length beyond the end",
        udp: Status(400),
        // The rest is awaited.
        tcp: Nothing,
        message: |line, id| with_body(line, INVITE, id, &["Content-Length: 9999"], SDP).into(),
    },
    Case {
        section: "3.1.2.3 a negative Content-Length",
        udp: Status(400),
        tcp: StatusAndEnd(400),
        message: |line, id| with_body(line, INVITE, id, &["Content-Length: -999"], SDP).into(),
    },
    case("3.1.2.4 numbers out of range", Status(400), |line, id| {
        request(line, REGISTER, id, &["CSeq: 36893488147419103232 REGISTER"]).into()
    }),
    case("3.1.2.5 numbers out of range in a response", Nothing, |line, id| {
        let fields = ["CSeq: 9292394834772304023312 OPTIONS", "Retry-After: 949302838503028349304"];
        request(line, "SIP/2.0 503 Service Unavailable", id, &fields).into()
    }),
    case("3.1.2.6 a quoted string without end", Status(400), |line, id| {
        with_body(line, INVITE, id, &["To: \"Mr. J. Desk <sip:desk@example.org>"], SDP).into()
    }),
    case("3.1.2.7 brackets about the Request-URI", Status(400), |line, id| {
        with_body(line, "INVITE <sip:desk@example.org> SIP/2.0", id, &[], SDP).into()
    }),
    case("3.1.2.8 a blank in the Request-URI", Status(400), |line, id| {
        with_body(line, "INVITE sip:desk@example.org; lr SIP/2.0", id, &[], SDP).into()
    }),
    case("3.1.2.9 two blanks in the request line", Status(400), |line, id| {
        with_body(line, "INVITE  sip:desk@example.org  SIP/2.0", id, &[], SDP).into()
    }),
    case("3.1.2.10 a blank after the version", Status(400), |line, id| {
        request(line, "OPTIONS sip:desk@example.org SIP/2.0  ", id, &[]).into()
    }),
    case("3.1.2.11 header fields in the Request-URI", Status(400), |line, id| {
        let start = "INVITE sip:desk@example.org?Route=%3Csip:example.org%3E SIP/2.0";
        with_body(line, start, id, &[], SDP).into()
    }),
    case("3.1.2.12 a Date in another zone", Status(404), |line, id| {
        with_body(line, INVITE, id, &["Date: Fri, 02 Jan 2026 16:00:00 PST"], SDP).into()
    }),
    case("3.1.2.13 a Contact that needs brackets", Status(405), |line, id| {
        request(line, REGISTER, id, &["Contact: sip:a@example.org?Route=%3Csip:b%3E"]).into()
    }),
    case("3.1.2.14 blanks in an address", Status(400), |line, id| {
        request(line, OPTIONS, id, &["To: \"Watt, J\" < sip:j.watt@example.org >"]).into()
    }),
    case("3.1.2.15 a display name that needs quotes", Status(400), |line, id| {
        request(line, OPTIONS, id, &["From: Watt, J <sip:j.watt@example.org>;tag=4"]).into()
    }),
    case("3.1.2.16 another version", Status(505), |line, id| {
        request(line, "OPTIONS sip:desk@example.org SIP/9.0", id, &[]).into()
    }),
    case("3.1.2.17 CSeq names another method", Status(400), |line, id| {
        request(line, OPTIONS, id, &["CSeq: 8 INVITE"]).into()
    }),
    case("3.1.2.18 and so for a method nobody knows", Status(400), |line, id| {
        request(line, "NEWVERB sip:desk@example.org SIP/2.0", id, &["CSeq: 8 INVITE"]).into()
    }),
    case("3.1.2.19 a status that would wrap", Nothing, |line, id| {
        request(line, "SIP/2.0 4294967501 not a five", id, &["CSeq: 1 INVITE"]).into()
    }),
    // RFC 4475 §3.2 to §3.4.
    case("3.2.1 a branch that is only the cookie", Status(200), |line, id| {
        let via = format!("Via: SIP/2.0/{} {};branch=z9hG4bK", line.transport(), line.local);
        request(line, OPTIONS, id, &[&via]).into()
    }),
    case("3.3.1 header fields missing", Status(400), |line, id| {
        with_body(line, INVITE, id, &["From", "To"], SDP).into()
    }),
    case("3.3.2 a scheme nobody has", Status(416), |line, id| {
        request(line, "OPTIONS schemeNobodyHas:opaque SIP/2.0", id, &[]).into()
    }),
    case("3.3.3 a scheme that is not for calls", Status(416), |line, id| {
        with_body(line, "INVITE soap.beep://192.0.2.103:3002 SIP/2.0", id, &[], SDP).into()
    }),
    case("3.3.4 odd schemes elsewhere", Status(405), |line, id| {
        let fields =
            ["To: isbn:2983", "From: <http://www.example.org>;tag=3", "Contact: <name:J_S>"];
        request(line, REGISTER, id, &fields).into()
    }),
    case("3.3.5 extensions nobody knows", Status(420), |line, id| {
        let fields = ["Require: noneKnows, noneKnowsEither", "Proxy-Require: noProxy"];
        request(line, OPTIONS, id, &fields).into()
    }),
    case("3.3.6 a body of an unknown type", Status(415), |line, id| {
        with_body(line, INVITE, id, &["Content-Type: application/unknownformat"], "<audio/>").into()
    }),
    case("3.3.7 credentials of an unknown scheme", Status(405), |line, id| {
        request(line, REGISTER, id, &["Authorization: SchemeNobodyHas opaque-data=here"]).into()
    }),
    case("3.3.8 fields twice that are there once", Status(400), |line, id| {
        let via = format!("Via: SIP/2.0/{} {};branch=z9hG4bKm{id}", line.transport(), line.local);
        let again =
            [&format!("Call-ID: {id}"), "Call-ID: two", "CSeq: 5 INVITE", "CSeq: 59 INVITE"];
        with_body(line, INVITE, id, &[&[&*via][..], &again].concat(), SDP).into()
    }),
    Case {
        section: "3.3.9 two Content-Lengths",
        udp: Status(400),
        tcp: StatusAndEnd(400),
        message: |line, id| {
            let fields = ["Content-Length: 13", "Content-Length: 5"];
            with_body(line, OPTIONS, id, &fields, "whichever it may be").into()
        },
    },
    case("3.3.10 a response for everybody", Nothing, |line, id| {
        let fields = [
            "Via: SIP/2.0/UDP 192.0.2.40;branch=z9hG4bKa",
            "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb",
            "CSeq: 1 INVITE",
        ];
        request(line, "SIP/2.0 200 OK", id, &fields).into()
    }),
    case("3.3.11 OPTIONS without a hop left", Status(200), |line, id| {
        request(line, OPTIONS, id, &["Max-Forwards: 0"]).into()
    }),
    case("21.4.21 INVITE without a hop left", Status(483), |line, id| {
        with_body(line, INVITE, id, &["Max-Forwards: 0"], SDP).into()
    }),
    case("3.3.12 a parameter of the header field", Status(405), |line, id| {
        request(line, REGISTER, id, &["Contact: sip:+1614@gw.example.org;odd"]).into()
    }),
    case("3.3.13 a parameter of the URI", Status(405), |line, id| {
        request(line, REGISTER, id, &["Contact: <sip:+1614@gw.example.org;odd>"]).into()
    }),
    case("3.3.14 a Route in a Contact", Status(405), |line, id| {
        request(line, REGISTER, id, &["M: <sip:a@example.org?Route=%3Csip:b%3E>"]).into()
    }),
    case("3.3.15 an Accept without SDP", Status(404), |line, id| {
        with_body(line, INVITE, id, &["Accept: text/nobodyKnowsThis"], "").into()
    }),
    case("3.4.1 a request of RFC 2543", Status(404), |line, id| {
        let via = format!("Via: SIP/2.0/{} {}", line.transport(), line.local);
        let from = "From: <sip:+16145550163@gw.example.org;user=phone>";
        with_body(line, INVITE, id, &[&via, from, "Max-Forwards"], SDP).into()
    }),
];

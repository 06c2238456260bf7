//! RFC 5118 §4, message by message: IPv6 addresses wherever the grammar has a host. The server
//! hears them over IPv4 all the same: what is written in a message is not where it came from.

use super::Case;
use super::Want::Status;
use super::{INVITE, OPTIONS, case};
use crate::wire::peer::{Line, request, with_body};

/// Our Via, with the host written as `host`; the answer comes to our port in any case.
fn via(line: &Line, host: &str, id: &str) -> String {
    let port = line.local.port();
    format!("Via: SIP/2.0/{} {host}:{port};branch=z9hG4bK6{id}", line.transport())
}

/// An offer of two streams, one for each family.
const BOTH_FAMILIES: &str = "v=0\r\no=- 1 1 IN IP6 2001:db8::20\r\ns=-\r\nt=0 0\r\n\
    m=audio 40002 RTP/AVP 0\r\nc=IN IP6 2001:db8::20\r\n\
    m=audio 40004 RTP/AVP 0\r\nc=IN IP4 192.0.2.40\r\n";

const MAPPED: &str = "v=0\r\no=- 1 1 IN IP6 ::ffff:192.0.2.40\r\ns=-\r\n\
    c=IN IP6 ::ffff:192.0.2.40\r\nt=0 0\r\nm=audio 40002 RTP/AVP 0\r\n";

pub(super) const CASES: &[Case] = &[
    case("4.1 an address in brackets", Status(405), |line, id| {
        let fields = [&via(line, "[2001:db8::9:1]", id), "To: <sip:desk@[2001:db8::10]>"];
        request(line, "REGISTER sip:[2001:db8::10] SIP/2.0", id, &fields).into()
    }),
    case("4.2 an address without brackets", Status(400), |line, id| {
        request(line, "REGISTER sip:2001:db8::10 SIP/2.0", id, &["To: <sip:desk@a>"]).into()
    }),
    case("4.3 a port that is part of the address", Status(405), |line, id| {
        let fields = ["To: <sip:desk@[2001:db8::10]>", "Contact: <sip:[2001:db8::1:5070]>"];
        request(line, "REGISTER sip:[2001:db8::10:5070] SIP/2.0", id, &fields).into()
    }),
    case("4.4 a port behind the brackets", Status(405), |line, id| {
        let fields = ["To: <sip:desk@[2001:db8::10]:5070>", "Contact: <sip:[2001:db8::1]:5070>"];
        request(line, "REGISTER sip:[2001:db8::10]:5070 SIP/2.0", id, &fields).into()
    }),
    case("4.5 received in brackets", Status(481), |line, id| {
        let via = via(line, "[2001:db8::9:1]", id) + ";received=[2001:db8::9:255]";
        let to = "To: <sip:desk@[2001:db8::10]>;tag=none";
        request(line, "BYE sip:[2001:db8::10] SIP/2.0", id, &[&via, to]).into()
    }),
    case("4.5 received without brackets", Status(200), |line, id| {
        let via = via(line, "[2001:db8::9:1]", id) + ";received=2001:db8::9:255";
        request(line, "OPTIONS sip:[2001:db8::10] SIP/2.0", id, &[&via]).into()
    }),
    case("4.6 an IPv6 address in the body", Status(404), |line, id| {
        let fields = [&via(line, "[2001:db8::20]", id), "From: <sip:desk@[2001:db8::20]>;tag=6"];
        let body = BOTH_FAMILIES.replace("c=IN IP4 192.0.2.40", "c=IN IP6 2001:db8::21");
        with_body(line, INVITE, id, &fields, &body).into()
    }),
    case("4.7 both families in one header", Status(481), |line, id| {
        let fields = [
            &via(line, "[2001:db8::9:1]", id),
            "Via: SIP/2.0/UDP 192.0.2.1;received=192.0.2.200;branch=z9hG4bKb",
            "Via: SIP/2.0/TCP [2001:db8::9:2];branch=z9hG4bKc",
            "To: <sip:desk@example.org>;tag=none",
            "Route: <sip:[2001:db8::9:3];lr>, <sip:192.0.2.3;lr>",
        ];
        request(line, "BYE sip:desk@[2001:db8::10] SIP/2.0", id, &fields).into()
    }),
    case("4.8 both families in the body", Status(404), |line, id| {
        with_body(line, INVITE, id, &["Contact: <sip:desk@[2001:db8::20]>"], BOTH_FAMILIES).into()
    }),
    case("4.9 an IPv4 address as IPv6 writes it", Status(404), |line, id| {
        let fields =
            [&via(line, "[::ffff:192.0.2.10]", id), "Contact: <sip:desk@[::ffff:192.0.2.2]>"];
        with_body(line, INVITE, id, &fields, MAPPED).into()
    }),
    case("4.10 three colons, as RFC 3261 had it", Status(200), |line, id| {
        let start = "OPTIONS sip:desk@[2001:db8:::192.0.2.1] SIP/2.0";
        request(line, start, id, &["To: <sip:desk@[2001:db8:::192.0.2.1]>"]).into()
    }),
    case("4.10 and two, as it should be", Status(200), |line, id| {
        let via = via(line, "[2001:db8::192.0.2.1]", id);
        request(line, OPTIONS, id, &[&via, "To: <sip:desk@[2001:db8::192.0.2.1]>"]).into()
    }),
];

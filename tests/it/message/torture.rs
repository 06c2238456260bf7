//! The grammatical points of RFC 4475 and RFC 5118, in messages of our own, with what the message
//! layer makes of each. What upper layers do with a message that parses (405, 415, 416, 420, 483,
//! 489) is tested with them.

use tollbridge::sip::message::{
    Fault, HeaderError, HeaderName, Method, Scheme, Uri, reason_phrase, unescape,
};

use super::{parse, request, response, text};

const VIA: &str = "Via: SIP/2.0/UDP pbx.example.net;branch=z9hG4bKt0";
const FROM: &str = "From: sip:anna@example.net;tag=a77";
const TO: &str = "To: sip:sales@example.org";
const CALL_ID: &str = "Call-ID: t0.4d1f@pbx.example.net";

/// A usual request with some of its fields replaced and others added.
fn usual(start: &str, fields: &[&str], body: &str) -> String {
    let method = start.split(' ').next().unwrap();
    let cseq = format!("CSeq: 21 {method}");
    let name = |field: &str| field.split([':', ' ', '\n']).next().unwrap().to_lowercase();
    let replaced = |field: &str| {
        fields.iter().any(|new| match (name(new).as_str(), name(field).as_str()) {
            ("v", "via") | ("f", "from") | ("t", "to") | ("i", "call-id") => true,
            (new, old) => new == old,
        })
    };
    let kept = [VIA, FROM, TO, CALL_ID, &cseq].into_iter().filter(|field| !replaced(field));
    let all: Vec<_> = kept.chain(fields.iter().copied()).collect();
    text(start, &all, body)
}

const INVITE: &str = "INVITE sip:sales@example.org SIP/2.0";
const OPTIONS: &str = "OPTIONS sip:sales@example.org SIP/2.0";
const REGISTER: &str = "REGISTER sip:example.org SIP/2.0";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.40\r\ns=-\r\nc=IN IP4 192.0.2.40\r\nt=0 0\r\n\
                   m=audio 40002 RTP/AVP 0\r\n";

/// Status and reason of the refusal, and the fault.
fn refused(raw: String) -> (u16, &'static str, Fault) {
    let malformed = parse(raw).unwrap_err();
    let refusal = malformed.refusal.expect("the sender can be told");
    (refusal.status, refusal.reason, malformed.fault)
}

fn bad(name: HeaderName, error: HeaderError) -> Fault {
    Fault::Header(name, error)
}

// RFC 4475 §3.1.1: valid messages.

#[test]
fn s3_1_1_1_blanks_folds_and_case_anywhere_the_grammar_lets_them_be() {
    let message = request(text(
        "INVITE sip:desk9@hotel.example.org;strange SIP/2.0",
        &[
            "tO :\n sip:desk9@hotel.example.org ;   tag    = t40921",
            "from   : \"A Tester \\\\\\\"\"      <sip:tester@example.net>\n  ;\n  tag = f7gh2",
            "mAX-FORWARDS: 0042",
            "Call-ID: fold.18@192.0.2.40",
            "Content-Length   : 88",
            "cSEQ: 0012\n  INVITE",
            "Via  : SIP  /   2.0\n /UDP\n    192.0.2.41;branch=old77",
            "s :",
            "ExtensionField:   one value\n continued here",
            "OddValue: ;;,,;;,;",
            "Content-Type: application/sdp",
            "Route:\n <sip:hub.example.org;lr;alone;with=value>",
            "v:  SIP  / 2.0  / TCP     axle.example.net   ;\n  branch  =   z9hG4bK5rr  ,\n \
             SIP  /    2.0   / UDP  192.0.2.42   ; branch=\n z9hG4bK6ss",
            "m:\"Quoted \\\"\\\"\" <sip:tester@example.net> ; fresh =\n      value ;\n  \
             alone ; q = 0.25",
        ],
        SDP,
    ));
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.to_tag(), Some(&b"t40921"[..]));
    assert_eq!(message.from_tag(), Some(&b"f7gh2"[..]));
    assert_eq!(message.from().display(), br#""A Tester \\\"""#);
    assert_eq!(message.max_forwards(), Some(42));
    assert_eq!((message.cseq().number, message.cseq().method()), (12, Method::Invite));
    let hops: Vec<_> = message.vias().map(|via| via.unwrap()).collect();
    let branches: Vec<_> = hops.iter().map(|via| via.branch().unwrap()).collect();
    assert_eq!(branches, [&b"old77"[..], b"z9hG4bK5rr", b"z9hG4bK6ss"]);
    assert_eq!(hops[1].transport(), b"TCP");
    assert!(!hops[0].has_cookie() && hops[2].has_cookie());
    let contact = message.contact().unwrap().unwrap();
    assert_eq!(contact.params().value(b"fresh"), Some(&b"value"[..]));
    assert_eq!(contact.params().get(b"alone"), Some(None));
    assert_eq!(message.line(HeaderName::Subject), Some(&b""[..]));
    assert_eq!(message.extension(b"oddvalue").next(), Some(&b";;,,;;,;"[..]));
    assert_eq!(message.body(), &SDP.as_bytes()[..88]);
}

#[test]
fn s3_1_1_2_every_character_a_token_or_word_may_hold() {
    let method = "!strange-Verb5678_*+`.%tail'~";
    let user = "9_odd.User~(what-a!)&so'it+goes$/on?,/;;*:&pass=1,wo!rd*pas$w~d.(isn't)";
    let message = request(text(
        &format!("{method} sip:{user}@example.org SIP/2.0"),
        &[
            "Via: SIP/2.0/TCP hub1.example.org;branch=z9hG4bK-.!%6a*_+`'~",
            "To: \"BEL:\\\u{7} NUL:\\\u{0} DEL:\\\u{7f}\" <sip:9_odd.User~(what)@example.org>",
            "From: word1~` word2'+_ word3*%!.- <sip:plain@example.org>\
             ;odd''~+*_!.-%=\"\u{44f}\u{434}\";tag=_tok~1'+`*%!-.",
            "Call-ID: odd.w%ZZ-!.*_+'@w`~)(><:\\/\"][?}{",
            &format!("CSeq: 139 {method}"),
            "Max-Forwards: 255",
            "extField-!.%*+_`'~:\u{5927}\u{505c}\u{96fb}",
            "Content-Length: 0",
        ],
        "",
    ));
    assert_eq!(message.method(), Method::Other);
    assert_eq!(message.method_bytes(), method.as_bytes());
    let uri = message.parsed_uri().unwrap();
    assert_eq!(uri.user().unwrap(), &user.as_bytes()[..user.find(":&").unwrap()]);
    assert_eq!(uri.host(), b"example.org");
    assert_eq!(message.from_tag(), Some(&b"_tok~1'+`*%!-."[..]));
    assert_eq!(message.max_forwards(), Some(255));
    assert!(message.to().display().contains(&0));
    assert_eq!(message.extension(b"extField-!.%*+_`'~").count(), 1);
}

#[test]
fn s3_1_1_3_escapes_in_a_user_part() {
    let message = request(usual(
        "INVITE sip:sips%3Adesk%40example.org@example.net SIP/2.0",
        &[
            "To: sip:%64es%6B@example.org",
            "Contact:\n  <sip:a%6Ena@h.example.net;%6C%72;n=v%25%34>",
        ],
        SDP,
    ));
    let uri = message.parsed_uri().unwrap();
    assert_eq!(uri.scheme(), Scheme::Sip);
    assert_eq!(*unescape(uri.user().unwrap()), *b"sips:desk@example.org");
    let plain = Uri::parse(b"sip:desk@example.org").unwrap();
    assert!(message.to().parsed_uri().unwrap().equivalent(&plain));
    let contact = message.contact().unwrap().unwrap().parsed_uri().unwrap();
    assert!(!contact.params().has(b"lr"), "an escaped name is not the parameter of that name");
}

#[test]
fn s3_1_1_4_an_escaped_nul_ends_nothing() {
    let fields =
        ["To: sip:a%00b@example.org", "Contact: <sip:%00@h>", "Contact: <sip:%00%00@h>", "L:0"];
    let message = request(usual(REGISTER, &fields, ""));
    let to = message.to().parsed_uri().unwrap();
    assert_eq!(*unescape(to.user().unwrap()), *b"a\0b");
    let users: Vec<_> = message
        .addresses(HeaderName::Contact)
        .map(|contact| unescape(contact.unwrap().parsed_uri().unwrap().user().unwrap()).len())
        .collect();
    assert_eq!(users, [1, 2]);
}

#[test]
fn s3_1_1_5_a_percent_sign_that_is_no_escape() {
    let fields = [
        "To: \"%Q%45\" <sip:thing@example.org>",
        "Via: SIP/2.0/TCP host.example.org;branch=z9hG4bK31%qz",
        "Contact: <sip:one@h1.example.org>",
        "C%6Fntact: <sip:two@h2.example.org>",
        "Contact: <sip:three@h3.example.org>",
    ];
    let message = request(usual("RE%47IST%45R sip:example.org SIP/2.0", &fields, ""));
    assert_eq!(message.method(), Method::Other);
    assert_eq!(message.values(HeaderName::Contact).count(), 2);
    assert_eq!(message.to().display(), b"\"%Q%45\"");
    assert_eq!(message.via().branch(), Some(&b"z9hG4bK31%qz"[..]));
}

#[test]
fn s3_1_1_6_no_blank_before_an_angle_bracket() {
    let message = request(usual(OPTIONS, &["From: anna<sip:anna@example.net>;tag=3"], ""));
    assert_eq!(
        (message.from().display(), message.from().uri()),
        (&b"anna"[..], &b"sip:anna@example.net"[..])
    );
}

#[test]
fn s3_1_1_7_long_values_in_many_fields() {
    let long = "verylong".repeat(60);
    let mut fields = vec![
        format!("To: \"{long}\"<sip:desk@example.org:6000;p1={long};{long}=x;{long}>"),
        format!("F: sip:{long}@example.net;tag={long};{long}={long};q"),
        format!("Call-ID: {long}"),
        format!("Unknown-{long}: {long}; {long} = {long}"),
    ];
    for (at, spelling) in
        ["Via:", "v:", "V :", "v  :", "ViA:", "vIA:\t", "Via  :"].iter().enumerate()
    {
        fields.push(format!("{spelling} SIP/2.0/TCP hop{at}.example.org"));
    }
    fields.push(format!("Via: SIP/2.0/TCP last.example.org;received=192.0.2.5;branch={long}"));
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    let message = request(usual(INVITE, &fields, SDP));
    assert_eq!(message.from_tag(), Some(long.as_bytes()));
    assert_eq!(message.call_id(), long.as_bytes());
    let last = message.vias().last().unwrap().unwrap();
    assert_eq!(last.branch(), Some(long.as_bytes()));
    assert_eq!(message.vias().count(), 8);
    assert_eq!(message.via().host(), b"hop0.example.org");
}

#[test]
fn s3_1_1_8_octets_after_a_message_are_not_part_of_it() {
    let first = usual(REGISTER, &["I: one", "Content-Length: 0"], "");
    let message = request(format!("{first}\r\n{}", usual(INVITE, &["i: two"], SDP)));
    assert_eq!(message.method(), Method::Register);
    assert_eq!(message.call_id(), b"one");
    assert_eq!(*message.raw(), *first.as_bytes());
}

#[test]
fn s3_1_1_9_semicolons_in_a_user_part() {
    let message = request(usual("OPTIONS sip:desk;p=u%40example.net@example.org SIP/2.0", &[], ""));
    let uri = message.parsed_uri().unwrap();
    assert_eq!(uri.user(), Some(&b"desk;p=u%40example.net"[..]));
    assert_eq!(uri.user_part(), Some(&b"desk"[..]));
    assert_eq!(uri.host(), b"example.org");
    assert!(uri.params().is_empty());
}

#[test]
fn s3_1_1_10_known_and_unknown_transports() {
    let tokens = ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"];
    let vias =
        tokens.map(|token| format!("Via: SIP/2.0/{token} t.example.org;branch=z9hG4bK{token}"));
    let vias: Vec<_> = vias.iter().map(String::as_str).collect();
    let message = request(usual(OPTIONS, &vias, ""));
    let read: Vec<_> = message.vias().map(|via| via.unwrap().transport()).collect();
    assert_eq!(read, tokens.map(str::as_bytes));
}

#[test]
fn s3_1_1_11_a_binary_body() {
    let body =
        "--b\r\nContent-Type: text/plain\r\n\r\nHi\r\n--b\r\n\r\n0\0\u{1}\r\n \0\r\n--b--\r\n";
    let length = format!("Content-Length: {}", body.len());
    let fields = ["Content-Type: multipart/mixed;boundary=b", &length];
    let message = request(usual("MESSAGE sip:desk@example.org SIP/2.0", &fields, body));
    assert_eq!(message.body(), body.as_bytes());
    assert_eq!(message.content_type(), Some(&b"multipart/mixed;boundary=b"[..]));
}

#[test]
fn s3_1_1_12_and_13_any_reason_phrase_or_none() {
    for phrase in ["= 3**2 * 7 \u{43e}\u{434}\u{438}\u{43d}", ""] {
        let message = response(text(
            &format!("SIP/2.0 200 {phrase}"),
            &[VIA, FROM, TO, CALL_ID, "CSeq: 35 INVITE"],
            "",
        ));
        assert_eq!((message.status(), message.reason_phrase()), (200, phrase.as_bytes()));
    }
    assert_eq!(reason_phrase(200), "OK");
}

// RFC 4475 §3.1.2: invalid messages.

#[test]
fn s3_1_2_1_separators_without_anything_between() {
    let via = refused(usual(INVITE, &["Via: SIP/2.0/UDP 192.0.2.40;;,;,,"], SDP));
    assert_eq!(via, (400, "Bad Via", bad(HeaderName::Via, HeaderError::Param)));
    let message = request(usual(INVITE, &["Contact: \"Jo\" <sip:jo@example.org>;;;;"], SDP));
    assert_eq!(message.contact(), Err(HeaderError::Param));
}

#[test]
fn s3_1_2_2_and_3_a_content_length_that_is_not_true() {
    let long = refused(usual(INVITE, &["Content-Length: 9999"], SDP));
    assert_eq!(long, (400, "Body Shorter Than Content-Length", Fault::BodyShort));
    let negative = refused(usual(INVITE, &["Content-Length: -999"], SDP));
    let fault = bad(HeaderName::ContentLength, HeaderError::Number);
    assert_eq!(negative, (400, "Bad Content-Length", fault));
}

#[test]
fn s3_1_2_4_and_5_numbers_out_of_range() {
    let cseq = bad(HeaderName::CSeq, HeaderError::Number);
    let (status, _, fault) = refused(usual(REGISTER, &["CSeq: 36893488147419103232 REGISTER"], ""));
    assert_eq!((status, fault), (400, cseq));
    let hops = refused(usual(REGISTER, &["Max-Forwards: 300"], ""));
    assert_eq!(hops.2, bad(HeaderName::MaxForwards, HeaderError::Number));

    let expires = format!("Expires: 1{}", "0".repeat(100));
    let message = request(usual(REGISTER, &[&expires], ""));
    assert_eq!(message.seconds(HeaderName::Expires), Ok(Some(u32::MAX)));

    let answer = text(
        "SIP/2.0 503 Service Unavailable",
        &[VIA, FROM, TO, CALL_ID, "CSeq: 9292394834772304023312 OPTIONS"],
        "",
    );
    let malformed = parse(answer).unwrap_err();
    assert_eq!((malformed.fault, malformed.refusal), (cseq, None));
}

#[test]
fn s3_1_2_6_a_quoted_string_without_end() {
    let to = refused(usual(INVITE, &["To: \"Mr. J. Desk <sip:desk@example.org>"], SDP));
    assert_eq!(to, (400, "Bad To", bad(HeaderName::To, HeaderError::Quote)));
}

#[test]
fn s3_1_2_7_to_11_request_lines_that_are_none() {
    for line in [
        "INVITE <sip:desk@example.org> SIP/2.0",
        "INVITE sip:desk@example.org; lr SIP/2.0",
        "INVITE  sip:desk@example.org  SIP/2.0",
        "INVITE sip:desk@example.org SIP/2.0  ",
        "INVITE sip:desk@example.org?Route=%3Csip:example.org%3E SIP/2.0",
    ] {
        let (status, _, fault) = refused(usual(line, &[], SDP));
        assert_eq!(status, 400, "{line}");
        assert!(matches!(fault, Fault::RequestLine | Fault::Uri(_)), "{line}: {fault}");
    }
}

#[test]
fn s3_1_2_12_a_date_is_text_to_this_layer() {
    let message = request(usual(INVITE, &["Date: Fri, 02 Jan 2026 16:00:00 PST"], SDP));
    assert_eq!(message.values(HeaderName::Date).count(), 1);
}

#[test]
fn s3_1_2_13_a_contact_with_header_fields_needs_brackets() {
    let message = request(usual(REGISTER, &["Contact: sip:a@example.org?Route=%3Csip:b%3E"], ""));
    assert_eq!(message.contact(), Err(HeaderError::BareUri));
}

#[test]
fn s3_1_2_14_and_15_blanks_in_a_uri_and_a_display_name_without_quotes() {
    let to = refused(usual(OPTIONS, &["To: \"Watt, J\" < sip:j.watt@example.org >"], ""));
    assert_eq!(to.2, bad(HeaderName::To, HeaderError::UriCharacter));
    let from = refused(usual(OPTIONS, &["From: Watt, J <sip:j.watt@example.org>;tag=4"], ""));
    assert_eq!(from, (400, "Bad From", bad(HeaderName::From, HeaderError::DisplayName)));
}

#[test]
fn s3_1_2_16_another_version() {
    let fields = ["Via: SIP/9.0/UDP c.example.org;branch=z9hG4bK9"];
    let version = refused(usual("OPTIONS sip:desk@example.org SIP/9.0", &fields, ""));
    assert_eq!(version, (505, "Version Not Supported", Fault::Version));
}

#[test]
fn s3_1_2_17_and_18_cseq_names_another_method() {
    for line in [OPTIONS, "NEWVERB sip:desk@example.org SIP/2.0"] {
        let cseq = refused(usual(line, &["CSeq: 8 INVITE"], ""));
        assert_eq!(cseq, (400, "CSeq Method Mismatch", Fault::CSeqMethod));
    }
}

#[test]
fn s3_1_2_19_a_status_that_would_wrap() {
    let line = "SIP/2.0 4294967501 not a five";
    let malformed = parse(text(line, &[VIA, FROM, TO, CALL_ID, "CSeq: 1 INVITE"], "")).unwrap_err();
    assert_eq!((malformed.fault, malformed.refusal), (Fault::StatusLine, None));
}

// RFC 4475 §3.2 to §3.4: what upper layers decide, as far as it is grammar.

#[test]
fn s3_2_1_a_branch_that_is_only_the_cookie() {
    let message = request(usual(OPTIONS, &["Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"], ""));
    assert!(!message.via().has_cookie());
}

#[test]
fn s3_3_1_mandatory_fields_missing() {
    let raw = text(INVITE, &["CSeq: 193 INVITE", VIA, "l: 0"], "");
    let missing = refused(raw);
    assert_eq!(missing, (400, "Missing From", Fault::Missing(HeaderName::From)));
}

#[test]
fn s3_3_2_to_4_unknown_schemes_parse() {
    for uri in ["schemeNobodyHas:opaque", "soap.beep://192.0.2.103:3002"] {
        let message = request(usual(&format!("OPTIONS {uri} SIP/2.0"), &[], ""));
        assert_eq!(message.parsed_uri().unwrap().scheme(), Scheme::Other);
    }
    let fields = ["To: isbn:2983", "From: <http://www.example.org>;tag=3", "Contact: <name:J_S>"];
    let message = request(usual(REGISTER, &fields, ""));
    assert_eq!(message.to().parsed_uri().unwrap().scheme(), Scheme::Other);
    assert_eq!(message.from_tag(), Some(&b"3"[..]));
}

#[test]
fn s3_3_5_option_tags_are_listed() {
    let fields = ["Require: noneKnows, noneKnowsEither", "Proxy-Require: noProxy, norAnyProxy"];
    let message = request(usual(OPTIONS, &fields, ""));
    assert!(message.has_option(HeaderName::Require, b"noneknowseither"));
    assert_eq!(message.values(HeaderName::ProxyRequire).count(), 2);
}

#[test]
fn s3_3_7_unknown_credentials() {
    let fields = ["Authorization: SchemeNobodyHas opaque-data=here"];
    let message = request(usual(REGISTER, &fields, ""));
    let credentials = message.credentials(HeaderName::Authorization).next().unwrap().unwrap();
    assert_eq!(credentials.scheme, b"SchemeNobodyHas");
    assert_eq!(credentials.get(b"opaque-data").unwrap(), &b"here"[..]);
}

#[test]
fn s3_3_8_and_9_fields_that_occur_once_occur_twice() {
    let several = ["CSeq: 5 INVITE", "Call-ID: one", "CSeq: 59 INVITE", "Call-ID: two"];
    let (status, _, fault) = refused(usual(INVITE, &several, SDP));
    assert_eq!((status, fault), (400, Fault::Repeated(HeaderName::CSeq)));
    let lengths = ["Content-Length: 13", "Content-Length: 5"];
    let repeated = refused(usual(OPTIONS, &lengths, "whichever it may be"));
    assert_eq!(repeated.2, Fault::Repeated(HeaderName::ContentLength));
}

#[test]
fn s3_3_10_and_11_a_broadcast_address_and_no_hops_left_parse() {
    let hops = [
        "Via: SIP/2.0/UDP 192.0.2.40;branch=z9hG4bKa",
        "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKb",
    ];
    let fields = [&hops[..], &[FROM, TO, CALL_ID, "CSeq: 1 INVITE"]].concat();
    assert_eq!(response(text("SIP/2.0 200 OK", &fields, "")).vias().count(), 2);
    assert_eq!(request(usual(OPTIONS, &["Max-Forwards: 0"], "")).max_forwards(), Some(0));
}

#[test]
fn s3_3_12_to_14_whose_parameter_it_is() {
    let bare = request(usual(REGISTER, &["Contact: sip:+1614@gw.example.org;odd"], ""));
    let bare = bare.contact().unwrap().unwrap();
    assert!(bare.params().has(b"odd") && !bare.parsed_uri().unwrap().params().has(b"odd"));

    let inside = request(usual(REGISTER, &["Contact: <sip:+1614@gw.example.org;odd>"], ""));
    let inside = inside.contact().unwrap().unwrap();
    assert!(!inside.params().has(b"odd") && inside.parsed_uri().unwrap().params().has(b"odd"));

    let route = request(usual(REGISTER, &["M: <sip:a@example.org?Route=%3Csip:b%3E>"], ""));
    let uri = route.contact().unwrap().unwrap().parsed_uri().unwrap();
    assert_eq!(uri.header_fields().next(), Some((&b"Route"[..], &b"%3Csip:b%3E"[..])));
}

#[test]
fn s3_4_1_a_request_of_rfc_2543() {
    let fields = [
        "Via: SIP/2.0/UDP gw.example.org",
        "From: <sip:+16145550163@gw.example.org;user=phone>",
        "Record-Route: <sip:desk@example.org;maddr=hub.example.org>",
    ];
    let message = request(usual(INVITE, &fields, SDP));
    assert_eq!(
        (message.via().branch(), message.from_tag(), message.max_forwards()),
        (None, None, None)
    );
    assert_eq!(message.body(), SDP.as_bytes());
}

// RFC 5118: IPv6.

#[test]
fn rfc_5118_addresses_in_brackets() {
    let message = request(usual(
        "REGISTER sip:[2001:db8::10]:5070 SIP/2.0",
        &[
            "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255];branch=z9hG4bKa",
            "Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;received=2001:db8::9:255;branch=z9hG4bKb",
            "Contact: \"Desk\" <sip:desk@[2001:db8::1]>",
        ],
        "",
    ));
    let uri = message.parsed_uri().unwrap();
    assert_eq!((uri.host_ip(), uri.port()), (Some("2001:db8::10".parse().unwrap()), Some(5070)));
    let received: Vec<_> = message.vias().map(|via| via.unwrap().received().unwrap()).collect();
    assert_eq!(received, [&b"[2001:db8::9:255]"[..], b"2001:db8::9:255"]);
    assert_eq!(message.via().sent_by(), b"[2001:db8::9:1]:6050");

    let inside = request(usual("REGISTER sip:[2001:db8::10:5070] SIP/2.0", &[], ""));
    assert_eq!(inside.parsed_uri().unwrap().port(), None, "4.3: it is part of the address");
}

#[test]
fn rfc_5118_an_address_without_brackets_is_refused() {
    let (status, _, fault) = refused(usual("REGISTER sip:2001:db8::10 SIP/2.0", &[], ""));
    assert_eq!(status, 400);
    assert!(matches!(fault, Fault::Uri(_)));
}

#[test]
fn rfc_5118_three_colons_are_taken_for_two() {
    for colons in ["::", ":::"] {
        let line = format!("OPTIONS sip:desk@[2001:db8{colons}192.0.2.1] SIP/2.0");
        let message = request(usual(&line, &[], ""));
        let address = "2001:db8::192.0.2.1".parse().unwrap();
        assert_eq!(message.parsed_uri().unwrap().host_ip(), Some(address));
    }
}

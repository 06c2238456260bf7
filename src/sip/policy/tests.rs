//! INVITEs as carriers send them, and what targets get to see of them.

use serde_json::{Value, json};

use super::*;
use crate::sip::message::{Limits, Message};
use crate::sip::trunk::Carriers;

/// As a North American carrier sends it: number parameters behind the host, an unquoted `ppt`.
const INVITE: &str = "INVITE sip:+18005550100;npdi;rn=+16145550199@203.0.113.1;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.1.2.3:5060;branch=z9hG4bKaleg\r\n\
    From: \"Ann Caller\" <sip:+16145550163@10.1.2.3>;tag=aleg\r\n\
    To: <sip:+18005550100@203.0.113.1>\r\nCall-ID: aleg@10.1.2.3\r\nCSeq: 1 INVITE\r\n\
    Contact: <sip:aleg@10.1.2.3>\r\nMax-Forwards: 70\r\nUser-Agent: Carrier SBC 9\r\n\
    P-Asserted-Identity: \"ANN\" <sip:+16145550163;verstat=TN-Validation-Passed@10.1.2.3;isup-oli=62;cpc=ordinary>\r\n\
    Diversion: <sip:+18005550199@pbx.internal;user=phone>;reason=no-answer;counter=2;x=10.9.9.9\r\n\
    History-Info: <sip:+18005550199@10.1.2.3?Reason=SIP%3Bcause%3D302>;index=1, <sip:+18005550100@10.1.2.3>;index=1.1;rc=1\r\n\
    Identity: eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken\r\n\
    Date: Tue, 17 Mar 2026 15:04:12 GMT\r\n\
    X-Acme-Lead: 4711\r\nx-acme-zip: 43004\r\nX-Loop-Token: secret\r\nX-Other: no\r\n\
    User-to-User: 616c;encoding=hex\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 0\r\n\r\n";

#[test]
fn without_a_word_a_target_sees_number_and_name_in_from_and_nothing_else() {
    assert_eq!(sees(json!({}), INVITE), "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n");
}

#[test]
fn only_listed_fields_pass_renamed_where_it_is_asked_and_in_their_order() {
    let policy = json!({ "headers": {
        "pass": ["X-Twice", "x-acme-*", "User-to-User"],
        "rename": { "User-to-User": "X-UUI" },
    }});
    assert_eq!(
        sees(policy, INVITE),
        "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n\
         X-Acme-Lead: 4711\nx-acme-zip: 43004\nX-UUI: 616c;encoding=hex\nX-Twice: 1\nX-Twice: 2\n"
    );
}

#[test]
fn templates_say_what_is_known_of_the_call() {
    let policy = json!({ "headers": { "pass": ["X-Acme-Lead"], "add": {
        "X-Call": "{call.id};campaign={call.campaign};for={call.target}/{call.buyer}",
        "User-to-User": "{call.session:hex};encoding=hex",
        "P-Charge-Info": "<sip:{caller.number}@{own.host}>",
        "Diversion": "<sip:{call.did}@{own.host}>;reason=unconditional",
        "X-Zip": "{tag.zip|none} {{{tag.name:uri}}}",
        "X-Acme-Lead": "{header.x-acme-lead}/{caller.name}/{caller.digits}",
        "X-Stir": "{param.verstat}",
        "X-Missing": "half {tag.unknown}",
    }}});
    assert_eq!(
        sees(policy, INVITE),
        "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n\
         Diversion: <sip:+18005550100@edge:5060>;reason=unconditional\n\
         P-Charge-Info: <sip:+16145550163@edge:5060>\n\
         User-to-User: 73657331;encoding=hex\n\
         X-Acme-Lead: 4711/Ann Caller/16145550163\n\
         X-Call: cal_1;campaign=hvac;for=tgt/buy\n\
         X-Stir: TN-Validation-Passed\n\
         X-Zip: none {a%40b%20%22}\n"
    );
}

#[test]
fn a_value_from_outside_makes_no_line_of_its_own() {
    let mut variables = variables();
    variables.insert("tag.name".into(), "x\r\nRoute: <sip:evil>\nX-Forged: 1".into());
    let policy = policy(json!({ "headers": { "add": { "X-Name": "{tag.name}" } } })).unwrap();
    let mut writer = Writer::new();
    writer.request(b"INVITE", b"sip:a");
    write_lines(&policy.invite(&source(&request(INVITE), &variables)).lines, &mut writer);
    let text = String::from_utf8(writer.finish().to_vec()).unwrap();

    assert_eq!(
        text,
        "INVITE sip:a SIP/2.0\r\nX-Name: x  Route: <sip:evil> X-Forged: 1\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn the_caller_stands_where_the_target_reads_it() {
    let pai = json!({ "identity": { "caller": ["pai", "rpid", "from"], "name": false } });
    assert_eq!(
        sees(pai, INVITE),
        "From: <sip:+16145550163@edge:5060>\n\
         P-Asserted-Identity: <sip:+16145550163@edge:5060>\n\
         Remote-Party-ID: <sip:+16145550163@edge:5060>;party=calling;privacy=off\n"
    );
    // Flowroute reads P-Asserted-Identity first, as its file says.
    assert_eq!(
        sees(json!({ "carrier": "flowroute" }), INVITE),
        "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n\
         P-Asserted-Identity: \"Ann Caller\" <sip:+16145550163@edge:5060>\n"
    );
}

#[test]
fn a_caller_who_withholds_its_number_is_named_to_trusted_targets_only() {
    let withheld = INVITE.replace("Max-Forwards", "Privacy: id\r\nMax-Forwards");
    let all = |trusted: bool| {
        json!({
            "identity": {
                "caller": ["pai", "rpid", "from"], "trusted": trusted, "signature": "pass",
                "caller_params": ["verstat"],
            },
            "headers": { "pass": ["X-Acme-Lead"], "add": {
                "X-From": "{caller.number}", "X-Name": "{caller.name}", "X-Stir": "{param.verstat}",
                "X-Pai": "{header.P-Asserted-Identity}", "X-F": "{header.f}",
            }},
        })
    };
    assert_eq!(
        sees(all(false), &withheld),
        "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>\nPrivacy: id\nX-Acme-Lead: 4711\n"
    );
    let trusted = sees(all(true), &withheld);
    assert!(
        trusted.starts_with(
            "From: \"Anonymous\" <sip:anonymous@anonymous.invalid>\n\
             P-Asserted-Identity: \"Ann Caller\" <sip:+16145550163;verstat=TN-Validation-Passed@edge:5060>\n\
             Remote-Party-ID: \"Ann Caller\" <sip:+16145550163;verstat=TN-Validation-Passed@edge:5060>;party=calling;privacy=full\n\
             Identity: "
        ) && trusted.contains("Privacy: id\n"),
        "{trusted}"
    );
}

#[test]
fn signed_assertions_go_along_byte_for_byte() {
    let policy = json!({ "identity": { "signature": "pass" } });
    for shape in [
        "eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example.org/p.cer>;alg=ES256;ppt=shaken",
        "eyJh.e30.c2ln;info=<https://c/p.cer>;ppt=\"shaken\"",
        "eyJh..c2ln ; info=<https://c/p.cer>;alg=\"ES256\" ;ppt=div",
    ] {
        let line = INVITE.lines().find(|line| line.starts_with("Identity: ")).unwrap();
        let invite = INVITE.replace(line, &format!("Identity: {shape}\r\ny: second;{shape}"));
        assert_eq!(
            sees(policy.clone(), &invite),
            format!(
                "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\nIdentity: {shape}\n\
                 Identity: second;{shape}\nDate: Tue, 17 Mar 2026 15:04:12 GMT\n"
            )
        );
    }
    let no_date = INVITE.replace("Date: Tue, 17 Mar 2026 15:04:12 GMT\r\n", "");
    assert!(sees(policy, &no_date).contains("\nIdentity: eyJ"));
}

/// Spec/sip P12: each parameter wherever carriers put it, kept if it is listed and else stripped.
#[test]
fn parameters_of_numbers_are_kept_or_stripped() {
    for (param, user, host, kept) in [
        ("verstat", ";verstat=TN-Validation-Passed", "", ";verstat=TN-Validation-Passed"),
        ("verstat", "", ";verstat=No-TN-Validation", ";verstat=No-TN-Validation"),
        ("isup-oli", "", ";isup-oli=62", ";isup-oli=62"),
        ("oli", ";oli=00", "", ";oli=00"),
        ("cpc", ";cpc=payphone", ";user=phone", ";cpc=payphone"),
        ("tgrp", ";tgrp=tg1;trunk-context=a.example", "", ";tgrp=tg1"),
        ("npdi", ";npdi;rn=+16145550199", "", ";npdi"),
        ("rn", ";npdi;rn=+16145550199", "", ";rn=+16145550199"),
        ("cic", ";cic=+10288", "", ";cic=+10288"),
    ] {
        let number = format!("sip:+16145550163{user}@10.1.2.3{host}");
        let old = "sip:+16145550163;verstat=TN-Validation-Passed@10.1.2.3;isup-oli=62;cpc=ordinary";
        let invite = INVITE.replace(old, &number);
        let keep = json!({ "identity": { "caller_params": [param] } });
        let from = format!("From: \"Ann Caller\" <sip:+16145550163{kept}@edge:5060>\n");
        assert_eq!(sees(keep, &invite), from, "{param}");
        let strip = json!({ "identity": { "caller": ["from"], "name": true, "trusted": true } });
        assert!(!sees(strip, &invite).contains(kept), "{param}");
    }
}

#[test]
fn parameters_of_the_dialled_number_go_into_the_request_uri() {
    let rules = policy(json!({ "identity": { "dialed_params": ["rn", "npdi", "tgrp"] } })).unwrap();
    let (invite, variables) = (request(INVITE), variables());
    let uri = |uri: &str| {
        let source = Source { uri: uri.as_bytes(), ..source(&invite, &variables) };
        rules.invite(&source).uri.map(|uri| String::from_utf8(uri.to_vec()).unwrap())
    };
    assert_eq!(
        uri("sip:+18005550100@198.51.100.1:5070;transport=tcp").as_deref(),
        Some("sip:+18005550100;rn=+16145550199;npdi@198.51.100.1:5070;transport=tcp")
    );
    assert_eq!(uri("sip:198.51.100.1"), None, "nobody to whom they could belong");
}

#[test]
fn who_was_called_before_is_told_without_the_hosts_of_the_other_leg() {
    let pass = json!({ "identity": { "diversion": "pass", "history_info": "pass" } });
    assert_eq!(
        sees(pass, INVITE),
        "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n\
         Diversion: <sip:+18005550199@edge:5060>;reason=no-answer;counter=2\n\
         History-Info: <sip:+18005550199@edge:5060>;index=1\n\
         History-Info: <sip:+18005550100@edge:5060>;index=1.1;rc=1\n"
    );
    let dialed = json!({ "identity": { "diversion": "dialed", "history_info": "dialed" } });
    assert_eq!(
        sees(dialed, INVITE),
        "From: \"Ann Caller\" <sip:+16145550163@edge:5060>\n\
         Diversion: <sip:+18005550100@edge:5060>;reason=unconditional\n\
         History-Info: <sip:+18005550100@edge:5060>;index=1\n"
    );
}

#[test]
fn what_belongs_to_one_leg_can_neither_pass_nor_be_added() {
    let protocol = [
        "Via",
        "v",
        "From",
        "To",
        "Call-ID",
        "i",
        "CSeq",
        "Contact",
        "m",
        "Route",
        "Record-Route",
        "Max-Forwards",
        "Content-Length",
        "Content-Type",
        "Require",
        "Supported",
        "Allow",
        "Proxy-Authorization",
        "Session-Expires",
        "x",
        "Refer-To",
        "Replaces",
        "RSeq",
        "User-Agent",
        "Server",
        "X-Loop-Token",
        "P-Asserted-Identity",
        "Remote-Party-ID",
        "Privacy",
        "Identity",
        "y",
        "Reason",
        "bad name",
        "X:Y",
        "X\r\nRoute",
        "",
    ];
    for name in protocol {
        let passed = policy(json!({ "headers": { "pass": [name] } })).unwrap_err();
        assert_eq!(passed[0].field, "headers.pass[0]", "{name}");
        let added = policy(json!({ "headers": { "add": { name: "x" } } })).unwrap_err();
        assert_eq!(added[0].field, format!("headers.add.{name}"));
        let renamed = json!({ "headers": { "pass": ["X-A"], "rename": { "X-A": name } } });
        assert_eq!(policy(renamed).unwrap_err()[0].field, "headers.rename.X-A", "{name}");
    }
    for name in ["*", "P-*", "X-*\r\n", "Diversion", "History-Info"] {
        assert!(policy(json!({ "headers": { "pass": [name] } })).is_err(), "{name}");
    }
}

#[test]
fn a_policy_that_cannot_be_is_named() {
    for (table, field) in [
        (json!({ "headers": { "add": { "X-A": "{call.unknown}" } } }), "headers.add.X-A"),
        (json!({ "headers": { "add": { "X-A": "{call.id" } } }), "headers.add.X-A"),
        (json!({ "headers": { "add": { "X-A": "a}b" } } }), "headers.add.X-A"),
        (json!({ "headers": { "add": { "X-A": "{call.id:base64}" } } }), "headers.add.X-A"),
        (json!({ "headers": { "add": { "X-A": "a\r\nRoute: b" } } }), "headers.add.X-A"),
        (json!({ "headers": { "rename": { "X-A": "X-B" } } }), "headers.rename.X-A"),
        (json!({ "identity": { "caller_params": ["tag"] } }), "identity.caller_params[0]"),
        (json!({ "identity": { "dialed_params": ["lr"] } }), "identity.dialed_params[0]"),
        (json!({ "destinations": { "deny": ["44"] } }), "destinations.deny[0]"),
        (json!({ "contact_bytes_max": 20 }), "contact_bytes_max"),
        (json!({ "queue_ms": 5000 }), "queue_ms"),
        (json!({ "max_channels": 0 }), "max_channels"),
        (json!({ "body_parts": ["isup"] }), "body_parts[0]"),
        (json!({ "carrier": "nobody" }), "carrier"),
        (json!({ "carrier": 7 }), "carrier"),
        (json!({ "identity": { "caller": ["to"] } }), "identity.caller[0]"),
        (json!({ "header": {} }), "header"),
        (
            json!({
                "identity": { "diversion": "dialed" },
                "headers": { "add": { "Diversion": "<sip:a@b>" } },
            }),
            "headers.add.Diversion",
        ),
    ] {
        let faults = policy(table.clone()).expect_err(&table.to_string());
        assert!(faults[0].field.starts_with(field), "{table}: {faults:?}");
        assert!(!faults[0].problem.is_empty() && !faults[0].remedy.is_empty(), "{faults:?}");
    }
}

/// Spec/sip C14: with the longest host name there is (RFC 1035 §2.3.4) our Contact is still within
/// what any known carrier takes.
#[test]
fn our_longest_contact_is_within_every_carrier_s_limit() {
    let ours = "<sip::65535;transport=tcp>".len() + 253;
    let mut limited = 0;
    for carrier in Carriers::built_in().iter() {
        let limits = [carrier.outbound.contact_bytes_max, carrier.inbound.contact_bytes_max];
        for max in limits.into_iter().flatten() {
            assert!(ours <= usize::try_from(max).unwrap(), "{}: {max}", carrier.name);
            limited += 1;
        }
    }
    assert!(limited > 0, "a carrier has a limit");
}

#[test]
fn what_goes_back_to_the_carrier_is_read_from_the_target_s_response() {
    let config = serde_json::from_value(json!({
        "pass": ["X-Buyer-*"], "add": { "X-Seen": "{header.server|unknown}" }
    }));
    let scope = template::Scope::Answer;
    let headers = HeaderRules::compile(&config.unwrap(), scope, &[]).unwrap();
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKb\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nX-Buyer-Ref: 9\r\nX-Else: 1\r\n\r\n";
    let Ok(Message::Response(response)) = Message::parse(response.into(), &Limits::default())
    else {
        panic!("no response");
    };
    let lines = AnswerPolicy { headers }.lines(&response);
    assert_eq!(shown(&lines), "X-Buyer-Ref: 9\nX-Seen: unknown\n");
    let config = serde_json::from_value(json!({ "add": { "X-Id": "{call.id}" } })).unwrap();
    assert!(HeaderRules::compile(&config, scope, &[]).is_err(), "not known there");
}

/// The `sip` table of a target, compiled.
fn policy(sip: Value) -> Result<TargetPolicy, Vec<PolicyFault>> {
    let Value::Object(sip) = sip else { panic!("a table") };
    let config = TargetConfig { id: "tgt", buyer: "buy", sip: &sip, trunks: vec![] };
    let targets = Targets::compile([config], &Carriers::built_in(), 48)
        .map_err(|faults| faults.into_iter().map(|(_, fault)| fault).collect::<Vec<_>>())?;
    let settings = targets.get("tgt");
    let policy = settings.and_then(|it| it.policy.as_deref().cloned());
    Ok(policy.unwrap_or_default())
}

/// What a target with this `sip` table is told of the call beside what SIP needs.
fn sees(sip: Value, invite: &str) -> String {
    let policy = policy(sip).unwrap_or_else(|faults| panic!("{faults:?}"));
    let extras = policy.invite(&source(&request(invite), &variables()));
    let from = String::from_utf8(extras.from.to_vec()).unwrap();
    format!("From: {from}\n{}", shown(&extras.lines))
}

fn shown(lines: &Lines) -> String {
    lines
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.escape_ascii()))
        .collect::<String>()
        .replace("\\\"", "\"")
}

fn source<'a>(invite: &'a Request, variables: &'a Variables) -> Source<'a> {
    let caller = Caller {
        number: Some("+16145550163".parse().unwrap()),
        withheld: invite.line(crate::sip::message::HeaderName::Privacy).is_some(),
    };
    Source {
        invite,
        caller,
        display: b"\"Ann Caller\"",
        variables,
        own_host: b"edge:5060",
        uri: b"sip:+18005550100@198.51.100.1:5070",
    }
}

fn variables() -> Variables {
    let text = [
        ("call.id", "cal_1"),
        ("call.campaign", "hvac"),
        ("call.session", "ses1"),
        ("call.did", "+18005550100"),
        ("tag.name", "a@b \""),
    ];
    text.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn request(text: &str) -> Request {
    match Message::parse(Bytes::from(text.to_owned()), &Limits::default()) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

//! Trunks that ask for a proof, and carriers that want us registered (spec/sip S7, C9).

use super::*;
use crate::sip::auth::{Account, AccountConfig, Nonces};
use crate::sip::message::{Headers, Message};

#[test]
fn a_trunk_with_digest_lets_in_who_proves_it_and_keeps_no_state_of_others() {
    let mut rig = asking();
    let mut caller = rig.caller("a");
    caller.send_invite(&mut rig);
    let challenge = rig.to(CARRIER).pop().unwrap();
    assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
    let first = challenge.find("algorithm=SHA-256").unwrap();
    assert!(first < challenge.find("algorithm=MD5").unwrap());
    assert_eq!((rig.endpoint.calls(), rig.endpoint.transactions()), (0, 0));

    caller.cseq = 2;
    caller.branch = String::from("z9hG4bKsecond");
    let plain = caller.invite_like("INVITE");
    rig.receive(CARRIER, &proven(&plain, &challenge, "secret"));
    assert_eq!(rig.endpoint.calls(), 1);

    let replay = proven(&plain, &challenge, "secret").replace("callid-a", "callid-b");
    rig.receive(CARRIER, &replay.replace("z9hG4bKsecond", "z9hG4bKthird"));
    let refused = rig.to(CARRIER).pop().unwrap();
    assert!(refused.starts_with("SIP/2.0 401 ") && refused.contains("stale=true"), "{refused}");
}

#[test]
fn a_wrong_password_is_challenged_again_and_not_called_stale() {
    let mut rig = asking();
    let mut caller = rig.caller("a");
    caller.send_invite(&mut rig);
    let challenge = rig.to(CARRIER).pop().unwrap();
    caller.cseq = 2;
    caller.branch = String::from("z9hG4bKsecond");
    let plain = caller.invite_like("INVITE");
    rig.receive(CARRIER, &proven(&plain, &challenge, "guess"));

    let refused = rig.to(CARRIER).pop().unwrap();
    assert!(refused.starts_with("SIP/2.0 401 ") && !refused.contains("stale"), "{refused}");
    assert_eq!(rig.endpoint.calls(), 0);
}

#[test]
fn trunks_of_one_network_are_told_apart_by_who_proves_to_call() {
    let mut rig = sharing(["supported", "supported"]);
    prove_to_call(&mut rig);

    assert_eq!(rig.admitted, [TrunkIndex(1)]);
}

#[test]
fn of_trunks_of_one_network_the_rules_of_the_one_that_calls_are_in_force() {
    let mut rig = sharing(["required", "no"]);
    prove_to_call(&mut rig);
    assert_eq!(rig.admitted, [TrunkIndex(1)]);

    let mut rig = sharing(["no", "required"]);
    prove_to_call(&mut rig);
    assert_eq!(rig.admitted, []);
    assert!(rig.to(CARRIER).pop().unwrap().starts_with("SIP/2.0 421 "));
}

#[test]
fn a_trunk_is_registered_with_its_account_and_taken_back_at_the_end() {
    let mut rig = registering();
    rig.pass(Duration::from_secs(3));
    assert_eq!(located(&mut rig), "sip:192.0.2.1");
    let register = rig.to(CARRIER).pop().unwrap();
    assert!(register.starts_with("REGISTER sip:192.0.2.1 SIP/2.0\r\n"), "{register}");
    assert_eq!(header(&register, "To"), "<sip:harbor@192.0.2.1>");
    assert_eq!(header(&register, "Contact"), "<sip:harbor@203.0.113.1:5060>");
    assert_eq!(header(&register, "Expires"), "300");
    let asks = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n";
    answer(&mut rig, &register, 401, asks);
    let again = rig.to(CARRIER).pop().unwrap();
    assert!(again.starts_with("REGISTER ") && again.contains("Authorization: Digest "), "{again}");
    assert_eq!(header(&again, "Call-ID"), header(&register, "Call-ID"));
    assert_eq!(header(&again, "CSeq"), "2 REGISTER");

    answer(&mut rig, &again, 200, "Contact: <sip:harbor@203.0.113.1:5060>;expires=100\r\n");
    assert!(rig.other.iter().any(|it| matches!(it, Output::Registration { registered: true, .. })));
    rig.other.clear();
    rig.pass(Duration::from_secs(86));
    located(&mut rig);
    let refresh = rig.to(CARRIER).pop().unwrap();
    assert_eq!(header(&refresh, "CSeq"), "3 REGISTER");
    assert!(header(&refresh, "Authorization").contains("nc=00000002"));
    answer(&mut rig, &refresh, 200, "Expires: 100\r\n");
    rig.other.clear();
    rig.input(Input::Drain);
    located(&mut rig);
    assert_eq!(header(&rig.to(CARRIER).pop().unwrap(), "Expires"), "0");
}

#[test]
fn a_new_configuration_touches_only_registrations_that_it_changes_and_none_pile_up() {
    let mut rig = registered();

    configure(&mut rig, "harbor");
    rig.pass(Duration::from_secs(3));
    assert!(rig.other.is_empty(), "{:?}", rig.other);

    configure(&mut rig, "pier");
    located(&mut rig);
    let back = rig.to(CARRIER).pop().unwrap();
    assert_eq!((header(&back, "Expires"), header(&back, "To")), ("0", "<sip:harbor@192.0.2.1>"));
    rig.pass(Duration::from_secs(3));
    located(&mut rig);
    assert_eq!(header(&rig.to(CARRIER).pop().unwrap(), "To"), "<sip:pier@192.0.2.1>");
    for n in 0..100 {
        configure(&mut rig, &format!("pier{n}"));
        rig.pass(Duration::from_secs(200));
        rig.other.clear();
    }
    assert!(rig.endpoint.registrars.len() <= 2, "{}", rig.endpoint.registrars.len());
}

#[test]
fn a_trunk_that_is_gone_is_registered_no_more() {
    let mut rig = registered();

    let another = serde_json::json!({ "id": "new", "inbound": { "cidrs": ["203.0.113.0/24"] } });
    configure_all(&mut rig, &[another]);
    located(&mut rig);

    assert_eq!(header(&rig.to(CARRIER).pop().unwrap(), "Expires"), "0");
}

#[test]
fn a_registrar_that_cannot_be_found_is_followed_by_the_next() {
    let mut rig = registering();
    rig.pass(Duration::from_secs(3));
    let Some(Output::Locate { registration, .. }) = rig.other.pop() else { panic!("no question") };
    rig.input(Input::Located { registration, destination: None });

    assert_eq!(located(&mut rig), "sip:192.0.2.2");
    assert_eq!(rig.to("192.0.2.2:5060").len(), 1);
}

fn asking() -> Rig {
    Rig::trunk(serde_json::json!({
        "inbound": { "cidrs": ["192.0.2.0/24"], "auth": "digest" },
        "digest": { "realm": "edge", "users": [{ "username": "carrier", "password": "secret" }] }
    }))
}

/// The first trunk is somebody's, the second, in the same network, the carrier's. Each with its rule
/// for reliable provisional responses.
fn sharing(reliable: [&str; 2]) -> Rig {
    let of = |user: &str, reliable: &str| {
        serde_json::json!({
            "inbound": { "auth": "digest" },
            "digest": { "realm": "edge", "users": [{ "username": user, "password": "secret" }] },
            "dialog": { "100rel": reliable }
        })
    };
    let mut rig = Rig::new();
    let trunks = [of("somebody", reliable[0]), of("carrier", reliable[1])];
    rig.input(Input::Configure(Arc::new(trunks_of(&trunks))));
    rig
}

/// The carrier calls, and proves that it does when it is asked to.
fn prove_to_call(rig: &mut Rig) {
    let invite = rig.caller("a").invite_like("INVITE");
    rig.receive(CARRIER, &invite);
    let challenge = rig.to(CARRIER).pop().unwrap();
    assert!(challenge.starts_with("SIP/2.0 401 "), "{challenge}");
    rig.receive(CARRIER, &proven(&invite, &challenge, "secret"));
}

fn registering() -> Rig {
    let mut rig = Rig::registering(registered_as("harbor"));
    rig.other.clear();
    rig
}

/// Registered for 300 s.
fn registered() -> Rig {
    let mut rig = registering();
    rig.pass(Duration::from_secs(3));
    located(&mut rig);
    let register = rig.to(CARRIER).pop().unwrap();
    answer(&mut rig, &register, 200, "Expires: 300\r\n");
    rig.other.clear();
    rig
}

fn registered_as(user: &str) -> serde_json::Value {
    serde_json::json!({
        "credentials": { "username": user, "password": "hunter2" },
        "register": { "servers": ["sip:192.0.2.1", "sip:192.0.2.2"] }
    })
}

/// The same trunk, registered as somebody.
fn configure(rig: &mut Rig, user: &str) {
    configure_all(rig, &[registered_as(user)]);
}

fn configure_all(rig: &mut Rig, trunks: &[serde_json::Value]) {
    let trunks = trunks_of(trunks).following(&rig.endpoint.trunks);
    rig.input(Input::Configure(Arc::new(trunks)));
}

/// Answers the question where the registrar is; returns which.
fn located(rig: &mut Rig) -> String {
    let asks = |it: &Output| matches!(it, Output::Locate { .. });
    let asked = rig.other.iter().position(asks).map(|at| rig.other.remove(at));
    let Some(Output::Locate { registration, server }) = asked else {
        panic!("nobody asks where the registrar is")
    };
    let server = String::from_utf8(server.to_vec()).unwrap();
    let peer = addr(&format!("{}:5060", server.strip_prefix("sip:").unwrap()));
    let destination =
        Some(Destination { transport: Transport::Udp, peer, tls: None, tcp_port: None });
    rig.input(Input::Located { registration, destination });
    server
}

fn answer(rig: &mut Rig, request: &str, status: u16, lines: &str) {
    let text = format!(
        "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=r\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         {lines}Content-Length: 0\r\n\r\n",
        header(request, "Via"),
        header(request, "From"),
        header(request, "To"),
        header(request, "Call-ID"),
        header(request, "CSeq"),
    );
    rig.receive(CARRIER, &text);
}

/// The request with a proof that answers the challenge.
fn proven(request: &str, challenge: &str, password: &str) -> String {
    let config = serde_json::json!({ "username": "carrier", "password": password });
    let config: AccountConfig = serde_json::from_value(config).unwrap();
    let account = Account::new("t".into(), &config);
    let mut nonces = Nonces::default();
    assert!(nonces.challenged(&account, &headers(request), &headers(challenge), 0));
    let uri = request.split(' ').nth(1).unwrap();
    let (field, proof) = nonces.proofs(&account, b"INVITE", uri.as_bytes(), 1).remove(0);
    let line = format!("{}: {}\r\nMax-Forwards", field.name(), String::from_utf8_lossy(&proof));
    request.replacen("Max-Forwards", &line, 1)
}

fn headers(text: &str) -> Headers {
    let message = Message::parse(Bytes::from(text.to_owned()), &Limits::default()).unwrap();
    message.headers().clone()
}

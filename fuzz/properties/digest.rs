//! Credentials and challenges (RFC 3261 §25.1, RFC 7616 §3.3): every parameter there is can be asked
//! for by name, and none of it is shown. Whatever a challenge says, it is answered or not; whatever
//! credentials say, nobody is let in by chance.

use bytes::Bytes;
use tollbridge::sip::auth::account::{DigestConfig, UserConfig};
use tollbridge::sip::auth::digest::Hash;
use tollbridge::sip::auth::{Account, AccountConfig, Doorkeeper, Nonces, Password, Users};
use tollbridge::sip::message::{Credentials, Limits, Message, unquote};
use tollbridge::time::Mono;

pub(crate) fn check(data: &[u8]) {
    if let Ok(credentials) = Credentials::parse(data) {
        every_parameter_is_found(&credentials, data.len());
    }
    // Of a field of a message, which is a line.
    let value: Vec<u8> = data.iter().copied().filter(|byte| !b"\r\n\0".contains(byte)).collect();
    if let Some(response) = message(b"SIP/2.0 401 X\r\nWWW-Authenticate: ", &value)
        && let Some(request) = message(b"INVITE sip:a@b SIP/2.0\r\nAuthorization: ", &value)
    {
        a_challenge_is_answered_or_not(&request, &response);
        nobody_is_let_in(&request);
    }
}

fn every_parameter_is_found(credentials: &Credentials<'_>, length: usize) {
    assert!(!credentials.scheme.is_empty());
    for (name, value) in credentials.iter() {
        let first = credentials.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, first) = first.expect("it is among them");
        assert_eq!(credentials.get(name).as_deref(), Some(&*unquote(first)));
        assert!(name.len() + value.len() < length);
    }
    for name in ["username", "realm", "nonce", "response", "qop", "algorithm", "stale", "nc"] {
        let _ = credentials.get(name.as_bytes());
    }
    assert_eq!(
        format!("{credentials:?}"),
        format!("Credentials({})", String::from_utf8_lossy(credentials.scheme))
    );
}

fn a_challenge_is_answered_or_not(request: &Message, response: &Message) {
    let config = AccountConfig { username: "u".into(), password: Password::new("p"), realm: None };
    let account = Account::new("fuzz".into(), &config);
    let mut nonces = Nonces::default();
    nonces.challenged(&account, request.headers(), response.headers(), 0);
    for (_, proof) in nonces.proofs(&account, b"INVITE", b"sip:a@b", 7) {
        assert!(!proof.iter().any(|byte| b"\r\n".contains(byte)));
    }
}

fn nobody_is_let_in(request: &Message) {
    let users = Users::new(&DigestConfig {
        realm: "r".into(),
        users: vec![UserConfig { username: "u".into(), password: Password::new("q") }],
        algorithms: vec![Hash::Sha256, Hash::Md5],
    });
    let Message::Request(request) = request else { return };
    assert!(Doorkeeper::new([1; 32]).admit(&users, request, Mono(1)).is_err());
}

fn message(head: &[u8], value: &[u8]) -> Option<Message> {
    let rest =
        b"\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:b@c>\r\n\
        Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
    Message::parse(Bytes::from([head, value, &rest[..]].concat()), &Limits::default()).ok()
}

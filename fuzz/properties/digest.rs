//! Credentials and challenges (RFC 3261 §25.1, RFC 7616 §3.3): every parameter there is can be asked
//! for by name, and none of it is shown.

use tollbridge::sip::message::{Credentials, unquote};

pub(crate) fn check(data: &[u8]) {
    let Ok(credentials) = Credentials::parse(data) else { return };
    assert!(!credentials.scheme.is_empty());
    for (name, value) in credentials.iter() {
        let first = credentials.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        let (_, first) = first.expect("it is among them");
        assert_eq!(credentials.get(name).as_deref(), Some(&*unquote(first)));
        assert!(name.len() + value.len() < data.len());
    }
    for name in ["username", "realm", "nonce", "response", "qop", "algorithm", "stale", "nc"] {
        let _ = credentials.get(name.as_bytes());
    }
    assert_eq!(
        format!("{credentials:?}"),
        format!("Credentials({})", String::from_utf8_lossy(credentials.scheme))
    );
}

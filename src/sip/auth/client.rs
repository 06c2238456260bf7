//! Answering challenges, RFC 3261 §22.2 and §22.3.
//!
//! What a peer asked last is remembered by account, so that the next request carries its proof at
//! once and costs no second round. A proxy and the peer behind it may both ask, in one response or
//! one after the other: a request carries a proof for each.

use std::collections::BTreeMap;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::Account;
use super::digest::{Algorithm, Proof, hex, nonce_count};
use crate::sip::message::{Challenge, HeaderName, Headers, unquote};

/// How often one request is sent again because it was challenged.
pub const ROUNDS_MAX: u8 = 3;

/// Realms remembered of one account; no chain of proxies is longer.
const REALMS_MAX: usize = 4;

/// The challenges our peers last made, by the name of the account.
#[derive(Debug, Default)]
pub struct Nonces {
    known: BTreeMap<SmolStr, SmallVec<[Known; 1]>>,
}

/// Proofs to put into a request, each with its header field.
pub type Proofs = SmallVec<[(HeaderName, Vec<u8>); 1]>;

/// One challenge and how often it was used.
#[derive(Debug)]
struct Known {
    /// The field that carries the proof.
    field: HeaderName,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    algorithm: Algorithm,
    /// Whether `qop=auth` was offered; without any qop the form of RFC 2069 is used.
    protected: bool,
    uses: u32,
}

/// A challenge as it stands in a response.
struct Asked {
    known: Known,
    stale: bool,
}

impl Nonces {
    /// Takes a 401 or 407 to `request`, which has been sent again `rounds` times already. `false`
    /// if sending it once more is of no use: nothing in the response can be answered, or what the
    /// request carried was refused.
    pub fn challenged(
        &mut self,
        account: &Account,
        request: &Headers,
        response: &Headers,
        rounds: u8,
    ) -> bool {
        let asked = challenges(account, response);
        if asked.is_empty() || rounds >= ROUNDS_MAX {
            return false;
        }
        // A nonce that has run out says nothing of the password. Some servers do not say that it
        // has: another nonce is another chance, once.
        let refused = |asked: &Asked| {
            let carried = carried_nonce(request, &asked.known);
            carried.is_some_and(|nonce| !asked.stale && (nonce == asked.known.nonce || rounds > 0))
        };
        let hopeless = asked.iter().any(refused);
        if hopeless {
            self.known.remove(&account.name);
            return false;
        }
        let known = self.known.entry(account.name.clone()).or_default();
        for Asked { known: new, .. } in asked {
            let same = |old: &Known| old.field == new.field && old.realm == new.realm;
            match known.iter().position(same) {
                Some(at) if known[at].nonce == new.nonce => {}
                Some(at) => known[at] = new,
                None if known.len() < REALMS_MAX => known.push(new),
                None => {}
            }
        }
        true
    }

    /// What a request of `account` carries; nothing as long as nobody has asked. `random` makes
    /// the client's nonce.
    pub fn proofs(&mut self, account: &Account, method: &[u8], uri: &[u8], random: u64) -> Proofs {
        let Some(known) = self.known.get_mut(&account.name) else { return Proofs::new() };
        let cnonce = hex(&random.to_be_bytes());
        known.iter_mut().map(|it| (it.field, it.proof(account, method, uri, &cnonce))).collect()
    }
}

impl Known {
    fn proof(&mut self, account: &Account, method: &[u8], uri: &[u8], cnonce: &[u8]) -> Vec<u8> {
        self.uses += 1;
        let proof = Proof {
            algorithm: self.algorithm,
            username: account.username.as_bytes(),
            realm: &self.realm,
            password: account.password.reveal(),
            nonce: &self.nonce,
            cnonce,
            nonce_count: self.protected.then_some(self.uses),
            method,
            uri,
        };
        let mut text = b"Digest ".to_vec();
        quoted(&mut text, "username", proof.username);
        quoted(&mut text, ", realm", proof.realm);
        quoted(&mut text, ", nonce", proof.nonce);
        quoted(&mut text, ", uri", uri);
        quoted(&mut text, ", response", &proof.response());
        plain(&mut text, ", algorithm", self.algorithm.token().as_bytes());
        if self.protected {
            plain(&mut text, ", qop", b"auth");
            plain(&mut text, ", nc", &nonce_count(self.uses));
        }
        if self.protected || self.algorithm.session {
            quoted(&mut text, ", cnonce", cnonce);
        }
        if let Some(opaque) = &self.opaque {
            quoted(&mut text, ", opaque", opaque);
        }
        text
    }
}

/// What of a response can be answered: of each realm the first challenge we understand, because
/// its sender put the one it likes best first (RFC 8760 §2.4).
fn challenges(account: &Account, response: &Headers) -> SmallVec<[Asked; 1]> {
    let fields = [
        (HeaderName::WwwAuthenticate, HeaderName::Authorization),
        (HeaderName::ProxyAuthenticate, HeaderName::ProxyAuthorization),
    ];
    let mut found: SmallVec<[Asked; 1]> = SmallVec::new();
    for (asks, answers) in fields {
        for challenge in response.credentials(asks).filter_map(Result::ok) {
            let Some(asked) = read(&challenge, answers) else { continue };
            let allowed =
                account.realm.as_ref().is_none_or(|it| it.as_bytes() == asked.known.realm);
            let again = |other: &Asked| {
                other.known.field == answers && other.known.realm == asked.known.realm
            };
            if allowed && !found.iter().any(again) && found.len() < REALMS_MAX {
                found.push(asked);
            }
        }
    }
    found
}

fn read(challenge: &Challenge<'_>, field: HeaderName) -> Option<Asked> {
    if !challenge.scheme.eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    let qop = challenge.get(b"qop");
    let offers_auth = qop.as_deref().is_some_and(|offered| {
        offered.split(|byte| *byte == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"auth"))
    });
    // Only auth-int: the body would have to be part of the proof.
    if qop.is_some() && !offers_auth {
        return None;
    }
    let stale = challenge.get(b"stale").is_some_and(|it| it.eq_ignore_ascii_case(b"true"));
    let known = Known {
        field,
        realm: challenge.get(b"realm")?.into_owned(),
        nonce: challenge.get(b"nonce")?.into_owned(),
        opaque: challenge.get(b"opaque").map(|it| it.into_owned()),
        algorithm: Algorithm::from_token(challenge.get(b"algorithm").as_deref())?,
        protected: offers_auth,
        uses: 0,
    };
    Some(Asked { known, stale })
}

/// The nonce that the request answered in this realm, if it did.
fn carried_nonce(request: &Headers, asked: &Known) -> Option<Vec<u8>> {
    let carried = request.credentials(asked.field).filter_map(Result::ok);
    let mut same = carried.filter(|it| it.get(b"realm").as_deref() == Some(&asked.realm[..]));
    same.find_map(|it| it.get(b"nonce").map(|nonce| nonce.into_owned()))
}

fn quoted(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"=\"");
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
}

fn plain(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    text.extend_from_slice(&unquote(value));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::auth::AccountConfig;
    use crate::sip::message::{Credentials, Limits, Message};

    const SHA: &str = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth-int, auth\"\r\n";
    const MD5: &str = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n";
    const PROXY: &str = "Proxy-Authenticate: Digest realm=\"p\", nonce=\"n2\", opaque=\"o\"\r\n";

    #[test]
    fn of_one_realm_the_first_algorithm_we_know_is_answered() {
        let odd = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", algorithm=SHA-512-256\r\n";
        let mut nonces = Nonces::default();

        assert!(nonces.challenged(&account(None), &request(""), &asks(&[odd, SHA, MD5]), 0));
        let proofs = proofs(&mut nonces);

        assert_eq!(proofs.len(), 1);
        let proof = Credentials::parse(&proofs[0].1).unwrap();
        assert_eq!(*proof.get(b"algorithm").unwrap(), *b"SHA-256");
        assert_eq!(*proof.get(b"nc").unwrap(), *b"00000001");
        assert_eq!(*proof.get(b"qop").unwrap(), *b"auth");
        assert_eq!(*proof.get(b"uri").unwrap(), *b"sip:b");
    }

    #[test]
    fn a_proxy_and_the_peer_behind_it_may_both_ask_at_once_or_in_turn() {
        let mut nonces = Nonces::default();
        assert!(nonces.challenged(&account(None), &request(""), &asks(&[MD5, PROXY]), 0));
        let at_once = proofs(&mut nonces);

        let mut nonces = Nonces::default();
        assert!(nonces.challenged(&account(None), &request(""), &asks(&[PROXY]), 0));
        let first = proofs(&mut nonces);
        assert!(nonces.challenged(&account(None), &request(&lines(&first)), &asks(&[MD5]), 1));
        let in_turn = proofs(&mut nonces);

        let fields = |proofs: &Proofs| {
            let mut fields: Vec<_> = proofs.iter().map(|(field, _)| *field).collect();
            fields.sort();
            fields
        };
        let both = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
        assert_eq!(fields(&at_once), both);
        assert_eq!(fields(&in_turn), both);
    }

    #[test]
    fn without_qop_the_old_form_is_used_and_opaque_comes_back() {
        let mut nonces = Nonces::default();
        assert!(nonces.challenged(&account(None), &request(""), &asks(&[PROXY]), 0));

        let proofs = proofs(&mut nonces);
        let proof = Credentials::parse(&proofs[0].1).unwrap();

        assert_eq!(*proof.get(b"opaque").unwrap(), *b"o");
        assert_eq!((proof.get(b"qop"), proof.get(b"nc"), proof.get(b"cnonce")), (None, None, None));
    }

    #[test]
    fn a_nonce_is_counted_each_time_it_is_used() {
        let mut nonces = Nonces::default();
        assert!(nonces.challenged(&account(None), &request(""), &asks(&[MD5]), 0));

        for expected in [b"00000001", b"00000002"] {
            let proofs = proofs(&mut nonces);
            let proof = Credentials::parse(&proofs[0].1).unwrap();
            assert_eq!(*proof.get(b"nc").unwrap(), *expected);
        }
    }

    #[test]
    fn what_was_refused_is_not_tried_again_and_what_ran_out_is() {
        let mut nonces = Nonces::default();
        assert!(nonces.challenged(&account(None), &request(""), &asks(&[MD5]), 0));
        let carried = request(&lines(&proofs(&mut nonces)));
        let stale = MD5.replace("n1", "n2").replace("qop", "stale=TRUE, qop");

        assert!(nonces.challenged(&account(None), &carried, &asks(&[&stale]), 2), "stale");
        assert!(!nonces.challenged(&account(None), &carried, &asks(&[&stale]), 3), "the cap");
        assert!(!nonces.challenged(&account(None), &carried, &asks(&[MD5]), 1), "the same nonce");
        assert!(proofs(&mut nonces).is_empty(), "what was refused is forgotten");
        let renewed = MD5.replace("n1", "n3");
        assert!(nonces.challenged(&account(None), &carried, &asks(&[&renewed]), 0), "a new nonce");
        assert!(!nonces.challenged(&account(None), &carried, &asks(&[&renewed]), 1), "but once");
    }

    #[test]
    fn only_the_realm_of_the_account_is_told_anything() {
        let mut nonces = Nonces::default();

        assert!(!nonces.challenged(&account(Some("b")), &request(""), &asks(&[MD5]), 0));
        assert!(nonces.challenged(&account(Some("a")), &request(""), &asks(&[MD5]), 0));
    }

    #[test]
    fn what_we_cannot_answer_is_no_challenge() {
        for line in [
            "WWW-Authenticate: Basic realm=\"a\"\r\n",
            "WWW-Authenticate: Digest realm=\"a\"\r\n",
            "WWW-Authenticate: Digest nonce=\"a\"\r\n",
            "WWW-Authenticate: Digest realm=\"a\", nonce=\"n\", qop=\"auth-int\"\r\n",
            "",
        ] {
            let asked = asks(&[line]);
            assert!(
                !Nonces::default().challenged(&account(None), &request(""), &asked, 0),
                "{line}"
            );
        }
    }

    fn proofs(nonces: &mut Nonces) -> Proofs {
        nonces.proofs(&account(None), b"INVITE", b"sip:b", 7)
    }

    fn account(realm: Option<&str>) -> Account {
        let config = serde_json::json!({ "username": "u\"x", "password": "p", "realm": realm });
        let config: AccountConfig = serde_json::from_value(config).unwrap();
        Account::new("target/t".into(), &config)
    }

    fn lines(proofs: &Proofs) -> String {
        let line = |(field, proof): &(HeaderName, Vec<u8>)| {
            format!("{}: {}\r\n", field.name(), String::from_utf8_lossy(proof))
        };
        proofs.iter().map(line).collect()
    }

    fn request(more: &str) -> Headers {
        message(&format!("INVITE sip:b SIP/2.0\r\n{more}"))
    }

    fn asks(lines: &[&str]) -> Headers {
        message(&format!("SIP/2.0 401 Unauthorized\r\n{}", lines.concat()))
    }

    fn message(head: &str) -> Headers {
        let text = format!(
            "{head}Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=a\r\n\
             To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap().headers().clone()
    }
}

//! Challenging callers, RFC 7616 §3.3 to §3.5.
//!
//! A nonce is a time and a code that only we can make, so it costs no state until it is used. Of a
//! used one it is remembered which counts have been seen: a request that comes again under another
//! branch is a replay. A nonce that ran out, or that this shard did not make, is `stale`, which
//! tells an honest client to try again at once; a wrong password is not.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use smol_str::SmolStr;
use subtle::ConstantTimeEq;

use super::account::{DigestConfig, Password};
use super::digest::{Algorithm, Hash, Proof, hex};
use crate::sip::message::{Credentials, HeaderName, Request};
use crate::time::Mono;

/// How long a nonce is good for.
const NONCE_LIFE: Duration = Duration::from_secs(60);

/// Used nonces remembered; with more the oldest are forgotten, and with them their clients asked
/// again.
const NONCES_MAX: usize = 4096;

/// How many counts behind the highest one may still come: messages of several calls overtake each
/// other.
const WINDOW: u32 = 64;

/// Who may call on a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    realm: SmolStr,
    passwords: BTreeMap<SmolStr, Password>,
    algorithms: Vec<Hash>,
}

/// Makes nonces and remembers which were used. One per shard.
pub struct Doorkeeper {
    key: [u8; 32],
    /// By nonce. Its text begins with its time, so the first is the oldest.
    used: BTreeMap<Vec<u8>, Seen>,
    /// Nothing is challenged with a nonce that is not above this, once used ones were forgotten.
    forgotten: u64,
}

/// What a request without good credentials is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unauthorized {
    /// Values of WWW-Authenticate, in their order.
    pub challenges: Vec<Vec<u8>>,
}

/// The counts of a nonce that have been seen: the highest, and a bit for each before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    highest: u32,
    before: u64,
}

impl Users {
    pub fn new(config: &DigestConfig) -> Self {
        let user = |it: &super::account::UserConfig| (it.username.clone(), it.password.clone());
        Self {
            realm: config.realm.clone(),
            passwords: config.users.iter().map(user).collect(),
            algorithms: config.algorithms.clone(),
        }
    }

    /// Whether the request says that one of them sent it; see [`Doorkeeper::admit`] for a proof.
    pub fn is_named_in(&self, request: &Request) -> bool {
        let username =
            self.credentials(request).and_then(|it| Some(it.get(b"username")?.into_owned()));
        let username = username.and_then(|name| String::from_utf8(name).ok());
        username.is_some_and(|name| self.passwords.contains_key(name.as_str()))
    }

    /// The credentials that are meant for this realm.
    fn credentials<'r>(&self, request: &'r Request) -> Option<Credentials<'r>> {
        let fields = [HeaderName::Authorization, HeaderName::ProxyAuthorization];
        fields
            .into_iter()
            .flat_map(|field| request.credentials(field))
            .filter_map(Result::ok)
            .find(|it| it.get(b"realm").as_deref() == Some(self.realm.as_bytes()))
    }
}

impl Doorkeeper {
    /// `key` is a secret that no other shard needs.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, used: BTreeMap::new(), forgotten: 0 }
    }

    /// Whether the request proves that one of `users` sent it.
    ///
    /// # Errors
    /// What it is challenged with instead.
    pub fn admit(
        &mut self,
        users: &Users,
        request: &Request,
        now: Mono,
    ) -> Result<(), Unauthorized> {
        let Some(credentials) = users.credentials(request) else {
            return Err(self.challenge(users, false, now));
        };
        let Some(count) = proven(users, &credentials, request) else {
            return Err(self.challenge(users, false, now));
        };
        let nonce = credentials.get(b"nonce").unwrap_or_default();
        if self.is_fresh(users, &nonce, now) && self.use_up(&nonce, count, now) {
            return Ok(());
        }
        Err(self.challenge(users, true, now))
    }

    fn challenge(&self, users: &Users, stale: bool, now: Mono) -> Unauthorized {
        let nonce = String::from_utf8(self.nonce(users, millis(now))).unwrap_or_default();
        let challenge = |hash: &Hash| {
            let algorithm = Algorithm { hash: *hash, session: false };
            let stale = if stale { ", stale=true" } else { "" };
            let (realm, algorithm) = (&users.realm, algorithm.token());
            format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}"
            )
            .into_bytes()
        };
        Unauthorized { challenges: users.algorithms.iter().map(challenge).collect() }
    }

    /// The time in sixteen digits and its code.
    fn nonce(&self, users: &Users, ms: u64) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key length will do");
        mac.update(&ms.to_be_bytes());
        mac.update(users.realm.as_bytes());
        let code = mac.finalize().into_bytes();
        [hex(&ms.to_be_bytes()), hex(&code[..16])].concat()
    }

    fn is_fresh(&self, users: &Users, nonce: &[u8], now: Mono) -> bool {
        let Some(ms) = made_ms(nonce) else { return false };
        let age = millis(now).checked_sub(ms);
        let in_time = age.is_some_and(|age| age <= NONCE_LIFE.as_millis() as u64);
        in_time && ms > self.forgotten && bool::from(self.nonce(users, ms).ct_eq(nonce))
    }

    /// `false` if the nonce was used with this count before.
    fn use_up(&mut self, nonce: &[u8], count: u32, now: Mono) -> bool {
        let oldest = millis(now).saturating_sub(NONCE_LIFE.as_millis() as u64);
        let is_over = |nonce: &Vec<u8>| made_ms(nonce) < Some(oldest);
        while self.used.first_key_value().is_some_and(|(nonce, _)| is_over(nonce)) {
            self.used.pop_first();
        }
        while self.used.len() >= NONCES_MAX
            && let Some((nonce, _)) = self.used.pop_first()
        {
            self.forgotten = made_ms(&nonce).unwrap_or(0);
        }
        self.used.entry(nonce.to_vec()).or_default().take(count)
    }
}

impl std::fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorkeeper").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

impl Seen {
    fn take(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            let shifted = self.before.checked_shl(ahead).unwrap_or(0);
            let last = if self.highest > 0 { 1_u64.checked_shl(ahead - 1).unwrap_or(0) } else { 0 };
            (self.highest, self.before) = (count, shifted | last);
            return true;
        }
        let behind = self.highest - count;
        if count == 0 || behind == 0 || behind > WINDOW {
            return false;
        }
        let bit = 1 << (behind - 1);
        let is_new = self.before & bit == 0;
        self.before |= bit;
        is_new
    }
}

/// The count of the nonce, if the proof is right for the nonce it names, whoever made that.
fn proven(users: &Users, credentials: &Credentials<'_>, request: &Request) -> Option<u32> {
    let get = |name: &[u8]| credentials.get(name).map(|it| it.into_owned());
    let algorithm = Algorithm::from_token(get(b"algorithm").as_deref())?;
    if !users.algorithms.contains(&algorithm.hash) {
        return None;
    }
    let username = get(b"username")?;
    let known = std::str::from_utf8(&username).ok().and_then(|name| users.passwords.get(name));
    let count = match get(b"qop") {
        Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
            let digits = get(b"nc")?;
            let digits = std::str::from_utf8(&digits).ok().filter(|it| it.len() == 8)?;
            Some(u32::from_str_radix(digits, 16).ok()?)
        }
        Some(_) => return None,
        None => None,
    };
    let (nonce, uri) = (get(b"nonce")?, get(b"uri")?);
    let proof = Proof {
        algorithm,
        username: &username,
        realm: users.realm.as_bytes(),
        // A name nobody has takes as long to refuse as a wrong password.
        password: known.map(Password::reveal).unwrap_or_default(),
        nonce: &nonce,
        cnonce: &get(b"cnonce").unwrap_or_default(),
        nonce_count: count,
        method: request.method_bytes(),
        uri: &uri,
    };
    let told = get(b"response")?.to_ascii_lowercase();
    let right = bool::from(proof.response().ct_eq(&told));
    // The URI need not be that of the request, which a proxy may have changed (RFC 3261 §22.4); a
    // proof is good once in any case. Without a count a nonce serves once.
    (right && known.is_some()).then(|| count.unwrap_or(1))
}

/// When a nonce was made, as it says itself.
fn made_ms(nonce: &[u8]) -> Option<u64> {
    let digits = nonce.get(..16).and_then(|digits| std::str::from_utf8(digits).ok())?;
    u64::from_str_radix(digits, 16).ok()
}

fn millis(now: Mono) -> u64 {
    now.0 / 1_000_000
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sip::auth::{Account, AccountConfig, Nonces};
    use crate::sip::message::{Limits, Message};

    #[test]
    fn a_client_of_ours_is_let_in_and_sha_256_is_offered_first() {
        let (mut door, mut client) = (door(), Client::new("secret"));

        let first = door.admit(&users(), &client.request(&None), at(0)).unwrap_err();
        assert!(String::from_utf8_lossy(&first.challenges[0]).contains("algorithm=SHA-256"));
        assert!(!String::from_utf8_lossy(&first.challenges[0]).contains("stale"));

        assert_eq!(door.admit(&users(), &client.request(&Some(first)), at(1)), Ok(()));
        assert_eq!(door.admit(&users(), &client.again(), at(2)), Ok(()), "the nonce once more");
    }

    #[test]
    fn a_replay_is_stale_and_a_wrong_password_is_not() {
        let (mut door, mut client) = (door(), Client::new("secret"));
        let first = door.admit(&users(), &client.request(&None), at(0)).unwrap_err();
        let request = client.request(&Some(first.clone()));
        assert_eq!(door.admit(&users(), &request, at(1)), Ok(()));

        let replayed = door.admit(&users(), &request, at(2)).unwrap_err();
        let wrong = Client::new("other").request(&Some(first));
        let refused = door.admit(&users(), &wrong, at(3)).unwrap_err();

        assert!(is_stale(&replayed));
        assert!(!is_stale(&refused));
    }

    #[test]
    fn a_nonce_runs_out_and_one_of_another_shard_is_stale() {
        let (mut door, mut client) = (door(), Client::new("secret"));
        let first = door.admit(&users(), &client.request(&None), at(0)).unwrap_err();
        let request = client.request(&Some(first));

        let late = door.admit(&users(), &request, at(61_000)).unwrap_err();
        let elsewhere = Doorkeeper::new([9; 32]).admit(&users(), &request, at(1)).unwrap_err();

        assert!(is_stale(&late) && is_stale(&elsewhere));
    }

    #[test]
    fn a_proxy_may_have_changed_the_request_uri() {
        let (mut door, mut client) = (door(), Client::new("secret"));
        let first = door.admit(&users(), &client.request(&None), at(0)).unwrap_err();
        let text = client.text(&Some(first)).replacen("sip:+18005550100@h SIP", "sip:h SIP", 1);

        assert_eq!(door.admit(&users(), &parse(text), at(1)), Ok(()));
    }

    #[test]
    fn an_algorithm_that_is_not_offered_is_not_taken() {
        let (mut door, mut client) = (door(), Client::new("secret"));
        let first = door.admit(&users(), &client.request(&None), at(0)).unwrap_err();
        let request = client.request(&Some(first));
        let only_md5 = Users { algorithms: vec![Hash::Md5], ..users() };

        let refused = door.admit(&only_md5, &request, at(1)).unwrap_err();

        assert_eq!(refused.challenges.len(), 1);
        assert!(String::from_utf8_lossy(&refused.challenges[0]).contains("algorithm=MD5"));
    }

    #[test]
    fn counts_may_overtake_each_other_but_never_repeat() {
        let mut seen = Seen::default();
        let taken: Vec<_> = [1, 3, 2, 2, 3, 70, 5, 6, 6, 0].map(|n| seen.take(n)).to_vec();
        assert_eq!(
            taken,
            [true, true, true, false, false, true, false, true, false, false],
            "5 is further back than the window"
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut door = door();
        for n in 0..NONCES_MAX as u64 + 10 {
            let now = Mono((n + 1) * 1_000_000);
            let nonce = door.nonce(&users(), millis(now));
            assert!(door.is_fresh(&users(), &nonce, now));
            assert!(door.use_up(&nonce, 1, now));
        }
        assert!(door.used.len() <= NONCES_MAX);
        let first = door.nonce(&users(), 1);
        assert!(!door.is_fresh(&users(), &first, at(100)), "forgotten ones do not come back");
    }

    struct Client {
        account: Account,
        nonces: Nonces,
    }

    impl Client {
        fn new(password: &str) -> Self {
            let config = serde_json::json!({ "username": "carrier", "password": password });
            let config: AccountConfig = serde_json::from_value(config).unwrap();
            Self { account: Account::new("t".into(), &config), nonces: Nonces::default() }
        }

        fn request(&mut self, challenge: &Option<Unauthorized>) -> Request {
            let text = self.text(challenge);
            parse(text)
        }

        fn again(&mut self) -> Request {
            self.request(&None)
        }

        fn text(&mut self, challenge: &Option<Unauthorized>) -> String {
            let plain = "INVITE sip:+18005550100@h SIP/2.0\r\n";
            if let Some(unauthorized) = challenge {
                let asked = String::from_utf8_lossy(&unauthorized.challenges[0]).into_owned();
                let response = message(&format!("SIP/2.0 401 X\r\nWWW-Authenticate: {asked}\r\n"));
                let request = message(plain);
                let (request, response) = (request.headers(), response.headers());
                assert!(self.nonces.challenged(&self.account, request, response, 0));
            }
            let uri = b"sip:+18005550100@h";
            let proofs = self.nonces.proofs(&self.account, b"INVITE", uri, 1);
            let line = |(field, proof): &(HeaderName, Vec<u8>)| {
                format!("{}: {}\r\n", field.name(), String::from_utf8_lossy(proof))
            };
            format!("{plain}{}", proofs.iter().map(line).collect::<String>())
        }
    }

    fn is_stale(unauthorized: &Unauthorized) -> bool {
        unauthorized.challenges.iter().all(|it| String::from_utf8_lossy(it).contains("stale=true"))
    }

    fn users() -> Users {
        let config = serde_json::json!({
            "realm": "edge.example", "users": [{ "username": "carrier", "password": "secret" }]
        });
        Users::new(&serde_json::from_value(config).unwrap())
    }

    fn door() -> Doorkeeper {
        Doorkeeper::new([7; 32])
    }

    fn at(ms: u64) -> Mono {
        Mono(1_000_000_000_000) + Duration::from_millis(ms)
    }

    fn parse(text: String) -> Request {
        match message(&text) {
            Message::Request(request) => request,
            Message::Response(_) => panic!("{text}"),
        }
    }

    fn message(head: &str) -> Message {
        let text = format!(
            "{head}Via: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=a\r\n\
             To: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }
}

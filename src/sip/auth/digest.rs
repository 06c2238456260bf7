//! The arithmetic of digests: RFC 7616 §3.4 with the algorithms of RFC 8760.

use md5::Md5;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// How a proof is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm {
    pub hash: Hash,
    /// `-sess`: the password's digest is tied to nonce and cnonce.
    pub session: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Hash {
    #[serde(rename = "md5")]
    Md5,
    #[serde(rename = "sha-256")]
    Sha256,
}

/// Everything a proof depends on. Texts without quotes.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub algorithm: Algorithm,
    pub username: &'a [u8],
    pub realm: &'a [u8],
    pub password: &'a [u8],
    pub nonce: &'a [u8],
    pub cnonce: &'a [u8],
    /// How often the nonce was used, with `qop=auth`; without a quality of protection absent.
    pub nonce_count: Option<u32>,
    pub method: &'a [u8],
    pub uri: &'a [u8],
}

impl Algorithm {
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    pub const SHA_256: Self = Self { hash: Hash::Sha256, session: false };

    /// Reads the `algorithm` parameter, which means MD5 where it is absent. `None` for one we do
    /// not know.
    pub fn from_token(token: Option<&[u8]>) -> Option<Self> {
        let Some(token) = token else { return Some(Self::MD5) };
        let token = token.to_ascii_lowercase();
        let (name, session) = match token.strip_suffix(b"-sess") {
            Some(name) => (name, true),
            None => (&token[..], false),
        };
        let hash = match name {
            b"md5" => Hash::Md5,
            b"sha-256" => Hash::Sha256,
            _ => return None,
        };
        Some(Self { hash, session })
    }

    /// The value of the `algorithm` parameter.
    pub fn token(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
        }
    }
}

impl Hash {
    /// In lower-case hexadecimal, of the parts with colons between.
    fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        let text = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(&text)),
            Self::Sha256 => hex(&Sha256::digest(&text)),
        }
    }
}

impl Proof<'_> {
    /// The `response` parameter.
    pub fn response(&self) -> Vec<u8> {
        let hash = self.algorithm.hash;
        let mut secret = hash.of(&[self.username, self.realm, self.password]);
        if self.algorithm.session {
            secret = hash.of(&[&secret, self.nonce, self.cnonce]);
        }
        let asked = hash.of(&[self.method, self.uri]);
        match self.nonce_count {
            Some(count) => {
                let count = nonce_count(count);
                hash.of(&[&secret, self.nonce, &count, self.cnonce, b"auth", &asked])
            }
            None => hash.of(&[&secret, self.nonce, &asked]),
        }
    }
}

/// The `nc` parameter: eight hexadecimal digits.
pub fn nonce_count(count: u32) -> Vec<u8> {
    hex(&count.to_be_bytes())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1.
    fn mufasa(algorithm: Algorithm) -> Proof<'static> {
        Proof {
            algorithm,
            username: b"Mufasa",
            realm: b"http-auth@example.org",
            password: b"Circle of Life",
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            nonce_count: Some(1),
            method: b"GET",
            uri: b"/dir/index.html",
        }
    }

    #[test]
    fn the_vectors_of_rfc_7616_hold() {
        let md5 = mufasa(Algorithm::MD5).response();
        let sha = mufasa(Algorithm::SHA_256).response();

        assert_eq!(md5, b"8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(sha, b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn the_vectors_of_rfc_2617_and_rfc_2069_hold() {
        let proof = Proof {
            realm: b"testrealm@host.com",
            password: b"Circle Of Life",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            cnonce: b"0a4f113b",
            ..mufasa(Algorithm::MD5)
        };
        let without_qop = Proof { nonce_count: None, ..proof };

        assert_eq!(proof.response(), b"6629fae49393a05397450978507c4ef1");
        assert_eq!(without_qop.response(), b"670fd8c2df070c60b045671b8b24ff02");
    }

    #[test]
    fn a_session_s_secret_is_tied_to_the_nonces() {
        let session = |hash| mufasa(Algorithm { hash, session: true });
        for hash in [Hash::Md5, Hash::Sha256] {
            let proof = session(hash);
            let other = Proof { cnonce: b"other", ..proof };
            let plain = Proof { algorithm: Algorithm { hash, session: false }, ..proof };

            assert_ne!(proof.response(), other.response());
            assert_ne!(proof.response(), plain.response());
        }
        // By hand: H(H(H(A1):nonce:cnonce):nonce:nc:cnonce:auth:H(A2)).
        let proof = session(Hash::Md5);
        let inner = Hash::Md5.of(&[proof.username, proof.realm, proof.password]);
        let secret = Hash::Md5.of(&[&inner, proof.nonce, proof.cnonce]);
        let asked = Hash::Md5.of(&[b"GET", b"/dir/index.html"]);
        let whole =
            Hash::Md5.of(&[&secret, proof.nonce, b"00000001", proof.cnonce, b"auth", &asked]);
        assert_eq!(proof.response(), whole);
    }

    #[test]
    fn algorithms_are_read_in_any_case_and_unknown_ones_left_out() {
        assert_eq!(Algorithm::from_token(None), Some(Algorithm::MD5));
        assert_eq!(Algorithm::from_token(Some(b"sha-256")), Some(Algorithm::SHA_256));
        for token in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"] {
            assert_eq!(Algorithm::from_token(Some(token.as_bytes())).unwrap().token(), token);
        }
        assert_eq!(Algorithm::from_token(Some(b"SHA-512-256")), None);
        assert_eq!(Algorithm::from_token(Some(b"-sess")), None);
    }
}

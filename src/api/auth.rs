//! Who may call: API keys, compared in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::error::{Code, Problem};
use crate::config::ApiKey;

/// Who a request is from, as a request extension: the id of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) SmolStr);

/// The keys that open the API, by their digests, which all have one length.
pub(super) struct Keys(Vec<(SmolStr, [u8; 32])>);

impl Keys {
    pub(super) fn new(keys: &[ApiKey]) -> Self {
        Self(keys.iter().map(|it| (it.id.clone(), digest(it.key.reveal().as_bytes()))).collect())
    }

    /// The holder of `presented`. Takes equally long whichever key it is, and if it is none.
    fn holder(&self, presented: &[u8]) -> Option<&SmolStr> {
        let presented = digest(presented);
        let (mut found, mut position) = (Choice::from(0), 0_u32);
        for ((_, key), n) in self.0.iter().zip(0..) {
            let same = key.ct_eq(&presented);
            position.conditional_assign(&n, same);
            found |= same;
        }
        let position = usize::try_from(position).ok()?;
        bool::from(found).then(|| self.0.get(position)).flatten().map(|(id, _)| id)
    }
}

/// Lets a request pass that has a known key, and notes whose it is.
pub(super) async fn require_key(
    State(keys): State<Arc<Keys>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = presented(request.headers()).ok_or(Code::KeyMissing)?;
    let holder = keys.holder(key).ok_or(Code::KeyUnknown)?.clone();
    tracing::Span::current().record("key_id", holder.as_str());
    request.extensions_mut().insert(KeyId(holder));
    Ok(next.run(request).await)
}

/// `Authorization: Bearer KEY` (RFC 6750 §2.1), else `X-Api-Key: KEY`.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii()))
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_key_names_its_holder_and_nothing_else_does() {
        let key = |id: &str, key| ApiKey { id: id.into(), key: Secret::new(key) };
        let keys = Keys::new(&[key("ops", "alpha"), key("bi", "beta")]);

        assert_eq!(keys.holder(b"alpha").map(SmolStr::as_str), Some("ops"));
        assert_eq!(keys.holder(b"beta").map(SmolStr::as_str), Some("bi"));
        for wrong in [&b""[..], b"alph", b"alphaa", b"Alpha", b"ops"] {
            assert_eq!(keys.holder(wrong), None);
        }
        assert_eq!(Keys::new(&[]).holder(b""), None);
    }

    #[test]
    fn both_headers_are_read_and_the_scheme_in_any_case() {
        let read = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            presented(&headers).map(<[u8]>::to_vec)
        };

        assert_eq!(read("authorization", "Bearer k1").as_deref(), Some(&b"k1"[..]));
        assert_eq!(read("authorization", "bearer  k1").as_deref(), Some(&b"k1"[..]));
        assert_eq!(read("x-api-key", "k1").as_deref(), Some(&b"k1"[..]));
        assert_eq!(read("authorization", "Basic k1"), None);
        assert_eq!(read("authorization", "Be"), None);
    }
}

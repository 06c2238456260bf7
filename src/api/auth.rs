//! Who may call: keys of operators, compared in constant time, then those of publishers, which are
//! part of the configuration in force.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Routing;
use super::caller::{Caller, origin};
use super::error::{Code, Problem};
use super::sessions;
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

/// Everything that opens a path.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) keys: Arc<Keys>,
    pub(super) routing: Arc<dyn Routing>,
}

/// Lets a request of an operator pass, and notes whose it is.
pub(super) async fn require_operator(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = presented(request.headers()).ok_or(Code::KeyMissing)?;
    let Some(holder) = gate.keys.holder(key).cloned() else {
        let of_publisher = gate.routing.in_force().access().holder(key).is_some();
        return Err((if of_publisher { Code::KeyForbidden } else { Code::KeyUnknown }).into());
    };
    tracing::Span::current().record("key_id", holder.as_str());
    request.extensions_mut().insert(KeyId(holder));
    Ok(next.run(request).await)
}

/// Lets a request of an operator, a publisher or a page pass, and notes whose it is as [`Caller`]. A
/// publisher's key may be in the query, as `key`, for those who can send nothing else.
pub(super) async fn require_caller(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = match presented(request.headers()) {
        Some(key) => match gate.keys.holder(key) {
            Some(operator) => {
                tracing::Span::current().record("key_id", operator.as_str());
                Caller::Operator
            }
            None => gate.publisher(key, request.headers())?,
        },
        None => match in_query(request.uri()) {
            Some(key) => gate.publisher(key.as_bytes(), request.headers())?,
            None if may_be_in_body(&request) => Caller::KeyInBody,
            None => return Err(Code::KeyMissing.into()),
        },
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

impl Gate {
    fn publisher(&self, key: &[u8], headers: &HeaderMap) -> Result<Caller, Problem> {
        let snapshot = self.routing.in_force();
        let holder = snapshot.access().holder(key).ok_or(Code::KeyUnknown)?;
        let (publisher, key) = (&holder.publisher, &holder.key);
        tracing::Span::current()
            .record("key_id", tracing::field::display(format_args!("{publisher}/{key}")));
        Caller::of(holder, origin(headers))
    }
}

/// A body is read for its key where pages send it, and nowhere else.
fn may_be_in_body(request: &Request) -> bool {
    let path = request.extensions().get::<MatchedPath>();
    let is_of_visitors = path.is_some_and(|path| path.as_str().starts_with(sessions::PATH));
    request.method() == Method::POST && is_of_visitors
}

/// `key` of the query.
fn in_query(uri: &Uri) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == "key").map(|(_, key)| key.into_owned())
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

//! What an INVITE is refused for before it is a call, and its like within calls, in the order of
//! RFC 3261 §8.2.

use bytes::Bytes;

use crate::sip::flow::Flow;
use crate::sip::leg::description;
use crate::sip::leg::offer_answer::is_sdp;
use crate::sip::leg::policy::LegPolicy;
use crate::sip::leg::session_timer::TooShort;
use crate::sip::message::{HeaderName, Headers, Request, Writer};
use crate::sip::trunk::TrunkIndex;
use crate::sip::trunk::profile::Support;
use crate::time::Mono;

use super::rare::session_part;
use super::reliable::offers_reliability;
use super::requests::{body_of, is_foreign};
use super::wire::Wire;
use super::{Endpoint, Origin};

/// Names the nodes a call has passed, so that one that comes back is noticed (spec/sip B2). A
/// Max-Forwards that falls ends any other loop.
pub(super) const LOOP_HEADER: &[u8] = b"X-Loop-Token";

/// More nodes than this in a row are named no longer; Max-Forwards still ends the loop.
const LOOP_TOKENS_MAX: usize = 16;

/// Why an INVITE is refused before it is a call.
pub(super) struct Rejection {
    status: u16,
    reason: &'static str,
    header: Option<(HeaderName, Bytes)>,
}

impl Endpoint {
    /// What is refused whoever sends it, in the order of RFC 3261 §8.2.
    pub(super) fn screen(
        &self,
        request: &Request,
        origin: Origin,
    ) -> Result<TrunkIndex, Rejection> {
        let Origin::Trunk(trunk) = origin else {
            return Err(Rejection::new(403, "Forbidden"));
        };
        if is_foreign(request) {
            return Err(Rejection::new(416, "Unsupported URI Scheme"));
        }
        if request.max_forwards() == Some(0) {
            return Err(Rejection::new(483, "Too Many Hops"));
        }
        if loop_tokens(request).any(|token| token == &self.wire.settings.loop_token[..]) {
            return Err(Rejection::new(482, "Loop Detected"));
        }
        if self.wire.find(self.wire.keys.of_merged(request)).is_some() {
            return Err(Rejection::new(482, "Loop Detected"));
        }
        Ok(trunk)
    }
}

impl Wire {
    /// Refuses an INVITE. No state for what is refused (spec/sip S5); its ACK is absorbed.
    pub(super) fn reject(&mut self, request: &Request, flow: Flow, rejection: &Rejection) {
        let Rejection { status, reason, .. } = *rejection;
        self.respond_stateless(request, flow, status, reason, |writer| rejection.explain(writer));
    }
}

impl Rejection {
    fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, header: None }
    }

    fn with(status: u16, reason: &'static str, name: HeaderName, value: Bytes) -> Self {
        Self { status, reason, header: Some((name, value)) }
    }

    /// Writes the header field that says what would be taken.
    fn explain(&self, writer: &mut Writer) {
        if let Some((name, value)) = &self.header {
            writer.header(*name, value);
        }
    }
}

fn loop_tokens(request: &Headers) -> impl Iterator<Item = &[u8]> {
    request
        .iter()
        .filter(|(name, written, _)| {
            *name == HeaderName::Other && written.eq_ignore_ascii_case(LOOP_HEADER)
        })
        .flat_map(|(_, _, value)| value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}

/// The value of the loop header with our token at its end.
pub(super) fn with_loop_token(request: &Headers, own: &[u8]) -> Bytes {
    let mut tokens: Vec<&[u8]> = loop_tokens(request).collect();
    tokens.truncate(LOOP_TOKENS_MAX - 1);
    tokens.push(own);
    Bytes::from(tokens.join(&b", "[..]))
}

/// What its trunk takes no INVITE with, or nobody.
pub(super) fn screen_content(request: &Request, policy: &LegPolicy) -> Result<(), Rejection> {
    screen_extensions(request, policy)?;
    check_body(request)?;
    if !matches!(request.contact(), Ok(Some(_))) {
        return Err(Rejection::new(400, "Missing or Malformed Contact"));
    }
    Ok(())
}

/// What an INVITE asks for and its trunk does not allow (RFC 3262 §3, RFC 4028 §9).
fn screen_extensions(request: &Request, policy: &LegPolicy) -> Result<(), Rejection> {
    let refused = |tag: &[u8]| match tag {
        b"timer" => !policy.session.supported,
        b"100rel" => policy.reliable == Some(Support::No),
        _ => true,
    };
    if let Some(unsupported) = unsupported(request, refused) {
        let name = HeaderName::Unsupported;
        return Err(Rejection::with(420, "Bad Extension", name, unsupported));
    }
    if policy.reliable == Some(Support::Required) && !offers_reliability(request) {
        let (name, value) = (HeaderName::Require, Bytes::from_static(b"100rel"));
        return Err(Rejection::with(421, "Extension Required", name, value));
    }
    if let Err(TooShort { min_s }) = policy.session.answer(request, None) {
        let (name, value) = (HeaderName::MinSe, Bytes::from(min_s.to_string()));
        return Err(Rejection::with(422, "Session Interval Too Small", name, value));
    }
    Ok(())
}

/// The option tags of Require that we do not take: those that `refused` names, and all of
/// Proxy-Require (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Headers, refused: impl Fn(&[u8]) -> bool) -> Option<Bytes> {
    if !request.has(HeaderName::Require) && !request.has(HeaderName::ProxyRequire) {
        return None;
    }
    let required = request.values(HeaderName::Require).filter(|tag| refused(tag));
    let refused: Vec<&[u8]> = required.chain(request.values(HeaderName::ProxyRequire)).collect();
    (!refused.is_empty()).then(|| Bytes::from(refused.join(&b", "[..])))
}

/// Within a call, what we know we take.
pub(super) fn unknown_in_dialog(tag: &[u8]) -> bool {
    !matches!(tag, b"timer" | b"100rel")
}

/// No body, or one that describes a session, alone or among other parts. Those go nowhere unless a
/// policy says so: they may hold the caller's number, or where it is.
fn is_session(request: &Headers) -> bool {
    let Some(content_type) = request.content_type().filter(|_| !request.body().is_empty()) else {
        return true;
    };
    is_sdp(content_type) || session_part(request).is_some()
}

/// Whether the body that comes with an offer describes a session, and one that somebody could use
/// (spec/sip P15).
fn check_body(request: &Headers) -> Result<(), Rejection> {
    if !is_session(request) {
        let accept = Bytes::from_static(b"application/sdp");
        return Err(Rejection::with(415, "Unsupported Media Type", HeaderName::Accept, accept));
    }
    let described = body_of(request).filter(|body| is_sdp(&body.content_type));
    if let Some(Err(unusable)) = described.map(|body| description::check(&body.bytes)) {
        // RFC 3261 §20.43; who warns is nobody's business.
        let warning = Bytes::from(format!("399 - \"the session description {unusable}\""));
        return Err(Rejection::with(488, "Not Acceptable Here", HeaderName::Warning, warning));
    }
    Ok(())
}

/// [`check_body`] of a request within a call, which is refused if it has to be.
pub(super) fn screen_body(
    request: Request,
    flow: Flow,
    wire: &mut Wire,
    now: Mono,
) -> Option<Request> {
    let Err(rejection) = check_body(&request) else { return Some(request) };
    let more = |writer: &mut Writer| rejection.explain(writer);
    wire.reply_with(request, flow, rejection.status, more, now);
    None
}

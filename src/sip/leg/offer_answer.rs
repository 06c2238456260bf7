//! The one line of a session description that is ours while media goes past us: `o=`.
//!
//! It names whoever made the description. Passing it on would tell one party about the other
//! (spec/sip B1), and its version must rise on this leg when, and only when, the description
//! changes (RFC 3264 §8), whatever the far side counts.
//!
//! What describes the media passes as it is. The parties send it to each other, so `c=`, `a=ssrc` with
//! its `cname` (RFC 5576) and the like tell nothing that its packets do not: the same address and the
//! same CNAME are in every RTP and RTCP packet. Without them a receiver cannot put streams together.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use bytes::Bytes;
use foldhash::quality::FixedState;

use super::description;
use super::event::Body;
use crate::sip::message::append_ip;

/// The longest `o=` line of ours, without its end.
const ORIGIN_BYTES: usize = 96;

/// Our identity as the origin of session descriptions on one leg.
#[derive(Clone, Debug, PartialEq)]
pub struct SdpOrigin {
    session: u64,
    version: u32,
    /// Digest of the last description sent, without its origin.
    last: Option<u64>,
}

impl SdpOrigin {
    /// `session` is a number no other leg has.
    pub fn new(session: u64) -> Self {
        Self { session: session >> 2, version: 0, last: None }
    }

    /// [`SdpOrigin::rewrite`] where there may be no body, or no address of ours to put into it.
    pub fn rewrite_any(&mut self, body: Option<Body>, address: Option<IpAddr>) -> Option<Body> {
        match (body, address) {
            (Some(body), Some(address)) => Some(self.rewrite(body, address)),
            (body, _) => body,
        }
    }

    /// The body as it leaves on this leg, from `address`, mended where it lacks what strict readers
    /// want. What is not SDP passes untouched.
    pub fn rewrite(&mut self, body: Body, address: IpAddr) -> Body {
        if !is_sdp(&body.content_type) {
            return body;
        }
        let body = match description::mend(&body.bytes) {
            Some(bytes) => Body { bytes, ..body },
            None => body,
        };
        let Some((start, end)) = origin_line(&body.bytes) else { return body };
        let (before, after) = (&body.bytes[..start], &body.bytes[end..]);
        let mut hasher = FixedState::with_seed(self.session).build_hasher();
        hasher.write(before);
        hasher.write(after);
        let digest = hasher.finish();
        if self.last != Some(digest) {
            self.last = Some(digest);
            self.version += 1;
        }
        let mut bytes = Vec::with_capacity(before.len() + ORIGIN_BYTES + after.len());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(b"o=- ");
        bytes.extend_from_slice(itoa::Buffer::new().format(self.session).as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(itoa::Buffer::new().format(self.version).as_bytes());
        bytes.extend_from_slice(if address.is_ipv4() { b" IN IP4 " } else { b" IN IP6 " });
        append_ip(&mut bytes, address);
        bytes.extend_from_slice(after);
        Body { content_type: body.content_type, bytes: Bytes::from(bytes) }
    }
}

/// Tells descriptions apart by all but their origin; `None` if the body is none.
pub fn digest(body: Option<&Body>) -> Option<u64> {
    let body = body.filter(|body| is_sdp(&body.content_type))?;
    let (start, end) = origin_line(&body.bytes).unwrap_or_default();
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(&body.bytes[..start]);
    hasher.write(&body.bytes[end..]);
    Some(hasher.finish())
}

pub fn is_sdp(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/sdp")
}

/// From `o=` to the end of its line, without the line end.
fn origin_line(sdp: &[u8]) -> Option<(usize, usize)> {
    let start = if sdp.starts_with(b"o=") { 0 } else { memchr::memmem::find(sdp, b"\no=")? + 1 };
    let end = memchr::memchr2(b'\r', b'\n', &sdp[start..]).map_or(sdp.len(), |at| start + at);
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_becomes_ours_and_its_version_rises_only_with_a_change() {
        let mut origin = SdpOrigin::new(400);
        let mut write = |text: &'static str| {
            let body = Body { content_type: "application/sdp".into(), bytes: text.into() };
            let body = origin.rewrite(body, "192.0.2.1".parse().unwrap());
            String::from_utf8(body.bytes.to_vec()).unwrap()
        };

        let first = write("v=0\r\no=carrier 7 9 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let same = write("v=0\r\no=carrier 7 10 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let changed = write("v=0\r\no=carrier 7 11 IN IP4 10.0.0.1\r\ns=x\r\nt=0 0\r\n");

        assert_eq!(first, "v=0\r\no=- 100 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n");
        assert_eq!(same, first);
        assert_eq!(changed, "v=0\r\no=- 100 2 IN IP4 192.0.2.1\r\ns=x\r\nt=0 0\r\n");
    }

    #[test]
    fn what_media_says_of_itself_passes_for_it_goes_from_end_to_end() {
        let media = "c=IN IP4 198.51.100.9\r\nt=0 0\r\nm=audio 6000 RTP/SAVPF 111\r\n\
                     a=ssrc:314 cname:x7@buyer.example\r\na=ssrc:314 msid:s t\r\na=rtcp-mux\r\n";
        let text = format!("v=0\r\no=b 1 1 IN IP4 198.51.100.9\r\ns=-\r\n{media}");
        let body = Body { content_type: "application/sdp".into(), bytes: text.into() };

        let sent = SdpOrigin::new(400).rewrite(body, "192.0.2.1".parse().unwrap());

        let sent = String::from_utf8(sent.bytes.to_vec()).unwrap();
        assert_eq!(sent, format!("v=0\r\no=- 100 1 IN IP4 192.0.2.1\r\ns=-\r\n{media}"));
    }

    #[test]
    fn a_description_is_the_same_whatever_its_origin_counts() {
        let body = |text: &'static str| {
            Some(Body { content_type: "application/sdp".into(), bytes: text.into() })
        };
        let first = body("v=0\r\no=a 7 9 IN IP4 10.0.0.1\r\ns=-\r\n");
        let same = body("v=0\r\no=a 7 10 IN IP4 10.0.0.1\r\ns=-\r\n");
        let changed = body("v=0\r\no=a 7 9 IN IP4 10.0.0.1\r\ns=x\r\n");

        assert_eq!(digest(first.as_ref()), digest(same.as_ref()));
        assert_ne!(digest(first.as_ref()), digest(changed.as_ref()));
        assert_eq!(digest(None), None);
    }

    #[test]
    fn what_is_not_sdp_passes_untouched_and_what_has_no_origin_gets_ours() {
        let mut origin = SdpOrigin::new(400);
        let mut write = |content_type: &'static str, text: &'static str| {
            let body = Body { content_type: content_type.into(), bytes: text.into() };
            origin.rewrite(body, "192.0.2.1".parse().unwrap()).bytes
        };

        assert_eq!(write("text/plain", "o=x"), "o=x");
        assert_eq!(write("application/sdp", "hello"), "hello");
        let ours = "v=0\r\no=- 100 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
        assert_eq!(write("application/sdp", "v=0\r\n"), ours);
    }
}

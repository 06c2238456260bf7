//! Of a session description one line becomes ours, whatever it holds: the origin. The rest passes
//! as it is, and the version rises only with a change.

use bytes::Bytes;
use tollbridge::sip::leg::event::Body;
use tollbridge::sip::leg::offer_answer::SdpOrigin;

pub(crate) fn check(data: &[u8]) {
    let body = Body {
        content_type: Bytes::from_static(b"application/sdp"),
        bytes: Bytes::copy_from_slice(data),
    };
    let address = [192, 0, 2, 1].into();
    let mut origin = SdpOrigin::new(400);

    let sent = origin.rewrite(body.clone(), address);

    assert_eq!(origin.rewrite(body.clone(), address), sent, "the same has the same version");
    assert_eq!(SdpOrigin::new(400).rewrite(sent.clone(), address), sent, "no origin of theirs");
    let lines = |body: &Body| body.bytes.split(|byte| *byte == b'\n').count();
    assert_eq!(lines(&sent), lines(&body), "a line for a line");
    let (theirs, ours) = (body.bytes.split(is_end), sent.bytes.split(is_end));
    let changed = theirs.zip(ours).filter(|(theirs, ours)| theirs != ours).collect::<Vec<_>>();
    assert!(changed.len() <= 1, "{changed:?}");
    for (theirs, ours) in changed {
        assert!(theirs.starts_with(b"o="));
        assert_eq!(ours, b"o=- 100 1 IN IP4 192.0.2.1");
    }
}

fn is_end(byte: &u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

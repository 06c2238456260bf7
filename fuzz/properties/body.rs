//! Of a session description one line becomes ours, whatever it holds: the origin. The rest passes
//! as it is, mended where it lacks what strict readers want, and the version rises only with a
//! change. What somebody could use before, somebody can use after.

use bytes::Bytes;
use tollbridge::sip::leg::description;
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
    assert_eq!(description::mend(&sent.bytes), None, "mended once is mended");
    if description::check(data).is_ok() {
        assert_eq!(description::check(&sent.bytes), Ok(()));
    }
    let mut theirs = lines(&body).peekable();
    for line in lines(&sent) {
        let is_ours = [&b"o=- 100 1 IN IP4 192.0.2.1"[..], b"s=-", b"t=0 0"].contains(&line);
        match theirs.next_if(|their| *their == line) {
            Some(_) => {}
            None if line.starts_with(b"o=") => {
                assert!(is_ours);
                theirs.next_if(|their| their.starts_with(b"o="));
            }
            None => assert!(is_ours, "{:?}", line.escape_ascii().to_string()),
        }
    }
    assert_eq!(theirs.next(), None, "nothing is lost");
}

fn lines(body: &Body) -> impl Iterator<Item = &[u8]> {
    body.bytes.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty())
}

//! The session description of a caller that is answered before its target: nothing is sent and
//! nothing is played until it is connected or referred (RFC 3264 §5.1, §6.1).

use std::net::IpAddr;

use bytes::Bytes;

use crate::sip::leg::event::Body;

/// The discard port: no media is meant to come.
const DISCARD: u16 = 9;

/// An inactive answer to `offer`, or an inactive offer where there is none. `None` if no audio is
/// offered that can be taken without keys.
pub fn placeholder(offer: Option<&Body>, address: IpAddr) -> Option<Body> {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let mut text = format!(
        "v=0\r\no=- 0 0 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    );
    match offer {
        None => {
            text.push_str("m=audio 9 RTP/AVP 0 8\r\na=inactive\r\n");
        }
        Some(offer) => text.push_str(&answer(std::str::from_utf8(&offer.bytes).ok()?)?),
    }
    let content_type = Bytes::from_static(b"application/sdp");
    Some(Body { content_type, bytes: Bytes::from(text) })
}

/// A media section for each of the offer's: the first audio is taken with its first format, the
/// others are refused.
fn answer(offer: &str) -> Option<String> {
    let mut text = String::new();
    let mut taken = false;
    let mut mapped = None;
    for line in offer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            mapped = None;
            let mut parts = media.split_ascii_whitespace();
            let (kind, port) = (parts.next()?, parts.next()?);
            let (protocol, format) = (parts.next()?, parts.next()?);
            let takes = !taken && kind == "audio" && port != "0" && protocol == "RTP/AVP";
            if takes {
                taken = true;
                mapped = Some(format!("a=rtpmap:{format} "));
                text.push_str(&format!("m=audio {DISCARD} RTP/AVP {format}\r\na=inactive\r\n"));
            } else {
                text.push_str(&format!("m={kind} 0 {protocol} {format}\r\n"));
            }
        } else if mapped.as_ref().is_some_and(|mapped| line.starts_with(mapped)) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    taken.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_audio_is_taken_inactive_and_the_rest_refused() {
        let offer = "v=0\r\nm=video 5000 RTP/AVP 99\r\nm=audio 4000 RTP/AVP 96 0\r\n\
            a=rtpmap:96 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\nm=audio 4002 RTP/AVP 0\r\n";

        let answer = written(Some(offer)).unwrap();

        assert!(
            answer.ends_with(
                "t=0 0\r\nm=video 0 RTP/AVP 99\r\nm=audio 9 RTP/AVP 96\r\na=inactive\r\n\
             a=rtpmap:96 opus/48000/2\r\nm=audio 0 RTP/AVP 0\r\n"
            ),
            "{answer}"
        );
    }

    #[test]
    fn without_an_offer_we_make_one_and_without_plain_audio_there_is_none() {
        assert!(written(None).unwrap().ends_with("m=audio 9 RTP/AVP 0 8\r\na=inactive\r\n"));
        for offer in [
            "v=0\r\n",
            "v=0\r\nm=image 1 udptl t38\r\n",
            "v=0\r\nm=audio 4000 RTP/SAVP 0\r\n",
            "v=0\r\nm=audio\r\n",
        ] {
            assert_eq!(written(Some(offer)), None, "{offer}");
        }
    }

    fn written(offer: Option<&'static str>) -> Option<String> {
        let body = |text: &'static str| Body {
            content_type: "application/sdp".into(),
            bytes: text.into(),
        };
        let body = placeholder(offer.map(body).as_ref(), "192.0.2.1".parse().unwrap())?;
        Some(String::from_utf8(body.bytes.to_vec()).unwrap())
    }
}

//! Session descriptions of others, RFC 8866: what is mended on the way, and what is refused
//! (spec/sip P15).
//!
//! Media goes past this server, so a description is the parties' affair, and whatever they
//! understand passes: unknown attributes, several streams, ports of zero. What strict parties trip
//! over and carriers leave out is put in: line ends, `o=`, `s=`, `t=`. What no party could use is
//! answered by us, with its reason, before a target rings for it.

use bytes::Bytes;
use smol_str::SmolStr;

/// Why nobody can use a description. Completes "the session description …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("does not begin with v=0")]
    Version,
    #[error("has a line that is no type=value")]
    Line,
    #[error("has two origins")]
    Origins,
    #[error("has a c= that is no internet address")]
    Connection,
    #[error("has a stream without port, protocol or format")]
    Stream,
    #[error("has a stream without an address")]
    NoAddress,
}

/// Whether somebody could use a description, as far as can be told without knowing codecs: each
/// stream that is not refused has a port, a protocol, a format and an address (RFC 3264 §5).
///
/// # Errors
/// The first thing that nobody could make sense of.
pub fn check(sdp: &[u8]) -> Result<(), Unusable> {
    let mut lines = lines(sdp);
    if lines.next().map(<[u8]>::trim_ascii_end) != Some(b"v=0") {
        return Err(Unusable::Version);
    }
    let mut origins = 0;
    let mut has_address = false;
    let mut stream = Stream::None;
    for line in lines {
        let [kind @ b'a'..=b'z', b'=', value @ ..] = line else { return Err(Unusable::Line) };
        match kind {
            b'o' => origins += 1,
            b'c' => {
                check_connection(value)?;
                match &mut stream {
                    Stream::None => has_address = true,
                    Stream::Open { addressed } => *addressed = true,
                }
            }
            b'm' => {
                stream.close(has_address)?;
                let addressed = is_refused(value)?;
                stream = Stream::Open { addressed };
            }
            _ => {}
        }
    }
    if origins > 1 {
        return Err(Unusable::Origins);
    }
    stream.close(has_address)
}

/// What the first stream of an answer is spoken in, such as `PCMU/8000`: of those that the parties
/// have in common the one that both prefer (RFC 3264 §6.1). Of a stream that is not RTP its format,
/// such as `t38`. `None` if there is no stream, it is refused, or its format has no name.
pub fn codec(sdp: &[u8]) -> Option<SmolStr> {
    let at = memchr::memmem::find(sdp, b"\nm=")? + 1;
    let stream = lines(&sdp[at..]).next()?;
    let mut parts = words(&stream[2..]);
    let (_media, port, _protocol) = (parts.next()?, parts.next()?, parts.next()?);
    let format = parts.next().filter(|_| port != b"0")?;
    let mapped = lines(&sdp[at..])
        .skip(1)
        .take_while(|line| !line.starts_with(b"m="))
        .filter_map(|line| line.strip_prefix(b"a=rtpmap:"))
        .find_map(|map| {
            let mut parts = words(map);
            (parts.next()? == format).then(|| parts.next())?
        });
    let name = mapped.or_else(|| well_known(format)).or_else(|| {
        let is_number = format.iter().all(u8::is_ascii_digit);
        (!is_number).then_some(format)
    })?;
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= CODEC_BYTES_MAX && name.bytes().all(|it| it.is_ascii_graphic()))
        .then(|| SmolStr::new(name))
}

/// A longer name is none.
const CODEC_BYTES_MAX: usize = 32;

/// Payload types that need no rtpmap (RFC 3551 §6).
fn well_known(format: &[u8]) -> Option<&'static [u8]> {
    Some(match format {
        b"0" => b"PCMU/8000",
        b"3" => b"GSM/8000",
        b"4" => b"G723/8000",
        b"8" => b"PCMA/8000",
        b"9" => b"G722/8000",
        b"15" => b"G728/8000",
        b"18" => b"G729/8000",
        _ => return None,
    })
}

/// What is missing that strict readers want, and line ends as they want them; `None` if there is
/// nothing to mend. What is no description at all is not made one.
pub fn mend(sdp: &[u8]) -> Option<Bytes> {
    if !sdp.starts_with(b"v=") || is_whole(sdp) {
        return None;
    }
    let has = |kind: u8| lines(sdp).any(|line| line.starts_with(&[kind, b'=']));
    let mut missing: Vec<&[u8]> = Vec::new();
    let mut out = Vec::with_capacity(sdp.len() + 64);
    for (kind, line) in [(b't', &b"t=0 0"[..]), (b's', b"s=-"), (b'o', NO_ORIGIN)] {
        if !has(kind) {
            missing.push(line);
        }
    }
    for line in lines(sdp) {
        let rank = rank(line.first().copied());
        while let Some(next) = missing.pop_if(|next| self::rank(next.first().copied()) < rank) {
            push(next, &mut out);
        }
        push(line, &mut out);
    }
    while let Some(next) = missing.pop() {
        push(next, &mut out);
    }
    Some(Bytes::from(out))
}

/// Stands where there was none until it becomes ours.
const NO_ORIGIN: &[u8] = b"o=- 0 0 IN IP4 0.0.0.0";

enum Stream {
    None,
    Open {
        /// It has an address of its own, or needs none.
        addressed: bool,
    },
}

impl Stream {
    /// No more is said of it.
    fn close(&self, has_address: bool) -> Result<(), Unusable> {
        match self {
            Self::Open { addressed: false } if !has_address => Err(Unusable::NoAddress),
            Self::None | Self::Open { .. } => Ok(()),
        }
    }
}

/// Reads `audio 4000 RTP/AVP 0`; whether the port is zero, so that the rest does not matter.
fn is_refused(stream: &[u8]) -> Result<bool, Unusable> {
    let mut words = words(stream);
    let (Some(_media), Some(port), Some(_protocol)) = (words.next(), words.next(), words.next())
    else {
        return Err(Unusable::Stream);
    };
    let port = port.split(|byte| *byte == b'/').next().unwrap_or_default();
    let port = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    match port {
        Some(0) => Ok(true),
        Some(_) if words.next().is_some() => Ok(false),
        Some(_) | None => Err(Unusable::Stream),
    }
}

/// Reads `IN IP4 192.0.2.1`, or a name in the address's place.
fn check_connection(value: &[u8]) -> Result<(), Unusable> {
    let mut words = words(value);
    let (network, family, address) = (words.next(), words.next(), words.next());
    let is_internet = network.is_some_and(|it| it.eq_ignore_ascii_case(b"IN"))
        && family
            .is_some_and(|it| it.eq_ignore_ascii_case(b"IP4") || it.eq_ignore_ascii_case(b"IP6"))
        && address.is_some();
    is_internet.then_some(()).ok_or(Unusable::Connection)
}

/// Whether nothing need be mended, by a look that costs little where all is as it should be.
fn is_whole(sdp: &[u8]) -> bool {
    let first_end = memchr::memchr2(b'\r', b'\n', sdp).unwrap_or(sdp.len());
    let has = |start: &[u8]| memchr::memmem::find(sdp, start).is_some();
    sdp[first_end..].starts_with(b"\r\n") && has(b"\no=") && has(b"\ns=") && has(b"\nt=")
}

/// Where a line stands in a description, RFC 8866 §5.
fn rank(kind: Option<u8>) -> u8 {
    match kind {
        Some(b'v') => 0,
        Some(b'o') => 1,
        Some(b's') => 2,
        Some(b'i' | b'u' | b'e' | b'p' | b'c' | b'b') => 3,
        Some(b't') => 4,
        Some(_) | None => 5,
    }
}

fn push(line: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}

/// Whatever ends them; those without anything in them are none.
fn lines(sdp: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    sdp.split(is_end).filter(|line| !line.is_empty())
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What carriers and devices send, and are understood.
    const TAKEN: [&str; 12] = [
        // All that is required and no more.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        // Line feeds alone.
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
        // No end to the last line.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0",
        // An address for the stream alone.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n",
        // Neither name nor time.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
        // A stream that is refused has neither address nor format.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP\r\n",
        // Held by its address, RFC 2543.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
        // No stream at all.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n",
        // Attributes nobody knows, and bytes that are no UTF-8.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns= \r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=x-\u{e9}\r\nm=audio 4000 RTP/AVP 0 101\r\na=gpmd:99 x\r\na=silenceSupp:off - - - -\r\n",
        // Two streams, IPv6, ports in a row, a blank at the end.
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nb=AS:84\r\nt=0 0\r\nm=audio 4000/2 RTP/SAVP 0 \r\nm=image 4002 udptl t38\r\n",
        // Blank lines at the end.
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n\r\n\r\n",
        // A name for an address.
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 media.example.com\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
    ];

    #[test]
    fn what_carriers_leave_out_is_no_reason_to_refuse() {
        for sdp in TAKEN {
            assert_eq!(check(sdp.as_bytes()), Ok(()), "{sdp}");
            let mended = mend(sdp.as_bytes()).unwrap_or_else(|| sdp.as_bytes().to_vec().into());
            assert_eq!(check(&mended), Ok(()), "{sdp}");
            assert_eq!(mend(&mended), None, "{sdp}");
        }
    }

    #[test]
    fn the_codec_is_that_of_the_first_format_of_the_first_stream() {
        let sdp = |streams: &str| {
            format!("v=0\r\no=-\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{streams}\r\n")
        };
        for (streams, name) in [
            (
                "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000",
                Some("PCMU/8000"),
            ),
            ("m=audio 4000 RTP/AVP 8", Some("PCMA/8000")),
            (
                "m=audio 4000 RTP/AVP 96 0\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:96 opus/48000/2",
                Some("opus/48000/2"),
            ),
            ("m=audio 4000 RTP/AVP 18\r\na=rtpmap:18 G729a/8000", Some("G729a/8000")),
            ("m=audio 4000 RTP/AVP 97\r\nm=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000", None),
            ("m=audio 4000 RTP/AVP 97", None),
            ("m=image 4002 udptl t38", Some("t38")),
            ("m=audio 0 RTP/AVP 0", None),
            ("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 \u{e9}/8000", None),
            ("m=audio", None),
            ("a=sendrecv", None),
        ] {
            assert_eq!(codec(sdp(streams).as_bytes()).as_deref(), name, "{streams}");
            let feeds_alone = sdp(streams).replace("\r\n", "\n");
            assert_eq!(codec(feeds_alone.as_bytes()).as_deref(), name, "{streams}");
        }
    }

    #[test]
    fn what_nobody_could_use_is_told_apart() {
        let stream =
            |line: &str| format!("v=0\r\no=-\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{line}\r\n");
        for (sdp, fault) in [
            (String::new(), Unusable::Version),
            (String::from("hello"), Unusable::Version),
            (String::from("v=1\r\n"), Unusable::Version),
            (String::from("o=- 1 1 IN IP4 192.0.2.1\r\nv=0\r\n"), Unusable::Version),
            (stream("hello there"), Unusable::Line),
            (stream("a:sendrecv"), Unusable::Line),
            (stream("\0=1"), Unusable::Line),
            (stream("o=again"), Unusable::Origins),
            (stream("c=IN"), Unusable::Connection),
            (stream("c=ATM NSAP 47.0091"), Unusable::Connection),
            (stream("m=audio"), Unusable::Stream),
            (stream("m=audio RTP/AVP 0"), Unusable::Stream),
            (stream("m=audio 70000 RTP/AVP 0"), Unusable::Stream),
            (stream("m=audio 4000 RTP/AVP"), Unusable::Stream),
            (String::from("v=0\r\nm=audio 4000 RTP/AVP 0\r\n"), Unusable::NoAddress),
            (
                String::from("v=0\r\nm=audio 4000 RTP/AVP 0\r\nm=audio 0 RTP/AVP 0\r\n"),
                Unusable::NoAddress,
            ),
        ] {
            assert_eq!(check(sdp.as_bytes()), Err(fault), "{sdp:?}");
        }
    }

    #[test]
    fn what_strict_readers_want_is_put_where_it_belongs() {
        let mended =
            |sdp: &str| mend(sdp.as_bytes()).map(|it| String::from_utf8(it.to_vec()).unwrap());

        assert_eq!(
            mended("v=0\nc=IN IP4 192.0.2.1\nb=AS:84\na=x\nm=audio 4000 RTP/AVP 0\n").as_deref(),
            Some(
                "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nb=AS:84\r\nt=0 0\r\n\
                 a=x\r\nm=audio 4000 RTP/AVP 0\r\n"
            )
        );
        assert_eq!(
            mended("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n").as_deref(),
            Some("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\n")
        );
        assert_eq!(mended(TAKEN[0]), None, "nothing is wrong with it");
        assert_eq!(mended("hello"), None, "that is no description");
    }
}

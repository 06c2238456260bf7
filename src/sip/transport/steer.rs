//! Which shard owns a datagram, and whether it is SIP at all, from a scan that does not parse.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use memchr::{memchr, memchr_iter, memrchr};

use super::fields::{self, CALL_ID};

/// Maps a Call-ID to the shard that owns its call.
///
/// A Call-ID we generated names its shard: `tb`, two hexadecimal digits, `-`, anything. Every
/// other goes to a shard by its hash, so that CANCEL, retransmissions and merged requests meet the
/// INVITE they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    shards: u16,
    seed: u64,
}

impl Steering {
    /// The most shards two hexadecimal digits can name.
    pub const SHARDS_MAX: u16 = 256;

    /// `shards` counts from 1 and is brought into `1..=256`. `seed` keeps a peer from choosing
    /// Call-IDs that all land on one shard; it is the same for every listener of the process.
    pub fn new(shards: u16, seed: u64) -> Self {
        Self { shards: shards.clamp(1, Self::SHARDS_MAX), seed }
    }

    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard for one whole message, in `0..shards`. A message without a Call-ID goes to shard
    /// 0, which refuses it.
    pub fn shard_of(&self, message: &[u8]) -> u16 {
        if self.shards == 1 {
            return 0;
        }
        let call_id = fields::values(message, CALL_ID).next();
        call_id.map_or(0, |call_id| self.shard_of_call_id(call_id))
    }

    /// The shard for a Call-ID already at hand, in `0..shards`.
    pub fn shard_of_call_id(&self, call_id: &[u8]) -> u16 {
        match own_shard(call_id) {
            Some(shard) if shard < self.shards => shard,
            Some(_) | None => self.hashed(call_id),
        }
    }

    fn hashed(&self, call_id: &[u8]) -> u16 {
        let mut hasher = FixedState::with_seed(self.seed).build_hasher();
        hasher.write(call_id);
        let shard = (u128::from(hasher.finish()) * u128::from(self.shards)) >> 64;
        u16::try_from(shard).expect("a fraction of a u16 fits one")
    }
}

/// What a datagram is, from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    Sip,
    /// A double CRLF, which a peer that borrows RFC 5626 §3.5.1 from TCP expects to be answered
    /// by one CRLF.
    Ping,
    /// Nothing but CR, LF, NUL and spaces, or nothing at all: it keeps a NAT binding alive and
    /// expects no answer.
    Keepalive,
    /// A STUN message (RFC 8489 §5), told by its magic cookie.
    Stun,
    Garbage,
}

/// Tells SIP from the other things that arrive on a SIP port.
pub fn classify(datagram: &[u8]) -> DatagramKind {
    if is_sip_like(datagram) {
        DatagramKind::Sip
    } else if datagram == b"\r\n\r\n" {
        DatagramKind::Ping
    } else if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | 0)) {
        DatagramKind::Keepalive
    } else if is_stun(datagram) {
        DatagramKind::Stun
    } else {
        DatagramKind::Garbage
    }
}

/// Whether the first line could be a SIP start line: a status line, or a line that begins with a
/// token and names a SIP version, right or wrong. Looser than the grammar, so that what is only
/// malformed still reaches the parser and gets its 400 or 505.
pub fn is_sip_like(start: &[u8]) -> bool {
    let blanks = start.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = &start[blanks..];
    match text.first() {
        Some(&byte) if is_token_byte(byte) => {}
        Some(_) | None => return false,
    }
    if has_version(text) {
        return true;
    }
    let line = &text[..memchr(b'\n', text).unwrap_or(text.len())];
    memchr_iter(b' ', line).any(|space| has_version(&line[space + 1..]))
}

/// RFC 3261 §25.1 `token`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

fn has_version(text: &[u8]) -> bool {
    text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
}

/// Whether the message names a call that we opened: its Call-ID has the form of ours.
pub fn has_own_call_id(message: &[u8]) -> bool {
    fields::values(message, CALL_ID).next().is_some_and(|call_id| own_shard(call_id).is_some())
}

/// Whether the message belongs to something that is going on: a response, an ACK, BYE, CANCEL or
/// PRACK, or whatever has a tag in To. All else would open something, and may be left unread by
/// somebody who is far behind (spec/sip O3).
pub fn opens_nothing(message: &[u8]) -> bool {
    let blanks = message.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let text = &message[blanks..];
    let method = &text[..memchr(b' ', text).unwrap_or(text.len())];
    has_version(text)
        || [&b"ACK"[..], b"BYE", b"CANCEL", b"PRACK"].contains(&method)
        || fields::values(message, fields::TO).next().is_some_and(has_tag)
}

fn has_tag(to: &[u8]) -> bool {
    let is_tag = |parameter: &[u8]| {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"tag")
    };
    let after = memrchr(b'>', to).map_or(to, |end| &to[end..]);
    after.split(|byte| *byte == b';').skip(1).any(is_tag)
}

fn own_shard(call_id: &[u8]) -> Option<u16> {
    let [b't', b'b', high, low, b'-', ..] = *call_id else { return None };
    let digit =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= 20 && datagram[0] < 0x40 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_we_generated_goes_to_the_shard_it_names() {
        let steering = Steering::new(256, 7);
        for shard in 0..256 {
            let message = request(&format!("tb{shard:02x}-6f1c@edge.test"));
            assert_eq!(steering.shard_of(message.as_bytes()), shard);
        }
    }

    #[test]
    fn a_call_we_opened_is_known_by_its_call_id() {
        assert!(has_own_call_id(request("tb0a-6f1c").as_bytes()));
        for foreign in ["tb0-6f1c", "tbxy-6f1c", "TB0a-6f1c", "4b1d7c@203.0.113.5", ""] {
            assert!(!has_own_call_id(request(foreign).as_bytes()), "{foreign:?}");
        }
    }

    #[test]
    fn a_shard_that_no_longer_exists_is_not_named() {
        let steering = Steering::new(4, 7);

        let shard = steering.shard_of_call_id(b"tbff-6f1c");

        assert_eq!(shard, steering.hashed(b"tbff-6f1c"));
        assert!(shard < 4);
    }

    #[test]
    fn all_messages_of_a_foreign_call_meet_on_one_shard() {
        let steering = Steering::new(8, 7);
        let by_call_id = steering.shard_of_call_id(b"4b1d7c@203.0.113.5");

        let full = request("4b1d7c@203.0.113.5");
        let compact = "SIP/2.0 200 OK\nv: x\nI :\t4b1d7c@203.0.113.5 \n\n";

        assert_eq!(steering.shard_of(full.as_bytes()), by_call_id);
        assert_eq!(steering.shard_of(compact.as_bytes()), by_call_id);
    }

    #[test]
    fn foreign_calls_spread_evenly_and_differently_under_another_seed() {
        let count = |seed| {
            let steering = Steering::new(8, seed);
            let mut shards = [0; 8];
            for call in 0..8000 {
                shards[usize::from(steering.shard_of_call_id(format!("{call}@c").as_bytes()))] += 1;
            }
            shards
        };

        assert!(count(1).iter().all(|calls| (850..1150).contains(calls)), "{:?}", count(1));
        assert_ne!(count(1), count(2));
    }

    #[test]
    fn without_a_call_id_or_with_one_shard_it_is_shard_0() {
        assert_eq!(Steering::new(8, 7).shard_of(b"OPTIONS sip:x SIP/2.0\r\n\r\ni: body"), 0);
        assert_eq!(Steering::new(1, 7).shard_of(b"anything"), 0);
        assert_eq!(Steering::new(0, 7).shards(), 1);
    }

    #[test]
    fn what_belongs_to_a_call_is_told_from_what_would_open_one() {
        let with_to = |start: &str, to: &str| {
            let text = format!("{start}\r\nTo: {to}\r\nCall-ID: x\r\n\r\nv=0\r\nt: y;tag=1\r\n");
            opens_nothing(text.as_bytes())
        };
        for start in
            ["SIP/2.0 200 OK", "ACK sip:a@b SIP/2.0", "BYE sip:a SIP/2.0", "CANCEL sip:a SIP/2.0"]
        {
            assert!(with_to(start, "<sip:a@b>"), "{start}");
        }
        for start in ["INVITE sip:a@b SIP/2.0", "OPTIONS sip:a@b SIP/2.0", "ACKS sip:a SIP/2.0"] {
            assert!(!with_to(start, "<sip:a@b;tag=x>;x=tag"), "{start}: a tag of the URI is none");
            assert!(with_to(start, "\"A\" <sip:a@b> ; Tag=1"), "{start}");
        }
        assert!(opens_nothing(b"\r\nUPDATE sip:a SIP/2.0\r\nt: <sip:a>;tag=1\r\n\r\n"));
        assert!(!opens_nothing(b""));
    }

    #[test]
    fn sip_is_told_from_what_else_arrives_on_its_port() {
        use DatagramKind::{Garbage, Keepalive, Ping, Sip, Stun};
        let mut stun = [0; 20];
        stun[..8].copy_from_slice(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let cases: [(&[u8], DatagramKind); 20] = [
            (b"INVITE sip:a@b SIP/2.0\r\n", Sip),
            (b"\r\n\r\nINVITE sip:a@b SIP/2.0\r\n", Sip),
            (b"SIP/2.0 200 OK\r\n", Sip),
            (b"sip/2.0 200 OK\r\n", Sip),
            (b"INVITE sip:a@b SIP/7.0\r\n", Sip),
            (b"!odd-Method0~ sip:a@b  SIP/2.0 \r\n", Sip),
            (b"\r\n\r\n", Ping),
            (b"\r\n", Keepalive),
            (b"", Keepalive),
            (b"\0\0\0\0", Keepalive),
            (&stun, Stun),
            (&stun[..19], Garbage),
            (b"GET / HTTP/1.1\r\n", Garbage),
            (b"CONNECT sip:a HTTP/1.1\r\nX: y SIP/2.0\r\n", Garbage),
            (b"INVITE sip:a@b\r\nSIP/2.0\r\n", Garbage),
            (b"SIP", Garbage),
            (b"\x16\x03\x01\x02\x00", Garbage),
            (b" INVITE sip:a@b SIP/2.0\r\n", Garbage),
            (b"jaK", Garbage),
            (b"\x80\x00 SIP/2.0", Garbage),
        ];
        for (datagram, kind) in cases {
            assert_eq!(classify(datagram), kind, "{:?}", String::from_utf8_lossy(datagram));
        }
    }

    fn request(call_id: &str) -> String {
        format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
             From: <sip:x@y>;tag=1\r\nCALL-ID: {call_id}\r\n\r\nv=0\r\ni: not this\r\n"
        )
    }
}

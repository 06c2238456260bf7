//! Cuts a byte stream into SIP messages (RFC 3261 §18.3) and keepalives (RFC 5626 §3.5.1). Pure.

use std::mem;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::super::fields::{self, CONTENT_LENGTH};
use super::super::steer::{is_sip_like, is_token_byte};

/// Takes bytes as they arrive and gives frames as they become whole. However the stream is cut
/// into pieces, the frames are the same.
///
/// After an error the stream has lost its bounds: every further call gives the same error.
#[derive(Clone, Debug)]
pub struct Framer {
    limits: FramingLimits,
    buffer: BytesMut,
    state: State,
    /// The last thing was a CRLF between messages.
    after_crlf: bool,
}

/// Something whole that was in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Head and body, in memory of its own size.
    Message(Bytes),
    /// The second of two CRLFs in a row: the peer wants a CRLF back.
    Ping,
    /// A CRLF, which may be the answer to our ping or the first half of the peer's.
    Pong,
}

/// How much a peer may send before a message is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramingLimits {
    /// Without its line end.
    pub start_line_bytes_max: usize,
    /// Start line and header fields with the empty line that ends them.
    pub head_bytes_max: usize,
    pub body_bytes_max: usize,
}

/// The peer sent what cannot be cut into messages; the connection has to end. With a `head`
/// (start line, header fields and empty line) the request can be answered first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("what arrived is not SIP")]
    NotSip,
    #[error("the start line is too long")]
    StartLineTooLong,
    #[error("the header fields are too long")]
    HeadTooLong,
    /// Answered by 400.
    #[error("missing Content-Length")]
    MissingContentLength { head: Bytes },
    /// Not a number, or several that differ. Answered by 400.
    #[error("bad Content-Length")]
    BadContentLength { head: Bytes },
    /// Answered by 413.
    #[error("a body of {length} bytes is too long")]
    BodyTooLong { head: Bytes, length: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but CRLFs since the last message.
    Between,
    /// Within the first line; no line feed in the first `scanned` bytes.
    InStartLine {
        scanned: usize,
    },
    /// Within the header fields: a line starts at `line`, and no line feed comes before `scanned`.
    InHead {
        line: usize,
        scanned: usize,
    },
    /// The whole message takes `length` bytes.
    InBody {
        length: usize,
    },
    Failed(FramingError),
}

impl Default for FramingLimits {
    fn default() -> Self {
        Self {
            start_line_bytes_max: 8 * 1024,
            head_bytes_max: 48 * 1024,
            body_bytes_max: 64 * 1024,
        }
    }
}

impl FramingError {
    /// What can be answered, if anything.
    pub fn head(&self) -> Option<&Bytes> {
        match self {
            Self::NotSip | Self::StartLineTooLong | Self::HeadTooLong => None,
            Self::MissingContentLength { head }
            | Self::BadContentLength { head }
            | Self::BodyTooLong { head, .. } => Some(head),
        }
    }
}

impl Framer {
    pub fn new(limits: FramingLimits) -> Self {
        Self { limits, buffer: BytesMut::new(), state: State::Between, after_crlf: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where a reader may append instead of calling [`Self::push`].
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Gives memory back if nothing is buffered.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Whether a message has begun and is not whole.
    pub fn is_inside_message(&self) -> bool {
        match self.state {
            State::Between | State::Failed(_) => !self.buffer.is_empty(),
            State::InStartLine { .. } | State::InHead { .. } | State::InBody { .. } => true,
        }
    }

    /// The next whole frame; `None` until more bytes are pushed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        let result = self.advance();
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
            self.buffer = BytesMut::new();
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Frame>, FramingError> {
        loop {
            match mem::replace(&mut self.state, State::Between) {
                State::Between => match *self.buffer {
                    [] | [b'\r'] => return Ok(None),
                    [b'\r', b'\n', ..] => {
                        self.buffer.advance(2);
                        self.after_crlf = !self.after_crlf;
                        let frame = if self.after_crlf { Frame::Pong } else { Frame::Ping };
                        return Ok(Some(frame));
                    }
                    // Some peers end a body with a line feed that they do not count.
                    [b'\n', ..] => self.buffer.advance(1),
                    [first, ..] if is_token_byte(first) => {
                        self.after_crlf = false;
                        self.state = State::InStartLine { scanned: 0 };
                    }
                    [..] => return Err(FramingError::NotSip),
                },
                State::InStartLine { scanned } => {
                    let line = self.line_end(scanned);
                    let begun = &self.buffer[..line.unwrap_or(self.buffer.len())];
                    if without_end(begun).len() > self.limits.start_line_bytes_max {
                        return Err(FramingError::StartLineTooLong);
                    }
                    let Some(line) = line else {
                        self.state = State::InStartLine { scanned: self.buffer.len() };
                        return Ok(None);
                    };
                    if !is_sip_like(&self.buffer[..line]) {
                        return Err(FramingError::NotSip);
                    }
                    self.state = State::InHead { line, scanned: line };
                }
                State::InHead { line, scanned } => match self.line_end(scanned) {
                    Some(next) if next > self.limits.head_bytes_max => {
                        return Err(FramingError::HeadTooLong);
                    }
                    Some(next) if matches!(self.buffer[line..next], [b'\n'] | [b'\r', b'\n']) => {
                        self.state = State::InBody { length: self.message_length(next)? };
                    }
                    Some(next) => self.state = State::InHead { line: next, scanned: next },
                    None => {
                        let scanned = self.buffer.len();
                        if scanned > self.limits.head_bytes_max {
                            return Err(FramingError::HeadTooLong);
                        }
                        self.state = State::InHead { line, scanned };
                        return Ok(None);
                    }
                },
                State::InBody { length } if self.buffer.len() < length => {
                    self.state = State::InBody { length };
                    return Ok(None);
                }
                State::InBody { length } => {
                    // A copy, because a slice would keep the whole read buffer alive for as long
                    // as the message is.
                    let message = Bytes::copy_from_slice(&self.buffer[..length]);
                    self.buffer.advance(length);
                    return Ok(Some(Frame::Message(message)));
                }
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// Behind the first line feed at or after `scanned`.
    fn line_end(&self, scanned: usize) -> Option<usize> {
        memchr(b'\n', &self.buffer[scanned..]).map(|at| scanned + at + 1)
    }

    /// Of the message whose head is the first `head` bytes of the buffer.
    fn message_length(&self, head: usize) -> Result<usize, FramingError> {
        let bytes = &self.buffer[..head];
        let head_copy = || Bytes::copy_from_slice(bytes);
        let mut lengths = fields::values(bytes, CONTENT_LENGTH).map(number);
        let Some(first) = lengths.next() else {
            return Err(FramingError::MissingContentLength { head: head_copy() });
        };
        // Two that agree are the parser's to refuse: the stream keeps its bounds.
        let length = first
            .filter(|_| lengths.all(|other| other == first))
            .ok_or_else(|| FramingError::BadContentLength { head: head_copy() })?;
        match usize::try_from(length) {
            Ok(body) if body <= self.limits.body_bytes_max => Ok(head + body),
            Ok(_) | Err(_) => Err(FramingError::BodyTooLong { head: head_copy(), length }),
        }
    }
}

/// The line without the end it has, or has begun to have.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pipelined_messages_come_out_one_by_one() {
        let stream: Vec<u8> = (0..5000).flat_map(|call| message(call, call % 300)).collect();

        let frames = frames_of(&[&stream]).unwrap();

        assert_eq!(frames.len(), 5000);
        for (call, frame) in frames.into_iter().enumerate() {
            assert_eq!(frame, Frame::Message(message(call, call % 300).into()));
        }
    }

    #[test]
    fn a_peer_may_write_byte_by_byte() {
        let stream = [message(1, 0), message(2, 40)].concat();

        let frames = frames_of(&stream.chunks(1).collect::<Vec<_>>()).unwrap();

        let expected =
            [message(1, 0), message(2, 40)].map(|message| Frame::Message(message.into()));
        assert_eq!(frames, expected);
    }

    #[test]
    fn two_crlfs_in_a_row_are_a_ping_and_one_is_a_pong() {
        use Frame::{Ping, Pong};
        let message = Bytes::from(message(1, 3));
        let stream =
            [b"\r\n\r\n\r\n\r\n\r\n", &message[..], b"\r\n", &message, b"\r\n\r\n"].concat();

        let frames = frames_of(&[&stream]).unwrap();

        let message = Frame::Message(message);
        let expected = [Pong, Ping, Pong, Ping, Pong, message.clone(), Pong, message, Pong, Ping];
        assert_eq!(frames, expected);
    }

    #[test]
    fn the_length_is_found_however_the_field_is_written() {
        for field in
            ["Content-Length: 2", "content-length :2", "l:2", "L: 02 ", "Content-Length:\r\n 2"]
        {
            let text = format!("OPTIONS sip:x SIP/2.0\r\nTo: y\r\n{field}\r\n\r\nab");
            let frame = Frame::Message(Bytes::from(text.clone()));
            assert_eq!(frames_of(&[text.as_bytes()]), Ok(vec![frame]), "{field:?}");
        }
    }

    #[test]
    fn lines_may_end_in_a_line_feed_alone() {
        let text = b"OPTIONS sip:x SIP/2.0\nl: 2\n\nab\n";
        let frame = Frame::Message(Bytes::from_static(&text[..text.len() - 1]));
        assert_eq!(frames_of(&[text]), Ok(vec![frame]));
    }

    #[test]
    fn without_a_usable_length_the_head_is_given_for_a_refusal() {
        let start = "OPTIONS sip:x SIP/2.0\r\nTo: y\r\n";
        let head_of = |fields: &str| Bytes::from(format!("{start}{fields}\r\n"));
        let fault_of = |fields: &str| {
            frames_of(&[&head_of(fields)[..], b"the rest"].concat().chunks(7).collect::<Vec<_>>())
        };

        let missing = FramingError::MissingContentLength { head: head_of("") };
        assert_eq!(fault_of(""), Err(missing));
        for fields in ["l: -1\r\n", "l: x\r\n", "l:\r\n", "l: 1 1\r\n", "l: 1\r\nl: 2\r\n"] {
            let bad = FramingError::BadContentLength { head: head_of(fields) };
            assert_eq!(fault_of(fields), Err(bad), "{fields:?}");
        }
        let fields = "l: 99999999999\r\n";
        let long = FramingError::BodyTooLong { head: head_of(fields), length: 99_999_999_999 };
        assert_eq!(fault_of(fields), Err(long));
    }

    #[test]
    fn what_is_not_sip_is_refused_after_its_first_line_at_the_latest() {
        for text in ["GET / HTTP/1.1\r\n", "\u{16}\u{3}\u{1}", "\0", "\r\rx", "INVITE sip:x\r\n"] {
            assert_eq!(frames_of(&[text.as_bytes()]), Err(FramingError::NotSip), "{text:?}");
        }
    }

    #[test]
    fn a_start_line_or_head_without_end_is_refused_at_its_limit() {
        let limits = FramingLimits::default();
        let mut framer = Framer::new(limits);
        assert_eq!(feed_for_ever(&mut framer, b"aaaaaaaa"), FramingError::StartLineTooLong);

        let mut framer = Framer::new(limits);
        framer.push(b"OPTIONS sip:x SIP/2.0\r\n");
        assert_eq!(feed_for_ever(&mut framer, b"To: y\r\n"), FramingError::HeadTooLong);

        let mut framer = Framer::new(limits);
        framer.push(b"OPTIONS sip:x SIP/2.0\r\nTo: ");
        assert_eq!(feed_for_ever(&mut framer, b"y"), FramingError::HeadTooLong);
        assert_eq!(framer.next_frame(), Err(FramingError::HeadTooLong), "an error is final");
    }

    #[test]
    fn a_message_that_has_begun_is_known_to_be_unfinished() {
        let mut framer = Framer::new(FramingLimits::default());
        let mut after = |bytes: &[u8]| {
            framer.push(bytes);
            while framer.next_frame().unwrap().is_some() {}
            framer.is_inside_message()
        };

        assert!(!after(b"\r\n\r\n"));
        assert!(after(b"O"));
        assert!(after(b"PTIONS sip:x SIP/2.0\r\nl: 1\r\n"));
        assert!(after(b"\r\n"));
        assert!(!after(b"x"));
    }

    #[test]
    fn memory_does_not_grow_with_what_has_passed() {
        let mut framer = Framer::new(FramingLimits::default());
        for call in 0..20_000 {
            let message = message(call, 500);
            let (first, second) = message.split_at(call % message.len());
            framer.push(first);
            while framer.next_frame().unwrap().is_some() {}
            framer.push(second);
            while framer.next_frame().unwrap().is_some() {}
        }
        assert!(framer.buffer.capacity() < 4096, "{}", framer.buffer.capacity());
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_frames_are_the_same(
            pieces in vec(piece(), 0..12),
            cuts in vec(1_usize..60, 1..40),
        ) {
            let stream = pieces.concat();
            let whole = frames_and_fault(&[&stream]);

            let mut chunks = vec![];
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at(rest.len().min(*cut));
                chunks.push(chunk);
                rest = after;
            }

            prop_assert_eq!(frames_and_fault(&chunks), whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            frames_and_fault(&[first, second]);
        }
    }

    fn piece() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0_usize..9, 0_usize..80).prop_map(|(call, body)| message(call, body)),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"OPTIONS sip:x SIP/2.0\nTo: y\r\nl : 3\n\r\nabc".to_vec()),
            1 => prop_oneof![
                Just(b"\r".to_vec()),
                Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
                Just(b"BYE sip:x SIP/2.0\r\n\r\n".to_vec()),
                Just(b"BYE sip:x SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n".to_vec()),
            ],
        ]
    }

    fn message(call: usize, body: usize) -> Vec<u8> {
        let head = format!(
            "INVITE sip:{call}@edge.test SIP/2.0\r\nCall-ID: {call}\r\nContent-Length: {body}\r\n\r\n"
        );
        [head.into_bytes(), vec![b'\n'; body]].concat()
    }

    fn frames_of(chunks: &[&[u8]]) -> Result<Vec<Frame>, FramingError> {
        let (frames, fault) = frames_and_fault(chunks);
        fault.map_or(Ok(frames), Err)
    }

    fn frames_and_fault(chunks: &[&[u8]]) -> (Vec<Frame>, Option<FramingError>) {
        let mut framer = Framer::new(FramingLimits::default());
        let mut frames = vec![];
        for chunk in chunks {
            framer.push(chunk);
            loop {
                match framer.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(fault) => return (frames, Some(fault)),
                }
            }
        }
        (frames, None)
    }

    fn feed_for_ever(framer: &mut Framer, bytes: &[u8]) -> FramingError {
        loop {
            framer.push(bytes);
            match framer.next_frame() {
                Ok(frame) => assert_eq!(frame, None),
                Err(fault) => return fault,
            }
        }
    }
}

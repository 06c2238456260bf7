//! However a stream is cut into pieces, its frames are the same, and what ends it is the same; no
//! frame is longer than it may be.

use tollbridge::sip::transport::{Frame, Framer, FramingError, FramingLimits};

/// Small, so that a short stream reaches them.
const LIMITS: FramingLimits =
    FramingLimits { start_line_bytes_max: 100, head_bytes_max: 600, body_bytes_max: 200 };

/// The first byte says how long the pieces are.
pub(crate) fn check(data: &[u8]) {
    let Some((&length, stream)) = data.split_first() else { return };
    let whole = frames([stream].into_iter());
    assert_eq!(frames(stream.chunks(1)), whole, "byte by byte");
    assert_eq!(frames(stream.chunks(usize::from(length).max(1))), whole, "in pieces of {length}");
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FramingError>) {
    let mut framer = Framer::new(LIMITS);
    let mut frames = vec![];
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => {
                    if let Frame::Message(message) = &frame {
                        assert!(message.len() <= LIMITS.head_bytes_max + LIMITS.body_bytes_max);
                    }
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(framer.next_frame(), Err(error.clone()), "an error stays");
                    return (frames, Some(error));
                }
            }
        }
    }
    (frames, None)
}

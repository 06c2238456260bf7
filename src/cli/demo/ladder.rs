//! The ladder of a call: who said what to whom, and when.
//!
//! The demonstration's own agents record what they send and receive. The server in the middle
//! records nothing: what is drawn is what it did, not what it says it did.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;
use tollbridge::sip::message::{Limits, Message, Method};

use super::paint::Paint;

/// Messages in the order in which they were sent and received. A clone is the same tape.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    start: Instant,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// Who recorded a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Carrier,
    Advertiser(Arc<str>),
}

/// As its recorder saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The number of who made the call.
    caller: String,
    /// Since the tape began.
    at: Duration,
    party: Party,
    direction: Direction,
    /// Such as `INVITE +18005550199` or `180 Ringing`.
    text: String,
    /// The same bytes went the same way before.
    again: bool,
    raw: Bytes,
}

/// Columns between two of the three bars.
const SPAN: usize = 33;

/// A pause at least so long is shown.
const PAUSE: Duration = Duration::from_millis(800);

impl Tape {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), lines: Arc::default() }
    }

    /// Records a message of the call that `caller` makes.
    pub(super) fn note(&self, caller: &str, party: &Party, direction: Direction, raw: &Bytes) {
        let at = self.start.elapsed();
        let mut lines = self.lines.lock();
        let again = lines
            .iter()
            .any(|line| line.raw == *raw && line.direction == direction && line.party == *party);
        lines.push(Line {
            caller: caller.to_owned(),
            at,
            party: party.clone(),
            direction,
            text: text(raw),
            again,
            raw: raw.clone(),
        });
    }

    /// What was recorded of the call that `caller` made.
    pub(super) fn of(&self, caller: &str) -> Vec<Line> {
        self.lines.lock().iter().filter(|line| line.caller == caller).cloned().collect()
    }
}

/// What a message is, in a few words.
fn text(raw: &Bytes) -> String {
    let words = match Message::parse(raw.clone(), &Limits::default()) {
        Ok(Message::Request(request)) => {
            let method = String::from_utf8_lossy(request.method_bytes()).into_owned();
            let user = request.parsed_uri().ok().and_then(|uri| uri.user_part());
            match user {
                Some(user) if request.method() == Method::Invite => {
                    format!("{method} {}", String::from_utf8_lossy(user))
                }
                Some(_) | None => method,
            }
        }
        Ok(Message::Response(response)) => {
            let reason = String::from_utf8_lossy(response.reason_phrase()).into_owned();
            format!("{} {reason}", response.status())
        }
        Err(_) => String::from("?"),
    };
    words.chars().take(SPAN - 6).collect()
}

/// Draws the lines, one row each, with times since the first.
pub(super) fn draw(lines: &[Line], paint: Paint) -> Vec<String> {
    let bar = paint.dim("│");
    let blank = " ".repeat(SPAN);
    let [left, middle, right] = ["carrier", "tollbridge", "advertiser"];
    let mut rows = vec![paint.dim(&format!("{:>10}{left:<SPAN$} {middle:<SPAN$} {right}", ""))];
    let start = lines.first().map_or(Duration::ZERO, |line| line.at);
    let mut last = start;
    for line in lines {
        if line.at.saturating_sub(last) >= PAUSE {
            rows.push(format!("{:>10}{bar}{blank}{bar}{blank}{bar}", ""));
        }
        last = line.at;
        let time = format!("{:>8.3}", (line.at - start).as_secs_f64());
        // The server is in the middle: the carrier's messages go right, an advertiser's left.
        let drawn = |rightwards| arrow(&line.text, line.direction == rightwards);
        let mut row = match &line.party {
            Party::Carrier => format!("{bar}{}{bar}{blank}{bar}", drawn(Direction::Sent)),
            Party::Advertiser(_) => {
                format!("{bar}{blank}{bar}{}{bar}", drawn(Direction::Received))
            }
        };
        if let (Party::Advertiser(name), true) = (&line.party, line.text.starts_with("INVITE")) {
            row.push_str(&paint.name(&format!("  {name}")));
        }
        if line.again {
            row.push_str("  sent again");
        }
        rows.push(format!("{}  {row}", paint.dim(&time)));
    }
    rows
}

/// `── INVITE ──────▶` or `◀────── 180 Ringing ──`.
fn arrow(text: &str, rightwards: bool) -> String {
    let rest = SPAN.saturating_sub(text.chars().count() + 5);
    if rightwards {
        format!("── {text} {}▶", "─".repeat(rest))
    } else {
        format!("◀{} {text} ──", "─".repeat(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, party: Party, direction: Direction, text: &str) -> Line {
        let at = Duration::from_millis(at_ms);
        let (caller, raw) = (String::new(), Bytes::new());
        Line { caller, at, party, direction, text: text.into(), again: false, raw }
    }

    #[test]
    fn every_arrow_fills_the_space_between_two_bars() {
        for text in ["ACK", "INVITE +18005550199", "480 Temporarily Unavailable"] {
            assert_eq!(arrow(text, true).chars().count(), SPAN);
            assert_eq!(arrow(text, false).chars().count(), SPAN);
        }
    }

    #[test]
    fn a_ladder_has_a_row_for_each_message_and_one_for_a_pause() {
        let desk = || Party::Advertiser("Desk".into());
        let lines = [
            line(500, Party::Carrier, Direction::Sent, "INVITE +18005550199"),
            line(502, desk(), Direction::Received, "INVITE desk"),
            line(1503, desk(), Direction::Sent, "200 OK"),
        ];

        let rows = draw(&lines, Paint::PLAIN);

        assert_eq!(
            rows,
            [
                "          carrier                           tollbridge                        advertiser",
                "   0.000  │── INVITE +18005550199 ─────────▶│                                 │",
                "   0.002  │                                 │── INVITE desk ─────────────────▶│  Desk",
                "          │                                 │                                 │",
                "   1.003  │                                 │◀────────────────────── 200 OK ──│",
            ]
        );
    }

    #[tokio::test]
    async fn the_same_bytes_twice_are_marked() {
        let tape = Tape::new();
        let raw = Bytes::from_static(b"SIP/2.0 180 Ringing\r\n\r\n");

        tape.note("+1", &Party::Carrier, Direction::Received, &raw);
        tape.note("+1", &Party::Carrier, Direction::Received, &raw);
        tape.note("+2", &Party::Carrier, Direction::Sent, &raw);

        assert_eq!(tape.of("+1").iter().map(|line| line.again).collect::<Vec<_>>(), [false, true]);
        assert_eq!(tape.of("+2").len(), 1);
    }
}

//! What SIPp logged of the wire, and what must never be seen there.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Sent,
    Received,
}

/// One SIP message as a party saw it.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) direction: Direction,
    pub(crate) text: String,
}

impl Message {
    /// Reads a log of `-trace_msg`: a line of dashes, `UDP message sent …` or `… received …`, an
    /// empty line, the message.
    pub(crate) fn parse_log(log: &str) -> Vec<Self> {
        let entries = log.split("-----------------------------------------------").skip(1);
        entries
            .filter_map(|entry| {
                let (_date, entry) = entry.split_once('\n')?;
                let (what, text) = entry.split_once('\n')?;
                let direction = if what.contains("message sent") {
                    Direction::Sent
                } else if what.contains("message received") {
                    Direction::Received
                } else {
                    return None;
                };
                Some(Self { direction, text: text.trim_start().to_owned() })
            })
            .collect()
    }

    /// `INVITE`, or `180 INVITE` for a response to one.
    pub(crate) fn kind(&self) -> String {
        let mut words = self.text.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first != "SIP/2.0" {
            return first.to_owned();
        }
        let method = self.header("CSeq").and_then(|value| value.split_whitespace().nth(1));
        format!("{} {}", words.next().unwrap_or_default(), method.unwrap_or_default())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .take_while(|line| !line.trim().is_empty())
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Host and port of the topmost Via of a request.
    fn sent_by(&self) -> Option<&str> {
        let via = self.header("Via").filter(|_| !self.text.starts_with("SIP/2.0"))?;
        via.split([' ', ';']).find(|word| word.contains(':'))
    }

    /// Host and port of Contact.
    fn contact_host(&self) -> Option<&str> {
        let uri = self.header("Contact")?.split(['<', '>']).nth(1)?;
        let host = uri.rsplit(['@', ' ']).next()?;
        host.trim_start_matches("sip:").split(';').next().filter(|host| host.contains(':'))
    }

    fn parameter(&self, header: &str, name: &str) -> Option<&str> {
        let value = self.header(header)?.split_once(&format!(";{name}="))?.1;
        value.split([';', '>', ',', ' ']).next()
    }
}

/// How many messages of `kind` (see [`Message::kind`]) were `Received`; all of them for `None`.
pub(crate) fn received(messages: &[Message], kind: Option<&str>) -> u64 {
    let ours = messages.iter().filter(|message| message.direction == Direction::Received);
    ours.filter(|message| kind.is_none_or(|kind| message.kind() == kind)).count() as u64
}

/// Most calls that were up at once, from the carrier's ACKs and BYEs.
pub(crate) fn peak(messages: &[Message]) -> u64 {
    let (mut up, mut most) = (0_u64, 0);
    for message in messages.iter().filter(|message| message.direction == Direction::Sent) {
        match message.kind().as_str() {
            "ACK" => up += 1,
            "BYE" => up = up.saturating_sub(1),
            _ => {}
        }
        most = most.max(up);
    }
    most
}

/// The tokens by which a party's leg is known: Call-ID, its tag, its branches, its software, its
/// address, and the origin of its session descriptions.
fn marks(messages: &[Message]) -> BTreeSet<&str> {
    let sent = messages.iter().filter(|message| message.direction == Direction::Sent);
    sent.flat_map(|message| {
        [
            message.header("Call-ID"),
            message.parameter("From", "tag"),
            message.parameter("To", "tag"),
            message.parameter("Via", "branch"),
            message.header("User-Agent"),
            message.header("Server"),
            message.sent_by(),
            message.contact_host(),
            message.text.lines().find(|line| line.starts_with("o=")),
        ]
    })
    .flatten()
    .collect()
}

/// Enough for every call of the small scenarios and the first few of the large ones.
const MARKS_MAX: usize = 100;

/// A back-to-back user agent gives nothing of one leg away on the other (spec/sip B1, RFC 7092).
pub(crate) fn nothing_leaks(from: &[Message], to: &[Message]) -> Result<()> {
    for mark in marks(from).into_iter().take(MARKS_MAX) {
        for message in to.iter().filter(|message| message.direction == Direction::Received) {
            ensure!(!message.text.contains(mark), "`{mark}` of one leg is in:\n{}", message.text);
        }
    }
    Ok(())
}

/// What holds for whatever the server sends: a tag in To of every response but 100 (RFC 3261
/// §8.2.6.2), a Contact in what opens or accepts a dialog (§8.1.1.8, §12.1.1), Max-Forwards in
/// every request (§8.1.1.6).
pub(crate) fn is_well_formed(messages: &[Message]) -> Result<()> {
    for message in messages.iter().filter(|message| message.direction == Direction::Received) {
        let kind = message.kind();
        let text = &message.text;
        let is_response = text.starts_with("SIP/2.0");
        if is_response && !kind.starts_with("100 ") {
            ensure!(message.parameter("To", "tag").is_some(), "no To tag in:\n{text}");
        }
        if matches!(kind.as_str(), "INVITE" | "180 INVITE" | "183 INVITE" | "200 INVITE") {
            ensure!(message.header("Contact").is_some(), "no Contact in:\n{text}");
        }
        if !is_response {
            ensure!(message.header("Max-Forwards").is_some(), "no Max-Forwards in:\n{text}");
        }
    }
    Ok(())
}

//! Breaks one rule on purpose, between the edge and those who watch it: a rule whose breach goes
//! unnoticed is not watched.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::sip::endpoint::Output;
use crate::sip::message::Method;

use super::text::{Glance, Start, show};

/// A rule to be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The first ACK to a success is swallowed.
    LostAck,
    /// No final response leaves to any INVITE.
    LostFinal,
    /// A final response is followed by another.
    SecondFinal,
    /// CANCEL leaves with its INVITE, before any response.
    EarlyCancel,
    /// A target that only rings gets a BYE.
    EarlyBye,
    /// BYE has a number that was used before.
    OldNumber,
    /// BYE leaves without its Route.
    LostRoute,
    /// An INVITE to a target names the caller.
    Leak,
    /// A response that is repeated differs from the first.
    ChangedRepeat,
    /// The first INVITE that is a second attempt goes out twice, on two branches.
    SecondInvite,
    /// The first confirmation of a provisional response is swallowed.
    LostPrack,
    /// A reliable provisional response is followed by another before its PRACK.
    SecondReliable,
    /// Reliable provisional responses leave out a number.
    SkippedRseq,
    /// A provisional response is reliable that need not be.
    UnaskedReliable,
    /// UPDATE leaves before the first PRACK.
    EarlyUpdate,
    /// An INVITE to a target asks for a session of ten seconds.
    ShortSession,
    /// The disk loses the end of what it had synced.
    LostFact,
    /// A cap is used beyond its limit.
    OverReserved,
    /// The end of a call is told to nobody.
    LostEnd,
    /// The book does not keep a record that it took.
    LostRecord,
    /// The book counts each batch twice.
    DoubledBatch,
}

impl Sabotage {
    /// All there are.
    pub const ALL: [Self; 21] = [
        Self::LostAck,
        Self::LostFinal,
        Self::SecondFinal,
        Self::EarlyCancel,
        Self::EarlyBye,
        Self::OldNumber,
        Self::LostRoute,
        Self::Leak,
        Self::ChangedRepeat,
        Self::SecondInvite,
        Self::LostPrack,
        Self::SecondReliable,
        Self::SkippedRseq,
        Self::UnaskedReliable,
        Self::EarlyUpdate,
        Self::ShortSession,
        Self::LostFact,
        Self::OverReserved,
        Self::LostEnd,
        Self::LostRecord,
        Self::DoubledBatch,
    ];

    /// As a person types it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LostAck => "lost-ack",
            Self::LostFinal => "lost-final",
            Self::SecondFinal => "second-final",
            Self::EarlyCancel => "early-cancel",
            Self::EarlyBye => "early-bye",
            Self::OldNumber => "old-number",
            Self::LostRoute => "lost-route",
            Self::Leak => "leak",
            Self::ChangedRepeat => "changed-repeat",
            Self::SecondInvite => "second-invite",
            Self::LostPrack => "lost-prack",
            Self::SecondReliable => "second-reliable",
            Self::SkippedRseq => "skipped-rseq",
            Self::UnaskedReliable => "unasked-reliable",
            Self::EarlyUpdate => "early-update",
            Self::ShortSession => "short-session",
            Self::LostFact => "lost-fact",
            Self::OverReserved => "over-reserved",
            Self::LostEnd => "lost-end",
            Self::LostRecord => "lost-record",
            Self::DoubledBatch => "doubled-batch",
        }
    }

    /// Whether a verdict tells that it was this that was noticed.
    pub fn is_told_by(self, verdict: &str) -> bool {
        self.telling().split('|').any(|telling| verdict.contains(telling))
    }

    /// What of the verdict tells it; one of several.
    fn telling(self) -> &'static str {
        match self {
            Self::LostAck => "a final response got no ACK",
            Self::LostFinal => "the caller was answered None",
            Self::SecondFinal => "two different final responses",
            Self::EarlyCancel => "a CANCEL before any response",
            Self::EarlyBye => "a request in no dialog",
            Self::OldNumber => "number 1 after",
            Self::LostRoute => "routes [], not",
            Self::Leak => "it names the other side",
            Self::ChangedRepeat => "a final response is repeated with a change",
            Self::SecondInvite => "two INVITEs",
            Self::LostPrack => "a reliable response got no PRACK",
            Self::SecondReliable => "before the last one's PRACK",
            Self::SkippedRseq => " after Some(",
            Self::UnaskedReliable => "a reliable response to one that takes none",
            Self::EarlyUpdate => "an UPDATE before the first PRACK",
            Self::ShortSession => "a session of 10 s",
            // Whether it had been announced as durable when the process died is a matter of luck.
            Self::LostFact => "I1: |I2: the journal has a gap",
            Self::OverReserved => "I5: ",
            Self::LostEnd => "I3: 0 ends",
            Self::LostRecord => "I3: its record is None",
            Self::DoubledBatch => "I11: the book says",
        }
    }

    /// Changes what leaves the edge.
    pub(crate) fn tamper(self, out: &mut Vec<Output>) {
        let mut tampered = Vec::with_capacity(out.len());
        for output in out.drain(..) {
            let Output::Send { flow, message } = output else {
                tampered.push(output);
                continue;
            };
            let Ok(glance) = Glance::read(&message) else {
                tampered.push(Output::Send { flow, message });
                continue;
            };
            let (before, instead, after) = self.change(&glance, &message);
            let send = |message| Output::Send { flow, message };
            tampered.extend(before.map(send));
            tampered.extend(instead.map(send));
            tampered.extend(after.map(send));
        }
        *out = tampered;
    }

    /// What leaves before this message, in its place, and after it.
    fn change(
        self,
        glance: &Glance,
        message: &Bytes,
    ) -> (Option<Bytes>, Option<Bytes>, Option<Bytes>) {
        let as_it_is = (None, Some(message.clone()), None);
        let with = |edited: String| (None, Some(Bytes::from(edited)), None);
        let followed = |by: String| (None, Some(message.clone()), Some(Bytes::from(by)));
        let text = show(message);
        let is_invite = glance.cseq_method == Method::Invite;
        let new_invite = glance.method() == Some(Method::Invite) && glance.to_tag.is_none();
        match (self, &glance.start) {
            (Self::LostAck, Start::Request { method: Method::Ack, .. }) => (None, None, None),
            (Self::LostFinal, Start::Response { status }) if *status >= 200 && is_invite => {
                (None, None, None)
            }
            (Self::SecondFinal, Start::Response { status: 200 }) if is_invite => {
                followed(text.replacen("SIP/2.0 200 OK", "SIP/2.0 486 Busy Here", 1))
            }
            (Self::EarlyCancel, Start::Request { .. }) if new_invite => {
                followed(without_body(&text).replace("INVITE", "CANCEL"))
            }
            (Self::EarlyBye, Start::Request { .. }) if new_invite => {
                let bye = without_body(&text).replace("INVITE", "BYE");
                let bye = bye.replace("branch=z9hG4bK", "branch=z9hG4bKbye");
                followed(bye.replacen(&show(&glance.to), &format!("{};tag=x", show(&glance.to)), 1))
            }
            (Self::OldNumber, Start::Request { method: Method::Bye, .. }) => {
                with(text.replacen(&format!("CSeq: {} BYE", glance.cseq), "CSeq: 1 BYE", 1))
            }
            (Self::LostRoute, Start::Request { method: Method::Bye, .. }) => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("Route:"));
                with(lines.collect::<Vec<_>>().join("\r\n"))
            }
            (Self::Leak, Start::Request { .. }) if new_invite => {
                with(text.replacen("\r\n", "\r\nX-Caller-Name: aleg\r\n", 1))
            }
            (Self::ChangedRepeat, Start::Response { status: 200 }) if is_invite => {
                followed(text.replacen("\r\n", "\r\nX-Again: yes\r\n", 1))
            }
            (Self::SecondInvite, Start::Request { .. }) if new_invite => {
                let call_id = show(&glance.call_id);
                followed(text.replace(&call_id, &format!("again-{call_id}")))
            }
            (Self::LostPrack, Start::Request { method: Method::Prack, .. }) => (None, None, None),
            (Self::SecondReliable, Start::Response { .. }) if glance.rseq.is_some() => {
                followed(numbered(&text, glance.rseq, 1))
            }
            (Self::SkippedRseq, Start::Response { .. }) if glance.rseq.is_some() => {
                followed(numbered(&text, glance.rseq, 2))
            }
            (Self::UnaskedReliable, Start::Response { status: 180 }) if glance.rseq.is_none() => {
                with(text.replacen("\r\n", "\r\nRequire: 100rel\r\nRSeq: 7\r\n", 1))
            }
            (Self::EarlyUpdate, Start::Request { method: Method::Prack, .. }) => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("RAck:"));
                let update = lines.collect::<Vec<_>>().join("\r\n").replace("PRACK", "UPDATE");
                (Some(Bytes::from(update)), Some(message.clone()), None)
            }
            (Self::ShortSession, Start::Request { .. }) if new_invite => {
                let lines = text.split("\r\n").filter(|line| !line.starts_with("Session-Expires:"));
                let text = lines.collect::<Vec<_>>().join("\r\n");
                with(text.replacen("\r\n", "\r\nSession-Expires: 10\r\n", 1))
            }
            _ => as_it_is,
        }
    }
}

/// The same response with a later RSeq.
fn numbered(text: &str, rseq: Option<u32>, later: u32) -> String {
    let rseq = rseq.unwrap_or_default();
    text.replacen(&format!("RSeq: {rseq}"), &format!("RSeq: {}", rseq + later), 1)
}

/// The header of a message, with an empty body announced.
fn without_body(text: &str) -> String {
    let header = text.split("\r\n\r\n").next().unwrap_or_default();
    let kept = header.split("\r\n").filter(|line| !line.starts_with("Content-"));
    format!("{}\r\nContent-Length: 0\r\n\r\n", kept.collect::<Vec<_>>().join("\r\n"))
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no rule that can be broken; there are {known}")]
pub struct UnknownSabotage {
    name: String,
    known: String,
}

impl FromStr for Sabotage {
    type Err = UnknownSabotage;

    fn from_str(name: &str) -> Result<Self, UnknownSabotage> {
        Self::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| UnknownSabotage {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

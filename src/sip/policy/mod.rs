//! What a party is told beyond what SIP itself needs, and what it may be asked for.
//!
//! Owns, as data: which header fields pass from one leg to the other and which are added
//! ([`headers`], [`template`]), who the caller is said to be ([`identity`]), what the caller hears
//! before the answer ([`progress`]), which numbers may be called ([`destinations`]), and what all
//! of that is per target ([`targets`]). Does not own how a call is set up, or any state of one.
//!
//! Invariants: what steers the protocol comes from the dialog alone, so a field that does is
//! refused when the policy is compiled (spec/sip P18); nothing that names one leg goes to the
//! other unless a policy says so (S8); a caller who does not want to be named is named only to a
//! target that is trusted with it (S9).
//!
//! ```text
//! carrier file [outbound] ─┐
//!   [targets.sip] ─────────┴► TargetPolicy ─► InviteExtras ─► INVITE
//! carrier file [inbound] ───► AnswerPolicy ───────────────► 18x, 200
//! ```

pub mod config;
pub mod destinations;
pub mod headers;
pub mod identity;
pub mod progress;
pub mod targets;
pub mod template;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::sip::message::{Request, Response, Uri, Writer};
use crate::sip::trunk::Caller;

pub use destinations::Destinations;
pub use headers::HeaderRules;
pub use identity::IdentityRules;
pub use progress::ProgressRules;
pub use targets::{TargetConfig, TargetSettings, Targets};

/// What is wrong with a policy. `field` is counted from the table that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// Such as `headers.pass[0]`.
    pub field: String,
    pub value: String,
    /// Completes "`value` …".
    pub problem: String,
    pub remedy: String,
}

impl PolicyFault {
    pub(super) fn new(
        field: impl Into<String>,
        value: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// What templates may say of a call besides what its INVITE holds: `call.campaign`, `tag.zip`.
pub type Variables = BTreeMap<SmolStr, SmolStr>;

/// How a target's INVITE differs from a plain one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetPolicy {
    pub headers: HeaderRules,
    pub identity: IdentityRules,
    /// Content types, in lower case, of parts of a multipart body that go on beside the session
    /// description (spec/sip P16).
    pub body_parts: Vec<SmolStr>,
}

/// How our responses to a carrier differ from plain ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerPolicy {
    pub headers: HeaderRules,
}

/// What an INVITE to a target is made from, as far as policies look at it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The caller's INVITE.
    pub invite: &'a Request,
    pub caller: Caller,
    /// Display name as written, with its quotes; may be empty.
    pub display: &'a [u8],
    pub variables: &'a Variables,
    /// Our `host[:port]` on the leg to the target.
    pub own_host: &'a [u8],
    /// The Request-URI of the leg to the target.
    pub uri: &'a [u8],
}

/// Header fields by name, in the order they are written.
pub type Lines = Vec<(SmolStr, Bytes)>;

/// What a policy makes of an INVITE.
#[derive(Clone, Debug, PartialEq)]
pub struct InviteExtras {
    /// The Request-URI, if it is not the plain one.
    pub uri: Option<Bytes>,
    /// From without its tag.
    pub from: Bytes,
    pub lines: Lines,
}

impl TargetPolicy {
    /// The INVITE to the target, as far as it is not the same for every target.
    pub fn invite(&self, source: &Source<'_>) -> InviteExtras {
        let hidden = source.caller.withheld && !self.identity.trusted;
        let mut lines = Lines::new();
        self.identity.write(source, &mut lines);
        self.headers.write(source.invite, hidden, Some(source), &mut lines);
        InviteExtras { uri: self.identity.uri(source), from: self.identity.from(source), lines }
    }
}

impl AnswerPolicy {
    /// What goes into our response to the carrier, given the target's.
    pub fn lines(&self, response: &Response) -> Lines {
        let mut lines = Lines::new();
        self.headers.write(response, false, None, &mut lines);
        lines
    }
}

/// Writes fields that a policy made. None of them can steer the protocol: the writer refuses.
pub fn write_lines(lines: &Lines, writer: &mut Writer) {
    for (name, value) in lines {
        writer.named(name.as_bytes(), value);
    }
}

/// The number a URI names, if it names one: `sip:+18005550100;npdi@host` is a telephone number.
pub fn number_of(uri: &[u8]) -> Option<crate::phone::PhoneNumber> {
    let uri = Uri::parse(uri).ok()?;
    crate::phone::PhoneNumber::from_bytes(uri.user_part()?).ok()
}

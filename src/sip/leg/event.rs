//! What happened on a leg, in words that say nothing of who called whom and nothing of headers.

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call::redirect::Moved;
use crate::sip::call::report::{AttemptNumber, ReasonValue};

/// A message body and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub content_type: Bytes,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
pub enum LegEvent {
    /// 100: someone is there (target only).
    Trying,
    /// 101–199, with early media if there is a body (target only).
    Progress { status: u16, body: Option<Body> },
    /// 2xx (target only).
    Answered { body: Option<Body> },
    /// ACK to our 2xx (caller only).
    Confirmed,
    /// 300–699 (target only).
    Refused { status: u16, q850: Option<u8>, why: ReasonValue },
    /// 300, 301 or 302 (target only), with the places it names that may be called, the preferred
    /// one first.
    Redirected { status: u16, contacts: Vec<Moved> },
    /// CANCEL before the answer (caller only).
    Cancelled { why: ReasonValue, q850: Option<u8> },
    /// The final response to our REFER; 408 if none came (caller only).
    ReferAnswered { status: u16 },
    /// NOTIFY of that REFER: what the referred party answered, if it says, and whether it was the
    /// last (caller only).
    Notified { status: Option<u16>, over: bool },
    /// BYE.
    HungUp { why: ReasonValue, q850: Option<u8> },
    /// The leg is gone without a word: no response, no ACK, 481, transport failure.
    Lost { reason: Reason },
}

/// What the call wants of a leg.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// 1xx to the caller.
    Progress { status: u16, body: Option<Body> },
    /// 200 to the caller.
    Answer { body: Option<Body> },
    /// A final failure to the caller.
    Refuse { status: u16, retry_after_s: Option<u32>, why: ReasonValue },
    /// 302 to the caller, the preferred place first.
    Redirect { contacts: Vec<Bytes> },
    /// 200 to the caller without a target, so that it can be referred.
    Take,
    /// REFER to the caller, as the plan of this attempt says.
    Refer { attempt: AttemptNumber },
    /// A caller who was answered before is connected to what its target said.
    Connect { body: Option<Body> },
    /// BYE; held back until it may be sent (RFC 3261 §15).
    HangUp { why: ReasonValue },
}

//! One party of a call: the caller, whose INVITE we answer, or a target, to whom we send one.
//!
//! A leg holds what its dialog needs and the few things that are still owed on it: an ACK to our
//! answer, a BYE that may not be sent yet, the answer to a re-INVITE. The endpoint turns SIP into
//! [`LegEvent`](event::LegEvent)s with it and commands back into SIP.
//!
//! Invariant: a leg is settled once, and then nothing but ACK, BYE and final responses leaves it.

pub mod confirmation;
pub mod event;
pub mod offer_answer;

use bytes::Bytes;

use super::dialog::Dialog;
use super::ids::{LegNumber, TransactionKey};
use crate::time::Mono;

use confirmation::Confirmation;
use offer_answer::SdpOrigin;

#[derive(Debug)]
pub struct Leg {
    pub number: LegNumber,
    /// The transaction of the INVITE that made this leg.
    pub invite: TransactionKey,
    /// Our tag in the dialog.
    pub tag: Bytes,
    pub state: LegState,
    pub dialog: Option<Box<Dialog>>,
    /// Our 200 to an INVITE or re-INVITE, until its ACK.
    pub confirmation: Option<Box<Confirmation>>,
    /// A success to our INVITE that waits for the other leg's ACK, because that ACK carries the
    /// answer to the offer in the success (RFC 3264 §4, late offer).
    pub held_ack: Option<HeldAck>,
    /// A re-INVITE in progress on this leg, theirs or ours.
    pub reinvite: Option<Reinvite>,
    /// When our re-INVITE is given up, because the peer said 100 and nothing else (timer C,
    /// RFC 3261 §16.6).
    pub reinvite_until: Option<Mono>,
    /// Whether our re-INVITE carried an offer; if not, its ACK has to.
    pub offered: bool,
    /// The peer has given a sign of life.
    pub heard: bool,
    pub sdp: SdpOrigin,
    /// When to ask the peer next whether it still knows the call.
    pub probe_at: Option<Mono>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegState {
    /// No final response yet.
    Early,
    /// A success was sent or received.
    Answered,
    /// Our BYE is on its way.
    Ending,
    /// Nothing more is owed.
    Settled,
}

/// The ACK we owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAck {
    pub transaction: TransactionKey,
    pub cseq: u32,
}

/// Who re-negotiates (RFC 3261 §14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reinvite {
    /// Their transaction, which we answer.
    Theirs(TransactionKey),
    /// Our transaction.
    Ours(TransactionKey),
}

impl Leg {
    pub fn new(number: LegNumber, invite: TransactionKey, tag: Bytes, sdp: SdpOrigin) -> Self {
        Self {
            number,
            invite,
            tag,
            state: LegState::Early,
            dialog: None,
            confirmation: None,
            held_ack: None,
            reinvite: None,
            reinvite_until: None,
            offered: false,
            heard: false,
            sdp,
            probe_at: None,
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        let confirmation = self.confirmation.as_ref().map(|it| it.deadline());
        [confirmation, self.probe_at, self.reinvite_until].into_iter().flatten().min()
    }

    /// Whether the leg may be forgotten.
    pub fn owes_nothing(&self) -> bool {
        self.state == LegState::Settled && !matches!(self.reinvite, Some(Reinvite::Ours(_)))
    }
}

//! One party of a call: the caller, whose INVITE we answer, or a target, to whom we send one.
//!
//! A leg holds what its dialog needs and the few things that are still owed on it: an ACK to our
//! answer, a BYE that may not be sent yet, the answer to a re-INVITE, a PRACK, a refresh. The
//! endpoint turns SIP into [`LegEvent`](event::LegEvent)s with it and commands back into SIP. What
//! few calls need is boxed, and the two legs of a call need not agree on any of it.
//!
//! Invariant: a leg is settled once, and then nothing but ACK, BYE and final responses leaves it.

pub mod confirmation;
pub mod description;
pub mod early;
pub mod event;
pub mod offer_answer;
pub mod placeholder;
pub mod policy;
pub mod provisional;
pub mod session_timer;

use bytes::Bytes;

use super::dialog::Dialog;
use super::ids::{LegNumber, TransactionKey};
use super::message::{HeaderName, Headers};
use crate::time::Mono;

use confirmation::Confirmation;
use early::EarlyDialogs;
use offer_answer::SdpOrigin;
use provisional::Provisionals;
use session_timer::Session;

#[derive(Debug)]
pub struct Leg {
    pub number: LegNumber,
    /// The transaction of the INVITE that made this leg.
    pub invite: TransactionKey,
    /// The number of that INVITE.
    pub invite_cseq: u32,
    /// The shortest session interval that the target asked for with a 422, seconds; 0 if none.
    pub min_se_s: u32,
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
    /// Of a leg that was answered: when its peer last was, beyond doubt, there. A call that is found
    /// without one of its parties was over then (spec/sip §3, bug 13).
    pub last_heard: Mono,
    /// The peer takes UPDATE (RFC 3311 §4).
    pub takes_update: bool,
    pub sdp: SdpOrigin,
    /// When to ask the peer next whether it still knows the call; never while a session timer
    /// would find out.
    pub probe_at: Option<Mono>,
    /// The session timer, if the two sides of this leg agreed on one.
    pub session: Option<Box<Session>>,
    pub reliable: Option<Box<Reliable>>,
}

/// Reliable provisional responses of the INVITE that made this leg.
#[derive(Debug)]
pub enum Reliable {
    /// To the caller.
    Sent(Provisionals),
    /// From a target.
    Heard(EarlyDialogs),
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
    pub fn new(
        number: LegNumber,
        (invite, invite_cseq): (TransactionKey, u32),
        tag: Bytes,
        sdp: SdpOrigin,
    ) -> Self {
        Self {
            number,
            invite,
            invite_cseq,
            min_se_s: 0,
            tag,
            state: LegState::Early,
            dialog: None,
            confirmation: None,
            held_ack: None,
            reinvite: None,
            reinvite_until: None,
            offered: false,
            heard: false,
            last_heard: Mono::default(),
            takes_update: false,
            sdp,
            probe_at: None,
            session: None,
            reliable: None,
        }
    }

    pub fn deadline(&self) -> Option<Mono> {
        let confirmation = self.confirmation.as_ref().map(|it| it.deadline());
        let session = self.session.as_ref().map(|it| it.timer.deadline());
        let provisional = self.provisionals().and_then(Provisionals::deadline);
        [confirmation, session, provisional, self.probe_at, self.reinvite_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// The dialog that a request of the peer belongs to: the leg's, or an early one.
    pub fn dialog_of(&mut self, request: &Headers) -> Option<&mut Dialog> {
        self.find_dialog(|dialog| dialog.matches(request))
    }

    /// The same of a request of ours.
    pub fn dialog_that_made(&mut self, request: &Headers) -> Option<&mut Dialog> {
        self.find_dialog(|dialog| dialog.has_made(request))
    }

    fn find_dialog(&mut self, is_wanted: impl Fn(&Dialog) -> bool) -> Option<&mut Dialog> {
        match &mut self.dialog {
            Some(dialog) => Some(&mut **dialog).filter(|dialog| is_wanted(dialog)),
            None => match self.reliable.as_deref_mut()? {
                Reliable::Heard(early) => early.find(is_wanted),
                Reliable::Sent(_) => None,
            },
        }
    }

    pub fn provisionals(&self) -> Option<&Provisionals> {
        match self.reliable.as_deref()? {
            Reliable::Sent(provisionals) => Some(provisionals),
            Reliable::Heard(_) => None,
        }
    }

    pub fn provisionals_mut(&mut self) -> Option<&mut Provisionals> {
        match self.reliable.as_deref_mut()? {
            Reliable::Sent(provisionals) => Some(provisionals),
            Reliable::Heard(_) => None,
        }
    }

    pub fn early(&mut self) -> Option<&mut EarlyDialogs> {
        match self.reliable.as_deref_mut()? {
            Reliable::Heard(early) => Some(early),
            Reliable::Sent(_) => None,
        }
    }

    /// Nothing more is due on this leg but what it owes.
    pub fn rest(&mut self) {
        self.probe_at = None;
        self.session = None;
        self.reliable = None;
    }

    /// Whether the leg may be forgotten.
    pub fn owes_nothing(&self) -> bool {
        self.state == LegState::Settled && !matches!(self.reinvite, Some(Reinvite::Ours(_)))
    }
}

/// Whether the sender of this message takes UPDATE. It may name its methods in any order; without
/// Allow nothing is known, and UPDATE is not tried.
pub fn takes_update(message: &Headers) -> bool {
    message.has(HeaderName::Allow)
        && message
            .lines(HeaderName::Allow)
            .any(|methods| memchr::memmem::find(methods, b"UPDATE").is_some())
}

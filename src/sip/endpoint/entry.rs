//! A call and its legs, as the endpoint keeps them.

use crate::id::CallId;
use crate::sip::call::report::Report;
use crate::sip::call::{self, Call};
use crate::sip::ids::{CallKey, LegNumber};
use crate::sip::leg::event::LegEvent;
use crate::sip::leg::{Leg, LegState};
use crate::time::Mono;

use super::Output;
use super::inviting::Onward;
use super::rare::Rare;
use super::wire::Wire;

/// A call and its legs.
pub(super) struct CallEntry {
    pub(super) id: CallId,
    pub(super) call: Call,
    pub(super) caller: Leg,
    /// The attempt in progress, or the one that answered. Legs of attempts that are over are gone;
    /// their transactions settle what still comes (see [`responses`]).
    pub(super) target: Option<Leg>,
    /// What goes on from the caller's INVITE to the targets'.
    pub(super) onward: Box<Onward>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) armed: Option<Mono>,
}

/// One of the two legs of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Target,
}

impl CallEntry {
    pub(super) fn leg(&mut self, side: Side) -> Option<&mut Leg> {
        match side {
            Side::Caller => Some(&mut self.caller),
            Side::Target => self.target.as_mut(),
        }
    }

    /// Reports what became of the call.
    pub(super) fn tell(&mut self, key: CallKey, mut report: Report, wire: &mut Wire, now: Mono) {
        if let (Report::Ended { status, .. }, Some(failed)) = (&mut report, self.onward.failed) {
            *status = failed;
        }
        if self.rare.is_some() && matches!(report, Report::Ended { .. }) {
            self.rare_ended(wire, now);
        }
        self.name_dialogs(key, &report, wire);
        self.rate_report(&report, wire);
        let (id, last_heard) = (self.id, self.last_heard_before(&report, now));
        wire.out.push(Output::Report { call: key, id, at: now, report, last_heard });
    }

    /// The side of a leg number, if that leg is still of this call.
    pub(super) fn side_of(&self, number: LegNumber) -> Option<Side> {
        match number {
            0 => Some(Side::Caller),
            _ => self.target.as_ref().filter(|leg| leg.number == number).map(|_| Side::Target),
        }
    }

    pub(super) fn deadline(&self) -> Mono {
        let target = self.target.as_ref().and_then(Leg::deadline);
        let rare = self.rare.as_ref().and_then(|rare| rare.deadline());
        let earlier = [self.call.deadline(), self.caller.deadline(), target, rare];
        earlier.into_iter().flatten().fold(self.onward.reap_at, Mono::min)
    }

    /// Whether a re-INVITE is under way on either leg.
    pub(super) fn is_negotiating(&self) -> bool {
        let target = self.target.as_ref().is_some_and(|leg| leg.reinvite.is_some());
        target || self.caller.reinvite.is_some()
    }

    pub(super) fn both_answered(&self) -> bool {
        self.caller.state == LegState::Answered
            && self.target.as_ref().is_some_and(|leg| leg.state == LegState::Answered)
    }
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Target,
            Self::Target => Self::Caller,
        }
    }

    /// The leg's words as the call hears them.
    pub(super) fn event(self, event: LegEvent) -> call::Input {
        match self {
            Self::Caller => call::Input::Caller(event),
            Self::Target => call::Input::Target(event),
        }
    }
}

//! What is owed on a leg as time goes by: an answer is repeated until its ACK, and the peer is asked
//! whether it is still there.

use crate::reason::Reason;
use crate::sip::ids::CallKey;
use crate::sip::leg::confirmation::Overdue;
use crate::sip::leg::{LegState, Reinvite};
use crate::sip::message::Method;
use crate::time::Mono;

use super::wire::{Asked, Owner, Wire};
use super::{CallEntry, Endpoint, Side};

impl Endpoint {
    /// Repeats and ends what is owed on a leg, and asks whether it is still there.
    pub(super) fn leg_timeout(&mut self, key: CallKey, side: Side, now: Mono) {
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        if leg.reliable.is_some() && self.provisional_timeout(key, side, now) {
            return;
        }
        let Some(entry) = self.calls.get_mut(key) else { return };
        let Some(leg) = entry.leg(side) else { return };
        let paces = &self.wire.paces;
        let overdue = leg.confirmation.as_mut().and_then(|it| {
            let timers = paces.timers_for(it.flow);
            it.handle_timeout(timers, now)
        });
        match overdue {
            Some(Overdue::Resend) => {
                if let Some(confirmation) = &leg.confirmation {
                    self.wire.resend(confirmation.flow, confirmation.ok.clone());
                }
            }
            Some(Overdue::GiveUp) => {
                let hang_up = leg.confirmation.take().and_then(|it| it.hang_up);
                match hang_up {
                    Some(why) => entry.say_bye(side, why, key, &mut self.wire, now),
                    None => {
                        self.lost(key, side, Reason::AckMissing, now);
                        return;
                    }
                }
            }
            None => {}
        }
        let Some(entry) = self.calls.get_mut(key) else { return };
        if let Some(leg) = entry.leg(side)
            && leg.reinvite_until.take_if(|until| *until <= now).is_some()
            && let Some(Reinvite::Ours(invite)) = leg.reinvite
        {
            self.wire.cancel(invite, None, now);
        }
        if entry.leg(side).is_some_and(|leg| leg.probe_at.is_some_and(|at| at <= now)) {
            entry.probe(side, key, &mut self.wire, now);
        }
        if entry.leg(side).is_some_and(|leg| leg.session.is_some()) {
            self.session_timeout(key, side, now);
        }
    }
}

impl CallEntry {
    /// Asks the peer whether it still knows the call. Any answer but 481 or silence says yes.
    fn probe(&mut self, side: Side, key: CallKey, wire: &mut Wire, now: Mono) {
        let every = wire.settings.probe_interval;
        let Some(leg) = self.leg(side) else { return };
        leg.probe_at = every.map(|every| now + every);
        if leg.state != LegState::Answered || leg.confirmation.is_some() {
            return;
        }
        if let Some(dialog) = &mut leg.dialog {
            let owner = Owner::Leg { call: key, leg: leg.number, asked: Asked::Probe };
            wire.request(dialog, Method::Options, owner, |_| {}, None, now);
        }
    }
}

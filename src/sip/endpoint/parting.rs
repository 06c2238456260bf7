//! How the legs of a call end: our BYE, and theirs.

use crate::sip::call::report::ReasonValue;
use crate::sip::ids::{self, CallKey};
use crate::sip::leg::{LegState, Reinvite};
use crate::sip::message::{HeaderName, Method, Writer};
use crate::time::Mono;

use super::wire::{Asked, Owner, Wire};
use super::{CallEntry, Side};

impl CallEntry {
    /// Ends a leg that may get a BYE now.
    pub(super) fn hang_up(&mut self, side: Side, why: ReasonValue, wire: &mut Wire, now: Mono) {
        // The key is in the leg's own tag.
        let key = self.leg(side).and_then(|leg| ids::read_tag(&leg.tag)).map(|(call, _)| call);
        if let Some(key) = key {
            self.say_bye(side, why, key, wire, now);
        }
    }

    pub(super) fn say_bye(
        &mut self,
        side: Side,
        why: ReasonValue,
        key: CallKey,
        wire: &mut Wire,
        now: Mono,
    ) {
        self.release_ack(side, None, wire);
        self.give_up_reinvite(side, wire, now);
        let Some(leg) = self.leg(side) else { return };
        if leg.state != LegState::Answered {
            return;
        }
        leg.rest();
        let Some(dialog) = &mut leg.dialog else {
            leg.state = LegState::Settled;
            return;
        };
        leg.state = LegState::Ending;
        let more = |writer: &mut Writer| {
            if let Some(why) = &why {
                writer.header(HeaderName::Reason, why);
            }
        };
        let owner = Owner::Leg { call: key, leg: leg.number, asked: Asked::Bye };
        wire.request(dialog, Method::Bye, owner, more, None, now);
    }

    /// The peer ended the leg or has lost it: nothing more is sent on it but what it is owed.
    pub(super) fn end_by_peer(&mut self, side: Side, wire: &mut Wire, now: Mono) {
        self.release_ack(side, None, wire);
        self.give_up_reinvite(side, wire, now);
        if let Some(leg) = self.leg(side) {
            leg.state = LegState::Settled;
            leg.confirmation = None;
            leg.rest();
        }
    }

    /// The leg ends during a re-INVITE: theirs is answered, ours is cancelled (spec/sip B19).
    fn give_up_reinvite(&mut self, side: Side, wire: &mut Wire, now: Mono) {
        let Some(leg) = self.leg(side) else { return };
        leg.reinvite_until = None;
        match leg.reinvite {
            Some(Reinvite::Theirs(answer)) => {
                leg.reinvite = None;
                wire.respond(answer, 487, None, |_, _| {}, None, now);
            }
            // A success all the same needs an ACK of this dialog: the leg stays for it.
            Some(Reinvite::Ours(invite)) => wire.cancel(invite, None, now),
            None => {}
        }
    }
}

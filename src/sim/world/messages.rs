//! What passes between the endpoint and the parties, through the network and under the eyes of the
//! audits.

use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::sip::endpoint::{Input, Origin};
use crate::sip::flow::Flow;
use crate::sip::message::Method;
use crate::sip::trunk::TrunkIndex;
use crate::time::Wall;

use super::{Breach, Event, Mind, World};
use crate::sim::habits::Habits;
use crate::sim::ladder::Rung;
use crate::sim::party::{Act, Party, Role};
use crate::sim::stage::{self, NOWHERE};
use crate::sim::text::{Glance, show};

impl World {
    pub(super) fn deliver(&mut self, party: usize, message: Bytes) -> Result<(), Breach> {
        if matches!(&self.mind, Mind::Real(edge) if !edge.is_up()) {
            return Ok(());
        }
        let Party { role, call, address, .. } = self.parties[party];
        let glance = Glance::read(&message).expect("a party writes well-formed messages");
        self.note(&message);
        let watched = &mut self.calls[call];
        watched.ladder.add(self.now, Rung::In { party, message: message.clone() });
        watched.audit.received(&glance, address, self.now);
        let origin = match role {
            Role::Caller => Origin::Trunk(TrunkIndex(0)),
            Role::Target => Origin::Peer,
        };
        let wall = match &self.mind {
            Mind::Real(edge) => edge.wall(self.now),
            Mind::Drawn => Wall(1_700_000_000_000),
            #[cfg(test)]
            Mind::Planned(_) => Wall(1_700_000_000_000),
        };
        self.tally.messages += 1;
        let flow = stage::flow(address);
        self.handle(Input::Received { flow, origin, wall, message }, Some(call))
    }

    pub(super) fn handle(&mut self, input: Input, call: Option<usize>) -> Result<(), Breach> {
        self.endpoint.handle(input, self.now, &mut self.out);
        self.obey()?;
        match call {
            Some(call) => {
                let now = self.now;
                self.judge(call, |audit| audit.handled(now))
            }
            None => Ok(()),
        }
    }

    pub(super) fn sent(&mut self, flow: Flow, message: Bytes) -> Result<(), Breach> {
        let glance = Glance::read(&message)
            .map_err(|what| Breach::of_all(format!("{what} in {}", show(&message))))?;
        self.tally.messages += 1;
        self.note(&message);
        let (now, to) = (self.now, flow.peer);
        let known = self.by_name.get(&(glance.call_id.clone(), to)).copied();
        let party = match known {
            Some(party) => party,
            None if self.call_named(&glance.call_id).is_some()
                && glance.method() != Some(Method::Invite) =>
            {
                let call = self.call_named(&glance.call_id);
                let what = format!("a message goes to {to}, and no party is there");
                return Err(Breach { call, ..Breach::of_all(what) });
            }
            None => self.meet(&glance, to)?,
        };
        let call = self.parties[party].call;
        self.calls[call].ladder.add(now, Rung::Out { to, message });
        self.judge(call, |audit| audit.sent(&glance, to, now))?;
        if to == NOWHERE {
            let input = Input::FlowFailed { flow };
            self.tell(call, Duration::from_millis(2), "unreachable", 0, input);
            return Ok(());
        }
        let glance = Rc::new(glance);
        for delay in self.weather.carry(&mut self.calls[call].rng) {
            let message = glance.clone();
            self.agenda.note(now + delay, Event::ToParty { party, message });
        }
        Ok(())
    }

    /// A target comes into being with its INVITE, whose Request-URI says of which call it is.
    pub(super) fn meet(&mut self, invite: &Glance, address: SocketAddr) -> Result<usize, Breach> {
        let nobody = || Breach::of_all(format!("a message to nobody: {}", show(&invite.raw)));
        let uri = show(&invite.uri());
        // A target that was planned, or the place that one of those has named in a 3xx.
        let planned = uri.strip_prefix("sip:target-").or_else(|| uri.strip_prefix("sip:user-bleg"));
        let named =
            planned.and_then(|user| user.split('@').next()?.split_once('-')?.0.parse().ok());
        let call: usize = named.ok_or_else(nobody)?;
        if invite.method() != Some(Method::Invite) || call >= self.calls.len() {
            return Err(nobody());
        }
        let audit = &self.calls[call].audit;
        let attempt = audit.attempt_of(&invite.call_id).or_else(|| audit.last_started());
        let attempt = attempt.ok_or_else(nobody)?;
        let (nth, of) = audit.addresses_of(attempt);
        let is_named = audit.is_named(attempt);
        self.judge(call, |audit| audit.add_target(attempt, invite, address))?;
        let mut habits = match &self.mind {
            Mind::Drawn | Mind::Real(_) => {
                let rng = &mut self.calls[call].rng;
                Habits::of_a_target(rng).at_one_of(of, rng).named(is_named, rng)
            }
            #[cfg(test)]
            Mind::Planned(scene) => scene.habits(usize::from(attempt) - 1, nth),
        };
        #[cfg(test)]
        if let Some(cast) = &self.cast {
            habits = cast.habits(usize::from(attempt) - 1, nth);
        }
        if address == NOWHERE {
            habits.vanish = Some(Duration::ZERO);
        }
        let party = self.parties.len();
        let invite = Rc::new(invite.clone());
        self.parties.push(Party::target((call, attempt, nth), address, habits, &invite));
        self.by_name.insert((invite.call_id.clone(), address), party);
        Ok(party)
    }

    pub(super) fn carry_out(&mut self, party: usize, mut acts: Vec<Act>) {
        let call = self.parties[party].call;
        for act in acts.drain(..) {
            match act {
                Act::Send(message) => {
                    for delay in self.weather.carry(&mut self.calls[call].rng) {
                        let message = message.clone();
                        self.agenda.note(self.now + delay, Event::ToEndpoint { party, message });
                    }
                }
                Act::Later(after, deed) => {
                    self.agenda.note(self.now + after, Event::Deed { party, deed });
                }
            }
        }
        self.acts = acts;
    }

    pub(super) fn note(&mut self, message: &Bytes) {
        self.digest.write_u64(self.now.0);
        self.digest.write(message);
    }
}

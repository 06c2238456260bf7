//! What the endpoint asks of those behind it, who decide, hold and write, and what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::id::CallId;
use crate::sip::call::report::Report;
use crate::sip::endpoint::{Admission, CallKey, Input, Output};
use crate::time::Mono;

use super::{Breach, Event, Mind, World, breach};
use crate::sim::audit::Audit;
use crate::sim::edge::Handed;
use crate::sim::ladder::Rung;
use crate::sim::mind;

impl World {
    pub(super) fn edge_deadline(&self) -> Option<Mono> {
        match &self.mind {
            Mind::Real(edge) => edge.deadline(),
            Mind::Drawn => None,
            #[cfg(test)]
            Mind::Planned(_) => None,
        }
    }

    pub(super) fn tell_time(&mut self) {
        if let Mind::Real(edge) = &mut self.mind {
            edge.set_clock(self.now);
        }
    }

    pub(super) fn turn_edge(&mut self) -> Result<(), Breach> {
        if let Mind::Real(edge) = &mut self.mind {
            self.answers.extend(edge.handle_timeouts(self.now));
        }
        self.answer()
    }

    /// Feeds the endpoint what it asked for, and sees to what follows.
    pub(super) fn answer(&mut self) -> Result<(), Breach> {
        while let Some(input) = self.answers.pop_front() {
            let told = match &input {
                Input::Decided { call, .. } => Some((*call, "decided", 0)),
                Input::Held { call, attempt, outcome } => {
                    Some((*call, if outcome.is_ok() { "granted" } else { "denied" }, *attempt))
                }
                Input::Durable { call } => Some((*call, "durable", 0)),
                _ => None,
            };
            let call = told.and_then(|(key, ..)| self.keys.get(&key).copied());
            match (told, call) {
                (Some((_, word, number)), Some(call)) => self.hear(call, word, number, input)?,
                _ => self.handle(input, call)?,
            }
        }
        if let Mind::Real(edge) = &mut self.mind {
            edge.plan_commit(self.now);
            edge.caps_hold().map_err(|(id, what)| breach(edge, id, what))?;
        }
        Ok(())
    }

    /// The endpoint hears of those behind it.
    pub(super) fn hear(
        &mut self,
        call: usize,
        word: &'static str,
        number: u8,
        input: Input,
    ) -> Result<(), Breach> {
        let watched = &mut self.calls[call];
        watched.ladder.add(self.now, Rung::Word(word, number));
        if matches!(input, Input::Durable { .. }) {
            watched.audit.made_durable();
        }
        if matches!(input, Input::Held { outcome: Ok(()), .. }) {
            watched.audit.granted(number);
        }
        if let Input::Decided { outcome: Ok(plan), .. } = &input {
            watched.audit.decided(plan);
        }
        self.handle(input, Some(call))
    }

    /// Carries out and judges what the endpoint wants.
    pub(super) fn obey(&mut self) -> Result<(), Breach> {
        let mut out = std::mem::take(&mut self.out);
        if !out.is_empty() {
            self.last_sign = self.now;
        }
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.tamper(&mut out);
        }
        for output in out {
            match output {
                Output::Send { flow, message } => self.sent(flow, message)?,
                Output::Admitted(admission) => {
                    let call = self.call_named(&admission.sip_call_id);
                    let call = call.expect("every caller is known");
                    self.keys.insert(admission.call, call);
                    self.judge(call, Audit::admitted)?;
                    self.decide(&admission, call);
                }
                Output::PlaceHold { call, attempt } => self.hold(call, attempt),
                Output::Report { call: key, id, ref report, .. } => {
                    let now = self.now;
                    let call = self.keys[&key];
                    self.calls[call].ladder.add(now, Rung::Report(report.clone()));
                    let report = report.clone();
                    self.judge(call, |audit| audit.reported(&report, now))?;
                    self.follow_answer(call, id, &report);
                    self.pass_on(output)?;
                }
                Output::Locate { .. }
                | Output::Registration { .. }
                | Output::Probed { .. }
                | Output::Fragmented { .. } => {}
                Output::AwaitDurable { .. }
                | Output::Tried { .. }
                | Output::Rated { .. }
                | Output::Dialogs { .. }
                | Output::Spoken { .. }
                | Output::OrphanEnded { .. } => self.pass_on(output)?,
            }
        }
        Ok(())
    }

    /// The call that a party calls by this name.
    pub(super) fn call_named(&self, call_id: &Bytes) -> Option<usize> {
        let lowest = (call_id.clone(), SocketAddr::from(([0, 0, 0, 0], 0)));
        let party = self.by_name.range(lowest..).next();
        let party = party.filter(|((known, _), _)| known == call_id);
        party.map(|(_, party)| self.parties[*party].call)
    }

    /// A call that ends as answered, and whose answer was on disk when the caller heard of it, is
    /// in the journal whatever comes.
    pub(super) fn follow_answer(&mut self, call: usize, id: CallId, report: &Report) {
        let watched = &mut self.calls[call];
        if let Report::HandedOver { attempt, by, status } = *report {
            let leg = u16::from(attempt);
            watched.handed = Some(Handed { call: id, leg, by, status });
        }
        if matches!(report, Report::Confirmed | Report::Ended { .. })
            && watched.audit.is_answered_durably()
        {
            watched.answered = Some(id);
        }
    }

    /// What those behind the endpoint are to know.
    pub(super) fn pass_on(&mut self, output: Output) -> Result<(), Breach> {
        match &mut self.mind {
            Mind::Real(edge) => {
                edge.obey(output);
                Ok(())
            }
            _ => match output {
                Output::AwaitDurable { call } => {
                    self.await_durable(call);
                    Ok(())
                }
                Output::OrphanEnded { .. } => {
                    Err(Breach::of_all("an orphan, but no process has died"))
                }
                _ => Ok(()),
            },
        }
    }

    pub(super) fn decide(&mut self, admission: &Admission, call: usize) {
        let answer = match &mut self.mind {
            Mind::Real(edge) => return self.answers.extend(edge.admit(call, admission)),
            Mind::Drawn => mind::decision(call, &mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => {
                scene.decided.map(|after| (after, Ok(Box::new(scene.plan(call)))))
            }
        };
        if let Some((after, outcome)) = answer {
            let input = Input::Decided { call: admission.call, outcome };
            self.tell(call, after, "decided", 0, input);
        }
    }

    pub(super) fn hold(&mut self, key: CallKey, attempt: u8) {
        let call = self.keys[&key];
        let answer = match &mut self.mind {
            Mind::Real(edge) => {
                return self.answers.extend(edge.place_hold(key, attempt, self.now));
            }
            Mind::Drawn => mind::hold(&mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => scene.held.map(|after| (after, Ok(()))),
        };
        if let Some((after, outcome)) = answer {
            let word = if outcome.is_ok() { "granted" } else { "denied" };
            self.tell(call, after, word, attempt, Input::Held { call: key, attempt, outcome });
        }
    }

    pub(super) fn await_durable(&mut self, key: CallKey) {
        let call = self.keys[&key];
        let answer = match &self.mind {
            Mind::Real(_) => None,
            Mind::Drawn => mind::durable(&mut self.calls[call].rng),
            #[cfg(test)]
            Mind::Planned(scene) => scene.durable.map(|after| (after, ())),
        };
        if let Some((after, ())) = answer {
            self.tell(call, after, "durable", 0, Input::Durable { call: key });
        }
    }

    pub(super) fn tell(
        &mut self,
        call: usize,
        after: Duration,
        word: &'static str,
        number: u8,
        input: Input,
    ) {
        self.agenda.note(self.now + after, Event::Tell { call, word, number, input });
    }
}

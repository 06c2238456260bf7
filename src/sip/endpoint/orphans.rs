//! Requests in dialogs that this endpoint does not have: 481, unless it is the end of a call whose
//! process died (spec/sip O8).

use std::sync::Arc;

use smol_str::SmolStr;

use crate::sip::call::report::Report;
use crate::sip::flow::Flow;
use crate::sip::ids::CallKey;
use crate::sip::leg::description;
use crate::sip::leg::event::Body;
use crate::sip::leg::offer_answer::is_sdp;
use crate::sip::message::{Headers, Method, Request};
use crate::sip::orphan::{DialogPrint, Orphan, Orphans};
use crate::time::Mono;

use super::requests::reason_of;
use super::wire::Wire;
use super::{CallEntry, Endpoint, Origin, Output};

impl Endpoint {
    /// Calls that an earlier process left up.
    pub fn adopt(&mut self, orphans: Arc<Orphans>) {
        self.orphans = Some(orphans);
    }

    pub(super) fn in_no_dialog(&mut self, request: Request, flow: Flow, origin: Origin, now: Mono) {
        match self.orphan_of(&request, now) {
            Some(Orphan { call, party }) if request.method() == Method::Bye => {
                let (_, q850) = reason_of(&request);
                self.wire.reply(request, flow, 200, now);
                self.wire.out.push(Output::OrphanEnded { id: call, at: now, party, q850 });
            }
            None if origin == Origin::Stranger => self.wire.counters.strays += 1,
            // Without state: the INVITE of a lost dialog gets an ACK to its 481 that fits nothing.
            Some(_) | None => self.wire.respond_stateless(
                &request,
                flow,
                481,
                "Call/Transaction Does Not Exist",
                |_| {},
            ),
        }
    }

    fn orphan_of(&mut self, request: &Headers, now: Mono) -> Option<Orphan> {
        self.orphans.take_if(|orphans| orphans.is_over(now));
        let orphans = self.orphans.as_ref()?;
        let (ours, theirs) = (request.to_tag()?, request.from_tag().unwrap_or_default());
        orphans.find(DialogPrint::of(request.call_id(), ours, theirs))
    }
}

impl CallEntry {
    /// Tells what names both dialogs, ahead of the report that the call is answered: should the
    /// process die, the next one knows by it whose BYE comes. And what is spoken, ahead of the report
    /// that goes with it.
    pub(super) fn name_dialogs(&mut self, key: CallKey, report: &Report, wire: &mut Wire) {
        if matches!(report, Report::Confirmed) {
            let spoken = self.rare.as_mut().and_then(|rare| rare.spoken.take());
            wire.out.extend(spoken.map(|codec| Output::Spoken { call: key, codec }));
        }
        if !matches!(report, Report::Answered { .. } | Report::Transferred { .. }) {
            return;
        }
        self.open_caller_dialog(wire);
        let target = self.target.as_ref().and_then(|leg| leg.dialog.as_ref());
        if let (Some(caller), Some(target)) = (&self.caller.dialog, target) {
            let farewells = wire
                .writes_farewells
                .then(|| Box::new([caller, target].map(|dialog| wire.write_farewell(dialog))));
            let (caller, target) = (caller.print(), target.print());
            let codec = self.codec();
            wire.out.push(Output::Dialogs { call: key, caller, target, codec, farewells });
        }
    }

    /// The caller answers what its target offered: by that is known what is spoken.
    pub(super) fn hear_answer(&mut self, answer: Option<&Body>) {
        let answer = answer.filter(|answer| is_sdp(&answer.content_type));
        if let Some(codec) = answer.and_then(|answer| description::codec(&answer.bytes)) {
            self.rare().spoken = Some(codec);
        }
    }

    /// What the answer says is spoken, on both legs: media goes from end to end. If the target made
    /// the offer, the answer is the caller's, and may be yet to come with its ACK.
    fn codec(&mut self) -> Option<SmolStr> {
        if let Some(rare) = &mut self.rare
            && rare.spoken.is_some()
        {
            return rare.spoken.take();
        }
        let answer = self.call.answer().filter(|_| self.onward.offer.is_some())?;
        is_sdp(&answer.content_type).then(|| description::codec(&answer.bytes))?
    }
}

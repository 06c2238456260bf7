//! The last word of a dead process: a BYE for each end of a call, written when the call is answered
//! and sent by the next process, so that nobody goes on paying for a call that nobody bridges
//! (spec/sip O8, spec/data §1.3).

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call::own_reason;
use crate::sip::call::report::Party;
use crate::sip::dialog::Dialog;
use crate::sip::flow::Flow;
use crate::sip::ids;
use crate::sip::message::{HeaderName, Message, Method, Response};
use crate::sip::orphan::{DialogPrint, Farewell, Orphan};
use crate::sip::transaction::Client;
use crate::time::Mono;

use super::challenge::rewrite;
use super::wire::{Machine, Owner, Wire};
use super::{Endpoint, Output};

/// How far the number of such a BYE is ahead of the dialog's at the answer. Gaps are fine (RFC 3261
/// §12.2.2), and no call has so many requests.
const AHEAD: u32 = 1 << 20;

impl Endpoint {
    /// From now on the answer of each call is told with what [`Endpoint::farewell`] takes.
    pub fn write_farewells(&mut self) {
        self.wire.writes_farewells = true;
    }

    /// Ends a dialog of a process that died.
    pub(super) fn farewell(&mut self, flow: Flow, bye: Bytes, now: Mono) {
        let wire = &mut self.wire;
        let Some(flow) = wire.settings.reach(flow) else { return };
        let Ok(Message::Request(bye)) = Message::parse(bye, &wire.settings.limits) else { return };
        let number = bye.cseq().number;
        let timers = wire.paces.timers_for(flow);
        wire.open(flow, Owner::Farewell, now, |wire, via, effects| {
            let message = rewrite(&mut wire.writer, &bye, &via, number, &Default::default());
            Machine::Client(Client::new(message, timers, now, effects))
        });
    }

    /// A party has heard that its call is over, or knew it: then it may have hung up before, and still
    /// repeat a BYE that tells when. One that does not answer may be up.
    pub(super) fn farewell_answered(&mut self, response: &Response, now: Mono) {
        let knows = matches!(response.status(), 200..300 | 481);
        let tags = response.from_tag().zip(response.to_tag());
        let Some((ours, theirs)) = tags.filter(|_| knows) else { return };
        let print = DialogPrint::of(response.call_id(), ours, theirs);
        let orphan = self.orphans.as_ref().and_then(|orphans| orphans.find(print));
        self.wire.out.extend(orphan.map(|Orphan { call, .. }| Output::OrphanEnded {
            id: call,
            at: now,
            party: Party::System,
            q850: None,
        }));
    }
}

impl Wire {
    pub(super) fn write_farewell(&mut self, dialog: &Dialog) -> Farewell {
        let flow = dialog.flow();
        let random = self.ids.random();
        // Whoever sends it puts a Via of its own there.
        let via = self.via(flow, &ids::branch(Default::default(), random));
        dialog.begin_ahead(Method::Bye.name().as_bytes(), AHEAD, &via, &mut self.writer);
        self.writer.header(HeaderName::Reason, &own_reason(Reason::NodeRestart));
        let Flow { transport, peer, .. } = flow;
        Farewell { transport, peer, bye: self.writer.finish() }
    }
}

//! Attempts at targets with several addresses (spec/sip T16, T17), be they of one name or of several
//! ways: under which names the next address of a name is called, and what is learnt of the one that was.
//!
//! A target with one way and one address has none of this: it is called there whatever was heard before.

use std::time::Duration;

use bytes::Bytes;

use crate::reason::Reason;
use crate::sip::call::plan::Destination;
use crate::sip::call::report::{AttemptNumber, Report};
use crate::sip::locate::Failing;
use crate::sip::message::Response;

use super::wire::Wire;
use super::{CallEntry, Output};

/// What stays the same at every address of an attempt (RFC 3263 §4.3: all but the branch).
#[derive(Clone, Debug)]
pub(super) struct Names {
    attempt: AttemptNumber,
    pub(super) call_id: Bytes,
    pub(super) tag: Bytes,
    pub(super) cseq: u32,
}

impl CallEntry {
    /// The names of an attempt that was made at another address before.
    pub(super) fn names_of(&self, attempt: AttemptNumber) -> Option<&Names> {
        self.rare.as_ref()?.names.iter().find(|names| names.attempt == attempt)
    }

    /// Remembers the names of an attempt that may be made at another address.
    pub(super) fn keep_names(
        &mut self,
        attempt: AttemptNumber,
        call_id: &Bytes,
        tag: &Bytes,
        cseq: u32,
    ) {
        let elsewhere = self.call.attempt(attempt).is_some_and(|it| {
            it.further.is_some() || it.destination.is_some_and(|it| it.tcp_port.is_some())
        });
        if elsewhere && self.names_of(attempt).is_none() {
            let (call_id, tag) = (call_id.clone(), tag.clone());
            self.rare().names.push(Names { attempt, call_id, tag, cseq });
        }
    }

    /// The call goes to the address an attempt is made at.
    pub(super) fn tell_trial(&self, attempt: AttemptNumber, wire: &mut Wire) {
        if let Some(Destination { transport, peer, .. }) = self.rated(attempt) {
            wire.out.push(Output::Tried { transport, peer });
        }
    }

    /// A response came from the address an attempt is made at.
    pub(super) fn rate_response(
        &mut self,
        attempt: AttemptNumber,
        response: &Response,
        wire: &mut Wire,
    ) {
        let Some(at) = self.rated(attempt) else { return };
        let how = match response.status() {
            503 => {
                let asked = response.retry_after().ok().flatten();
                let retry_after = asked.map(|s| Duration::from_secs(u64::from(s)));
                Err(Failing::Unavailable { retry_after })
            }
            // Nobody behind it answered; it is there itself.
            200.. => Ok(()),
            _ => return,
        };
        // Challenges may have counted on since the first INVITE.
        let names = self.rare.as_mut().map(|rare| &mut rare.names);
        if let Some(names) = names.and_then(|it| it.iter_mut().find(|it| it.attempt == attempt)) {
            names.cseq = response.cseq().number;
        }
        wire.out.push(rated(at, how));
    }

    /// An address was given up without a response.
    pub(super) fn rate_report(&self, report: &Report, wire: &mut Wire) {
        let is_gone = |reason: &Reason| {
            matches!(reason, Reason::AttemptCarrierFailed | Reason::AttemptNoResponse)
        };
        let at = match report {
            Report::AddressFailed { at, status: None, reason, .. } if is_gone(reason) => Some(*at),
            Report::AttemptFailed { attempt, status: None, reason, .. }
            | Report::WayFailed { attempt, status: None, reason, .. }
                if is_gone(reason) =>
            {
                self.rated(*attempt)
            }
            Report::AddressFailed { .. }
            | Report::AttemptFailed { .. }
            | Report::WayFailed { .. }
            | Report::AttemptStarted { .. }
            | Report::AttemptProgress { .. }
            | Report::Extended { .. }
            | Report::Taken
            | Report::Referred { .. }
            | Report::HandedOver { .. }
            | Report::TransferStarted { .. }
            | Report::TransferFailed { .. }
            | Report::Transferred { .. }
            | Report::Answered { .. }
            | Report::EndedEarly { .. }
            | Report::Confirmed
            | Report::Ended { .. } => None,
        };
        if let Some(at) = at {
            wire.out.push(rated(at, Err(Failing::Gone)));
        }
    }

    /// Where an attempt is made, if it could be made elsewhere.
    fn rated(&self, attempt: AttemptNumber) -> Option<Destination> {
        let planned = self.call.attempt(attempt)?;
        let is_way = |at: AttemptNumber| self.call.attempt(at).is_some_and(|it| it.manner.instead);
        let is_elsewhere = planned.further.is_some() || is_way(attempt) || is_way(attempt + 1);
        planned.destination.filter(|_| is_elsewhere)
    }
}

fn rated(at: Destination, how: Result<(), Failing>) -> Output {
    Output::Rated { transport: at.transport, peer: at.peer, how }
}

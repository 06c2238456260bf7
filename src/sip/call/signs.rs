//! What a target has to show by when, before it may ring on (spec/domain §2.11).

use crate::reason::Reason;
use crate::sip::leg::event::LegEvent;
use crate::time::Mono;

use super::plan::Attempt;

/// Signs of life that are still awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signs {
    /// Any response at all.
    first_by: Option<Mono>,
    /// One that says it rings, or goes on otherwise: anything beyond 100.
    progress_by: Option<Mono>,
}

impl Signs {
    /// Of an attempt whose INVITE leaves now.
    pub(super) fn of(planned: &Attempt, now: Mono) -> Self {
        let (first_by, progress_by) = (now + planned.first_response, now + planned.max_pdd);
        Self { first_by: Some(first_by), progress_by: Some(progress_by) }
    }

    pub(super) fn seen(&mut self, event: &LegEvent) {
        self.first_by = None;
        if !matches!(event, LegEvent::Trying) {
            self.progress_by = None;
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.first_by.into_iter().chain(self.progress_by).min()
    }

    /// Why an attempt is over whose deadline has come.
    pub(super) fn reason(&self, ring_until: Mono, now: Mono) -> Reason {
        if now >= ring_until {
            Reason::AttemptNoAnswer
        } else if self.first_by.is_some() {
            Reason::AttemptNoResponse
        } else {
            Reason::AttemptNoRinging
        }
    }
}

//! How attempts went, for the circuits of their targets and of the ways there.

use std::time::Duration;

use crate::reason::Reason;
use crate::routing::circuit::{AttemptEnd, Attempted};
use crate::sip::call::report::AttemptNumber;
use crate::sip::endpoint::CallKey;
use crate::time::Mono;

use super::{Bridge, Try, planned};

/// A caller who gives up sooner says nothing of the target.
const PATIENCE: Duration = Duration::from_secs(8);

impl Bridge {
    /// It rings there.
    pub(super) fn rang(&mut self, key: CallKey, attempt: AttemptNumber, at: Mono) {
        let tries = self.calls.get_mut(key).map(|live| &mut live.tries);
        let tried = tries.into_iter().flatten().find(|it| it.attempt == attempt);
        if let Some(tried) = tried {
            tried.rang.get_or_insert(at);
        }
    }

    pub(super) fn judge_answered(&mut self, key: CallKey, attempt: AttemptNumber, at: Mono) {
        self.rang(key, attempt, at);
        self.judge(key, attempt, at, |_| Some(AttemptEnd::Answered));
    }

    pub(super) fn judge_failed(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        reason: Reason,
        at: Mono,
    ) {
        let planned = self.calls.get(key).and_then(|live| planned(&live.plan, attempt));
        let ring = planned.map(|it| Duration::from_millis(it.ring_timeout_ms.into()));
        self.judge(key, attempt, at, |lasted| end(reason, lasted, ring.unwrap_or_default()));
    }

    /// The target was not reached, and is to be another way: that says something of the way alone.
    pub(super) fn judge_way(&mut self, key: CallKey, attempt: AttemptNumber, at: Mono) {
        if let Some(attempted) = self.over(key, attempt, at, |_| Some(AttemptEnd::Failed)) {
            self.rate_way(key, attempt, attempted, at);
        }
    }

    fn judge(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        at: Mono,
        end: impl FnOnce(Duration) -> Option<AttemptEnd>,
    ) {
        let Some(attempted) = self.over(key, attempt, at, end) else { return };
        if let Some(target) = self.target(key, attempt) {
            self.parts.deciding.attempted(&target, attempted, at);
        }
        self.rate_way(key, attempt, attempted, at);
    }

    fn rate_way(&self, key: CallKey, attempt: AttemptNumber, attempted: Attempted, at: Mono) {
        let planned = self.calls.get(key).and_then(|live| planned(&live.plan, attempt));
        if let Some(way) = planned.and_then(|it| it.way.as_ref()) {
            self.parts.deciding.way_attempted(way, attempted, at);
        }
    }

    /// An attempt is over: how it went, if that says anything.
    fn over(
        &mut self,
        key: CallKey,
        attempt: AttemptNumber,
        at: Mono,
        end: impl FnOnce(Duration) -> Option<AttemptEnd>,
    ) -> Option<Attempted> {
        let live = self.calls.get_mut(key)?;
        let place = live.tries.iter().position(|it| it.attempt == attempt)?;
        let Try { begun, rang, .. } = live.tries.remove(place);
        let end = end(at.since(begun))?;
        let pdd_ms = rang.map(|rang| u32::try_from(rang.ms_since(begun)).unwrap_or(u32::MAX));
        Some(Attempted { end, pdd_ms })
    }
}

/// What the end of an attempt says of its target that lasted so long, where it was to have `ring` to
/// answer; `None`: nothing.
fn end(reason: Reason, lasted: Duration, ring: Duration) -> Option<AttemptEnd> {
    if matches!(
        reason,
        Reason::AttemptCarrierFailed
            | Reason::AttemptNoResponse
            | Reason::AttemptNoRinging
            | Reason::AttemptUnresolved
    ) {
        return Some(AttemptEnd::Failed);
    }
    let given_up = reason == Reason::CallerAbandoned && lasted >= PATIENCE;
    // All attempts together may have had no more time.
    let rang_out = reason == Reason::AttemptNoAnswer && lasted >= ring;
    let refused = matches!(reason, Reason::AttemptBusy | Reason::AttemptRejected);
    (given_up || rang_out || refused).then_some(AttemptEnd::Unanswered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_target_did_is_held_against_it() {
        let (soon, late) = (Duration::from_secs(2), Duration::from_secs(8));
        for (reason, lasted, said) in [
            (Reason::AttemptNoResponse, soon, Some(AttemptEnd::Failed)),
            (Reason::AttemptBusy, soon, Some(AttemptEnd::Unanswered)),
            (Reason::AttemptNoAnswer, late, Some(AttemptEnd::Unanswered)),
            (Reason::AttemptNoAnswer, soon, None),
            (Reason::CallerAbandoned, soon, None),
            (Reason::CallerAbandoned, late, Some(AttemptEnd::Unanswered)),
            (Reason::AnsweredElsewhere, late, None),
            (Reason::AttemptRateFull, soon, None),
            (Reason::CapFull, soon, None),
        ] {
            assert_eq!(
                end(reason, lasted, Duration::from_secs(6)),
                said,
                "{reason:?} after {lasted:?}"
            );
        }
    }
}

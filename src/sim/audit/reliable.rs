//! Provisional responses that are confirmed, each way (RFC 3262), and what may be said because of
//! them (RFC 3311): a number space for each early dialog, one response at a time, PRACK in order.

use bytes::Bytes;

use super::leg::{Dialog, Leg};
use super::{Due, Verdict, check};
use crate::sim::text::Glance;

impl Leg {
    /// A provisional response to our INVITE, which `offered` or did not.
    pub(super) fn heard_reliable(
        &mut self,
        message: &Glance,
        offered: bool,
        at: usize,
    ) -> Option<Due> {
        let rseq = message.rseq.filter(|_| message.requires("100rel"))?;
        let (leg, tag) = (at, message.to_tag.clone()?);
        let is_over = self.over.is_some();
        let dialog = self.dialogs.entry(tag.clone()).or_default();
        if dialog.rseq.is_some_and(|last| rseq != last + 1) {
            return None;
        }
        if dialog.rseq.is_none() {
            dialog.routes = message.record_routes.iter().rev().cloned().collect();
        }
        dialog.rseq = Some(rseq);
        // Its offer is answered by the other side's PRACK, or by its ACK.
        let waits = !offered && !message.body.is_empty();
        (!is_over && !waits).then_some(Due::Prack { leg, tag, rseq })
    }

    /// RFC 3262 §4.
    pub(super) fn may_prack(&mut self, message: &Glance) -> Verdict {
        let tag = message.to_tag.as_ref().ok_or("a PRACK without a tag")?;
        let rseq = message.rack.ok_or("a PRACK without RAck")?;
        let dialog = self.dialogs.get_mut(tag).ok_or("a PRACK in no dialog")?;
        let (heard, last) = (dialog.rseq, dialog.pracked);
        let is_heard = heard.is_some_and(|heard| rseq <= heard);
        check(is_heard, || format!("a PRACK of {rseq}, {heard:?} was heard"))?;
        check(last.is_none_or(|last| rseq == last + 1), || {
            format!("a PRACK of {rseq} after that of {last:?}")
        })?;
        dialog.pracked = Some(rseq);
        Ok(())
    }

    pub(super) fn received_prack(&mut self, message: &Glance) {
        // After the final response nothing waits for it any more.
        let is_over = self.received.iter().any(|it| it.is_first && it.outcome.is_some());
        let dialog = self.dialogs.get_mut(&message.from_tag).filter(|_| !is_over);
        if let Some(dialog) = dialog
            && message.rack.is_some()
            && message.rack == dialog.rseq
        {
            dialog.pracked = message.rack;
        }
    }

    /// A provisional response to the caller leaves that has not left before (RFC 3262 §3).
    pub(super) fn sent_provisional(&mut self, message: &Glance) -> Verdict {
        let first = self.received.iter().find(|it| it.is_first).map(|it| &it.message);
        let (takes, insists) =
            first.map_or((false, false), |it| (it.takes_reliable(), it.requires("100rel")));
        let Some(rseq) = message.rseq else {
            return check(!insists, || String::from("it need not be confirmed, and has to be"));
        };
        check(takes, || String::from("a reliable response to one that takes none"))?;
        check(message.requires("100rel"), || String::from("RSeq without Require"))?;
        let dialog = self.dialogs.entry(message.from_tag.clone()).or_default();
        let (last, pracked) = (dialog.rseq, dialog.pracked);
        check(last.is_none_or(|last| rseq == last + 1), || format!("RSeq {rseq} after {last:?}"))?;
        check(last == pracked, || String::from("a reliable response before the last one's PRACK"))?;
        dialog.rseq = Some(rseq);
        dialog.describes = !message.body.is_empty();
        Ok(())
    }

    /// RFC 3262 §3: not while a description is not confirmed.
    pub(super) fn may_answer(&self, tag: &Bytes) -> Verdict {
        let waits = self.dialogs.get(tag).is_some_and(bars_answer);
        check(!waits, || String::from("200 before the PRACK of a description"))
    }

    /// RFC 3311 §5.1: before the answer, only where an offer and its answer have been confirmed.
    pub(super) fn may_update(&self, message: &Glance) -> Verdict {
        let dialog = message.to_tag.as_ref().and_then(|tag| self.dialogs.get(tag));
        let may = dialog.is_none_or(|it| it.answered || it.pracked.is_some());
        check(may, || String::from("an UPDATE before the first PRACK"))
    }
}

/// A description was sent, and is not confirmed.
pub(super) fn bars_answer(dialog: &Dialog) -> bool {
    dialog.describes && dialog.rseq != dialog.pracked
}

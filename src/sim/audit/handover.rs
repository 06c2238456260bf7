//! Calls that the carrier is told to make (spec/sip R1 to R7): what it was asked, what it said, and
//! what is made of that.

use bytes::Bytes;

use super::leg::Leg;
use super::route::{By, Place};
use super::{Audit, Due, Verdict, check};
use crate::sim::party::PATIENCE;
use crate::sim::text::{Glance, Start, show};
use crate::sip::call::report::{AttemptNumber, Means, Report};
use crate::sip::message::Method;
use crate::time::Mono;

use super::SLACK;

/// What came of telling the carrier.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// We answered the caller ourselves.
    pub(super) taken: bool,
    /// The newest REFER.
    asked: Option<Asked>,
    /// When a 302 was decided, for which attempt.
    pub(super) by_302: Option<(AttemptNumber, Mono)>,
    /// After an early end: the attempt that is next.
    pub(super) recovers: Option<AttemptNumber>,
    pub(super) seen: Seen,
}

/// So that it can be told that it happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) known: u64,
    pub(crate) unknown: u64,
    /// A NOTIFY came before the response to its REFER.
    pub(crate) overtaken: u64,
    /// Targets that hung up at once and were followed by the next.
    pub(crate) early: u64,
}

#[derive(Debug)]
struct Asked {
    attempt: AttemptNumber,
    /// Whether the carrier does it: by its response or by a NOTIFY, whichever came first.
    accepted: Option<bool>,
    /// What the first NOTIFY with a final status says of the target.
    outcome: Option<u16>,
    /// The caller hung up.
    left: bool,
}

impl Audit {
    /// The target has hung up, and the next one is called: from now on the caller is one that was
    /// answered before its target (spec/domain §2.11).
    pub(super) fn ended_early(&mut self, attempt: AttemptNumber, now: Mono) -> Verdict {
        let answered_at = self.answered_at.take().ok_or("an early end without an answer")?;
        let left = self.legs.iter().rev().find(|leg| leg.attempt == attempt);
        check(left.is_some_and(|leg| !leg.is_open()), || {
            String::from("an early end, and the target has not hung up")
        })?;
        (self.durable, self.telling.taken) = (false, true);
        self.telling.seen.early += 1;
        self.telling.recovers = self.route.next_target(attempt);
        self.route.recover(attempt, now.since(answered_at))
    }

    /// The caller's INVITE is answered with success before any target has.
    pub(super) fn takes(&mut self) -> Verdict {
        let current = self.current_attempt();
        let place = current.and_then(|attempt| self.route.place(attempt));
        let refers = place.is_some_and(|place| matches!(place.by, By::Refer(_)));
        check(refers, || String::from("200 without an Answered report"))?;
        self.telling.taken = true;
        Ok(())
    }

    /// REFER follows the ACK, once for each attempt, and names what was planned (spec/sip R2).
    pub(super) fn may_refer(&mut self, at: usize, message: &Glance) -> Verdict {
        check(at == 0, || String::from("a REFER to a target"))?;
        let first = self.legs[0].received.iter().find(|it| it.is_first);
        check(first.is_some_and(|it| it.acked), || String::from("a REFER before the ACK"))?;
        let attempt = self.current_attempt().ok_or("a REFER of no attempt")?;
        let by = self.route.place(attempt).map(|place| &place.by);
        let named = message.refer_to.as_deref().map(show).unwrap_or_default();
        check(by == Some(&By::Refer(named)), || {
            String::from("a REFER to what is not to be called that way")
        })?;
        let is_known = self.telling.asked.as_ref().is_some_and(|it| it.attempt == attempt);
        check(!is_known, || format!("a second REFER of attempt {attempt}"))?;
        self.telling.asked = Some(Asked { attempt, accepted: None, outcome: None, left: false });
        Ok(())
    }

    /// A response to the REFER came that its transaction still waits for.
    pub(super) fn refer_answered(&mut self, status: u16) {
        let is_up = self.caller_is_up();
        let Some(asked) = self.telling.asked.as_mut().filter(|it| it.accepted.is_none()) else {
            return;
        };
        asked.accepted = Some((200..300).contains(&status));
        // To one who does not know the call there is nobody to connect.
        if status >= 300 && status != 481 && is_up {
            self.telling.seen.refused += 1;
            self.due.push(Due::Bridge { attempt: asked.attempt });
        }
    }

    pub(super) fn caller_hung_up(&mut self) {
        if let Some(asked) = &mut self.telling.asked {
            asked.left = true;
        }
    }

    /// A NOTIFY is answered, and so was heard. R6: also after our BYE, and no event but ours passes
    /// for ours.
    pub(super) fn notify_answered(&mut self, status: u16, notify: &Bytes, now: Mono) -> Verdict {
        let notify = Glance::read(notify)?;
        let Some(asked) = &mut self.telling.asked else { return Ok(()) };
        let is_ours = notify.event.as_deref() == Some(b"refer");
        check(status != 400, || String::from("a NOTIFY is said to be malformed"))?;
        if !is_ours {
            return check(status != 200 || !self.legs[0].is_open(), || {
                String::from("a NOTIFY of another event passes for one of ours")
            });
        }
        let lingers = self.legs[0].hung_up_at().is_some_and(|at| now.since(at) + SLACK < PATIENCE);
        check(status != 481 || !lingers, || {
            String::from("a NOTIFY after our BYE is not known any more")
        })?;
        if status != 200 {
            return Ok(());
        }
        if asked.accepted.is_none() {
            asked.accepted = Some(true);
            self.telling.seen.overtaken += 1;
        }
        if asked.accepted == Some(true) && asked.outcome.is_none() {
            asked.outcome = notify.fragment().filter(|status| *status >= 200);
        }
        Ok(())
    }

    /// What is reported of handing over is what the carrier said (R4, R5, R15).
    pub(super) fn told_truly(&mut self, report: &Report, now: Mono) -> Verdict {
        let telling = &mut self.telling;
        let asked = telling.asked.as_ref();
        let of = |attempt: AttemptNumber| asked.filter(|asked| asked.attempt == attempt);
        match report {
            Report::Taken => check(telling.taken, || String::from("taken, but not answered")),
            Report::Referred { attempt } => {
                let accepted = of(*attempt).is_some_and(|it| it.accepted == Some(true));
                check(accepted, || String::from("a REFER is said to be accepted that was not"))
            }
            Report::HandedOver { attempt, by: Means::Redirect, status } => {
                telling.by_302 = Some((*attempt, now));
                check(status.is_none(), || String::from("an outcome of a 302"))
            }
            Report::HandedOver { attempt, by: Means::Refer, status } => {
                let asked = of(*attempt).ok_or("a call is handed over without a REFER")?;
                check(asked.accepted == Some(true), || {
                    String::from("a call is handed over that the carrier did not take")
                })?;
                let (seen, outcome) = (&mut telling.seen, asked.outcome);
                match status {
                    Some(_) => seen.known += 1,
                    None => seen.unknown += 1,
                }
                // Whoever hung up first does not hear of it any more.
                let is_told = outcome == *status || (status.is_none() && asked.left);
                let is_success = status.is_none_or(|status| (200..300).contains(&status));
                check(is_told && is_success, || {
                    format!("the outcome is said to be {status:?}, the carrier said {outcome:?}")
                })
            }
            Report::AttemptFailed { attempt, status: Some(status), .. } => {
                let accepted = of(*attempt).filter(|asked| asked.accepted == Some(true));
                let Some(asked) = accepted else { return Ok(()) };
                let outcome = asked.outcome;
                telling.seen.failed += 1;
                check(outcome == Some(*status), || {
                    format!("the target is said to have refused with {status}, not {outcome:?}")
                })
            }
            Report::AttemptStarted { .. } => {
                let may_have = |asked: &&Asked| {
                    asked.accepted == Some(true) && asked.outcome.is_none_or(|it| it < 300)
                };
                check(asked.filter(may_have).is_none(), || {
                    String::from("a target is tried while the carrier may have the call")
                })
            }
            _ => Ok(()),
        }
    }

    /// R7: who takes the REFER is not called by us too.
    pub(super) fn may_bridge(&self, attempt: AttemptNumber) -> Verdict {
        let asked = self.telling.asked.as_ref().filter(|asked| asked.attempt == attempt);
        let beside = |at| self.route.place(at).is_some_and(|place| place.is_beside);
        let by_302 = |place: &&Place| matches!(place.by, By::Redirect { .. });
        let is_302 = self.route.place(attempt).filter(by_302).is_some();
        // Those that ring side by side are called by us.
        let is_alone = !beside(attempt) && !beside(attempt + 1);
        check(!is_302 || !is_alone || self.telling.taken, || {
            String::from("called by us, not by 302")
        })?;
        check(asked.is_none_or(|asked| asked.accepted != Some(true)), || {
            String::from("called by us although the carrier took the REFER")
        })
    }

    /// R7: a refused REFER leads to our own INVITE, or the attempt is over.
    pub(super) fn is_bridged(&self, attempt: AttemptNumber) -> Verdict {
        let is_called = self.legs.iter().skip(1).any(|leg| leg.attempt == attempt);
        let is_over = self.attempts.get(&attempt).is_some_and(|it| it.ended);
        check(is_called || is_over, || String::from("a refused REFER is not bridged"))
    }

    /// R1: a 302 names what it is to name, best first, once that is on disk.
    pub(super) fn moves_caller(&self, message: &Glance, now: Mono) -> Verdict {
        let Some((attempt, at)) = self.telling.by_302 else { return Ok(()) };
        check(self.durable || now.since(at) + SLACK >= self.answer_wait, || {
            String::from("302 before it was durable")
        })?;
        let named: Vec<_> = message.contact_uris().collect();
        check(named == self.route.to_be_named(attempt), || {
            format!("302 names {} that it is not to name, or leaves some out", named.len())
        })
    }

    /// A caller who was answered by us is connected to its target, once that is on disk.
    pub(super) fn may_connect(&self, at: usize, message: &Glance, now: Mono) -> Verdict {
        if at != 0 || !self.telling.taken || message.serial().is_none() {
            return Ok(());
        }
        let answered_at = self.answered_at.ok_or("connected to a target that did not answer")?;
        check(self.durable || now.since(answered_at) + SLACK >= self.answer_wait, || {
            String::from("connected before the answer was durable")
        })
    }

    /// One who was taken is confirmed by taking what its target answered.
    pub(super) fn is_confirmed(&self) -> bool {
        let connects = |leg: &Leg| {
            let invites = leg.sent.iter().filter(|it| it.method == Method::Invite);
            let mut outcomes = invites.filter_map(|it| it.outcome);
            outcomes.any(|(status, _)| status < 300)
        };
        !self.telling.taken || connects(&self.legs[0])
    }

    pub(crate) fn seen(&self) -> Seen {
        self.telling.seen
    }

    fn current_attempt(&self) -> Option<AttemptNumber> {
        let open = self.attempts.iter().rev().find(|(_, it)| it.started && !it.ended);
        open.map(|(attempt, _)| *attempt)
    }

    fn caller_is_up(&self) -> bool {
        self.legs[0].is_open() && !self.telling.asked.as_ref().is_some_and(|it| it.left)
    }
}

impl Leg {
    /// It was answered, and nobody has hung up.
    pub(super) fn is_open(&self) -> bool {
        self.dialogs.values().any(|dialog| dialog.answered && !dialog.ended) && !self.forgotten
    }

    /// When we did.
    fn hung_up_at(&self) -> Option<Mono> {
        self.sent.iter().find(|it| it.method == Method::Bye).map(|it| it.at)
    }
}

/// A message without the places that the carrier is told to call.
pub(super) fn without_named(message: &Glance) -> Bytes {
    let moves = matches!(message.start, Start::Response { status: 302 });
    if message.refer_to.is_none() && !moves {
        return message.raw.clone();
    }
    let text = show(&message.raw);
    let is_named =
        |line: &&str| line.starts_with("Refer-To:") || (moves && line.starts_with("Contact:"));
    let lines: Vec<_> = text.split("\r\n").filter(|line| !is_named(line)).collect();
    Bytes::from(lines.join("\r\n"))
}

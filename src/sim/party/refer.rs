//! What a caller's carrier does about a REFER (RFC 3515): it says whether it will, tells how far it
//! has come, and hangs up, in whatever order its habits have.

use std::rc::Rc;

use super::{Act, Awaits, Deed, Party};
use crate::sim::moves::{Notify, Referral};
use crate::sim::text::Glance;
use crate::sip::message::Method;
use crate::time::Mono;

impl Party {
    pub(super) fn hear_refer(&self, refer: &Rc<Glance>, out: &mut Vec<Act>) {
        let Referral { answers, notifies, bye, .. } = &self.habits.referral;
        let answer = |(at, status): &(_, u16)| Act::Later(*at, Deed::Reply(refer.clone(), *status));
        out.extend(answers.iter().map(answer));
        out.extend(notifies.iter().map(|(at, notify)| Act::Later(*at, Deed::Notify(*notify))));
        out.extend(bye.map(|at| Act::Later(at, Deed::HangUp)));
    }

    /// Also after the other side's BYE: the subscription outlives the call (RFC 6665 §4.4).
    pub(super) fn notify(&mut self, notify: Notify, now: Mono, out: &mut Vec<Act>) {
        let Notify { status, over, event } = notify;
        self.cseq += 1;
        let branch = self.new_branch();
        let state = if over { "terminated;reason=noresource" } else { "active;expires=60" };
        let more = format!("Event: {event}\r\nSubscription-State: {state}\r\n");
        let fragment = |status: u16| format!("SIP/2.0 {status} Whatever\r\n");
        let body = status.map(fragment).unwrap_or_default();
        let message = self.request_with(Method::Notify, self.cseq, &branch, &[], &more, &body);
        out.push(Act::Send(message.clone()));
        let awaits = Awaits::Response { cseq: self.cseq, method: Method::Notify };
        self.keep(awaits, message, now, out);
    }
}

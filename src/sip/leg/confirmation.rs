//! Our 200 to an INVITE until its ACK: the UAS core repeats it, because the transaction does not
//! (RFC 3261 §13.3.1.4), and holds back a BYE until it may be sent (§15).

use std::time::Duration;

use bytes::Bytes;

use crate::sip::call::report::ReasonValue;
use crate::sip::flow::Flow;
use crate::sip::transaction::Timers;
use crate::time::Mono;

#[derive(Clone, Debug, PartialEq)]
pub struct Confirmation {
    /// The number of the INVITE, which its ACK repeats.
    pub cseq: u32,
    /// The response and where it goes.
    pub ok: Bytes,
    pub flow: Flow,
    /// The call is over: send a BYE as soon as the ACK is here, or has not come in time.
    pub hang_up: Option<ReasonValue>,
    resend_at: Mono,
    interval: Duration,
    give_up_at: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    Resend,
    GiveUp,
}

impl Confirmation {
    /// The 200 has just been sent. It is repeated on reliable transports too: the peer may be
    /// behind an unreliable hop.
    pub fn new(cseq: u32, ok: Bytes, flow: Flow, timers: Timers, now: Mono) -> Self {
        Self {
            cseq,
            ok,
            flow,
            hang_up: None,
            resend_at: now + timers.t1(),
            interval: timers.t1(),
            give_up_at: now + timers.patience(),
        }
    }

    pub fn deadline(&self) -> Mono {
        self.resend_at.min(self.give_up_at)
    }

    pub fn handle_timeout(&mut self, timers: Timers, now: Mono) -> Option<Overdue> {
        if now >= self.give_up_at {
            return Some(Overdue::GiveUp);
        }
        if now < self.resend_at {
            return None;
        }
        self.interval = (self.interval * 2).min(timers.t2());
        self.resend_at = now + self.interval;
        Some(Overdue::Resend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::flow::ListenerId;

    #[test]
    fn a_200_is_repeated_ten_times_in_32_seconds() {
        let flow = Flow::udp(ListenerId(0), "192.0.2.1:5060".parse().unwrap());
        let timers = Timers::default();
        let mut confirmation = Confirmation::new(1, Bytes::new(), flow, timers, Mono(0));

        let mut seen = vec![];
        loop {
            let now = confirmation.deadline();
            match confirmation.handle_timeout(timers, now) {
                Some(Overdue::Resend) => seen.push(now.0 / 1_000_000),
                Some(Overdue::GiveUp) => break seen.push(now.0 / 1_000_000),
                None => panic!("the deadline was not one"),
            }
        }

        assert_eq!(seen, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000]);
    }
}

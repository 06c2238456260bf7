//! Peers that are nearer or farther than most have timers of their own (spec/sip X1). A flow names
//! them by a number, so that whatever is sent on it, and whatever comes on it, waits as agreed.

use crate::sip::flow::{Flow, Pace};
use crate::sip::leg::policy::PeerTimers;
use crate::sip::transaction::Timers;

pub(super) struct Paces {
    /// Those of the process, then those of peers.
    timers: Vec<Timers>,
}

impl Paces {
    pub(super) fn new(own: Timers) -> Self {
        Self { timers: vec![own] }
    }

    /// The number of what was agreed. There are no more of them than a flow can name: beyond, the
    /// process's own are used.
    pub(super) fn of(&mut self, agreed: Option<PeerTimers>) -> Pace {
        let Some(agreed) = agreed else { return Pace::default() };
        let wanted = agreed.over(self.timers[0]);
        let known = self.timers.iter().position(|timers| *timers == wanted);
        let Ok(number) = u8::try_from(known.unwrap_or(self.timers.len())) else {
            return Pace::default();
        };
        if known.is_none() {
            self.timers.push(wanted);
        }
        Pace(number)
    }

    pub(super) fn timers_for(&self, flow: Flow) -> Timers {
        let timers = self.timers.get(usize::from(flow.pace.0)).unwrap_or(&self.timers[0]);
        Timers { reliable: flow.transport.is_reliable(), ..*timers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_alike_has_one_number_and_there_are_only_so_many() {
        let mut paces = Paces::new(Timers::default());
        let t1 = |t1_ms| Some(PeerTimers { t1_ms: Some(t1_ms), ..PeerTimers::default() });

        assert_eq!((paces.of(None), paces.of(t1(500))), (Pace(0), Pace(0)));
        assert_eq!(
            (paces.of(t1(100)), paces.of(t1(200)), paces.of(t1(100))),
            (Pace(1), Pace(2), Pace(1))
        );
        let last = (1_000..2_000).map(|ms| paces.of(t1(ms))).max();
        assert_eq!((last, paces.of(t1(2_000))), (Some(Pace(255)), Pace(0)));
    }
}

//! Calls that wait for somebody's word before they are decided: for their sessions, where servers share
//! them; then for what scorers say, and for room in caps that count calls as they come, where other
//! servers take theirs.

use std::time::Duration;

use crate::cdr::fact;
use crate::cdr::journal::Durability;
use crate::id::{CallId, HoldId};
use crate::reason::Reason;
use crate::routing::RouteRequest;
use crate::routing::hold::{BucketRequest, NoRoom};
use crate::routing::selection::ScoreReading;
use crate::server::deciding::OfferedRoom;
use crate::server::sessions::Looked;
use crate::sip::call::plan::Refusal;
use crate::sip::endpoint::{Admission, CallKey};
use crate::time::Mono;

use super::looking::{First, Found, Sought};
use super::{Admitted, Bridge, Decision, Stamp};

/// A call that is not decided yet.
pub(super) struct Undecided {
    admission: Admission,
    admitted: Stamp,
    told_at: Option<Mono>,
    stage: Stage,
}

enum Stage {
    /// Its sessions are looked for. `is_written`: that it came is in the journal.
    Looking { sought: Sought, is_written: bool, until: Mono },
    /// Others are asked what they have to say.
    Asking { request: Box<RouteRequest>, looked: Option<Looked>, words: Words },
}

/// What is asked about a call, and what was said so far.
struct Words {
    scores: Vec<ScoreReading>,
    /// Present: some have yet to say something.
    scorers: Option<Scorers>,
    room: Option<Room>,
}

/// Who has been asked for scores.
struct Scorers {
    silent: usize,
    until: Mono,
}

/// Present in a call that asked for some.
enum Room {
    Asked { hold: HoldId, requests: Vec<BucketRequest>, until: Mono },
    Told(OfferedRoom),
}

impl Words {
    /// The next instant at which somebody's time to answer is over; `None`: nobody has yet to.
    fn until(&self) -> Option<Mono> {
        let scorers = self.scorers.as_ref().map(|it| it.until);
        let room = match &self.room {
            Some(Room::Asked { until, .. }) => Some(*until),
            Some(Room::Told(_)) | None => None,
        };
        scorers.into_iter().chain(room).min()
    }

    /// A scorer has answered, with nothing if it was late.
    fn scored(&mut self, scores: Vec<ScoreReading>) {
        self.scores.extend(scores);
        if let Some(scorers) = &mut self.scorers {
            scorers.silent = scorers.silent.saturating_sub(1);
        }
        self.scorers.take_if(|it| it.silent == 0);
    }

    /// Waits no more for those whose time is over.
    fn give_up(&mut self, now: Mono) {
        self.scorers.take_if(|it| it.until <= now);
        if let Some(Room::Asked { hold, requests, until }) = &mut self.room
            && *until <= now
        {
            let late = OfferedRoom::late(*hold, std::mem::take(requests));
            self.room = Some(Room::Told(late));
        }
    }
}

impl Bridge {
    /// Looks for the sessions of a call. Until when they may be found.
    pub(super) fn looks(
        &mut self,
        admission: &Admission,
        admitted: Stamp,
        sought: Sought,
        is_written: bool,
        told_at: Option<Mono>,
    ) -> Mono {
        let now = self.parts.clock.mono();
        let mut until = now;
        if let Some(sessions) = &self.sessions {
            until = sessions.look(admission, sought.clone(), now);
        }
        let stage = Stage::Looking { sought, is_written, until };
        let admission = admission.clone();
        let call = admission.call;
        self.undecided.insert(call, Box::new(Undecided { admission, admitted, told_at, stage }));
        until
    }

    /// The sessions of a call were found. What becomes of it; `None`: it was not waited for any more.
    pub fn found(&mut self, found: Found) -> Option<Admitted> {
        let Found { key, call, found } = found;
        let undecided = self.undecided.get(key).filter(|it| it.admission.id == call)?;
        match undecided.stage {
            Stage::Looking { is_written, .. } => {
                let Undecided { admission, admitted, told_at, .. } = *self.undecided.remove(key)?;
                Some(self.has_sessions(&admission, admitted, is_written, found, told_at))
            }
            Stage::Asking { .. } => None,
        }
    }

    fn has_sessions(
        &mut self,
        admission: &Admission,
        stamp: Stamp,
        is_written: bool,
        found: Result<(RouteRequest, Looked), Reason>,
        told_at: Option<Mono>,
    ) -> Admitted {
        let _span = tracing::debug_span!("call", call_id = %admission.id).entered();
        if !is_written {
            let trunk = self.trunk_name(admission.trunk).unwrap_or_default();
            let number = found.as_ref().ok().map(|(request, _)| request.dialed);
            self.append(super::admitted(admission, stamp, trunk, number), Durability::Buffered);
        }
        match found {
            Ok((mut request, looked)) => {
                looked.mark(&mut request.tags);
                self.goes_on(admission, stamp, request, Some(looked), told_at)
            }
            Err(reason) => Admitted::Decided((Err(Refusal::from(reason)), None)),
        }
    }

    /// Asks about a call whoever is to be asked, or decides it.
    pub(super) fn goes_on(
        &mut self,
        admission: &Admission,
        admitted: Stamp,
        request: RouteRequest,
        looked: Option<Looked>,
        told_at: Option<Mono>,
    ) -> Admitted {
        let now = self.parts.clock.mono();
        let scorers = self.ask_scorers_about(admission, &request, looked.as_ref(), now);
        let room = self.ask_for_room_for(admission, &request, looked.as_ref(), now);
        let words = Words { scores: vec![], scorers, room };
        let Some(until) = words.until() else {
            let looked = looked.as_ref();
            let outcome = self.decide(admission, admitted, &request, &[], None, looked);
            return Admitted::Decided((outcome, told_at));
        };
        let stage = Stage::Asking { request: Box::new(request), looked, words };
        let admission = admission.clone();
        let call = admission.call;
        self.undecided.insert(call, Box::new(Undecided { admission, admitted, told_at, stage }));
        Admitted::Asked(until)
    }

    fn ask_scorers_about(
        &self,
        admission: &Admission,
        request: &RouteRequest,
        looked: Option<&Looked>,
        now: Mono,
    ) -> Option<Scorers> {
        let scoring = self.scoring.as_ref()?;
        let questions = self.parts.deciding.questions(request, admission.at, looked);
        let deadline_ms = questions.iter().map(|question| question.scorer.deadline_ms).max()?;
        let until = now + Duration::from_millis(deadline_ms.into());
        let scorers = Scorers { silent: questions.len(), until };
        scoring.ask(admission.call, admission.id, questions).then_some(scorers)
    }

    fn ask_for_room_for(
        &self,
        admission: &Admission,
        request: &RouteRequest,
        looked: Option<&Looked>,
        now: Mono,
    ) -> Option<Room> {
        let rooms = self.rooms.as_ref()?;
        let (hold, requests) = self.parts.deciding.offered(request, admission.at, looked)?;
        rooms.ask(admission.call, hold, requests.clone());
        let until = now + rooms.within;
        Some(Room::Asked { hold, requests, until })
    }

    /// A scorer has answered, with nothing if it was late. What was decided; `None`: others have yet
    /// to, it was decided before, or the call is gone.
    pub fn scored(
        &mut self,
        key: CallKey,
        call: CallId,
        scores: Vec<ScoreReading>,
    ) -> Option<Decision> {
        let undecided = self.undecided.get_mut(key).filter(|it| it.admission.id == call)?;
        match &mut undecided.stage {
            Stage::Looking { .. } => return None,
            Stage::Asking { words, .. } => words.scored(scores),
        }
        self.heard(key)
    }

    /// There is room for a call that came, or none. What was decided; `Ok(None)`: others have yet to say
    /// something.
    ///
    /// # Errors
    /// The outcome, if the call has not asked for that: it is decided, or gone.
    pub(super) fn room_for_call(
        &mut self,
        key: CallKey,
        hold: HoldId,
        outcome: Result<Vec<BucketRequest>, NoRoom>,
    ) -> Result<Option<Decision>, Result<Vec<BucketRequest>, NoRoom>> {
        let Some(undecided) = self.undecided.get_mut(key) else { return Err(outcome) };
        let Stage::Asking { words, .. } = &mut undecided.stage else { return Err(outcome) };
        let requests = match &mut words.room {
            Some(Room::Asked { hold: asked, requests, .. }) if *asked == hold => {
                std::mem::take(requests)
            }
            Some(Room::Asked { .. } | Room::Told(_)) | None => return Err(outcome),
        };
        words.room = Some(Room::Told(OfferedRoom { hold, requests, denied: outcome.err() }));
        Ok(self.heard(key))
    }

    /// The time of somebody who was asked is over. What becomes of the call; `None`: it was decided
    /// before, or it is gone.
    pub fn overdue(&mut self, key: CallKey, call: CallId, now: Mono) -> Option<Admitted> {
        let undecided = self.undecided.get_mut(key).filter(|it| it.admission.id == call)?;
        match &mut undecided.stage {
            Stage::Asking { words, .. } => {
                words.give_up(now);
                match words.until() {
                    Some(until) => Some(Admitted::Asked(until)),
                    None => self.heard(key).map(Admitted::Decided),
                }
            }
            Stage::Looking { until, .. } if now < *until => Some(Admitted::Asked(*until)),
            Stage::Looking { .. } => {
                let undecided = *self.undecided.remove(key)?;
                let Undecided { admission, admitted, told_at, stage } = undecided;
                let Stage::Looking { sought, is_written, .. } = stage else { return None };
                let found = self.sessions.as_ref()?.without(&admission, sought);
                Some(self.has_sessions(&admission, admitted, is_written, found, told_at))
            }
        }
    }

    /// A call was the first of its session.
    pub(in crate::server) fn first(&mut self, First { call, session }: First) {
        let now = self.parts.clock.mono();
        self.write(call, now, fact::SessionConsumed { session }, Durability::Buffered);
    }

    /// The call is gone: what it waited for is nobody's.
    pub(super) fn waits_no_more(&mut self, key: CallKey) {
        let room = self.undecided.remove(key).and_then(|it| match it.stage {
            Stage::Asking { words, .. } => words.room,
            Stage::Looking { .. } => None,
        });
        if let Some(Room::Told(OfferedRoom { hold, denied: None, .. })) = room {
            self.parts.deciding.release(hold);
        }
    }

    /// Somebody has said something, or will not any more. What was decided; `None`: others have yet to
    /// say something.
    fn heard(&mut self, key: CallKey) -> Option<Decision> {
        let is_heard = |it: &Undecided| match &it.stage {
            Stage::Asking { words, .. } => words.until().is_none(),
            Stage::Looking { .. } => false,
        };
        self.undecided.get(key).filter(|it| is_heard(it))?;
        let Undecided { admission, admitted, told_at, stage } = *self.undecided.remove(key)?;
        let Stage::Asking { request, looked, words } = stage else { return None };
        let Words { scores, room, .. } = words;
        let room = room.and_then(|room| match room {
            Room::Told(room) => Some(room),
            Room::Asked { .. } => None,
        });
        let _span = tracing::debug_span!("call", call_id = %admission.id).entered();
        let looked = looked.as_ref();
        let outcome = self.decide(&admission, admitted, &request, &scores, room.as_ref(), looked);
        Some((outcome, told_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORED_BY: Mono = Mono(50_000_000);
    const ROOM_BY: Mono = Mono(1_000_000_000);

    fn asked(scorers: usize) -> Words {
        let hold = HoldId::of(CallId::of_simulation(1, 1), 0, "room");
        Words {
            scores: vec![],
            scorers: Some(Scorers { silent: scorers, until: SCORED_BY }),
            room: Some(Room::Asked { hold, requests: vec![], until: ROOM_BY }),
        }
    }

    #[test]
    fn scorers_have_their_time_and_no_more_while_room_is_asked_for() {
        let mut words = asked(2);
        words.scored(vec![]);
        assert_eq!(words.until(), Some(SCORED_BY), "one is silent");
        words.give_up(SCORED_BY);
        assert_eq!(words.until(), Some(ROOM_BY));
        words.give_up(ROOM_BY);
        assert_eq!(words.until(), None);
        let late = matches!(&words.room, Some(Room::Told(room)) if room.denied.is_some());
        assert!(late, "nobody has said that there is room");
    }

    #[test]
    fn a_call_whose_room_is_known_waits_for_its_scorers_alone() {
        let mut words = asked(1);
        let hold = HoldId::of(CallId::of_simulation(1, 1), 0, "room");
        words.room = Some(Room::Told(OfferedRoom { hold, requests: vec![], denied: None }));
        assert_eq!(words.until(), Some(SCORED_BY));
        words.scored(vec![]);
        assert_eq!(words.until(), None);
        words.scored(vec![]);
        words.give_up(ROOM_BY);
        let given = matches!(&words.room, Some(Room::Told(room)) if room.denied.is_none());
        assert!(given, "room that was given stays given");
    }
}

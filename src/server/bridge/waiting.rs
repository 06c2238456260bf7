//! Calls that wait for somebody's word before they are decided: for what scorers say, and for room in
//! caps that count calls as they come, where other servers take theirs.

use std::time::Duration;

use crate::id::{CallId, HoldId};
use crate::routing::RouteRequest;
use crate::routing::hold::{BucketRequest, NoRoom};
use crate::routing::selection::ScoreReading;
use crate::server::deciding::OfferedRoom;
use crate::sip::endpoint::{Admission, CallKey};
use crate::time::Mono;

use super::{Admitted, Bridge, Decision, Stamp};

/// A call that is not decided yet.
pub(super) struct Undecided {
    admission: Admission,
    admitted: Stamp,
    request: RouteRequest,
    told_at: Option<Mono>,
    words: Words,
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
    /// Asks about a call whoever is to be asked. Until when the first of them may answer; `None`: nobody
    /// is asked.
    pub(super) fn waits(
        &mut self,
        admission: &Admission,
        admitted: Stamp,
        request: &RouteRequest,
        told_at: Option<Mono>,
    ) -> Option<Mono> {
        let now = self.parts.clock.mono();
        let scorers = self.ask_scorers_about(admission, request, now);
        let room = self.ask_for_room_for(admission, request, now);
        if scorers.is_none() && room.is_none() {
            return None;
        }
        let (admission, request) = (admission.clone(), request.clone());
        let (call, words) = (admission.call, Words { scores: vec![], scorers, room });
        let until = words.until();
        let undecided = Undecided { admission, admitted, request, told_at, words };
        self.undecided.insert(call, Box::new(undecided));
        until
    }

    fn ask_scorers_about(
        &self,
        admission: &Admission,
        request: &RouteRequest,
        now: Mono,
    ) -> Option<Scorers> {
        let scoring = self.scoring.as_ref()?;
        let questions = self.parts.deciding.questions(request, admission.at);
        let deadline_ms = questions.iter().map(|question| question.scorer.deadline_ms).max()?;
        let until = now + Duration::from_millis(deadline_ms.into());
        let scorers = Scorers { silent: questions.len(), until };
        scoring.ask(admission.call, admission.id, questions).then_some(scorers)
    }

    fn ask_for_room_for(
        &self,
        admission: &Admission,
        request: &RouteRequest,
        now: Mono,
    ) -> Option<Room> {
        let rooms = self.rooms.as_ref()?;
        let (hold, requests) = self.parts.deciding.offered(request, admission.at)?;
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
        undecided.words.scored(scores);
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
        let requests = match &mut undecided.words.room {
            Some(Room::Asked { hold: asked, requests, .. }) if *asked == hold => {
                std::mem::take(requests)
            }
            Some(Room::Asked { .. } | Room::Told(_)) | None => return Err(outcome),
        };
        undecided.words.room =
            Some(Room::Told(OfferedRoom { hold, requests, denied: outcome.err() }));
        Ok(self.heard(key))
    }

    /// The time of somebody who was asked is over. What was decided, or until when others may answer;
    /// `None`: it was decided before, or the call is gone.
    pub fn overdue(&mut self, key: CallKey, call: CallId, now: Mono) -> Option<Admitted> {
        let undecided = self.undecided.get_mut(key).filter(|it| it.admission.id == call)?;
        undecided.words.give_up(now);
        match undecided.words.until() {
            Some(until) => Some(Admitted::Asked(until)),
            None => self.heard(key).map(Admitted::Decided),
        }
    }

    /// The call is gone: what it waited for is nobody's.
    pub(super) fn waits_no_more(&mut self, key: CallKey) {
        let room = self.undecided.remove(key).and_then(|it| it.words.room);
        if let Some(Room::Told(OfferedRoom { hold, denied: None, .. })) = room {
            self.parts.deciding.release(hold);
        }
    }

    /// Somebody has said something, or will not any more. What was decided; `None`: others have yet to
    /// say something.
    fn heard(&mut self, key: CallKey) -> Option<Decision> {
        self.undecided.get(key).filter(|it| it.words.until().is_none())?;
        let undecided = *self.undecided.remove(key)?;
        let Undecided { admission, admitted, request, told_at, words } = undecided;
        let Words { scores, room, .. } = words;
        let room = room.and_then(|room| match room {
            Room::Told(room) => Some(room),
            Room::Asked { .. } => None,
        });
        let _span = tracing::debug_span!("call", call_id = %admission.id).entered();
        let outcome = self.decide(&admission, admitted, &request, &scores, room.as_ref());
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

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

use super::{Bridge, Decision, Stamp};

/// A call is decided without its room, and refused, if nobody says by then whether there is any; later
/// only where the store may take longer to be asked.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// A call that is not decided yet.
pub(super) struct Undecided {
    admission: Admission,
    admitted: Stamp,
    request: RouteRequest,
    told_at: Option<Mono>,
    /// What was said so far.
    scores: Vec<ScoreReading>,
    room: Option<Room>,
    /// How many have yet to say something.
    awaited: usize,
}

/// Present in a call that asked for some.
enum Room {
    Asked(HoldId, Vec<BucketRequest>),
    Told(OfferedRoom),
}

impl Bridge {
    /// Asks about a call whoever is to be asked. Until when they may answer; `None`: nobody is asked.
    pub(super) fn waits(
        &mut self,
        admission: &Admission,
        admitted: Stamp,
        request: &RouteRequest,
        told_at: Option<Mono>,
    ) -> Option<Mono> {
        let (now, mut until, mut awaited) = (self.parts.clock.mono(), None, 0);
        if let Some(scoring) = &self.scoring {
            let questions = self.parts.deciding.questions(request, admission.at);
            let deadline_ms = questions.iter().map(|question| question.scorer.deadline_ms).max();
            let asked = questions.len();
            if let Some(deadline_ms) = deadline_ms
                && scoring.ask(admission.call, admission.id, questions)
            {
                until = Some(now + Duration::from_millis(deadline_ms.into()));
                awaited = asked;
            }
        }
        let mut room = None;
        if let Some(rooms) = &self.rooms
            && let Some((hold, requests)) = self.parts.deciding.offered(request, admission.at)
        {
            rooms.ask(admission.call, hold, requests.clone());
            until = until.max(Some(now + rooms.shared.answers_within().max(ROOM_WITHIN)));
            awaited += 1;
            room = Some(Room::Asked(hold, requests));
        }
        let until = until?;
        let (admission, request) = (admission.clone(), request.clone());
        let call = admission.call;
        let scores = vec![];
        let undecided = Undecided { admission, admitted, request, told_at, scores, room, awaited };
        self.undecided.insert(call, Box::new(undecided));
        Some(until)
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
        undecided.scores.extend(scores);
        self.heard(key, call)
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
        let requests = match &mut undecided.room {
            Some(Room::Asked(asked, requests)) if *asked == hold => std::mem::take(requests),
            Some(Room::Asked(..) | Room::Told(_)) | None => return Err(outcome),
        };
        undecided.room = Some(Room::Told(OfferedRoom { hold, requests, denied: outcome.err() }));
        let call = undecided.admission.id;
        Ok(self.heard(key, call))
    }

    /// The time of all who were asked is over. What was decided; `None`: it was before, or the call is
    /// gone.
    pub fn overdue(&mut self, key: CallKey, call: CallId) -> Option<Decision> {
        self.undecided.get(key).filter(|it| it.admission.id == call)?;
        let undecided = *self.undecided.remove(key)?;
        let Undecided { admission, admitted, request, told_at, scores, room, .. } = undecided;
        let room = room.map(|room| match room {
            Room::Told(room) => room,
            Room::Asked(hold, requests) => OfferedRoom::late(hold, requests),
        });
        let _span = tracing::debug_span!("call", call_id = %call).entered();
        let outcome = self.decide(&admission, admitted, &request, &scores, room.as_ref());
        Some((outcome, told_at))
    }

    /// The call is gone: what it waited for is nobody's.
    pub(super) fn waits_no_more(&mut self, key: CallKey) {
        let room = self.undecided.remove(key).and_then(|it| it.room);
        if let Some(Room::Told(OfferedRoom { hold, denied: None, .. })) = room {
            self.parts.deciding.release(hold);
        }
    }

    /// One of those who were asked has said something.
    fn heard(&mut self, key: CallKey, call: CallId) -> Option<Decision> {
        let undecided = self.undecided.get_mut(key)?;
        undecided.awaited = undecided.awaited.saturating_sub(1);
        if undecided.awaited > 0 { None } else { self.overdue(key, call) }
    }
}

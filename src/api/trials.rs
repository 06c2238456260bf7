//! Pings that are only thought of.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::{Code, Problem};
use super::explain::Explanation;
use super::pings::status_name;
use super::router::Api;
use super::{Foretold, Sent, Trial, TrialCall};
use crate::id::{CampaignId, PingId, PublisherId};
use crate::money::Money;
use crate::reason::Reason;
use crate::routing::Tags;

/// What would have come of a ping that is a trial. Nothing was opened, lent or counted for it, and it is
/// not remembered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrialAnswer {
    /// Always true.
    #[schema(example = true)]
    test: bool,
    /// The HTTP status that it would have had.
    #[schema(example = 202)]
    status: u16,
    /// Why it would have been refused; null: it would have been taken. What depends on how much comes to the
    /// server at the moment is not foretold.
    problem: Option<Problem>,
    /// When it could have been sent again, seconds.
    #[schema(example = json!(null))]
    retry_after_s: Option<u32>,
    /// It would have been known again by its key, and answered with this ping's session.
    #[schema(value_type = Option<String>, example = json!(null))]
    replays: Option<PingId>,
    /// What would have been said of a number: as `number_status` of a ping. Null: it would have been
    /// refused.
    #[schema(value_type = Option<String>, example = "leased")]
    number_status: Option<&'static str>,
    /// Fields that are not known here, as in the answer to a ping.
    #[schema(example = json!([]))]
    not_known: Vec<String>,
    /// The call that it announces, as if it came now to the session's own address. Null: the ping names
    /// what is not there.
    call: Option<TrialCallAnswer>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TrialCallAnswer {
    #[schema(value_type = String, example = "cmp_hvac")]
    campaign: CampaignId,
    #[schema(value_type = String, example = "pub_brightpath")]
    publisher: PublisherId,
    /// What the ping says of the caller, in the form that it is kept in.
    #[schema(value_type = Object, example = json!({"geo.state": "OH"}))]
    tags: Tags,
    #[schema(example = "2026-03-17T15:34:12.318Z")]
    expires_at: String,
    /// What its publisher would be paid.
    #[schema(value_type = String, example = "33.20")]
    payout: Money,
    /// Seconds after the answer at which that would be due. Null: nothing would be.
    #[schema(example = 90)]
    payout_seconds: Option<u32>,
    /// Why nothing would be paid, as a reason code.
    #[schema(value_type = Option<String>, example = json!(null))]
    no_payout: Option<&'static str>,
    /// What would be decided, with every check. For operators alone; null: a publisher asks, or the campaign
    /// has no number.
    decision: Option<Explanation>,
}

impl Api {
    /// What would come of a ping.
    pub(super) async fn tried(
        &self,
        sent: Sent,
        not_known: Vec<String>,
        caller: &Caller,
    ) -> Result<TrialAnswer, Problem> {
        let Trial { answer, thought, snapshot } = self.services.pings.try_out(sent)?;
        let explains = *caller == Caller::Operator;
        // What would have been takes many decisions.
        let call = tokio::task::spawn_blocking(move || {
            thought.map(|TrialCall { session, decision, offer }| TrialCallAnswer {
                expires_at: session.expires_at.to_rfc3339(),
                campaign: session.campaign,
                publisher: session.publisher,
                tags: session.tags,
                payout: offer.map_or(Money::ZERO, |offer| offer.payout),
                payout_seconds: offer.ok().map(|offer| offer.payout_seconds),
                no_payout: offer.err().map(Reason::code),
                decision: decision
                    .filter(|_| explains)
                    .map(|decision| Explanation::new(decision, None, Some(&snapshot))),
            })
        });
        let call = call.await.map_err(|_| Code::InternalError)?;
        Ok(TrialAnswer::new(answer.map_err(Problem::from), not_known, call))
    }
}

impl TrialAnswer {
    fn new(
        answer: Result<Foretold, Problem>,
        not_known: Vec<String>,
        call: Option<TrialCallAnswer>,
    ) -> Self {
        let taken = Self {
            test: true,
            status: StatusCode::ACCEPTED.as_u16(),
            problem: None,
            retry_after_s: None,
            replays: None,
            number_status: None,
            not_known,
            call,
        };
        match answer {
            Ok(Foretold::Opened(status)) => {
                Self { number_status: Some(status_name(status)), ..taken }
            }
            Ok(Foretold::Replayed(accepted)) => Self {
                number_status: Some(status_name(accepted.number_status)),
                replays: Some(accepted.ping),
                ..taken
            },
            Err(problem) => Self {
                status: problem.status(),
                retry_after_s: problem.retries_after_s(),
                problem: Some(problem),
                ..taken
            },
        }
    }

    /// As the answer to one whose fields are parameters, which would have been answered with `taken`.
    pub(super) fn of_query(self, taken: StatusCode) -> Self {
        let status = if self.problem.is_none() { taken.as_u16() } else { self.status };
        Self { status, problem: self.problem.map(Problem::of_query), ..self }
    }
}

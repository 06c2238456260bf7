//! Facts that a consumer of the journal failed at: what there are, and what becomes of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::auth::KeyId;
use super::error::{Code, Place, Problem};
use super::openapi::faults;
use super::page::next_link;
use super::query::{Parameters, instant, malformed, one_of, parameter};
use super::request::{Id, JsonBody};
use super::router::Api;
use crate::cdr::consumer::letter::{Letter, LetterFilter, LetterState, Word};
use crate::cdr::journal::Lsn;
use crate::cdr::store::PAGE_MAX;
use crate::id::CallId;
use crate::time::Wall;

const PAGE_DEFAULT: usize = 50;

/// Longest reason for giving something up.
const REASON_CHARS_MAX: usize = 500;

const STATES: [(&str, LetterState); 4] = [
    ("retrying", LetterState::Retrying),
    ("dead", LetterState::Dead),
    ("done", LetterState::Done),
    ("discarded", LetterState::Discarded),
];

/// A page of dead letters, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterPage {
    dead_letters: Vec<DeadLetter>,
    /// Send it as `cursor`, with the same filters, for the page after this one, which may be empty.
    /// Null: this is the last page.
    #[schema(example = json!(null))]
    next: Option<String>,
}

/// A fact that a consumer failed at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    #[schema(example = 17)]
    id: u64,
    /// Who failed at it.
    #[schema(value_type = String, example = "rollups")]
    consumer: SmolStr,
    /// `retrying`: it is tried again by itself, eight times in all; `dead`: it waits for somebody to say
    /// what to do; `done`: it has had its effects; `discarded`: somebody gave it up.
    #[schema(value_type = String, example = "dead")]
    state: LetterState,
    fact: FailedFact,
    /// Since it failed first, or since somebody had it tried again.
    #[schema(example = 8)]
    tries: u32,
    /// What kind of error the last one was, for programs.
    #[schema(value_type = String, example = "record_damaged")]
    class: SmolStr,
    /// The last error, for people.
    #[schema(example = "record_damaged: row `0195…` of table cdr is damaged: not CBOR")]
    error: String,
    #[schema(example = "2026-03-17T15:04:12.318Z")]
    first_at: String,
    #[schema(example = "2026-03-17T15:13:40.102Z")]
    last_at: String,
    /// When it is tried again by itself.
    #[schema(example = json!(null))]
    next_at: Option<String>,
    /// What somebody said should become of it.
    word: Option<LetterWord>,
}

/// A fact as the journal has it.
#[derive(Debug, Serialize, ToSchema)]
struct FailedFact {
    /// Where it stands in the journal.
    #[schema(value_type = Object, example = json!({"epoch": 3, "seq": 4711}))]
    lsn: Lsn,
    /// Null: it cannot be read.
    #[schema(example = "call.ended")]
    kind: Option<&'static str>,
    #[schema(value_type = Option<String>, example = "cal_01954f2e7d1e70008000000000000001")]
    call_id: Option<CallId>,
    #[schema(example = "2026-03-17T15:04:11.902Z")]
    at: Option<String>,
    /// All of it, for people; only where one letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Ended(Ended { party: Caller, reason: CallerHungUp, status: 200, … })")]
    contents: Option<String>,
}

/// What somebody said should become of a dead letter.
#[derive(Debug, Serialize, ToSchema)]
struct LetterWord {
    /// The id of the API key.
    #[schema(value_type = String, example = "ops")]
    by: SmolStr,
    #[schema(example = "2026-03-17T16:20:00.000Z")]
    at: String,
    /// Of one that was given up.
    #[schema(example = "the call was billed by hand")]
    reason: Option<String>,
}

impl DeadLetter {
    fn new(letter: Letter, with_contents: bool) -> Self {
        let fact = letter.fact.open().ok();
        Self {
            id: letter.id,
            consumer: letter.consumer,
            state: letter.state,
            fact: FailedFact {
                lsn: letter.lsn,
                kind: fact.as_ref().map(|fact| fact.body.name()),
                call_id: fact.as_ref().and_then(|fact| fact.call),
                at: fact.as_ref().map(|fact| fact.at.wall().to_rfc3339()),
                contents: fact.filter(|_| with_contents).map(|fact| format!("{:?}", fact.body)),
            },
            tries: letter.tries,
            class: letter.class,
            error: letter.error,
            first_at: letter.first_at.to_rfc3339(),
            last_at: letter.last_at.to_rfc3339(),
            next_at: letter.next_at.map(Wall::to_rfc3339),
            word: letter.word.map(|word| LetterWord {
                by: word.by,
                at: word.at.to_rfc3339(),
                reason: word.reason,
            }),
        }
    }
}

faults!(
    ListFaults: QueryUnknown, QueryRepeated, QueryMalformed, CursorInvalid, StoreUnavailable,
    StoreDamaged
);

/// List dead letters, newest first
///
/// What consumers of the journal's facts failed at: rollups and whoever else works from facts behind the
/// call records. Each fact is listed once for each consumer that failed at it.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "list_dead_letters",
    tag = "consumers",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of dead letters", body = DeadLetterPage,
            headers(("Link" = String, description = "`rel=\"next\"`: the page after this one"))),
        ListFaults,
    ),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    uri: Uri,
) -> Result<(HeaderMap, Json<DeadLetterPage>), Problem> {
    let query = ListQuery::read(&uri, &api)?;
    let (filter, before, limit) = (query.filter, query.before, query.limit);
    let letters = api.services.letters.list_letters(filter, before, limit).await?;
    let last = letters.last().filter(|_| letters.len() == limit).map(|letter| letter.id);
    let next = last.map(|last| api.cursors.seal(&query.list, sealed(last)));
    let dead_letters = letters.into_iter().map(|it| DeadLetter::new(it, false)).collect();
    Ok((next_link(&uri, next.as_deref()), Json(DeadLetterPage { dead_letters, next })))
}

faults!(ShowFaults: PathMalformed, LetterNotFound, StoreUnavailable, StoreDamaged);

/// Show a dead letter with all of its fact
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    operation_id = "show_dead_letter",
    tag = "consumers",
    params(("id" = u64, Path, description = "Id of the dead letter", example = 17)),
    responses((status = 200, description = "The dead letter", body = DeadLetter), ShowFaults),
)]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Id(id): Id<u64>,
) -> Result<Json<DeadLetter>, Problem> {
    let letter = api.services.letters.find_letter(id).await?.ok_or(Code::LetterNotFound)?;
    Ok(Json(DeadLetter::new(letter, true)))
}

/// Which dead letters are meant; at least one of these has to be there.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Meant {
    /// Ids from here…
    #[schema(example = 17)]
    first: Option<u64>,
    /// …to here, both among them.
    #[schema(example = 17)]
    last: Option<u64>,
    #[schema(value_type = Option<String>, example = "rollups")]
    consumer: Option<SmolStr>,
    #[schema(value_type = Option<String>, example = "record_damaged")]
    class: Option<SmolStr>,
}

/// Which dead letters are given up, and why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Discarded {
    /// Ids from here…
    #[schema(example = 17)]
    first: Option<u64>,
    /// …to here, both among them.
    #[schema(example = 17)]
    last: Option<u64>,
    #[schema(value_type = Option<String>, example = "rollups")]
    consumer: Option<SmolStr>,
    #[schema(value_type = Option<String>, example = "record_damaged")]
    class: Option<SmolStr>,
    /// For those who look later; 1 to 500 characters.
    #[schema(example = "the call was billed by hand")]
    reason: String,
}

/// How many dead letters were meant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LettersAnswer {
    #[schema(example = 1)]
    count: u64,
}

faults!(
    ReplayFaults: BodySyntax, BodyMistyped, BodyIncomplete, BodySlow, BodyTooLarge, BodyMediaType, BodyEncoding,
    LettersUnmeant, StoreUnavailable, StoreDamaged
);

/// Try dead letters again
///
/// One, a range, or all of a consumer or of a class of error. Each is tried at once, and eight times if it
/// has to be; what is done already stays done.
#[utoipa::path(
    post,
    path = "/v1/dead-letters:replay",
    operation_id = "replay_dead_letters",
    tag = "consumers",
    request_body(content = Meant, description = "At most 65536 bytes"),
    responses((status = 200, description = "They are tried again", body = LettersAnswer), ReplayFaults),
)]
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    axum::Extension(who): axum::Extension<KeyId>,
    JsonBody(meant): JsonBody<Meant>,
) -> Result<Json<LettersAnswer>, Problem> {
    let Meant { first, last, consumer, class } = meant;
    let filter = filter_of(first, last, consumer, class)?;
    let now = api.services.routing.now();
    let count = api.services.letters.replay_letters(filter, who.0.clone(), now).await?;
    tracing::info!(key_id = %who.0, count, "an operator has dead letters tried again");
    Ok(Json(LettersAnswer { count }))
}

/// Give dead letters up
///
/// They are kept for a year, with who gave them up, when, and why.
#[utoipa::path(
    post,
    path = "/v1/dead-letters:discard",
    operation_id = "discard_dead_letters",
    tag = "consumers",
    request_body(content = Discarded, description = "At most 65536 bytes"),
    responses((status = 200, description = "They are given up", body = LettersAnswer), ReplayFaults),
)]
pub(super) async fn discard(
    State(api): State<Arc<Api>>,
    axum::Extension(who): axum::Extension<KeyId>,
    JsonBody(discarded): JsonBody<Discarded>,
) -> Result<Json<LettersAnswer>, Problem> {
    let Discarded { first, last, consumer, class, reason } = discarded;
    let filter = filter_of(first, last, consumer, class)?;
    let chars = reason.trim().chars().count();
    if !(1..=REASON_CHARS_MAX).contains(&chars) {
        let place = Place::Body(String::from("/reason"));
        let detail = format!("has to have 1 to {REASON_CHARS_MAX} characters");
        return Err(Problem::at(Code::LettersUnmeant, place, "malformed", detail));
    }
    let at = api.services.routing.now();
    let word = Word { by: who.0.clone(), at, reason: Some(reason.trim().to_owned()) };
    let count = api.services.letters.discard_letters(filter, word).await?;
    tracing::info!(key_id = %who.0, count, reason, "an operator gives dead letters up");
    Ok(Json(LettersAnswer { count }))
}

/// All of them are never meant by leaving everything out.
fn filter_of(
    first: Option<u64>,
    last: Option<u64>,
    consumer: Option<SmolStr>,
    class: Option<SmolStr>,
) -> Result<LetterFilter, Problem> {
    let filter = LetterFilter { first, last, consumer, class, ..LetterFilter::default() };
    if filter == LetterFilter::default() {
        return Err(Code::LettersUnmeant.into());
    }
    if let (Some(first), Some(last)) = (first, last)
        && last < first
    {
        let place = Place::Body(String::from("/last"));
        return Err(Problem::at(Code::LettersUnmeant, place, "malformed", "is before `first`"));
    }
    Ok(filter)
}

/// An id as cursors hold it.
fn sealed(id: u64) -> CallId {
    CallId::from_bytes(u128::from(id).to_be_bytes())
}

/// What a list of dead letters is asked for.
pub(super) struct ListQuery {
    filter: LetterFilter,
    before: Option<u64>,
    limit: usize,
    /// What cursors of this list are bound to.
    list: String,
}

impl ListQuery {
    fn read(uri: &Uri, api: &Api) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let limit = given.take_with("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
            limit.ok_or_else(|| format!("must be 1 to {PAGE_MAX}"))
        })?;
        let cursor = given.take_with("cursor", |text| Ok(text.to_owned()))?;
        let list = format!("dead-letters {}", given.fingerprint());
        let filter = LetterFilter {
            consumer: given.take_name("consumer")?,
            state: given.take_with("state", |text| one_of(&STATES, text))?,
            class: given.take_name("class")?,
            call: given.take("call")?,
            since: given.take_with("since", instant)?,
            until: given.take_with("until", instant)?,
            ..LetterFilter::default()
        };
        given.finish()?;
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && until <= since
        {
            return Err(malformed("until", "must be after `since`"));
        }
        let last = cursor.map(|cursor| api.cursors.continued(&list, &cursor)).transpose()?;
        let before = last.map(|last| {
            let id = u128::from_be_bytes(*last.as_bytes());
            u64::try_from(id).unwrap_or(u64::MAX)
        });
        Ok(Self { filter, before, limit: limit.unwrap_or(PAGE_DEFAULT), list })
    }
}

impl utoipa::IntoParams for ListQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = |name: &str, example: &str, description: &str| {
            let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
            parameter(name, description, schema)
        };
        let states = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(STATES.map(|(name, _)| name)));
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(PAGE_MAX))
            .default(Some(PAGE_DEFAULT.into()));
        vec![
            parameter("limit", "Dead letters per page at most", limit),
            text(
                "cursor",
                "000000000000000000000000000000115d41402abc4b2a76b9719d911017c592",
                "`next` of the page before; the filters must be the same",
            ),
            text("consumer", "rollups", "Who failed"),
            parameter("state", "What became of it", states),
            text("class", "record_damaged", "What kind of error the last one was"),
            text("call", "cal_01954f2e7d1e70008000000000000001", "Id of the call the fact is of"),
            text("since", "2026-03-17T00:00:00Z", "Failed first at or after"),
            text("until", "2026-03-18T00:00:00Z", "Failed first before"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_states_are_those_of_the_letters() {
        assert_eq!(STATES.map(|(name, _)| name), LetterState::ALL.map(LetterState::name));
        for (name, state) in STATES {
            assert_eq!(serde_json::to_value(state).unwrap(), name);
        }
    }
}

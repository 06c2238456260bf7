//! What the API refuses with: RFC 9457 problem documents with stable codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::cdr::store::StoreError;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// When to ask again where nothing better is known.
pub(super) const RETRY_SOON_S: u32 = 1;

macro_rules! codes {
    ($($variant:ident = $code:literal, $status:ident, $text:literal;)*) => {
        /// Every reason to refuse a request. Clients tell them apart by [`Code::name`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Code { $($variant,)* }

        impl Code {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable code, such as `call.not_found`.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            pub(super) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// What it means, for the documentation and where nothing more can be said.
            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    KeyMissing = "auth.key_missing", UNAUTHORIZED,
        "send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`";
    KeyUnknown = "auth.key_unknown", UNAUTHORIZED, "the API key is not known here";
    KeyForbidden = "auth.key_forbidden", FORBIDDEN, "this key does not open this path";
    OriginForbidden = "auth.origin_forbidden", FORBIDDEN,
        "the key is for pages, and not for the one that `Origin` names";
    PublisherForbidden = "auth.publisher_forbidden", FORBIDDEN,
        "the key is another publisher's than the one that is named";
    RouteNotFound = "route.not_found", NOT_FOUND,
        "there is nothing at this path; `/openapi.json` lists what there is";
    MethodNotAllowed = "route.method_not_allowed", METHOD_NOT_ALLOWED,
        "this path does not take this method; `Allow` lists what it takes";
    PathMalformed = "path.malformed", BAD_REQUEST, "an id in the path is malformed";
    HeaderMalformed = "header.malformed", BAD_REQUEST, "a request header is malformed";
    QueryUnknown = "query.unknown", BAD_REQUEST, "a query parameter is not known here";
    QueryRepeated = "query.repeated", BAD_REQUEST, "a query parameter is given twice";
    QueryMalformed = "query.malformed", BAD_REQUEST, "a query parameter is malformed";
    CursorInvalid = "query.cursor_invalid", BAD_REQUEST,
        "the cursor belongs to another list or filter, or to an earlier run of the server";
    BodySyntax = "body.syntax", BAD_REQUEST, "the body is not JSON";
    BodyMistyped = "body.mistyped", BAD_REQUEST,
        "a field of the body is unknown or has the wrong type";
    BodyIncomplete = "body.incomplete", BAD_REQUEST, "the body broke off";
    BodySlow = "body.timeout", REQUEST_TIMEOUT, "the body did not arrive in time";
    BodyTooLarge = "body.too_large", PAYLOAD_TOO_LARGE,
        "the body has more than 65536 bytes, or a batch more than 1048576";
    BatchTooLarge = "batch.too_large", PAYLOAD_TOO_LARGE, "the batch has more than 500 pings";
    BodyMediaType = "body.media_type", UNSUPPORTED_MEDIA_TYPE,
        "send the body with `Content-Type: application/json`";
    BodyEncoding = "body.encoding", UNSUPPORTED_MEDIA_TYPE,
        "bodies are read as they are; send it without `Content-Encoding`";
    TargetNotFound = "target.not_found", NOT_FOUND, "no target has this id";
    CampaignNotFound = "campaign.not_found", NOT_FOUND, "no campaign has this id";
    PublisherNotFound = "publisher.not_found", NOT_FOUND, "no publisher has this id";
    TrunkNotFound = "trunk.not_found", NOT_FOUND, "no trunk has this id";
    PoolNotFound = "pool.not_found", NOT_FOUND, "no pool has this id";
    CallNotFound = "call.not_found", NOT_FOUND, "no call has this id";
    CallNotLive = "call.not_live", NOT_FOUND, "no call with this id is up";
    CallNotTold = "call.not_told", SERVICE_UNAVAILABLE,
        "the server is behind its work, and the call may not have been told; ask again";
    DecisionNotFound = "call.no_decision", NOT_FOUND,
        "no routing decision is on record for this call";
    RevisionNotFound = "config.unknown_revision", NOT_FOUND,
        "no configuration of this revision is on record";
    RevisionOutdated = "config.outdated_revision", GONE,
        "the configuration was kept by another version of the server, and this one does not take it";
    ComparisonRefused = "comparison.refused", UNPROCESSABLE_ENTITY,
        "so many decisions cannot be compared in one request";
    SimulationRefused = "simulation.refused", UNPROCESSABLE_ENTITY,
        "the call cannot be simulated as it is described; `errors` says why";
    PingNotFound = "ping.not_found", NOT_FOUND, "no session of the last month was opened by a ping with this id";
    SessionNotFound = "session.not_found", NOT_FOUND, "no live session has this id";
    SessionsAway = "session.store_away", SERVICE_UNAVAILABLE,
        "the session may be another server's, and the store that they share does not answer at the moment";
    SessionTooOften = "session.too_often", TOO_MANY_REQUESTS,
        "the page of a session says something new more often than is kept";
    NumberNotFound = "number.not_found", NOT_FOUND, "the configuration has no such number";
    PingRefused = "ping.refused", UNPROCESSABLE_ENTITY,
        "the ping can be read but not taken; `errors` says why";
    KeyInProgress = "idempotency.in_progress", CONFLICT,
        "the same request is being answered; ask again";
    KeyReused = "idempotency.mismatch", UNPROCESSABLE_ENTITY,
        "the same key or `request_id` came before with another body";
    PingWorthless = "ping.worthless", UNPROCESSABLE_ENTITY,
        "no target of the campaign would take a call of this ping; `errors` says why";
    PingsFull = "ping.full", TOO_MANY_REQUESTS, "as many sessions are live as may be";
    PingsCapped = "ping.capped", TOO_MANY_REQUESTS,
        "as many pings were taken in this window as the publisher or the campaign may have";
    PingsOverQuota = "ping.over_quota", TOO_MANY_REQUESTS,
        "the publisher sends more pings than its quota allows";
    PingsOverShare = "ping.over_share", TOO_MANY_REQUESTS,
        "the server is under pressure, and the publisher sends more than its share of pings";
    ConcurrencyNotFound = "concurrency.not_found", NOT_FOUND,
        "nothing of this id has `concurrency` in the configuration";
    CapNotFound = "cap.not_found", NOT_FOUND, "the configuration has no such cap";
    CapNotResettable = "cap.not_resettable", CONFLICT,
        "concurrency, spacing, credit and caps of another time cannot begin anew";
    CapResetRefused = "cap.reset_refused", UNPROCESSABLE_ENTITY,
        "a cap begins anew only if it is said why";
    CapsUnavailable = "cap.unavailable", SERVICE_UNAVAILABLE,
        "caps cannot begin anew at the moment";
    CreditNotFound = "credit.not_found", NOT_FOUND,
        "no buyer of this id has `credit` in the configuration";
    DepositRefused = "deposit.refused", UNPROCESSABLE_ENTITY, "no such amount can be deposited";
    DepositConflict = "deposit.conflict", CONFLICT,
        "another amount was deposited with the same `Idempotency-Key`";
    DepositsUnavailable = "deposit.unavailable", SERVICE_UNAVAILABLE,
        "deposits are not taken at the moment";
    PingsUnavailable = "ping.unavailable", SERVICE_UNAVAILABLE,
        "pings are not taken at the moment";
    LetterNotFound = "dead_letter.not_found", NOT_FOUND, "no dead letter has this id";
    LettersUnmeant = "dead_letter.unmeant", UNPROCESSABLE_ENTITY,
        "say which dead letters are meant: by ids, consumer or class, and why if they are given up";
    RollupsTooMany = "rollup.too_many", UNPROCESSABLE_ENTITY,
        "that would be more than 10000 rows; ask for less time, longer buckets or fewer groups";
    ConfigRefused = "config.refused", UNPROCESSABLE_ENTITY,
        "the configuration is not put in force; `errors` says why, and the old one stays";
    StoreUnavailable = "store.unavailable", SERVICE_UNAVAILABLE,
        "the database does not answer at the moment";
    StoreDamaged = "store.damaged", INTERNAL_SERVER_ERROR, "a stored record cannot be read";
    NotReady = "server.not_ready", SERVICE_UNAVAILABLE, "send no work here at the moment";
    Overtime = "server.timeout", SERVICE_UNAVAILABLE,
        "the answer was not ready in time; what was asked may be done all the same, and is not done twice if \
         it is sent again with its key";
    InternalError = "server.error", INTERNAL_SERVER_ERROR, "an internal error";
}

/// An error, as RFC 9457 describes it. `type` is always `about:blank`: the difference is in
/// `code`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "about:blank")]
    kind: &'static str,
    /// The phrase of the HTTP status.
    #[schema(value_type = String, example = "Bad Request")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What is wrong, in a sentence for people.
    #[schema(example = "`colour` is not a parameter of this path")]
    detail: String,
    /// What is wrong, for programs: this code stays as it is.
    #[schema(value_type = String, example = "query.unknown")]
    code: &'static str,
    /// What in the request is at fault.
    errors: Vec<FieldError>,
    #[serde(skip)]
    #[schema(ignore)]
    retry_after_s: Option<u32>,
}

/// One part of a request that is at fault. At most one of `pointer`, `parameter` and `header`
/// says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// A field of the body, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/lead/age")]
    pointer: Option<String>,
    /// A query parameter, or a part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "cursor")]
    parameter: Option<String>,
    /// A request header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "Idempotency-Key")]
    header: Option<String>,
    /// What is wrong with it, for programs.
    #[schema(value_type = String, example = "malformed")]
    code: SmolStr,
    /// What is wrong with it, for people.
    #[schema(example = "must be 1 to 200")]
    detail: String,
}

/// Which part of a request is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A JSON pointer into the body.
    Body(String),
    Parameter(String),
    Header(&'static str),
    /// None in particular.
    Whole,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = code.status();
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.name(),
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// A problem with one part of the request, which is all there is to say about it.
    pub(super) fn at(code: Code, place: Place, fault: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let named = match &place {
            Place::Body(pointer) if pointer.is_empty() => detail.clone(),
            Place::Body(pointer) => format!("`{pointer}`: {detail}"),
            Place::Parameter(name) => format!("`{name}` {detail}"),
            Place::Header(name) => format!("`{name}` {detail}"),
            Place::Whole => detail.clone(),
        };
        Self::new(code, named).with(place, fault, detail)
    }

    /// Adds a part of the request that is at fault.
    pub(super) fn with(mut self, place: Place, fault: &str, detail: impl Into<String>) -> Self {
        let mut error = FieldError {
            pointer: None,
            parameter: None,
            header: None,
            code: fault.into(),
            detail: detail.into(),
        };
        match place {
            Place::Body(pointer) => error.pointer = Some(pointer),
            Place::Parameter(name) => error.parameter = Some(name),
            Place::Header(name) => error.header = Some(name.to_owned()),
            Place::Whole => {}
        }
        self.errors.push(error);
        self
    }

    /// Says of parameters what was said of fields of a body.
    pub(super) fn of_query(mut self) -> Self {
        for error in &mut self.errors {
            let Some(pointer) = error.pointer.take() else { continue };
            let path = pointer.trim_start_matches('/').replace('/', ".");
            let path = path.strip_prefix("tags.").unwrap_or(&path);
            error.parameter = Some(path.replace("~1", "/").replace("~0", "~"));
        }
        self
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn retries_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code, code.text())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "reading the store failed");
        match error {
            StoreError::Database(_) => Self::from(Code::StoreUnavailable).retry_after(RETRY_SOON_S),
            StoreError::Damaged { .. } => Code::StoreDamaged.into(),
            StoreError::Outdated { .. } => Self::new(Code::RevisionOutdated, error.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("taken from a status");
        let body = serde_json::to_vec(&self).expect("texts and numbers can be written");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"tollbridge\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_unique_and_an_error() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();

        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let status = code.status();
            assert!(status.is_client_error() || status.is_server_error(), "{}", code.name());
        }
    }

    #[test]
    fn a_problem_names_what_is_at_fault() {
        let place = Place::Parameter("limit".into());
        let problem = Problem::at(Code::QueryMalformed, place, "malformed", "must be 1 to 200");

        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "`limit` must be 1 to 200",
            "code": "query.malformed",
            "errors": [{"parameter": "limit", "code": "malformed", "detail": "must be 1 to 200"}],
        });
        assert_eq!(serde_json::to_value(problem).unwrap(), expected);
    }
}

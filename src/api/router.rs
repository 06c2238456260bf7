//! Every route on one page, and what every request passes on its way there.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use metrics::counter;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Gate, Keys, require_caller, require_operator};
use super::dialects::{callgrid, retreaver, ringba, trackdrive};
use super::error::{Code, Problem};
use super::page::Cursors;
use super::request::BODY_BYTES_MAX;
use super::{
    Services, account, batch, calls, caps, configuration, consumers, dead_letters, dni, effective,
    enrichers, explain, fraud, health, openapi, pings, pixel, pools, replay, rollups, sessions,
    simulate, targets, ways,
};

/// Counts requests, by `route`, `method` and `status`.
pub const REQUESTS: &str = "tollbridge_api_requests_total";

/// How long a browser may go by what it was told of other origins.
const PREFLIGHT_LASTS: Duration = Duration::from_secs(600);

/// How long an answer may take, from the end of the header.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Paths whose GET opens a session, and what they take. The router would take a HEAD for such a GET.
const OPENED_BY_GET: [(&str, &str); 5] = [
    ("/v1/p", "GET"),
    ("/v1/production/{id}", "GET,POST"),
    ("/api/v1/inbound_webhooks/ping/{uri}", "GET,POST"),
    ("/api/v1/inbound_webhooks/post/{uri}", "GET,POST"),
    ("/api/bid/{grid}", "GET,POST"),
];

/// What handlers work with.
pub(super) struct Api {
    pub(super) services: Services,
    pub(super) cursors: Cursors,
    /// The OpenAPI document as JSON.
    pub(super) document: String,
}

/// The routes by who may take them.
pub(super) struct Routes {
    pub(super) of_operators: OpenApiRouter<Arc<Api>>,
    /// And of publishers, as far as something is theirs.
    pub(super) of_publishers: OpenApiRouter<Arc<Api>>,
    pub(super) open: OpenApiRouter<Arc<Api>>,
    /// Of publishers, who show their key where another platform has it.
    pub(super) of_dialects: OpenApiRouter<Arc<Api>>,
}

pub(super) fn routes() -> Routes {
    let of_operators = OpenApiRouter::new()
        .routes(routes!(calls::list))
        .routes(routes!(calls::live))
        .routes(routes!(calls::show))
        .routes(routes!(explain::show))
        .routes(routes!(replay::show))
        .routes(routes!(simulate::call))
        .routes(routes!(calls::hang_up))
        .routes(routes!(pools::list))
        .routes(routes!(pools::number))
        .routes(routes!(targets::list))
        .routes(routes!(ways::list))
        .routes(routes!(account::show))
        .routes(routes!(effective::target))
        .routes(routes!(effective::campaign))
        .routes(routes!(effective::publisher))
        .routes(routes!(effective::pool))
        .routes(routes!(effective::number))
        .routes(routes!(effective::trunk))
        .routes(routes!(caps::list))
        .routes(routes!(caps::reset))
        .routes(routes!(caps::target_ready))
        .routes(routes!(caps::buyer_ready))
        .routes(routes!(caps::deposit))
        .routes(routes!(rollups::list))
        .routes(routes!(fraud::publishers))
        .routes(routes!(fraud::targets))
        .routes(routes!(enrichers::list))
        .routes(routes!(consumers::list))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::show))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::discard))
        .routes(routes!(configuration::reload))
        .routes(routes!(replay::diff))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::show));
    let of_publishers = OpenApiRouter::new()
        .routes(routes!(pings::accept))
        .routes(routes!(pings::show))
        .routes(routes!(batch::accept))
        .routes(routes!(pixel::accept))
        .routes(routes!(sessions::open))
        .routes(routes!(sessions::show))
        // A path whose last part ends in what is to be done is no path of the router.
        .route(sessions::ONE, post(sessions::act));
    let open = OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(dni::show));
    let of_dialects = OpenApiRouter::new()
        .routes(routes!(ringba::post, ringba::get))
        .routes(routes!(retreaver::reserve))
        .routes(routes!(retreaver::confirm, retreaver::confirm_as_patch))
        .routes(routes!(trackdrive::ping, trackdrive::ping_as_get))
        .routes(routes!(trackdrive::post, trackdrive::post_as_get))
        .routes(routes!(callgrid::post, callgrid::get));
    Routes { of_operators, of_publishers, open, of_dialects }
}

/// The whole API. The server serves it on `api.listen`.
pub fn router(services: Services) -> Router {
    limited(services, TIME_MAX)
}

/// Like [`router`], with a time limit of one's own.
pub(super) fn limited(services: Services, time_max: Duration) -> Router {
    let keys = Arc::new(Keys::new(&services.keys));
    let gate = Gate { keys, routing: Arc::clone(&services.routing) };
    let document = openapi::document().to_json().expect("the document can be written");
    let cursors = Cursors::new(&services.cursor_secret);
    let api = Arc::new(Api { services, cursors, document });
    let Routes { of_operators, of_publishers, open, of_dialects } = routes();
    let (of_operators, _) = of_operators.split_for_parts();
    let (of_publishers, _) = of_publishers.split_for_parts();
    let (open, _) = open.split_for_parts();
    let (of_dialects, _) = of_dialects.split_for_parts();
    let of_dialects =
        of_dialects.method_not_allowed_fallback(no_such_method).layer(from_fn(head_opens_nothing));
    let of_publishers = of_publishers
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(head_opens_nothing))
        .layer(from_fn_with_state(gate.clone(), require_caller))
        .layer(other_origins(&gate));
    of_operators
        .fallback(async || Problem::from(Code::RouteNotFound))
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(gate, require_operator))
        .merge(of_publishers)
        .merge(open.method_not_allowed_fallback(no_such_method))
        .merge(of_dialects)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(time_max, in_time))
        .layer(from_fn(observed))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(SetResponseHeaderLayer::if_not_present(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(SetResponseHeaderLayer::if_not_present(
            X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(api)
}

/// Tells browsers that pages with a site key may ask, and read the answer.
fn other_origins(gate: &Gate) -> CorsLayer {
    let routing = Arc::clone(&gate.routing);
    let is_known = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| routing.in_force().access().knows_origin(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_known))
        .allow_methods([Method::POST])
        .allow_headers([
            CONTENT_TYPE,
            AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([RETRY_AFTER, HeaderName::from_static("idempotent-replayed")])
        .max_age(PREFLIGHT_LASTS)
}

async fn no_such_method() -> Problem {
    Code::MethodNotAllowed.into()
}

/// Whoever only asks what there is must not open a session: where a GET does, there is no HEAD.
async fn head_opens_nothing(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let is_path = |path: &MatchedPath| OPENED_BY_GET.iter().find(|it| it.0 == path.as_str());
    let Some((_, taken)) = path.as_ref().and_then(is_path) else { return next.run(request).await };
    let mut response = match *request.method() == Method::HEAD {
        true => Problem::from(Code::MethodNotAllowed).into_response(),
        false => next.run(request).await,
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(taken));
    }
    response
}

async fn in_time(State(time_max): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(time_max, next.run(request))
        .await
        .unwrap_or_else(|_| Problem::from(Code::Overtime).retry_after(1).into_response())
}

/// Counts the request, and runs it in a span that says whose it is. Neither holds the path as it
/// was asked for, nor the query: there may be a caller's number in it.
async fn observed(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let span = tracing::info_span!("api", method, route, key_id = tracing::field::Empty);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), "answered a request"));
    let status = status.as_str().to_owned();
    counter!(REQUESTS, "route" => route, "method" => method, "status" => status).increment(1);
    response
}

/// A label from a bounded set.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The panic itself was told by the panic hook.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("answering a request panicked");
    Problem::from(Code::InternalError).into_response()
}

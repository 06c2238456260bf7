//! The API as its users meet it, in process. Every answer is held against the OpenAPI document.

mod batch;
mod calls;
mod caps;
mod consumers;
mod decisions;
mod dialects;
mod dni;
mod document;
mod edge;
mod enrichers;
mod keys;
mod pings;
mod pixel;
mod records;
mod sessions;
mod trials;
mod world;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

use super::Services;
use super::router::{limited, router};
use crate::cdr::fraud::duration::SpikeRules;
use crate::config::{ApiKey, Secret};
use world::World;

const KEY: &str = "correct horse battery staple";
const CALLER: &str = "+16145550163";

struct Fixture {
    world: Arc<World>,
    router: Router,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Fixture {
    fn new() -> Self {
        let world = Arc::new(World::new());
        let router = router(services(&world));
        Self { world, router }
    }

    /// Answers later than `time_max` are given up.
    fn hasty(time_max: Duration) -> Self {
        let world = Arc::new(World::new());
        let router = limited(services(&world), time_max);
        Self { world, router }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(request(Method::GET, path).body(Body::empty()).unwrap())
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        let request = request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.ask(request.body(Body::from(body.to_owned())).unwrap())
    }

    fn ask(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            Answer { status: parts.status, headers: parts.headers, body }
        });
        document::hold_against(&method, &path, &answer);
        answer
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What a program reads of a problem: status, code, and for each error where and what.
    fn problem(&self) -> (u16, String, Vec<(String, String)>) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let place = |error: &Value| {
            let places = ["pointer", "parameter", "header"].map(|name| error[name].as_str());
            assert!(places.iter().flatten().count() <= 1, "{error}");
            places.into_iter().flatten().next().unwrap_or_default().to_owned()
        };
        let errors = json["errors"].as_array().unwrap().iter();
        let errors = errors.map(|error| (place(error), text(&error["code"]))).collect();
        (self.status.as_u16(), text(&json["code"]), errors)
    }
}

fn services(world: &Arc<World>) -> Services {
    Services {
        live: world.clone(),
        calls: world.clone(),
        pings: world.clone(),
        visitors: world.clone(),
        past_sessions: world.clone(),
        pools: world.clone(),
        health: world.clone(),
        configuration: world.clone(),
        routing: world.clone(),
        credit: world.clone(),
        resets: world.clone(),
        letters: world.clone(),
        rollups: world.clone(),
        enrichments: world.clone(),
        enrichers: world.clone(),
        scores: world.clone(),
        spikes: SpikeRules { min_calls: 50, deviations: 4 },
        consumers: world.clone(),
        keys: vec![ApiKey { id: "ops".into(), key: Secret::new(KEY) }],
        cursor_secret: [7; 32],
    }
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
}

fn refused(
    status: u16,
    code: &str,
    place: &str,
    fault: &str,
) -> (u16, String, Vec<(String, String)>) {
    (status, code.to_owned(), vec![(place.to_owned(), fault.to_owned())])
}

fn refused_whole(status: u16, code: &str) -> (u16, String, Vec<(String, String)>) {
    (status, code.to_owned(), vec![])
}

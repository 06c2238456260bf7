//! The script for pages, as they get it.

use axum::body::Body;
use axum::http::{Method, Request, header};

use super::{Answer, Fixture};

#[test]
fn anybody_gets_the_script_and_may_keep_it() {
    let fixture = Fixture::new();

    let first = ask(&fixture, None);

    assert_eq!(first.status, 200);
    assert!(first.body.len() < 5_000 && first.body.contains("tollbridge"), "{first:?}");
    for (name, expected) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("access-control-allow-origin", "*"),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        assert_eq!(first.header(name), Some(expected), "{name}");
    }
    assert!(first.header("cache-control").unwrap().starts_with("public, max-age=3600"));
    let tag = first.header("etag").unwrap();
    for known in [tag, &format!("W/{tag}"), &format!("\"other\", {tag}"), "*"] {
        let again = ask(&fixture, Some(known));
        assert_eq!((again.status.as_u16(), again.body.as_str()), (304, ""), "{known}");
        assert_eq!(again.header("etag"), Some(tag));
    }
    for other in ["\"other\"", "W/\"other\"", ""] {
        assert_eq!(ask(&fixture, Some(other)).body, first.body, "{other}");
    }
}

fn ask(fixture: &Fixture, known: Option<&str>) -> Answer {
    let request = Request::builder().method(Method::GET).uri("/v1/dni.js");
    let request = match known {
        Some(tag) => request.header(header::IF_NONE_MATCH, tag),
        None => request,
    };
    fixture.ask(request.body(Body::empty()).unwrap())
}

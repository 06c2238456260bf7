//! The script by which a page shows each of its visitors a number of its own.
//!
//! `dni.js` is the script as it is read, `dni.min.js` what `make dni` makes of it.

use std::sync::LazyLock;

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::openapi::open_faults;
use crate::routing::ping::CLICK_IDS;

/// Pages take a new script an hour after it came, and show one that is a day old until they have it.
const KEPT: HeaderValue = HeaderValue::from_static(
    "public, max-age=3600, stale-while-revalidate=86400, stale-if-error=604800",
);
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
/// Pages that take nothing of others unless those say so (COEP) may take this.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let text = include_str!("dni.min.js").replace("CLICK_IDS", &CLICK_IDS.join("|"));
    let digest = Sha256::digest(&text);
    let tag: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::try_from(format!("\"{tag}\"")).expect("digits are printable");
    Script { text, tag }
});

struct Script {
    text: String,
    tag: HeaderValue,
}

open_faults!(ScriptFaults);

/// The script that shows visitors numbers
///
/// For a page to load with `<script src="…/v1/dni.js" data-key="SITE KEY" async></script>`, with the site key
/// of a publisher or a pool. It opens a session for the visitor, writes its number in the place of the page's,
/// and keeps both while the page is looked at.
#[utoipa::path(
    get,
    path = "/v1/dni.js",
    operation_id = "show_dni_script",
    tag = "sessions",
    security(()),
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of the script one has")),
    responses(
        (status = 200, description = "The script", body = String, content_type = "text/javascript",
            headers(("ETag" = String, description = "Another one for another script"))),
        (status = 304, description = "It is the script one has"),
        ScriptFaults,
    ),
)]
pub(super) async fn show(headers: HeaderMap) -> Response {
    let shared = [
        (ETAG, SCRIPT.tag.clone()),
        (CACHE_CONTROL, KEPT),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (RESOURCE_POLICY, HeaderValue::from_static("cross-origin")),
    ];
    if is_known(&headers) {
        return (StatusCode::NOT_MODIFIED, shared).into_response();
    }
    (shared, [(CONTENT_TYPE, JAVASCRIPT)], SCRIPT.text.as_str()).into_response()
}

/// RFC 9110 §13.1.2: compared weakly, for a proxy that has compressed the script weakens its tag.
fn is_known(headers: &HeaderMap) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == SCRIPT.tag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_was_made_of_the_script_that_is_read() {
        let digest = Sha256::digest(include_str!("dni.js"));
        let source: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let made_of = SCRIPT.text.lines().last().and_then(|line| line.strip_prefix("//"));
        assert_eq!(made_of, Some(source.as_str()), "dni.js has changed: run `make dni`");
    }

    #[test]
    fn the_script_is_small_and_knows_the_click_ids_of_the_server() {
        assert!(SCRIPT.text.len() < 5_000, "{} bytes", SCRIPT.text.len());
        assert!(SCRIPT.text.contains("|gclid|") || SCRIPT.text.contains("(utm_.*|gclid|"));
        assert!(!SCRIPT.text.contains("CLICK_IDS"));
    }

    #[test]
    fn the_script_needs_no_more_of_a_content_security_policy_than_its_host() {
        for word in ["eval(", "Function(", "innerHTML", "document.write", "//http", "import("] {
            assert!(!SCRIPT.text.contains(word), "{word}");
        }
    }
}

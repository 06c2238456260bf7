//! What HTTP is asked with.

use std::error::Error;

use reqwest::{ClientBuilder, Response};
use rustls::ClientConfig;

use crate::sip::transport::no_client_config;

/// Why an answer has no body to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The body of an answer, of at most so many bytes.
pub(super) async fn body(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLong(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with all that led to it: of a handshake the library itself only says that it was none.
pub(super) fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Asks without a proxy and follows nobody elsewhere. Without `tls` it can only speak plain HTTP. What a
/// configuration names is asked by an `EgressClient` instead.
pub fn http_client(tls: Option<ClientConfig>) -> reqwest::Client {
    let client = http_builder(tls).build();
    client.expect("a client that is given how to speak TLS needs nothing of the machine")
}

/// Every client begins here: the library would otherwise look for cryptography that it is built
/// without, and panic.
pub(super) fn http_builder(tls: Option<ClientConfig>) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.unwrap_or_else(no_client_config))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

//! What HTTP is asked with.

use rustls::ClientConfig;

use crate::sip::transport::no_client_config;

/// Asks without a proxy and follows nobody elsewhere. Without `tls` it can only speak plain HTTP.
///
/// Every client is made here: the library would otherwise look for cryptography that it is built
/// without, and panic.
pub fn http_client(tls: Option<ClientConfig>) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.unwrap_or_else(no_client_config))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client that is given how to speak TLS needs nothing of the machine")
}

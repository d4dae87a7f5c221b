//! A POST with an event.

use http::Uri;
use orchd_model::Span;
use std::sync::LazyLock;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use super::trust;

/// Whoever the system trusts is trusted, and its proxy is used.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = Agent::config_builder().tls_config(tls).max_redirects(0).http_status_as_error(false);
    config.user_agent(concat!("orchd/", env!("CARGO_PKG_VERSION"))).build().into()
});

/// Asks an address; any answer but a 2xx is a failure. Redirections are not followed.
///
/// # Errors
/// In words for people.
pub async fn post(uri: Uri, hook: String, text: String, timeout: Span) -> Result<(), String> {
    let asked_for = uri.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let request = AGENT.post(asked_for).config().timeout_global(Some(timeout.into())).build();
        request.header("content-type", "application/json").header("orchd-hook", hook).send(text)
    });
    match asked.await {
        Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
        Ok(Ok(answer)) => Err(format!("answered {}", answer.status())),
        Ok(Err(ureq::Error::Timeout(_))) => Err(format!("not done after {timeout}")),
        Ok(Err(error)) => Err(trust::words(&uri, &error)),
        Err(error) => Err(error.to_string()),
    }
}

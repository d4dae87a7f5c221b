//! The description of the API, made from its types once.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| orchd_api::openapi::document(env!("CARGO_PKG_VERSION")).to_string());

/// The OpenAPI document.
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

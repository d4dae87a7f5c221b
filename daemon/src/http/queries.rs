//! Queries where nobody reads one: what they ask for would be lost in silence, so they are refused. Where one is read, its
//! reader refuses what it does not know.

use axum::extract::{MatchedPath, Query, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use orchd_api::openapi::operations;
use orchd_model::{Code, Refusal};
use std::collections::HashMap;
use std::sync::LazyLock;

use super::answer::Refused;

/// Whether an operation reads its query, by its method and its path.
static IS_READ: LazyLock<HashMap<(&str, &str), bool>> = LazyLock::new(|| {
    let read = |operation: orchd_api::openapi::Operation| {
        ((operation.method.as_str(), operation.path), operation.takes_query())
    };
    operations().into_iter().map(read).collect()
});

/// Lets a request pass, or refuses its query.
pub async fn refuse_unread(request: Request, next: Next) -> Response {
    let Some(name) = unread(&request) else { return next.run(request).await };
    let hint = match *request.method() {
        Method::POST => "this path takes no query: say it in the body",
        _ => "this path takes no query",
    };
    let refusal = Refusal::new(Code::UnknownField, "the query has no such field");
    Refused(refusal.field(&*name).value(name).hint(hint)).into_response()
}

/// The first name of a query that nobody reads.
fn unread(request: &Request) -> Option<String> {
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let method = match *request.method() {
        Method::GET | Method::HEAD => "get",
        Method::POST => "post",
        _ => return None,
    };
    // What is no operation is refused as that.
    let route = request.extensions().get::<MatchedPath>()?;
    if *IS_READ.get(&(method, route.as_str()))? {
        return None;
    }
    let names: Option<Query<Vec<(String, String)>>> = Query::try_from_uri(request.uri()).ok();
    let first = names.and_then(|Query(names)| names.into_iter().next()).map(|(name, _)| name);
    Some(first.unwrap_or_else(|| query.to_owned()))
}

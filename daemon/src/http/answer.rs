//! Answers: JSON for what was done, problem documents for what was refused.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use orchd_api::{MEDIA_TYPE, Problem};
use orchd_model::{Code, Refusal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};

/// A refusal on its way to the client.
pub struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem(Problem::from(self.0))
    }
}

fn problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(problem)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

/// A refusal whose status HTTP itself prescribes.
pub fn refused_with(status: StatusCode, refusal: Refusal) -> Response {
    problem(Problem { status: status.as_u16(), ..Problem::from(refusal) })
}

/// What a handler gives back.
pub type Answered<T> = Result<Json<T>, Refused>;

/// JSON of something that was asked for.
pub fn json<T: Serialize>(value: T) -> Answered<T> {
    Ok(Json(value))
}

/// Whether the client said that its body is JSON by any of its names; one that says nothing is believed.
fn says_json(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    // curl's default for --data.
    kind.is_empty() || kind.contains("json") || kind.starts_with("application/x-www-form-urlencoded")
}

/// A JSON body; what is wrong with it is a problem document.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        if !says_json(&request) {
            return Err(Refusal::new(Code::Unsupported, "the body must be application/json").into());
        }
        let bytes = bytes(request, state).await?;
        parse(if bytes.is_empty() { b"{}" } else { &bytes }).map(Self).map_err(Refused)
    }
}

/// The whole body of a request, within the limit.
///
/// # Errors
/// `too_large` beyond the limit, `malformed` when the client broke off.
pub async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<bytes::Bytes, Refused> {
    bytes::Bytes::from_request(request, state).await.map_err(|rejection| {
        let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let limit = orchd_model::limits::BODY_BYTES;
        Refused(if too_large {
            Refusal::new(Code::TooLarge, format!("a request body has at most {limit} bytes"))
                .hint("send tasks as application/x-ndjson, one a line: that has no limit")
        } else {
            Refusal::new(Code::Malformed, "the body could not be read").value(rejection.to_string())
        })
    })
}

/// Reads a JSON document.
///
/// # Errors
/// `unknown_field` with the path of the key, or `malformed` with the position.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let text = text.strip_suffix(&place).unwrap_or(&text);
        if let Some(unknown) = Unknown::told_by(text) {
            return unknown.refusal("the body", place_of::<T>(bytes).as_ref());
        }
        let refusal = |what: &str| {
            Refusal::new(Code::Malformed, "the JSON cannot be read").value(format!("{what}{place}"))
        };
        match text.split_once("\nhint: ") {
            Some((what, hint)) => refusal(what).hint(hint),
            None => refusal(text),
        }
    })
}

/// Where reading a document of this type stops, as the names and places on the way there. It is read once more for that, so
/// that what is right costs nothing.
pub fn place_of<T: DeserializeOwned>(bytes: &[u8]) -> Option<Path> {
    let read: Result<T, _> =
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(bytes));
    read.err().map(|error| error.path().clone())
}

/// What only a workflow file has, and what does it in a request.
const OF_FILES: [(&str, &str); 6] = [
    ("finally", "put its tasks into tasks, each with finally: true"),
    ("handlers", "give each task with a module the command that it runs"),
    ("defaults", "give each task what it is to have"),
    ("steps", "its tasks are called tasks"),
    ("workflows", "only files have sub-workflows: orchctl workflow run FILE"),
    ("description", "only files have it"),
];

/// A name that is no field, as whoever read the document tells it.
pub struct Unknown<'e> {
    name: &'e str,
    /// What its writer may have meant, if that is told.
    hint: Option<&'e str>,
    /// All names that there are, if those are told.
    known: Vec<&'e str>,
}

impl<'e> Unknown<'e> {
    /// What `text` says of such a name, in the words of serde or of a task spec, if it is about one.
    pub fn told_by(text: &'e str) -> Option<Self> {
        let of_serde = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
        if let Some((name, known)) = of_serde {
            let known = known.split('`').skip(1).step_by(2).collect();
            return Some(Self { name, hint: None, known });
        }
        let (what, hint) =
            text.split_once("\nhint: ").map_or((text, None), |(what, hint)| (what, Some(hint)));
        let (whose, name) = what.split_once("no such field: ")?;
        let is_field = |field: &str| field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_told = whose == "a task spec has " || whose.strip_suffix(": ").is_some_and(is_field);
        is_told.then(|| Self { name, hint, known: Vec::new() })
    }

    /// The refusal of it. `place`: where reading stopped.
    pub fn refusal(self, whole: &str, place: Option<&Path>) -> Refusal {
        let Self { name, hint, known } = self;
        let path = match place.and_then(|place| Some((place.to_string(), place.iter().next_back()?))) {
            None => name.to_owned(),
            Some((path, Segment::Map { key })) if key == name => path,
            Some((path, _)) => format!("{path}.{name}"),
        };
        let refusal = Refusal::new(Code::UnknownField, format!("{whole} has no such field"));
        let refusal = refusal.field(&*path).value(path);
        let of_files = OF_FILES.iter().find(|(key, _)| *key == name && known.contains(&"fail_fast"));
        let near = || orchd_model::nearest(name, known.iter().copied());
        let hint = of_files.map(|(_, hint)| *hint).or(hint).map(str::to_owned);
        match hint.or_else(|| near().map(|near| format!("did you mean {near}?"))) {
            Some(hint) => refusal.hint(hint),
            None if known.is_empty() => refusal,
            None => refusal.hint(format!("it has: {}", known.join(", "))),
        }
    }
}

/// A body that says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// The query part of the URI; what is wrong with it is a problem document.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let given: Result<axum::extract::Query<Vec<(String, String)>>, _> =
                    axum::extract::Query::try_from_uri(&parts.uri);
                let given = given.map_or_else(|_| Vec::new(), |query| query.0);
                Err(unreadable_query(&rejection.body_text(), &given).into())
            }
        }
    }
}

/// What is wrong with a query, in our words: `text` is what the reader of queries says of it.
fn unreadable_query(text: &str, given: &[(String, String)]) -> Refusal {
    let refusal = |what: &str| Refusal::new(Code::Malformed, "the query cannot be read").value(what);
    if let Some(unknown) = text.rfind("unknown field `").and_then(|at| Unknown::told_by(&text[at..])) {
        return unknown.refusal("the query", None);
    }
    let Some((name, error)) = text.rsplit_once("query string: ").and_then(|(_, text)| text.split_once(": "))
    else {
        return refusal(text);
    };
    // What the standard library says of numbers and truth values.
    let error = match error {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "not a whole number of at least 0"
        }
        "number too large to fit in target type" => "too large a number",
        "provided string was not `true` or `false`" => "not true or false",
        other => other,
    };
    let text = orchd_model::of_field(name, error);
    let (what, hint) = text.split_once("\nhint: ").map_or((&*text, None), |(what, hint)| (what, Some(hint)));
    let value = given.iter().rfind(|(given, _)| given == name).map_or("", |(_, value)| value);
    let what = if what.contains(value) { what.to_owned() } else { format!("{what}: {value}") };
    match hint {
        Some(hint) => refusal(&what).hint(hint),
        None => refusal(&what),
    }
}

/// An id in the path.
pub struct Id(pub u64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let refuse = |value: String| Refused(Refusal::new(Code::Malformed, "an id is a number").value(value));
        match axum::extract::Path::<String>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(text)) => text.parse().map(Self).map_err(|_| refuse(text)),
            Err(rejection) => Err(refuse(rejection.body_text())),
        }
    }
}

/// A path that is no route.
pub async fn no_such_route(uri: Uri) -> Refused {
    Refusal::new(Code::NotFound, "no such path").value(uri.path()).into()
}

/// A route that does not know this method; the router adds which ones it knows.
pub async fn no_such_method(method: Method, uri: Uri) -> Response {
    let refusal = Refusal::new(Code::Unsupported, "this path does not know this method")
        .value(format!("{method} {uri}"))
        .hint("the Allow header names those it knows");
    refused_with(StatusCode::METHOD_NOT_ALLOWED, refusal)
}

//! The client against a small stand-in for the daemon, which also breaks connections and stays silent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchd_client::api::{
    EventQuery, ListQuery, LogChunk, LogQuery, LogStream, Problem, Selector, WaitRequest,
};
use orchd_client::model::{AttemptNumber, Code, Refusal, Status, TaskId, TaskSpec};
use orchd_client::{Client, Error, LogItem, Settings};
use serde_json::json;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What the stand-in does with a request.
enum Reply {
    Answer(u16, String),
    /// Text, then a clean end or a broken connection.
    Stream(String, bool),
    /// One line a line of the request.
    Lines,
    /// The connection breaks and there is no answer.
    Break,
}

/// Sees every request but the probes: method, target, body and how many came before.
type Script = Arc<dyn Fn(&str, &str, usize) -> Reply + Send + Sync>;

struct Fake {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

impl Fake {
    fn start(script: impl Fn(&str, &str, usize) -> Reply + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let requests = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), Arc::new(script), requests.clone()));
        Self { socket, requests, _directory: directory }
    }

    async fn client(&self) -> Client {
        Client::connect_with(&self.socket, quick()).await.unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn quick() -> Settings {
    Settings {
        connect_timeout: Duration::from_millis(300),
        reconnect_for: Duration::from_secs(2),
        ..Settings::default()
    }
}

async fn serve(listener: UnixListener, script: Script, requests: Arc<Mutex<Vec<String>>>) {
    // Ends its connections when it is dropped itself.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, requests) = (script.clone(), requests.clone());
        let service = service_fn(move |request| answer(request, script.clone(), requests.clone()));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { connection.await.ok() });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    requests: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Body>, io::Error> {
    let target = request.uri().to_string();
    if target == "/v1/daemon" {
        return Ok(text(
            200,
            json!({"version": "0", "pid": 1, "state_dir": "/", "features": []}).to_string(),
        ));
    }
    if target.starts_with("/v1/stats") {
        return Ok(text(404, String::new()));
    }
    let seen = {
        let mut requests = requests.lock().unwrap();
        requests.push(format!("{} {target}", request.method()));
        requests.len() - 1
    };
    let bulk = request.headers().get("content-type").is_some_and(|t| t == "application/x-ndjson");
    if bulk && matches!(script(&target, "", seen), Reply::Lines) {
        return Ok(echo_lines(request.into_body()));
    }
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    match script(&target, &String::from_utf8_lossy(&body), seen) {
        Reply::Answer(status, body) => Ok(text(status, body)),
        Reply::Stream(body, clean) => {
            let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from(body)))]);
            // A pause in which what was written goes out, then the end.
            let last = futures_util::stream::once(async move {
                tokio::task::yield_now().await;
                if clean { Ok(Frame::data(Bytes::new())) } else { Err(io::Error::other("broken")) }
            });
            let frames = first.chain(last);
            Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
        }
        Reply::Break | Reply::Lines => Err(io::Error::other("broken")),
    }
}

fn text(status: u16, body: String) -> Response<Body> {
    let body = http_body_util::Full::from(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}

/// Answers each line as it comes: ids that count up, and a refusal for a task named `bad`.
fn echo_lines(body: Incoming) -> Response<Body> {
    let next = AtomicUsize::new(1);
    let rest = Mutex::new(Vec::new());
    let frames = body.into_data_stream().map(move |piece| {
        let mut rest = rest.lock().unwrap();
        rest.extend_from_slice(&piece.map_err(io::Error::other)?);
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let lines: String = rest
            .drain(..whole)
            .collect::<Vec<u8>>()
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let spec: TaskSpec = serde_json::from_slice(line).unwrap();
                if spec.name == "bad" {
                    return json!({"error": Refusal::new(Code::NotConfigured, "no such resource")})
                        .to_string()
                        + "\n";
                }
                json!({"id": next.fetch_add(1, Ordering::Relaxed)}).to_string() + "\n"
            })
            .collect();
        Ok(Frame::data(Bytes::from(lines)))
    });
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn event(sequence: u64) -> String {
    let event = json!({"sequence": sequence, "time": "2030-01-01T00:00:00Z", "type": "task.started",
        "task": sequence, "data": {}});
    format!("id: {sequence}\ndata: {event}\n\n")
}

fn wait_for(id: u64) -> WaitRequest {
    WaitRequest { select: TaskId(id).into(), timeout: None }
}

#[tokio::test]
async fn a_refusal_arrives_with_its_code_and_hint() {
    let refusal =
        Refusal::new(Code::Unsatisfiable, "larger than the capacity").value("cpu=99").hint("ask for less");
    let expected = refusal.clone();
    let fake = Fake::start(move |_, _, _| {
        Reply::Answer(422, serde_json::to_string(&Problem::from(refusal.clone())).unwrap())
    });
    match fake.client().await.submit(TaskSpec::shell("true")).await {
        Err(Error::Refused(refusal)) => assert_eq!(refusal, expected),
        other => panic!("{:?}", other.map(|task| task.id)),
    }
}

#[tokio::test]
async fn an_answer_that_is_no_problem_document_is_a_protocol_error() {
    let fake = Fake::start(|_, _, _| Reply::Answer(500, "oops".into()));
    match fake.client().await.workers().await {
        Err(Error::Protocol(text)) => assert_eq!(text, "500 Internal Server Error: oops"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bulk_results_come_in_order_and_a_bad_item_sinks_only_itself() {
    let fake = Fake::start(|_, _, _| Reply::Lines);
    let specs = (0..20_000).map(|i| TaskSpec {
        name: if i == 7 { "bad".into() } else { format!("t{i}") },
        ..TaskSpec::command(["true"])
    });
    let results = fake.client().await.submit_many(specs).await.unwrap();
    assert_eq!(results.len(), 20_000);
    assert_eq!(results[6], Ok(TaskId(7)));
    assert_eq!(results[7].as_ref().unwrap_err().code, Code::NotConfigured);
    assert_eq!(results[19_999], Ok(TaskId(19_999)));
    assert_eq!(fake.requests(), ["POST /v1/tasks"]);
}

#[tokio::test]
async fn a_lost_add_is_repeated_only_with_a_key() {
    let script = |_: &str, _: &str, seen| match seen {
        0 => Reply::Break,
        _ => Reply::Answer(201, r#"{"id": 5}"#.into()),
    };
    let fake = Fake::start(script);
    let lost = fake.client().await.submit(TaskSpec::shell("true")).await;
    assert!(matches!(lost, Err(Error::Io(_))));
    assert_eq!(fake.requests().len(), 1);

    let fake = Fake::start(script);
    let keyed = TaskSpec { key: Some("k".into()), ..TaskSpec::shell("true") };
    assert_eq!(fake.client().await.submit(keyed).await.unwrap().id, TaskId(5));
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn a_wait_goes_on_after_the_connection_broke() {
    let fake = Fake::start(|_, _, seen| match seen {
        0 | 1 => Reply::Break,
        _ => Reply::Answer(200, r#"{"done": true, "tasks": [{"id": 3, "status": "failed"}]}"#.into()),
    });
    let reply = fake.client().await.wait(wait_for(3)).await.unwrap();
    assert!(reply.done);
    assert_eq!(reply.tasks[0].status, Some(Status::Failed));
}

#[tokio::test]
async fn an_outage_is_told_once_however_often_the_daemon_is_looked_for() {
    let fake = Fake::start(|_, _, _| Reply::Answer(200, r#"{"done": true, "tasks": []}"#.into()));
    let (client, told) = (fake.client().await, Arc::new(AtomicUsize::new(0)));
    let counts = Arc::clone(&told);
    client.on_outage(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    client.clone().wait(wait_for(3)).await.unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 0);
    let fake = Fake::start(|_, _, _| Reply::Break);
    let settings = Settings { reconnect_for: Duration::from_millis(100), ..quick() };
    let client = Client::connect_with(&fake.socket, settings).await.unwrap();
    let counts = Arc::clone(&told);
    client.on_outage(move || {
        counts.fetch_add(1, Ordering::Relaxed);
    });
    std::fs::remove_file(&fake.socket).unwrap();
    client.wait(wait_for(3)).await.unwrap_err();
    // One for the connection that broke in the middle, and one for the daemon that is not there.
    assert!((1..=2).contains(&told.load(Ordering::Relaxed)), "{told:?}");
}

#[tokio::test]
async fn a_list_is_read_as_it_comes_and_one_without_end_is_an_error() {
    let task = json!({
        "id": 7, "name": "a", "status": "pending", "priority": "normal", "reasons": [], "status_reason": null,
        "parameters": {}, "env": [], "cwd": null, "hold": false, "key": null, "when": null, "claims": [],
        "dependencies": [], "timeout": null, "deadline": null, "max_retries": 0, "retry_delay": 1.0,
        "backoff": 1.0, "max_delay": 1.0, "jitter": 0.0, "retry_count": 0, "attempts": 0,
        "created_at": "2030-01-31T18:00:00Z", "started_at": null, "finished_at": null, "wait_time": null,
        "execution_time": null, "total_time": null, "result": null, "tags": [], "metadata": {},
        "session": null, "workflow": null, "owner": 0, "worker": null,
    });
    let (whole, cut) = (format!("[{task},{task}]"), format!("[{task},"));
    let fake = Fake::start(move |_, _, seen| Reply::Stream([&whole, &cut, &cut][seen].clone(), seen < 2));
    let client = fake.client().await;
    let mut all = client.listing(ListQuery::default()).await.unwrap();
    assert_eq!(all.next().await.unwrap().unwrap().len(), 2);
    assert!(all.next().await.is_none());
    for what in ["an end without a bracket", "a broken connection"] {
        let mut part = client.listing(ListQuery::default()).await.unwrap();
        assert_eq!(part.next().await.unwrap().unwrap()[0].id, TaskId(7), "{what}");
        assert!(part.next().await.unwrap().is_err(), "{what}");
    }
}

#[tokio::test]
async fn a_client_finds_the_daemon_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let script: Script = Arc::new(|_, _, _| Reply::Answer(200, "[]".into()));
    let first = tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), script.clone(), requests.clone()));
    let client = Client::connect_with(&socket, quick()).await.unwrap();
    first.abort();
    std::fs::remove_file(&socket).unwrap();
    let later = async {
        // Long enough for the client to have found nobody.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::spawn(serve(UnixListener::bind(&socket).unwrap(), script, requests));
    };
    let (workers, ()) = tokio::join!(client.workers(), later);
    assert!(workers.unwrap().is_empty());
}

#[tokio::test]
async fn events_go_on_behind_the_last_one_seen() {
    let fake = Fake::start(|_, _, seen| match seen {
        0 => Reply::Stream(event(1) + &event(2), false),
        1 => Reply::Stream(event(2) + &event(3) + "event: lagged\ndata: {}\n\n", true),
        _ => Reply::Stream(event(4), true),
    });
    let query = EventQuery { since: Some(0), limit: Some(4), ..EventQuery::default() };
    let events = fake.client().await.events(query).await.unwrap();
    let sequences: Vec<u64> = events.map(|event| event.unwrap().sequence.0).collect().await;
    assert_eq!(sequences, [1, 2, 3, 4]);
    assert_eq!(fake.requests()[2], "GET /v1/events?since=3&no_follow=false&limit=1");
}

#[tokio::test]
async fn output_goes_on_at_the_byte_where_it_broke() {
    let chunk = |offset, text: &str| {
        let chunk = LogChunk::new(AttemptNumber(1), LogStream::Stdout, offset, text.as_bytes());
        format!("event: chunk\ndata: {}\n\n", serde_json::to_string(&chunk).unwrap())
    };
    let end = "event: end\ndata: {\"status\": \"completed\", \"exit_code\": 0}\n\n";
    let (first, second) = (chunk(0, "abc"), chunk(0, "abcd") + &chunk(4, "ef") + end);
    let fake = Fake::start(move |_, _, seen| match seen {
        0 => Reply::Stream(first.clone(), false),
        _ => Reply::Stream(second.clone(), true),
    });
    let query = LogQuery { follow: true, stream: LogStream::Both, ..LogQuery::default() };
    let mut logs = fake.client().await.logs(TaskId(1), query).await.unwrap();
    let mut text = Vec::new();
    while let Some(item) = logs.next().await {
        match item.unwrap() {
            LogItem::Chunk(chunk) => text.extend(chunk.bytes().unwrap()),
            LogItem::End(end) => assert_eq!(end.exit_code, Some(0)),
        }
    }
    assert_eq!(text, b"abcdef");
    assert_eq!(fake.requests()[0], "GET /v1/tasks/1/logs?stream=both&follow=true");
}

#[tokio::test]
async fn a_query_is_encoded() {
    let fake = Fake::start(|_, _, _| Reply::Answer(200, "[]".into()));
    let query = ListQuery {
        tag: Some("a&b=c d/ü".into()),
        since: Some("90s".parse().unwrap()),
        ..Default::default()
    };
    fake.client().await.list(query).await.unwrap();
    assert_eq!(fake.requests(), ["GET /v1/tasks?tag=a%26b%3Dc+d%2F%C3%BC&since=90.0"]);
}

async fn unreachable_after(socket: &Path) -> Duration {
    let begun = Instant::now();
    match Client::connect_with(socket, quick()).await {
        Err(Error::Unreachable { socket: named, .. }) => assert_eq!(named, socket),
        other => panic!("{:?}", other.map(|client| client.socket().to_owned())),
    }
    begun.elapsed()
}

#[tokio::test]
async fn nobody_there_is_found_out_at_once_and_a_silent_socket_after_the_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    assert!(unreachable_after(&socket).await < Duration::from_millis(250));
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(unreachable_after(&socket).await >= Duration::from_millis(300));
    drop(listener);
    assert!(unreachable_after(&socket).await < Duration::from_millis(250));
}

#[tokio::test]
async fn a_client_with_one_request_asks_nothing_before_it_and_finds_out_the_same() {
    let answer = |_: &str, _: &str, _| Reply::Answer(200, r#"{"id": 7}"#.into());
    let fake = Fake::start(answer);
    let client = Client::lazy(&fake.socket, quick());
    assert_eq!(client.submit(TaskSpec::command(["true"])).await.unwrap().id, TaskId(7));
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let unreachable = async || match Client::lazy(&socket, quick()).submit(TaskSpec::command(["true"])).await
    {
        Err(Error::Unreachable { socket: named, .. }) => assert_eq!(named, socket),
        other => panic!("{:?}", other.map(|task| task.id)),
    };
    unreachable().await;
    let listener = UnixListener::bind(&socket).unwrap();
    unreachable().await;
    drop(listener);
    unreachable().await;
}

#[test]
fn the_blocking_client_asks_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let fake = Fake::start(|target, _, _| match target {
        "/v1/tasks/cancel" => Reply::Answer(200, r#"[{"id": 3, "status": "cancelled"}]"#.into()),
        _ => Reply::Stream(event(1) + &event(2), true),
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let client = orchd_client::blocking::Client::connect(&fake.socket).unwrap();
            let cancelled = client.cancel(Selector::from(TaskId(3))).unwrap();
            assert_eq!(cancelled[0].status, Some(Status::Cancelled));
            let query = EventQuery { no_follow: true, ..EventQuery::default() };
            assert_eq!(client.events(query).unwrap().count(), 2);
        });
    });
}

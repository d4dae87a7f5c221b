//! One event to one command or address: a try, and the tries after it.

use orchd_api::Event;
use orchd_model::{Span, is_obeyed};
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::post::post;
use crate::config::{HookConfig, Target};
use crate::http::Shell;
use crate::tether;

/// The longest pause between two tries.
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// How much is kept of what a command that failed wrote to standard error.
const SAID_BYTES: u64 = 500;
/// How long that is waited for once the command has ended.
const SAID_PATIENCE: Duration = Duration::from_millis(200);

/// Tries until it succeeds or no try is left: then the number of tries and why the last one failed.
pub async fn with_retries(
    shell: &Shell,
    config: &HookConfig,
    event: &Event,
    mut failed: impl FnMut(u32),
) -> Result<(), (u32, String)> {
    let mut pause = Duration::from(config.retry_delay);
    let mut tries = 0;
    loop {
        tries += 1;
        let Err(error) = once(shell, config, event).await else { return Ok(()) };
        failed(tries);
        if tries > config.retries {
            return Err((tries, error));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

/// Tries once; why it failed is the error.
///
/// # Errors
/// In words for people.
pub async fn once(shell: &Shell, config: &HookConfig, event: &Event) -> Result<(), String> {
    let text = serde_json::to_string(event).map_err(|error| error.to_string())?;
    match &config.target {
        Target::Command(argv) => run(shell, config, argv, event, text).await,
        Target::Url(uri) => post(uri.clone(), config.name.clone(), text, config.timeout).await,
    }
}

async fn within(timeout: Span, attempt: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let ended = tokio::time::timeout(timeout.into(), attempt).await;
    ended.unwrap_or_else(|_| Err(format!("not done after {timeout}")))
}

async fn run(
    shell: &Shell,
    config: &HookConfig,
    argv: &[String],
    event: &Event,
    text: String,
) -> Result<(), String> {
    let program = argv.first().ok_or("the command is empty")?;
    let id = |id: Option<u64>| id.map(|id| id.to_string()).unwrap_or_default();
    let mut command = Command::from(tether::command(argv));
    if let Some(cwd) = &config.cwd {
        command.current_dir(cwd);
    }
    let started = command
        .env("ORCHD_SOCKET", &shell.live.config().socket)
        .env("ORCHD_HOOK", &config.name)
        .env("ORCHD_EVENT_TYPE", &event.kind)
        .env("ORCHD_EVENT_SEQUENCE", event.sequence.to_string())
        .env("ORCHD_EVENT_TIME", event.time.to_string())
        .env("ORCHD_EVENT_TASK", id(event.task.map(|task| task.0)))
        .env("ORCHD_EVENT_WORKFLOW", id(event.workflow.map(|workflow| workflow.0)))
        .env("ORCHD_EVENT_SESSION", id(event.session.map(|session| session.0)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = started.map_err(|error| format!("{program}: {error}"))?;
    within(config.timeout, talk(Group(child), text)).await
}

/// The tether of a command, with its process group. One that has ended has ended its group; the group of one that is
/// left before that is killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // None once it is reaped: the number may be another one's by now.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let _ = leader.map(|leader| kill_process_group(leader, Signal::KILL));
    }
}

async fn talk(mut group: Group, text: String) -> Result<(), String> {
    let Group(child) = &mut group;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it does not want it.
        tokio::spawn(async move { drop(stdin.write_all(text.as_bytes()).await) });
    }
    let reader = child.stderr.take().map(|stderr| tokio::spawn(beginning(stderr)));
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let said = match reader {
        // What has left its group may still have it open.
        Some(reader) => tokio::time::timeout(SAID_PATIENCE, reader).await.ok().and_then(Result::ok),
        None => None,
    };
    // A reason is read by people, on one line.
    let words: String = String::from_utf8_lossy(&said.unwrap_or_default())
        .chars()
        .map(|c| if is_obeyed(c) { ' ' } else { c })
        .collect();
    let said = words.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(if said.is_empty() { status.to_string() } else { format!("{status}: {said}") })
}

/// The first of what comes; all is read, so that nobody is hindered from saying it.
async fn beginning(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut said = Vec::new();
    drop((&mut stream).take(SAID_BYTES).read_to_end(&mut said).await);
    drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    said
}

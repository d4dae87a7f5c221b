//! `edit`: another spec for a task that has not started, from an editor or a file.
//!
//! While an editor is open others may go on: what they change of the task stays as they left it, unless it is
//! the very thing that was edited. A file is the whole spec, whatever the task was before.

use clap::Args;
use orchd_api::Task;
use orchd_client::Client;
use orchd_model::{Code, Refusal, Status, TaskId, TaskSpec};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::{Exit, Failure, text};

/// What is run when nothing else is asked for.
const EDITOR: &str = "vi";

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// A held or pending task
    id: TaskId,
    /// Take the new spec from this file (JSON) instead of an editor; - for standard input
    #[arg(long, value_name = "FILE|-")]
    from: Option<PathBuf>,
    /// Print the spec as it is, and change nothing
    #[arg(long, conflicts_with = "from")]
    show: bool,
}

impl Edit {
    pub(crate) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = context.client().await?;
        if let Some(file) = &self.from {
            let spec = parse(&read(file)?)?;
            return replace(context, &client, self.id, spec).await;
        }
        if self.show {
            let spec = client.spec(self.id).await?;
            if context.json {
                context.screen.json(&spec)?;
            } else {
                context.screen.line(pretty(&spec)?.trim_end())?;
            }
            return Ok(Exit::DONE);
        }
        check_editable(&client.get(self.id).await?)?;
        let before = client.spec(self.id).await?;
        let text = pretty(&before)?;
        let draft = Draft::write(self.id, &text)?;
        draft.open_editor().await?;
        let edited = read(&draft.path)?;
        if edited == text {
            context.screen.line(format!("{} not changed", self.id))?;
            draft.forget();
            return Ok(Exit::DONE);
        }
        let result = async {
            let spec = merged(self.id, &before, &parse(&edited)?, &client.spec(self.id).await?)?;
            replace(context, &client, self.id, spec).await
        };
        match result.await {
            Ok(exit) => {
                draft.forget();
                Ok(exit)
            }
            // What somebody has typed is not thrown away.
            Err(failure) => Err(failure.hinted(draft.keep(self.id))),
        }
    }
}

/// Refuses, before anybody has typed anything, what the daemon would refuse afterwards.
fn check_editable(task: &Task) -> Result<(), Refusal> {
    let wrong_state = |message: &str| Refusal::new(Code::WrongState, format!("task {} {message}", task.id));
    if task.status.is_terminal() {
        return Err(wrong_state("has ended").value(task.status.as_str()));
    }
    let add_another = "cancel it and add another one";
    if task.status != Status::Pending || task.started_at.is_some() {
        return Err(wrong_state("has started").value(task.status.as_str()).hint(add_another));
    }
    if task.array.is_some() {
        let hint = "no task of an array is changed alone: cancel it and add another one; hold and reprioritize do work";
        return Err(wrong_state("shares its spec with its array").hint(hint));
    }
    Ok(())
}

/// What was edited, and what others have changed meanwhile.
fn merged(id: TaskId, before: &TaskSpec, edited: &TaskSpec, now: &TaskSpec) -> Result<TaskSpec, Failure> {
    let [before, edited, now] = [before, edited, now].map(fields);
    let (before, mut edited, now) = (before?, edited?, now?);
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let theirs: Vec<&String> = names.into_iter().filter(|name| before.get(*name) != now.get(*name)).collect();
    for name in theirs {
        if edited.get(name) == before.get(name) {
            match now.get(name) {
                Some(value) => drop(edited.insert(name.clone(), value.clone())),
                None => drop(edited.remove(name)),
            }
        } else if edited.get(name) != now.get(name) {
            let refusal = Refusal::new(Code::Conflict, "somebody else has changed it meanwhile");
            return Err(refusal
                .value(name)
                .hint(format!("look at it again: orchctl edit {id} --show"))
                .into());
        }
    }
    Ok(serde_json::from_value(Value::Object(edited)).map_err(io::Error::from)?)
}

fn fields(spec: &TaskSpec) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(spec).map_err(io::Error::from)? {
        Value::Object(fields) => Ok(fields),
        other => Err(Failure::Usage(format!("not a task spec: {other}"))),
    }
}

async fn replace(context: &Context, client: &Client, id: TaskId, spec: TaskSpec) -> Result<Exit, Failure> {
    let task = client.edit(id, &spec).await?;
    if context.json {
        context.screen.json(&task)?;
    } else if context.quiet {
        context.screen.line(id.to_string())?;
    } else {
        context.screen.line(format!("{id} edited"))?;
    }
    Ok(Exit::DONE)
}

fn pretty(spec: &TaskSpec) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(spec).map_err(io::Error::from)? + "\n")
}

fn parse(json: &str) -> Result<TaskSpec, Failure> {
    let wrong = |error| Failure::Usage(format!("not a task spec: {}", text::json_error(&error)));
    serde_json::from_str(json).map_err(wrong)
}

fn read(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(|error| Failure::unreadable(path, &error))?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))
}

/// The text that is being edited: a file in a directory of its own, which nobody else can read, because a
/// spec has environment variables in it.
struct Draft {
    directory: tempfile::TempDir,
    path: PathBuf,
}

impl Draft {
    fn write(id: TaskId, text: &str) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("orchctl-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()?;
        let path = directory.path().join(format!("task-{id}.json"));
        // The environment of a task may hold secrets, and the file may be kept and go elsewhere.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Self { directory, path })
    }

    /// Runs the editor and waits for its end. Ctrl-C is for the editor.
    async fn open_editor(&self) -> Result<(), Failure> {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| OsString::from(EDITOR));
        let _interrupt = signal(SignalKind::interrupt())?;
        // Through a shell, as everybody does: the variable may hold options.
        let mut line = editor.clone();
        line.push(" \"$1\"");
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line).arg("editor").arg(&self.path);
        let ended = tokio::task::spawn_blocking(move || command.status());
        let status = ended.await.map_err(io::Error::from)??;
        if status.success() {
            return Ok(());
        }
        let editor = editor.to_string_lossy().into_owned();
        let message = format!("the editor has ended with {status}, nothing is changed: {editor}");
        Err(Failure::Usage(format!("{message}\nhint: $VISUAL or $EDITOR names it")))
    }

    fn forget(self) {
        // The system empties its directory of temporary files some day.
        self.directory.close().ok();
    }

    /// Leaves the file where it is, and says how to go on from there.
    fn keep(self, id: TaskId) -> String {
        let path = self.directory.keep().join(self.path.file_name().unwrap_or_default());
        format!("your text is kept: orchctl edit {id} --from {}", path.display())
    }
}

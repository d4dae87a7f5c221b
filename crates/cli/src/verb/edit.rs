//! `edit`: another spec for a task that has not started, from an editor or a file.

use clap::Args;
use orchd_client::Client;
use orchd_model::{TaskId, TaskSpec};
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::Context;
use crate::{Exit, Failure};

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
        let text = pretty(&client.spec(self.id).await?)?;
        if self.show {
            context.screen.line(text.trim_end())?;
            return Ok(Exit::DONE);
        }
        let draft = Draft::write(self.id, &text)?;
        draft.open_editor().await?;
        let edited = read(&draft.path)?;
        if edited == text {
            context.screen.line(format!("{} not changed", self.id))?;
            draft.forget();
            return Ok(Exit::DONE);
        }
        let result = match parse(&edited) {
            Ok(spec) => replace(context, &client, self.id, spec).await,
            Err(failure) => Err(failure),
        };
        match &result {
            Ok(_) => draft.forget(),
            // What somebody has typed is not thrown away.
            Err(_) => draft.keep(self.id),
        }
        result
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

fn parse(text: &str) -> Result<TaskSpec, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Usage(format!("not a task spec: {error}")))
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
        std::fs::write(&path, text)?;
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
        Err(io::Error::other(format!("the editor has ended with {status}, nothing is changed: {editor}"))
            .into())
    }

    fn forget(self) {
        // The system empties its directory of temporary files some day.
        self.directory.close().ok();
    }

    fn keep(self, id: TaskId) {
        let path = self.directory.keep().join(self.path.file_name().unwrap_or_default());
        let again = format!("hint: your text is kept: orchctl edit {id} --from {}", path.display());
        writeln!(io::stderr(), "{again}").ok();
    }
}

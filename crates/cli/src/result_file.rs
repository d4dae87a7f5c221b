//! The result document of a workflow in a file: it is there from the beginning, follows the tasks as they end, and
//! so holds what there is of it also when this program, or the daemon, is killed.
//!
//! Each version takes the place of the one before in one step: whoever reads the file never sees half of one.

use orchd_api::ListQuery;
use orchd_client::Client;
use orchd_model::WorkflowId;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::summary::Summary;

/// Versions are at least so long apart; and ten times as long as one takes to write.
const PAUSE: Duration = Duration::from_secs(1);

/// A file for the result document.
pub(crate) struct ResultFile {
    path: PathBuf,
    /// Where the next version is written; none where the file itself is written to: a pipe, a device.
    part: Option<PathBuf>,
    is_stale: bool,
    next: Instant,
}

impl ResultFile {
    /// Makes sure that the file can be written, without a change to it.
    pub(crate) fn new(path: PathBuf) -> Result<Self, Failure> {
        let is_special = fs::metadata(&path).is_ok_and(|found| !found.is_file());
        let part = (!is_special).then(|| part_of(&path));
        let tried = match &part {
            Some(part) => File::create(part).map(drop),
            None => File::options().write(true).open(&path).map(drop),
        };
        tried.map_err(|error| unwritable(&path, &error))?;
        Ok(Self { path, part, is_stale: true, next: Instant::now() })
    }

    /// Something has happened that the file does not tell.
    pub(crate) fn note(&mut self) {
        self.is_stale = true;
    }

    /// Writes what there is of it by now, if that has changed and it is time to.
    pub(crate) async fn follow(&mut self, client: &Client, workflow: WorkflowId) -> Result<(), Failure> {
        if !self.is_stale || self.part.is_none() || Instant::now() < self.next {
            return Ok(());
        }
        let started = Instant::now();
        self.is_stale = false;
        self.write(&document(client, workflow).await?)?;
        self.next = Instant::now() + PAUSE.max(started.elapsed() * 10);
        Ok(())
    }

    /// Writes the document as it is.
    pub(crate) fn write(&self, document: &Summary) -> Result<(), Failure> {
        self.replace(document).map_err(|error| unwritable(&self.path, &error))
    }

    fn replace(&self, document: &Summary) -> io::Result<()> {
        let mut text = serde_json::to_vec(document)?;
        text.push(b'\n');
        let Some(part) = &self.part else {
            return File::options().write(true).open(&self.path)?.write_all(&text);
        };
        let mut file = File::create(part)?;
        file.write_all(&text)?;
        file.sync_data()?;
        fs::rename(part, &self.path)
    }
}

impl Drop for ResultFile {
    fn drop(&mut self) {
        // It is there only if nothing was written.
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}

/// A name beside the file, so that it can take its place.
fn part_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot write {}: {error}", path.display()))
}

/// A workflow with its tasks, as it is now.
pub(crate) async fn document(client: &Client, workflow: WorkflowId) -> Result<Summary, Failure> {
    let shown = client.workflow(workflow).await?;
    let query = ListQuery { workflow: Some(workflow.to_string()), limit: Some(0), ..ListQuery::default() };
    Ok(Summary::new(shown, client.list(query).await?))
}

//! Output files of tasks that are no longer in the store. A thread of its own removes them: no commit waits
//! for a large file to go.
//!
//! The store forgets a task first. A daemon that dies in between leaves files that nobody knows; the next one
//! looks for them, once, beside its other work.

use crossbeam_channel::{Receiver, Sender};
use orchd_model::{AttemptNumber, TaskId};
use orchd_store::History;
use orchd_worker::{StatePaths, Stream};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Lists under way; a sweeper that is slower than the trimming slows it down.
const LISTS: usize = 256;
/// Tasks that are looked up at once.
const LOOKED_UP: usize = 1000;

type List = Vec<(TaskId, AttemptNumber)>;

/// Where lists of files to remove go.
pub struct Sweeper(Sender<List>);

/// The other end, before its thread runs.
pub struct Sweepings(Receiver<List>);

/// The two ends.
pub fn channel() -> (Sweeper, Sweepings) {
    let (sender, receiver) = crossbeam_channel::bounded(LISTS);
    (Sweeper(sender), Sweepings(receiver))
}

impl Sweeper {
    /// Has the output of these tasks removed, up to these attempts.
    pub fn remove(&self, tasks: List) {
        // A thread that has ended leaves files; the next daemon finds them.
        drop(self.0.send(tasks));
    }
}

impl Sweepings {
    /// Removes what it is told to, until nobody can tell it any more. Before that, what nobody knows, if it is
    /// given a store to ask.
    pub fn run(self, paths: &StatePaths, history: Option<Box<dyn History>>) {
        if let Some(mut history) = history {
            match remove_unknown(paths, &mut *history) {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "output of tasks that are gone has been removed"),
                Err(error) => tracing::warn!("output of tasks that are gone may be left: {error:#}"),
            }
        }
        for list in self.0 {
            let mut directories = BTreeSet::new();
            for (task, last) in list {
                for attempt in 1..=last.0 {
                    for stream in Stream::ALL {
                        let path = paths.output(task, AttemptNumber(attempt), stream);
                        remove(&path);
                        directories.extend(path.parent().map(Path::to_path_buf));
                    }
                }
            }
            for directory in directories {
                // One that has something in it stays; the worker makes one anew that it misses.
                let _ = fs::remove_dir(directory);
            }
        }
    }
}

/// Removes a file, which need not be there.
fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "output could not be removed");
            }
            false
        }
    }
}

/// Removes the output of tasks that the store does not know. Gives the number of files.
fn remove_unknown(paths: &StatePaths, history: &mut dyn History) -> anyhow::Result<usize> {
    let output = paths.root().join("output");
    let mut removed = 0;
    let directories = match fs::read_dir(&output) {
        Ok(directories) => directories,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    for directory in directories {
        let directory = directory?;
        // The spools are the worker's.
        if !directory.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit())) {
            continue;
        }
        let files: Vec<_> = fs::read_dir(directory.path())?.filter_map(Result::ok).collect();
        for files in files.chunks(LOOKED_UP) {
            let ids: BTreeSet<TaskId> = files.iter().filter_map(|file| task_of(&file.file_name())).collect();
            let ids: Vec<TaskId> = ids.into_iter().collect();
            let known: BTreeSet<TaskId> = history.names(&ids)?.into_iter().map(|(id, _)| id).collect();
            let unknown =
                files.iter().filter(|f| task_of(&f.file_name()).is_some_and(|id| !known.contains(&id)));
            removed += unknown.filter(|file| remove(&file.path())).count();
        }
        let _ = fs::remove_dir(directory.path());
    }
    Ok(removed)
}

/// The task whose output a file is, by its name `ID.ATTEMPT.out`.
fn task_of(name: &std::ffi::OsStr) -> Option<TaskId> {
    name.to_str()?.split_once('.')?.0.parse().ok().map(TaskId)
}

//! The daemon's own log: what is shown can change while it runs, and a file of it does not grow without end.

use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};

/// Files kept beside the one that is written to: `PATH.1` is the latest.
const FORMER_FILES: u32 = 3;

/// Changes what is shown.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    file: Option<Arc<Mutex<RotatingFile>>>,
    usual: &'static str,
}

/// Starts logging; `usual` is what is shown when nobody has said anything.
///
/// # Errors
/// When the filter cannot be read, or the file not be opened.
pub fn start(settings: &LogSettings, usual: &'static str) -> Result<Logs> {
    let (filter, handle) = reload::Layer::new(filter(settings, usual)?);
    let opened = settings.file.as_ref().map(|path| {
        let file = RotatingFile::open(path, settings.max_bytes);
        file.with_context(|| format!("cannot open the log: {}", path.display()))
    });
    let file = opened.transpose()?.map(|file| Arc::new(Mutex::new(file)));
    let lines = match file.clone() {
        Some(file) => {
            styled(fmt::layer().with_ansi(false).with_writer(move || Shared(Arc::clone(&file))), settings)
        }
        None => styled(fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr), settings),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Logs { filter: handle, file, usual })
}

type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// A registry behind a filter that can be changed.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;

fn styled<W>(
    lines: fmt::Layer<Filtered, fmt::format::DefaultFields, fmt::format::Format, W>,
    settings: &LogSettings,
) -> Lines
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

impl Logs {
    /// Opens the file anew: somebody may have moved the one that is open.
    pub fn reopen(&self) {
        let reopened = self.file.as_ref().map_or(Ok(()), |file| file.lock().reopen());
        if let Err(error) = reopened {
            tracing::warn!(%error, "the log could not be opened anew");
        }
    }

    /// Shows what these settings say from now on.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn show(&self, settings: &LogSettings) -> Result<()> {
        self.filter.reload(filter(settings, self.usual)?).context("the log's filter cannot be changed")
    }
}

fn filter(settings: &LogSettings, usual: &str) -> Result<EnvFilter> {
    let text = settings.filter.as_deref().unwrap_or(usual);
    EnvFilter::try_new(text).with_context(|| format!("not a log filter: {text}"))
}

/// A file that is given another name when it has grown enough, and begun anew.
struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
}

impl RotatingFile {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes, limit })
    }

    fn rotate(&mut self) -> io::Result<()> {
        let former = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..FORMER_FILES).rev() {
            // There may not be so many yet.
            let _ = fs::rename(former(number), former(number + 1));
        }
        match fs::rename(&self.path, former(1)) {
            // Somebody has moved it; then this is not to grow where nobody looks.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.reopen(),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.limit)?;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes >= self.limit {
            // A file that cannot be renamed grows on, and that is tried again after as much.
            if self.rotate().is_err() {
                self.bytes = 0;
            }
        }
        let written = self.file.write(line)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The file as one line's writer has it.
struct Shared(Arc<Mutex<RotatingFile>>);

impl Write for Shared {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_file_that_somebody_has_moved_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("log"), directory.path().join("moved"));
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let mut file = RotatingFile::open(&path, 10).unwrap();
        file.write_all(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"two\n").unwrap();
        file.reopen().unwrap();
        file.write_all(b"three and more\n").unwrap();
        assert_eq!((read(&moved), read(&path)), ("one\ntwo\n".to_owned(), "three and more\n".to_owned()));
        // Without being told it is noticed when the file is full.
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"four\n").unwrap();
        assert_eq!(read(&path), "four\n");
    }

    #[test]
    fn a_log_file_is_rotated_and_the_oldest_one_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for round in 0..6 {
            let mut file = RotatingFile::open(&path, 10).unwrap();
            file.write_all(format!("line {round} is long\n").as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
        assert_eq!(
            ["log", "log.1", "log.2", "log.3", "log.4"].map(read),
            ["line 5 is long\n", "line 4 is long\n", "line 3 is long\n", "line 2 is long\n", ""]
        );
    }
}

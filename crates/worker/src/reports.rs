//! The spool of reports: ended attempts that no daemon has acknowledged, kept while there is none to tell.
//! One JSON document a line, synced before it counts.
//!
//! Invariant: a line that ends in a newline is whole. What a crash has torn is the last line; it is dropped
//! by readers, and cut off before anything is appended.

use orchd_model::AttemptReport;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::StatePaths;

/// Reads the reports that a worker has left, in the order in which the attempts ended. The last one is
/// missing if it was torn by a crash. An attempt may be reported more than once.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read_reports(state_dir: &Path) -> io::Result<Vec<AttemptReport>> {
    let bytes = match fs::read(StatePaths::new(state_dir).reports()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = &bytes[..whole_lines(&bytes)];
    let mut reports = Vec::new();
    for line in whole.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(report) => reports.push(report),
            Err(error) => tracing::error!(%error, "a spooled report is unreadable and was left out"),
        }
    }
    Ok(reports)
}

/// Forgets the reports that a worker has left. They must be durable elsewhere, and the worker dead.
///
/// # Errors
/// When the file cannot be removed.
pub fn clear_reports(state_dir: &Path) -> io::Result<()> {
    match fs::remove_file(StatePaths::new(state_dir).reports()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

/// The spool as its owner, the worker, has it.
pub(crate) struct ReportSpool {
    file: File,
    /// Bytes of whole, synced lines.
    length: u64,
}

impl ReportSpool {
    /// Opens the spool, with the reports that are in it already.
    pub(crate) fn open(paths: &StatePaths) -> io::Result<(Self, Vec<AttemptReport>)> {
        let left = read_reports(paths.root())?;
        let path = paths.reports();
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        let length = whole_lines(&fs::read(&path)?) as u64;
        file.set_len(length)?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok((Self { file, length }, left))
    }

    /// Appends reports and syncs them. After an error none of them counts as written.
    pub(crate) fn append<'a>(
        &mut self,
        reports: impl IntoIterator<Item = &'a AttemptReport>,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for report in reports {
            serde_json::to_writer(&mut text, report)?;
            text.push(b'\n');
        }
        // Also cuts off what an earlier try has left.
        self.file.set_len(self.length)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.length))?;
        self.file.write_all(&text)?;
        self.file.sync_all()?;
        self.length += text.len() as u64;
        Ok(())
    }

    /// Empties the spool, if it is not empty.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        if self.length > 0 {
            self.file.set_len(0)?;
            self.length = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::{AttemptNumber, Outcome, Span, TaskId, Token};

    fn report(token: u64) -> AttemptReport {
        AttemptReport {
            execution_time: Span::from_millis(5),
            ..AttemptReport::new(TaskId(token), AttemptNumber(1), Token(token), Outcome::exited(3))
        }
    }

    #[test]
    fn a_torn_last_report_is_dropped_and_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let paths = StatePaths::new(directory.path());
        paths.create(1).unwrap();
        assert_eq!(read_reports(directory.path()).unwrap(), []);
        let (mut spool, _) = ReportSpool::open(&paths).unwrap();
        spool.append(&[report(1), report(2)]).unwrap();
        let whole = fs::read(paths.reports()).unwrap();
        fs::write(paths.reports(), &whole[..whole.len() - 4]).unwrap();
        assert_eq!(read_reports(directory.path()).unwrap(), [report(1)]);

        let (mut spool, left) = ReportSpool::open(&paths).unwrap();
        assert_eq!(left, [report(1)]);
        spool.append(&[report(3)]).unwrap();
        assert_eq!(read_reports(directory.path()).unwrap(), [report(1), report(3)]);
        spool.clear().unwrap();
        assert_eq!(read_reports(directory.path()).unwrap(), []);
        clear_reports(directory.path()).unwrap();
        clear_reports(directory.path()).unwrap();
    }
}

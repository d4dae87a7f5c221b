//! Following the output of one task until it has ended, byte for byte.

use orchd_api::{LogChunk, LogEnd, LogQuery, LogStream, Task};
use orchd_client::{Client, LogItem};
use orchd_model::{ErrorType, Status, TaskId};
use std::io::{self, Write};

use crate::command_line::PROGRAM;
use crate::interrupt::Interrupt;
use crate::{Exit, Failure, output};

/// How a task that was followed ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    end: LogEnd,
    error_type: Option<ErrorType>,
    attempts: u32,
    interrupted: bool,
}

/// What attempts are ended with, signal(7).
const SIGTERM: i32 = 15;

impl Ended {
    /// 0 completed, 1 not.
    pub(crate) fn as_status(&self) -> Exit {
        match self.end.status {
            _ if self.interrupted => Exit::INTERRUPTED,
            Status::Completed => Exit::DONE,
            _ => Exit::UNSUCCESSFUL,
        }
    }

    /// The exit code of the command itself, as a shell would have it.
    pub(crate) fn as_command(&self) -> Exit {
        match (self.end.status, self.end.exit_code, self.end.signal) {
            _ if self.interrupted => Exit::INTERRUPTED,
            (Status::Completed, _, _) => Exit::DONE,
            (_, Some(code), _) if code != 0 => Exit::of_command(code),
            (_, _, Some(signal)) => Exit::of_signal(signal),
            _ => match self.error_type {
                Some(ErrorType::NotFound) => Exit::NO_COMMAND,
                Some(ErrorType::PermissionDenied) => Exit::NOT_EXECUTABLE,
                // Ended by us, which is done with this signal.
                Some(ErrorType::Timeout | ErrorType::Deadline) if self.attempts > 0 => {
                    Exit::of_signal(SIGTERM)
                }
                None if self.end.status == Status::Cancelled && self.attempts > 0 => Exit::of_signal(SIGTERM),
                _ => Exit::UNSUCCESSFUL,
            },
        }
    }
}

/// Writes what a task writes: its output to standard output, its errors to standard error (`quiet_stdout`:
/// both to standard error). An interrupt cancels the task, a second one gives up on it.
pub(crate) async fn task(
    client: &Client,
    id: TaskId,
    quiet_stdout: bool,
    interrupt: Option<&mut Interrupt>,
) -> Result<Ended, Failure> {
    let query = LogQuery { follow: true, stream: LogStream::Both, ..LogQuery::default() };
    let mut interrupted = false;
    let end = match interrupt {
        None => copy(client, id, query, quiet_stdout).await?,
        Some(interrupt) => {
            let copying = copy(client, id, query, quiet_stdout);
            tokio::pin!(copying);
            loop {
                tokio::select! {
                    end = &mut copying => break end?,
                    () = interrupt.come() => {
                        if std::mem::replace(&mut interrupted, true) {
                            let end = LogEnd { status: Status::Cancelled, exit_code: None, signal: None };
                            return Ok(Ended { end, error_type: None, attempts: 0, interrupted });
                        }
                        client.cancel(id.into()).await?;
                    }
                }
            }
        }
    };
    let silent = end.exit_code.is_none() && end.signal.is_none() && end.status != Status::Completed;
    let (error_type, attempts) = if silent && !interrupted {
        let task = client.get(id).await?;
        (say_why(&task), task.attempts)
    } else {
        (None, 0)
    };
    Ok(Ended { end, error_type, attempts, interrupted })
}

async fn copy(client: &Client, id: TaskId, query: LogQuery, quiet_stdout: bool) -> Result<LogEnd, Failure> {
    let mut logs = client.logs(id, query).await?;
    while let Some(item) = logs.next().await {
        match item? {
            LogItem::Chunk(chunk) => write(&chunk, quiet_stdout)?,
            LogItem::End(end) => return Ok(end),
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// Passes a piece of output on, unchanged.
pub(crate) fn write(chunk: &LogChunk, quiet_stdout: bool) -> io::Result<()> {
    let bytes = chunk.bytes().unwrap_or_default();
    if chunk.stream == LogStream::Stdout && !quiet_stdout {
        output::write_now(&bytes)
    } else {
        io::stderr().lock().write_all(&bytes)
    }
}

/// A command that ended without a code of its own has said nothing; so it is said here.
fn say_why(task: &Task) -> Option<ErrorType> {
    let result = task.result.as_ref();
    let why = result.and_then(|result| result.error_message.clone());
    let why = why.or_else(|| task.status_reason.as_ref().map(|reason| reason.text.clone()));
    let why = why.map(|why| format!(": {}", crate::text::plain(&why))).unwrap_or_default();
    writeln!(io::stderr(), "{PROGRAM}: task {} {}{why}", task.id, task.status).ok();
    result.and_then(|result| result.error_type.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: Status, exit_code: Option<i32>, signal: Option<i32>) -> Ended {
        Ended { end: LogEnd { status, exit_code, signal }, error_type: None, attempts: 1, interrupted: false }
    }

    #[test]
    fn a_run_exits_as_its_command_did() {
        for (ended, code) in [
            (ended(Status::Completed, Some(0), None), 0),
            (ended(Status::Failed, Some(7), None), 7),
            (ended(Status::Failed, None, Some(9)), 137),
            // Its result was unreadable: the command said 0, the task failed.
            (ended(Status::Failed, Some(0), None), 1),
            (ended(Status::Skipped, None, None), 1),
            (Ended { error_type: Some(ErrorType::NotFound), ..ended(Status::Failed, None, None) }, 127),
            (Ended { error_type: Some(ErrorType::Timeout), ..ended(Status::Failed, None, None) }, 143),
            (ended(Status::Cancelled, None, None), 143),
            (Ended { attempts: 0, ..ended(Status::Cancelled, None, None) }, 1),
            (Ended { interrupted: true, ..ended(Status::Cancelled, None, Some(15)) }, 130),
        ] {
            assert_eq!(ended.as_command().code(), code, "{ended:?}");
        }
        assert_eq!(ended(Status::Failed, Some(7), None).as_status(), Exit::UNSUCCESSFUL);
    }
}

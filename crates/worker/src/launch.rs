//! From an assignment to a process: arguments, environment, directory, standard streams.
//!
//! A command finds in its environment what it was given, and
//! `ORCHD_TASK_ID`, `ORCHD_ATTEMPT`, `ORCHD_TOKEN`, `ORCHD_RESULT`, `ORCHD_INPUTS`, `ORCHD_SOCKET`,
//! `ORCHD_CPUS`, `ORCHD_PROGRESS`; with a claim on cores also `MAKEFLAGS`, unless it was given.

use orchd_api::{Assignment, Work};
use orchd_model::{Env, ErrorType, Outcome};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Rlimit;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use crate::StatePaths;
use crate::image::{CStrings, NulInside};
use crate::jobserver::{Jobserver, Jobservers, path_with_scripts};
use crate::slot::{SlotFiles, above_stdio};
use crate::sys::{self, Plan, SpawnError, Stack, Step};

/// Where a program is looked for when a task's environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const OWN_VARIABLES: [&str; 9] = [
    "ORCHD_TASK_ID",
    "ORCHD_ATTEMPT",
    "ORCHD_TOKEN",
    "ORCHD_RESULT",
    "ORCHD_INPUTS",
    "ORCHD_SOCKET",
    "ORCHD_CPUS",
    "ORCHD_PROGRESS",
    "ORCHD_VARIANT",
];
/// Where GNU make and those that do as it does find a jobserver.
const MAKEFLAGS: &str = "MAKEFLAGS";
/// Bytes of a path or program name shown in a message.
const SHOWN_BYTES: usize = 200;

/// Starts processes; belongs to one thread. Its buffers are reused.
pub(crate) struct Launcher {
    stack: Stack,
    nothing: OwnedFd,
    socket: PathBuf,
    no_inputs: PathBuf,
    scripts: PathBuf,
    jobservers: Jobservers,
    /// The limit of open files that processes get instead of this one's.
    pub(crate) descriptors: Option<Rlimit>,
    candidates: CStrings,
    argv: CStrings,
    envp: CStrings,
    cwd: CStrings,
}

impl Launcher {
    pub(crate) fn new(paths: &StatePaths, socket: &Path) -> io::Result<Self> {
        let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            stack: Stack::new()?,
            nothing: above_stdio(nothing)?,
            socket: socket.to_owned(),
            no_inputs: paths.no_inputs(),
            scripts: paths.scripts(),
            jobservers: Jobservers::default(),
            descriptors: None,
            candidates: CStrings::default(),
            argv: CStrings::default(),
            envp: CStrings::default(),
            cwd: CStrings::default(),
        })
    }

    /// Starts the process of an assignment; `pid` is where it writes its own id. What an attempt that could
    /// not start ends with is the error.
    pub(crate) fn launch(
        &mut self,
        assignment: &Assignment,
        files: &mut SlotFiles,
        progress: &Path,
        cgroup: Option<BorrowedFd<'_>>,
        pid: &AtomicU64,
    ) -> Result<(u32, OwnedFd), Outcome> {
        let (argv, env, cwd, stdin) = match &assignment.work {
            Work::Command { argv, env, cwd, stdin } => (argv, env, cwd.as_deref(), stdin.as_deref()),
            Work::Claim => {
                let message = "this worker runs commands and holds no claims for itself";
                return Err(Outcome::failed(ErrorType::NotFound, message));
            }
            Work::Handler { handler, .. } => {
                return Err(Outcome::failed(
                    ErrorType::NotFound,
                    format!("this worker runs commands and has no handler: {}", shown(handler)),
                ));
            }
        };
        let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
            return Err(Outcome::failed(ErrorType::NotFound, "the command is empty"));
        };
        let inputs = match &assignment.inputs {
            None => None,
            Some(value) => Some(files.write_inputs(assignment.token, value).map_err(cannot_prepare)?),
        };
        let result = files.result_path(assignment.token);
        let jobserver = self.open_jobserver(assignment, env, files).map_err(cannot_prepare)?;
        let path = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let path = match &jobserver {
            Some(_) => path_with_scripts(&self.scripts, path).map_or(Cow::Borrowed(path), Cow::Owned),
            None => Cow::Borrowed(path),
        };
        let (jobserver_of, inputs) = (jobserver.as_ref(), inputs.as_deref());
        let extra = Extra { result: &result, inputs, progress, jobserver: jobserver_of, path: &path };
        self.write_environment(assignment, env, &extra)
            .and_then(|()| self.write_command(program, argv, &path, cwd.unwrap_or("/")))
            .map_err(|NulInside| Outcome::failed(refused(), "an argument or variable has a NUL in it"))?;
        let stdin = stdin.map(text_file).transpose().map_err(cannot_prepare)?;
        let [out, err] = files.open_spools().map_err(cannot_prepare)?;
        let plan = Plan {
            candidates: &self.candidates,
            argv: &self.argv,
            envp: &self.envp,
            cwd: &self.cwd,
            stdio: [stdin.as_ref().unwrap_or(&self.nothing).as_fd(), out, err],
            cgroup,
            inherited: jobserver.as_ref().and_then(Jobserver::inherited),
            descriptors: self.descriptors,
            pid,
        };
        let spawned =
            sys::spawn(&self.stack, &plan).map_err(|error| explain(error, program, cwd.unwrap_or("/")));
        files.keep_fifo(jobserver.and_then(Jobserver::into_kept));
        spawned
    }

    /// The jobserver of an attempt, if it is to have one. Who sets `MAKEFLAGS` wants no other.
    fn open_jobserver(
        &mut self,
        assignment: &Assignment,
        env: &Env,
        files: &SlotFiles,
    ) -> io::Result<Option<Jobserver>> {
        let Some(bounds) = assignment.bounds.filter(|_| !env.contains_key(MAKEFLAGS)) else {
            return Ok(None);
        };
        let path = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        self.jobservers.open(bounds, path, &files.fifo_path())
    }

    fn write_command(
        &mut self,
        program: &str,
        argv: &[String],
        path: &str,
        cwd: &str,
    ) -> Result<(), NulInside> {
        self.candidates.clear();
        if program.contains('/') {
            self.candidates.push(&[program.as_bytes()])?;
        } else {
            for directory in path.split(':') {
                // An empty part of PATH is the working directory.
                let separator: &[u8] = if directory.is_empty() { b"./" } else { b"/" };
                self.candidates.push(&[directory.as_bytes(), separator, program.as_bytes()])?;
            }
        }
        self.candidates.finish();
        self.argv.clear();
        for argument in argv {
            self.argv.push(&[argument.as_bytes()])?;
        }
        self.argv.finish();
        self.cwd.clear();
        self.cwd.push(&[cwd.as_bytes()])?;
        self.cwd.finish();
        Ok(())
    }

    fn write_environment(
        &mut self,
        assignment: &Assignment,
        env: &Env,
        extra: &Extra<'_>,
    ) -> Result<(), NulInside> {
        let Extra { result, inputs, progress, jobserver, path } = *extra;
        self.envp.clear();
        for (name, value) in env.iter().filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str())) {
            let value = if jobserver.is_some() && name == "PATH" { path } else { value };
            self.envp.push(&[name.as_bytes(), b"=", value.as_bytes()])?;
        }
        if let Some(jobserver) = jobserver {
            self.envp.push(&[MAKEFLAGS.as_bytes(), b"=", &jobserver.flags])?;
            if !env.contains_key("PATH") {
                self.envp.push(&[b"PATH=", path.as_bytes()])?;
            }
        }
        let task = assignment.task.to_string();
        let attempt = assignment.attempt.to_string();
        let token = assignment.token.to_string();
        repair(&self.no_inputs, result);
        let inputs = inputs.unwrap_or(&self.no_inputs);
        let cpus = assignment.bounds.unwrap_or_default().allotment.cpus().to_string();
        let values: [&[u8]; 8] = [
            task.as_bytes(),
            attempt.as_bytes(),
            token.as_bytes(),
            result.as_os_str().as_bytes(),
            inputs.as_os_str().as_bytes(),
            self.socket.as_os_str().as_bytes(),
            cpus.as_bytes(),
            progress.as_os_str().as_bytes(),
        ];
        // The last of them, if it is there.
        let variant = assignment.variant.map(|variant| variant.to_string());
        let values = values.into_iter().chain(variant.as_ref().map(|variant| variant.as_bytes()));
        for (name, value) in OWN_VARIABLES.iter().zip(values) {
            self.envp.push(&[name.as_bytes(), b"=", value])?;
        }
        self.envp.finish();
        Ok(())
    }
}

/// What is in the environment of one attempt beside what was given.
struct Extra<'a> {
    result: &'a Path,
    inputs: Option<&'a Path>,
    progress: &'a Path,
    jobserver: Option<&'a Jobserver>,
    /// What `PATH` is if there is a jobserver.
    path: &'a str,
}

/// A file with this text, which is gone when nobody has it open.
fn text_file(text: &str) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    above_stdio(file.into())
}

/// The error type of attempts that the system did not let start, for reasons that are not the program's.
fn refused() -> ErrorType {
    ErrorType::Other("CannotStart".to_owned())
}

fn cannot_prepare(error: io::Error) -> Outcome {
    Outcome::failed(refused(), format!("the attempt could not be prepared: {error}"))
}

fn explain(error: SpawnError, program: &str, cwd: &str) -> Outcome {
    let SpawnError { step, errno } = error;
    let (error_type, message) = match (step, errno) {
        (Some(Step::Directory), Errno::NOENT) => {
            (ErrorType::NotFound, format!("working directory not found: {}", shown(cwd)))
        }
        (Some(Step::Directory), Errno::NOTDIR) => {
            (ErrorType::NotFound, format!("working directory is not a directory: {}", shown(cwd)))
        }
        (Some(Step::Directory), Errno::ACCESS) => {
            (ErrorType::PermissionDenied, format!("working directory may not be entered: {}", shown(cwd)))
        }
        (Some(Step::Exec), Errno::NOENT | Errno::NOTDIR) if program.contains('/') && exists(program, cwd) => {
            (
                ErrorType::NotFound,
                format!("the interpreter of this program was not found: {}", shown(program)),
            )
        }
        (Some(Step::Exec), Errno::NOENT | Errno::NOTDIR) => {
            (ErrorType::NotFound, format!("program not found: {}", shown(program)))
        }
        (Some(Step::Exec), Errno::ACCESS | Errno::PERM) => {
            (ErrorType::PermissionDenied, format!("program may not be run: {}", shown(program)))
        }
        (Some(Step::Exec), Errno::NOEXEC) => (
            ErrorType::PermissionDenied,
            format!("neither a program nor a script with a #! line: {}", shown(program)),
        ),
        (Some(Step::Exec), Errno::TOOBIG) => {
            (refused(), "arguments and environment are larger than the system allows".to_owned())
        }
        (Some(_), errno) => (refused(), format!("{errno}: {}", shown(program))),
        (None, errno) => (refused(), format!("no process could be made: {errno}")),
    };
    Outcome::failed(error_type, message)
}

fn exists(program: &str, cwd: &str) -> bool {
    Path::new(cwd).join(program).is_file()
}

/// The text, cut to a length that fits a message.
fn shown(text: &str) -> &str {
    let mut end = text.len().min(SHOWN_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What the shared file of inputs says.
pub(crate) const NO_INPUTS: &str = "{\"parameters\":{},\"tasks\":{}}\n";

/// Puts back what an earlier task may have taken away or changed: the shared file of inputs, and the
/// directory of its slot. What cannot be put back shows when the task looks for it.
fn repair(no_inputs: &Path, result: &Path) {
    if std::fs::read(no_inputs).ok().as_deref() != Some(NO_INPUTS.as_bytes()) {
        drop(std::fs::remove_file(no_inputs));
        if let Err(error) = std::fs::write(no_inputs, NO_INPUTS) {
            tracing::error!(%error, "the shared file of inputs cannot be put back");
        }
    }
    if let Some(directory) = result.parent().filter(|directory| !directory.is_dir())
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        tracing::error!(%error, "the directory of a slot cannot be put back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(errno: Errno) -> Outcome {
        explain(SpawnError { step: Some(Step::Exec), errno }, "tool", "/")
    }

    #[test]
    fn what_the_system_says_becomes_an_error_type() {
        let types: Vec<_> = [Errno::NOENT, Errno::ACCESS, Errno::NOEXEC, Errno::IO]
            .map(|errno| exec(errno).error_type().unwrap())
            .to_vec();
        assert_eq!(
            types,
            [ErrorType::NotFound, ErrorType::PermissionDenied, ErrorType::PermissionDenied, refused()]
        );
        assert_eq!(exec(Errno::NOENT).message().unwrap(), "program not found: tool");
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(shown(&"ä".repeat(150)).len(), 200);
        assert_eq!(shown(&format!("x{}", "ä".repeat(150))).len(), 199);
    }
}

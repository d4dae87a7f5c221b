//! What a command gets from whoever submits it: the working directory and a short list of environment
//! variables. Secrets in the rest of the environment stay where they are.

use orchd_model::{Env, TaskSpec, WorkflowSpec};
use std::io;
use std::path::PathBuf;

/// Variables that a command gets from its submitter, `LC_*` besides.
const ALLOWED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM"];

/// The surroundings of the process that submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitter {
    env: Env,
    cwd: PathBuf,
}

impl Submitter {
    /// This process: its current directory, and its environment as far as it is on the list, or all of it.
    /// Variables that are no UTF-8 are left out: a spec is JSON.
    ///
    /// # Errors
    /// The current directory does not exist any more.
    pub fn here(whole_env: bool) -> io::Result<Self> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| whole_env || is_allowed(name))
            .filter(|(name, _)| !name.is_empty() && !name.contains('='))
            .collect();
        Ok(Self { env, cwd: std::env::current_dir()? })
    }

    /// Gives a command what it does not say itself. A relative directory is taken from the current one.
    pub fn complete(&self, spec: &mut TaskSpec) {
        spec.surround(&self.env, Some(&self.cwd));
    }

    /// The variables and the directory, to be given to a workflow that the daemon keeps.
    #[must_use]
    pub fn into_parts(self) -> (Env, PathBuf) {
        (self.env, self.cwd)
    }
}

fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name) || name.starts_with("LC_")
}

/// Gives the tasks and hooks of a workflow the directory and the environment of this process, where they do not say
/// their own.
///
/// # Errors
/// The current directory does not exist any more.
pub fn submitter_context(workflow: &mut WorkflowSpec) -> io::Result<()> {
    let submitter = Submitter::here(false)?;
    workflow.tasks.iter_mut().for_each(|task| submitter.complete(task));
    workflow.on_event.iter_mut().for_each(|hook| hook.surround(&submitter.cwd));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitter() -> Submitter {
        let env = [("PATH", "/bin"), ("HOME", "/root")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Submitter { env: env.into(), cwd: "/home/ada".into() }
    }

    #[test]
    fn a_command_gets_the_directory_and_the_environment_it_does_not_name() {
        let mut spec = TaskSpec::command(["true"]);
        spec.env.insert("PATH".into(), "/opt".into());
        submitter().complete(&mut spec);
        assert_eq!(spec.env["PATH"], "/opt");
        assert_eq!(spec.env["HOME"], "/root");
        assert_eq!(spec.cwd.as_deref(), Some("/home/ada"));
        spec.cwd = Some("sub".into());
        submitter().complete(&mut spec);
        assert_eq!(spec.cwd.as_deref(), Some("/home/ada/sub"));
    }

    #[test]
    fn a_handler_gets_nothing() {
        let mut spec = TaskSpec::handler("m", "a", serde_json::Map::new());
        submitter().complete(&mut spec);
        assert!(spec.env.is_empty() && spec.cwd.is_none());
    }

    #[test]
    fn only_listed_variables_are_taken() {
        assert!(is_allowed("PATH") && is_allowed("LC_ALL"));
        assert!(!is_allowed("AWS_SECRET_ACCESS_KEY") && !is_allowed("LD_PRELOAD"));
    }
}

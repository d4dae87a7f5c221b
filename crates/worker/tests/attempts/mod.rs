//! Attempts to run, and what can be seen of them from outside.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use orchd_api::{Assignment, Work};
use orchd_model::{AttemptNumber, Span, TaskId, Token};
use std::path::Path;
use std::time::{Duration, Instant};

/// Nothing that is tested takes this long, so who waits longer waits for ever.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
#[track_caller]
pub fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it does not become so");
        std::thread::yield_now();
    }
}

/// Living processes of the attempt with this token, below this state directory.
pub fn living_with_token(state_dir: &Path, token: u64) -> Vec<u32> {
    let token = format!("ORCHD_TOKEN={token}");
    let result = format!("ORCHD_RESULT={}", state_dir.display());
    let mut living = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environ: Vec<&[u8]> = environ.split(|b| *b == 0).collect();
        let below = environ.iter().any(|pair| pair.starts_with(result.as_bytes()));
        if below && environ.contains(&token.as_bytes()) {
            living.push(pid);
        }
    }
    living
}

pub fn shell(token: u64, script: &str) -> Assignment {
    assignment(token, &["/bin/sh", "-c", script])
}

/// An attempt of the task whose number is the token's.
pub fn assignment(token: u64, argv: &[&str]) -> Assignment {
    Assignment {
        task: TaskId(token),
        attempt: AttemptNumber(1),
        token: Token(token),
        name: "test".to_owned(),
        work: Work::Command {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
            cwd: None,
            stdin: None,
        },
        timeout: None,
        order: (0, 0),
        grace: Span::from_secs(10),
        bounds: None,
        variant: None,
        inputs: None,
    }
}

//! The examples of the pages about workflow files are true: those that say what comes of them are run, and all of them are valid.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses a part of the kit")]
mod kit;

use kit::Daemon;
use std::path::Path;

/// How a block begins that is run: with what one of its tasks writes.
const SAYS: &str = "# says: ";

/// The YAML blocks of a page that are workflows.
fn workflows(page: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.filter(|block| block.lines().any(|line| line.starts_with("tasks:"))).collect()
}

#[test]
fn every_example_is_valid_and_says_what_the_page_says() {
    let daemon = Daemon::start(4);
    let (mut checked, mut run, mut told) = (0, 0, 0_u64);
    for page in ["expressions.md", "workflows.md"] {
        for text in workflows(page) {
            let file = daemon.write("w.yaml", &text);
            let file = file.to_str().unwrap();
            daemon.orchctl(&["workflow", "check", file]).succeeds();
            checked += 1;
            let Some(says) = text.strip_prefix(SAYS).and_then(|rest| rest.lines().next()) else { continue };
            let said = daemon.orchctl(&["workflow", "run", file]);
            assert!(matches!(said.code, Some(0 | 1)), "{page}: {text}\n{said:?}");
            let all = daemon.all_tasks();
            let new = all
                .iter()
                .filter(|task| task.id.0 > told)
                .map(|task| daemon.orchctl(&["logs", &task.id.to_string()]).out);
            let outputs: String = new.collect();
            assert!(outputs.contains(says), "{page}: {text}\n{outputs}");
            told = all.iter().map(|task| task.id.0).max().unwrap();
            run += 1;
        }
    }
    assert!(run >= 6 && checked > run, "{run} of {checked}");
}

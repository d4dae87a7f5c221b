//! Every key that a configuration may have. `docs/configuration.md` has a row for each; a test compares them.

/// What a key is about, as the documentation and the messages need it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its dotted name. `*` stands for a name of the user's.
    pub name: &'static str,
    /// Its value when nobody gives one, in words: what the documentation must say.
    #[cfg_attr(not(test), expect(dead_code, reason = "the effective configuration has the value itself"))]
    pub default: &'static str,
    /// Whether SIGHUP changes it in a running daemon.
    pub reloads: bool,
}

const fn key(name: &'static str, default: &'static str) -> Key {
    Key { name, default, reloads: true }
}

const fn fixed(name: &'static str, default: &'static str) -> Key {
    Key { name, default, reloads: false }
}

/// All of them.
pub const KEYS: [Key; 60] = [
    fixed("daemon.state_dir", "the usual place"),
    fixed("daemon.socket", "the usual place"),
    key("log.level", "info"),
    fixed("log.format", "text"),
    fixed("log.file", "none: standard error"),
    fixed("log.max_bytes", "32MiB"),
    key("scheduler.slots", "the machine's cores"),
    key("scheduler.aging", "10m"),
    key("scheduler.reservation_delay", "10s"),
    key("scheduler.grace", "10s"),
    key("scheduler.max_worker_losses", "3"),
    fixed("scheduler.lease", "30s"),
    key("defaults.max_retries", "0"),
    key("defaults.max_attempts", "none"),
    key("defaults.retry_delay", "1s"),
    key("defaults.backoff", "1"),
    key("defaults.max_delay", "1m"),
    key("defaults.jitter", "0"),
    key("defaults.retry_on", "all failures"),
    key("defaults.no_retry_on", "none"),
    key("defaults.memory_factor", "1"),
    key("resources.*.capacity", "the machine's, for cpu and memory"),
    key("resources.*.concurrency", "none"),
    key("resources.*.tokens", "none"),
    key("resources.*.per", "none"),
    key("resources.*.burst", "as tokens"),
    key("resources.cpu_limit", "none"),
    key("resources.memory_limit_gb", "none"),
    key("resources.disk_space_gb", "none"),
    fixed("enforcement.cgroup", "auto"),
    key("enforcement.cpu", "limit"),
    key("enforcement.memory", "warn"),
    key("enforcement.jobserver", "auto"),
    key("guard.free_memory", "none"),
    key("guard.cpu_pressure", "none"),
    key("guard.memory_pressure", "none"),
    key("guard.io_pressure", "none"),
    key("retention.age", "7d"),
    key("retention.tasks", "1000000"),
    fixed("output.max_bytes", "1GiB"),
    key("access.users", "[]"),
    key("access.groups", "[]"),
    key("handlers.*.command", "none"),
    fixed("on_event.*.events", "must be given"),
    fixed("on_event.*.command", "none"),
    fixed("on_event.*.shell", "none"),
    fixed("on_event.*.url", "none"),
    fixed("on_event.*.tag", "none"),
    fixed("on_event.*.workflow", "none"),
    fixed("on_event.*.timeout", "30s"),
    fixed("on_event.*.retries", "3"),
    fixed("on_event.*.retry_delay", "1s"),
    fixed("on_event.*.concurrency", "1"),
    key("workflow.manager.max_parallel_tasks", "none"),
    key("workflow.manager.enable_performance_monitoring", "true"),
    key("workflow.manager.config_dir", "./workflows"),
    key("dag.execution.max_parallel", "none"),
    key("dag.execution.timeout_seconds", "none"),
    key("dag.execution.retry_failed", "true"),
    key("dag.execution.retry_attempts", "none"),
];

/// Variables that mean a key beside `ORCHD_` and its name.
pub const VARIABLES: [(&str, &str); 6] = [
    ("ORCHD_STATE_DIR", "daemon.state_dir"),
    ("ORCHD_SOCKET", "daemon.socket"),
    ("LOG_LEVEL", "log.level"),
    ("MAX_PARALLEL_TASKS", "scheduler.slots"),
    ("ORCHD_WORKFLOW_MANAGER_MAX_PARALLEL_TASKS", "scheduler.slots"),
    ("WORKFLOW_TIMEOUT", "dag.execution.timeout_seconds"),
];

/// Variables with our prefix that mean something else: the file itself, and what tasks find.
pub const OTHER_VARIABLES: [&str; 20] = [
    "ORCHD_CONFIG",
    "ORCHD_TASK_ID",
    "ORCHD_WORKFLOW_ID",
    "ORCHD_INDEX",
    "ORCHD_SCHEDULE",
    "ORCHD_TICK",
    "ORCHD_ATTEMPT",
    "ORCHD_TOKEN",
    "ORCHD_RESULT",
    "ORCHD_INPUTS",
    "ORCHD_CPUS",
    "ORCHD_VARIANT",
    "ORCHD_PROGRESS",
    "ORCHD_HOOK",
    "ORCHD_EVENT_TYPE",
    "ORCHD_EVENT_SEQUENCE",
    "ORCHD_EVENT_TIME",
    "ORCHD_EVENT_TASK",
    "ORCHD_EVENT_WORKFLOW",
    "ORCHD_EVENT_SESSION",
];

/// The variable that means a key: `ORCHD_SCHEDULER_AGING` for `scheduler.aging`.
pub fn variable(key: &str) -> String {
    format!("ORCHD_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// The known name that a path of keys in a file stands for, if it does.
pub fn known(path: &[&str]) -> Option<&'static str> {
    KEYS.iter().map(|key| key.name).find(|name| {
        let parts: Vec<&str> = name.split('.').collect();
        parts.len() == path.len() && parts.iter().zip(path).all(|(part, key)| *part == "*" || part == key)
    })
}

/// What may stand at one level of a file, below the keys of `path`.
pub fn words_below(path: &[&str]) -> Vec<&'static str> {
    let mut words: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| {
            let parts: Vec<&'static str> = key.name.split('.').collect();
            let is_below = parts.len() > path.len()
                && parts.iter().zip(path).all(|(part, key)| *part == "*" || part == key);
            is_below.then(|| parts[path.len()])
        })
        .filter(|word| *word != "*")
        .collect();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_in_a_file_are_matched_with_the_users_own_words_between() {
        assert_eq!(known(&["scheduler", "slots"]), Some("scheduler.slots"));
        assert_eq!(known(&["resources", "external_api:x", "tokens"]), Some("resources.*.tokens"));
        assert_eq!(known(&["scheduler", "slot"]), None);
        assert_eq!(words_below(&["retention"]), ["age", "tasks"]);
        assert_eq!(words_below(&["handlers", "a.b"]), ["command"]);
    }

    #[test]
    fn workflow_files_may_have_every_section_beside_them() {
        let read_there = ["workflow", "dag", "resources", "handlers"];
        let sections: BTreeSet<&str> = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
        let known = orchd_workflow::OTHER_SECTIONS.iter().chain(&read_there).copied().collect();
        assert_eq!(sections, known, "a new section stands in OTHER_SECTIONS of orchd-workflow, too");
    }

    #[test]
    fn the_documentation_has_a_row_for_each_key_and_for_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        // | `key` | default | reload | what |
        let rows: BTreeSet<(String, String, bool)> = text
            .lines()
            .filter_map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
                let reloads = match *cells.get(3)? {
                    "yes" => true,
                    "no" => false,
                    _ => return None,
                };
                Some((name.to_owned(), cells[2].replace('`', ""), reloads))
            })
            .collect();
        let keys: BTreeSet<(String, String, bool)> =
            KEYS.iter().map(|key| (key.name.to_owned(), key.default.to_owned(), key.reloads)).collect();
        assert_eq!(rows, keys);
    }
}

//! Tasks of a workflow that undo what others of it did, if it does not come to a good end.

use crate::{Code, Dependency, DependencyTarget, On, Refusal, TaskSpec, WorkflowSpec, nearest};
use std::collections::HashMap;

impl WorkflowSpec {
    /// Lets every task that compensates another one wait for it, and run at the end.
    ///
    /// # Errors
    /// `unknown_dependency`, `self_dependency`, or `malformed` for one that waits for anything else, or that undoes
    /// what is done at the end.
    pub fn bind_compensations(&mut self) -> Result<(), Refusal> {
        check_compensations(self.tasks.iter())?;
        self.tasks.iter_mut().for_each(TaskSpec::bind_compensation);
        Ok(())
    }
}

impl TaskSpec {
    /// Lets one that undoes what another did wait for that, and run at the end; others stay as they are.
    pub fn bind_compensation(&mut self) {
        if let Some(name) = &self.compensates {
            self.dependencies = vec![on_success(name)];
            self.finally = true;
        }
    }
}

/// Checks what the tasks of a workflow undo.
///
/// # Errors
/// As [`WorkflowSpec::bind_compensations`].
pub fn check_compensations<'a>(tasks: impl Iterator<Item = &'a TaskSpec> + Clone) -> Result<(), Refusal> {
    if tasks.clone().all(|task| task.compensates.is_none()) {
        return Ok(());
    }
    let is_at_the_end = |task: &TaskSpec| task.finally || task.compensates.is_some();
    let at_the_end: HashMap<&str, bool> =
        tasks.clone().map(|task| (task.name.as_str(), is_at_the_end(task))).collect();
    for task in tasks {
        let Some(name) = &task.compensates else { continue };
        check(&task.name, name, &at_the_end)?;
        let is_it = |dependency: &Dependency| *dependency == on_success(name);
        if !task.dependencies.iter().all(is_it) {
            let message = "a compensation waits for nothing but the task that it undoes";
            return Err(Refusal::new(Code::Malformed, message).value(&task.name));
        }
    }
    Ok(())
}

/// What a compensation waits for.
fn on_success(name: &str) -> Dependency {
    Dependency { task: DependencyTarget::Name(name.to_owned()), on: On::Success }
}

fn check(task: &str, name: &str, at_the_end: &HashMap<&str, bool>) -> Result<(), Refusal> {
    match at_the_end.get(name) {
        None => {
            let refusal =
                Refusal::new(Code::UnknownDependency, format!("task {task} compensates an unknown task"))
                    .value(name);
            Err(match nearest(name, at_the_end.keys().copied()) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal,
            })
        }
        Some(_) if task == name => {
            Err(Refusal::new(Code::SelfDependency, "a task cannot compensate itself").value(name))
        }
        Some(true) => {
            let message = format!("task {task} compensates what runs at the end of the workflow");
            Err(Refusal::new(Code::Malformed, message).value(name))
        }
        Some(false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bound(undo: serde_json::Value) -> Result<WorkflowSpec, Refusal> {
        let tasks = json!([{ "name": "a" }, { "name": "b" }, { "name": "end", "finally": true }, undo]);
        let mut spec: WorkflowSpec =
            serde_json::from_value(json!({ "name": "w", "tasks": tasks })).expect("a workflow");
        spec.bind_compensations().map(|()| spec)
    }

    #[test]
    fn a_compensation_waits_for_its_task_and_runs_at_the_end() {
        let given = json!({ "name": "u", "compensates": "a" });
        let mut spec = bound(given).expect("it may");
        let undo = spec.tasks[3].clone();
        assert_eq!((undo.finally, undo.dependencies.as_slice()), (true, &[on_success("a")][..]));
        spec.bind_compensations().expect("once more changes nothing");
        assert_eq!(spec.tasks[3], undo);
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        for (undo, code) in [
            (json!({ "name": "u", "compensates": "aa" }), Code::UnknownDependency),
            (json!({ "name": "u", "compensates": "u" }), Code::SelfDependency),
            (json!({ "name": "u", "compensates": "end" }), Code::Malformed),
            (json!({ "name": "u", "compensates": "a", "dependencies": ["b"] }), Code::Malformed),
        ] {
            let refusal = bound(undo.clone()).expect_err("it may not");
            assert_eq!(refusal.code, code, "{undo}: {refusal}");
        }
    }
}

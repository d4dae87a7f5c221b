//! A workflow line by line: its head, then one task a line, so that no request is too large for the daemon to
//! read. Nothing is added before the last line has come; then all of it is, in one step.

use axum::extract::Request;
use orchd_api::{WorkflowAdded, WorkflowHead};
use orchd_model::{Code, Env, Refusal, TaskSpec, limits};
use std::path::Path;
use std::sync::Arc;

use super::Shell;
use super::answer::parse;
use super::lines::Lines;
use super::tasks::parse_spec;
use crate::peer::Peer;

/// Reads and adds a workflow.
///
/// # Errors
/// What is wrong with a line, or the refusal of the whole.
pub async fn add(shell: &Arc<Shell>, peer: Peer, request: Request) -> Result<WorkflowAdded, Refusal> {
    let mut lines = Lines::new(request.into_body().into_data_stream());
    let head = lines.next_line().await?;
    let head = head.ok_or_else(|| Refusal::new(Code::Malformed, "a workflow begins with its head"))?;
    let WorkflowHead { mut spec, env, cwd } = parse(&head)?;
    if let Some(cwd) = cwd.as_deref().filter(|cwd| !cwd.starts_with('/')) {
        return Err(Refusal::new(Code::Malformed, "a directory must be absolute").value(cwd));
    }
    let env: Env = env.into();
    let cwd = cwd.as_deref().map(Path::new);
    if let Some(cwd) = cwd {
        spec.on_event.iter_mut().for_each(|hook| hook.surround(cwd));
    }
    // Each by itself from the beginning: of a million in one list there would be another million before it is gone.
    let mut tasks: Vec<Arc<TaskSpec>> = std::mem::take(&mut spec.tasks).into_iter().map(Arc::new).collect();
    while let Some(line) = lines.next_line().await? {
        let mut task = parse_spec(&line).map_err(|refusal| refusal.of_item(tasks.len()))?;
        task.surround(&env, cwd);
        tasks.push(Arc::new(task));
        lines.check_size()?;
        if tasks.len() > limits::WORKFLOW_TASKS {
            let limit = limits::WORKFLOW_TASKS;
            return Err(Refusal::new(Code::TooLarge, format!("a workflow has at most {limit} tasks")));
        }
    }
    super::workflows::submit_tasks(shell, spec, tasks, peer).await
}

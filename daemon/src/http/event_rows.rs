//! What an event leaves out because it stands in the row of its task: the name of an element, and why a task failed
//! that had no attempt to blame.

use orchd_api::Event;
use orchd_model::{PLACEHOLDER, Refusal, Status, TaskId, TaskResult};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shell;

/// Whether it has a name that those of elements are made of, and is about one of them alone.
fn is_unnamed(event: &Event) -> bool {
    let name = event.data.get("name").and_then(Value::as_str);
    event.last.is_none() && name.is_some_and(|name| name.contains(PLACEHOLDER))
}

fn is_unexplained(event: &Event) -> bool {
    event.kind == "task.failed" && !event.data.contains_key("error_type")
}

/// Fills it in.
///
/// # Errors
/// `store_failed`.
pub async fn fill<'a>(
    shell: &Arc<Shell>,
    events: impl IntoIterator<Item = &'a mut Event>,
) -> Result<(), Refusal> {
    let (mut unnamed, mut unexplained) = (Vec::new(), Vec::new());
    for event in events {
        if is_unnamed(event) {
            unnamed.push(event);
        } else if is_unexplained(event) {
            unexplained.push(event);
        }
    }
    if unnamed.is_empty() && unexplained.is_empty() {
        return Ok(());
    }
    let ids = |events: &[&mut Event]| events.iter().filter_map(|event| event.task).collect::<Vec<TaskId>>();
    let (to_name, to_explain) = (ids(&unnamed), ids(&unexplained));
    let (names, results) = shell
        .read(move |history| {
            let mut results: BTreeMap<TaskId, TaskResult> = BTreeMap::new();
            for id in to_explain {
                let stored = history.task(id)?.filter(|stored| stored.record.status() == Status::Failed);
                results.extend(stored.and_then(|stored| stored.result).map(|result| (id, result)));
            }
            Ok((history.names(&to_name)?.into_iter().collect::<BTreeMap<_, _>>(), results))
        })
        .await?;
    for event in unnamed {
        if let Some(own) = event.task.and_then(|id| names.get(&id)) {
            event.data.insert("name".to_owned(), Value::from(&**own));
        }
    }
    for event in unexplained {
        if let Some(result) = event.task.and_then(|id| results.get(&id)) {
            event.data.insert("error_type".to_owned(), json!(result.error_type));
            event.data.insert("error_message".to_owned(), json!(result.error_message));
        }
    }
    Ok(())
}

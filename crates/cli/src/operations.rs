//! What became of each task of a request, told the same way by every verb that asks for many at once.

use orchd_api::OperationResult;
use orchd_model::Refusal;

use crate::context::Context;
use crate::{Exit, Failure};

/// Tells what became of each task; `done` is the word for those that were not refused. With `-q` only the
/// ids of those.
pub(crate) fn tell(
    context: &Context,
    results: &[OperationResult],
    done: impl Fn(&OperationResult) -> String,
    not_done: &str,
) -> Result<(), Failure> {
    if context.json {
        context.screen.json(&results)?;
        return Ok(());
    }
    for result in results {
        let id = result.tasks();
        match (&result.error, result.status) {
            (None, Some(_)) if context.quiet => context.screen.line(id.to_string())?,
            (None, Some(_)) => context.screen.line(format!("{id} {}", done(result)))?,
            _ if context.quiet => {}
            (_, None) => context.screen.line(format!("{id} {not_done}: no such task"))?,
            (Some(error), Some(_)) => context.screen.line(format!("{id} {not_done}: {}", reason(error)))?,
        }
    }
    Ok(())
}

/// A refusal on one line.
pub(crate) fn reason(refusal: &Refusal) -> String {
    match &refusal.value {
        Some(value) => format!("{}: {value}", refusal.message),
        None => refusal.message.clone(),
    }
}

/// 0 when nothing was refused, 4 when one is unknown, else what the first refusal exits with.
pub(crate) fn exit(results: &[OperationResult]) -> Exit {
    if results.iter().any(|result| result.status.is_none()) {
        return Exit::NOT_FOUND;
    }
    let first = results.iter().find_map(|result| result.error.as_ref());
    first.map_or(Exit::DONE, |error| Exit::of_code(error.code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchd_model::{Code, Status, TaskId};

    #[test]
    fn the_worst_result_decides_the_exit_code() {
        let result = |status, error| OperationResult::new(TaskId(12).into(), status, error);
        let good = result(Some(Status::Pending), None);
        let ended = Refusal::new(Code::WrongState, "task 12 has ended").value("completed");
        let refused = result(Some(Status::Completed), Some(ended));
        let unknown = result(None, Some(Refusal::new(Code::NotFound, "no such task")));
        assert_eq!(reason(refused.error.as_ref().unwrap()), "task 12 has ended: completed");
        assert_eq!(exit(std::slice::from_ref(&good)), Exit::DONE);
        assert_eq!(exit(&[good.clone(), refused.clone()]), Exit::REFUSED);
        assert_eq!(exit(&[good, refused, unknown]), Exit::NOT_FOUND);
    }
}

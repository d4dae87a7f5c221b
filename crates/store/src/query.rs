//! A filter as SQL: one condition a field, values always bound and never spliced.

use orchd_model::{Status, TaskRange};
use rusqlite::types::Value;

use crate::Filter;
use crate::write::int;

/// A list is read in two halves, each in the order of an index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// By id.
    Unfinished,
    /// The newest end first.
    Ended,
}

impl Half {
    fn has(self, status: Status) -> bool {
        status.is_terminal() == (self == Self::Ended)
    }
}

/// The tags of an array's elements are with its first one, which may itself be gone.
const TAGGED: &str = " AND (task.id IN (SELECT tag.task FROM tag WHERE tag.tag = ?) \
     OR task.array IN (SELECT tag.task FROM tag WHERE tag.tag = ?))";
/// The same where tasks are looked up by id, and the tag of each then: not all that have the tag each time.
const TAGGED_BY_ID: &str = " AND (EXISTS (SELECT 1 FROM tag WHERE tag.tag = ? AND tag.task = task.id) \
     OR EXISTS (SELECT 1 FROM tag WHERE tag.tag = ? AND tag.task = task.array))";

/// The text after `SELECT ... FROM task` and the values that it binds, or nothing when the filter leaves
/// nothing of this half.
pub(crate) fn conditions(filter: &Filter, half: Half, limit: Option<usize>) -> Option<(String, Vec<Value>)> {
    let statuses: Vec<Status> = filter.statuses.iter().copied().filter(|s| half.has(*s)).collect();
    if (statuses.is_empty() && !filter.statuses.is_empty()) || limit == Some(0) {
        return None;
    }
    let mut values: Vec<Value> = Vec::new();
    let mut sql = String::from(match half {
        Half::Unfinished => " WHERE task.finished_at IS NULL",
        Half::Ended => " WHERE task.finished_at IS NOT NULL",
    });
    if !statuses.is_empty() {
        let marks = vec!["?"; statuses.len()].join(", ");
        sql.push_str(&format!(" AND task.status IN ({marks})"));
        values.extend(statuses.iter().map(|s| Value::from(s.index() as i64)));
    }
    if let Some(tag) = &filter.tag {
        sql.push_str(if filter.within.is_some() { TAGGED_BY_ID } else { TAGGED });
        values.extend([Value::from(tag.clone()), Value::from(tag.clone())]);
    }
    let mut and = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        }
    };
    and("task.priority = ?", filter.priority.map(|p| Value::from(p.index() as i64)));
    and("task.workflow = ?", filter.workflow.map(|w| Value::from(int(w.0))));
    and("task.owner = ?", filter.owner.map(|owner| Value::from(i64::from(owner))));
    and("task.session = ?", filter.session.map(|s| Value::from(int(s.0))));
    if let Some(TaskRange { first, last }) = filter.within {
        // The row that the first one stands in may begin before it.
        let [first, last] = [first, last].map(|id| Some(Value::from(int(id.0))));
        and(
            "task.id >= coalesce((SELECT max(other.id) FROM task other WHERE other.id <= ?), 0)",
            first.clone(),
        );
        and("task.id + task.more >= ?", first);
        and("task.id <= ?", last);
    }
    // Whoever was created since then has also ended since then.
    let since = filter.since.map(|t| Value::from(int(t.0)));
    match half {
        Half::Unfinished => and("task.created_at >= ?", since),
        Half::Ended => and("task.finished_at >= ?", since),
    }
    if let Some(glob) = &filter.name_glob {
        // Names of elements are made of the name of their array: whoever reads the rows looks at these.
        sql.push_str(" AND (task.name GLOB ? OR task.name = ? OR instr(task.name, '{index}') > 0)");
        values.extend([Value::from(glob.as_str().to_owned()), Value::from(glob.as_str().to_owned())]);
    }
    sql.push_str(match half {
        Half::Unfinished => " ORDER BY task.id",
        Half::Ended => " ORDER BY task.finished_at DESC, task.id DESC",
    });
    // Of what a glob lets through some may not match.
    if let Some(limit) = limit.filter(|_| filter.name_glob.is_none() && filter.within.is_none()) {
        sql.push_str(" LIMIT ?");
        values.push(Value::from(int(limit as u64)));
    }
    Some((sql, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use orchd_model::{SessionId, TaskId, Time, WorkflowId};
    use rusqlite::{Connection, params_from_iter};

    #[test]
    fn tasks_meant_by_id_are_looked_up_by_id_whatever_else_must_hold() {
        let db = schema::in_memory();
        let within = Some(TaskRange { first: TaskId(7), last: TaskId(8) });
        let within = Filter { within, ..Filter::default() };
        for filter in [
            within.clone(),
            Filter { tag: Some("t".to_owned()), ..within.clone() },
            Filter { workflow: Some(WorkflowId(1)), ..within.clone() },
            Filter { session: Some(SessionId(1)), ..within.clone() },
            Filter { since: Some(Time(1)), owner: Some(1), ..within.clone() },
            Filter { name_glob: Some("a*".parse().unwrap()), ..within },
        ] {
            for half in [Half::Unfinished, Half::Ended] {
                let plan = plan(&db, &filter, half);
                assert!(plan.iter().any(|step| step.contains("id>? AND")), "{filter:?}: {plan:#?}");
                assert!(plan.iter().all(|step| !step.contains("LIST SUBQUERY")), "{filter:?}: {plan:#?}");
            }
        }
    }

    /// How SQLite goes about it.
    fn plan(db: &Connection, filter: &Filter, half: Half) -> Vec<String> {
        let (tail, values) = conditions(filter, half, None).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN SELECT task.id FROM task{tail}");
        let mut statement = db.prepare(&sql).unwrap();
        let steps = statement.query_map(params_from_iter(values), |row| row.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    }
}

//! What the scheduler must be told about a new task, looked up: its key, its session, and dependencies that have ended.

use orchd_core::{EdgeTarget, EndedTask, NewTask};
use orchd_model::{
    Code, DependencyTarget, Refusal, SessionId, SessionRef, TaskId, TaskRange, TaskSpec, limits,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Policy;
use crate::engine::{Engine, store_refusal};
use crate::http::named_session;

/// What a dependency names: a task of the same request, or tasks that exist.
enum Dependencies {
    Place(usize),
    Tasks(TaskRange),
}

impl Engine {
    /// Looks up what the scheduler must be told about a new task: its key, and dependencies that have
    /// ended. What is not in the scheduler's memory is on disk.
    pub(crate) fn prepare(
        &mut self,
        policy: &Policy,
        spec: Arc<TaskSpec>,
        places: &HashMap<&str, usize>,
        ended: &mut BTreeMap<TaskId, EndedTask>,
    ) -> Result<NewTask, Refusal> {
        let unknown = |target: &DependencyTarget| {
            let names = places.keys().copied();
            let refusal = Refusal::unknown_dependency(target);
            match orchd_model::nearest(&target.to_string(), names) {
                Some(near) => refusal.hint(format!("did you mean {near}?")),
                None => refusal,
            }
        };
        let spec = self.with_session(spec)?;
        let mut edges = Vec::with_capacity(spec.dependencies.len());
        for dependency in &spec.dependencies {
            let target = match &dependency.task {
                DependencyTarget::Name(name) => match places.get(name.as_str()) {
                    Some(place) => Dependencies::Place(*place),
                    None => match name.parse() {
                        Ok(range) => Dependencies::Tasks(range),
                        Err(_) => return Err(unknown(&dependency.task)),
                    },
                },
                DependencyTarget::Id(id) => Dependencies::Tasks((*id).into()),
            };
            match target {
                Dependencies::Place(place) => edges.push((EdgeTarget::Index(place), dependency.on)),
                Dependencies::Tasks(range) => {
                    for id in self.known_tasks(range, ended)? {
                        edges.push((EdgeTarget::Id(id), dependency.on));
                    }
                }
            }
        }
        let (fingerprint, same_key) = match &spec.key {
            Some(key) => {
                let same_key = self.history.by_key(spec.session_id(), key).map_err(store_refusal)?;
                if let Some((id, _)) = same_key
                    && self.core.status(id).is_none()
                {
                    ended.extend(self.history.ended(&[id]).map_err(store_refusal)?);
                }
                (policy.fingerprint(&spec), same_key)
            }
            None => (0, None),
        };
        let retry = policy.retry(&spec)?;
        let runner = policy.runner(&spec);
        Ok(NewTask { spec, retry, runner, edges, fingerprint, same_key })
    }

    /// A spec that names its session by id.
    fn with_session(&mut self, mut spec: Arc<TaskSpec>) -> Result<Arc<TaskSpec>, Refusal> {
        if let Some(session @ SessionRef::Name(_)) = &spec.session {
            let id = self.session_id(session)?;
            Arc::make_mut(&mut spec).session = Some(id.into());
        }
        Ok(spec)
    }

    pub fn session_id(&mut self, session: &SessionRef) -> Result<SessionId, Refusal> {
        let name = match session {
            SessionRef::Id(id) => return Ok(*id),
            SessionRef::Name(name) => name,
        };
        if let Some(id) = self.core.session_named(name) {
            return Ok(id);
        }
        // That it is closed is for the scheduler to say.
        let closed = self.history.session_by_name(name).map_err(store_refusal)?;
        Ok(closed.ok_or_else(|| named_session::unknown(name))?.id)
    }

    /// The tasks of a range, each of which must exist; what has ended and left memory goes into `ended`.
    fn known_tasks(
        &mut self,
        range: TaskRange,
        ended: &mut BTreeMap<TaskId, EndedTask>,
    ) -> Result<Vec<TaskId>, Refusal> {
        if range.len() > limits::RANGE_EDGES {
            let message = format!("one dependency stands for at most {} tasks", limits::RANGE_EDGES);
            return Err(Refusal::new(Code::TooLarge, message).value(range.to_string()));
        }
        let ids: Vec<TaskId> = (range.first.0..=range.last.0).map(TaskId).collect();
        let forgotten = |id: &TaskId| self.core.status(*id).is_none() && !ended.contains_key(id);
        let forgotten: Vec<TaskId> = ids.iter().copied().filter(forgotten).collect();
        ended.extend(self.history.ended(&forgotten).map_err(store_refusal)?);
        match forgotten.into_iter().find(|id| !ended.contains_key(id)) {
            Some(id) => Err(Refusal::unknown_dependency(id)),
            None => Ok(ids),
        }
    }
}

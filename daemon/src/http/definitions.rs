//! Definitions: workflows that are kept under their names.
//!
//! Those of the configuration and its directory are an operator's and go first; a user cannot put one of his
//! own in their place. Whoever runs one is the owner of its tasks, and may do no more than with tasks of his own.

use axum::Extension;
use axum::extract::State;
use orchd_api::{
    Definition as Document, DefinitionNamed, DefinitionRequest, DefinitionRun, DefinitionSource, Durations,
    ShownDefinition, WorkflowAdded,
};
use orchd_core::Reply;
use orchd_model::{Code, Env, Refusal, Time, WorkflowSpec, limits, nearest};
use orchd_store::{DefinitionChange, StoredDefinition};
use orchd_workflow::{FileError, Loaded, Wanted, load_all};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

use super::Shell;
use super::answer::{Answered, Body, Query, json};
use crate::config::{Definition, is_number};
use crate::engine::Request;
use crate::peer::Peer;

/// Files that are read at once: one of eight megabytes takes a moment, and much memory if it is meant to.
static READING: Semaphore = Semaphore::const_new(2);

/// Reads a file where others need not wait for it.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let turn = READING.acquire().await;
    let done = tokio::task::spawn_blocking(read).await;
    drop(turn);
    done.map_err(|_| Refusal::new(Code::Malformed, "reading the workflow failed"))
}

/// A definition, and who stored it when.
struct Found {
    definition: Definition,
    stored: Option<(u32, Time)>,
}

impl Found {
    fn document(&self) -> Document {
        let Definition { name, source, file, .. } = &self.definition;
        Document {
            name: name.clone(),
            source: *source,
            file: file.clone(),
            owner: self.stored.map(|(owner, _)| owner),
            updated_at: self.stored.map(|(_, at)| at),
        }
    }
}

impl From<StoredDefinition> for Found {
    fn from(stored: StoredDefinition) -> Self {
        let StoredDefinition { name, file, text, owner, updated_at } = stored;
        let source = DefinitionSource::Stored;
        Self {
            definition: Definition { name, source, file, text: text.into() },
            stored: Some((owner, updated_at)),
        }
    }
}

/// Those of the configuration, then those of its directory, then the stored ones.
pub async fn list(State(shell): State<Arc<Shell>>) -> Answered<Vec<Document>> {
    let mut documents: Vec<Document> = shell
        .live
        .config()
        .definitions
        .iter()
        .map(|definition| Found { definition: definition.clone(), stored: None }.document())
        .collect();
    let stored = shell.read(|history| history.definitions()).await?;
    documents.extend(stored.into_iter().map(|stored| Found::from(stored).document()));
    json(documents)
}

async fn find(shell: &Arc<Shell>, name: &str) -> Result<Found, Refusal> {
    let config = shell.live.config();
    if let Some(definition) = config.definitions.iter().find(|definition| definition.name == name) {
        return Ok(Found { definition: definition.clone(), stored: None });
    }
    let wanted = name.to_owned();
    let stored = shell.read(move |history| history.definition(&wanted)).await?;
    match stored {
        Some(stored) => Ok(stored.into()),
        None => {
            let stored = shell.read(|history| history.definitions()).await?;
            let known = config.definitions.iter().map(|definition| definition.name.as_str());
            Err(unknown(name, known.chain(stored.iter().map(|stored| stored.name.as_str()))))
        }
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Refusal {
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "orchctl workflow list --stored shows those that are".to_owned(),
    };
    Refusal::new(Code::NotFound, "no workflow is kept under this name").value(name).hint(hint)
}

/// What is wrong with a file, as one refusal.
fn invalid(name: &str, errors: &[FileError]) -> Refusal {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Refusal::new(Code::Malformed, format!("the workflow is not valid: {name}\n{}", errors.join("\n")))
}

/// One definition; its text and tasks are for its owner and admins.
pub async fn show(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Query(DefinitionNamed { name }): Query<DefinitionNamed>,
) -> Answered<ShownDefinition> {
    let found = find(&shell, &name).await?;
    let document = found.document();
    if peer.only_owner().is_some_and(|peer| document.owner != Some(peer)) {
        return json(ShownDefinition { definition: document, text: None, spec: None, errors: Vec::new() });
    }
    let whole_configuration = found.definition.source == DefinitionSource::Configuration;
    let text = (!whole_configuration).then(|| found.definition.text.to_string());
    let definition = found.definition;
    let (spec, errors) = match aside(move || definition.load(&BTreeMap::new(), false)).await? {
        Ok(mut spec) => {
            shell.live.config().workflows.fill(&mut spec);
            (Some(spec), Vec::new())
        }
        Err(errors) => (None, errors.iter().map(ToString::to_string).collect()),
    };
    json(ShownDefinition { definition: document, text, spec, errors })
}

/// Keeps the workflows of a file, all of them or none.
pub async fn put(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(DefinitionRequest { file, text, workflow }): Body<DefinitionRequest>,
) -> Answered<Vec<Document>> {
    if text.len() > limits::DEFINITION_BYTES || file.len() > limits::FILE_NAME_BYTES {
        let limit = limits::DEFINITION_BYTES;
        let refusal =
            Refusal::new(Code::TooLarge, format!("a workflow that is kept has at most {limit} bytes"));
        return Err(refusal
            .value(text.len().to_string())
            .hint("run it as a file: one in JSON may have 90 MiB")
            .into());
    }
    let (read_file, read_text) = (file.clone(), text.clone());
    let names = aside(move || {
        let wanted = Wanted { workflow: workflow.as_deref(), parameters: &BTreeMap::new(), runs: false };
        let names = |loaded: Loaded| loaded.workflows.into_iter().map(|found| found.spec.name).collect();
        load_all(&read_file, &read_text, wanted).map(names)
    });
    let names: Vec<String> = names.await?.map_err(|errors| invalid(&file, &errors))?;
    check_names(&shell, &names, peer).await?;
    let updated_at = shell.clock.now();
    let stored: Vec<StoredDefinition> = names
        .into_iter()
        .map(|name| {
            let (file, text) = (file.clone(), text.clone());
            StoredDefinition { name, file, text, owner: peer.uid, updated_at }
        })
        .collect();
    let documents = stored.iter().cloned().map(|stored| Found::from(stored).document()).collect();
    change(&shell, stored.into_iter().map(DefinitionChange::Put).collect()).await?;
    json(documents)
}

/// Refuses names that are taken by an operator or another user.
async fn check_names(shell: &Arc<Shell>, names: &[String], peer: Peer) -> Result<(), Refusal> {
    let config = shell.live.config();
    let stored = shell.read(|history| history.definitions()).await?;
    for name in names {
        if is_number(name) {
            let refusal =
                Refusal::new(Code::Malformed, "the name of a workflow that is kept must not be a number");
            return Err(refusal.value(name).hint("numbers are ids of runs: give it another name:"));
        }
        if let Some(other) = config.definitions.iter().find(|definition| definition.name == *name) {
            return Err(Refusal::new(Code::Conflict, "the configuration has a workflow of this name")
                .value(name)
                .hint(format!("it stands in {}", other.file)));
        }
        let other = stored.iter().find(|stored| stored.name == *name).map(|stored| stored.owner);
        if other.is_some() && peer.only_owner().is_some_and(|peer| other != Some(peer)) {
            return Err(of_another(name));
        }
    }
    let fresh = names.iter().filter(|name| stored.iter().all(|stored| stored.name != **name)).count();
    if stored.len() + fresh > limits::DEFINITIONS {
        let message = format!("at most {} workflows are kept", limits::DEFINITIONS);
        return Err(Refusal::new(Code::TooLarge, message).hint("remove some that nobody runs"));
    }
    Ok(())
}

fn of_another(name: &str) -> Refusal {
    Refusal::new(Code::NotPermitted, "this workflow is another user's").value(name)
}

async fn change(shell: &Arc<Shell>, changes: Vec<DefinitionChange>) -> Result<(), Refusal> {
    let reply: Reply = shell.ask(|answer| Request::Define { changes, answer }).await?;
    debug_assert_eq!(reply, Reply::Done);
    Ok(())
}

/// Keeps one no longer.
pub async fn remove(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(DefinitionNamed { name }): Body<DefinitionNamed>,
) -> Answered<()> {
    let found = find(&shell, &name).await?;
    match found.stored {
        None => {
            return Err(Refusal::new(Code::WrongState, "this workflow is not stored, but configured")
                .value(&name)
                .hint(format!("it stands in {}", found.definition.file))
                .into());
        }
        Some((owner, _)) if peer.only_owner().is_some_and(|peer| peer != owner) => {
            return Err(of_another(&name).into());
        }
        Some(_) => {}
    }
    change(&shell, vec![DefinitionChange::Remove(name)]).await?;
    json(())
}

/// Adds a workflow by its name.
pub async fn run(
    State(shell): State<Arc<Shell>>,
    Extension(peer): Extension<Peer>,
    Body(run): Body<DefinitionRun>,
) -> Answered<WorkflowAdded> {
    let spec = spec_of(&shell, run).await?;
    json(super::workflows::submit(&shell, spec, peer).await?)
}

/// The workflow that a definition is now.
///
/// # Errors
/// When there is no such definition, or nothing can be made of it with these parameters.
pub async fn spec_of(shell: &Arc<Shell>, run: DefinitionRun) -> Result<WorkflowSpec, Refusal> {
    let DefinitionRun { name, parameters, env, cwd, session } = run;
    if let Some(cwd) = cwd.as_deref().filter(|cwd| !cwd.starts_with('/')) {
        return Err(Refusal::new(Code::Malformed, "a directory must be absolute").value(cwd));
    }
    let found = find(shell, &name).await?;
    let parameters = parameters.into_iter().collect();
    let spec = aside(move || found.definition.load(&parameters, true)).await?;
    let mut spec = spec.map_err(|errors| invalid(&name, &errors))?;
    spec.session = session.or(spec.session);
    let env: Env = env.into();
    if let Some(cwd) = &cwd {
        spec.on_event.iter_mut().for_each(|hook| hook.surround(Path::new(cwd)));
    }
    for task in &mut spec.tasks {
        task.surround(&env, cwd.as_deref().map(Path::new));
    }
    Ok(spec)
}

/// How long the tasks of a workflow took lately.
pub async fn durations(
    State(shell): State<Arc<Shell>>,
    Query(DefinitionNamed { name }): Query<DefinitionNamed>,
) -> Answered<Durations> {
    json(Durations { tasks: shell.read(move |history| history.durations(&name)).await? })
}

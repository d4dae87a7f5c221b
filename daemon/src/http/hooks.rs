//! Hooks: how they do, and their dead letters.

use axum::extract::State;
use orchd_api as api;
use orchd_model::{Code, Refusal};
use orchd_store::{DeadLetter, HookChange};
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, json};
use crate::hooks;

/// Every configured hook.
pub async fn list(State(shell): State<Arc<Shell>>) -> Answered<Vec<api::Hook>> {
    let letters = shell.read(|history| history.dead_letters()).await?;
    let now = shell.statistics.read().sequence;
    let of = |hook: &hooks::Hook| match &hook.config {
        Some(_) => {
            letters.iter().filter(|letter| letter.workflow.is_none() && letter.hook == hook.name).count()
        }
        None => letters.iter().filter(|letter| letter.workflow.is_some()).count(),
    };
    let awake = shell.hooks.iter().filter(|hook| hook.is_awake());
    json(awake.map(|hook| hook.document(now, of(hook))).collect())
}

/// Every event that could not be delivered.
pub async fn dead(State(shell): State<Arc<Shell>>) -> Answered<Vec<api::DeadLetter>> {
    let letters = shell.read(|history| history.dead_letters()).await?;
    json(letters.into_iter().map(document).collect::<Result<_, _>>()?)
}

/// Tries dead letters once more, one after the other.
pub async fn retry(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::LettersRequest>,
) -> Answered<Vec<api::LetterResult>> {
    let mut results = Vec::new();
    for (id, letter) in wanted(&shell, request).await? {
        results.push(match letter {
            None => unknown(id),
            Some(letter) => api::LetterResult { id, found: true, error: again(&shell, letter).await? },
        });
    }
    json(results)
}

/// Forgets dead letters.
pub async fn discard(
    State(shell): State<Arc<Shell>>,
    Body(request): Body<api::LettersRequest>,
) -> Answered<Vec<api::LetterResult>> {
    let wanted = wanted(&shell, request).await?;
    let changes = wanted.iter().filter(|(_, letter)| letter.is_some());
    hooks::keep(&shell, changes.map(|(id, _)| HookChange::Settled { id: *id }).collect()).await?;
    let result = |(id, letter): (u64, Option<DeadLetter>)| match letter {
        None => unknown(id),
        Some(_) => api::LetterResult { id, found: true, error: None },
    };
    json(wanted.into_iter().map(result).collect())
}

fn unknown(id: u64) -> api::LetterResult {
    api::LetterResult { id, found: false, error: Some("no such dead letter".to_owned()) }
}

/// Tries a letter once more; why it failed, if it did.
async fn again(shell: &Arc<Shell>, letter: DeadLetter) -> Result<Option<String>, Refusal> {
    // Those of workflows are counted together.
    let counted_as = if letter.workflow.is_some() { hooks::OF_WORKFLOWS } else { &letter.hook };
    let hook = shell.hooks.iter().find(|hook| hook.name == *counted_as);
    let config = match letter.workflow {
        None => hook.and_then(|hook| hook.config.clone()),
        Some(workflow) => {
            let text = shell.read(move |history| history.workflow_hooks(workflow)).await?;
            hooks::of_text(text.as_deref())?.into_iter().find(|config| config.name == letter.hook)
        }
    };
    let (Some(hook), Some(config)) = (hook, config) else {
        return Ok(Some(format!("its hook is not there any more: {}", letter.hook)));
    };
    let event = document(letter.clone())?.event;
    let tried = hooks::once(shell, &config, &event).await;
    hook.count(&tried);
    let change = match &tried {
        Ok(()) => HookChange::Settled { id: letter.id },
        Err(error) => HookChange::Died(DeadLetter {
            tries: letter.tries.saturating_add(1),
            died_at: shell.clock.now(),
            error: error.clone(),
            ..letter
        }),
    };
    hooks::keep(shell, vec![change]).await?;
    Ok(tried.err())
}

/// The letters that are meant, none for a number that no letter has.
async fn wanted(
    shell: &Arc<Shell>,
    request: api::LettersRequest,
) -> Result<Vec<(u64, Option<DeadLetter>)>, Refusal> {
    if request.ids.is_empty() && !request.all {
        return Err(Refusal::new(Code::Malformed, "no dead letter is named").hint("give ids, or all"));
    }
    let letters = shell.read(|history| history.dead_letters()).await?;
    if request.all {
        return Ok(letters.into_iter().map(|letter| (letter.id, Some(letter))).collect());
    }
    let find = |id: u64| letters.iter().find(|letter| letter.id == id).cloned();
    Ok(request.ids.into_iter().map(|id| (id, find(id))).collect())
}

fn document(letter: DeadLetter) -> Result<api::DeadLetter, Refusal> {
    let event = serde_json::from_str(&letter.event)
        .map_err(|error| Refusal::new(Code::StoreFailed, format!("dead letter {}: {error}", letter.id)))?;
    let DeadLetter { id, hook, workflow, died_at, tries, error, .. } = letter;
    Ok(api::DeadLetter { id, hook, workflow, died_at, tries, error, event })
}

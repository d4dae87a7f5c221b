//! The store as an operator sees it: copies of it, and whether it is whole.

use axum::extract::State;
use orchd_api::{Backup, BackupRequest, StoreCheck};
use orchd_model::{Code, Refusal};
use orchd_store::{History, StoreError};
use std::path::PathBuf;
use std::sync::Arc;

use super::Shell;
use super::answer::{Answered, Body, Nothing, json};
use crate::damage;

/// Copies the store to a new file. Commits go on meanwhile.
pub async fn backup(State(shell): State<Arc<Shell>>, Body(request): Body<BackupRequest>) -> Answered<Backup> {
    let path = PathBuf::from(&request.path);
    if !path.is_absolute() {
        return Err(Refusal::new(Code::Malformed, "not an absolute path").value(request.path).into());
    }
    let bytes = apart(&shell, move |history| {
        history.backup(&path)?;
        Ok(std::fs::metadata(&path).map_or(0, |file| file.len()))
    });
    let bytes = bytes.await?.map_err(|error| {
        if let StoreError::Io { source, path, .. } = &error
            && source.kind() == std::io::ErrorKind::AlreadyExists
        {
            return Refusal::new(Code::WrongState, "there is a file already")
                .value(path.display().to_string())
                .hint("a backup never takes the place of a file: give another name");
        }
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Refusal::new(Code::StoreFailed, format!("{error}{cause}"))
    })?;
    tracing::info!(path = request.path, bytes, "the store has been copied");
    json(Backup { path: request.path, bytes })
}

/// Looks for damage.
pub async fn check(State(shell): State<Arc<Shell>>, Body(_): Body<Option<Nothing>>) -> Answered<StoreCheck> {
    let problem = match apart(&shell, |history| history.check()).await? {
        Ok(()) => None,
        Err(error @ StoreError::Corrupt(_)) => Some(damage::advice(&error)),
        Err(error) => return Err(crate::engine::store_refusal(error).into()),
    };
    json(StoreCheck { ok: problem.is_none(), problem })
}

/// Runs something long on a reader of its own, so that short questions do not wait for it.
async fn apart<T: Send + 'static>(
    shell: &Arc<Shell>,
    ask: impl FnOnce(&mut dyn History) -> Result<T, StoreError> + Send + 'static,
) -> Result<Result<T, StoreError>, Refusal> {
    let shell = Arc::clone(shell);
    let asked = tokio::task::spawn_blocking(move || ask(&mut *shell.readers.open()?));
    asked.await.map_err(|error| Refusal::new(Code::StoreFailed, error.to_string()))
}

//! The names of array elements in what the scheduler says: it knows only the name that theirs are made of.

use orchd_core::{Explained, ResourceView, Stuck};
use orchd_model::{PLACEHOLDER, Reason, Refusal, TaskAhead, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shell;

/// Something that names tasks.
pub trait NamesTasks {
    /// The tasks and what they are called.
    fn named(&mut self) -> Vec<(TaskId, &mut String)>;
}

impl NamesTasks for TaskAhead {
    fn named(&mut self) -> Vec<(TaskId, &mut String)> {
        vec![(self.task, &mut self.name)]
    }
}

impl NamesTasks for Reason {
    fn named(&mut self) -> Vec<(TaskId, &mut String)> {
        if let Self::Dependencies { tasks, .. } = self {
            tasks.iter_mut().map(|unmet| (unmet.task, &mut unmet.name)).collect()
        } else if let Self::Resource { holders, .. } = self {
            holders.iter_mut().map(|holder| (holder.task, &mut holder.name)).collect()
        } else if let Self::Reservation { behind, .. } = self {
            behind.named()
        } else if let Self::Variants { variants } = self {
            variants.iter_mut().flat_map(|variant| &mut variant.reasons).flat_map(Self::named).collect()
        } else {
            Vec::new()
        }
    }
}

impl NamesTasks for Stuck {
    fn named(&mut self) -> Vec<(TaskId, &mut String)> {
        let tasks = self.tasks.iter_mut().map(|(id, name)| (*id, name));
        tasks.chain(self.reason.named()).collect()
    }
}

impl NamesTasks for ResourceView {
    fn named(&mut self) -> Vec<(TaskId, &mut String)> {
        self.holders.iter_mut().map(|holder| (holder.task, &mut holder.name)).collect()
    }
}

impl NamesTasks for Explained {
    fn named(&mut self) -> Vec<(TaskId, &mut String)> {
        let others = self.ahead.iter_mut().chain(&mut self.inherited_from).flat_map(TaskAhead::named);
        self.reasons.iter_mut().flat_map(Reason::named).chain(others).collect()
    }
}

/// Gives elements their own names.
///
/// # Errors
/// `store_failed`.
pub async fn fill<'a, T: NamesTasks + 'a>(
    shell: &Arc<Shell>,
    said: impl IntoIterator<Item = &'a mut T>,
) -> Result<(), Refusal> {
    let named: Vec<(TaskId, &mut String)> = said.into_iter().flat_map(NamesTasks::named).collect();
    let is_made = |(_, name): &(TaskId, &mut String)| name.contains(PLACEHOLDER);
    let made: Vec<(TaskId, &mut String)> = named.into_iter().filter(is_made).collect();
    if made.is_empty() {
        return Ok(());
    }
    let ids: Vec<TaskId> = made.iter().map(|(id, _)| *id).collect();
    let names: BTreeMap<TaskId, Box<str>> =
        shell.read(move |history| history.names(&ids)).await?.into_iter().collect();
    for (id, name) in made {
        if let Some(own) = names.get(&id) {
            (**own).clone_into(name);
        }
    }
    Ok(())
}

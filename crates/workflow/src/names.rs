//! The names of the tasks beside a task, for templates that name one of them by mistake.
//!
//! There may be a million, so they are gathered only when there is such a mistake, and once.

use std::cell::OnceCell;

use crate::error::Report;
use crate::items::Walk;
use crate::layout::entries;
use crate::node::Node;

/// The names of the tasks of some lists.
#[derive(Clone, Default)]
pub(crate) struct Names<'n> {
    lists: Vec<&'n Node>,
    sorted: OnceCell<Vec<String>>,
}

impl<'n> Names<'n> {
    pub(crate) fn of(lists: Vec<&'n Node>) -> Self {
        Self { lists, sorted: OnceCell::new() }
    }

    /// All of them, in the order of the alphabet.
    pub(crate) fn all(&self) -> &[String] {
        self.sorted.get_or_init(|| {
            let mut names: Vec<String> = Vec::new();
            self.lists.iter().for_each(|list| each(list, |name| names.push(name.to_owned())));
            names.sort_unstable();
            names
        })
    }

    /// Whether a task has this name, or one that goes on after it with a dash.
    pub(crate) fn have(&self, name: &str) -> bool {
        let begins = |text: &str| {
            let all = self.all();
            let place = all.partition_point(|known| known.as_str() < text);
            all.get(place).filter(|known| known.starts_with(text)).is_some()
        };
        self.all().binary_search_by(|known| known.as_str().cmp(name)).is_ok() || begins(&format!("{name}-"))
    }
}

/// Looks at the name of each task of a list.
fn each(list: &Node, mut look: impl FnMut(&str)) {
    let (Some(mut walk), mut unheard) = (Walk::of(list), Report::new("")) else { return };
    while let Some(task) = walk.next(&mut unheard) {
        let name = entries(&task).iter().find(|entry| entry.key == "name");
        name.and_then(|entry| entry.node.as_text()).into_iter().for_each(&mut look);
    }
}

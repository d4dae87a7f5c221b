//! A list of tasks that was found but not read yet: where each of them begins. A file may hold a million, and each is read when
//! it is its turn, so that no more than one of them is there as a tree.
//!
//! Only the reader of JSON makes such lists: files in the other formats are small.

use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

use crate::error::Report;
use crate::json;
use crate::key::Keys;
use crate::node::{Content, Node, Position};

/// The tasks of a list, as they are written.
///
/// Invariant: each start is where a value of JSON begins in the text, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Items {
    pub(crate) text: Arc<str>,
    /// How deep in the document they lie.
    pub(crate) depth: usize,
    pub(crate) starts: Vec<(u32, Position)>,
}

impl Items {
    /// All of them as plain JSON; what cannot be read is left out.
    pub(crate) fn to_json(&self) -> Value {
        self.all().map(|node| node.to_json()).collect()
    }

    /// Bytes of text in them, keys included.
    pub(crate) fn text_bytes(&self) -> usize {
        self.all().map(|node| node.text_bytes()).sum()
    }

    fn all(&self) -> impl Iterator<Item = Cow<'_, Node>> {
        // Whoever reads them as tasks tells what is wrong with them.
        let (mut walk, mut unheard) = (Walk::over(self), Report::new(""));
        std::iter::from_fn(move || walk.next(&mut unheard))
    }
}

/// Goes through a list from its beginning.
pub(crate) struct Walk<'n> {
    list: List<'n>,
    next: usize,
    keys: Keys,
}

enum List<'n> {
    Read(&'n [Node]),
    Written(&'n Items),
}

impl<'n> Walk<'n> {
    /// Through this list; nothing if it is none.
    pub(crate) fn of(node: &'n Node) -> Option<Self> {
        match &node.content {
            Content::List(nodes) => Some(Self { list: List::Read(nodes), next: 0, keys: Keys::default() }),
            Content::Items(items) => Some(Self::over(items)),
            Content::Null | Content::Bool(_) | Content::Number(..) | Content::Text(_) | Content::Map(_) => {
                None
            }
        }
    }

    fn over(items: &'n Items) -> Self {
        Self::at(items, 0)
    }

    /// The same, beginning with this one.
    pub(crate) fn at(items: &'n Items, next: usize) -> Self {
        Self { list: List::Written(items), next, keys: Keys::default() }
    }

    /// How many there are in all.
    pub(crate) fn len(&self) -> usize {
        match self.list {
            List::Read(nodes) => nodes.len(),
            List::Written(items) => items.starts.len(),
        }
    }

    /// The next one. One that cannot be read is the last.
    pub(crate) fn next(&mut self, report: &mut Report) -> Option<Cow<'n, Node>> {
        let place = self.next;
        self.next += 1;
        match self.list {
            List::Read(nodes) => nodes.get(place).map(Cow::Borrowed),
            List::Written(items) => {
                let start = *items.starts.get(place)?;
                let read = json::read_at(&items.text, start, items.depth, &mut self.keys, report);
                if read.is_none() {
                    self.next = items.starts.len();
                }
                read.map(Cow::Owned)
            }
        }
    }
}

//! The outline of long lists of tasks in JSON, before any of those is read: to read a task takes ten times as long and a kilobyte
//! or two, and where the graph is wrong there is no need to.
//!
//! A list whose outline is not plain has none: a name that is a number, a key that is there twice. What it says is found out when
//! its tasks are read.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use crate::error::Report;
use crate::items::{Items, Walk};
use crate::layout::entries;
use crate::node::{Content, Node, Position};
use crate::outline::{Outline, Places, Task};

/// Of so few tasks all mistakes are told at once: those in the tasks, too.
const FEW: usize = 10_000;

/// Lists of tasks as they are written.
pub(crate) struct Skim<'n> {
    lists: Vec<&'n Items>,
    /// Whether the last of them is of those that run at the end.
    has_finally: bool,
    /// The task that was looked at last, and where each of those stands that it waits for: they may be many.
    last: RefCell<Option<(usize, Vec<Position>)>>,
}

impl<'n> Skim<'n> {
    /// Of lists that are long enough to be worth it.
    pub(crate) fn of(lists: &[&'n Node], finally: Option<&'n Node>) -> Option<Self> {
        let all = lists.iter().copied().chain(finally).map(|list| match &list.content {
            Content::Items(items) => Some(&**items),
            _ => None,
        });
        let lists: Vec<&Items> = all.collect::<Option<_>>()?;
        let count: usize = lists.iter().map(|list| list.starts.len()).sum();
        (count > FEW).then_some(Self { lists, has_finally: finally.is_some(), last: RefCell::default() })
    }

    /// The outline of the lists, if it is plain.
    pub(crate) fn outline(&self) -> Option<Outline<'n>> {
        let mut outline = Outline::default();
        for (place, list) in self.lists.iter().enumerate() {
            let finally = self.has_finally && place + 1 == self.lists.len();
            outline.tasks.reserve(list.starts.len());
            for (start, _) in &list.starts {
                let mut text = serde_json::Deserializer::from_str(list.text.get(*start as usize..)?);
                OfTask { finally, waits: &mut outline.waits }
                    .deserialize(&mut text)
                    .ok()
                    .map(|task| outline.tasks.push(task))?;
            }
        }
        Some(outline)
    }

    /// The list that a task is in, and its place there.
    fn item(&self, task: usize) -> Option<(&'n Items, usize)> {
        let mut place = task;
        for &list in &self.lists {
            match place.checked_sub(list.starts.len()) {
                Some(rest) => place = rest,
                None => return Some((list, place)),
            }
        }
        None
    }

    /// Where each of those stands that a task waits for.
    fn dependencies(&self, task: usize) -> Vec<Position> {
        let node = self.item(task).and_then(|(list, place)| Walk::at(list, place).next(&mut Report::new("")));
        let entries = node.as_deref().map(entries).unwrap_or_default();
        let find = |key: &str| entries.iter().find(|e| e.key == key && !e.node.is_null()).map(|e| &e.node);
        match (find("compensates"), find("dependencies").map(|waits| (waits, &waits.content))) {
            (Some(undone), _) => vec![undone.at],
            (None, Some((_, Content::List(all)))) => all.iter().map(place_of).collect(),
            (None, Some((one, _))) => vec![place_of(one)],
            (None, None) => Vec::new(),
        }
    }
}

/// Where it is said which task is meant.
fn place_of(dependency: &Node) -> Position {
    entries(dependency).iter().find(|entry| entry.key == "task").map_or(dependency.at, |entry| entry.node.at)
}

impl Places for Skim<'_> {
    fn task(&self, task: usize) -> Position {
        self.item(task).map(|(list, place)| list.starts[place].1).unwrap_or_default()
    }

    fn dependency(&self, task: usize, place: usize) -> Position {
        let mut last = self.last.borrow_mut();
        let known = last.take().filter(|(known, _)| *known == task);
        let (_, places) = last.insert(known.unwrap_or_else(|| (task, self.dependencies(task))));
        places.get(place).copied().unwrap_or_else(|| self.task(task))
    }
}

/// Text as it is written, unless that has escapes.
#[derive(Deserialize)]
struct Word<'t>(#[serde(borrow)] Cow<'t, str>);

/// Reads what a task is called and what it waits for.
struct OfTask<'w, 't> {
    finally: bool,
    waits: &'w mut Vec<Cow<'t, str>>,
}

impl<'t> DeserializeSeed<'t> for OfTask<'_, 't> {
    type Value = Task<'t>;

    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<Task<'t>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for OfTask<'_, 't> {
    type Value = Task<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Task<'t>, A::Error> {
        let begin = self.waits.len();
        let (mut name, mut finally, mut undone, mut waits) = (None, None, None, false);
        while let Some(Word(key)) = map.next_key()? {
            let is_again = match &*key {
                "name" => name.replace(map.next_value::<Word<'t>>()?.0).is_some(),
                "finally" => finally.replace(map.next_value::<Option<bool>>()?).is_some(),
                "compensates" => undone.replace(map.next_value::<Option<Word<'t>>>()?).is_some(),
                "dependencies" => {
                    map.next_value_seed(Waits(&mut *self.waits))?;
                    std::mem::replace(&mut waits, true)
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if is_again {
                return Err(A::Error::custom("a key that is there twice"));
            }
        }
        let undone = undone.flatten();
        let undoes = undone.is_some();
        if let Some(Word(undone)) = undone {
            // It waits for nothing else.
            self.waits.truncate(begin);
            self.waits.push(undone);
        }
        Ok(Task {
            name: name.ok_or_else(|| A::Error::missing_field("name"))?,
            end: self.waits.len(),
            finally: self.finally || undoes || finally.flatten().unwrap_or(false),
            undoes,
        })
    }
}

/// Reads what a task waits for: a name, `{task: NAME, on: ...}`, or a list of these.
struct Waits<'w, 't>(&'w mut Vec<Cow<'t, str>>);

impl<'t> DeserializeSeed<'t> for Waits<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Waits<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of tasks")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, name: &'t str) -> Result<(), E> {
        self.0.push(Cow::Borrowed(name));
        Ok(())
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.push(Cow::Owned(name.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let before = self.0.len();
            match list.next_element_seed(Waits(&mut *self.0))? {
                Some(()) if self.0.len() == before + 1 => {}
                Some(()) => return Err(A::Error::custom("not one task")),
                None => return Ok(()),
            }
        }
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        let before = self.0.len();
        while let Some(Word(key)) = map.next_key()? {
            match &*key {
                "task" => self.0.push(map.next_value::<Word<'t>>()?.0),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if self.0.len() == before + 1 { Ok(()) } else { Err(A::Error::custom("not one task")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::tests::parse;

    /// The outline of a list with these tasks, and others until there are enough: each name with what it waits for.
    fn outline(tasks: &str) -> Option<Vec<String>> {
        let others: String = (0..FEW).map(|n| format!(", {{\"name\": \"n{n}\"}}")).collect();
        let node =
            parse("f.json", &format!("{{\"tasks\": [{tasks}{others}], \"finally\": [{{\"name\": \"f\"}}]}}"));
        let node = node.unwrap();
        let find = |key: &str| entries(&node).iter().find(|entry| entry.key == key).map(|entry| &entry.node);
        let skim = Skim::of(&[find("tasks").unwrap()], find("finally")).unwrap();
        let outline = skim.outline()?;
        let told =
            |task: &Task<'_>| format!("{}{}{}", task.name, if task.finally { "!" } else { "" }, task.end);
        let first = outline.tasks.iter().take(outline.tasks.len() - FEW - 1);
        assert_eq!(outline.tasks.last().map(|last| (&*last.name, last.finally)), Some(("f", true)));
        Some(first.map(told).chain(outline.waits.iter().map(ToString::to_string)).collect())
    }

    #[test]
    fn an_outline_has_names_and_what_they_wait_for() {
        for (tasks, told) in [
            (r#"{"name": "a", "dependencies": ["b", {"task": "c", "on": "failure"}]}"#, "a2 b c"),
            (r#"{"dependencies": "b", "x": {"name": 1}, "name": "\u00e4"}"#, "ä1 b"),
            (r#"{"name": "a", "dependencies": null, "finally": true}"#, "a!0"),
            (r#"{"name": "a", "compensates": "c", "dependencies": ["b"]}, {"name": "b"}"#, "a!1 b1 c"),
        ] {
            assert_eq!(outline(tasks).map(|words| words.join(" ")).as_deref(), Some(told), "{tasks}");
        }
    }

    #[test]
    fn what_is_not_plain_has_no_outline() {
        for task in [
            "1",
            "{}",
            r#"{"name": 1}"#,
            r#"{"name": "a", "name": "b"}"#,
            r#"{"name": "a", "dependencies": ["b"], "dependencies": []}"#,
            r#"{"name": "a", "dependencies": [1]}"#,
            r#"{"name": "a", "dependencies": [null]}"#,
            r#"{"name": "a", "dependencies": [{"on": "failure"}]}"#,
            r#"{"name": "a", "finally": "yes"}"#,
        ] {
            assert_eq!(outline(task), None, "{task}");
        }
    }
}

//! Environment variables, held once for all tasks that have the same ones.
//!
//! Who submits a thousand commands gives each of them his own environment. Reading them one after the other,
//! only the first is built; the others are found to be equal while they are read, and share it.

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::unique::twice;

static NOTHING: BTreeMap<String, String> = BTreeMap::new();

thread_local! {
    /// What was read last on this thread.
    static LAST: RefCell<Env> = const { RefCell::new(Env(None)) };
}

/// Environment variables by their names. Cheap to clone; a map in every other respect.
#[derive(Clone, Default)]
pub struct Env(Option<Arc<BTreeMap<String, String>>>);

impl Env {
    /// Whether it is the same one in memory: then it is equal. Equal ones need not be the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Deref for Env {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Env {
    /// Others that shared it keep what they have.
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl PartialEq for Env {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || **self == **other
    }
}

impl Eq for Env {}

impl fmt::Debug for Env {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

impl From<BTreeMap<String, String>> for Env {
    fn from(variables: BTreeMap<String, String>) -> Self {
        Self((!variables.is_empty()).then(|| Arc::new(variables)))
    }
}

impl<const N: usize> From<[(String, String); N]> for Env {
    fn from(variables: [(String, String); N]) -> Self {
        BTreeMap::from(variables).into()
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        BTreeMap::from_iter(variables).into()
    }
}

impl<'a> IntoIterator for &'a Env {
    type Item = (&'a String, &'a String);
    type IntoIter = std::collections::btree_map::Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Env {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let env = deserializer.deserialize_map(Variables(LAST.with_borrow(Self::clone)))?;
        LAST.set(env.clone());
        Ok(env)
    }
}

/// Reads variables that may be these.
struct Variables(Env);

impl<'de> Visitor<'de> for Variables {
    type Value = Env;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of variables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
        // Names that come in the order of the map cannot come twice.
        let mut known = self.0.iter();
        for same in 0.. {
            let Some((name, value)) = known.next() else {
                return match map.next_key()? {
                    None => Ok(self.0),
                    Some(name) => others(map, &self.0, same, name),
                };
            };
            match map.next_key_seed(Compared(name))? {
                None => return Ok(first(&self.0, same).into()),
                Some(Some(other)) => return others(map, &self.0, same, other),
                Some(None) => {}
            }
            if let Some(other) = map.next_value_seed(Compared(value))? {
                let mut variables = first(&self.0, same);
                variables.insert(name.clone(), other);
                return rest(map, variables);
            }
        }
        Err(A::Error::custom("more variables than can be counted"))
    }
}

/// The first ones, by name.
fn first(known: &Env, count: usize) -> BTreeMap<String, String> {
    known.iter().take(count).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Reads on after so many equal variables and a name that is another.
fn others<'de, A: MapAccess<'de>>(
    mut map: A,
    known: &Env,
    same: usize,
    name: String,
) -> Result<Env, A::Error> {
    let mut variables = first(known, same);
    check_new(&variables, &name)?;
    variables.insert(name, map.next_value()?);
    rest(map, variables)
}

/// Refuses a variable that has a value already.
fn check_new<E: Error>(variables: &BTreeMap<String, String>, name: &str) -> Result<(), E> {
    if variables.contains_key(name) { Err(E::custom(twice(name))) } else { Ok(()) }
}

fn rest<'de, A: MapAccess<'de>>(
    mut map: A,
    mut variables: BTreeMap<String, String>,
) -> Result<Env, A::Error> {
    while let Some((name, value)) = map.next_entry::<String, String>()? {
        check_new(&variables, &name)?;
        variables.insert(name, value);
    }
    Ok(variables.into())
}

/// Reads a string and gives it only if it is another than this one.
struct Compared<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Compared<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Compared<'_> {
    type Value = Option<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok((text != self.0).then(|| text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Env {
        serde_json::from_str(json).unwrap()
    }

    fn plainly(json: &str) -> BTreeMap<String, String> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn whatever_was_read_before_it_is_read_as_it_is() {
        let texts = [
            r#"{}"#,
            r#"{"A":"1"}"#,
            r#"{"A":"1","B":"2"}"#,
            r#"{"A":"1","B":"3"}"#,
            r#"{"A":"1","C":"2"}"#,
            r#"{"B":"2","A":"1"}"#,
            r#"{"A":"1","B":"2","C":"3"}"#,
            r#"{"A":"\u0031","B":"2"}"#,
        ];
        for before in texts {
            for text in texts {
                read(before);
                assert_eq!(*read(text), plainly(text), "{text} after {before}");
            }
        }
    }

    #[test]
    fn equal_ones_in_a_row_are_one() {
        let one = read(r#"{"A":"1","B":"2"}"#);
        let mut other = read(r#"{"A":"1","B":"2"}"#);
        assert!(one.is_same(&other));
        other.insert("A".to_owned(), "2".to_owned());
        assert_eq!((&*one["A"], &*other["A"]), ("1", "2"));
        assert_ne!(one, other);
    }

    #[test]
    fn nothing_is_nothing_however_it_came_about() {
        let mut emptied = Env::from([("A".to_owned(), "1".to_owned())]);
        emptied.clear();
        assert_eq!(emptied, Env::default());
        assert_eq!(read("{}"), Env::default());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        read(r#"{"A":"1"}"#);
        for json in [r#"{"A":1}"#, r#"{"B":null}"#, r#"["A"]"#, r#"{"A":"1","B":{}}"#] {
            assert!(serde_json::from_str::<Env>(json).is_err(), "{json}");
        }
    }
}

//! Words that stand again and again in a file, its keys above all: each is kept once.
//!
//! A graph of a million tasks has `name` a million times. Words that are all different are kept as they come: what is
//! remembered of them does not grow.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Words that are remembered at a time; a workflow file has some forty keys.
const REMEMBERED: usize = 256;

/// A key of a map, or a number as it was written. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<str>);

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// The words that were read lately.
#[derive(Default)]
pub(crate) struct Keys(Vec<Option<Key>>);

impl Keys {
    /// A word, in the memory of the same one before it if that is remembered.
    pub(crate) fn of(&mut self, text: &str) -> Key {
        self.0.resize(REMEMBERED, None);
        // FNV-1a: who makes words that meet in one place only has them kept as they come.
        let hash = text
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let place = &mut self.0[hash as usize % REMEMBERED];
        match place {
            Some(known) if *known == *text => known.clone(),
            _ => place.insert(text.into()).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_comes_again_is_kept_once_and_others_are_not_remembered_for_ever() {
        let mut keys = Keys::default();
        let first = keys.of("name");
        assert!(Arc::ptr_eq(&first.0, &keys.of("name").0));
        for n in 0..100_000 {
            assert_eq!(keys.of(&n.to_string()), *n.to_string());
        }
        assert_eq!((keys.0.len(), Arc::strong_count(&first.0)), (REMEMBERED, 1));
    }
}

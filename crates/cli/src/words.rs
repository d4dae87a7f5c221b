//! Arguments that are one of a few words: shells complete them, and what is no such word is refused in the
//! words of its type.

use clap::builder::{PossibleValue, TypedValueParser};
use orchd_model::{CatchUp, Overlap, Priority, Refusal, SessionMode, Status};
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

/// Reads a word of a type.
#[derive(Clone)]
pub(crate) struct Word<T> {
    words: Vec<&'static str>,
    kind: PhantomData<fn() -> T>,
}

/// A class.
pub(crate) fn class() -> Word<Priority> {
    Word { words: Priority::ALL.map(Priority::as_str).into(), kind: PhantomData }
}

/// A rule for overlapping runs.
pub(crate) fn overlap() -> Word<Overlap> {
    Word { words: Overlap::WORDS.into(), kind: PhantomData }
}

/// A rule for missed ticks.
pub(crate) fn catch_up() -> Word<CatchUp> {
    Word { words: CatchUp::WORDS.into(), kind: PhantomData }
}

/// A status.
pub(crate) fn status() -> Word<Status> {
    Word { words: Status::ALL.map(Status::as_str).into(), kind: PhantomData }
}

/// A mode of a session.
pub(crate) fn mode() -> Word<SessionMode> {
    Word { words: SessionMode::ALL.map(SessionMode::as_str).into(), kind: PhantomData }
}

impl<T: FromStr<Err = Refusal> + Clone + Send + Sync + 'static> TypedValueParser for Word<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        str::parse::<T>.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().copied().map(PossibleValue::new)))
    }
}

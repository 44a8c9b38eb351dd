//! A field with a fixed set of words, read leniently.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One of the words of `T`, or a word that this release does not know.
///
/// The schema names the words of `T` alone, so the API server refuses every
/// other; an object that came past the schema still parses, and
/// [`crate::validate`] refuses it with the word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Choice<T> {
    /// A word of `T`.
    Known(T),
    /// Any other word, as it was written.
    Unknown(String),
}

impl<T> Choice<T> {
    /// The word of `T`, if it is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(word) => Some(word),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Choice<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: Default> Default for Choice<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T: JsonSchema> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

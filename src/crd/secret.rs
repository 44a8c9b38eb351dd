//! Text that must not be printed, inside an object that must round-trip.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt};

/// Most characters of a password or secret key. A bound of the schema and not a
/// rule, because an error about length does not print the value.
pub const MAX_SECRET_CHARS: usize = 256;

/// A password or secret key written into a spec.
///
/// `Debug` prints `***`. It is serialized, because the spec that the user wrote
/// must survive a round trip through the API server; keep it out of every other
/// document.
#[derive(Clone)]
pub struct PlainSecret(SecretString);

impl PlainSecret {
    /// The text itself. Every call site is a place where it can leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The text in the type that the rest of the operator hands on.
    #[must_use]
    pub fn to_secret(&self) -> SecretString {
        self.0.clone()
    }
}

impl From<&str> for PlainSecret {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text))
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for PlainSecret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Serialize for PlainSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for PlainSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text)
    }
}

/// Reads text; refuses everything else without repeating it. The default
/// messages of serde quote the value: a password that looks like a number, left
/// unquoted, would be printed.
struct Text;

const NOT_TEXT: &str = "expected text (the value is not shown)";

impl<'de> de::Visitor<'de> for Text {
    type Value = PlainSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PlainSecret, E> {
        Ok(PlainSecret::from(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<PlainSecret, E> {
        Ok(PlainSecret(SecretString::from(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<PlainSecret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<PlainSecret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<PlainSecret, E> {
        Err(E::custom(NOT_TEXT))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<PlainSecret, E> {
        Err(E::custom(NOT_TEXT))
    }
}

impl JsonSchema for PlainSecret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PlainSecret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_SECRET_CHARS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_three_stars() {
        assert_eq!(format!("{:?}", PlainSecret::from("Password123!")), "***");
    }

    #[test]
    fn text_survives_a_round_trip() {
        let secret: PlainSecret = serde_json::from_str(r#""Password123!""#).unwrap();
        assert_eq!(serde_json::to_string(&secret).unwrap(), r#""Password123!""#);
    }

    #[test]
    fn an_error_about_a_number_does_not_repeat_it() {
        for text in ["1234567890", "-1234567890", "1234567890.5", "true"] {
            let error = serde_json::from_str::<PlainSecret>(text).unwrap_err().to_string();
            assert!(!error.contains("1234567890"), "{error}");
            assert!(error.contains("expected text"), "{error}");
        }
    }
}

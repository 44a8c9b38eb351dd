//! The readable form of an event: its fields as JSON, sorted by name.
//!
//! Every line of the audit file has it, and whoever verifies a journal writes all of it again to
//! compare. So it is made from the text that serde writes, without a tree of values between.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

use crate::event::Event;

/// What is taken for an event's text before it is written: most are not longer.
const EVENT_BYTES: usize = 512;

/// The fields of an event as JSON, without its name, which stands beside them. They are sorted by
/// name, whatever map the program that this crate is built into gives to its JSON.
pub fn readable_event(event: &Event) -> Value {
    let mut text = Vec::new();
    let written = write(&mut text, event).map_err(serde_json::Error::io);
    written
        .and_then(|()| serde_json::from_slice(&text))
        .unwrap_or_else(|error| Value::String(format!("no readable form: {error}")))
}

/// Writes what [`readable_event`] gives.
pub(super) fn write(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let mut text = Vec::with_capacity(EVENT_BYTES);
    serde_json::to_writer(&mut text, event)?;
    // `{"its name":{its fields}}`
    let fields = text
        .strip_prefix(b"{\"")
        .and_then(|text| text.strip_prefix(event.name().as_bytes()))
        .and_then(|text| text.strip_prefix(b"\":"))
        .and_then(|text| text.strip_suffix(b"}"))
        .ok_or_else(unexpected)?;
    sorted(fields, out)
}

/// Writes a value with the fields of all its objects in the order of their names.
fn sorted(text: &[u8], out: &mut impl Write) -> io::Result<()> {
    match text.first() {
        Some(b'{') => object(text, out),
        Some(b'[') => {
            let mut separator: &[u8] = b"[";
            let mut rest = text;
            take(&mut rest, b'[')?;
            while rest != b"]" {
                out.write_all(separator)?;
                sorted(value(&mut rest)?, out)?;
                separator = b",";
                rest = rest.strip_prefix(separator).unwrap_or(rest);
            }
            out.write_all(if separator == b"[" { b"[]" } else { b"]" })
        }
        Some(_) => out.write_all(text),
        None => Err(unexpected()),
    }
}

fn object(text: &[u8], out: &mut impl Write) -> io::Result<()> {
    let mut fields = Vec::with_capacity(16);
    let mut rest = text;
    take(&mut rest, b'{')?;
    while rest != b"}" {
        let name = value(&mut rest)?;
        take(&mut rest, b':')?;
        fields.push((name, value(&mut rest)?));
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    if !fields.is_sorted_by_key(|(name, _)| unescaped(name)) {
        fields.sort_by_cached_key(|(name, _)| unescaped(name));
    }
    let mut separator: &[u8] = b"{";
    for (name, field) in fields {
        out.write_all(separator)?;
        out.write_all(name)?;
        out.write_all(b":")?;
        sorted(field, out)?;
        separator = b",";
    }
    out.write_all(if separator == b"{" { b"{}" } else { b"}" })
}

/// A name as it is compared: what a backslash stands for has another place than the backslash.
fn unescaped(name: &[u8]) -> Cow<'_, [u8]> {
    if name.contains(&b'\\')
        && let Ok(name) = serde_json::from_slice::<String>(name)
    {
        return name.into_bytes().into();
    }
    name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name).into()
}

/// Takes the value that `rest` begins with.
fn value<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = rest.get(at) {
        at += 1;
        match byte {
            b'"' => at = string_end(rest, at)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b':' if depth == 0 => return split(rest, at - 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    split(rest, at)
}

/// Where the string ends that is open at `from`: behind its quote.
fn string_end(text: &[u8], mut from: usize) -> io::Result<usize> {
    loop {
        let left = text.get(from..).ok_or_else(unexpected)?;
        let at = from + memchr::memchr2(b'"', b'\\', left).ok_or_else(unexpected)?;
        if text.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        // What is escaped is no end.
        from = at + 2;
    }
}

fn split<'a>(rest: &mut &'a [u8], at: usize) -> io::Result<&'a [u8]> {
    let (value, left) = rest.split_at_checked(at).ok_or_else(unexpected)?;
    *rest = left;
    if value.is_empty() { Err(unexpected()) } else { Ok(value) }
}

fn take(rest: &mut &[u8], byte: u8) -> io::Result<()> {
    let (first, left) = rest.split_first().ok_or_else(unexpected)?;
    *rest = left;
    if *first == byte { Ok(()) } else { Err(unexpected()) }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is not the JSON of an event")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::every;

    /// The same by a tree of values.
    fn by_value(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields: BTreeMap<_, _> =
                    fields.iter().map(|(name, field)| (name.clone(), by_value(field))).collect();
                Value::Object(fields.into_iter().collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(by_value).collect()),
            other => other.clone(),
        }
    }

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        sorted(text.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_fields_of_every_event_are_sorted_and_nothing_else_is_changed() {
        for event in every::events() {
            let value = serde_json::to_value(&event).unwrap();
            let fields = value.get(event.name()).unwrap_or_else(|| panic!("{value}"));
            let mut text = Vec::new();
            write(&mut text, &event).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), by_value(fields).to_string());
            assert_eq!(readable_event(&event), *fields);
        }
    }

    #[test]
    fn names_are_compared_by_what_they_say() {
        assert_eq!(written(r#"{"b":{"z":1,"a":[]},"a":{}}"#), r#"{"a":{},"b":{"a":[],"z":1}}"#);
        assert_eq!(written(r#"{"]":1,"\"":2}"#), r#"{"\"":2,"]":1}"#);
        assert_eq!(written(r#"[[{"b":"}","a":"\\"}],null]"#), r#"[[{"a":"\\","b":"}"}],null]"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", r#"{"a"}"#, r#"{"a":}"#, "[", "[,]"] {
            assert!(sorted(text.as_bytes(), &mut Vec::new()).is_err(), "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_sorted_as_by_a_tree_of_values(value in any_value()) {
            prop_assert_eq!(written(&value.to_string()), by_value(&value).to_string());
        }
    }
}

//! What a name, a path or a word must be like to be used.

use std::collections::BTreeSet;

use super::{Names, ProfileError};

/// Longest name, path or word in a profile, in bytes.
const MAX_NAME: usize = 256;

pub(super) fn invalid(field: &str, problem: impl Into<String>) -> ProfileError {
    ProfileError::Invalid { field: field.to_owned(), problem: problem.into() }
}

pub(super) fn check_name(field: &str, name: &str) -> Result<(), ProfileError> {
    if name.is_empty() || name.trim() != name {
        return Err(invalid(field, "must not be empty nor begin or end with blanks"));
    }
    if name.len() > MAX_NAME {
        return Err(invalid(field, format!("has {} bytes; at most {MAX_NAME} fit", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid(field, "must not hold control characters"));
    }
    Ok(())
}

pub(super) fn check_path(
    field: &str,
    path: &str,
    placeholder: Option<&str>,
) -> Result<(), ProfileError> {
    check_name(field, path)?;
    let plain = match placeholder {
        None => path.to_owned(),
        Some(placeholder) => {
            if path.matches(placeholder).count() != 1 {
                return Err(invalid(field, format!("must hold {placeholder} exactly once")));
            }
            path.replace(placeholder, "x")
        }
    };
    let Some(rest) = plain.strip_prefix('/') else {
        return Err(invalid(field, "must begin with /"));
    };
    let segment_is_fine = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if !rest.split('/').all(segment_is_fine) {
        let allowed = match placeholder {
            None => "letters, digits and -._~".to_owned(),
            Some(placeholder) => format!("letters, digits, -._~ and {placeholder}"),
        };
        return Err(invalid(field, format!("segments must be of {allowed}, not empty, . or ..")));
    }
    Ok(())
}

/// A command and its parameters: the parameters' names must differ.
pub(super) fn check_command(field: &str, entries: &[(&str, &str)]) -> Result<(), ProfileError> {
    for (key, value) in entries {
        check_name(&format!("{field}.{}", camel_case(key)), value)?;
    }
    let parameters: Vec<_> = entries.iter().filter(|(key, _)| *key != "command").copied().collect();
    check_distinct(field, &parameters)
}

pub(super) fn check_distinct(field: &str, entries: &[(&str, &str)]) -> Result<(), ProfileError> {
    let mut seen = BTreeSet::new();
    for (key, value) in entries {
        let place = format!("{field}.{}", camel_case(key));
        check_name(&place, value)?;
        if !seen.insert(*value) {
            return Err(invalid(&place, format!("{value:?} already has another meaning here")));
        }
    }
    Ok(())
}

/// Lists of words: none empty, and no word with two meanings.
pub(super) fn check_words(field: &str, entries: &[(&str, &Names)]) -> Result<(), ProfileError> {
    let mut seen = BTreeSet::new();
    for (key, names) in entries {
        let place = format!("{field}.{}", camel_case(key));
        if names.iter().next().is_none() {
            return Err(invalid(&place, "must hold at least one name"));
        }
        for name in names.iter() {
            check_name(&place, name)?;
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(invalid(&place, format!("{name:?} already has another meaning here")));
            }
        }
    }
    Ok(())
}

/// `secret_key` as the document writes it: `secretKey`.
pub(super) fn camel_case(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    let mut upper = false;
    for letter in key.chars() {
        match letter {
            '_' => upper = true,
            _ if upper => {
                text.push(letter.to_ascii_uppercase());
                upper = false;
            }
            _ => text.push(letter),
        }
    }
    text
}

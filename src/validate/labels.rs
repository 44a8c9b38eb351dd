//! The syntax of label and annotation keys and of label values.

/// Whether a text can be the key of a label or annotation: an optional DNS
/// subdomain with `/`, then a name of at most 63 characters.
pub(super) fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
        None => is_name(text),
    }
}

/// Whether a text can be the value of a label.
pub(super) fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// Whether a text can be the name of an object: a DNS subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            is_framed(label, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_name(text: &str) -> bool {
    text.len() <= 63
        && is_framed(text, |byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether the first and the last byte are of a kind; false for an empty text.
fn is_framed(text: &str, kind: fn(&u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(kind) && bytes.last().is_some_and(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_an_optional_prefix() {
        for key in ["app", "a", "example.com/Team_1", "app.kubernetes.io/name"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "/a", "a/", "-a", "a-", "A.com/a", "a/b/c", "a b", &"a".repeat(64)] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn values_may_be_empty() {
        for value in ["", "Zone-1", "1.2_3"] {
            assert!(is_value(value), "{value}");
        }
        for value in ["a b", ".a", "a/b", &"a".repeat(64)] {
            assert!(!is_value(value), "{value}");
        }
    }

    #[test]
    fn object_names_are_dns_subdomains() {
        for name in ["a", "a.b-c.1", "1a"] {
            assert!(is_subdomain(name), "{name}");
        }
        for name in ["", "A", "a..b", "a.", "a_b", "-a", &"a".repeat(254)] {
            assert!(!is_subdomain(name), "{name}");
        }
    }
}

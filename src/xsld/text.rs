//! Text that came from outside, made safe to show: bounded, on one line, without
//! secrets.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// Longest text, in characters, that is taken over from a member.
pub const MAX_TEXT: usize = 512;

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: they would match ordinary words. The
/// rules for passwords of the custom resource ask for ten characters.
const MIN_SECRET: usize = 6;

/// `text` with control characters escaped, at most [`MAX_TEXT`] characters long.
///
/// Marks that change the direction or the line of what follows are escaped too,
/// so that a member cannot forge a line in a log or hide a part of a message.
pub fn bounded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(MAX_TEXT));
    let mut length = 0;
    for character in text.trim().chars() {
        let width = if is_unsafe(character) { character.escape_default().count() } else { 1 };
        if length + width > MAX_TEXT - 1 {
            safe.push('…');
            break;
        }
        length += width;
        if is_unsafe(character) {
            // Writing to a String cannot fail.
            let _ = write!(safe, "{}", character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// True for characters that do not show as themselves on one line.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Takes known secrets out of what a member says, in case it echoes them.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another goes as a whole.
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// A redactor that knows no secret.
    pub fn new() -> Redactor {
        Redactor::default()
    }

    /// Whether a secret is long enough to be looked for.
    pub fn finds(secret: &SecretString) -> bool {
        secret.expose_secret().len() >= MIN_SECRET
    }

    /// Adds a secret. Secrets of fewer than six bytes are not looked for.
    #[must_use]
    pub fn with(mut self, secret: &SecretString) -> Redactor {
        self.add(secret.clone());
        self
    }

    /// Adds a password in both forms in which it travels: as it is, and inside
    /// the header of basic authentication.
    #[must_use]
    pub fn with_login(mut self, user: &str, password: &SecretString) -> Redactor {
        let header = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        self.add(SecretString::from(header));
        self.add(password.clone());
        self
    }

    fn add(&mut self, secret: SecretString) {
        if !Self::finds(&secret) {
            return;
        }
        self.secrets.push(secret);
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// `text` without the secrets.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), REDACTED);
            }
        }
        clean
    }

    /// Takes the secrets out of every text in `value`, names of members included.
    pub fn clean(&self, value: &mut Value) {
        if self.secrets.is_empty() {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.clean_string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Value::Object(members) => {
                let former = std::mem::take(members);
                for (mut name, mut member) in former {
                    self.clean_string(&mut name);
                    self.clean(&mut member);
                    members.insert(name, member);
                }
            }
        }
    }

    fn clean_string(&self, text: &mut String) {
        if self.secrets.iter().any(|secret| text.contains(secret.expose_secret())) {
            *text = self.text(text);
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Redactor").field("secrets", &self.secrets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        assert_eq!(bounded("a\nb\r\u{1b}[31m\u{202e}c\u{2028}d"), {
            "a\\nb\\r\\u{1b}[31m\\u{202e}c\\u{2028}d"
        });
        assert_eq!(bounded("  Größe: 5 €  "), "Größe: 5 €");
    }

    #[test]
    fn long_text_is_cut_at_its_bound() {
        let exact = "x".repeat(MAX_TEXT - 1);
        assert_eq!(bounded(&exact), exact);
        for text in ["x".repeat(5_000), "\u{1}".repeat(5_000), "é".repeat(5_000)] {
            let cut = bounded(&text);
            assert!(cut.ends_with('…'));
            assert!(cut.chars().count() <= MAX_TEXT, "{}", cut.chars().count());
        }
    }

    #[test]
    fn an_echoed_secret_is_taken_out_in_every_form() {
        let password = SecretString::from("Password123!");
        let longer = SecretString::from("Password123!-group");
        let redactor = Redactor::new().with_login("xsadmin", &password).with(&longer);
        let header = STANDARD.encode("xsadmin:Password123!");
        let mut value = serde_json::json!({
            "error": format!("bad key Password123!-group, password Password123!, {header}"),
            "Password123!": ["deep", {"x": "Password123!"}],
            "n": 5,
        });
        redactor.clean(&mut value);
        let text = value.to_string();
        assert!(!text.contains("Password123!") && !text.contains(&header), "{text}");
        assert_eq!(value["error"], "bad key [redacted], password [redacted], [redacted]");
        assert_eq!(value["n"], 5);
    }

    #[test]
    fn a_secret_too_short_to_tell_from_words_changes_nothing() {
        let redactor = Redactor::new().with(&SecretString::from("")).with(&"on".into());
        assert_eq!(redactor.text("Online"), "Online");
    }

    #[test]
    fn debug_shows_no_secret() {
        let redactor = Redactor::new().with(&SecretString::from("Password123!"));
        assert_eq!(format!("{redactor:?}"), "Redactor { secrets: 1 }");
    }
}

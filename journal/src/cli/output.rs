//! How things are printed: data on stdout, the rest on stderr, nothing that a terminal obeys.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::{Error, Format, Unreadable};

/// Where a command prints to, and the exit code that it has come to.
pub(super) struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    format: Format,
    colour: bool,
    exit: u8,
    reader_is_gone: &'a dyn Fn() -> bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(
        stdout: &'a mut dyn Write,
        stderr: &'a mut dyn Write,
        format: Format,
        colour: bool,
        reader_is_gone: &'a dyn Fn() -> bool,
    ) -> Self {
        Self { stdout, stderr, format, colour, exit: 0, reader_is_gone }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn exit_code(&self) -> u8 {
        self.exit
    }

    /// Lets the command end with this code, unless a graver one is due.
    pub(super) fn exit_with(&mut self, code: u8) {
        // As in a check: a fork outweighs a gap, a gap a newer format, and that the findings.
        let rank = |code: u8| [0, 1, 5, 3, 4, 2].iter().position(|ranked| *ranked == code);
        if rank(code) > rank(self.exit) {
            self.exit = code;
        }
    }

    /// Prints an object as JSON on one line, or as a YAML document.
    pub(super) fn object(&mut self, value: &impl Serialize) -> Result<(), Error> {
        Ok(self.stdout.write_all(self.format.document(value)?.as_bytes())?)
    }

    /// Prints a line for people. Its parts from elsewhere are escaped by [`escape`].
    pub(super) fn line(&mut self, text: &str) -> Result<(), Error> {
        Ok(writeln!(self.stdout, "{}", text.trim_end())?)
    }

    /// Prints rows in columns, under a heading.
    pub(super) fn table(&mut self, heading: &[&str], rows: Vec<Vec<String>>) -> Result<(), Error> {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heading.iter().map(|name| (*name).to_owned()));
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.trim_fmt().lines() {
            writeln!(self.stdout, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Tells something that is not data.
    pub(super) fn tell(&mut self, text: &str) -> Result<(), Error> {
        Ok(writeln!(self.stderr, "{}", escape(text))?)
    }

    /// Tells the last thing; there is nobody left to tell a failure to.
    pub(super) fn tell_last(&mut self, text: &str) {
        let _told = writeln!(self.stderr, "{}", escape(text));
    }

    /// Tells a line that cannot be read, and lets the command end with a failure.
    pub(super) fn unreadable(&mut self, unreadable: &Unreadable) -> Result<(), Error> {
        self.exit_with(if unreadable.error.is_newer_format() { 5 } else { 1 });
        let seq = match unreadable.chained {
            Some((seq, _, _)) => format!(" (seq {seq})"),
            None => String::new(),
        };
        let told = match &unreadable.told_type {
            Some(name) => format!(", a record that calls itself {name}"),
            None => String::new(),
        };
        self.tell(&format!("skipped {}{seq}{told}: {}", unreadable.position, unreadable.error))
    }

    /// Paints a word where colour is wanted. It never carries a meaning that the word does not.
    pub(super) fn paint(&self, mood: Mood, text: &str) -> String {
        let style = match mood {
            Mood::Plain => Style::new(),
            Mood::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Mood::Doubt => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Mood::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())),
        };
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Hands over what is printed.
    ///
    /// # Errors
    /// A broken pipe when nobody reads any more, even if there was nothing to hand over.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.stdout.flush()?;
        if (self.reader_is_gone)() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
        Ok(())
    }
}

/// What a word is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Plain,
    Good,
    Doubt,
    Bad,
}

impl Format {
    /// An object as JSON on one line, or as a YAML document, with its line end. What a terminal would
    /// obey is escaped.
    ///
    /// # Errors
    /// When the object has no such form.
    pub fn document(self, value: &impl Serialize) -> io::Result<String> {
        match self {
            Self::Yaml => {
                let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
                Ok(format!("---\n{}\n", escape_lines(text.trim_end())))
            }
            Self::Json | Self::Table => {
                let text = serde_json::to_string(value).map_err(io::Error::other)?;
                Ok(format!("{}\n", ascii_safe(&text)))
            }
        }
    }
}

/// Makes a text from elsewhere safe to show: what a terminal would obey, or what would change the
/// order in which the line is read, is shown as its code.
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            _ if is_unsafe(char) => shown.extend(char.escape_unicode()),
            _ => shown.push(char),
        }
    }
    shown
}

/// As [`escape`], but for a text of several lines.
fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// Escapes the same in JSON, in JSON's own way. These only stand inside of strings.
fn ascii_safe(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for char in json.chars() {
        if is_unsafe(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(char);
        }
    }
    shown
}

/// Control characters, and the invisible ones that reorder or join what is around them.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A span of time for people, from microseconds.
pub(super) fn duration_text(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let tenths = (micros % 1_000_000).abs() / 100_000;
    match seconds {
        ..0 => format!("{seconds} s (the clock went back)"),
        0 => format!("{} ms", micros / 1000),
        1..60 => format!("{seconds}.{tenths} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_code() {
        assert_eq!(
            escape("a\u{1b}[31mb\u{9b}c\nd\u{202e}e"),
            "a\\u{1b}[31mb\\u{9b}c\\nd\\u{202e}e"
        );
        assert_eq!(escape("größe 値 🦀"), "größe 値 🦀");
    }

    #[test]
    fn json_keeps_its_meaning_when_it_is_made_safe() {
        let value = serde_json::json!({ "text": "a\u{1b}\u{9b}\u{202e}\u{e0041}\n\"é" });
        let safe = ascii_safe(&value.to_string());
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn a_document_holds_nothing_that_a_terminal_obeys() {
        let value = serde_json::json!({ "text": "a\u{1b}[31m\u{9b}\u{202e}b" });
        for format in [Format::Json, Format::Yaml, Format::Table] {
            let document = format.document(&value).unwrap();
            assert!(!document.trim_end().chars().any(|c| c != '\n' && is_unsafe(c)), "{document}");
            assert!(document.ends_with('\n') && !document.ends_with("\n\n"), "{document}");
        }
    }

    #[test]
    fn spans_are_short_and_honest() {
        let shown = [250_000, 1_250_000, 61_000_000, 7_260_000_000, -5_000_000].map(duration_text);
        let expected = ["250 ms", "1.2 s", "1 min 1 s", "2 h 1 min", "-5 s (the clock went back)"];
        assert_eq!(shown, expected);
    }
}

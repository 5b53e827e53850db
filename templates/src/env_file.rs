//! Environment files: `NAME=value` lines in the quoting of systemd's `EnvironmentFile=`.
//!
//! Duty: write a file that systemd, our supervisor and a person read alike, and read one that a person edited.
//! Invariant: [`EnvFile::parse`] of what [`EnvFile::write`] wrote gives the same values, for every value that is accepted.
//! Danger: shells read more into such a file than systemd does (`$(…)`, `;`). Nothing here is ever sourced, and whatever
//! the two would read differently is refused with its line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why a file or a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// Not a comment, not blank, not `NAME=value`.
    #[error("line {line}: `{text}` is not NAME=value")]
    NotAnAssignment {
        /// Counted from 1.
        line: usize,
        /// Start of the line.
        text: String,
    },
    /// A quote is not closed on its line.
    #[error("line {line}: the quote is not closed")]
    OpenQuote {
        /// Counted from 1.
        line: usize,
    },
    /// Characters that need quotes stand outside them.
    #[error("line {line}: `{found}` needs quotes around the value")]
    NeedsQuotes {
        /// Counted from 1.
        line: usize,
        /// The first such character.
        found: char,
    },
    /// The same name twice: one of the two lines would be ignored.
    #[error("line {line}: {name} is set a second time")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// Names are `[A-Z_][A-Z0-9_]*`.
    #[error("`{0}` is not a variable name")]
    Name(String),
    /// Line breaks and control characters have no form that every reader agrees on.
    #[error("the value of {0} has a line break or control character, which this format cannot carry")]
    Unprintable(String),
}

/// Values of an environment file, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    values: BTreeMap<String, String>,
}

impl EnvFile {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), EnvError> {
        let value = value.into();
        if !is_name(name) {
            return Err(EnvError::Name(name.to_owned()));
        }
        if value.chars().any(char::is_control) {
            return Err(EnvError::Unprintable(name.to_owned()));
        }
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All values by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What a person changed stays; what is missing comes from `defaults`.
    #[must_use]
    pub fn filled_from(mut self, defaults: &Self) -> Self {
        for (name, value) in &defaults.values {
            self.values.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// The text of the file, under a comment.
    #[must_use]
    pub fn write(&self, comment: &str) -> String {
        let mut out = String::new();
        for line in comment.lines() {
            let _ = writeln!(out, "# {line}");
        }
        for (name, value) in &self.values {
            let _ = writeln!(out, "{name}={}", quoted(value));
        }
        out
    }

    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, EnvError> {
        let mut file = Self::new();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let trimmed = raw.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            let not_an_assignment =
                || EnvError::NotAnAssignment { line, text: trimmed.chars().take(24).collect() };
            let (name, value) = trimmed.split_once('=').ok_or_else(not_an_assignment)?;
            if !is_name(name) {
                return Err(not_an_assignment());
            }
            let value = unquoted(value, line)?;
            if file.values.contains_key(name) {
                return Err(EnvError::Twice { line, name: name.to_owned() });
            }
            file.set(name, value)?;
        }
        Ok(file)
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    matches!(bytes.next(), Some(b'A'..=b'Z' | b'_'))
        && bytes.all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | ',' | '@' | '+' | '%' | '=')
}

fn quoted(value: &str) -> String {
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn unquoted(text: &str, line: usize) -> Result<String, EnvError> {
    let mut chars = text.chars();
    let (quote, mut out) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            chars.next();
            (quote, String::new())
        }
        _ => {
            return match text.chars().find(|c| !is_plain(*c)) {
                Some(found) => Err(EnvError::NeedsQuotes { line, found }),
                None => Ok(text.to_owned()),
            };
        }
    };
    loop {
        match chars.next() {
            None => return Err(EnvError::OpenQuote { line }),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => out.push(c),
                // As systemd and shells: any other backslash stands for itself.
                Some(c) => out.extend(['\\', c]),
                None => return Err(EnvError::OpenQuote { line }),
            },
            Some(c @ ('$' | '`')) if quote == '"' => return Err(EnvError::NeedsQuotes { line, found: c }),
            Some(c) => out.push(c),
        }
    }
    match chars.next() {
        Some(found) => Err(EnvError::NeedsQuotes { line, found }),
        None => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(value: &str) -> EnvFile {
        let mut file = EnvFile::new();
        file.set("SYNC_X", value).unwrap();
        file
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_comes_back_as_it_was(value in any::<String>()) {
            let mut file = EnvFile::new();
            if file.set("SYNC_X", value.clone()).is_ok() {
                prop_assert_eq!(EnvFile::parse(&file.write("note")).unwrap(), file);
            } else {
                prop_assert!(value.chars().any(char::is_control));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = EnvFile::parse(&text);
        }
    }

    #[test]
    fn a_shell_reads_the_same_values_and_runs_nothing() {
        for value in [
            "a b",
            "$(touch /tmp/x)",
            "`id`",
            "it's \"quoted\"",
            "back\\slash\\",
            "a;b&c|d",
            "ünïcode",
            "#x",
            "",
        ] {
            let script = format!("{}printf %s \"$SYNC_X\"", one(value).write("c"));
            let out = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), value);
            assert!(out.stderr.is_empty());
        }
    }

    #[test]
    fn a_line_break_in_a_value_is_refused_by_name() {
        let mut file = EnvFile::new();
        assert_eq!(file.set("SYNC_X", "a\nb"), Err(EnvError::Unprintable("SYNC_X".into())));
    }

    #[test]
    fn every_refusal_names_its_line() {
        let cases = [
            ("# fine\nexport A=b", EnvError::NotAnAssignment { line: 2, text: "export A=b".into() }),
            ("A=\"x", EnvError::OpenQuote { line: 1 }),
            ("A=x y", EnvError::NeedsQuotes { line: 1, found: ' ' }),
            ("A=$HOME", EnvError::NeedsQuotes { line: 1, found: '$' }),
            ("A=\"$HOME\"", EnvError::NeedsQuotes { line: 1, found: '$' }),
            ("A='x'y", EnvError::NeedsQuotes { line: 1, found: 'y' }),
            ("A=1\n\nA=2", EnvError::Twice { line: 3, name: "A".into() }),
        ];
        for (text, error) in cases {
            assert_eq!(EnvFile::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_persons_values_stay_and_missing_ones_are_filled() {
        let mut defaults = one("ours");
        defaults.set("SYNC_NEW", "1").unwrap();
        let merged = EnvFile::parse("SYNC_X='theirs'\nSYNC_OWN=kept\n").unwrap().filled_from(&defaults);
        let all: Vec<_> = merged.iter().collect();
        assert_eq!(all, [("SYNC_NEW", "1"), ("SYNC_OWN", "kept"), ("SYNC_X", "theirs")]);
    }
}

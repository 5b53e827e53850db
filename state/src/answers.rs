//! What the person chose: `answers.toml`.
//!
//! Duty: keep each answer from the moment it is given, in a file a person can read and edit.
//! Invariant: secrets stand here as references only; keys this version does not know are kept as they are.
//! Danger: an answer is intent, never knowledge about the host (law 11): nothing may be undone because of it.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// The newest `schema` number this version reads and writes.
pub const SCHEMA: i64 = 1;

/// A dotted name in lower case, as `server.port`: two or more parts of `[a-z0-9_]`, none empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnswerKey(Cow<'static, str>);

impl AnswerKey {
    /// For a key that stands in the source. One that breaks the grammar does not compile in a constant.
    pub const fn of(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let (mut i, mut dots, mut part) = (0, 0, 0);
        while i < bytes.len() {
            match bytes[i] {
                b'a'..=b'z' | b'0'..=b'9' | b'_' => part += 1,
                b'.' if part > 0 => (dots, part) = (dots + 1, 0),
                _ => panic!("an answer key has lower-case parts with dots between"),
            }
            i += 1;
        }
        assert!(dots > 0 && part > 0, "an answer key has two or more parts");
        Self(Cow::Borrowed(text))
    }

    /// Accepts exactly the grammar above.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let part = |p: &str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if text.contains('.') && text.split('.').all(part) {
            Ok(Self(Cow::Owned(text.into())))
        } else {
            Err(BadKey(text.into()))
        }
    }

    /// The dotted text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no answer key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an answer key: {0:?} (lower case, two or more parts with dots between)")]
pub struct BadKey(pub String);

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Free text, a path, an address.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
    /// Where a secret is to be found; never the secret.
    Secret(SecretRef),
}

/// Where a secret comes from. Its value is not in any of our files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The whole content of a file, one trailing newline removed.
    File(PathBuf),
    /// A variable in the environment of the setup program.
    Env(String),
    /// Asked for in each run that needs it.
    Prompt,
}

/// All answers of one target, with whatever else stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    table: toml::Table,
}

impl Default for Answers {
    fn default() -> Self {
        let mut table = toml::Table::new();
        table.insert("schema".into(), SCHEMA.into());
        Self { table }
    }
}

impl Answers {
    /// The answer, if it was given and is of a sort we know.
    pub fn get(&self, key: &AnswerKey) -> Option<Answer> {
        let mut value = None;
        let mut table = Some(&self.table);
        for part in key.0.split('.') {
            value = table?.get(part);
            table = value.and_then(toml::Value::as_table);
        }
        match value? {
            toml::Value::String(s) => Some(Answer::Text(s.clone())),
            toml::Value::Integer(i) => Some(Answer::Int(*i)),
            toml::Value::Boolean(b) => Some(Answer::Bool(*b)),
            toml::Value::Table(t) => SecretRef::from_table(t).map(Answer::Secret),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self, key: &AnswerKey) -> Option<String> {
        if let Some(Answer::Text(t)) = self.get(key) { Some(t) } else { None }
    }

    /// The number, if it is one.
    pub fn int(&self, key: &AnswerKey) -> Option<i64> {
        if let Some(Answer::Int(i)) = self.get(key) { Some(i) } else { None }
    }

    /// Yes or no, if it is one.
    pub fn flag(&self, key: &AnswerKey) -> Option<bool> {
        if let Some(Answer::Bool(b)) = self.get(key) { Some(b) } else { None }
    }

    /// Gives an answer; says whether anything is different now.
    pub fn set(&mut self, key: &AnswerKey, answer: Answer) -> bool {
        let value = match answer {
            Answer::Text(t) => t.into(),
            Answer::Int(i) => i.into(),
            Answer::Bool(b) => b.into(),
            Answer::Secret(r) => toml::Value::Table(r.to_table()),
        };
        let mut table = &mut self.table;
        let mut rest = key.as_str();
        while let Some((part, more)) = rest.split_once('.') {
            let slot = table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if !slot.is_table() {
                *slot = toml::Value::Table(toml::Table::new());
            }
            let toml::Value::Table(inner) = slot else { return false };
            table = inner;
            rest = more;
        }
        let before = table.insert(rest.to_owned(), value.clone());
        before.as_ref() != Some(&value)
    }
}

impl SecretRef {
    fn from_table(t: &toml::Table) -> Option<Self> {
        let text = t.get("secret")?.as_str()?;
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Some(Self::Env(name.into())),
            _ if text == "prompt" => Some(Self::Prompt),
            _ => None,
        }
    }

    fn to_table(&self) -> toml::Table {
        let text = match self {
            Self::File(p) => format!("file:{}", p.display()),
            Self::Env(n) => format!("env:{n}"),
            Self::Prompt => "prompt".into(),
        };
        toml::Table::from_iter([("secret".to_owned(), toml::Value::String(text))])
    }
}

//! What the person chose: `answers.toml`.
//!
//! Duty: keep each answer from the moment it is given, in a file a person can read and edit.
//! Invariant: secrets stand here as references only; keys this version does not know are kept as they are.
//! Danger: an answer is intent, never knowledge about the host (law 11): nothing may be undone because of it.

use crate::durable;
use crate::error::StateError;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

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

impl Answers {
    /// Reads the file; no file is no answers.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        durable::read(path)?.map_or_else(|| Ok(Self::default()), |bytes| Self::parse(path, &bytes))
    }

    /// Reads the content of a file. A file without a schema number is one that a person wrote.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StateError> {
        let unreadable = |why: String| StateError::Unreadable { path: path.into(), why };
        let text = std::str::from_utf8(bytes).map_err(|e| unreadable(e.to_string()))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| unreadable(e.to_string()))?;
        match table.entry("schema").or_insert(SCHEMA.into()) {
            toml::Value::Integer(found) if *found > SCHEMA => {
                Err(StateError::Newer { path: path.into(), found: *found, known: SCHEMA })
            }
            toml::Value::Integer(1..) => Ok(Self { table }),
            other => Err(unreadable(format!("schema is {other}, not a number from 1 to {SCHEMA}"))),
        }
    }

    /// Writes the file if it holds something else. Whole or not at all; durable when this returns.
    pub fn save(&self, path: &Path) -> Result<bool, StateError> {
        let same = durable::read(path)?
            .and_then(|bytes| Self::parse(path, &bytes).ok())
            .is_some_and(|old| old == *self);
        if same { Ok(false) } else { durable::replace(path, self.to_text().as_bytes()).map(|()| true) }
    }

    /// As it stands in the file.
    pub fn to_text(&self) -> String {
        self.table.to_string()
    }

    /// `sha256:…` of all answers; the same answers give the same digest in any order.
    pub fn digest(&self) -> String {
        let sum = Sha256::digest(self.to_text().as_bytes());
        sum.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Every answer of a sort we know, by its key.
    pub fn all(&self) -> Vec<(AnswerKey, Answer)> {
        fn walk(prefix: &str, table: &toml::Table, out: &mut Vec<String>) {
            for (name, value) in table {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                match value.as_table().filter(|t| SecretRef::from_table(t).is_none()) {
                    Some(inner) => walk(&key, inner, out),
                    None => out.push(key),
                }
            }
        }
        let mut keys = Vec::new();
        walk("", &self.table, &mut keys);
        let pair = |k: &String| AnswerKey::parse(k).ok().and_then(|k| self.get(&k).map(|v| (k, v)));
        keys.iter().filter_map(pair).collect()
    }

    /// Takes an answer back; says whether there was one.
    pub fn forget(&mut self, key: &AnswerKey) -> bool {
        let (parents, name) = key.as_str().rsplit_once('.').unwrap_or_default();
        let parents = parents.split('.');
        let table = parents.into_iter().try_fold(&mut self.table, |t, part| t.get_mut(part)?.as_table_mut());
        table.is_some_and(|t| t.remove(name).is_some())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORT: AnswerKey = AnswerKey::of("server.port");

    #[test]
    fn an_answer_is_on_disk_when_it_is_saved_and_a_second_save_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.toml");
        let mut answers = Answers::load(&path).unwrap();
        assert!(answers.set(&PORT, Answer::Int(8470)));
        assert!(!answers.set(&PORT, Answer::Int(8470)), "nothing is different");
        assert!(answers.save(&path).unwrap());
        assert!(!answers.save(&path).unwrap());
        assert_eq!(Answers::load(&path).unwrap().int(&PORT), Some(8470));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn what_this_version_does_not_know_is_kept() {
        let text =
            "schema = 1\nmood = \"good\"\n[server]\nport = 1\nlater = [1, 2]\n[future.deep]\nx = 1.5\n";
        let mut answers = Answers::parse(Path::new("a"), text.as_bytes()).unwrap();
        answers.set(&PORT, Answer::Int(2));
        let again: toml::Table = toml::from_str(&answers.to_text()).unwrap();
        assert_eq!(again["mood"].as_str(), Some("good"));
        assert_eq!(again["server"]["later"].as_array().map(Vec::len), Some(2));
        assert_eq!(again["future"]["deep"]["x"].as_float(), Some(1.5));
    }

    #[test]
    fn a_secret_stands_there_as_a_reference() {
        let key = AnswerKey::of("mail.password");
        let mut answers = Answers::default();
        for reference in [SecretRef::File("/a:b".into()), SecretRef::Env("PW".into()), SecretRef::Prompt] {
            answers.set(&key, Answer::Secret(reference.clone()));
            let again = Answers::parse(Path::new("a"), answers.to_text().as_bytes()).unwrap();
            assert_eq!(again.get(&key), Some(Answer::Secret(reference)));
            assert_eq!(again.all().len(), 1);
        }
        assert!(answers.forget(&key));
        assert!(!answers.forget(&key));
    }

    #[test]
    fn a_newer_file_is_refused_by_its_number() {
        let e = Answers::parse(Path::new("a"), b"schema = 2").unwrap_err();
        assert_eq!(
            (e.code(), e.to_string().as_str()),
            ("E-STATE-NEWER", "a has format 2, this version knows 1 and older")
        );
        assert_eq!(
            Answers::parse(Path::new("a"), b"schema = \"1\"").unwrap_err().code(),
            "E-STATE-UNREADABLE"
        );
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for bad in ["", "a", ".a", "a.", "a..b", "A.b", "a b.c", "a.b\n"] {
            assert!(AnswerKey::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(AnswerKey::parse("server.port").unwrap(), PORT);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answers_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answers::parse(Path::new("a"), &bytes);
        }

        #[test]
        fn any_text_comes_back_as_it_was(text in any::<String>(), n in any::<i64>(), b in any::<bool>()) {
            let mut answers = Answers::default();
            let (t, i, f) = (AnswerKey::of("a.t"), AnswerKey::of("a.b.i"), AnswerKey::of("b.f"));
            answers.set(&t, Answer::Text(text.clone()));
            answers.set(&i, Answer::Int(n));
            answers.set(&f, Answer::Bool(b));
            let again = Answers::parse(Path::new("a"), answers.to_text().as_bytes()).unwrap();
            prop_assert_eq!(again.text(&t), Some(text));
            prop_assert_eq!(again.int(&i), Some(n));
            prop_assert_eq!(again.flag(&f), Some(b));
            prop_assert_eq!(again.digest(), answers.digest());
        }
    }
}

//! What a kept snapshot is called.
//!
//! Invariant: the name says everything that decides whether the file can be served or continued: project schema, apply
//! rules, history, sequence. The last part is random, so no two files ever had the same name, and a name can stand for
//! the very bytes (an ETag).

use std::fmt;
use td_engine::db::{RULES, SCHEMA_VERSION};
use td_engine::id::{Epoch, Seq};

/// What a snapshot must have been made by to be of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    schema: i64,
    rules: u32,
    history: String,
}

impl Version {
    /// This program's, in this history. A snapshot of another history may hold events that this one has lost.
    pub fn current(history: &Epoch) -> Self {
        let history = history.as_str().chars().take(8).collect();
        Self { schema: SCHEMA_VERSION, rules: RULES, history }
    }
}

/// `<schema>-<rules>-<history>-<seq>-<random>.db`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What made it.
    pub version: Version,
    /// The state after this sequence.
    pub seq: Seq,
    /// Eight hex digits.
    pub random: String,
}

impl Name {
    /// Reads a file's name; `None` if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".db")?.split('-');
        let mut next = || parts.next().filter(|p| !p.is_empty());
        let (schema, rules) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let (history, seq, random) = (next()?.to_string(), Seq(next()?.parse().ok()?), next()?.to_string());
        let name = Self { version: Version { schema, rules, history }, seq, random };
        // Only what we would write ourselves: no second spelling may stand for the same name, and none leads out of its
        // folder or its quotes.
        let is_ours = seq > Seq(0) && is_hex(&name.version.history) && is_hex(&name.random);
        (parts.next().is_none() && is_ours && name.to_string() == text).then_some(name)
    }
}

/// Eight lower-case hex digits.
fn is_hex(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { schema, rules, history } = &self.version;
        write!(f, "{schema}-{rules}-{history}-{}-{}.db", self.seq, self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_version_and_sequence_and_nothing_else_is_a_name() {
        let epoch = Epoch::parse("0123456789abcdef0123456789abcdef").expect("epoch");
        let name = Name { version: Version::current(&epoch), seq: Seq(1020), random: "00ff00ff".into() };
        let text = name.to_string();
        assert_eq!(text, format!("38-{RULES}-01234567-1020-00ff00ff.db"));
        assert_eq!(Name::parse(&text), Some(name));
        for other in [
            "1020.db",
            "38-1-01234567-1020-00ff00ff.db.half",
            "38-1-01234567-1020-00ff00ff.db.gz",
            "38-1-01234567-01020-00ff00ff.db",
            "38-1-01234567-0-00ff00ff.db",
            "38-1-01234567--5-00ff00ff.db",
            "38-1-01234567-1020-00ff00ff-x.db",
            "38-1--1020-00ff00ff.db",
            "38-1-0123/../-1020-00ff00ff.db",
            "38-1-01234567-1020-00ff00\"f.db",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}

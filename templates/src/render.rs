//! Strict rendering.

use std::collections::{BTreeMap, BTreeSet};

/// Why a template could not be rendered: always a mistake of ours, never of the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`, or a name with anything but `a-z0-9_`.
    #[error("line {line}: `{text}` is not a placeholder")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// The template asks for something that was not given.
    #[error("no value for {{{{{0}}}}}")]
    Missing(String),
    /// Something was given that the template does not use: a typing error on one of the two sides.
    #[error("the value `{0}` is not used by the template")]
    Unused(String),
    /// A line of a unit or environment file cannot hold a line break or another control character.
    #[error("the value of `{name}` has a character that one line cannot carry")]
    Unprintable {
        /// Which value.
        name: String,
    },
}

/// A parsed template: text with `{{name}}` placeholders.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(String),
}

impl Template {
    /// Reads a template.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find("{{") {
            let line = 1 + source[..source.len() - rest.len() + start].matches('\n').count();
            let after = &rest[start + 2..];
            let malformed = || TemplateError::Malformed {
                line,
                text: rest[start..].lines().next().unwrap_or_default().chars().take(40).collect(),
            };
            let end = after.find("}}").ok_or_else(malformed)?;
            let name = &after[..end];
            if name.is_empty() || !name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
                return Err(malformed());
            }
            parts.push(Part::Text(rest[..start].to_owned()));
            parts.push(Part::Value(name.to_owned()));
            rest = &after[end + 2..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// Puts every value in its place.
    pub fn render(&self, values: &BTreeMap<&str, String>) -> Result<String, TemplateError> {
        let mut out = String::new();
        let mut used = BTreeSet::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(name) => {
                    let value =
                        values.get(name.as_str()).ok_or_else(|| TemplateError::Missing(name.clone()))?;
                    if value.chars().any(char::is_control) {
                        return Err(TemplateError::Unprintable { name: name.clone() });
                    }
                    used.insert(name.as_str());
                    out.push_str(value);
                }
            }
        }
        match values.keys().find(|name| !used.contains(**name)) {
            Some(name) => Err(TemplateError::Unused((*name).to_owned())),
            None => Ok(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
        pairs.iter().map(|(k, v)| (*k, (*v).to_owned())).collect()
    }

    #[test]
    fn every_placeholder_gets_its_value_and_values_are_not_rendered_again() {
        let template = Template::parse("a={{one}}\nb={{two}}{{one}}\n").unwrap();
        let text = template.render(&values(&[("one", "{{two}}"), ("two", "$x")])).unwrap();
        assert_eq!(text, "a={{two}}\nb=$x{{two}}\n");
    }

    #[test]
    fn a_missing_and_an_unused_value_are_errors() {
        let template = Template::parse("{{one}}").unwrap();
        assert_eq!(template.render(&values(&[])), Err(TemplateError::Missing("one".into())));
        let both = values(&[("one", "1"), ("oen", "2")]);
        assert_eq!(template.render(&both), Err(TemplateError::Unused("oen".into())));
    }

    #[test]
    fn a_line_break_cannot_smuggle_in_a_second_setting() {
        let template = Template::parse("User={{user}}").unwrap();
        let error = template.render(&values(&[("user", "x\nExecStart=/bin/evil")])).unwrap_err();
        assert_eq!(error, TemplateError::Unprintable { name: "user".into() });
    }

    #[test]
    fn what_only_looks_like_a_placeholder_is_refused_with_its_line() {
        for source in ["ok\n{{Name}}", "ok\n{{", "ok\n{{}}", "ok\n{{a b}}"] {
            assert!(
                matches!(Template::parse(source), Err(TemplateError::Malformed { line: 2, .. })),
                "{source}"
            );
        }
    }
}

//! Whether an answer is what the OpenAPI document says. Knows the few words of JSON Schema that the document uses, and
//! fails for any other.

use super::wire::Answer;
use serde_json::{Map, Value};

/// The document.
pub struct Description(pub Value);

impl Description {
    pub fn of_this_program() -> Self {
        Self(td_server::openapi::document())
    }

    /// What in an answer is not described; nothing for a path that is not in the document.
    pub fn differences(&self, request: &Value, answer: &Answer) -> Vec<String> {
        let method = request["method"].as_str().expect("method").to_ascii_lowercase();
        let path = request["path"].as_str().expect("path");
        let path = path.split('?').next().expect("a path");
        let Some(item) = self.item(path) else { return Vec::new() };
        let Some(operation) = item.get(&method) else { return Vec::new() };
        let at = format!("{method} {path} {}", answer.status);
        let Some(described) = operation["responses"].get(answer.status.to_string()) else {
            return vec![format!("{at}: this status is not described")];
        };
        let described = match described["$ref"].as_str() {
            Some(name) => self.0.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} leads nowhere")),
            None => described,
        };
        let kind = answer.header("content-type").unwrap_or_default().split(';').next().expect("a kind");
        let Some(content) = described.get("content") else {
            return if answer.body.is_empty() {
                vec![]
            } else {
                vec![format!("{at}: a body that is not described")]
            };
        };
        let mut out = Vec::new();
        match content.get(kind) {
            None => out.push(format!("{at}: {kind} is not described")),
            Some(kind) if kind.get("schema").is_some() => {
                self.check(&at, &kind["schema"], &answer.json(), &mut out)
            }
            Some(_) => {}
        }
        out
    }

    /// The path item whose template fits; a literal segment wins over a parameter.
    fn item(&self, path: &str) -> Option<&Map<String, Value>> {
        let paths = self.0["paths"].as_object().expect("paths");
        let fits = |template: &str| {
            let (t, p): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            t.len() == p.len() && t.iter().zip(&p).all(|(t, p)| t.starts_with('{') || t == p)
        };
        let best = paths.keys().filter(|t| fits(t)).min_by_key(|t| t.matches('{').count())?;
        paths[best].as_object()
    }

    pub fn check(&self, at: &str, schema: &Value, value: &Value, out: &mut Vec<String>) {
        let known = [
            "$ref",
            "type",
            "format",
            "enum",
            "anyOf",
            "properties",
            "required",
            "items",
            "additionalProperties",
        ];
        for word in schema.as_object().expect("a schema").keys() {
            assert!(known.contains(&word.as_str()), "{at}: this check does not know {word:?}");
        }
        if let Some(name) = schema["$ref"].as_str() {
            let target = self.0.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} leads nowhere"));
            return self.check(at, target, value, out);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let fits = |choice: &Value| {
                let mut wrong = Vec::new();
                self.check(at, choice, value, &mut wrong);
                wrong.is_empty()
            };
            if !choices.iter().any(fits) {
                out.push(format!("{at}: {value} fits none of the choices"));
            }
            return;
        }
        let good = match schema["type"].as_str() {
            None => true,
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("null") => value.is_null(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            Some(other) => panic!("{at}: this check does not know the type {other}"),
        };
        if !good || schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            out.push(format!("{at}: {value} is not {schema}"));
            return;
        }
        if schema["format"] == "date-time" {
            let text = value.as_str().unwrap_or_default();
            if td_engine::time::ClientTime::parse(text).is_err() {
                out.push(format!("{at}: {value} is no RFC 3339 time"));
            }
        }
        for (n, element) in value.as_array().into_iter().flatten().enumerate() {
            self.check(&format!("{at}[{n}]"), &schema["items"], element, out);
        }
        let Some(members) = value.as_object().filter(|_| schema["type"] == "object") else { return };
        for (name, value) in members {
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => {
                    self.check(&format!("{at}.{name}"), schema, value, out)
                }
                (None, None) => out.push(format!("{at}.{name}: is not described")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if !members.contains_key(name.as_str().expect("a name")) {
                out.push(format!("{at}.{name}: is missing"));
            }
        }
    }
}

//! One method of one path.

use super::schema::{Schema, named, object, text};
use serde_json::{Map, Value, json};

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Anybody,
    /// Somebody on the server's machine, or an admin with `admin:read:server`.
    Insider,
    /// A key with the scope `sync` (or of an admin).
    Key,
    /// A member of the project with at least this role.
    Member(&'static str),
    /// An admin whose key has this scope.
    Admin(&'static str),
}

/// What an answer holds.
#[derive(Clone, Debug)]
enum Content {
    Nothing,
    Json(Schema),
    Other(&'static str),
}

/// A method of a path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    access: Access,
    query: Vec<Value>,
    body: Option<Schema>,
    answers: Vec<(u16, &'static str, Content)>,
}

/// Begins an operation.
pub(super) fn op(method: &'static str, path: &'static str, access: Access) -> Operation {
    Operation { method, path, access, query: Vec::new(), body: None, answers: Vec::new() }
}

impl Operation {
    /// With a parameter in the query.
    pub(super) fn query(mut self, name: &str, schema: Schema, about: &str) -> Self {
        self.query.push(json!({"name": name, "in": "query", "schema": schema, "description": about}));
        self
    }

    /// With a body.
    pub(super) fn body(self, schema: Schema) -> Self {
        Self { body: Some(schema), ..self }
    }

    /// May answer with JSON.
    pub(super) fn json(self, status: u16, about: &'static str, schema: Schema) -> Self {
        self.answer(status, about, Content::Json(schema))
    }

    /// May answer without a body.
    pub(super) fn empty(self, status: u16, about: &'static str) -> Self {
        self.answer(status, about, Content::Nothing)
    }

    /// May answer with something else.
    pub(super) fn other(self, status: u16, about: &'static str, kind: &'static str) -> Self {
        self.answer(status, about, Content::Other(kind))
    }

    /// May refuse, in the form of all refusals.
    pub(super) fn refuses(self, status: u16, about: &'static str) -> Self {
        self.json(status, about, named("Error"))
    }

    fn answer(mut self, status: u16, about: &'static str, content: Content) -> Self {
        self.answers.push((status, about, content));
        self
    }

    /// What any route of this access may answer beside its own, by name of [`common_answers`].
    fn common(&self) -> Vec<(u16, &'static str)> {
        let mut all = match self.access {
            Access::Anybody => vec![],
            Access::Insider => vec![(401, "NotHere"), (403, "NotHereNorAdmin")],
            Access::Key => vec![(401, "NoKey"), (403, "NotForThis"), (429, "TooOften")],
            Access::Member(_) => vec![(401, "NoKey"), (403, "NoMember"), (404, "Deleted"), (429, "TooOften")],
            Access::Admin(_) => vec![(401, "NoKey"), (403, "NoAdmin")],
        };
        if self.method != "GET" {
            all.push((503, "TryAgain"));
        }
        all.push((500, "Failed"));
        all.retain(|(status, _)| self.answers.iter().all(|(own, ..)| own != status));
        all
    }

    /// The parameters in the path.
    pub(super) fn path_parameters(&self) -> Vec<Value> {
        let names = self.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'));
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": text()})).collect()
    }

    /// As the document has it.
    pub(super) fn shown(&self) -> Value {
        let words: Vec<&str> = self.path.split(['/', '{', '}', '.', '-']).filter(|w| !w.is_empty()).collect();
        let mut answers = Map::new();
        for (status, about, content) in &self.answers {
            let mut answer = json!({"description": about});
            match content {
                Content::Nothing => {}
                Content::Json(schema) => answer["content"] = json!({"application/json": {"schema": schema}}),
                Content::Other(kind) => answer["content"] = json!({*kind: {}}),
            }
            answers.insert(status.to_string(), answer);
        }
        for (status, name) in self.common() {
            answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
        }
        let mut shown = json!({
            "operationId": format!("{}_{}", self.method.to_ascii_lowercase(), words.join("_")),
            "responses": answers,
        });
        match self.access {
            Access::Anybody => {}
            Access::Insider => {
                shown["security"] = json!([{}, {"key": []}]);
                shown["description"] =
                    "On the server's machine, or with an admin's key with admin:read:server.".into();
            }
            Access::Key => shown["security"] = json!([{"key": []}]),
            Access::Member(role) => {
                shown["security"] = json!([{"key": []}]);
                shown["description"] = format!("For members of the project, from {role} on.").into();
            }
            Access::Admin(scope) => {
                shown["security"] = json!([{"key": []}]);
                shown["description"] = format!("For admins, with a key with the scope {scope}.").into();
            }
        }
        if !self.query.is_empty() {
            shown["parameters"] = self.query.clone().into();
        }
        if let Some(schema) = &self.body {
            let content = json!({"application/json": {"schema": schema}});
            shown["requestBody"] = json!({"required": true, "content": content});
        }
        shown
    }
}

/// Refusals that many routes share.
pub(super) fn common_answers() -> Map<String, Value> {
    let answers = [
        ("NoKey", "No key, or none that is good."),
        ("NotForThis", "The key is not for this."),
        ("NoMember", "Not a member, or not with this role; also for a project that never was."),
        ("NoAdmin", "Not an admin, or not with this scope."),
        ("NotHere", "Not on this machine, and no good key."),
        ("NotHereNorAdmin", "Not on this machine, and not an admin with the scope."),
        ("Deleted", "The project is deleted."),
        ("TooOften", "Too often; Retry-After says when."),
        ("TryAgain", "Writes are held or too many wait; Retry-After says when to try again."),
        ("Failed", "A failure of the server; the log has the cause under the request's id."),
    ];
    let content = json!({"application/json": {"schema": named("Error")}});
    let answer = |about: &str| json!({"description": about, "content": content});
    answers.into_iter().map(|(name, about)| (name.to_string(), answer(about))).collect()
}

/// A list in pages.
pub(super) fn listing(item: Schema) -> Schema {
    object(&[
        ("data", super::schema::list(item)),
        ("has_more", super::schema::flag()),
        ("next_cursor?", text()),
    ])
}

//! The routes as an OpenAPI 3.1 document.
//!
//! Duty: describe every route of [`ROUTES`](crate::http::ROUTES), from that table and one line per operation here.
//! Invariant: complete and true. `server/tests/openapi.rs` fails for a route without an operation and the other way
//! round, and the recorded conversations are checked against the schemas, so an answer that does not fit is noticed.
//! Adding a route: an [`Operation`] in the file of its family; what it shares with others is a named schema.

mod accounts;
mod admin;
mod operation;
mod projects;
mod public;
mod schema;

use crate::http::ROUTES;
use operation::Operation;
use serde_json::{Map, Value, json};

/// All operations, family by family.
fn operations() -> Vec<Operation> {
    [public::operations(), accounts::operations(), projects::operations(), admin::operations()].concat()
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let about = ROUTES.iter().find(|r| r.path == operation.path).map_or("", |r| r.about);
        let path = paths.entry(operation.path).or_insert_with(|| {
            let mut item = json!({"summary": about});
            let parameters = operation.path_parameters();
            if !parameters.is_empty() {
                item["parameters"] = parameters.into();
            }
            item
        });
        path[operation.method.to_ascii_lowercase()] = operation.shown();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "td-sync",
            "version": crate::version::VERSION,
            "description": "Every answer has the header X-Request-ID; those below /v1/ have X-Td-Epoch. \
                            A GET route also answers HEAD. Bodies are one JSON value.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
            "responses": operation::common_answers(),
            "schemas": schema::named_schemas(),
        },
    })
}

//! What this program is, in the shape that tells it from a stranger of the same name (DESIGN 6.1).

use serde_json::{Value, json};
use td_engine::id::Epoch;

/// Release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Schema of `events.db`; the file itself has no version table (server-protocol 6.5).
const EVENTS_SCHEMA: u32 = 1;

/// `version --json` and `/version`. The epoch is known where a data directory is.
pub fn json(epoch: Option<&Epoch>) -> Value {
    let server = crate::control::SCHEMA;
    let project = td_engine::db::SCHEMA_VERSION;
    json!({
        "product": "td-sync",
        "version": VERSION,
        "commit": option_env!("TD_COMMIT"),
        "schemas": {
            "server": [server, server],
            "events": [EVENTS_SCHEMA, EVENTS_SCHEMA],
            "project": [project, project],
        },
        "epoch": epoch,
    })
}

//! Names that become paths: a snapshot's file, a project's id, an epoch.
//!
//! What holds: a name has one spelling, and that stays inside its folder.

use td_engine::id::{Epoch, ProjectId};
use td_server::snapshot::Name;

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some(name) = Name::parse(text) {
        assert_eq!(name.to_string(), text);
        inside(text);
    }
    if let Ok(id) = ProjectId::parse(text) {
        assert_eq!(id.as_str(), text);
        inside(text);
    }
    if let Ok(epoch) = Epoch::parse(text) {
        assert_eq!(epoch.as_str(), text);
        inside(text);
    }
}

fn inside(name: &str) {
    assert!(!name.contains(['/', '\0']) && ![".", ".."].contains(&name), "{name:?} leads elsewhere");
}

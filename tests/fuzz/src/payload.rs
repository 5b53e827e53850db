//! The JSON of an event.
//!
//! What holds: what was taken is one JSON value that reads back as itself, through every door, and its canonical text is
//! its own canonical text.

use td_engine::event::digest8;
use td_engine::payload::Payload;
use td_engine::taxonomy::{Schema, TdSchema};

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(payload) = Payload::parse(text) else { return };
    // Deeper than a `Value` can be, there is none to compare.
    if let Ok(meant) = serde_json::from_str::<serde_json::Value>(text) {
        assert_eq!(payload.value().ok(), Some(meant), "{text}");
    }
    assert_eq!(Payload::parse(payload.as_str()).as_ref().map(Payload::as_str).ok(), Some(payload.as_str()));
    let wire = serde_json::to_string(&payload).unwrap_or_else(|e| panic!("{e}: {}", payload.as_str()));
    assert_eq!(serde_json::from_str::<Payload>(&wire).ok().as_ref(), Some(&payload));

    let canonical =
        Payload::parse(&payload.canonical()).unwrap_or_else(|e| panic!("{e}: {}", payload.canonical()));
    assert_eq!(canonical.canonical(), payload.canonical());
    for entity in ["issues", "boards", "work_sessions"] {
        let entity = TdSchema.entity_type(entity).expect("known");
        assert_eq!(digest8("create", &entity, "x", &payload), digest8("create", &entity, "x", &canonical));
        if let Some(scrubbed) = TdSchema.scrub(entity.as_str(), payload.as_str()) {
            assert_eq!(
                TdSchema.scrub(entity.as_str(), scrubbed.as_str()),
                None,
                "nothing is left to take out"
            );
            assert!(Payload::parse(scrubbed.as_str()).is_ok_and(|parsed| parsed == scrubbed));
        }
    }
}

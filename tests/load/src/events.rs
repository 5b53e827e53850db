//! The events that are pushed: of the size and shape that clients send.

use std::fmt::Write as _;

/// An id in no order, as clients make them.
pub fn entity(n: u64) -> String {
    format!("td-{:012x}", scatter(n) & 0xffff_ffff_ffff)
}

/// Every bit of the result depends on every bit of `n` (splitmix64).
pub fn scatter(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The body of a creation, of the size of an ordinary issue and so many bytes of description more.
pub fn created(id: &str, more: usize) -> String {
    format!(
        r#"{{"meta":{{"v":1,"actor":"user:load","origin":"td-load","base_seq":0}},"new_data":{{"id":"{id}","title":"Repair the lamp over the shed door","description":"{}","status":"open","type":"task","priority":"P2","points":0,"labels":[],"created_at":"2026-11-21T09:53:18.7Z","updated_at":"2026-11-21T09:53:18.7Z"}},"previous_data":{{}},"schema_version":1}}"#,
        "the light flickers ".repeat(more.div_ceil(19)).get(..more).unwrap_or_default()
    )
}

/// The body of a change: of the `n`-th of that issue.
fn updated(id: &str, n: u64) -> String {
    let points = |n: u64| [1, 2, 3, 5, 8][usize::try_from(n % 5).unwrap_or_default()];
    format!(
        r#"{{"meta":{{"v":1,"actor":"user:load","origin":"td-load","base_seq":0}},"new_data":{{"id":"{id}","title":"Repair the lamp over the shed door","status":"open","points":{},"updated_at":"2026-11-21T10:53:18.7Z"}},"previous_data":{{"id":"{id}","title":"Repair the lamp over the shed door","status":"open","points":{},"updated_at":"2026-11-21T09:53:18.7Z"}},"schema_version":1}}"#,
        points(n + 1),
        points(n)
    )
}

/// What the events of a push do.
#[derive(Clone, Copy)]
pub enum Does {
    /// Creates an issue each, with so many bytes of description.
    Create(usize),
    /// Changes one of the first so many issues each.
    Update(u64),
}

/// A push of `count` events, numbered from `first` on. Creations of one `run` never share an id with another's.
pub fn push(run: u64, first: u64, count: u64, does: Does) -> String {
    let mut body = format!(r#"{{"device_id":"load","session_id":"ses_{run}","events":["#);
    for n in first..first + count {
        let comma = if n > first { "," } else { "" };
        let (action, id, payload) = match does {
            Does::Create(more) => {
                let id = entity(run ^ n);
                let payload = created(&id, more);
                ("create", id, payload)
            }
            Does::Update(issues) => {
                let id = entity(run ^ (n % issues));
                let payload = updated(&id, n / issues);
                ("update", id, payload)
            }
        };
        // Writing to a String does not fail.
        let _ = write!(
            body,
            r#"{comma}{{"client_action_id":{},"action_type":"{action}","entity_type":"issues","entity_id":"{id}","payload":{payload},"client_timestamp":"2026-11-21T09:53:18.7+02:00"}}"#,
            n + 1,
        );
    }
    body.push_str("]}");
    body
}

/// A number that no other run has.
pub fn run() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    scatter(now.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or_default()))
}

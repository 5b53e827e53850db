//! A data directory of the reference, changed by whoever made it.
//!
//! The directory is a project of the fixture's deployment. The input says what is different in it, one change a line,
//! with `s`, `e` or `p` for `server.db`, the project's `events.db` and its `project.db`: `s users email 1 "x"` puts a JSON
//! value into a row, `e @100 0aff` bytes into the file, `e <200` cuts it, `e-wal 0aff` lays a file beside it.
//!
//! What holds: reading it fails with a sentence or gives a plan; the plan says what happens, so what it lets through runs
//! and can be given back; and the source stays as it was, byte for byte.

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use td_engine::time::ClientTime;
use td_server::import::{Options, Taking};

const PROJECT: &str = "p_fa90186cf9c441ff";
const OTHERS: [&str; 3] = ["p_f22ec0a4bedff43e", "p_aca5c52881894ec4", "p_7db65ffde97a2b87"];
/// Changes of one input.
const MOST: usize = 16;

/// The three files, unpacked.
static FILES: LazyLock<[(char, String, Vec<u8>); 3]> = LazyLock::new(|| {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/td-0.62/deployment/server");
    let [events, view] = ["events", "project"].map(|name| format!("projects/{PROJECT}/{name}.db"));
    [('s', "server.db".to_string()), ('e', events), ('p', view)].map(|(letter, name)| {
        let packed = fs::read(fixture.join(format!("{name}.zst"))).expect("the fixture");
        (letter, name, zstd::stream::decode_all(packed.as_slice()).expect("packed"))
    })
});

pub fn run(input: &[u8]) {
    let dir = tempfile::tempdir().expect("dir");
    let at = |name: &str| dir.path().join(name);
    let (source, into, back) = (at("go"), at("data"), at("back"));
    fs::create_dir_all(source.join("projects").join(PROJECT)).expect("folder");
    fs::create_dir(at("scratch")).expect("folder");
    for (_, name, bytes) in FILES.iter() {
        fs::write(source.join(name), bytes).expect("file");
    }
    let text = String::from_utf8_lossy(input);
    for line in text.lines().take(MOST) {
        // One that cannot be made leaves the directory as it is.
        let _ = change(&source, line);
    }

    let before = bytes_below(&source);
    let taking = Taking::prepare(options(&source, &into, false), &mut |_| {});
    assert_eq!(bytes_below(&source), before, "planning wrote to the source");
    let Ok(taking) = taking.inspect_err(|e| assert!(!e.to_string().is_empty())) else { return };
    let refused = !taking.plan().refusals.is_empty();
    let plan = taking.plan().clone();
    let done = taking.run(&mut |_| {});
    assert_eq!(bytes_below(&source), before, "importing wrote to the source");
    if refused {
        assert!(done.is_err() && !into.exists(), "refused, and made all the same");
        return;
    }
    let done = done.unwrap_or_else(|e| panic!("the plan has nothing in the way, and then: {e}\n{plan:#?}"));
    assert_eq!(done.plan, plan);

    let returning = Taking::prepare(options(&into, &back, true), &mut |_| {}).expect("a directory of ours");
    assert!(
        returning.plan().refusals.is_empty(),
        "what we made we cannot give back: {:#?}",
        returning.plan().refusals
    );
    returning.run(&mut |_| {}).expect("given back");
}

fn options(source: &Path, into: &Path, reverse: bool) -> Options {
    Options {
        source: source.into(),
        projects: None,
        into: into.into(),
        leave_out: if reverse { Vec::new() } else { OTHERS.map(str::to_string).to_vec() },
        reverse,
        scratch: source.with_file_name("scratch"),
        keep_free: 0,
        clock: Arc::new(|| ClientTime::parse("2026-11-22T12:00:00Z").expect("a time")),
    }
}

/// Makes one change; a line that says nothing we know makes none.
fn change(source: &Path, line: &str) -> Option<()> {
    let (file, what) = line.split_once(' ')?;
    let (letter, suffix) = file.split_at_checked(1)?;
    let (_, name, _) = FILES.iter().find(|(l, ..)| letter.starts_with(*l))?;
    let path = source.join(name);
    if ["-wal", "-journal", "-shm"].contains(&suffix) {
        return fs::write(with_suffix(&path, suffix), hex(what)?).ok();
    }
    if let Some(length) = what.strip_prefix('<') {
        let file = fs::OpenOptions::new().write(true).open(&path).ok()?;
        let now = file.metadata().ok()?.len();
        return file.set_len(length.parse::<u64>().ok()?.min(now)).ok();
    }
    if let Some(edit) = what.strip_prefix('@') {
        let (offset, bytes) = edit.split_once(' ')?;
        let file = fs::OpenOptions::new().write(true).open(&path).ok()?;
        let offset = offset.parse::<u64>().ok()?.min(file.metadata().ok()?.len());
        return file.write_all_at(&hex(bytes)?, offset).ok();
    }
    let mut words = what.splitn(4, ' ');
    let (table, column, row, value) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let cell = match serde_json::from_str(value).ok()? {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Integer(b.into()),
        Value::Number(n) => n.as_i64().map_or_else(|| Cell::Real(n.as_f64().unwrap_or(0.0)), Cell::Integer),
        Value::String(text) => Cell::Text(text),
        other => Cell::Blob(other.to_string().into_bytes()),
    };
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let conn = Connection::open(&path).ok()?;
    conn.pragma_update(None, "synchronous", "off").ok()?;
    let set = format!("UPDATE {} SET {} = ?1 WHERE rowid = ?2", quoted(table), quoted(column));
    conn.execute(&set, params![cell, row.parse::<i64>().ok()?]).map(drop).ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    name.into()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    text.trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?))
        .collect()
}

fn bytes_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut all, mut folders) = (BTreeMap::new(), vec![dir.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("file");
                all.insert(path, bytes);
            }
        }
    }
    all
}

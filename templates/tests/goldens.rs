//! What is written is compared byte for byte; `UPDATE_GOLDENS=1 cargo test -p td-templates` rewrites the files.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its files fails")]

use std::path::Path;
use td_templates::env_file::EnvFile;
use td_templates::{SystemUnits, UnitValues};

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn system_units_read_as_reviewed() {
    let units = SystemUnits::render(&UnitValues {
        user: "td-sync".into(),
        program: "/opt/td-sync/current/td-sync".into(),
        env_file: "/etc/td-sync/td-sync.env".into(),
        data_dir: "/var/lib/td-sync".into(),
        listen: "127.0.0.1:8470".into(),
        stop_seconds: 45,
    })
    .unwrap();
    golden("td-sync.service", &units.service);
    golden("td-sync.socket", &units.socket);
}

#[test]
fn an_environment_file_reads_as_reviewed() {
    let mut file = EnvFile::new();
    for (name, value) in [
        ("SYNC_LISTEN_ADDR", "127.0.0.1:8470"),
        ("SYNC_BASE_URL", "http://127.0.0.1:8470"),
        ("SYNC_SERVER_DB_PATH", "/home/ann o'dell/data/server.db"),
        ("SYNC_ALLOW_SIGNUP", "false"),
    ] {
        file.set(name, value).unwrap();
    }
    golden("td-sync.env", &file.write("Settings of td-sync.\nValues that you change here are kept."));
}

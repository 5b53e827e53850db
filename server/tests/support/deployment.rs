//! The reference's deployment (`tests/fixtures/td-0.62/deployment`), unpacked for each test: a mere look may write.

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use td_engine::time::ClientTime;
use td_server::config::Config;
use td_server::import::{Done, ImportError, Options, Plan, Taking};
use td_server::log::Clock;
use td_server::server::Server;

pub const GARDEN: &str = "p_fa90186cf9c441ff";
pub const BUSY: &str = "p_f22ec0a4bedff43e";
pub const REST_ONLY: &str = "p_aca5c52881894ec4";
pub const GONE: &str = "p_7db65ffde97a2b87";

/// A day after the deployment was stopped: its keys are good for another year.
pub fn clock() -> Clock {
    Arc::new(|| ClientTime::parse("2026-11-22T12:00:00Z").expect("time"))
}

fn fixture() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut all = above.map(|folder| folder.join("tests/fixtures/td-0.62/deployment"));
    all.find(|path| path.is_dir()).expect("in the checkout")
}

/// The fixture's `facts.json`.
pub fn facts() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture().join("facts.json")).expect("facts"))
        .expect("json")
}

/// A person's API key and device id, as their `td` has them.
pub fn login(who: &str) -> (String, String) {
    let path = fixture().join(format!("clients/{who}/home/.config/td/auth.json"));
    let auth: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("auth.json")).expect("json");
    let text = |name: &str| auth[name].as_str().expect(name).to_string();
    (text("api_key"), text("device_id"))
}

/// A person's folders (`home`, `proj`), as their `td` left them.
pub fn person(who: &str, to: &Path) {
    unpack(&fixture().join("clients").join(who), to);
}

/// The actions that wait in a person's folder, as the next push of their `td` sends them (client-engine 2.2).
pub fn unsent_push(folder: &Path, device: &str) -> Value {
    let actions = Connection::open(folder.join("proj/.todos/issues.db")).expect("open");
    let mut ask = actions
        .prepare(
            "SELECT rowid, session_id, action_type, entity_type, entity_id, new_data, timestamp FROM action_log
             WHERE synced_at IS NULL AND undone = 0 ORDER BY rowid",
        )
        .expect("sql");
    let mut session = String::new();
    let events: Vec<Value> = ask
        .query_map([], |r| {
            session = r.get(1)?;
            let (kind, new, time): (String, String, String) = (r.get(3)?, r.get(5)?, r.get(6)?);
            Ok(json!({"client_action_id": r.get::<_, i64>(0)?, "action_type": r.get::<_, String>(2)?,
                "entity_type": if kind == "issue" { "issues" } else { &kind }, "entity_id": r.get::<_, String>(4)?,
                "payload": {"schema_version": 1, "previous_data": {},
                    "new_data": serde_json::from_str::<Value>(&new).expect("json")},
                "client_timestamp": format!("{}Z", &time[..19])}))
        })
        .and_then(Iterator::collect)
        .expect("rows");
    json!({"device_id": device, "session_id": session, "events": events})
}

/// A folder with the data directory of the reference in `go`.
pub struct Deployment(pub tempfile::TempDir);

impl Deployment {
    pub fn new() -> Self {
        let deployment = Self(tempfile::tempdir().expect("dir"));
        unpack(&fixture().join("server"), &deployment.go());
        let kept = deployment.go().join("projects/snapshots").join(GARDEN);
        std::fs::create_dir_all(&kept).expect("folder");
        std::fs::write(kept.join("33.db"), "a snapshot").expect("file");
        deployment
    }

    pub fn go(&self) -> PathBuf {
        self.0.path().join("go")
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub fn server_db(&self) -> Connection {
        Connection::open(self.go().join("server.db")).expect("open")
    }

    pub fn file(&self, project: &str, name: &str) -> PathBuf {
        self.go().join("projects").join(project).join(name)
    }

    pub fn db(&self, project: &str, name: &str) -> Connection {
        Connection::open(self.file(project, name)).expect("open")
    }

    pub fn options(&self) -> Options {
        options(&self.go(), &self.data())
    }

    pub fn plan(&self) -> Plan {
        prepare(self.options()).plan().clone()
    }

    pub fn take(&self) -> Result<Done, ImportError> {
        prepare(self.options()).run(&mut |_| {})
    }

    /// The codes of everything that is in the way.
    pub fn refusals(&self) -> Vec<&'static str> {
        self.plan().refusals.iter().map(|r| r.code).collect()
    }
}

pub fn options(source: &Path, into: &Path) -> Options {
    Options {
        source: source.into(),
        projects: None,
        into: into.into(),
        leave_out: Vec::new(),
        reverse: false,
        scratch: std::env::temp_dir(),
        keep_free: 0,
        clock: clock(),
    }
}

pub fn reverse(source: &Path, into: &Path) -> Options {
    Options { reverse: true, ..options(source, into) }
}

pub fn prepare(options: Options) -> Taking {
    Taking::prepare(options, &mut |_| {}).expect("a plan")
}

fn unpack(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("folder");
    for path in std::fs::read_dir(from).expect("folder").map(|e| e.expect("entry").path()) {
        let target = to.join(path.file_name().expect("name"));
        if path.is_dir() {
            unpack(&path, &target);
        } else if path.extension().is_some_and(|e| e == "zst") {
            let packed = std::fs::read(&path).expect("file");
            let plain = zstd::stream::decode_all(packed.as_slice()).expect("packed");
            std::fs::write(target.with_extension(""), plain).expect("write");
        } else {
            std::fs::copy(path, target).expect("copy");
        }
    }
}

/// Every name below a folder with its permissions, and its content or where it leads.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            let meta = std::fs::symlink_metadata(&path).expect("meta");
            let content = if meta.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                std::fs::read_link(&path).expect("link").into_os_string().into_encoded_bytes()
            } else if meta.is_file() {
                // Of a hole of a terabyte, the beginning and the length.
                let (mut content, file) = (Vec::new(), std::fs::File::open(&path).expect("file"));
                file.take(1 << 24).read_to_end(&mut content).expect("file");
                content.extend(meta.len().to_be_bytes());
                content
            } else {
                b"neither file nor folder".to_vec()
            };
            all.insert(path, (meta.permissions().mode(), content));
        }
    }
    all
}

/// The digest of `facts.json`, computed as its README says: not by the code under test.
pub fn lines_digest(log: &Path, up_to: i64) -> (i64, String) {
    let conn = Connection::open(log).expect("open");
    let mut ask = conn
        .prepare(
            "SELECT server_seq, device_id, session_id, client_action_id, action_type, entity_type, entity_id,
                    CAST(payload AS TEXT), client_timestamp, server_timestamp
             FROM events WHERE server_seq <= ?1 ORDER BY server_seq",
        )
        .expect("sql");
    let (mut hash, mut count) = (Sha256::new(), 0);
    let mut rows = ask.query([up_to]).expect("rows");
    while let Some(row) = rows.next().expect("row") {
        let values: Vec<String> = (0..10)
            .map(|i| match row.get::<_, rusqlite::types::Value>(i).expect("value") {
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Text(text) => serde_json::to_string(&text).expect("json"),
                other => panic!("{other:?}"),
            })
            .collect();
        hash.update(format!("[{}]\n", values.join(", ")));
        count += 1;
    }
    (count, hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Every row of every table of the reference in a `server.db`, without these columns.
pub fn rows_of(db: &Path, except: &[&str]) -> BTreeMap<String, Vec<String>> {
    let conn = Connection::open(db).expect("open");
    let names: Vec<String> = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .and_then(|mut q| q.query_map([], |r| r.get(0))?.collect())
        .expect("names");
    let ours = |n: &String| !n.starts_with("tdsync_") && !n.starts_with("_litestream");
    let mut all = BTreeMap::new();
    for name in names.into_iter().filter(ours) {
        let mut ask = conn.prepare(&format!("SELECT * FROM \"{name}\" ORDER BY rowid")).expect("sql");
        let width = ask.column_count();
        // By name: a migrated file has its columns in another order.
        let columns: Vec<String> = ask.column_names().map(str::to_string).collect();
        let rows = ask.query_map([], |row| {
            let mut values: Vec<String> = (0..width)
                .filter(|i| !except.contains(&columns[*i].as_str()))
                .map(|i| row.get::<_, rusqlite::types::Value>(i).map(|v| format!("{}={v:?}", columns[i])))
                .collect::<Result<_, _>>()?;
            values.sort();
            Ok(values.join(" "))
        });
        all.insert(name, rows.and_then(Iterator::collect).expect("rows"));
    }
    all
}

/// Every table of the reference in a database with its columns, indexes and references. How the SQL is spelt, and in
/// which order columns came to be, makes no difference to the reference.
pub fn schema_of(db: &Path) -> BTreeMap<String, Vec<String>> {
    let conn = Connection::open(db).expect("open");
    let list = |ask: &str| -> Vec<String> {
        let mut ask = conn.prepare(ask).expect("sql");
        ask.query_map([], |r| r.get(0)).and_then(Iterator::collect).expect("rows")
    };
    let of = |table: &String| {
        let mut all = list(&format!(
            r#"SELECT format('%s %s %d %s %d', name, upper(type), "notnull", replace(coalesce(dflt_value, ''), '"', ''''), pk)
               FROM pragma_table_info('{table}')
               UNION ALL
               SELECT format('%d %s (%s)', i."unique", iif(i.origin = 'c', i.name, i.origin), group_concat(c.name))
               FROM pragma_index_list('{table}') i, pragma_index_info(i.name) c GROUP BY i.name
               UNION ALL
               SELECT format('%s -> %s %s', "from", "table", on_delete) FROM pragma_foreign_key_list('{table}')"#
        ));
        all.sort();
        assert!(!all.is_empty(), "{table}");
        (table.clone(), all)
    };
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_litestream_*'
                  AND name NOT GLOB 'tdsync_*'";
    list(tables).iter().map(of).collect()
}

/// The real server on a data directory, by a clock of the test's.
pub struct Served {
    pub address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub fn start(dir: &Path, clock: Clock) -> Self {
        let text = |path: PathBuf| path.to_str().expect("path").to_string();
        let settings = [
            ("SYNC_LISTEN_ADDR", "127.0.0.1:0".to_string()),
            ("SYNC_SERVER_DB_PATH", text(dir.join("server.db"))),
            ("SYNC_PROJECT_DATA_DIR", text(dir.join("projects"))),
        ];
        let config = Config::from_pairs(settings.map(|(k, v)| (k.to_string(), v))).expect("settings");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (said, heard) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let server = tokio::task::spawn_blocking(move || Server::start_by(config, clock));
                let server = server.await.expect("started").expect("a server");
                said.send(server.addresses().expect("addresses")[0].1).expect("heard");
                let stop = async { drop(stopped.await) };
                server.run(stop).await.expect("served");
            });
        });
        let address = heard.recv().expect("the server starts");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server ends well");
        }
    }
}

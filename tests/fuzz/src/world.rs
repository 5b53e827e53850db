//! A whole server inside this process: real settings, real files, real router, and no socket between.
//!
//! Invariant: nothing waits. The stop of this server has begun, so that a stream says what it has and ends, and a pull
//! that may wait does not.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use td_server::auth::{SCOPES, Scopes};
use td_server::config::Config;
use td_server::control::NewKey;
use td_server::http::{App, Peer, router};
use td_server::server::Server;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// Requests that change something, after which a world is made anew: costs then stay what they were.
const MOST_CHANGES: u32 = 200;

/// A server with one account, an admin's, and one project in which a few things have happened.
pub struct World {
    /// Its insides.
    pub app: Arc<App>,
    /// The account's key.
    pub key: String,
    /// The project's id.
    pub project: String,
    changes: RefCell<u32>,
    router: Router,
    runtime: Runtime,
    _server: Server,
    _dir: TempDir,
}

/// What was answered, to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().expect("a header of ours is text"))
    }

    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", text()))
    }

    /// A refusal says why in the one shape there is (server-protocol 1.4).
    pub fn refusal(&self) -> String {
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no refusal: {body}"));
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
        error["code"].as_str().expect("a code").to_string()
    }
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Lets `look` at this thread's world, which is made if there is none or it is worn out.
pub fn with_world(look: impl FnOnce(&World)) {
    WORLD.with_borrow_mut(|kept| {
        if kept.as_ref().is_some_and(|w| *w.changes.borrow() > MOST_CHANGES) {
            *kept = None;
        }
        look(kept.get_or_insert_with(World::new));
    });
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let often = u32::MAX.to_string();
        let mut settings: Vec<(String, String)> = ["AUTH", "PUSH", "PULL", "OTHER", "AGENT"]
            .iter()
            .map(|class| (format!("SYNC_RATE_LIMIT_{class}"), often.clone()))
            .collect();
        let db = dir.path().join("data/server.db").to_string_lossy().into_owned();
        for (name, value) in [
            ("SYNC_LISTEN_ADDR", "127.0.0.1:0"),
            ("SYNC_SERVER_DB_PATH", &db),
            ("SYNC_EMAIL_PROVIDER", "memory"),
            ("SYNC_ALLOW_SIGNUP", "true"),
            ("SYNC_DISK_FLOOR_MIB", "1"),
            ("SYNC_STREAMS_PER_KEY", &often),
        ] {
            settings.push((name.into(), value.into()));
        }
        let server = {
            let _inside = runtime.enter();
            Server::start(Config::from_pairs(settings).expect("settings")).expect("a server")
        };
        let app = Arc::clone(server.app());
        app.stopping.send_replace(true);
        let control = &app.control;
        let now = control.now();
        let user = control.change_now(|s| s.ensure_user("ana@test.local", false, now)).expect("user").0;
        control.change_now(|s| s.set_admin(&user.id, true, now)).expect("an admin");
        // Without the one that makes a key look only.
        let scopes: Vec<&str> = SCOPES.into_iter().filter(|s| !s.starts_with("impersonation")).collect();
        let key = NewKey::make("fuzz", Scopes::stored(&scopes.join(",")), None).expect("key");
        control.change_now(|s| s.create_key(&user.id, &key, now)).expect("stored");
        let mut world = Self {
            router: router(Arc::clone(&app)),
            key: key.plaintext.to_string(),
            project: String::new(),
            changes: RefCell::default(),
            app,
            runtime,
            _server: server,
            _dir: dir,
        };
        let made = world.post("/v1/projects", br#"{"name":"fuzz"}"#);
        world.project = made.json()["id"].as_str().expect("a project").to_string();
        let pushed = world.post(&world.sync("push"), &first_events());
        assert_eq!(pushed.status, StatusCode::OK, "{}", String::from_utf8_lossy(&pushed.body));
        world
    }

    /// A sync route of the project.
    pub fn sync(&self, route: &str) -> String {
        format!("/v1/projects/{}/sync/{route}", self.project)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], b"").expect("an address of ours")
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.ask(Method::POST, path, &[], body).expect("an address of ours")
    }

    /// Asks with the account's key unless `headers` brings another; `None` for what the HTTP library refuses before we
    /// see it.
    pub fn ask(&self, method: Method, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Option<Answer> {
        let changes = ![Method::GET, Method::HEAD].contains(&method);
        // As in the first line of a request, where nothing but a path stands.
        let uri: Uri = path.parse().ok().filter(|u: &Uri| u.authority().is_none())?;
        let mut request = Request::builder().method(method).uri(uri).header("host", "sync.test");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.header("authorization", format!("Bearer {}", self.key));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_vec())).ok()?;
        request.extensions_mut().insert(Peer(Ipv4Addr::LOCALHOST.into()));
        let answer = self.runtime.block_on(async {
            // Cannot fail: a router has no error.
            let Ok(answer) = self.router.clone().oneshot(request).await;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
            Answer { status: parts.status, headers: parts.headers, body }
        });
        if changes && answer.status.is_success() {
            *self.changes.borrow_mut() += 1;
        }
        assert!(answer.headers.contains_key("x-request-id"), "every answer has an id");
        Some(answer)
    }

    /// The next input gets a new world.
    pub fn wear_out(&self) {
        *self.changes.borrow_mut() = u32::MAX;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.app.projects.close_idle(std::time::Duration::ZERO);
        self.app.logs.close_all();
    }
}

/// Two devices that disagree about an issue, and rows of other kinds.
fn first_events() -> Vec<u8> {
    let event = |id: i64, action: &str, kind: &str, entity: &str, new: Value, previous: Value| {
        json!({"client_action_id": id, "action_type": action, "entity_type": kind, "entity_id": entity,
            "payload": {"schema_version": 1, "new_data": new, "previous_data": previous},
            "client_timestamp": "2026-11-21T10:00:00Z"})
    };
    let issue = |title: &str| {
        json!({"id": "td-000001", "title": title, "status": "open", "type": "task", "priority": "P2",
            "created_at": "2026-11-21T10:00:00Z", "updated_at": "2026-11-21T10:00:00Z"})
    };
    let none = || json!({});
    let note = json!({"id": "lg-1", "issue_id": "td-000001", "session_id": "s", "message": "m", "timestamp":
        "2026-11-21T10:00:00Z"});
    let events = [
        event(1, "create", "issues", "td-000001", issue("one"), none()),
        event(2, "update", "issues", "td-000001", json!({"title": "two"}), json!({"title": "one"})),
        event(3, "update", "issues", "td-000001", json!({"title": "three"}), json!({"title": "one"})),
        event(4, "create", "logs", "lg-1", note, none()),
    ];
    json!({"device_id": "first", "session_id": "s", "events": events}).to_string().into_bytes()
}

//! A client of the sync routes in a few lines, for tests that push what no `td` would, or more than one could.

use serde_json::{Value, json};
use std::io::Read;

/// Whose calls, and to which server.
#[derive(Clone)]
pub struct Api {
    url: String,
    key: String,
}

/// Most bytes of an answer that is held in memory.
const LONGEST: u64 = 1 << 30;

impl Api {
    /// Of a key.
    pub fn new(url: String, key: String) -> Self {
        Self { url, key }
    }

    /// Makes a project; returns its id.
    pub fn project(&self, name: &str) -> String {
        let made = self.post("/v1/projects", &json!({"name": name})).expect("project");
        made["id"].as_str().expect("id").to_string()
    }

    /// Pushes events as they are.
    pub fn push(&self, project: &str, device: &str, events: &[Value]) -> Result<Value, ureq::Error> {
        let body = json!({"device_id": device, "session_id": "ses_1", "events": events});
        self.post(&format!("/v1/projects/{project}/sync/push"), &body)
    }

    /// The whole log.
    pub fn pull_all(&self, project: &str) -> Vec<Value> {
        let mut all = Vec::new();
        self.pull_pages(project, |page| {
            all.extend(page["events"].as_array().expect("events").iter().cloned())
        });
        all
    }

    /// The whole log, page by page.
    pub fn pull_pages(&self, project: &str, mut each: impl FnMut(&Value)) {
        let mut after = 0;
        loop {
            let path = format!("/v1/projects/{project}/sync/pull?after_server_seq={after}&limit=10000");
            let page = self.get(&path).expect("pull");
            each(&page);
            after = page["last_server_seq"].as_i64().expect("seq");
            if page["has_more"] != true {
                return;
            }
        }
    }

    /// POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ureq::Error> {
        let request =
            ureq::post(format!("{}{path}", self.url)).header("Authorization", format!("Bearer {}", self.key));
        request.send_json(body)?.body_mut().read_json()
    }

    /// GET of JSON.
    pub fn get(&self, path: &str) -> Result<Value, ureq::Error> {
        self.ask(path)?.body_mut().with_config().limit(LONGEST).read_json()
    }

    /// GET of a file, with the headers that came before it.
    pub fn file(&self, path: &str) -> Result<(ureq::http::HeaderMap, Vec<u8>), ureq::Error> {
        let mut answer = self.ask(path)?;
        let (headers, mut bytes) = (answer.headers().clone(), Vec::new());
        answer.body_mut().with_config().limit(LONGEST).reader().read_to_end(&mut bytes)?;
        Ok((headers, bytes))
    }

    fn ask(&self, path: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        ureq::get(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.key))
            .call()
    }
}

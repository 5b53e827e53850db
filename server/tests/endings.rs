//! How projects and accounts end: marked first, brought back for a while, and gone for good.

mod support;

use serde_json::json;
use support::wire::Ask;
use support::{Server, wait_until};

struct World {
    server: Server,
    key: String,
    project: String,
}

/// A project of ana's with two events; root is the admin who stays.
fn world(settings: &[(&str, &str)]) -> World {
    let server = Server::with(settings);
    server.admin(&["create-user", "--email", "root@test.local"]);
    let (key, _) = server.key("ana");
    let project = server.project(&key, "Garden");
    assert_eq!(server.ask(&support::push(&project, &[1, 2]).key(&key)).status, 200);
    World { server, key, project }
}

impl World {
    fn ask(&self, method: &str, rest: &str) -> (u16, String) {
        let answer = self
            .server
            .ask(&Ask::new(method, &format!("/v1/projects/{}{rest}", self.project)).key(&self.key));
        (answer.status, answer.text())
    }

    fn delete(&self) {
        assert_eq!(self.ask("DELETE", "").0, 204);
    }

    fn folder(&self) -> std::path::PathBuf {
        self.server.data().join("projects").join(&self.project)
    }

    /// What a refused `admin` command says.
    fn refused(&self, words: &[&str]) -> String {
        let out = self.server.admin_raw(words);
        assert_eq!(out.status.code(), Some(1), "{words:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    }
}

#[test]
fn a_deleted_project_is_out_of_sight_and_comes_back_whole() {
    let w = world(&[]);
    w.delete();
    for rest in ["", "/members", "/sync/pull", "/sync/status", "/sync/digest", "/events"] {
        assert_eq!(w.ask("GET", rest).0, 404, "{rest}");
    }
    let listed = w.server.admin(&["projects", "list", "--deleted"]);
    let (deleted_at, files_go_at) = (listed[0]["deleted_at"].as_str(), listed[0]["files_go_at"].as_str());
    assert!(deleted_at.is_some() && files_go_at > deleted_at, "{listed}");
    assert_eq!(w.server.admin(&["projects", "undelete", "garden"])["deleted"], json!(false));
    assert_eq!(w.server.admin(&["projects", "list", "--deleted"]), json!([]));
    let (status, page) = w.ask("GET", "/sync/pull");
    assert_eq!((status, page.matches("server_seq\":").count()), (200, 3), "{page}");
    assert_eq!(w.server.ask(&support::push(&w.project, &[3]).key(&w.key)).status, 200);
    let refused = |project: &str| w.refused(&["projects", "undelete", project]);
    assert!(refused("garden").starts_with("error: this project is not deleted: garden"));
    assert!(refused("Shed").starts_with("error: no such deleted project: Shed"));
}

#[test]
fn after_its_time_the_files_go_and_then_the_row() {
    let w = world(&[("SYNC_PROJECT_GRACE", "1s")]);
    w.delete();
    wait_until("the row is gone", || w.server.admin(&["projects", "list", "--deleted"]) == json!([]));
    assert!(!w.folder().exists());
    assert_eq!(w.ask("GET", "/sync/pull").0, 403, "as a project that never was");
    assert_eq!(w.server.ask(&Ask::get("/healthz")).status, 200);
}

#[test]
fn a_crash_between_files_and_row_is_made_good_and_nothing_comes_back_without_files() {
    let mut w = world(&[("SYNC_PROJECT_GRACE", "1s")]);
    w.delete();
    w.server.kill();
    // As the rename that takes the files away leaves them.
    let gone = w.server.data().join("projects").join(format!(".gone-{}", w.project));
    std::fs::rename(w.folder(), &gone).expect("aside");
    let said = w.refused(&["projects", "undelete", &w.project]);
    assert!(
        said.starts_with(&format!("error: the files of Garden ({}) are gone already", w.project)),
        "{said}"
    );
    w.server.run();
    wait_until("the row is gone", || w.server.admin(&["projects", "list"]) == json!([]));
    assert!(!gone.exists() && !w.folder().exists());
}

#[test]
fn an_operator_deletes_brings_back_and_ends_without_a_server_too() {
    let mut w = world(&[]);
    w.server.kill();
    assert_eq!(w.server.admin(&["projects", "delete", "Garden"])["deleted"], json!(true));
    assert!(
        w.refused(&["projects", "delete", "Garden"]).starts_with("error: this project is deleted: Garden")
    );
    assert_eq!(w.server.admin(&["projects", "undelete", &w.project])["deleted"], json!(false));
    assert!(w.refused(&["projects", "purge", "garden"]).starts_with("error: this project is not deleted"));
    w.server.admin(&["projects", "delete", "garden"]);
    assert_eq!(w.server.admin(&["projects", "purge", "garden"])["purged"], json!(true));
    assert!(!w.folder().exists());
    w.server.run();
    assert_eq!(w.server.admin(&["projects", "list"]), json!([]));
    assert_eq!(w.server.ask(&Ask::get("/v1/projects").key(&w.key)).json(), json!([]));
}

#[test]
fn a_project_that_is_in_use_ends_under_its_users() {
    let w = world(&[]);
    w.delete();
    w.server.admin(&["projects", "purge", "garden"]);
    assert!(!w.folder().exists());
    // A name that was taken is free again.
    assert_eq!(w.server.project(&w.key, "Garden").len(), w.project.len());
    let slug = w.server.admin(&["projects", "list"])[0]["slug"].clone();
    assert_eq!(slug, json!("garden"));
}

#[test]
fn an_account_ends_with_its_keys_but_not_with_the_only_owner_of_a_project() {
    let w = world(&[]);
    let (ben, ben_id) = w.server.key("ben");
    let members = Ask::post(&format!("/v1/projects/{}/members", w.project)).key(&w.key);
    assert_eq!(w.server.ask(&members.json(&json!({"user_id": ben_id, "role": "writer"}))).status, 201);

    let said = w.refused(&["users", "delete", "ana@test.local"]);
    let owns = format!("error: ana@test.local is the only owner of Garden ({})", w.project);
    assert!(said.starts_with(&owns) && said.contains("--with-projects"), "{said}");
    assert_eq!(w.ask("GET", "/sync/status").0, 200, "nothing happened");

    assert_eq!(w.server.admin(&["users", "delete", &ben_id])["projects"], json!([]));
    assert_eq!(w.server.ask(&Ask::get("/v1/projects").key(&ben)).status, 401);

    let done = w.server.admin(&["users", "delete", "ana@test.local", "--with-projects"]);
    assert_eq!(done["projects"], json!([w.project]));
    assert_eq!(w.ask("GET", "/sync/status").0, 401);
    assert!(w.refused(&["users", "delete", "ana@test.local"]).starts_with("error: user not found"));
    assert!(
        w.refused(&["users", "delete", "root@test.local"])
            .starts_with("error: root@test.local is the last admin")
    );

    let said = w.refused(&["projects", "undelete", "garden"]);
    assert!(said.starts_with("error: nobody would own Garden"), "{said}");
    w.server.admin(&["projects", "undelete", "garden", "--owner", "root@test.local"]);
    let key = w.server.admin(&["create-key", "--email", "root@test.local", "--name", "r"])["api_key"].clone();
    let answer = w
        .server
        .ask(&Ask::get(&format!("/v1/projects/{}/sync/status", w.project)).key(key.as_str().expect("key")));
    assert_eq!(answer.json()["event_count"], json!(2));
}

//! Static means static: the programs run where there is nothing but them (DESIGN section 2).
#![cfg(feature = "guest")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use td_e2e::{binary, skip, wait_until};

#[test]
fn guest_an_empty_root_folder_is_enough_to_serve_a_push_and_a_pull() {
    if !rustix::process::geteuid().is_root() {
        return skip("guest.chroot", "needs root to enter an empty root folder");
    }
    let dir = tempfile::tempdir().expect("temp");
    let root = dir.path();
    for name in ["td-sync", "td"] {
        std::fs::copy(binary(name), root.join(name)).expect("copy");
    }
    for folder in ["data", "ana/project", "ben/project", "tmp"] {
        std::fs::create_dir_all(root.join(folder)).expect("folder");
    }
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port();
    let url = format!("http://127.0.0.1:{port}");
    let mut server =
        inside(root, "/data", "/td-sync", &["serve"], &url).stderr(Stdio::null()).spawn().expect("chroot");
    let ready = wait_until(Duration::from_secs(20), || ureq::get(format!("{url}/readyz")).call().is_ok());
    let result = ready.then(|| sync_two_devices(root, &url));
    server.kill().expect("SIGKILL");
    server.wait().expect("ends");
    assert_eq!(result.as_deref(), Some("from an empty root"), "what the second device pulled");
}

/// Everything below runs inside the empty root as well; returns the title that travelled.
fn sync_two_devices(root: &Path, url: &str) -> String {
    let run = |cwd: &str, words: &[&str]| {
        let program = if cwd == "/data" { "/td-sync" } else { "/td" };
        let out = inside(root, cwd, program, words, url).output().expect("chroot");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{program} {words:?}: {text}{}", String::from_utf8_lossy(&out.stderr));
        text
    };
    let value = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("json");
    run("/data", &["admin", "create-user", "--email", "ana@example.org"]);
    for who in ["/ana/project", "/ben/project"] {
        let link =
            value(run("/data", &["admin", "enroll", "create", "--email", "ana@example.org", "--json"]));
        run(who, &["init"]);
        run(who, &["connect", link["link"].as_str().expect("link")]);
    }
    let project = value(run("/ana/project", &["sync-project", "create", "garden", "--json"]));
    let id = project["id"].as_str().expect("id");
    run("/ana/project", &["sync-project", "link", id]);
    run("/ana/project", &["create", "from an empty root"]);
    run("/ana/project", &["sync"]);
    run("/ben/project", &["sync-project", "join", id]);
    run("/ben/project", &["sync"]);
    let issues = value(run("/ben/project", &["list", "--json"]));
    issues[0]["title"].as_str().expect("title").to_string()
}

fn inside(root: &Path, cwd: &str, program: &str, words: &[&str], url: &str) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    // `env -C` does not exist in there: the programs take their folder from TD_WORK_DIR and absolute paths.
    command.arg(root).arg(program).args(words).env_clear().stdin(Stdio::null());
    let home = cwd.trim_end_matches("/project").to_string();
    command.env("HOME", &home).env("XDG_CONFIG_HOME", format!("{home}/.config"));
    if program == "/td-sync" {
        command.env("SYNC_LISTEN_ADDR", url.trim_start_matches("http://")).env("SYNC_BASE_URL", url);
        command.env("SYNC_SERVER_DB_PATH", "/data/server.db").env("SYNC_PROJECT_DATA_DIR", "/data/projects");
    } else {
        command.env("TD_WORK_DIR", cwd).env("TD_SESSION_ID", "e2e");
    }
    command
}

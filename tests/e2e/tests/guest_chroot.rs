//! Static means static: the programs run where there is nothing but them (DESIGN section 2). Over HTTPS too: what they
//! need of certificate authorities is in them, and names are looked up without the C library.
#![cfg(feature = "guest")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use td_e2e::pebble::{Looks, Names, Pebble, free_addresses, is_here};
use td_e2e::tls::Authority;
use td_e2e::{binary, skip, wait_until};

/// A folder with the two programs, room for data, and nothing else.
struct EmptyRoot {
    dir: tempfile::TempDir,
    plain: SocketAddr,
    settings: Vec<(String, String)>,
}

/// A server in there; killed when dropped, also after a failed assertion.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("ends");
    }
}

impl EmptyRoot {
    /// `None` (recorded) where nobody may enter one.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("guest.chroot", "needs root to enter an empty root folder");
            return None;
        }
        let dir = tempfile::tempdir().expect("temp");
        for name in ["td-sync", "td"] {
            std::fs::copy(binary(name), dir.path().join(name)).expect("copy");
        }
        for folder in ["data", "ana/project", "ben/project", "tmp"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("folder");
        }
        let [plain] = free_addresses();
        let mut root = Self { dir, plain, settings: Vec::new() };
        root.set("SYNC_LISTEN_ADDR", &plain.to_string());
        root.set("SYNC_BASE_URL", &format!("http://{plain}"));
        Some(root)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.into(), value.into()));
    }

    /// Starts the server and waits until it is ready.
    fn serve(&self) -> Running {
        let log = self.path().join("log");
        let file = std::fs::File::create(&log).expect("log");
        let mut command = self.inside("/data", "/td-sync", &["serve"]);
        let running = Running(command.stderr(file).spawn().expect("chroot"));
        let url = format!("http://{}/readyz", self.plain);
        let ready = wait_until(Duration::from_secs(30), || ureq::get(&url).call().is_ok());
        assert!(ready, "not ready:\n{}", std::fs::read_to_string(log).expect("log"));
        running
    }

    fn inside(&self, cwd: &str, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/sbin/chroot");
        // `env -C` does not exist in there: the programs take their folder from TD_WORK_DIR and absolute paths.
        command.arg(self.path()).arg(program).args(words).env_clear().stdin(Stdio::null());
        let home = cwd.trim_end_matches("/project").to_string();
        command.env("HOME", &home).env("XDG_CONFIG_HOME", format!("{home}/.config"));
        if program == "/td-sync" {
            command.env("SYNC_SERVER_DB_PATH", "/data/server.db");
            command.env("SYNC_PROJECT_DATA_DIR", "/data/projects");
            command.envs(self.settings.iter().map(|(k, v)| (k, v)));
        } else {
            command.env("TD_WORK_DIR", cwd).env("TD_SESSION_ID", "e2e");
        }
        command
    }

    /// Two devices, both in there; returns the title that travelled from one to the other.
    fn sync_two_devices(&self, connect_with: &[&str]) -> String {
        let run = |cwd: &str, words: &[&str]| {
            let program = if cwd == "/data" { "/td-sync" } else { "/td" };
            let out = self.inside(cwd, program, words).output().expect("chroot");
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{program} {words:?}: {text}{said}");
            text
        };
        let value = |text: String| serde_json::from_str::<serde_json::Value>(&text).expect("json");
        run("/data", &["admin", "create-user", "--email", "ana@example.org"]);
        for who in ["/ana/project", "/ben/project"] {
            let link =
                value(run("/data", &["admin", "enroll", "create", "--email", "ana@example.org", "--json"]));
            run(who, &["init"]);
            run(who, &[&["connect", link["link"].as_str().expect("link")], connect_with].concat());
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
}

#[test]
fn guest_an_empty_root_folder_is_enough_to_serve_a_push_and_a_pull() {
    let Some(root) = EmptyRoot::new() else { return };
    let _running = root.serve();
    assert_eq!(root.sync_two_devices(&[]), "from an empty root");
}

#[test]
fn guest_an_empty_root_folder_is_enough_to_serve_a_push_and_a_pull_over_https() {
    let Some(mut root) = EmptyRoot::new() else { return };
    let (authority, [https]) = (Authority::new(), free_addresses());
    std::fs::write(root.path().join("ca.pem"), authority.root_pem()).expect("root");
    authority.sign(&["localhost"]).write(root.path(), "served");
    for (name, value) in [
        ("SYNC_TLS", "files"),
        ("SYNC_TLS_CERT_FILE", "/served.pem"),
        ("SYNC_TLS_KEY_FILE", "/served.key"),
        ("SYNC_TLS_LISTEN_ADDR", &https.to_string()),
        ("SYNC_TLS_REDIRECT_ADDR", "off"),
        ("SYNC_BASE_URL", &format!("https://localhost:{}", https.port())),
    ] {
        root.set(name, value);
    }
    let _running = root.serve();
    assert_eq!(root.sync_two_devices(&["--ca-file", "/ca.pem"]), "from an empty root");
    let stranger = root.inside("/ana/project", "/td", &["connect", &enrolment(&root)]).output().expect("td");
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && said.contains("UnknownIssuer"), "the bundled authorities: {said}");
}

fn enrolment(root: &EmptyRoot) -> String {
    let words = ["admin", "enroll", "create", "--email", "ana@example.org", "--json"];
    let out = root.inside("/data", "/td-sync", &words).output().expect("chroot");
    let made: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
    made["link"].as_str().expect("link").to_string()
}

#[test]
fn guest_an_empty_root_folder_is_enough_to_get_a_certificate_by_name() {
    let Some(mut root) = EmptyRoot::new() else { return };
    if !is_here("acme.pebble") {
        return;
    }
    // The port is fixed in resolv.conf, so the address is this run's own.
    let [.., high, low] = std::process::id().to_be_bytes();
    let dns = SocketAddr::from((Ipv4Addr::new(127, 53, high, low.max(1)), 53));
    let (town, authority) = (tempfile::tempdir().expect("dir"), Authority::new());
    let [http, https, management] = free_addresses();
    let names = Names::at(town.path(), dns, management);
    let looks = Looks { http, https, lifetime: 90 * 86_400 };
    let pebble = Pebble::start(town.path(), "real", &authority, &names, looks);
    std::fs::create_dir(root.path().join("etc")).expect("etc");
    std::fs::write(root.path().join("etc/resolv.conf"), format!("nameserver {}\n", dns.ip())).expect("dns");
    std::fs::write(root.path().join("acme.pem"), authority.root_pem()).expect("root");
    std::fs::write(root.path().join("issued.pem"), pebble.root_pem()).expect("root");
    for (name, value) in [
        ("SYNC_TLS", "acme"),
        ("SYNC_TLS_NAMES", "sync.test"),
        ("SYNC_TLS_LISTEN_ADDR", &looks.https.to_string()),
        ("SYNC_TLS_REDIRECT_ADDR", &looks.http.to_string()),
        ("SYNC_ACME_DIRECTORY", &pebble.directory("acme.test")),
        ("SYNC_ACME_CA_FILE", "/acme.pem"),
        ("SYNC_BASE_URL", &format!("https://sync.test:{}", looks.https.port())),
    ] {
        root.set(name, value);
    }
    let _running = root.serve();
    assert_eq!(root.sync_two_devices(&["--ca-file", "/issued.pem"]), "from an empty root");
}

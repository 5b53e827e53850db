//! Setup in surroundings that are not as usual: other commands of our names, umasks, paths with blanks, no permission.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use td_e2e::home::{Home, script};

/// What a plan would call our client.
fn planned_name(home: &Home, path: &Path) -> String {
    let mut command = home.command(&["plan", "--json", "--port", &home.port]);
    command.env("PATH", format!("{}:/usr/bin:/bin", path.display()));
    let out = command.output().expect("plan");
    let plan: serde_json::Value = serde_json::from_slice(&out.stdout).expect("json");
    let steps = plan["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["key"] == "client.config").expect("client.config");
    let links = step["desired"]["links"].as_array().expect("links");
    let name = |link: &serde_json::Value| {
        let path = PathBuf::from(link[0].as_str().expect("a path"));
        path.file_name().expect("a name").to_string_lossy().into_owned()
    };
    links.iter().map(name).find(|name| name.starts_with("td") && !name.contains('-')).expect("a client")
}

#[test]
fn whatever_a_foreign_td_does_ours_is_called_tds_and_without_one_td() {
    let home = Home::new();
    let bin = home.beside().join("bin");
    for (text, name) in [
        ("#!/bin/sh\necho td version 0.62\n", "tds"),
        ("#!/bin/sh\nexit 1\n", "tds"),
        ("#!/bin/sh\nexec sleep 1000\n", "tds"),
        ("#!/bin/sh\nsleep 1000 & echo '{\"product\":\"another\"}'\n", "tds"),
        ("#!/bin/sh\nread answer; echo \"$answer\"\n", "tds"),
        ("#!/bin/sh\nhead -c 10000000 /dev/zero\n", "tds"),
        ("no program at all", "tds"),
        ("#!/bin/sh\necho '{\"product\":\"td-sync\",\"version\":\"0.0.1\"}'\n", "td"),
    ] {
        script(&bin.join("td"), text);
        assert_eq!(planned_name(&home, &bin), name, "{text:?}");
    }
    fs::remove_file(bin.join("td")).expect("remove");
    assert_eq!(planned_name(&home, &bin), "td", "none");
    fs::create_dir(bin.join("td")).expect("folder");
    assert_eq!(planned_name(&home, &bin), "td", "a folder is no command");
    fs::remove_dir(bin.join("td")).expect("remove");
    symlink("/nowhere/td-sync/current/td", bin.join("td")).expect("link");
    assert_eq!(planned_name(&home, &bin), "td", "what an installation of ours has left");
    home.assert_gone("after plans");
}

#[test]
fn beside_a_foreign_td_every_word_of_advice_says_tds() {
    let home = Home::called("home of ana o'dell");
    let bin = home.path().join(".local/bin");
    script(&bin.join("td"), "#!/bin/sh\necho td version 0.62\n");
    let mut said = home.setup();
    assert!(said.contains("installed as tds") && said.contains("tds connect LINK"), "{said}");
    said += &home.ok(&["status"]);
    said += &home.ok(&["doctor"]);
    let mut list = Command::new(bin.join("tds"));
    list.arg("list").env_clear().env("HOME", home.path()).current_dir(home.path().join("td-sync-demo"));
    let list = list.output().expect("tds");
    said += &String::from_utf8_lossy(&list.stdout);
    assert!(said.contains("Look at this project: tds list"), "{said}");
    home.ok(&["stop"]);
    let ill = home.run(&["doctor"]);
    said += &String::from_utf8_lossy(&ill.stdout);
    assert_eq!(ill.status.code(), Some(9), "{said}");
    // A command, wherever it stands: at the start of a line, behind a quote, behind `&&`.
    let commands = ["td list", "td connect", "td sync", "td init", "td auth", "td doctor", "td config"];
    let bare = said.lines().find(|line| {
        commands.iter().any(|command| {
            line.match_indices(command)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-'))
        })
    });
    assert_eq!(bare, None, "this names a command that is somebody else's");
    home.ok(&["uninstall", "--yes"]);
    assert!(fs::read_to_string(bin.join("td")).expect("the foreign td").contains("0.62"));
    assert!(!bin.join("tds").exists() && !bin.join("td-sync").exists());
}

#[test]
fn secrets_are_private_under_every_umask() {
    for umask in ["000", "077"] {
        let home = Home::new();
        let setup = home.command(&["setup", "--yes", "--port", &home.port]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"]).arg(setup.get_program());
        command.args(setup.get_args()).env_clear().stdin(Stdio::null());
        command.envs(setup.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let out = command.output().expect("setup");
        assert!(out.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&out.stderr));
        home.assert_complete(umask);
        let (mut open, mut secrets) = (Vec::new(), 0);
        files(&home.path(), &mut |path| {
            let mode = fs::symlink_metadata(path).expect("meta").permissions().mode() & 0o777;
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let secret =
                ["identity.key", "auth.json", "td-sync.json", "td-sync.env", "server.db", "answers.toml"];
            secrets += usize::from(secret.contains(&name.as_str()));
            if secret.contains(&name.as_str()) && mode & 0o077 != 0 || mode & 0o022 != 0 {
                open.push(format!("{mode:o} {}", path.display()));
            }
        });
        assert!(secrets >= 6, "only {secrets} secret files found");
        assert_eq!(open, [""; 0], "umask {umask}: others may read or write these");
        home.ok(&["uninstall", "--yes"]);
        home.assert_gone(umask);
    }
}

/// Every file that can be reached by somebody else: below a folder that only its owner enters nothing can.
fn files(dir: &Path, look: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        let meta = fs::symlink_metadata(&path).expect("meta");
        if meta.is_dir() {
            files(&path, look);
        } else if meta.is_file() {
            look(&path);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_anything_changes() {
    if rustix::process::geteuid().is_root() {
        // Root writes everywhere; a disk that is mounted read-only is what stops root (guest_mounts.rs).
        return;
    }
    let home = Home::new();
    let prefix = home.beside().join("locked");
    fs::create_dir(&prefix).expect("folder");
    fs::set_permissions(&prefix, fs::Permissions::from_mode(0o555)).expect("mode");
    let out = home.run(&["setup", "--yes", "--port", &home.port, "--prefix", &prefix.display().to_string()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(7), "{said}");
    assert!(said.contains("nothing can be written in"), "{said}");
    home.assert_gone("after a refusal");
    assert_eq!(fs::metadata(&prefix).expect("meta").uid(), rustix::process::geteuid().as_raw());
}

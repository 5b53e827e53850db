//! An uninstall meets what a person, or somebody who means ill, has put into our folders in the meantime.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use td_e2e::home::Home;

const DATA: &str = ".local/share/td-sync/data";
const TARGET: &str = ".local/state/td-sync-setup/targets/local";

/// All that is below a folder, links not followed.
fn all(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).expect("folder") {
        let path = entry.expect("entry").path();
        if fs::symlink_metadata(&path).expect("meta").is_dir() {
            all(&path, found);
        } else {
            found.insert(path);
        }
    }
}

/// The one folder in a folder.
fn only(dir: &Path) -> PathBuf {
    let mut entries = fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry").path());
    entries.next().expect("an entry")
}

/// A folder outside with something in it that nobody may touch.
fn precious(home: &Home) -> PathBuf {
    let outside = home.beside().join("outside");
    fs::create_dir(&outside).expect("folder");
    fs::write(outside.join("server.db"), "precious").expect("file");
    fs::create_dir(outside.join("projects")).expect("folder");
    outside
}

fn untouched(outside: &Path) {
    assert_eq!(fs::read_to_string(outside.join("server.db")).expect("still there"), "precious");
    assert!(outside.join("projects").is_dir());
}

/// One line without the indent of wrapped ones, so that a path can be looked for.
fn line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn what_a_person_put_into_our_folders_survives_and_is_named() {
    let home = Home::new();
    home.setup();
    let (path, outside) = (home.path(), precious(&home));
    let project = only(&path.join(DATA).join("projects"));
    let release = only(&path.join(".local/share/td-sync/releases"));
    let mut planted: BTreeSet<PathBuf> = [
        path.join(DATA).join("notes.txt"),
        project.join("notes.txt"),
        release.join("notes.txt"),
        path.join(".local/share/td-sync/backups/first/notes.txt"),
        path.join(".local/share/td-sync/backups/notes.txt"),
        path.join(".config/td-sync/notes.txt"),
        path.join(".config/td/notes.txt"),
        path.join(".local/bin/notes"),
        path.join(".local/state/td-sync-setup/host/log/notes.log"),
        path.join("td-sync-demo/notes.txt"),
        path.join("td-sync-demo/.todos/notes.md"),
        path.join(TARGET).join("notes.txt"),
    ]
    .into();
    for file in &planted {
        fs::write(file, "mine").expect("a note");
    }
    for (at, to) in [
        (path.join(DATA).join("link"), &outside),
        (project.join("events.db-link"), &outside),
        (path.join(".local/state/td-sync-setup/host/supervisor/link"), &outside),
        (path.join("td-sync-demo/.todos/link"), &outside),
        (path.join(TARGET).join("link"), &outside),
    ] {
        symlink(to, &at).expect("a link");
        planted.insert(at);
    }
    // A setting that a person changed, and a command that is another one now.
    let settings = path.join(".config/td-sync/td-sync.env");
    let text = fs::read_to_string(&settings).expect("settings");
    fs::write(&settings, text + "SYNC_LOG_LEVEL=debug\n").expect("settings");
    let command = path.join(".local/bin/td");
    fs::remove_file(&command).expect("remove");
    symlink("/bin/true", &command).expect("link");
    planted.extend([settings.clone(), command.clone()]);

    let said = line(&home.ok(&["uninstall", "--yes"]));
    let mut left = BTreeSet::new();
    all(&path, &mut left);
    assert_eq!(left, planted, "{said}");
    for file in &planted {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let parent = file.parent().expect("a folder").display().to_string();
        assert!(said.contains(&name) && said.contains(&parent), "{} is not named in: {said}", file.display());
    }
    assert!(said.contains("but for what is named above"), "{said}");
    untouched(&outside);
    assert!(home.processes().is_empty());
    // What of it would hinder a new beginning is named before anything changes.
    fs::remove_file(command).expect("remove");
    let out = home.run(&["setup", "--yes", "--port", &home.port]);
    let refused = line(&String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(7), "{refused}");
    assert!(refused.contains("backups/first is there and is no copy of ours"), "{refused}");
    fs::remove_dir_all(path.join(".local/share/td-sync/backups/first")).expect("remove");
    home.setup();
    home.assert_complete("after the uninstall");
}

#[test]
fn folders_that_became_links_are_left_with_what_they_lead_to() {
    let home = Home::new();
    home.setup();
    let (path, outside) = (home.path(), precious(&home));
    home.ok(&["stop"]);
    // A person has moved the data to a larger disk.
    let moved = home.beside().join("larger disk");
    fs::rename(path.join(DATA), &moved).expect("move");
    symlink(&moved, path.join(DATA)).expect("link");
    let links = [
        ".local/share/td-sync/backups",
        ".local/state/td-sync-setup/host/log",
        "td-sync-demo/.todos",
        ".local/share/td-sync/current",
    ];
    for place in links {
        let place = path.join(place);
        let aside = home.beside().join(place.file_name().expect("a name"));
        fs::rename(&place, &aside).expect("move");
        symlink(&outside, &place).expect("link");
    }
    let said = line(&home.ok(&["uninstall", "--yes"]));
    for place in links.into_iter().chain([DATA]) {
        assert!(said.contains(place), "{place} is not named in: {said}");
        assert!(path.join(place).is_symlink(), "{place} is still a link");
    }
    assert!(moved.join("server.db").exists() && moved.join("projects").exists());
    untouched(&outside);
}

#[test]
fn a_link_where_an_uninstall_clears_up_after_itself_leads_nowhere() {
    let home = Home::new();
    let outside = precious(&home);
    let targets = home.path().join(TARGET).parent().expect("targets").to_owned();
    fs::create_dir_all(&targets).expect("folder");
    symlink(&outside, targets.join(".gone-local")).expect("link");
    home.ok(&["uninstall", "--yes"]);
    untouched(&outside);
    symlink(&outside, targets.join(".gone-local")).expect("link");
    home.setup();
    home.ok(&["uninstall", "--yes"]);
    untouched(&outside);
}

#[test]
fn folders_that_were_there_before_keep_what_setup_put_there_and_it_is_named() {
    let home = Home::new();
    let (data, demo) = (home.beside().join("my data"), home.beside().join("my project"));
    for folder in [&data, &demo] {
        fs::create_dir(folder).expect("folder");
    }
    let (data_word, demo_word) = (data.display().to_string(), demo.display().to_string());
    home.ok(&["setup", "--yes", "--port", &home.port, "--data", &data_word, "--demo", &demo_word]);
    let said = line(&home.ok(&["uninstall", "--yes"]));
    assert!(said.contains(&format!("the data in {data_word} stay")), "{said}");
    assert!(said.contains(&format!("{demo_word}/.todos stays")), "{said}");
    assert!(data.join("server.db").exists() && demo.join(".todos/issues.db").exists());
    home.assert_gone("but for folders of the person");
}

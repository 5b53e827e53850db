//! Where files are to lie, and what must not lie together.
//!
//! Duty: refuse a path that puts a database where the data directory keeps something of its own.
//! Danger: the start empties `staging`. A project folder in it was once taken for a good setting, and the next start removed
//! every log. So paths are compared as they are on the disk, links and `..` resolved.

use crate::datadir::OWN_NAMES;
use std::path::{Component, Path, PathBuf};

/// What is wrong with the two places.
pub(super) fn faults(server_db: &Path, projects: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let name = server_db.file_name().unwrap_or_default();
    if OWN_NAMES.iter().any(|own| name == *own) {
        faults.push(format!(
            "SYNC_SERVER_DB_PATH: {server_db:?} cannot be used: beside it the server has a file or folder of its own with \
             that name"
        ));
    }
    let (dir, place) = (super::folder_of(server_db), real(projects));
    let taken = OWN_NAMES.iter().map(Path::new).chain([Path::new(name)]).map(|own| dir.join(own));
    if let Some(taken) = taken.into_iter().find(|taken| place.starts_with(real(taken))) {
        faults.push(format!(
            "SYNC_PROJECT_DATA_DIR: {projects:?} cannot be used: {taken:?} is the server's own, and what lies there may be \
             removed"
        ));
    }
    faults
}

/// The path without links and `..`, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.into()).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
        if let Ok(found) = std::fs::canonicalize(&whole) {
            whole = found;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::os::unix::fs::symlink;

    /// The faults of `SYNC_SERVER_DB_PATH` and `SYNC_PROJECT_DATA_DIR`.
    fn faults(server_db: &str, projects: Option<&str>) -> Vec<String> {
        let pairs = [("SYNC_SERVER_DB_PATH", Some(server_db)), ("SYNC_PROJECT_DATA_DIR", projects)];
        let pairs = pairs.into_iter().filter_map(|(name, text)| Some((name.to_string(), text?.to_string())));
        Config::from_pairs(pairs).err().map_or_else(Vec::new, |e| e.0)
    }

    #[test]
    fn no_project_lies_where_the_server_keeps_its_own() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().to_str().expect("path");
        let (db, at) = (format!("{root}/data/server.db"), |rest: &str| format!("{root}/{rest}"));
        std::fs::create_dir_all(at("data/staging")).expect("folder");
        symlink(at("data"), at("link")).expect("link");
        for bad in [
            "data/staging",
            "data/staging/x/y",
            "data/tls",
            "data/./new/../staging/x",
            "link/staging/x",
            "data/epoch",
            "data/server.db",
        ] {
            let told = faults(&db, Some(&at(bad)));
            assert!(matches!(&*told, [one] if one.starts_with("SYNC_PROJECT_DATA_DIR: ")), "{bad}: {told:?}");
        }
        for good in
            ["data", "data/projects", "data/staging-of-mine", "data/staging/../p", "other/staging", ""]
        {
            assert_eq!(faults(&db, Some(&at(good))), [""; 0], "{good}");
        }
        // A staging folder that leads elsewhere is emptied there.
        std::fs::remove_dir(at("data/staging")).expect("remove");
        symlink(at("logs"), at("data/staging")).expect("link");
        std::fs::create_dir(at("logs")).expect("folder");
        assert_eq!(faults(&db, Some(&at("logs/x"))).len(), 1);
        assert_eq!(faults("data/server.db", Some("./data/staging/x")).len(), 1, "both from where it starts");
    }

    #[test]
    fn the_database_has_no_name_that_is_taken_and_all_faults_are_told_at_once() {
        for name in ["LOCK", "epoch", "identity.key", "staging", "tls", "td-sync.sock"] {
            assert_eq!(faults(&format!("/srv/data/{name}"), None).len(), 1, "{name}");
        }
        assert_eq!(faults("/srv/data/epoch", Some("/srv/data/staging")).len(), 2);
        assert_eq!(faults("/srv/data/projects", None).len(), 1, "where the projects are if nothing is said");
        assert_eq!(faults("/srv/data/epoch.db", None), [""; 0]);
    }
}

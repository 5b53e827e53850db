//! The laws on the SQLite backend, on the real file system.

use std::path::Path;
use td_laws::{Backend, build};
use td_server::log::{Logs, Options, Projects, ProjectsOptions};

struct Sqlite {
    projects: Projects,
    dir: tempfile::TempDir,
    /// The processes that "crashed". They live on without a disk of their own to disturb.
    wrecks: Vec<(Projects, tempfile::TempDir)>,
}

fn start(dir: &Path) -> Projects {
    let log = Options::new(build::clock());
    Projects::new(ProjectsOptions { dir: dir.to_owned(), most_open: 8, log }).expect("a folder")
}

fn make() -> Sqlite {
    let dir = tempfile::tempdir().expect("a folder");
    Sqlite { projects: start(dir.path()), dir, wrecks: Vec::new() }
}

impl Backend for Sqlite {
    fn logs(&self) -> &dyn Logs {
        &self.projects
    }

    fn restart(&mut self) {
        self.projects.close_all();
        self.projects = start(self.dir.path());
    }

    /// What a killed process leaves: the files as they are this moment, without the shared memory's content.
    fn crash(&mut self) {
        let image = tempfile::tempdir().expect("a folder");
        for project in std::fs::read_dir(self.dir.path()).expect("readable") {
            let project = project.expect("readable").path();
            let to = image.path().join(project.file_name().expect("a name"));
            std::fs::create_dir(&to).expect("a folder");
            for file in ["events.db", "events.db-wal"] {
                if project.join(file).exists() {
                    std::fs::copy(project.join(file), to.join(file)).expect("a copy");
                }
            }
        }
        let running = std::mem::replace(&mut self.projects, start(image.path()));
        self.wrecks.push((running, std::mem::replace(&mut self.dir, image)));
    }
}

td_laws::law_tests!(make());

//! A machine in memory, in the states that screens are about.

use crate::commands::Commands;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use td_deploy::Cancel;
use td_deploy::engine::{Plan, Setup};
use td_deploy::facts::Facts;
use td_deploy::fault::Faults;
use td_deploy::host::model::ModelHost;
use td_deploy::host::{Commands as _, Look as _, Mode, Program, Ran, WriteFiles as _};
use td_deploy::steps::local::{Installed, Places, questions, steps};
use td_deploy::stream::Sender;
use td_state::answers::{Answer, Answers};
use td_state::dir::TargetDir;
use td_state::secret::Redactor;

pub struct Machine {
    pub host: ModelHost,
    pub facts: Facts,
    pub answers: Answers,
}

impl Machine {
    /// A home folder, and the three programs beside one another.
    pub fn new() -> Self {
        let host = ModelHost::bare();
        let said = serde_json::json!({ "product": "td-sync", "version": env!("CARGO_PKG_VERSION") });
        for program in ["td-sync", "td", "td-sync-setup"] {
            let said = said.clone();
            host.teach(
                Path::new("/usr/bin").join(program),
                Arc::new(move |_, _| Ok(ran(said.to_string().into_bytes()))),
            );
        }
        let facts = host.facts().unwrap();
        let mut answers = Answers::default();
        for question in questions::QUESTIONS {
            let detected = questions::detect(&question.key, &answers, &facts, &host).unwrap();
            answers.set(&question.key, detected.answer);
        }
        Self { host, facts, answers }
    }

    /// Another program listens on the port that is wanted.
    pub fn taken_port(self) -> Self {
        let at = Places::of(&self.answers, &self.facts).address;
        self.host.teach(
            "/usr/bin/other",
            Arc::new(move |world, _| {
                world.listen(at, 1);
                Ok(ran(Vec::new()))
            }),
        );
        self.host.run(&Program::new("/usr/bin/other", Duration::from_secs(1))).unwrap();
        self
    }

    /// Copies inside the data.
    pub fn nested_folders(mut self) -> Self {
        let data = Places::of(&self.answers, &self.facts).data;
        self.answers.set(&questions::BACKUPS, Answer::Text(data.join("copies").display().to_string()));
        self
    }

    /// A person has written settings of their own, and one of ours is not among them.
    pub fn edited_settings(self) -> Self {
        let file = Places::of(&self.answers, &self.facts).env_file;
        for dir in file.parent().unwrap().ancestors().collect::<Vec<_>>().into_iter().rev() {
            self.host.make_dir(dir, Mode::PRIVATE_DIR).unwrap();
        }
        let text = "SYNC_LISTEN_ADDR=127.0.0.1:8470\nSYNC_BASE_URL=http://127.0.0.1:8470\n";
        self.host.put(&file, text.as_bytes(), Mode::PUBLIC).unwrap();
        self
    }

    /// The administrator of a server with systemd.
    pub fn systemd_root(mut self) -> Self {
        let home = PathBuf::from("/root");
        self.facts.systemd = true;
        self.facts.uid = 0;
        self.facts.config_home = home.join(".config");
        self.facts.data_home = home.join(".local/share");
        self.facts.state_home = home.join(".local/state");
        self.facts.home = home;
        self
    }

    pub fn dir(&self) -> TargetDir {
        TargetDir::at(&self.facts.state_home, "local").unwrap()
    }

    pub fn plan(&self) -> Plan {
        let (dir, steps) = (self.dir(), steps());
        let setup = Setup {
            steps: &steps,
            host: &self.host,
            dir: &dir,
            cancel: Cancel::default(),
            events: Sender::default(),
            redactor: Redactor::default(),
            tool: env!("CARGO_PKG_VERSION"),
            faults: Faults::default(),
        };
        setup.plan(&self.answers).unwrap()
    }

    /// Nothing is installed yet, and setup itself is on the path.
    pub fn commands(&self) -> Commands {
        let installed = Installed::of(&self.answers, &self.facts);
        Commands::of(&installed, &self.facts, None, &|path| path == self.facts.program)
    }

    /// Installed in a folder that is not searched.
    pub fn installed_off_path(&self, td: &str) -> Commands {
        let installed = Installed { td: td.into(), ..Installed::of(&self.answers, &self.facts) };
        let bin = installed.bin.clone();
        Commands::of(&installed, &self.facts, None, &|path| path.parent() == Some(&bin))
    }
}

fn ran(stdout: Vec<u8>) -> Ran {
    Ran { code: Some(0), signal: None, stdout, stderr: Vec::new(), dropped: 0 }
}

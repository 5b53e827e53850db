//! SQLite logs on a faulty disk, one file per project.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use td_engine::id::ProjectId;
use td_faultfs::Disk;
use td_server::log::{EventLog, LogError, Logs, Options, Rewrite, SqliteLog};

pub struct FaultLogs {
    pub disk: Arc<Disk>,
    open: Mutex<HashMap<ProjectId, Arc<SqliteLog>>>,
}

pub fn options(disk: &Disk) -> Options {
    Options { vfs: Some(disk.vfs().to_owned()), ..Options::new(td_laws::build::clock()) }
}

impl FaultLogs {
    pub fn new(disk: Arc<Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Arc<SqliteLog>>> {
        self.open.lock().expect("no test panics in here")
    }
}

fn file(project: &ProjectId) -> String {
    format!("/{project}/events.db")
}

impl Logs for FaultLogs {
    fn create(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        match self.open(project) {
            Ok(_) => return Err(LogError::Exists),
            Err(LogError::Missing) => {}
            Err(other) => return Err(other),
        }
        SqliteLog::create(Path::new(&file(project)), &options(&self.disk))?;
        self.disk.sync_directory();
        self.open(project)
    }

    fn open(&self, project: &ProjectId) -> Result<Arc<dyn EventLog>, LogError> {
        let mut open = self.lock();
        if let Some(log) = open.get(project) {
            return Ok(log.clone());
        }
        let log = Arc::new(SqliteLog::open(Path::new(&file(project)), options(&self.disk))?);
        open.insert(project.clone(), log.clone());
        Ok(log)
    }

    fn delete(&self, project: &ProjectId) -> Result<(), LogError> {
        self.open(project)?;
        if let Some(log) = self.lock().remove(project) {
            log.close(LogError::Missing);
        }
        self.disk.remove(&file(project));
        Ok(())
    }

    fn rewrite(&self, project: &ProjectId, by: &dyn Rewrite) -> Result<(), LogError> {
        if let Some(log) = self.lock().remove(project) {
            log.close(LogError::Closed);
        }
        SqliteLog::rewrite(Path::new(&file(project)), &options(&self.disk), by)
    }

    fn close_idle(&self, _idle: Duration) -> usize {
        0
    }

    fn close_all(&self) {
        self.lock().drain().for_each(|(_, log)| log.close(LogError::Closed));
    }
}

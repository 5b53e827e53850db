//! The laws of the log where every crash is a power cut.

use crate::logs::FaultLogs;
use std::sync::Arc;
use td_faultfs::{Death, Disk};
use td_laws::Backend;
use td_server::log::Logs;

struct Faulty {
    logs: FaultLogs,
}

fn make() -> Faulty {
    Faulty { logs: FaultLogs::new(Arc::new(Disk::new(7))) }
}

impl Backend for Faulty {
    fn logs(&self) -> &dyn Logs {
        &self.logs
    }

    fn restart(&mut self) {
        self.logs.close_all();
    }

    fn crash(&mut self) {
        let disk = self.logs.disk.clone();
        disk.die(Death::Cut);
        self.logs.close_all();
        disk.restart();
    }
}

td_laws::law_tests!(make());

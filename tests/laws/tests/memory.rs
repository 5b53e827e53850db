//! The laws on the in-memory backend.

use td_laws::{Backend, build};
use td_server::log::{Logs, MemoryLogs};

struct Memory(MemoryLogs);

impl Backend for Memory {
    fn logs(&self) -> &dyn Logs {
        &self.0
    }
    fn restart(&mut self) {
        self.0.close_all();
    }
    fn crash(&mut self) {
        self.0.close_all();
    }
}

td_laws::law_tests!(Memory(MemoryLogs::new(build::clock())));

//! Keeps the server of a machine without systemd running: one process that owns the port.
//!
//! Duty: hold the listening sockets and hand them to the server (systemd's protocol: `LISTEN_FDS`, `LISTEN_PID`, from
//! descriptor 3 on), start it again with back-off, and end it on request after it has drained.
//! Invariant: the sockets outlive every server process, so a restart queues connections and refuses nobody. The lock in
//! the state folder is held by the supervisor *and*, through an inherited descriptor, by its server: while it is held one
//! of the two lives, and nobody starts a second server beside an orphan.
//! Danger: this process is killed like any other. The server asks the kernel for SIGTERM at its parent's death, so it
//! drains and goes; the next supervisor waits for the lock and takes over.
//!
//! It does not start at boot; doctor says so.

mod child;
mod control;
mod log;
mod run;
mod spec;
mod view;

pub use child::exec_server;
pub use control::{Ask, Control, ControlError, ServerStatus, SupervisorStatus};
pub use run::{SuperviseError, supervise};
pub use spec::{Spec, SpecError};
pub use view::HostStatus;

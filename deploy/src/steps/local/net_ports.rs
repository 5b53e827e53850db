//! Gate: the port is free, or ours.

use super::places::Places;
use super::questions::{PortState, port_state};
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use std::net::SocketAddr;
use td_state::answers::Answers;

pub(super) struct NetPorts;

impl Step for NetPorts {
    type Desired = SocketAddr;
    type Observed = PortState;
    type Undo = ();
    const KEY: StepKey = StepKey::NET_PORTS;
    const KIND: Kind = Kind::Gate;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Check the port".into()
    }

    fn why(&self) -> &'static str {
        "minutes may have passed since the port was chosen; nobody is pushed off it"
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<SocketAddr>, StepError> {
        Ok(Wanted::This(Places::of(answers, facts).address))
    }

    fn observe(&self, cx: &Probe<'_>, address: &SocketAddr) -> Result<PortState, StepError> {
        Ok(port_state(*address, &Places::of(cx.answers(), cx.facts()), &**cx)?)
    }

    fn plan(&self, state: &PortState, address: SocketAddr) -> Change<SocketAddr> {
        match state {
            PortState::Free | PortState::Ours => Change::Noop,
            PortState::Taken => Change::Blocked {
                code: "E-PORT-TAKEN".into(),
                why: format!("{address} belongs to another program"),
                remedy: Remedy::run("choose another port", "td-sync-setup setup --port 8471"),
            },
        }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<SocketAddr>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, _: &mut Apply<'_>, _: Change<SocketAddr>) -> Result<Outcome, StepError> {
        Ok(Outcome::Unchanged)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        Ok(UndoOutcome::NothingToDo)
    }
}

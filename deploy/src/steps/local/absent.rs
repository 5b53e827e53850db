//! Steps that mean nothing for a local server. They stand in every list, so that lists of all targets compare.

use crate::error::StepError;
use crate::facts::Facts;
use crate::step::{Change, Kind, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use td_state::answers::Answers;

macro_rules! absent {
    ($($name:ident, $key:ident, $title:literal, $reason:literal;)*) => {$(
        pub(super) struct $name;

        impl Step for $name {
            type Desired = ();
            type Observed = ();
            type Undo = ();
            const KEY: StepKey = StepKey::$key;
            const KIND: Kind = Kind::Gate;
            const REV: u32 = 1;

            fn title(&self) -> String {
                $title.into()
            }
            fn why(&self) -> &'static str {
                $reason
            }
            fn desired(&self, _: &Answers, _: &Facts) -> Result<Wanted<()>, StepError> {
                Ok(Wanted::Skip($reason.into()))
            }
            fn observe(&self, _: &Probe<'_>, (): &()) -> Result<(), StepError> {
                Ok(())
            }
            fn plan(&self, (): &(), (): ()) -> Change<()> {
                Change::Skip { reason: $reason.into() }
            }
            fn capture(&self, _: &Capture<'_>, _: &Change<()>) -> Result<(), StepError> {
                Ok(())
            }
            fn apply(&self, _: &mut Apply<'_>, _: Change<()>) -> Result<Outcome, StepError> {
                Ok(Outcome::Skipped { reason: $reason.into() })
            }
            fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
                Ok(UndoOutcome::NothingToDo)
            }
        }
    )*};
}

absent! {
    PreConnect, PRE_CONNECT, "Connect to the host", "the host is this machine";
    HostAgent, HOST_AGENT, "Put the agent on the host", "setup itself runs on the host";
    SysUser, SYS_USER, "Create the system user", "the server runs as you";
    SecretsWrite, SECRETS_WRITE, "Write secrets", "a local server needs none; its identity key is made by itself";
    NetFirewall, NET_FIREWALL, "Open the firewall", "the server listens on loopback only";
    TlsRehearse, TLS_REHEARSE, "Rehearse the certificate", "nothing leaves this machine, so there is no TLS";
    TlsIssue, TLS_ISSUE, "Get the certificate", "nothing leaves this machine, so there is no TLS";
    TimersEnable, TIMERS_ENABLE, "Enable timers", "this version makes later copies by hand only: td-sync backup export";
    OutsideProbe, OUTSIDE_PROBE, "Look from outside", "the server cannot be reached from outside, on purpose";
}

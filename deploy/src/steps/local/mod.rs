//! The steps of the target `local`: a server for this user, on this machine, behind loopback.
//!
//! Duty: the frozen list of step keys, each with what it means here; those that mean nothing here say why.
//! Invariant: everything stands in the user's own folders ([`Places`]); no package, no root, no systemd is needed.
//! Danger: the data folder outlives releases and settings. Only uninstall takes it, and only when it is told to.

mod absent;
mod asking;
mod checks;
mod client_config;
mod client_program;
mod client_roundtrip;
mod data_drill;
mod data_first_backup;
mod data_target;
mod host_statedir;
mod net_ports;
mod places;
mod pre_facts;
mod pre_local;
mod pre_policy;
pub mod questions;
mod receipt_seal;
mod server_admin;
mod server_config;
mod server_cutover;
mod server_rehearse;
mod server_release;
mod server_units;
mod sys_dirs;

pub use checks::{checks, program_checks};
pub use places::Places;
pub use receipt_seal::Installed;

use crate::step::{AnyStep, StepKey, erase};

/// All steps in the order in which they run.
#[must_use]
pub fn steps() -> Vec<Box<dyn AnyStep>> {
    vec![
        erase(pre_local::PreLocal),
        erase(absent::PreConnect),
        erase(pre_facts::PreFacts),
        erase(pre_policy::PrePolicy),
        erase(host_statedir::HostStateDir),
        erase(absent::HostAgent),
        erase(absent::SysUser),
        erase(sys_dirs::SysDirs),
        erase(absent::SecretsWrite),
        erase(server_release::ServerRelease),
        erase(server_config::ServerConfig),
        erase(server_units::ServerUnits),
        erase(net_ports::NetPorts),
        erase(absent::NetFirewall),
        erase(absent::TlsRehearse),
        erase(absent::TlsIssue),
        erase(data_target::DataTarget),
        erase(server_rehearse::ServerRehearse),
        erase(server_cutover::ServerCutover),
        erase(server_admin::ServerAdmin),
        erase(data_first_backup::DataFirstBackup),
        erase(data_drill::DataDrill),
        erase(absent::TimersEnable),
        erase(client_config::ClientConfig),
        erase(client_roundtrip::ClientRoundtrip),
        erase(absent::OutsideProbe),
        erase(receipt_seal::ReceiptSeal),
    ]
}

/// Steps whose results an uninstall leaves in place when data are to be kept: folders, data, copies, the demo project.
pub const DATA_STEPS: &[StepKey] = &[
    StepKey::SYS_DIRS,
    StepKey::DATA_TARGET,
    StepKey::DATA_FIRST_BACKUP,
    StepKey::DATA_DRILL,
    StepKey::CLIENT_ROUNDTRIP,
];

#[cfg(test)]
mod tests {
    use super::StepKey;

    #[test]
    fn every_frozen_key_has_its_step_in_order() {
        let keys: Vec<_> = super::steps().iter().map(|step| step.key()).collect();
        assert_eq!(keys, StepKey::ALL);
    }

    #[test]
    fn a_step_needs_only_steps_that_run_before_it() {
        let steps = super::steps();
        for (index, step) in steps.iter().enumerate() {
            for need in step.needs() {
                assert!(steps[..index].iter().any(|s| s.key() == *need), "{} needs {need}", step.key());
            }
        }
    }
}

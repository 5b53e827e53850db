//! The service manager's files of a server that systemd runs.

use crate::{Template, TemplateError};
use std::collections::BTreeMap;

/// What the units need to know.
#[derive(Debug, Clone)]
pub struct UnitValues {
    /// System user that runs the server.
    pub user: String,
    /// The server binary, through the `current` link.
    pub program: String,
    /// Environment file of the server.
    pub env_file: String,
    /// Data directory.
    pub data_dir: String,
    /// Address of the listening socket, `ADDRESS:PORT`.
    pub listen: String,
    /// How long a stop may take: longer than the server's own drain.
    pub stop_seconds: u32,
}

/// Text of both unit files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUnits {
    /// `td-sync.service`
    pub service: String,
    /// `td-sync.socket`
    pub socket: String,
}

impl SystemUnits {
    /// Renders both.
    pub fn render(values: &UnitValues) -> Result<Self, TemplateError> {
        let service = BTreeMap::from([
            ("user", values.user.clone()),
            ("program", values.program.clone()),
            ("env_file", values.env_file.clone()),
            ("data_dir", values.data_dir.clone()),
            ("stop_seconds", values.stop_seconds.to_string()),
        ]);
        let socket = BTreeMap::from([("listen", values.listen.clone())]);
        Ok(Self {
            service: Template::parse(include_str!("../files/td-sync.service"))?.render(&service)?,
            socket: Template::parse(include_str!("../files/td-sync.socket"))?.render(&socket)?,
        })
    }
}

//! What stands now, in one screen.

use crate::commands::Commands;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, say};
use serde_json::json;
use td_deploy::steps::local::{Installed, questions};
use td_state::shell;

/// Prints it.
pub fn print(context: &Context, changed: bool) -> Result<(), Failure> {
    let installed = Installed::of(&context.answers, &context.facts);
    if context.output == Output::Json {
        let summary = json!({ "kind": "summary", "changed": changed, "installed": installed });
        return say::out(format!("{summary}\n"));
    }
    let email = context.answers.text(&questions::EMAIL).unwrap_or_default();
    say::out(text(&installed, &context.commands(), &email, changed, context.width))
}

/// For people.
pub fn text(installed: &Installed, commands: &Commands, email: &str, changed: bool, width: Width) -> String {
    let mut page = Page::new(width);
    page.gap();
    page.words(match changed {
        true => "td-sync is set up.",
        false => "td-sync is set up; nothing had to be changed.",
    });
    page.gap();
    for (name, value) in [
        ("address", format!("{} (this machine only)", installed.url)),
        ("data", installed.data.display().to_string()),
        ("backup copies", installed.backups.display().to_string()),
        ("demo project", installed.demo.display().to_string()),
        ("log", installed.log.display().to_string()),
    ] {
        page.under(&format!("  {name:<14}  "), &value);
    }
    page.gap();
    if installed.td != "td" {
        page.words(&format!("Another td is on your PATH, so this one is installed as {}.", installed.td));
    }
    page.words("Look at the demo project:");
    let list = commands.shown("td list");
    page.command(&format!("cd {} && {list}", shell::path(&installed.demo)));
    page.words("Connect another device: make a link here, and use it there within 15 minutes:");
    let enroll = format!(
        "td-sync admin enroll create --email {} --db {}",
        shell::word(email),
        shell::path(&installed.data.join("server.db"))
    );
    page.command(&commands.shown(&enroll)).command(&commands.shown("td connect LINK"));
    boot(&mut page, commands);
    page.words("Stop it, check everything, take it all away again:");
    for verb in ["stop", "doctor", "uninstall"] {
        page.command(&commands.shown(&format!("td-sync-setup {verb}")));
    }
    page.text()
}

/// What happens after a restart of the machine. It is the same with and without systemd: no unit is installed yet.
pub fn boot(page: &mut Page, commands: &Commands) {
    page.words("The server does not start at boot yet. After a restart of this machine, start it with:");
    page.command(&commands.shown("td-sync-setup start"));
}

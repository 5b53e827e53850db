//! What stands now, in one screen.

use crate::context::{Context, Output};
use crate::{Failure, say};
use serde_json::json;
use td_deploy::facts::Facts;
use td_deploy::steps::local::{Installed, questions};

/// Name of a command as it can be typed: in full if its folder is not searched.
pub fn command(installed: &Installed, facts: &Facts, name: &str) -> String {
    if facts.path.contains(&installed.bin) {
        name.to_owned()
    } else {
        installed.bin.join(name).display().to_string()
    }
}

/// Prints it.
pub fn print(context: &Context, changed: bool) -> Result<(), Failure> {
    let installed = Installed::of(&context.answers, &context.facts);
    if context.output == Output::Json {
        return say::out(format!(
            "{}\n",
            json!({ "kind": "summary", "changed": changed, "installed": installed })
        ));
    }
    let email = context.answers.text(&questions::EMAIL).unwrap_or_default();
    say::out(text(&installed, &context.facts, &email, changed))
}

fn text(installed: &Installed, facts: &Facts, email: &str, changed: bool) -> String {
    let name = |name| command(installed, facts, name);
    let (td, setup, server) = (name(&installed.td), name("td-sync-setup"), name("td-sync"));
    let title = if changed { "td-sync is set up." } else { "td-sync is set up; nothing had to be changed." };
    let mut lines = vec![
        String::new(),
        title.into(),
        String::new(),
        format!("  address         {}  (this machine only)", installed.url),
        format!("  data            {}", installed.data.display()),
        format!("  backup copies   {}", installed.backups.display()),
        format!("  demo project    {}", installed.demo.display()),
        format!("  log             {}", installed.log.display()),
    ];
    if installed.td != "td" {
        lines.push(String::new());
        lines.push("Another td is on your PATH, so this one is installed as tds.".into());
    }
    lines.extend([
        String::new(),
        "Look at the demo:".into(),
        format!("    cd {} && {td} list", installed.demo.display()),
        "Connect another device (make a link here, use it there within 15 minutes):".into(),
        format!(
            "    {server} admin enroll create --email {email} --db {}",
            installed.data.join("server.db").display()
        ),
        format!("    {td} connect LINK"),
        "Stop it, start it (it does not start at boot), check it, remove it all:".into(),
        format!("    {setup} stop"),
        format!("    {setup} start"),
        format!("    {setup} doctor"),
        format!("    {setup} uninstall"),
    ]);
    lines.join("\n") + "\n"
}

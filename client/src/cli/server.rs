//! The verbs that need a server: connect, auth, sync, sync-project.

use super::args::{Auth, Sync as SyncArgs, SyncProject};
use super::around::Around;
use super::out::{FAILED, Failure, one_line};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write as _};
use std::path::PathBuf;
use td_client::canary::PROJECT_NAME;
use td_client::connect::{Link, connect as enrol};
use td_client::http::{RemoteProject, Server};
use td_client::project::Project;
use td_client::sync::{Linked, Pulled, Pushed, Status, SyncError, link, unlink};
use td_client::transport::{Transport, TransportError};
use td_engine::id::ProjectId;

pub fn connect(
    around: &Around,
    link_text: Option<String>,
    device_name: Option<String>,
    ca_file: Option<PathBuf>,
) -> Result<(), Failure> {
    let out = &around.out;
    let text = match link_text.filter(|l| l != "-") {
        Some(text) => text,
        None => read_link(around)?,
    };
    let parsed = Link::parse(&text).map_err(|e| out.connect(&e.into()))?;
    let name = device_name.unwrap_or_else(|| around.device_name());
    let ca_file = ca_file.map(std::path::absolute).transpose().map_err(|e| out.usage(e.to_string(), None))?;
    let done =
        enrol(&parsed, &around.logins, &*around.ambient, &name, ca_file).map_err(|e| out.connect(&e))?;

    let who = if done.email.is_empty() { done.user_id.clone() } else { done.email.clone() };
    let mut text = format!("Connected to {} as {who}", done.url);
    let mut value = json!({"server": done.url, "user_id": done.user_id, "email": done.email, "project": done.project,
        "linked": false, "sync": null});
    if let (Some(auth), true) = (around.go.auth().ok().flatten(), around.go.dir.is_some())
        && !auth.api_key.is_empty()
        && auth.server_url.trim_end_matches('/') != done.url.as_str()
    {
        let _ = write!(text, "\nGo td stays logged in to {}.", one_line(&auth.server_url));
    }
    match (&done.project, around.has_project()) {
        (Some(id), true) => {
            // The login stands; what fails from here on is told as what it is.
            let mut project = around.acting_project()?;
            link_to(around, &mut project, id)?;
            let (server, _) = around.server(Some(&project))?;
            let (pushed, pulled) = run(around, &mut project, server, true, true)?;
            let _ = write!(text, "\nLinked to project {id}\n{}", summary(pushed, pulled));
            value["linked"] = json!(true);
            value["sync"] = counts(pushed, pulled);
        }
        (Some(id), false) => {
            let td = &out.td;
            let _ = write!(
                text,
                "\nYou are invited to project {id}. In its folder run:\n  {td} init\n  {td} sync-project join {id}\n  {td} sync"
            );
        }
        (None, _) => {
            let _ =
                write!(text, "\nNext: `{} sync-project create NAME` or `join` in a project folder.", out.td);
        }
    }
    out.say(text, &value);
    Ok(())
}

fn read_link(around: &Around) -> Result<String, Failure> {
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        eprint!("Link: ");
        let _ = std::io::stderr().flush();
        let _ = std::io::stdin().read_line(&mut text);
    } else {
        let _ = std::io::stdin().take(4096).read_to_string(&mut text);
    }
    if text.trim().is_empty() {
        return Err(around
            .out
            .usage("missing: the enrolment link", Some(format!("{} connect LINK", around.out.td))));
    }
    Ok(text)
}

pub fn auth(around: &Around, verb: &Auth) -> Result<(), Failure> {
    let out = &around.out;
    let choice = around.choice(None)?;
    match verb {
        Auth::Status => {
            let Some((choice, key)) = choice.and_then(|c| c.key.clone().map(|k| (c, k))) else {
                out.say("Not logged in.", &json!({"logged_in": false}));
                return Ok(());
            };
            let email = choice.email.unwrap_or_default();
            let text =
                format!("Email:  {}\nServer: {}\nKey:    {}", one_line(&email), choice.url, key.hint());
            let value = json!({"logged_in": true, "email": email, "server": choice.url, "key": key.hint(),
                "actor": choice.actor, "server_from": choice.url_source.as_str()});
            out.say(text, &value);
        }
        Auth::Logout => {
            let had = around
                .logins
                .update(|file| {
                    let url = choice.as_ref().map(|c| c.url.clone()).or(file.default.clone());
                    let entry = url.and_then(|u| file.servers.get_mut(&u)).filter(|l| l.api_key.is_some());
                    entry.map(td_client::config::Login::log_out).is_some()
                })
                .map_err(|e| out.config(&e))?;
            let mut text = "Logged out.".to_string();
            let go = around.choice(None)?.is_some_and(|c| c.key.is_some());
            if go {
                text.push_str("\nAnother login remains (TD_AUTH_KEY, or Go td's auth.json, which is Go td's to remove).");
            }
            out.say(text, &json!({"logged_out": had, "other_login": go}));
        }
    }
    Ok(())
}

pub fn sync(around: &Around, args: &SyncArgs) -> Result<(), Failure> {
    if args.status {
        return status(around);
    }
    let mut project = around.acting_project()?;
    require_link(around, &mut project)?;
    let (server, _) = around.server(Some(&project))?;
    let (pushed, pulled) = run(around, &mut project, server, !args.pull, !args.push)?;
    around.out.say(summary(pushed, pulled), &counts(pushed, pulled));
    if let Some(pulled) = pulled.filter(|p| p.skipped > 0) {
        around.out.warn(format!(
            "{} remote event(s) skipped and recorded; see `{} doctor`",
            pulled.skipped, around.out.td
        ));
    }
    if let Some(pushed) = pushed.filter(|p| p.rejected > 0) {
        let message = format!("the server will never take {} of the events", pushed.rejected);
        return Err(around.out.after_answer(&message, &format!("see `{} sync --status`", around.out.td)));
    }
    Ok(())
}

/// A missing link is told before a missing login: it is nearer.
pub fn require_link(around: &Around, project: &mut Project) -> Result<(), Failure> {
    let status = Status::local(&mut project.store, None).map_err(|e| around.out.sync(&e))?;
    if status.linked { Ok(()) } else { Err(around.out.sync(&SyncError::NotLinked)) }
}

fn run(
    around: &Around,
    project: &mut Project,
    server: Server,
    push: bool,
    pull: bool,
) -> Result<(Option<Pushed>, Option<Pulled>), Failure> {
    project.store.quick_check().map_err(|e| around.out.store(&e))?;
    project
        .sync(server, |s| {
            let pushed = if push { Some(s.push()?) } else { None };
            let pulled = if pull { Some(s.pull()?) } else { None };
            Ok((pushed, pulled))
        })
        .map_err(|e| around.out.sync(&e))
}

fn summary(pushed: Option<Pushed>, pulled: Option<Pulled>) -> String {
    let mut lines = Vec::new();
    match pushed {
        Some(p) if p.is_nothing() => lines.push("Nothing to push.".to_string()),
        Some(p) => lines.push(format!("Pushed {} events.", p.accepted)),
        None => {}
    }
    match pulled {
        Some(p) if p.events == 0 => lines.push("Nothing to pull.".into()),
        Some(p) => lines.push(format!("Pulled {} events ({} applied).", p.events, p.applied)),
        None => {}
    }
    if let Some(p) = pulled.filter(|p| p.conflicts > 0) {
        lines.push(format!("{} changes were overwritten and are kept as conflicts.", p.conflicts));
    }
    lines.join("\n")
}

fn counts(pushed: Option<Pushed>, pulled: Option<Pulled>) -> Value {
    json!({
        "pushed": pushed.map(|p| json!({"accepted": p.accepted, "duplicates": p.duplicates, "rejected": p.rejected})),
        "pulled": pulled.map(|p| json!({"events": p.events, "applied": p.applied, "skipped": p.skipped,
            "conflicts": p.conflicts, "cursor": p.cursor})),
    })
}

fn status(around: &Around) -> Result<(), Failure> {
    let out = &around.out;
    let mut project = around.project()?;
    let url = around.choice(Some(&project))?.map(|c| c.url.to_string());
    let local = Status::local(&mut project.store, url.clone()).map_err(|e| out.sync(&e))?;
    let (mut shown, mut offline) = (local, None);
    if shown.linked {
        let asked = around
            .server(Some(&project))
            .and_then(|(server, _)| project.sync(server, |s| s.status(url)).map_err(|e| out.sync(&e)));
        match asked {
            Ok(status) => shown = status,
            // What is known here is an answer, too.
            Err(failure) if failure.exit == super::out::OFFLINE => offline = Some(failure.message),
            Err(failure) => return Err(failure),
        }
    }
    let or = |value: Option<String>, otherwise: &str| value.unwrap_or_else(|| otherwise.into());
    let mut text = format!("Project:     {}\n", or(shown.project.clone(), "not linked"));
    let _ = writeln!(text, "Pending:     {} events", shown.pending);
    let _ = writeln!(text, "Cursor:      {}", or(shown.cursor.map(|s| s.to_string()), "-"));
    if let Some(digest) = &shown.digest {
        let _ = writeln!(text, "Digest:      {}", digest.value);
    }
    let _ = writeln!(text, "Conflicts:   {}", shown.conflicts);
    let _ = writeln!(text, "Quarantined: {}", shown.quarantined);
    for r in &shown.rejected {
        let _ = writeln!(
            text,
            "Refused:     {}/{}: {}",
            r.entity_type,
            one_line(&r.entity_id),
            one_line(&r.reason)
        );
    }
    let _ = writeln!(text, "Last sync:   {}", or(shown.last_sync.clone(), "never"));
    let _ = writeln!(text, "\nServer:      {}", or(shown.server.clone(), "none"));
    let _ = writeln!(text, "  Head:      {}", or(shown.head.map(|s| s.to_string()), "not known"));
    if let Some(in_step) = shown.in_step {
        let _ = writeln!(text, "  Digest:    {}", if in_step { "the same" } else { "DIFFERENT" });
    }
    out.say(text, &shown);
    if let Some(why) = offline {
        out.warn(format!("{why}; what the server knows is left out"));
    }
    if shown.in_step == Some(false) {
        let message = "this copy and the server differ at the same sequence";
        return Err(out.after_answer(message, &format!("run `{} doctor`", out.td)));
    }
    Ok(())
}

pub fn sync_project(around: &Around, verb: SyncProject) -> Result<(), Failure> {
    let out = &around.out;
    match verb {
        SyncProject::Create { name, description } => {
            let mut project = around.acting_project()?;
            let (server, _) = around.server(Some(&project))?;
            if name.trim().is_empty() || name == PROJECT_NAME {
                return Err(out.usage("that cannot be a project's name", None));
            }
            let made = server.create_project(&name, &description).map_err(|e| out.transport(&e))?;
            let id = project_id(around, &made)?;
            let linked = link_to(around, &mut project, &id);
            let mut value = json!(made);
            value["linked"] = json!(linked.is_ok());
            let name = one_line(&made.name);
            match linked {
                Ok(_) => out.say(format!("Created and linked to project {name} ({id})"), &value),
                Err(failure) => {
                    out.warn(format!("auto-link failed: {}", failure.message));
                    out.say(format!("Created project {name} ({id})"), &value);
                }
            }
            Ok(())
        }
        SyncProject::Join { project: wanted } => {
            let mut project = around.acting_project()?;
            let (server, _) = around.server(Some(&project))?;
            let all = visible(server.projects().map_err(|e| out.transport(&e))?);
            let chosen = match wanted {
                Some(wanted) => by_name_or_id(around, &all, &wanted)?,
                None => ask(around, &all)?,
            };
            let id = project_id(around, chosen)?;
            link_to(around, &mut project, &id)?;
            let text = format!("Linked to project {} ({id})", one_line(&chosen.name));
            out.say(text, &json!({"id": id, "name": chosen.name, "linked": true}));
            Ok(())
        }
        SyncProject::Link { id, .. } => {
            let parsed = ProjectId::parse(&id).map_err(|e| out.usage(e.to_string(), None))?;
            let mut project = around.acting_project()?;
            let (server, _) = around.server(Some(&project))?;
            server.status(&parsed).map_err(|e| match e {
                TransportError::Refused { status: 403 | 404, .. } => Failure {
                    code: "not_found".into(),
                    message: format!("there is no project {parsed} that you may use"),
                    remedy: Some(format!("see `{} sync-project list`", out.td)),
                    exit: FAILED,
                },
                other => out.transport(&other),
            })?;
            let how = link_to(around, &mut project, &parsed)?;
            let value = json!({"id": parsed, "linked": true, "changed": how != Linked::Already});
            out.say(format!("Linked to project {parsed}"), &value);
            Ok(())
        }
        SyncProject::Unlink { .. } => {
            let mut project = around.acting_project()?;
            let was = unlink(&mut project.store).map_err(|e| out.sync(&e))?;
            let text =
                if was.is_some() { "Unlinked from sync project" } else { "This project was not linked." };
            out.say(text, &json!({"id": was, "linked": false}));
            Ok(())
        }
        SyncProject::List => {
            let project = if around.has_project() { around.project().ok() } else { None };
            let (server, _) = around.server(project.as_ref())?;
            let all = visible(server.projects().map_err(|e| out.transport(&e))?);
            let mut text = format!("{:<36}  {:<20}  CREATED", "ID", "NAME");
            for p in &all {
                let _ = write!(text, "\n{:<36}  {:<20}  {}", p.id, one_line(&p.name), p.created_at);
            }
            out.say(if all.is_empty() { "No projects.".into() } else { text }, &all);
            Ok(())
        }
    }
}

/// Links the folder and remembers its server. The server is written first: a link without it would ask the wrong one.
fn link_to(around: &Around, project: &mut Project, id: &ProjectId) -> Result<Linked, Failure> {
    let Some(choice) = around.choice(Some(project))? else {
        return Err(around.out.usage("this machine is not connected to any server", None));
    };
    project.set_server(&choice.url).map_err(|e| around.out.config(&e))?;
    link(&mut project.store, id).map_err(|e| around.out.sync(&e))
}

fn visible(mut all: Vec<RemoteProject>) -> Vec<RemoteProject> {
    all.retain(|p| p.name != PROJECT_NAME);
    all
}

fn project_id(around: &Around, project: &RemoteProject) -> Result<ProjectId, Failure> {
    ProjectId::parse(&project.id).map_err(|e| around.out.sync(&e.into()))
}

fn by_name_or_id<'p>(
    around: &Around,
    all: &'p [RemoteProject],
    wanted: &str,
) -> Result<&'p RemoteProject, Failure> {
    let named: Vec<_> = all.iter().filter(|p| p.name == wanted).collect();
    let failure = |code: &str, message: String, remedy: String| Failure {
        code: code.into(),
        message,
        remedy: Some(remedy),
        exit: FAILED,
    };
    match named.as_slice() {
        [one] => Ok(one),
        [] => all.iter().find(|p| p.id == wanted).ok_or_else(|| {
            let remedy = format!("see `{} sync-project list`", around.out.td);
            failure("not_found", format!("no project matching {wanted:?}"), remedy)
        }),
        several => {
            let ids: Vec<&str> = several.iter().map(|p| p.id.as_str()).collect();
            let remedy = format!("join one of them by id: {}", ids.join(", "));
            Err(failure("ambiguous", format!("{} projects are called {wanted:?}", ids.len()), remedy))
        }
    }
}

fn ask<'p>(around: &Around, all: &'p [RemoteProject]) -> Result<&'p RemoteProject, Failure> {
    let out = &around.out;
    if all.is_empty() {
        let remedy = format!("create one with `{} sync-project create NAME`, or ask to be invited", out.td);
        return Err(Failure {
            code: "not_found".into(),
            message: "no projects found".into(),
            remedy: Some(remedy),
            exit: FAILED,
        });
    }
    if out.json || !std::io::stdin().is_terminal() {
        return Err(out
            .usage("missing: the project's name or id", Some(format!("{} sync-project join NAME", out.td))));
    }
    println!("Available projects:");
    for (i, p) in all.iter().enumerate() {
        println!("  {}) {} ({})", i + 1, one_line(&p.name), p.id);
    }
    print!("Select project number: ");
    let _ = std::io::stdout().flush();
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    let chosen = line.trim().parse::<usize>().ok().and_then(|n| all.get(n.checked_sub(1)?));
    chosen.ok_or_else(|| out.usage(format!("invalid selection {:?}", line.trim()), None))
}

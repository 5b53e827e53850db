//! The directory that is read: is it what it should be, and does nobody use it?

use super::error::{ImportError, Refusal};
use super::held::{Stamps, holders};
use super::look::{Unreadable, with_suffix};
use super::plan::{Direction, Left, Plan};
use super::tree::{Maker, Tree, is_ours, shown};
use super::{Options, target};
use std::fs;
use std::path::{Path, PathBuf};

/// A directory that can be planned from.
pub(super) struct Source {
    pub tree: Tree,
    pub stamps: Stamps,
    pub dir: PathBuf,
    pub projects: PathBuf,
}

pub(super) const STOP: &str = "stop it (and Litestream, if it runs), then run the same command again";

const WHICH: &str = "name the folder that holds server.db: td-sync import GO_DATA_DIR --into DIR";

/// Reads what is there. `None` if there is nothing to plan from; the plan has the refusals.
pub(super) fn open(options: &Options, plan: &mut Plan) -> Result<Option<Source>, ImportError> {
    let given = shown(&options.source);
    let dir = match fs::canonicalize(&options.source) {
        Ok(dir) if dir.is_dir() => dir,
        Ok(_) => {
            refuse(plan, "source_missing", format!("{given} is no folder"), WHICH);
            return Ok(None);
        }
        Err(e) => {
            refuse(plan, "source_missing", format!("{given} cannot be read: {e}"), WHICH);
            return Ok(None);
        }
    };
    let maker = if plan.direction == Direction::FromReference { Maker::Reference } else { Maker::Us };
    match (maker, is_ours(&dir)) {
        (Maker::Reference, true) => {
            refuse_ours(plan, &given);
            return Ok(None);
        }
        (Maker::Us, false) => {
            let message = format!("{given} is no data directory of td-sync: it has no epoch");
            refuse(plan, "not_ours", message, "name the folder that holds td-sync's server.db");
            return Ok(None);
        }
        _ => {}
    }
    let Some(projects) = projects(options, &dir, plan) else { return Ok(None) };
    let mut tree = Tree::read(&dir, &projects, maker)?;
    plan.refusals.append(&mut tree.refusals);
    plan.left_behind.append(&mut tree.left);
    if tree.server_db.is_none() {
        let message = format!("there is no server.db in {given}");
        refuse(
            plan,
            "no_server_db",
            message,
            "name the folder that holds it (the parent of SYNC_SERVER_DB_PATH)",
        );
        return Ok(None);
    }
    let stamps = Stamps::take(tree.files());
    users(&tree, plan);
    Ok(Some(Source { tree, stamps, dir, projects }))
}

/// Says that nothing has to be taken over here.
pub(super) fn refuse_ours(plan: &mut Plan, given: &str) {
    let message = format!("{given} is a data directory of td-sync already; it needs no import");
    let remedy =
        format!("serve it: SYNC_SERVER_DB_PATH={given}/server.db SYNC_PROJECT_DATA_DIR={given}/projects");
    refuse(plan, "already_ours", message, remedy);
}

fn projects(options: &Options, dir: &Path, plan: &mut Plan) -> Option<PathBuf> {
    let Some(given) = &options.projects else {
        let usual = dir.join("projects");
        if fs::symlink_metadata(&usual).is_ok_and(|m| m.is_symlink()) {
            let message = format!("{} is a link; links are not followed", shown(&usual));
            refuse(plan, "link_in_source", message, "name the folder it points to: --projects DIR");
            return None;
        }
        return Some(usual);
    };
    match fs::canonicalize(given) {
        Ok(path) if path.is_dir() => Some(path),
        _ => {
            let message = format!("{} is no folder", shown(given));
            refuse(
                plan,
                "source_missing",
                message,
                "name the folder of SYNC_PROJECT_DATA_DIR with --projects",
            );
            None
        }
    }
}

fn users(tree: &Tree, plan: &mut Plan) {
    let holders = holders(&tree.files());
    for message in holders.found {
        refuse(plan, "source_in_use", message, STOP);
    }
    if holders.unseen > 0 {
        plan.warnings.push(
            "Processes of other users could not be looked at: as root this command would see whether one of them has \
             the databases open."
                .into(),
        );
    }
}

/// What is in the way of the new directory. Last, because it needs to know how much room that takes.
pub(super) fn look_at_target(options: &Options, source: &Source, plan: &mut Plan) {
    let found =
        target::obstacles(&options.into, &source.dir, &source.projects, options.keep_free, plan.bytes_needed);
    plan.refusals.extend(found);
}

pub(super) fn refuse(
    plan: &mut Plan,
    code: &'static str,
    message: impl Into<String>,
    remedy: impl Into<String>,
) {
    plan.refusals.push(Refusal::new(code, message, remedy));
}

/// A database that stops the import. A project's can stay behind with its project.
pub(super) fn refuse_file(plan: &mut Plan, path: &Path, e: Unreadable, project: Option<&str>) {
    let remedy = match (e.code, project) {
        ("source_in_use", _) => STOP.to_string(),
        ("schema_newer", _) => "install a newer td-sync; which one this is: td-sync version".to_string(),
        ("link_in_source", _) => {
            format!("put the file itself there: cp -L {0} {0}.real; mv {0}.real {0}", shown(path))
        }
        ("no_room", _) => "make room there, or name a folder that has it: TMPDIR=DIR".to_string(),
        (_, Some(id)) => {
            format!("{}, or go on without the project: --leave-out {id}", put_back(path))
        }
        (_, None) => put_back(path),
    };
    refuse(plan, e.code, format!("{} {}", shown(path), e.why), remedy);
}

/// How a good copy gets in the place of a bad file.
pub(super) fn put_back(path: &Path) -> String {
    format!("put a good copy in its place (mv {0} {0}.bad; litestream restore -o {0} REPLICA)", shown(path))
}

/// Bytes of a database and what stands beside it.
pub(super) fn bytes(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    size(path) + size(&with_suffix(path, "-wal"))
}

/// Folders that belong to no project of `server.db`.
pub(super) fn stray_folders(source: &Source, options: &Options, plan: &mut Plan) {
    for (id, folder) in &source.tree.folders {
        if plan.projects.iter().any(|p| p.id == id.as_str()) {
            continue;
        }
        let why = if options.leave_out.iter().any(|l| l == id.as_str()) {
            "left out as asked".to_string()
        } else {
            let count = folder.events.as_ref().and_then(|path| {
                let log = super::look::look(path, &options.scratch).ok()?;
                log.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0)).ok()
            });
            match count {
                Some(n) => format!("server.db has no such project; nobody can reach its {n} events"),
                None => "server.db has no such project".into(),
            }
        };
        plan.left_behind.push(Left { what: format!("projects/{id}"), why });
    }
}

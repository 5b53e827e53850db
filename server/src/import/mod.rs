//! Taking over a data directory of the reference, and giving one back.
//!
//! Duty: [`Taking::prepare`] reads a directory and says in a [`Plan`] what will become of every file, row and event in
//! it; [`Taking::run`] does exactly that, into a directory that appears whole or not at all.
//! Invariants: the source is never written to, not even by SQLite (which makes side files for a mere look); what the
//! plan says is what happens, because running compares each result with it before the directory gets its name; logs are
//! the truth, so a `project.db` is built again and never believed (the reference loses rows in it, server-protocol W1).
//! Danger: two servers that both go on from one log. A source that anybody has open is refused.

mod accounts;
mod adopt;
mod compare;
mod error;
mod events;
mod held;
mod lines;
mod look;
mod make;
mod notes;
mod numbers;
mod plan;
mod rest;
mod reverse;
mod said;
mod source;
mod table;
mod target;
mod tree;

pub use accounts::Accounts;
pub use error::{ImportError, Refusal};
pub use events::LogFacts;
pub use lines::EventLines;
pub use plan::{Direction, Done, EventCount, Left, Plan, ProjectDone, ProjectPlan};
pub use rest::{Foreseen, ProjectDbFacts, RestRow, Unsent};
pub use said::{done_text, plan_text};
pub use table::TableFacts;

use crate::log::Clock;
use held::Stamps;
use source::Source;
use std::path::PathBuf;
use td_engine::event::NewEvent;
use td_engine::id::SessionId;

/// Name of the report in a directory that was made by an import.
pub const REPORT: &str = "import.json";

/// What to take over, and how.
#[derive(Clone)]
pub struct Options {
    /// The data directory to read.
    pub source: PathBuf,
    /// Its project folders, if they are not in `projects` below it.
    pub projects: Option<PathBuf>,
    /// The directory to make: absent or empty.
    pub into: PathBuf,
    /// Projects that stay behind, by id as it stands in `server.db`.
    pub leave_out: Vec<String>,
    /// Back to the reference instead of from it.
    pub reverse: bool,
    /// Where private copies of databases may lie while they are looked into.
    pub scratch: PathBuf,
    /// Bytes that must stay free on the disk of `into`.
    pub keep_free: u64,
    /// Dates what is made.
    pub clock: Clock,
}

/// A step that takes time, for whoever waits: what is being done, and to what.
pub type Progress<'a> = dyn FnMut(&str) + 'a;

/// A directory that was read, with the plan for it.
pub struct Taking {
    options: Options,
    plan: Plan,
    origin: Origin,
    stamps: Stamps,
}

/// What the plan does not hold: where to read, and the events that are to be promoted.
#[derive(Default)]
struct Origin {
    dir: PathBuf,
    server_db: PathBuf,
    /// One per project of the plan, in its order.
    projects: Vec<Adopted>,
}

struct Adopted {
    log: Option<PathBuf>,
    pending: Vec<(i64, SessionId, NewEvent)>,
}

impl Taking {
    /// Reads everything and plans. Writes nothing, but for private copies in [`Options::scratch`] that are gone when it
    /// returns. What stands in the way is in the plan's refusals; an error means that there is not even a plan.
    pub fn prepare(options: Options, progress: &mut Progress<'_>) -> Result<Self, ImportError> {
        let direction = if options.reverse { Direction::ToReference } else { Direction::FromReference };
        let mut plan = Plan::new(direction, options.source.clone(), options.into.clone());
        let mut origin = Origin::default();
        let stamps = match source::open(&options, &mut plan)? {
            Some(source) => {
                origin.projects = read(&options, &source, &mut plan, progress)?;
                origin.server_db = source.tree.server_db.unwrap_or_default();
                origin.dir = source.dir;
                source.stamps
            }
            None => Stamps::take([]),
        };
        if plan.refusals.is_empty() {
            stamps.check()?;
        }
        Ok(Self { options, plan, origin, stamps })
    }

    /// What will be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Does it. Refuses if the plan has refusals. After an error there is nothing at `into`.
    pub fn run(self, progress: &mut Progress<'_>) -> Result<Done, ImportError> {
        let Self { options, plan, origin, stamps } = self;
        match plan.direction {
            _ if !plan.refusals.is_empty() => Err(ImportError::Refused(Box::new(plan))),
            Direction::FromReference => make::run(&options, &plan, origin, &stamps, progress),
            Direction::ToReference => reverse::run(&options, &plan, origin, &stamps, progress),
        }
    }
}

/// Plans everything that is in a directory. Only projects that are in the plan are returned.
fn read(
    options: &Options,
    source: &Source,
    plan: &mut Plan,
    progress: &mut Progress<'_>,
) -> Result<Vec<Adopted>, ImportError> {
    let mut projects = Vec::new();
    if options.reverse {
        reverse::holder_of(source, plan)?;
    }
    if let Some(found) = adopt::accounts_of(options, source, plan, progress)? {
        for row in &found.projects {
            progress(&format!("reading {}", row.id));
            projects.extend(match options.reverse {
                true => reverse::project(options, source, row, plan),
                false => adopt::project(options, source, row, plan)?,
            });
        }
        plan.accounts = Some(found.accounts);
    }
    source::stray_folders(source, options, plan);
    notes::of_accounts(plan);
    if options.reverse {
        reverse::what_ends(plan);
    }
    source::look_at_target(options, source, plan);
    Ok(projects)
}

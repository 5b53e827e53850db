//! The first admin.

use super::asking;
use super::places::Places;
use super::questions::EMAIL;
use super::server_config;
use crate::error::{Remedy, StepError};
use crate::facts::Facts;
use crate::host::{Look, Program};
use crate::step::{Change, Kind, ManualLine, Outcome, Step, StepKey, UndoOutcome, Wanted};
use crate::view::{Apply, Capture, Probe};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use td_state::answers::Answers;

pub(super) struct ServerAdmin;

/// Who shall be an admin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Admin {
    pub email: String,
}

/// What the server knows about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    exists: bool,
    admin: bool,
}

impl Step for ServerAdmin {
    type Desired = Admin;
    type Observed = Seen;
    type Undo = ();
    const KEY: StepKey = StepKey::SERVER_ADMIN;
    const KIND: Kind = Kind::Mutation;
    const REV: u32 = 1;

    fn title(&self) -> String {
        "Make you the first admin".into()
    }

    fn why(&self) -> &'static str {
        "nobody can sign up by themselves; the first admin invites everybody else"
    }

    fn manual(&self, answers: &Answers) -> Vec<ManualLine> {
        let email = answers.text(&EMAIL).unwrap_or_else(|| "YOU@HOST".into());
        vec![
            ManualLine(format!("td-sync admin create-user --email {email}")),
            ManualLine(format!("td-sync admin grant --email {email}")),
        ]
    }

    fn needs(&self) -> &'static [StepKey] {
        &[StepKey::SERVER_CUTOVER]
    }

    fn desired(&self, answers: &Answers, facts: &Facts) -> Result<Wanted<Admin>, StepError> {
        let Some(email) = answers.text(&EMAIL) else {
            return Err(StepError::new(
                "E-ANSWER-MISSING",
                "no mail address of the first admin was given",
                "the server would have nobody to belong to",
                Remedy::run("give one", "td-sync-setup setup --email YOU@HOST"),
            ));
        };
        Ok(match Places::of(answers, facts).release {
            Some(_) => Wanted::This(Admin { email }),
            None => Wanted::After(StepKey::SERVER_RELEASE),
        })
    }

    fn observe(&self, cx: &Probe<'_>, admin: &Admin) -> Result<Seen, StepError> {
        let places = Places::of(cx.answers(), cx.facts());
        // Without a server there is no data yet, and asking would create them.
        if !asking::status(&places, &**cx)?.is_ready() {
            return Ok(Seen { exists: false, admin: false });
        }
        let program = admin_program(&places, &**cx, &["admin", "users", "list", "--json"])?;
        let users: Value = asking::answered(&program, cx.query(&program)?, &places.log)?;
        let users = users.get("users").unwrap_or(&users).as_array().cloned().unwrap_or_default();
        let is_them = |user: &&Value| user.get("email").and_then(Value::as_str) == Some(&admin.email);
        let found = users.iter().find(is_them);
        let is_admin = found.and_then(|user| user.get("is_admin").or_else(|| user.get("admin")));
        Ok(Seen { exists: found.is_some(), admin: is_admin.and_then(Value::as_bool) == Some(true) })
    }

    fn plan(&self, seen: &Seen, desired: Admin) -> Change<Admin> {
        if seen.exists && seen.admin { Change::Noop } else { Change::Create { desired } }
    }

    fn capture(&self, _: &Capture<'_>, _: &Change<Admin>) -> Result<(), StepError> {
        Ok(())
    }

    fn apply(&self, cx: &mut Apply<'_>, change: Change<Admin>) -> Result<Outcome, StepError> {
        let Some(Admin { email }) = change.desired() else { return Ok(Outcome::Unchanged) };
        let places = Places::of(cx.answers(), cx.facts());
        // Creating somebody who exists is refused; granting decides whether we go on.
        let create = admin_program(&places, &**cx, &["admin", "create-user", "--email", email])?;
        let created = cx.run(&create)?;
        let grant = admin_program(&places, &**cx, &["admin", "grant", "--email", email])?;
        let granted = cx.run(&grant)?;
        if !granted.ok() {
            asking::succeeded(&create, created, &places.log)?;
        }
        asking::succeeded(&grant, granted, &places.log)?;
        Ok(Outcome::Changed)
    }

    fn undo(&self, _: &mut Apply<'_>, (): ()) -> Result<UndoOutcome, StepError> {
        // The admin is part of the data and goes, or stays, with them.
        Ok(UndoOutcome::NothingToDo)
    }
}

/// `td-sync` with the settings of the server, also those a person changed.
pub(super) fn admin_program(places: &Places, look: &dyn Look, args: &[&str]) -> Result<Program, StepError> {
    let env = server_config::in_force(places, look)?;
    asking::server_program(places, &env, args).ok_or_else(|| {
        StepError::new(
            "E-RELEASE-UNKNOWN",
            "no release has been installed yet",
            "the step server.release has to run first",
            Remedy::run("run setup again", "td-sync-setup"),
        )
    })
}

//! What would be done, without doing it.
//!
//! Duty: every step's change as data, for the screen, for `--json` and for comparing with a later look.
//! Invariant: planning makes nothing, not even the state folder, and takes no lock.

use super::Setup;
use crate::error::StepError;
use crate::event::EventBody;
use crate::facts::Facts;
use crate::host::Digest;
use crate::step::{AnyStep, Change, Kind, ManualLine};
use crate::view::{Cancel, Probe, Surroundings, Tell, millis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use td_state::answers::Answers;

/// What every step would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The target's id.
    pub target: String,
    /// Digest of the answers.
    pub answers: String,
    /// Digest of the facts.
    pub facts: String,
    /// One for each step, in order.
    pub steps: Vec<PlanLine>,
}

/// What one step would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanLine {
    /// Its key.
    pub key: String,
    /// For people.
    pub title: String,
    /// Why it is needed.
    pub why: String,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// It only checks.
    pub gate: bool,
    /// What would be done.
    #[serde(flatten)]
    pub change: Change<Value>,
    /// To be marked.
    pub danger: bool,
    /// No way back behind it.
    pub point_of_no_return: bool,
    /// Bytes it needs.
    pub disk: u64,
    /// How long it usually takes.
    pub time_ms: u64,
    /// How a person would do it.
    pub manual: Vec<ManualLine>,
}

/// A step that would do something else than the plan says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// The step.
    pub key: String,
    /// As planned.
    pub planned: Option<Change<Value>>,
    /// As it is now.
    pub now: Option<Change<Value>>,
}

impl Plan {
    /// How many steps would change the host, or cannot tell yet.
    pub fn pending(&self) -> usize {
        self.steps.iter().filter(|s| !s.change.is_satisfied()).count()
    }

    /// What is different now. Empty means that the plan may be applied as it was approved.
    pub fn drift(&self, now: &Plan) -> Vec<Drift> {
        let find =
            |plan: &Plan, key: &str| plan.steps.iter().find(|s| s.key == key).map(|s| s.change.clone());
        let keys = self.steps.iter().chain(now.steps.iter().filter(|s| find(self, &s.key).is_none()));
        keys.map(|s| Drift { key: s.key.clone(), planned: find(self, &s.key), now: find(now, &s.key) })
            .filter(|d| d.planned != d.now)
            .collect()
    }

    /// Everything that is in the way, all at once.
    pub fn refusals(&self) -> Vec<StepError> {
        let blocked = |line: &PlanLine| match &line.change {
            Change::Blocked { code, why, remedy } => Some(
                StepError::new(code, why.clone(), "setup refuses before it changes anything", remedy.clone())
                    .tried(line.title.clone()),
            ),
            _ => None,
        };
        self.steps.iter().filter_map(blocked).collect()
    }
}

/// Planning has no run, so there is nobody to tell.
struct Silent;

impl Tell for Silent {
    fn tell(&self, _: EventBody) {}
}

impl Setup<'_> {
    /// Looks at everything and changes nothing.
    pub fn plan(&self, answers: &Answers) -> Result<Plan, StepError> {
        let facts = self.host.facts()?;
        Ok(self.plan_with(answers, &facts))
    }

    pub(super) fn plan_with(&self, answers: &Answers, facts: &Facts) -> Plan {
        let cancel = Cancel::default();
        let line = |step: &dyn AnyStep| {
            let around = Surroundings { step: step.key().as_str(), facts, cancel: &cancel, tell: &Silent };
            let seen = step.see(&Probe::new(self.host, answers, around));
            let traits = step.traits();
            PlanLine {
                key: step.key().to_string(),
                title: step.title(),
                why: step.why().into(),
                group: super::line(step).group,
                gate: step.kind() == Kind::Gate,
                change: seen.change,
                danger: traits.danger,
                point_of_no_return: traits.point_of_no_return,
                disk: traits.disk,
                time_ms: millis(traits.time),
                manual: step.manual(answers),
            }
        };
        Plan {
            target: self.dir.id().into(),
            answers: answers.digest(),
            facts: Digest::of(serde_json::to_string(facts).unwrap_or_default().as_bytes()).to_string(),
            steps: self.steps.iter().map(|s| line(&**s)).collect(),
        }
    }
}

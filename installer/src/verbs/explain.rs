//! `explain`: what each step is for.

use crate::cli::ExplainWords;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::{Failure, Verdict, say};
use serde_json::json;
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::{AnyStep, Kind};
use td_state::answers::Answers;

/// All steps, or one.
pub fn run(context: &Context, words: &ExplainWords) -> Verdict {
    let wanted = |step: &&dyn AnyStep| words.step.as_deref().is_none_or(|key| step.key().as_str() == key);
    let steps: Vec<_> = context.steps.iter().map(|step| &**step).filter(wanted).collect();
    if steps.is_empty() {
        let happened = format!("there is no step {}", words.step.as_deref().unwrap_or_default());
        let remedy = Remedy::run("see all of them", "td-sync-setup explain");
        return Err(Failure::new(
            Exit::Usage,
            StepError::new("E-STEP", happened, "nothing was done", remedy),
        ));
    }
    if context.output == Output::Json {
        let line = |step: &&dyn AnyStep| {
            let needs: Vec<_> = step.needs().iter().map(|need| need.as_str()).collect();
            json!({
                "key": step.key().as_str(),
                "title": step.title(),
                "why": step.why(),
                "gate": step.kind() == Kind::Gate,
                "needs": needs,
                "manual": step.manual(&context.answers),
            })
        };
        say::out(format!("{}\n", json!(steps.iter().map(line).collect::<Vec<_>>())))?;
        return Ok(Exit::Done.code());
    }
    say::out(text(&steps, &context.answers, context.width))?;
    Ok(Exit::Done.code())
}

/// For people.
pub fn text(steps: &[&dyn AnyStep], answers: &Answers, width: Width) -> String {
    let mut page = Page::new(width);
    for step in steps {
        page.under(&format!("{:<18}  ", step.key().as_str()), &format!("{}\n{}", step.title(), step.why()));
        for line in step.manual(answers) {
            page.under("                    by hand: ", &line.0);
        }
    }
    page.text()
}

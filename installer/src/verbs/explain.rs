//! `explain`: what each step is for.

use crate::cli::ExplainWords;
use crate::context::{Context, Output};
use crate::{Failure, Verdict, say};
use serde_json::json;
use std::fmt::Write as _;
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::step::{AnyStep, Kind};

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
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "{:<20} {}", step.key().as_str(), step.title());
        for line in wrapped(step.why(), 58) {
            let _ = writeln!(text, "{:<20} {line}", "");
        }
        for line in step.manual(&context.answers) {
            let _ = writeln!(text, "{:<20} by hand: {}", "", line.0);
        }
    }
    say::out(text)?;
    Ok(Exit::Done.code())
}

/// The text in lines of at most `width`, as far as its words allow.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            let gap = if lines[last].is_empty() { "" } else { " " };
            lines[last] = format!("{}{gap}{word}", lines[last]);
        }
    }
    lines
}

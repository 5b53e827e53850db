//! A moving line for the current step, a finished line above it for each that ended, and a dim tail of output.

use super::{Renderer, remark, waiting, word};
use console::style;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;
use td_deploy::event::{Event, EventBody, StepResult};

pub struct Fancy {
    bar: ProgressBar,
    titles: BTreeMap<String, String>,
}

impl Fancy {
    pub fn new() -> Self {
        let bar = ProgressBar::new(1);
        let template = "{spinner} {msg}  {bar:20} {pos}/{len}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, titles: BTreeMap::new() }
    }

    fn above(&self, line: impl AsRef<str>) {
        self.bar.println(line);
    }
}

impl Renderer for Fancy {
    fn show(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted { steps, resumes, .. } => {
                self.bar.set_length(steps.len() as u64);
                if let Some(run) = resumes {
                    self.above(format!("continuing the run {run}"));
                }
            }
            EventBody::StepStarted { step, title } => {
                self.titles.insert(step.clone(), title.clone());
                self.bar.set_message(title.clone());
            }
            EventBody::Attempt { n, why, .. } => self.above(format!("  once more ({n}): {why}")),
            EventBody::Log { line, .. } => self.above(style(format!("    {line}")).dim().to_string()),
            EventBody::Waiting { .. } => {
                if let Some(text) = waiting(&event.body) {
                    self.bar.set_message(text);
                }
            }
            EventBody::Warning { finding, .. } => {
                self.above(format!("{} {}", style("note").yellow(), finding.text));
                self.above(format!("     {}", finding.remedy.text));
                for command in &finding.remedy.commands {
                    self.above(format!("         {command}"));
                }
            }
            EventBody::StepFinished { step, result } => {
                self.bar.inc(1);
                let title = self.titles.get(step).unwrap_or(step);
                let mark = match result {
                    StepResult::Failed { .. } => style(word(result)).red().bold(),
                    StepResult::Degraded { .. } | StepResult::LeftAlone { .. } => {
                        style(word(result)).yellow()
                    }
                    StepResult::Changed | StepResult::Undone | StepResult::Adopted => {
                        style(word(result)).green()
                    }
                    _ => style(word(result)).dim(),
                };
                // The word says it too, so nothing is lost without colour.
                if !matches!(result, StepResult::Skipped { .. } | StepResult::NothingToUndo) {
                    self.above(format!("{mark:<12} {title}"));
                    if let Some(text) = remark(result) {
                        self.above(format!("             {text}"));
                    }
                }
            }
            EventBody::RunFinished { summary, .. } => {
                self.bar.finish_and_clear();
                // A run does not end because nobody looks any more.
                let _ = writeln!(std::io::stdout(), "{summary}");
            }
            _ => {}
        }
    }

    fn quiet(&mut self, since: Duration) {
        self.above(format!("still at it, {} s without news", since.as_secs()));
    }
}

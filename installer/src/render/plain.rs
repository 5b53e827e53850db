//! One line per change of state: for logs, pipes and screen readers.

use super::{Renderer, remark, waiting, word};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use td_deploy::event::{Event, EventBody, StepResult};

pub struct Plain<W> {
    out: W,
    titles: BTreeMap<String, String>,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W) -> Self {
        Self { out, titles: BTreeMap::new() }
    }

    fn line(&mut self, text: &str) {
        // A reader that went away must not stop the run.
        let _ = writeln!(self.out, "{text}");
    }
}

impl<W: Write> Renderer for Plain<W> {
    fn show(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted { resumes: Some(run), .. } => {
                self.line(&format!("continuing the run {run}"));
            }
            EventBody::StepStarted { step, title } => {
                self.titles.insert(step.clone(), title.clone());
            }
            EventBody::Attempt { n, why, .. } => self.line(&format!("             once more ({n}): {why}")),
            EventBody::Waiting { .. } => {
                if let Some(text) = waiting(&event.body) {
                    self.line(&format!("             {text}"));
                }
            }
            EventBody::Warning { finding, .. } => {
                self.line(&format!("             note: {}", finding.text));
                self.line(&format!("             {}", finding.remedy.text));
                for command in &finding.remedy.commands {
                    self.line(&format!("                 {command}"));
                }
            }
            EventBody::StepFinished { step, result } => {
                let title = self.titles.get(step).unwrap_or(step).clone();
                let took = event
                    .step_ms
                    .filter(|ms| *ms >= 1000)
                    .map(|ms| format!(" ({}.{} s)", ms / 1000, ms % 1000 / 100));
                self.line(&format!("{:<12} {title}{}", word(result), took.unwrap_or_default()));
                if let Some(text) = remark(result).filter(|_| !matches!(result, StepResult::Skipped { .. })) {
                    self.line(&format!("             {text}"));
                }
            }
            EventBody::RunFinished { summary, .. } => self.line(summary),
            _ => {}
        }
    }

    fn quiet(&mut self, since: Duration) {
        self.line(&format!("             still at it, {} s without news", since.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: EventBody) -> Event {
        Event { index: 1, run_ms: 0, step_ms: Some(1234), attempt_ms: None, body }
    }

    #[test]
    fn a_step_is_one_line_with_its_title_and_a_wait_names_what_where_and_how_long() {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        let step = "server.cutover".to_owned();
        plain.show(&event(EventBody::StepStarted { step: step.clone(), title: "Start the server".into() }));
        plain.show(&event(EventBody::Waiting {
            step: step.clone(),
            for_what: "the server".into(),
            since_ms: 2000,
            limit_ms: 60_000,
            look_at: Some("/log".into()),
        }));
        plain.show(&event(EventBody::StepFinished { step, result: StepResult::Changed }));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "             waiting for the server: 2 s of at most 60 s; look at /log\n\
             done         Start the server (1.2 s)\n"
        );
    }
}

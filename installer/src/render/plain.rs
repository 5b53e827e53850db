//! One paragraph per change of state: for logs, pipes and screen readers.

use super::{MARGIN, Renderer, STOPPING, absent, finished, note, resuming, silence, waiting};
use crate::page::{Page, Width};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use td_deploy::event::{Event, EventBody, StepResult};

pub struct Plain<W> {
    out: W,
    width: Width,
    titles: BTreeMap<String, String>,
    current: Option<String>,
    skipped: usize,
}

impl<W: Write> Plain<W> {
    pub fn new(out: W, width: Width) -> Self {
        Self { out, width, titles: BTreeMap::new(), current: None, skipped: 0 }
    }

    fn print(&mut self, text: &str) {
        // A reader that went away must not stop the run.
        let _ = self.out.write_all(text.as_bytes());
    }

    fn under(&mut self, head: &str, words: &str) {
        let mut page = Page::new(self.width);
        page.under(head, words);
        self.print(&page.text());
    }
}

impl<W: Write> Renderer for Plain<W> {
    fn show(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted { resumes: Some(run), .. } => self.under("", &resuming(run)),
            EventBody::StepStarted { step, title } => {
                self.titles.insert(step.clone(), title.clone());
                self.current = Some(title.clone());
            }
            EventBody::Attempt { n, why, .. } => self.under(MARGIN, &format!("once more ({n}): {why}")),
            EventBody::Waiting { .. } => {
                if let Some(text) = waiting(&event.body) {
                    self.under(MARGIN, &text);
                }
            }
            EventBody::Warning { finding, .. } => self.print(&note(finding, self.width)),
            EventBody::StepFinished { step, result } => {
                let title = self.titles.get(step).unwrap_or(step).clone();
                let took = event.step_ms.filter(|ms| *ms >= 1000);
                let took =
                    took.map(|ms| format!(" ({}.{} s)", ms / 1000, ms % 1000 / 100)).unwrap_or_default();
                self.current = None;
                if matches!(result, StepResult::Skipped { .. }) {
                    self.skipped += 1;
                    return;
                }
                let text = finished(result, &format!("{title}{took}"), self.width);
                self.print(&text);
            }
            EventBody::RunFinished { summary, .. } => {
                if self.skipped > 0 {
                    self.under("", &absent(self.skipped));
                }
                self.under("", summary);
            }
            _ => {}
        }
    }

    fn quiet(&mut self, since: Duration) {
        let text = silence(self.current.as_ref(), since);
        self.under(MARGIN, &text);
    }

    fn stopping(&mut self) {
        self.under("", STOPPING);
    }
}

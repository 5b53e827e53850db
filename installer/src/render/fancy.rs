//! A moving line for the current step, a finished line above it for each that ended, and a dim tail of output.

use super::{MARGIN, Renderer, STOPPING, finished, note, resuming, silence, waiting, word};
use crate::page::{Page, Width};
use console::style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;
use td_deploy::event::{Event, EventBody, StepResult};

/// Narrower terminals have no room for a bar.
const ROOM_FOR_BAR: usize = 60;

pub struct Fancy {
    bar: ProgressBar,
    width: Width,
    titles: BTreeMap<String, String>,
    current: Option<String>,
}

impl Fancy {
    /// On the standard output, which is a terminal.
    pub fn on_terminal(width: Width) -> Self {
        let fancy = Self::new(ProgressDrawTarget::stdout(), width);
        fancy.bar.enable_steady_tick(Duration::from_millis(120));
        fancy
    }

    /// On any screen; nothing moves by itself.
    pub fn new(screen: ProgressDrawTarget, width: Width) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), screen);
        let template = match width.columns() {
            ROOM_FOR_BAR.. => "{spinner} {pos}/{len} [{bar:20}] {wide_msg}",
            _ => "{spinner} {pos}/{len} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
        }
        Self { bar, width, titles: BTreeMap::new(), current: None }
    }

    fn above(&self, text: &str) {
        text.lines().for_each(|line| self.bar.println(line));
    }

    fn under(&self, head: &str, words: &str) -> String {
        let mut page = Page::new(self.width);
        page.under(head, words);
        page.text()
    }
}

impl Renderer for Fancy {
    fn show(&mut self, event: &Event) {
        match &event.body {
            EventBody::RunStarted { steps, resumes, .. } => {
                self.bar.set_length(steps.len() as u64);
                if let Some(run) = resumes {
                    self.above(&self.under("", &resuming(run)));
                }
            }
            EventBody::StepStarted { step, title } => {
                self.titles.insert(step.clone(), title.clone());
                self.current = Some(title.clone());
                self.bar.set_message(title.clone());
            }
            EventBody::Attempt { n, why, .. } => {
                self.above(&self.under(MARGIN, &format!("once more ({n}): {why}")));
            }
            EventBody::Log { line, .. } => {
                for line in self.under("    ", line).lines() {
                    self.bar.println(style(line).dim().to_string());
                }
            }
            EventBody::Waiting { .. } => {
                if let Some(text) = waiting(&event.body) {
                    self.bar.set_message(text);
                }
            }
            EventBody::Warning { finding, .. } => self.above(&note(finding, self.width)),
            EventBody::StepFinished { step, result } => {
                self.bar.inc(1);
                self.current = None;
                if matches!(result, StepResult::Skipped { .. } | StepResult::NothingToUndo) {
                    return;
                }
                let title = self.titles.get(step).unwrap_or(step);
                let text = finished(result, title, self.width);
                // The word says it too, so nothing is lost without colour.
                let plain = word(result);
                let coloured = match result {
                    StepResult::Failed { .. } => style(plain).red().bold(),
                    StepResult::Degraded { .. } | StepResult::LeftAlone { .. } => style(plain).yellow(),
                    StepResult::Changed | StepResult::Undone | StepResult::Adopted => style(plain).green(),
                    _ => style(plain).dim(),
                };
                let rest = text.strip_prefix(plain).unwrap_or(&text);
                self.above(&format!("{coloured}{rest}"));
            }
            EventBody::RunFinished { summary, .. } => {
                self.above(&self.under("", summary));
                self.bar.finish_and_clear();
            }
            _ => {}
        }
    }

    fn quiet(&mut self, since: Duration) {
        self.bar.set_message(silence(self.current.as_ref(), since));
    }

    fn stopping(&mut self) {
        self.above(&self.under("", STOPPING));
    }
}

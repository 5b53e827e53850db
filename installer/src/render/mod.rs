//! Showing a run: fancy, plain or JSON, from the event stream alone.

mod fancy;
mod plain;

use crate::commands::Commands;
use crate::context::{Context, Output};
use crate::page::{Page, Width};
use crate::say;
use std::io::Write as _;
use std::time::{Duration, Instant};
use td_deploy::Cancel;
use td_deploy::error::{Finding, StepError};
use td_deploy::event::{Event, EventBody, StepResult};
use td_deploy::stream::Receiver;

#[cfg(test)]
pub use fancy::Fancy;
#[cfg(test)]
pub use plain::Plain;

/// First word after this much silence; then after twice as much.
const SILENCE: Duration = Duration::from_secs(15);
/// Where titles begin: behind one word that says how the step ended.
const MARGIN: &str = "             ";

/// Something that shows events.
pub trait Renderer {
    /// Shows one.
    fn show(&mut self, event: &Event);
    /// Nothing has happened for so long.
    fn quiet(&mut self, since: Duration);
    /// The person's wish to stop was heard.
    fn stopping(&mut self);
}

/// Shows everything until the engine is done. Runs on a thread of its own.
pub fn follow(output: Output, width: Width, commands: &Commands, cancel: &Cancel, events: &Receiver) {
    let mut renderer: Box<dyn Renderer> = match output {
        Output::Fancy => Box::new(fancy::Fancy::on_terminal(width)),
        Output::Plain => Box::new(plain::Plain::new(std::io::stdout(), width)),
        Output::Json => Box::new(Json(std::io::stdout())),
    };
    let (mut last, mut patience) = (Instant::now(), SILENCE);
    let mut stopping = false;
    loop {
        if cancel.asked() && !stopping {
            stopping = true;
            renderer.stopping();
        }
        match events.next_within(Duration::from_millis(200)) {
            Err(_) => return,
            Ok(Some(event)) => {
                renderer.show(&commands.event(event));
                (last, patience) = (Instant::now(), SILENCE);
            }
            Ok(None) if last.elapsed() >= patience => {
                renderer.quiet(last.elapsed());
                patience *= 2;
            }
            Ok(None) => {}
        }
    }
}

/// The stream itself.
pub struct Json<W>(pub W);

impl<W: std::io::Write> Renderer for Json<W> {
    fn show(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // Whoever reads may have gone; the run goes on.
            let _ = writeln!(self.0, "{line}");
        }
    }

    fn quiet(&mut self, _: Duration) {}

    fn stopping(&mut self) {}
}

/// Says what went wrong, to whoever reads this output.
pub fn failure(context: &Context, error: &StepError) {
    tell_failure(context.output == Output::Json, context.width, &context.commands(), error);
}

/// The same where there is no context yet.
pub fn tell_failure(json: bool, width: Width, commands: &Commands, error: &StepError) {
    let error = commands.error(error);
    if json {
        let _ = writeln!(std::io::stdout(), "{}", failure_json(&error));
    } else {
        say::aside(failure_text(&error, width));
    }
}

/// A failure for programs.
pub fn failure_json(error: &StepError) -> String {
    serde_json::json!({ "kind": "error", "error": error }).to_string()
}

/// A failure as law 18 wants it: tried, happened, means, do. Log and continuation follow where there was a run.
pub fn failure_text(error: &StepError, width: Width) -> String {
    let mut page = Page::new(width);
    page.gap();
    if !error.tried.is_empty() {
        page.under("did not work:  ", &error.tried);
    }
    page.words(&format!("{} [{}]", error.happened, error.code));
    // Everything that is missing is named; of a program's output only the end helps.
    let keep = if error.code.starts_with("E-ANSWER") { error.evidence.len() } else { 6 };
    for line in &error.evidence[error.evidence.len().saturating_sub(keep)..] {
        page.under("    ", line);
    }
    page.under("what it means: ", &error.means).under("what to do:    ", &error.remedy.text);
    for command in &error.remedy.commands {
        page.command(command);
    }
    page.text()
}

/// The commands that show what the run has written down, and that go on. Not the file: its path is longer than a line.
pub fn ending(log: Option<&str>, again: Option<&str>, width: Width) -> String {
    let mut page = Page::new(width);
    for (what, command) in [("log of this run:", log), ("continue with:", again)] {
        if let Some(command) = command {
            page.line(what).command(command);
        }
    }
    page.text()
}

/// One word for how a step ended.
fn word(result: &StepResult) -> &'static str {
    match result {
        StepResult::Changed => "done",
        StepResult::Unchanged => "unchanged",
        StepResult::Checked => "ok",
        StepResult::Adopted => "done before",
        StepResult::Skipped { .. } | StepResult::NothingToUndo => "not needed",
        StepResult::Degraded { .. } => "done, but",
        StepResult::Undone => "undone",
        StepResult::LeftAlone { .. } => "left alone",
        StepResult::Failed { .. } => "FAILED",
    }
}

/// What belongs below the title.
fn remark(result: &StepResult) -> Option<String> {
    match result {
        StepResult::Degraded { what, why } => Some(format!("{what}: {why}")),
        StepResult::LeftAlone { why } => Some(why.clone()),
        _ => None,
    }
}

/// A wait in words.
fn waiting(body: &EventBody) -> Option<String> {
    let EventBody::Waiting { for_what, since_ms, limit_ms, look_at, .. } = body else { return None };
    let look = look_at.as_ref().map(|at| format!("; look at {at}")).unwrap_or_default();
    // The time first: a line that is cut off still shows that it goes on.
    Some(format!("{} s of at most {} s: waiting for {for_what}{look}", since_ms / 1000, limit_ms / 1000))
}

/// Worth telling, with what to do about it.
fn note(finding: &Finding, width: Width) -> String {
    let mut page = Page::new(width);
    page.under("note:        ", &finding.text).under(MARGIN, &finding.remedy.text);
    for command in &finding.remedy.commands {
        page.command(command);
    }
    page.text()
}

/// A finished step: word, title, and the remark below.
fn finished(result: &StepResult, title: &str, width: Width) -> String {
    let mut page = Page::new(width);
    page.under(&format!("{:<12} ", word(result)), title);
    if let Some(why) = remark(result) {
        page.under(MARGIN, &why);
    }
    page.text()
}

/// `continuing …`: what an earlier run did is looked at, not done again.
fn resuming(run: &str) -> String {
    format!("continuing where an earlier run stopped ({run})")
}

/// Steps that do not appear one by one: they would be most of a list and say nothing about this machine.
pub fn absent(steps: usize) -> String {
    match steps {
        1 => "(1 more step exists for other machines and is not needed on this one.)".to_owned(),
        _ => format!("({steps} more steps exist for other machines and are not needed on this one.)"),
    }
}

/// The answer to a Ctrl-C: what is begun is ended properly first.
const STOPPING: &str =
    "Stopping when this step is done (Ctrl-C again: at once). Either way the next run goes on from there.";

/// Silence in words.
fn silence(title: Option<&String>, since: Duration) -> String {
    let what = title.map(|title| format!(": {title}")).unwrap_or_default();
    format!("still at it{what} ({} s without news)", since.as_secs())
}

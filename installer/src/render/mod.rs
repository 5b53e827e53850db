//! Showing a run: fancy, plain or JSON, from the event stream alone.

mod fancy;
mod plain;

use crate::context::Output;
use std::io::Write as _;
use std::time::{Duration, Instant};
use td_deploy::error::StepError;
use td_deploy::event::{Event, EventBody, StepResult};
use td_deploy::stream::Receiver;

/// First word after this much silence; then after twice as much.
const SILENCE: Duration = Duration::from_secs(15);

/// Something that shows events.
trait Renderer {
    /// Shows one.
    fn show(&mut self, event: &Event);
    /// Nothing has happened for so long.
    fn quiet(&mut self, since: Duration);
}

/// Shows everything until the engine is done. Runs on a thread of its own.
pub fn follow(output: Output, events: &Receiver) {
    let mut renderer: Box<dyn Renderer> = match output {
        Output::Fancy => Box::new(fancy::Fancy::new()),
        Output::Plain => Box::new(plain::Plain::new(std::io::stdout())),
        Output::Json => Box::new(Json),
    };
    let (mut last, mut patience) = (Instant::now(), SILENCE);
    loop {
        match events.next_within(Duration::from_millis(500)) {
            Err(_) => return,
            Ok(Some(event)) => {
                renderer.show(&event);
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
struct Json;

impl Renderer for Json {
    fn show(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // Whoever reads may have gone; the run goes on.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn quiet(&mut self, _: Duration) {}
}

/// A failure as law 18 wants it: tried, happened, means, do, log, continue. At most twelve lines.
pub fn failure(json: bool, error: &StepError) {
    if json {
        let _ = writeln!(std::io::stdout(), "{}", serde_json::json!({ "kind": "error", "error": error }));
    } else {
        let _ = write!(std::io::stderr(), "{}", failure_text(error));
    }
}

/// The lines of a failure.
pub fn failure_text(error: &StepError) -> String {
    let mut lines = vec![format!("\n{} [{}]", error.happened, error.code)];
    if !error.tried.is_empty() {
        lines.insert(0, format!("\ndid not work: {}", error.tried));
        lines[1] = lines[1].trim_start().to_owned();
    }
    // Everything that is missing is named; of a program's output only the end helps.
    let keep = if error.code.starts_with("E-ANSWER") { error.evidence.len() } else { 6 };
    let from = error.evidence.len().saturating_sub(keep);
    lines.extend(error.evidence[from..].iter().map(|line| format!("    {line}")));
    lines.push(format!("what it means: {}", error.means));
    lines.push(format!("what to do:    {}", error.remedy.text));
    lines.extend(error.remedy.commands.iter().map(|command| format!("    {command}")));
    lines.join("\n") + "\n"
}

/// One word for how a step ended.
fn word(result: &StepResult) -> &'static str {
    match result {
        StepResult::Changed => "done",
        StepResult::Unchanged => "unchanged",
        StepResult::Checked => "ok",
        StepResult::Adopted => "done before",
        StepResult::Skipped { .. } => "skipped",
        StepResult::Degraded { .. } => "done, but",
        StepResult::Undone => "undone",
        StepResult::NothingToUndo => "not needed",
        StepResult::LeftAlone { .. } => "left alone",
        StepResult::Failed { .. } => "FAILED",
    }
}

/// What belongs behind the word.
fn remark(result: &StepResult) -> Option<String> {
    match result {
        StepResult::Skipped { reason } => Some(reason.clone()),
        StepResult::Degraded { what, why } => Some(format!("{what}: {why}")),
        StepResult::LeftAlone { why } => Some(why.clone()),
        _ => None,
    }
}

/// A wait in words.
fn waiting(body: &EventBody) -> Option<String> {
    let EventBody::Waiting { for_what, since_ms, limit_ms, look_at, .. } = body else { return None };
    let look = look_at.as_ref().map(|at| format!("; look at {at}")).unwrap_or_default();
    Some(format!("waiting for {for_what}: {} s of at most {} s{look}", since_ms / 1000, limit_ms / 1000))
}

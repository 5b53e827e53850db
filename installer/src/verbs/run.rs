//! Running the engine with somebody watching.

use crate::context::{Context, Output};
use crate::{render, say};
use td_deploy::engine::{Report, Setup};
use td_deploy::exit::Exit;
use td_deploy::step::AnyStep;
use td_deploy::stream::channel;

/// Events that may wait for a slow terminal.
const QUEUE: usize = 256;

/// Lets the engine work and shows what happens until it is done; then says what stopped it.
pub fn watched(
    context: &Context,
    steps: &[Box<dyn AnyStep>],
    work: impl FnOnce(&Setup<'_>) -> Report,
) -> Report {
    let (sender, receiver) = channel(QUEUE);
    let output = context.output;
    let screen = std::thread::spawn(move || render::follow(output, &receiver));
    let report = work(&context.engine(steps, sender.clone()));
    sender.close();
    // A screen that panicked has shown why; the report still decides.
    let _ = screen.join();
    tell(context, &report);
    report
}

/// Everything that stopped the run.
fn tell(context: &Context, report: &Report) {
    let json = context.output == Output::Json;
    for error in &report.errors {
        render::failure(json, error);
    }
    if json || report.exit == Exit::Done {
        return;
    }
    if let Some(journal) = &report.journal {
        say::aside(format!("the log of this run: {}\n", journal.display()));
    }
    if matches!(report.exit, Exit::Failed | Exit::Stopped) {
        say::aside("continue with:       td-sync-setup\n");
    }
}

//! Running the engine with somebody watching.

use crate::context::{Context, Output};
use crate::{render, say};
use td_deploy::engine::{Report, Setup};
use td_deploy::exit::Exit;
use td_deploy::step::AnyStep;
use td_deploy::stream::channel;

/// Events that may wait for a slow terminal.
const QUEUE: usize = 256;

/// Lets the engine work and shows what happens until it is done; then says what stopped it, and that the command `verb`
/// goes on.
pub fn watched(
    context: &Context,
    verb: &str,
    steps: &[Box<dyn AnyStep>],
    work: impl FnOnce(&Setup<'_>) -> Report,
) -> Report {
    let (sender, receiver) = channel(QUEUE);
    let (output, width, commands, cancel) =
        (context.output, context.width, context.commands(), context.cancel.clone());
    let screen = std::thread::spawn(move || render::follow(output, width, &commands, &cancel, &receiver));
    let report = work(&context.engine(steps, sender.clone()));
    sender.close();
    // A screen that panicked has shown why; the report still decides.
    let _ = screen.join();
    tell(context, verb, &report);
    report
}

/// Everything that stopped the run.
fn tell(context: &Context, verb: &str, report: &Report) {
    for error in &report.errors {
        render::failure(context, error);
    }
    if context.output == Output::Json || report.exit == Exit::Done {
        return;
    }
    let again = matches!(report.exit, Exit::Failed | Exit::Stopped);
    let commands = context.commands();
    let again = again.then(|| commands.shown(verb));
    let log = report.journal.as_ref().map(|_| commands.shown("td-sync-setup logs --journal"));
    say::aside(render::ending(log.as_deref(), again.as_deref(), context.width));
}

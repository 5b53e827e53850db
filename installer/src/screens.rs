//! What a person sees, as text files: every screen at 40, 80 and 120 columns, without colour.
//!
//! The files in `tests/screens` are the reviewed screens; `TD_REWRITE=1 cargo test -p td-installer screens` writes them
//! anew, to be read in the diff before they are committed.
//! Danger: a screen that is only compared with itself may be as ugly as it likes, so widths and signs are asserted too.

mod machine;
mod scripts;

use crate::ask;
use crate::commands::Commands;
use crate::page::Width;
use crate::render::{self, Fancy, Json, Plain, Renderer};
use crate::verbs::{explain, plan, setup, status, summary, uninstall};
use console::measure_text_width;
use indicatif::{InMemoryTerm, ProgressDrawTarget};
use machine::Machine;
use std::path::Path;
use std::time::Duration;
use td_deploy::event::{Event, EventBody};
use td_deploy::steps::local::questions::{self, QUESTIONS};
use td_deploy::steps::local::{Installed, checks};
use td_state::answers::Answers;

const WIDTHS: [usize; 3] = [40, 80, 120];

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(name);
    if std::env::var_os("TD_REWRITE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(reviewed, text, "{name} is another screen now: look at it, then TD_REWRITE=1");
}

/// One screen at all widths.
fn screen(name: &str, draw: impl Fn(Width) -> String) {
    let mut all = String::new();
    for columns in WIDTHS {
        let text = draw(Width::of(columns));
        fits(name, columns, &text);
        all += &format!("=== {columns} columns\n{text}");
    }
    compare(&format!("{name}.txt"), &all);
}

/// Nothing is wider than the terminal, but for one word that is longer than a line; and nothing is said by colour.
fn fits(name: &str, columns: usize, text: &str) {
    for line in text.lines() {
        let words = line.trim().trim_end_matches(" \\");
        let one_word = words.split_whitespace().count() <= 1 || words.starts_with('\'');
        assert!(
            measure_text_width(line) <= columns || (columns < 80 && one_word),
            "{name} at {columns}: {line:?}"
        );
        assert!(!line.contains('\u{1b}'), "{name}: {line:?}");
        assert_eq!(line.trim_end(), line, "{name}: blanks at the end");
    }
}

fn plain(events: &[Event], width: Width) -> String {
    let mut out = Vec::new();
    let mut renderer = Plain::new(&mut out, width);
    events.iter().for_each(|event| renderer.show(event));
    if events.last().is_some_and(|event| !matches!(event.body, EventBody::RunFinished { .. })) {
        renderer.quiet(Duration::from_secs(15));
        renderer.stopping();
    }
    String::from_utf8(out).unwrap()
}

/// What is on the terminal in the end, or where the events stop.
fn fancy(events: &[Event], width: Width) -> String {
    let term = InMemoryTerm::new(100, u16::try_from(width.columns()).unwrap());
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let mut renderer = Fancy::new(target, width);
    events.iter().for_each(|event| renderer.show(event));
    // The turning sign depends on the time.
    let still = |line: &str| match line.split_at_checked(1) {
        Some(("|" | "/" | "-" | "\\", rest)) if rest.starts_with(' ') && rest.contains("/27") => {
            format!("*{rest}\n")
        }
        _ => format!("{}\n", line.trim_end()),
    };
    term.contents().lines().map(still).collect()
}

fn json(events: &[Event]) -> String {
    let mut out = Vec::new();
    let mut renderer = Json(&mut out);
    events.iter().for_each(|event| renderer.show(event));
    String::from_utf8(out).unwrap()
}

fn run_screens(name: &str, events: &[Event]) {
    screen(&format!("{name}.plain"), |width| plain(events, width));
    screen(&format!("{name}.fancy"), |width| fancy(events, width));
    compare(&format!("{name}.json"), &json(events));
}

#[test]
fn plan() {
    for (name, machine) in [
        ("plan-first", Machine::new()),
        ("plan-blocked", Machine::new().taken_port().nested_folders()),
        ("plan-edited", Machine::new().edited_settings()),
    ] {
        let plan = machine.plan();
        let commands = machine.commands();
        screen(name, |width| {
            let mut text = plan::text(&plan, &commands, width);
            for refusal in plan.refusals() {
                text += &render::failure_text(&commands.error(&refusal), width);
            }
            text
        });
    }
    let plan = Machine::new().plan();
    compare("plan-first.json", &format!("{:#}\n", serde_json::json!(plan)));
}

#[test]
fn answers_that_were_not_asked_for_and_questions() {
    let machine = Machine::new();
    let detected = |question: &questions::Question| {
        questions::detect(&question.key, &Answers::default(), &machine.facts, &machine.host).unwrap()
    };
    let chosen: Vec<_> = QUESTIONS.iter().map(|question| (question, detected(question))).collect();
    screen("chosen", |width| {
        let lines = chosen.iter().map(|(question, detected)| {
            (question.flag, ask::shown(&detected.answer), detected.reason.as_str())
        });
        setup::chosen_text(lines, width)
    });
    screen("questions", |width| {
        let mut text = ask::greeting(QUESTIONS.len(), width);
        for (question, detected) in &chosen {
            text += &ask::question_text(question, Some(detected), width);
            text += &format!("{}:\n", question.prompt);
        }
        text
    });
}

#[test]
fn run_that_succeeds() {
    run_screens("run-done", &scripts::done(&Machine::new()));
}

#[test]
fn run_with_a_failed_step() {
    let machine = Machine::new();
    let events = scripts::failed(&machine);
    run_screens("run-failed", &events);
    let error = machine.commands().error(&scripts::server_ends());
    screen("run-failed.ending", |width| {
        let log = "td-sync-setup logs --journal";
        render::failure_text(&error, width) + &render::ending(Some(log), Some("td-sync-setup"), width)
    });
    compare("run-failed.ending.json", &format!("{}\n", render::failure_json(&error)));
}

#[test]
fn run_while_it_waits() {
    let events = scripts::waiting(&Machine::new());
    screen("run-waiting.fancy", |width| fancy(&events, width));
    screen("run-waiting.plain", |width| plain(&events, width));
}

#[test]
fn uninstall_that_leaves_something_alone() {
    run_screens("run-uninstall", &scripts::uninstall());
}

#[test]
fn end_of_an_uninstall() {
    let machine = Machine::new();
    let installed = Installed::of(&machine.answers, &machine.facts);
    for (name, keep_data, report) in scripts::uninstalled() {
        screen(name, |width| uninstall::text(keep_data, &report, &installed, width));
    }
}

#[test]
fn status() {
    let machine = Machine::new();
    for (name, (status, host)) in [
        ("status-none", scripts::status_none()),
        ("status-complete", scripts::status_complete()),
        ("status-stopped", scripts::status_stopped()),
        ("status-failed", scripts::status_failed()),
        ("status-at-work", scripts::status_at_work()),
    ] {
        let commands = machine.commands();
        let titles = td_deploy::steps::local::steps();
        let titles = titles.iter().map(|step| (step.key().to_string(), step.title())).collect();
        screen(name, |width| {
            status::text(&status, &titles, "http://127.0.0.1:8470", &host, &commands, width)
        });
    }
}

#[test]
fn doctor() {
    let machine = Machine::new();
    let looked = td_doctor::run(checks(&machine.dir(), &machine.answers, &machine.facts), &mut |_| {});
    let timeless = |mut report: td_doctor::Report| {
        report.checks.iter_mut().for_each(|check| check.ms = 0);
        report
    };
    let looked = timeless(looked);
    screen("doctor-nothing", |width| looked.plain_at(width.columns()));
    compare("doctor-nothing.json", &format!("{}\n", serde_json::to_string(&looked).unwrap()));
    let stopped = scripts::doctor_stopped();
    screen("doctor-stopped", |width| stopped.plain_at(width.columns()));
}

#[test]
fn summary() {
    let machine = Machine::new();
    let installed = Installed::of(&machine.answers, &machine.facts);
    screen("summary", |width| summary::text(&installed, &Commands::plain(), "ada@model", true, width));
    let beside = Installed { td: "tds".into(), ..installed };
    let commands = machine.installed_off_path("tds");
    screen("summary-tds-off-path", |width| summary::text(&beside, &commands, "ada@model", false, width));
    let root = Machine::new().systemd_root();
    let installed = Installed::of(&root.answers, &root.facts);
    screen("summary-root", |width| summary::text(&installed, &Commands::plain(), "root@vps", true, width));
}

#[test]
fn errors_with_their_remedies() {
    let machine = Machine::new();
    for (name, error) in scripts::errors() {
        let error = machine.commands().error(&error);
        screen(&format!("error-{name}"), |width| render::failure_text(&error, width));
    }
}

#[test]
fn explanations() {
    let steps = td_deploy::steps::local::steps();
    let steps: Vec<_> = steps.iter().map(|step| &**step).collect();
    let answers = Machine::new().answers;
    screen("explain", |width| explain::text(&steps, &answers, width));
}

/// The words alone tell everything: with colour there are the same ones.
#[test]
fn colour_adds_no_word() {
    let events = scripts::done(&Machine::new());
    let without = fancy(&events, Width::of(80));
    console::set_colors_enabled(true);
    let with = fancy(&events, Width::of(80));
    console::set_colors_enabled(false);
    assert_eq!(without, with);
}

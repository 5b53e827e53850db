//! Getting all answers: flag, else saved, else detected (asked about on a terminal, taken with `--yes`).
//!
//! Invariant: without a terminal and without `--yes` every missing answer is named at once and nothing was touched. What
//! was answered at a terminal is saved after each answer, so that a Ctrl-C in the last question keeps the others.

use crate::cli::SetupWords;
use crate::context::Context;
use crate::page::{Page, Width};
use crate::{Failure, say};
use dialoguer::{Confirm, Input};
use std::io::IsTerminal as _;
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::steps::local::questions::{Detected, QUESTIONS, Question, detect, find_out};
use td_state::answers::{Answer, Answers};

/// Whether a person can be asked.
pub fn interactive(yes: bool) -> bool {
    !yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Where the answers of this run came from, for whoever shows them.
pub struct Asked {
    /// Question, answer and why it is this one; only for answers that were not saved before.
    pub new: Vec<(&'static Question, Answer, String)>,
}

/// Completes the context's answers.
pub fn complete(context: &mut Context, words: &SetupWords, yes: bool) -> Result<Asked, Failure> {
    let ask = interactive(yes);
    let mut asked = Asked { new: Vec::new() };
    let mut missing = Vec::new();
    let mut wrong = Vec::new();
    for question in QUESTIONS {
        if let Some(text) = words.given(question.flag) {
            match (question.parse)(&absolute(question, text)) {
                Ok(answer) => {
                    context.answers.set(&question.key, answer);
                }
                Err(why) => wrong.push(format!("--{}: {why}", question.flag)),
            }
        } else if let Some(saved) = context.answers.get(&question.key) {
            // A file that a person edited is checked like a flag.
            if let Err(why) = (question.parse)(&shown(&saved)) {
                wrong.push(format!("{} in {}: {why}", question.key, context.dir.answers().display()));
            }
        }
    }
    if !wrong.is_empty() {
        return Err(usage("E-ANSWER-WRONG", &wrong, "an answer cannot be used"));
    }
    let open: Vec<_> = QUESTIONS.iter().filter(|q| context.answers.get(&q.key).is_none()).collect();
    if ask && !open.is_empty() {
        say::aside(greeting(open.len(), context.width));
    }
    for question in open {
        let detected = detect(&question.key, &context.answers, &context.facts, &context.host);
        match detected {
            Some(detected) if yes => {
                context.answers.set(&question.key, detected.answer.clone());
                asked.new.push((question, detected.answer, detected.reason));
            }
            detected if ask => {
                let answer = prompt(question, detected.as_ref(), context.width)?;
                context.answers.set(&question.key, answer.clone());
                save(context)?;
                // A Ctrl-C between two keys reaches us as a signal and ends no prompt.
                if context.cancel.asked() {
                    return Err(stopped());
                }
                asked.new.push((question, answer, "your answer".into()));
            }
            detected => missing.push(line(question, detected.as_ref())),
        }
    }
    if !missing.is_empty() {
        return Err(usage(
            "E-ANSWERS-MISSING",
            &missing,
            "these answers are missing and there is nobody to ask",
        ));
    }
    for (key, answer) in find_out(&context.answers, &context.facts, &context.host) {
        context.answers.set(&key, answer);
    }
    Ok(asked)
}

/// A folder on the command line is meant from where the person stands.
fn absolute(question: &Question, text: &str) -> String {
    let folder = matches!(question.flag, "data" | "backups" | "prefix" | "demo");
    match std::path::absolute(text) {
        Ok(path) if folder && !text.is_empty() => path.display().to_string(),
        _ => text.to_owned(),
    }
}

/// An answer as a person would type it.
pub fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Text(text) => text.clone(),
        Answer::Int(number) => number.to_string(),
        Answer::Bool(flag) => flag.to_string(),
        Answer::Secret(_) => "(kept elsewhere)".into(),
    }
}

/// A yes or no. Not answering is a no.
pub fn confirmed(prompt: &str, default: bool) -> bool {
    let answer = Confirm::new().with_prompt(prompt).default(default).interact();
    if answer.is_err() {
        // The prompt hides the cursor and forgets it there when it is interrupted.
        let _ = console::Term::stderr().show_cursor();
        say::aside("\n");
    }
    answer.unwrap_or(false)
}

/// What is said before the first prompt.
pub fn greeting(questions: usize, width: Width) -> String {
    let mut page = Page::new(width);
    page.words(&match questions {
        1 => "One question. Enter takes what is suggested; Ctrl-C stops.".to_owned(),
        n => format!(
            "{n} questions. Enter takes what is suggested. Each answer is saved at once: stop with Ctrl-C whenever you \
             like, and the next run goes on from there."
        ),
    });
    page.text()
}

/// What is said above a prompt.
pub fn question_text(question: &Question, detected: Option<&Detected>, width: Width) -> String {
    let mut page = Page::new(width);
    page.gap().words(question.help);
    if let Some(detected) = detected {
        page.words(&format!("Enter takes {} ({}).", shown(&detected.answer), detected.reason));
    }
    page.text()
}

fn prompt(question: &'static Question, detected: Option<&Detected>, width: Width) -> Result<Answer, Failure> {
    say::aside(question_text(question, detected, width));
    let mut input = Input::<String>::new().with_prompt(question.prompt);
    if let Some(detected) = detected {
        // The line above says it; a path twice on one line is too much for it.
        input = input.default(shown(&detected.answer)).show_default(false);
    }
    let input = input.validate_with(|text: &String| (question.parse)(text).map(drop));
    let text = input.interact_text().map_err(|_| {
        say::aside("\n");
        stopped()
    })?;
    (question.parse)(&text).map_err(|why| usage("E-ANSWER-WRONG", &[why], "the answer cannot be used"))
}

fn stopped() -> Failure {
    let happened = "the question was not answered";
    let remedy = Remedy::run("what you answered so far is kept; go on with", "td-sync-setup");
    Failure::new(Exit::Stopped, StepError::new(td_deploy::STOPPED, happened, "nothing was set up", remedy))
}

/// Saves after each answer; the folder of the target is made by the first.
pub fn save(context: &Context) -> Result<(), Failure> {
    let saved = context.dir.make().and_then(|()| context.answers.save(&context.dir.answers()));
    saved.map(drop).map_err(|error| Failure::new(Exit::Failed, error))
}

fn line(question: &Question, detected: Option<&Detected>) -> String {
    let example = detected.map_or_else(
        || "no suggestion".to_owned(),
        |detected| format!("--{} {}  ({})", question.flag, shown(&detected.answer), detected.reason),
    );
    format!("{}: {example}", question.prompt)
}

fn usage(code: &str, lines: &[String], happened: &str) -> Failure {
    let remedy = Remedy::run("give them as flags, or take what was detected", "td-sync-setup setup --yes");
    let error =
        StepError::new(code, happened, "nothing was touched", remedy).with_evidence(lines.iter().cloned());
    Failure::new(Exit::Usage, error)
}

/// Checks answers that came from a file.
pub fn check(answers: &Answers) -> Result<(), Failure> {
    let wrong: Vec<_> = QUESTIONS
        .iter()
        .filter_map(|question| {
            let why = (question.parse)(&shown(&answers.get(&question.key)?)).err()?;
            Some(format!("{}: {why}", question.key))
        })
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(usage("E-ANSWER-WRONG", &wrong, "an answer cannot be used")) }
}

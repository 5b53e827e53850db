//! `answers`: what was chosen.

use super::plan::file_failure;
use crate::cli::{AnswersVerb, AnswersWords};
use crate::context::{Context, Output};
use crate::page::Page;
use crate::{Failure, Verdict, ask, say};
use serde_json::{Map, Value, json};
use std::process::Command;
use td_deploy::error::{Remedy, StepError};
use td_deploy::exit::Exit;
use td_deploy::steps::local::questions::QUESTIONS;
use td_state::answers::{Answer, Answers};

/// Shows or changes them. A change takes effect with the next `setup`.
pub fn run(context: &mut Context, words: &AnswersWords) -> Verdict {
    match words.verb.clone().unwrap_or(AnswersVerb::Show) {
        AnswersVerb::Show => show(context)?,
        AnswersVerb::Export { file: None } => say::out(context.answers.to_text())?,
        AnswersVerb::Export { file: Some(file) } => {
            std::fs::write(&file, context.answers.to_text()).map_err(|error| file_failure(&file, &error))?;
            said(context, &format!("written to {}", file.display()))?;
        }
        AnswersVerb::Import { file } => {
            let bytes = std::fs::read(&file).map_err(|error| file_failure(&file, &error))?;
            adopt(context, Answers::parse(&file, &bytes))?;
        }
        AnswersVerb::Edit { key: Some(key), value: Some(value) } => {
            let Some(question) = QUESTIONS.iter().find(|question| question.key.as_str() == key) else {
                let known: Vec<_> = QUESTIONS.iter().map(|question| question.key.to_string()).collect();
                return Err(usage(&format!("there is no answer {key}"), known));
            };
            let answer = (question.parse)(&value).map_err(|why| usage(&why, Vec::new()))?;
            context.answers.set(&question.key, answer);
            ask::save(context)?;
            said(
                context,
                &format!("saved; it takes effect with: {}", context.commands().shown("td-sync-setup")),
            )?;
        }
        AnswersVerb::Edit { .. } => edit(context)?,
    }
    Ok(Exit::Done.code())
}

fn show(context: &Context) -> Result<(), Failure> {
    if context.output == Output::Json {
        let value = |answer: &Answer| match answer {
            Answer::Text(text) => json!(text),
            Answer::Int(number) => json!(number),
            Answer::Bool(flag) => json!(flag),
            Answer::Secret(_) => Value::Null,
        };
        let all: Map<_, _> =
            context.answers.all().iter().map(|(key, answer)| (key.to_string(), value(answer))).collect();
        return say::out(format!("{}\n", Value::Object(all)));
    }
    let mut page = Page::new(context.width);
    for (key, answer) in context.answers.all() {
        page.under(&format!("{:<16}  ", key.as_str()), &ask::shown(&answer));
    }
    page.under("(kept in ", &format!("{})", context.dir.answers().display()));
    say::out(page.text())
}

/// On a copy, so that a mistake cannot damage what is saved.
fn edit(context: &mut Context) -> Result<(), Failure> {
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_default();
    if !ask::interactive(false) || editor.is_empty() {
        let why = "there is no terminal or no $EDITOR; name an answer and its value instead";
        return Err(usage(why, QUESTIONS.iter().map(|question| question.key.to_string()).collect()));
    }
    ask::save(context)?;
    let copy = context.dir.path().join("answers.edit.toml");
    std::fs::write(&copy, context.answers.to_text()).map_err(|error| file_failure(&copy, &error))?;
    // The editor may be several words, as in `code --wait`.
    let mut words = editor.split_whitespace();
    let ran = Command::new(words.next().unwrap_or("vi")).args(words).arg(&copy).status();
    let bytes = std::fs::read(&copy);
    let _ = std::fs::remove_file(&copy);
    match ran {
        Ok(status) if status.success() => {
            let bytes = bytes.map_err(|error| file_failure(&copy, &error))?;
            adopt(context, Answers::parse(&copy, &bytes))
        }
        Ok(status) => Err(usage(&format!("{editor} ended with {status}"), Vec::new())),
        Err(error) => Err(usage(&format!("{editor} could not be started: {error}"), Vec::new())),
    }
}

fn adopt(context: &mut Context, answers: Result<Answers, td_state::StateError>) -> Result<(), Failure> {
    let answers = answers.map_err(|error| Failure::new(Exit::Usage, error))?;
    ask::check(&answers)?;
    context.answers = answers;
    ask::save(context)?;
    said(context, &format!("saved; it takes effect with: {}", context.commands().shown("td-sync-setup")))
}

fn said(context: &Context, text: &str) -> Result<(), Failure> {
    match context.output {
        Output::Json => say::out(format!("{}\n", json!({ "ok": true }))),
        _ => say::out(format!("{text}\n")),
    }
}

fn usage(happened: &str, lines: Vec<String>) -> Failure {
    let remedy = Remedy::run("see the answers", "td-sync-setup answers show");
    let error = StepError::new("E-ANSWER-EDIT", happened, "nothing was changed", remedy);
    Failure::new(Exit::Usage, error.with_evidence(lines))
}

//! The verbs of the tracker.

use super::args::{Create, List, OpenStatus, Update};
use super::around::Around;
use super::out::{Failure, one_line, plain};
use serde_json::json;
use std::fmt::Write;
use td_client::place::TODOS;
use td_client::project::Project;
use td_client::write::issue::{Issue, STATUSES};
use td_client::write::{IssuePatch, NewIssue};

pub fn init(around: &Around) -> Result<(), Failure> {
    let out = &around.out;
    let (mut project, is_new) =
        Project::init(&around.base, around.ambient.clone()).map_err(|e| out.store(&e))?;
    if !is_new {
        out.warn(".todos/ already exists");
    }
    around.act_in(&mut project)?;
    let (path, session) = (project.base().join(TODOS), project.store.device().session.clone());
    let text =
        if is_new { format!("INITIALIZED {}\nSession: {session}", path.display()) } else { String::new() };
    out.say(text, &json!({"path": path, "created": is_new, "session": session}));
    Ok(())
}

pub fn create(around: &Around, args: Create) -> Result<(), Failure> {
    check_title(around, &args.title)?;
    let mut project = around.acting_project()?;
    let new = NewIssue {
        title: args.title,
        kind: args.kind,
        priority: args.priority,
        points: args.points,
        labels: words(args.labels),
        description: args.description,
        acceptance: args.acceptance,
        parent_id: args.parent,
        minor: args.minor,
        branch: match around.branch() {
            branch if branch == "default" => String::new(),
            branch => branch,
        },
    };
    let issue = project.store.create_issue(new).map_err(|e| around.out.write(&e))?;
    say_issues(around, "CREATED", &[issue]);
    Ok(())
}

pub fn list(around: &Around, args: List) -> Result<(), Failure> {
    let project = around.project()?;
    let statuses = if args.all { STATUSES.map(str::to_string).to_vec() } else { args.status };
    let mut issues = project.store.issues(&statuses).map_err(|e| around.out.write(&e))?;
    issues.truncate(args.limit.unwrap_or(usize::MAX));
    let text: Vec<String> = issues.iter().map(short).collect();
    around.out.say(if text.is_empty() { "No issues.".into() } else { text.join("\n") }, &issues);
    Ok(())
}

pub fn show(around: &Around, id: &str) -> Result<(), Failure> {
    let store = around.project()?.store;
    let read = || -> Result<_, td_client::write::WriteError> {
        Ok((store.issue(id)?, store.comments(id)?, store.log_lines(id)?))
    };
    let (issue, comments, logs) = read().map_err(|e| around.out.write(&e))?;
    let mut text = long(&issue);
    if !comments.is_empty() {
        text.push_str("\nCOMMENTS:\n");
        for c in &comments {
            let _ = writeln!(text, "  [{}] {}: {}", c.created_at, c.session_id, indented(&c.text));
        }
    }
    if !logs.is_empty() {
        text.push_str("\nSESSION LOG:\n");
        for l in &logs {
            let _ = writeln!(text, "  [{}] {}", l.timestamp, indented(&l.message));
        }
    }
    let mut value = json!(issue);
    value["comments"] = json!(comments);
    value["logs"] = json!(logs);
    around.out.say(text, &value);
    Ok(())
}

pub fn update(around: &Around, args: &Update) -> Result<(), Failure> {
    if let Some(title) = &args.title {
        check_title(around, title)?;
    }
    let status = args.status.map(|s| match s {
        OpenStatus::Open => "open",
        OpenStatus::InProgress => "in_progress",
        OpenStatus::Blocked => "blocked",
        OpenStatus::InReview => "in_review",
    });
    let patch = IssuePatch {
        title: args.title.clone(),
        kind: args.kind.clone(),
        priority: args.priority.clone(),
        points: args.points,
        labels: args.labels.as_ref().map(|l| words(l.split(',').map(str::to_string).collect())),
        description: args.description.clone(),
        acceptance: args.acceptance.clone(),
        parent_id: args.parent.clone(),
        status: status.map(str::to_string),
        loaded: None,
    };
    each(around, "UPDATED", &args.ids, |project, id| project.store.update_issue(id, patch.clone()))
}

pub fn close(around: &Around, ids: &[String], reason: Option<&str>) -> Result<(), Failure> {
    let mut followed = Vec::new();
    each(around, "CLOSED", ids, |project, id| {
        let closed = project.store.close_issue(id, reason)?;
        followed.extend(closed.followed);
        Ok(closed.issue)
    })?;
    // To standard error, so that JSON stays one value.
    for issue in followed {
        let what = if issue.status == "closed" {
            "closed too, all its children are"
        } else {
            "is not blocked any more"
        };
        around.out.note(format!("{} {what}: {}", issue.id, one_line(&issue.title)));
    }
    Ok(())
}

pub fn delete(around: &Around, ids: &[String]) -> Result<(), Failure> {
    each(around, "DELETED", ids, |project, id| project.store.delete_issue(id))
}

pub fn comment(around: &Around, id: &str, text: &str) -> Result<(), Failure> {
    let mut project = around.acting_project()?;
    let comment = project.store.comment(id, text).map_err(|e| around.out.write(&e))?;
    around
        .out
        .say(format!("COMMENTED {}", comment.issue_id), &json!({"action": "commented", "comment": comment}));
    Ok(())
}

/// Does `change` to each issue. All ids are looked up first, so that a typing error changes nothing.
fn each(
    around: &Around,
    word: &str,
    ids: &[String],
    mut change: impl FnMut(&mut Project, &str) -> Result<Issue, td_client::write::WriteError>,
) -> Result<(), Failure> {
    let mut project = around.acting_project()?;
    for id in ids {
        project.store.issue(id).map_err(|e| around.out.write(&e))?;
    }
    let mut done = Vec::new();
    for id in ids {
        done.push(change(&mut project, id).map_err(|e| around.out.write(&e))?);
    }
    say_issues(around, word, &done);
    Ok(())
}

/// One issue as an object, several as a list, as they were asked for.
fn say_issues(around: &Around, word: &str, issues: &[Issue]) {
    let text: Vec<String> = issues.iter().map(|i| format!("{word} {}", i.id)).collect();
    let values: Vec<_> = issues
        .iter()
        .map(|i| json!({"action": word.to_lowercase(), "id": i.id, "status": i.status, "issue": i}))
        .collect();
    match values.as_slice() {
        [one] => around.out.say(text.join("\n"), one),
        many => around.out.say(text.join("\n"), &many),
    }
}

/// Words without blanks around them, each once.
fn words(given: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for word in given.iter().map(|w| w.trim()).filter(|w| !w.is_empty()) {
        if !seen.iter().any(|s| s == word) {
            seen.push(word.to_string());
        }
    }
    seen
}

/// A short title only warns; an overlong one is refused. The limits are the project's (`.todos/config.json`).
fn check_title(around: &Around, title: &str) -> Result<(), Failure> {
    let path = around.base.join(TODOS).join("config.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let limit = |key: &str, default: u64| config[key].as_u64().filter(|n| *n > 0).unwrap_or(default);
    let length = title.trim().chars().count() as u64;
    let (min, max) = (limit("title_min_length", 15), limit("title_max_length", 200));
    if length > max {
        let remedy = Some("move details to --description".into());
        return Err(around.out.usage(format!("title too long ({length} chars, max {max})"), remedy));
    }
    if length < min {
        around.out.warn(format!("the title is short ({length} chars, {min} say more)"));
    }
    Ok(())
}

fn short(issue: &Issue) -> String {
    let points = if issue.points > 0 { format!("  {}pts", issue.points) } else { String::new() };
    let title = one_line(&issue.title);
    format!("{}  [{}]  {title}{points}  {}  [{}]", issue.id, issue.priority, issue.kind, issue.status)
}

fn long(issue: &Issue) -> String {
    let mut text = format!("{}: {}\n", issue.id, one_line(&issue.title));
    let deleted = if issue.deleted_at.is_some() { " [deleted]" } else { "" };
    let _ = writeln!(text, "Status: [{}]{deleted}", issue.status);
    let _ = write!(text, "Type: {} | Priority: {}", issue.kind, issue.priority);
    if issue.points > 0 {
        let _ = write!(text, " | Points: {}", issue.points);
    }
    text.push_str(if issue.minor { " | Minor\n" } else { "\n" });
    if !issue.labels.is_empty() {
        let _ = writeln!(text, "Labels: {}", one_line(&issue.labels.join(", ")));
    }
    if !issue.parent_id.is_empty() {
        let _ = writeln!(text, "Parent: {}", one_line(&issue.parent_id));
    }
    for (head, body) in [("Description:", &issue.description), ("Acceptance Criteria:", &issue.acceptance)] {
        if !body.is_empty() {
            let _ = writeln!(text, "\n{head}\n{}", plain(body));
        }
    }
    text
}

/// Lines after the first pushed in, so that no text can pass itself off as a line of its own.
fn indented(text: &str) -> String {
    plain(text).replace('\n', "\n      ")
}

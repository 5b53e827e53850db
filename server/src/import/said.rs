//! A plan and its result for a person: 80 columns, the same list before and after.

use super::plan::{Direction, Done, Plan, ProjectPlan};
use super::tree::{shown, visible};
use std::fmt::Write;

const WIDTH: usize = 80;
/// Most rows named one by one; the rest stands in the report.
const MOST_NAMED: usize = 20;

/// What will be done.
pub fn plan_text(plan: &Plan) -> String {
    let verb = match plan.direction {
        Direction::FromReference => "Taking over",
        Direction::ToReference => "Giving back",
    };
    let mut out = paragraph("", &format!("{verb} {} into {}", shown(&plan.source), shown(&plan.into)));
    out.push('\n');
    if let Some(accounts) = &plan.accounts {
        let rows: Vec<_> = accounts
            .tables
            .iter()
            .filter(|t| t.rows > 0)
            .map(|t| format!("{} {}", t.rows, words(t.name, t.rows)))
            .collect();
        out += &paragraph("  server.db  ", &format!("schema {}: {}", accounts.schema, rows.join(", ")));
        if !accounts.admins.is_empty() {
            out += &paragraph("  admins     ", &accounts.admins.join(", "));
        }
        for invitation in &accounts.invitations {
            out += &paragraph("  pending    ", &format!("invitation of {invitation}"));
        }
        if accounts.pending_logins > 0 {
            out += &paragraph("  pending    ", &format!("{} logins by mail", accounts.pending_logins));
        }
        out.push('\n');
    }
    projects(&mut out, plan);
    list(&mut out, "What changes on the way", plan.changes.iter().cloned());
    list(&mut out, "To know", plan.warnings.iter().cloned());
    list(&mut out, "Writes over REST that stay out of the log", unsent(plan).into_iter());
    list(&mut out, "Stays behind", plan.left_behind.iter().map(|l| format!("{}: {}", l.what, l.why)));
    let refusals = plan.refusals.iter().map(|r| format!("{} ({})\ndo: {}", r.message, r.code, r.remedy));
    list(&mut out, "In the way", refusals);
    out
}

/// What was done.
pub fn done_text(done: &Done) -> String {
    let mut out = plan_text(&done.plan);
    let into = shown(&done.plan.into);
    let events: i64 = done.projects.iter().map(|p| p.log.events).sum();
    out += &paragraph(
        "",
        &format!(
            "Done: {} projects with {events} events in {into}. Counts and digests of all tables and logs are what they \
             were in {}.",
            done.projects.len(),
            shown(&done.plan.source)
        ),
    );
    let (title, settings) = match done.plan.direction {
        Direction::FromReference => ("Serve it with these settings:", "td-sync serve"),
        Direction::ToReference => ("Serve it with the reference and these settings:", "td-sync"),
    };
    // Not wrapped: they are there to be copied.
    let _ = writeln!(
        out,
        "{title}\n  SYNC_SERVER_DB_PATH={into}/server.db\n  SYNC_PROJECT_DATA_DIR={into}/projects\n  {settings}"
    );
    out
}

fn projects(out: &mut String, plan: &Plan) {
    if plan.projects.is_empty() {
        return;
    }
    let _ =
        writeln!(out, "  {:<28}{:>9}{:>9}{:>11}  {:<16}", "project", "events", "last", "new after", "digest");
    for project in &plan.projects {
        let row = if project.has_log {
            let log = &project.log;
            let digest: String = log.sha256_of_event_lines.chars().take(16).collect();
            format!("{:>9}{:>9}{:>11}  {digest:<16}", log.events, log.last_seq, project.numbers_after)
        } else {
            "   no log".into()
        };
        let _ = writeln!(out, "  {}{}", padded(&label(project), 28), row.trim_end());
    }
    out.push('\n');
}

/// The name of a table in words, for so many rows.
fn words(table: &str, rows: u64) -> String {
    let many = table.replace('_', " ");
    if rows == 1 { many.trim_end_matches('s').into() } else { many }
}

fn label(project: &ProjectPlan) -> String {
    let name: String = project.name.chars().flat_map(visible).collect();
    if project.is_deleted { format!("{name} (deleted)") } else { name }
}

/// By characters; a wide one may make a column ragged, never wrong.
fn padded(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count < width {
        return format!("{text}{}", " ".repeat(width - count));
    }
    text.chars().take(width - 2).chain("… ".chars()).collect()
}

fn unsent(plan: &Plan) -> Vec<String> {
    let rows = plan.projects.iter().flat_map(|p| p.unsent.iter().map(move |u| (p, u)));
    let mut all: Vec<String> = rows
        .map(|(p, u)| format!("{}: row {}, {} {}: {}", p.name, u.row, u.action, u.entity, u.why))
        .collect();
    if all.len() > MOST_NAMED {
        let more = all.len() - MOST_NAMED;
        all.truncate(MOST_NAMED);
        all.push(format!("{more} more, which --json names"));
    }
    all
}

fn list(out: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "{title}");
    for item in items {
        for (n, line) in item.lines().enumerate() {
            *out += &paragraph(if n == 0 { "  - " } else { "    " }, line);
        }
    }
    out.push('\n');
}

/// Words behind a head, wrapped with a hanging indent. A word that is too long for a line gets one of its own.
fn paragraph(head: &str, text: &str) -> String {
    let indent = " ".repeat(head.chars().count());
    let (mut out, mut line) = (String::new(), head.to_string());
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let word: String = word.chars().flat_map(visible).collect();
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out += &line;
            out.push('\n');
            (line, is_empty) = (indent.clone(), true);
        }
        if !is_empty {
            line.push(' ');
        }
        line += &word;
        is_empty = false;
    }
    out += line.trim_end();
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_at_most_80_wide_and_hold_nothing_a_terminal_obeys() {
        let text = paragraph("  - ", &format!("{} \u{1b}[31mred {}", "word ".repeat(40), "x".repeat(90)));
        let long: Vec<_> = text.lines().filter(|l| l.chars().count() > WIDTH).collect();
        assert_eq!(long.len(), 1, "only the word without a place to break: {text}");
        assert!(text.lines().skip(1).all(|l| l.starts_with("    ")));
        assert!(!text.contains('\u{1b}'));
    }
}

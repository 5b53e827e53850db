//! What came out of a run, for programs (JSON) and for people (some columns, 80 unless told otherwise; no colour).
//!
//! Invariant: the JSON shape is a contract (`docs/doctor.md`): fields are added, never renamed; absent is `null`.

use crate::{EXIT_FAILURES, EXIT_HEALTHY, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, but somebody should know.
    Warn,
    /// Does not work, crashed, or took too long.
    Fail,
    /// Was not looked at.
    Skip,
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check's stable name.
    pub id: String,
    /// How it ended.
    pub state: State,
    /// What was seen.
    pub value: Option<String>,
    /// What is wrong, or why it was skipped.
    pub cause: Option<String>,
    /// The command that helps.
    pub remedy: Option<String>,
    /// Milliseconds the look took.
    pub ms: u64,
}

impl CheckReport {
    /// From a verdict.
    pub fn new(id: &str, verdict: Verdict, ms: u64) -> Self {
        let (state, value, cause, remedy) = match verdict {
            Verdict::Ok(value) => (State::Ok, Some(value).filter(|v| !v.is_empty()), None, None),
            Verdict::Skip(reason) => (State::Skip, None, Some(reason), None),
            Verdict::Warn(f) => (State::Warn, f.value, Some(f.cause), Some(f.remedy)),
            Verdict::Fail(f) => (State::Fail, f.value, Some(f.cause), Some(f.remedy)),
        };
        let remedy = remedy.map(|r| r.as_str().to_string());
        Self { id: id.into(), state, value, cause, remedy, ms }
    }
}

/// All outcomes of a run, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether nothing failed.
    pub ok: bool,
    /// One entry per check.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// Sums up.
    pub fn new(checks: Vec<CheckReport>) -> Self {
        Self { ok: checks.iter().all(|c| c.state != State::Fail), checks }
    }

    /// 0 or 9; a doctor that could not run never gets here.
    pub fn exit_code(&self) -> u8 {
        if self.ok { EXIT_HEALTHY } else { EXIT_FAILURES }
    }

    /// Lines for a person: one per check, with cause and remedy under what is not right, and a closing sum.
    pub fn plain(&self) -> String {
        self.plain_at(80)
    }

    /// The same for a terminal of so many columns.
    pub fn plain_at(&self, columns: usize) -> String {
        let mut out = String::new();
        let wide = self.checks.iter().map(|c| c.id.len()).max().unwrap_or(0);
        for c in &self.checks {
            let word = match c.state {
                State::Ok => "ok",
                State::Warn => "warn",
                State::Fail => "FAIL",
                State::Skip => "skip",
            };
            let shown = if c.state == State::Skip { &c.cause } else { &c.value };
            let shown = shown.as_deref().unwrap_or("");
            let longest = shown.split_whitespace().map(str::len).max().unwrap_or(0);
            let no_room =
                (wide + 8) * 2 > columns || (wide + 8 + longest > columns && longest + 6 <= columns);
            if no_room && !shown.is_empty() {
                // The value goes below.
                let _ = writeln!(out, "{word:<4}  {}", c.id);
                paragraph(&mut out, "      ", shown, columns);
            } else {
                paragraph(&mut out, &format!("{word:<4}  {:<wide$}  ", c.id), shown, columns);
            }
            if c.state != State::Skip
                && let Some(cause) = &c.cause
            {
                paragraph(&mut out, "      why: ", cause, columns);
            }
            // A command is never wrapped: it must be possible to paste it.
            if let Some(remedy) = &c.remedy {
                let _ = writeln!(out, "      do:  {remedy}");
            }
        }
        let count = |s| self.checks.iter().filter(|c| c.state == s).count();
        let some = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        let (warnings, failures) = (some(count(State::Warn), "warning"), some(count(State::Fail), "failure"));
        let (well, skipped) = (count(State::Ok), count(State::Skip));
        let _ = writeln!(out, "{well} ok, {warnings}, {failures}, {skipped} skipped");
        out
    }
}

/// `text` behind `head`, wrapped with a hanging indent.
fn paragraph(out: &mut String, head: &str, text: &str, columns: usize) {
    let mut line = head.to_string();
    for word in text.split_whitespace() {
        if line.len() + word.len() > columns && line.len() > head.len() {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(head.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Finding, Remedy};

    fn sample() -> Report {
        let finding = Finding::new(
            "another server holds the lock of this data directory, so this one could not write a single event",
            Remedy::command("td-sync doctor --json"),
        );
        Report::new(vec![
            CheckReport::new("server.config", Verdict::Ok("12 variables".into()), 1),
            CheckReport::new("server.lock", Verdict::Fail(finding.value("held by 4711")), 2),
            CheckReport::new("server.apply", Verdict::Skip("server.lock failed".into()), 0),
        ])
    }

    #[test]
    fn the_json_shape_is_the_contract() {
        let json = serde_json::to_value(sample()).expect("json");
        assert_eq!(json["ok"], false);
        assert_eq!(
            json["checks"][0],
            serde_json::json!({"id": "server.config", "state": "ok", "value": "12 variables", "cause": null, "remedy": null, "ms": 1})
        );
        assert_eq!(json["checks"][1]["state"], "fail");
        assert_eq!(json["checks"][1]["remedy"], "td-sync doctor --json");
        assert_eq!(json["checks"][2]["cause"], "server.lock failed");
    }

    #[test]
    fn the_plain_report_fits_80_columns_and_says_what_to_do() {
        let text = sample().plain();
        assert!(text.lines().all(|l| l.len() <= 80), "{text}");
        assert!(text.contains("FAIL  server.lock    held by 4711\n"), "{text}");
        assert!(text.contains("do:  td-sync doctor --json\n"), "{text}");
        assert!(text.ends_with("1 ok, 0 warnings, 1 failure, 1 skipped\n"), "{text}");
    }

    #[test]
    fn a_narrow_report_puts_values_below_their_names() {
        let text = sample().plain_at(40);
        assert!(text.contains("ok    server.config\n      12 variables\n"), "{text}");
        assert!(text.lines().all(|l| l.len() <= 40), "{text}");
    }

    #[test]
    fn warnings_alone_exit_0_and_failures_exit_9() {
        let warn = Verdict::Warn(Finding::new("x", Remedy::command("y")));
        assert_eq!(Report::new(vec![CheckReport::new("a", warn, 0)]).exit_code(), 0);
        assert_eq!(sample().exit_code(), 9);
    }
}

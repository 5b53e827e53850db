//! The dashboard: one self-contained page of a run, readable without a script.
//!
//! Danger: everything in it comes from titles and texts that a seed made up; nothing reaches the page unescaped.

use crate::report::{Run, World};
use std::fmt::Write as _;

/// Conflicts shown per world that passed. A failing world shows all of them.
const SHOWN: usize = 8;
/// Worlds that passed and are shown with their conflicts; the others have their line in the table.
const DETAILED: usize = 60;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em}\
table{border-collapse:collapse;margin:.6em 0;width:100%}th,td{border-bottom:1px solid #ddd;padding:.2em .6em;\
text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}\
code,pre{font:12px/1.4 ui-monospace,monospace}pre{white-space:pre-wrap}td.v{max-width:26em;overflow-wrap:anywhere}\
.ok{color:#176a2b}.bad{color:#a51818;font-weight:600}@media(prefers-color-scheme:dark){body{background:#16181c;\
color:#ddd}th,td{border-color:#333}.ok{color:#6fcf87}.bad{color:#ff7b7b}}";

/// The whole page.
pub fn page(run: &Run) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(run, &mut out);
    out
}

fn write(run: &Run, out: &mut String) -> std::fmt::Result {
    let failed = run.failed();
    write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>td-harness: seed {seed}</title><style>{STYLE}</style>\
         <h1>{count} worlds from seed {seed}</h1><p class=\"{class}\">{passed} passed, {failed} failed</p>\
         <p>{devices} devices and {events} events each; {rate:.1} worlds per second on {threads} threads.</p>",
        seed = run.seed,
        count = run.worlds.len(),
        class = if failed == 0 { "ok" } else { "bad" },
        passed = run.worlds.len() - failed,
        devices = run.size.devices,
        events = run.size.events,
        rate = run.worlds_per_second(),
        threads = run.threads,
    )?;
    out.push_str("<h2>What went wrong on purpose</h2><table><tr><th>fault<th>times");
    for (kind, times) in run.faults() {
        write!(out, "<tr><td>{}<td class=n>{times}", escape(kind))?;
    }
    out.push_str("</table><h2>Worlds</h2><table><tr><th>seed<th>events<th>in the log<th>faults<th>conflicts");
    out.push_str("<th>quarantined<th>ms<th>result");
    let mut shown = 0;
    for world in &run.worlds {
        let detailed = world.failure.is_some() || !world.conflicts.is_empty() && shown < DETAILED;
        shown += usize::from(detailed);
        row(world, detailed, out)?;
    }
    out.push_str("</table></html>\n");
    Ok(())
}

fn row(world: &World, detailed: bool, out: &mut String) -> std::fmt::Result {
    let (class, word) = if world.failure.is_some() { ("bad", "failed") } else { ("ok", "equal") };
    write!(
        out,
        "<tr><td><code>{}</code><td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}\
         <td class={class}>{word}",
        world.seed,
        world.composed,
        world.logged,
        world.faults.values().sum::<u64>(),
        world.conflicts.len(),
        world.skipped,
        world.took.as_millis(),
    )?;
    if !detailed {
        return Ok(());
    }
    out.push_str("<tr><td colspan=8>");
    if let Some(failure) = &world.failure {
        write!(
            out,
            "<pre>{}\n\n{}</pre>",
            escape(&failure.problems.join("\n")),
            escape(&failure.story.join("\n"))
        )?;
    }
    let shown =
        if world.failure.is_some() { world.conflicts.len() } else { SHOWN.min(world.conflicts.len()) };
    write!(out, "<details><summary>{} conflicts</summary><table>", world.conflicts.len())?;
    out.push_str("<tr><th>what<th>how<th>lost<th>stands");
    for c in &world.conflicts[..shown] {
        write!(
            out,
            "<tr><td>{} {}<br>event {} over {}<td>{}<td class=v>{}<td class=v>{}",
            escape(&c.entity_type),
            escape(&c.entity_id),
            c.winner_seq,
            c.loser_seq,
            c.kind,
            escape(&cut(&c.loser)),
            escape(&cut(&c.winner)),
        )?;
    }
    out.push_str("</table>");
    if shown < world.conflicts.len() {
        write!(
            out,
            "<p>and {} more: <code>td-harness worlds --count 1 --seed {} --html FILE</code>",
            world.conflicts.len() - shown,
            world.seed
        )?;
    }
    out.push_str("</details>");
    Ok(())
}

/// At most 300 characters.
fn cut(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in HTML, not even escaped.
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Failure, Lost};
    use crate::script::Size;
    use std::time::Duration;

    #[test]
    fn nothing_a_device_wrote_becomes_markup() {
        let nasty = "<script>alert('x')</script>&\"\u{1b}";
        let lost = Lost {
            entity_type: nasty.into(),
            entity_id: nasty.into(),
            winner_seq: 2,
            loser_seq: 1,
            kind: "edit",
            loser: nasty.into(),
            winner: nasty.into(),
        };
        let failure = Failure { problems: vec![nasty.into()], story: vec![nasty.into()], steps: 1, of: 2 };
        let world = World { seed: 5, conflicts: vec![lost], failure: Some(failure), ..World::default() };
        let size = Size { devices: 3, events: 1 };
        let run = Run { seed: 5, size, threads: 1, took: Duration::from_secs(1), worlds: vec![world] };
        let page = page(&run);
        assert_eq!(page.matches("<script").count(), 0);
        assert_eq!(page.matches("&lt;script&gt;").count(), 6);
        assert!(page.contains("0 passed, 1 failed"));
        assert!(!page.contains('\u{1b}'));
    }
}

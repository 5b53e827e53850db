//! `docs/reference` is what the programs say of themselves: options, exit codes, settings. Drift fails; with
//! `TD_UPDATE_DOCS=1` the pages are written anew.

use std::process::Command;
use td_e2e::{binary, root};

#[test]
fn the_reference_pages_say_what_the_programs_say() {
    let folder = root().join("docs/reference");
    let mut pages: Vec<(String, String)> = ["td", "td-sync", "td-sync-setup"]
        .map(|program| {
            let mut page = format!("# {program}\n\nGenerated from the program's own help.\n");
            describe(program, &mut Vec::new(), &mut page);
            (format!("{program}.md"), page)
        })
        .into();
    let settings = say("td-sync", &["config", "list"]);
    pages.push((
        "settings.md".into(),
        format!("# Settings of the server\n\n```\n{}\n```\n", settings.trim_end()),
    ));
    pages.push(("openapi.json".into(), say("td-sync", &["openapi"])));
    for (name, page) in pages {
        let path = folder.join(&name);
        if std::env::var_os("TD_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).expect("folder");
            std::fs::write(&path, &page).expect("page");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(there, page, "docs/reference/{name} is not current: run this test with TD_UPDATE_DOCS=1");
    }
}

/// The help of a verb, then of every verb below it.
fn describe(program: &str, verb: &mut Vec<String>, page: &mut String) {
    let mut words: Vec<&str> = verb.iter().map(String::as_str).collect();
    words.push("--help");
    let help = say(program, &words);
    if !verb.is_empty() {
        page.push_str(&format!("\n## {program} {}\n", verb.join(" ")));
    }
    page.push_str(&format!("\n```\n{}\n```\n", help.trim_end()));
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let names = commands.filter_map(|l| l.strip_prefix("  ").filter(|l| !l.starts_with(' ')));
    for name in names.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help") {
        verb.push(name.to_string());
        describe(program, verb, page);
        verb.pop();
    }
}

fn say(program: &str, words: &[&str]) -> String {
    let mut command = Command::new(binary(program));
    command.args(words).env_clear().env("HOME", "/home/you").env("COLUMNS", "100");
    let out = command.output().expect("the program runs");
    assert!(out.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(|l| l.trim_end().to_string() + "\n").collect()
}

//! Law 18: a remedy names a command that exists. Every text in the programs' sources that spells one of our commands is
//! looked for in the programs themselves.
//!
//! A command is what stands in backticks or begins a literal: `td sync`, "td-sync admin users list", `{td} connect LINK`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use td_e2e::{binary, root};

const SOURCES: [&str; 8] = [
    "engine/src",
    "client/src",
    "server/src",
    "backup/src",
    "doctor/src",
    "state/src",
    "deploy/src",
    "installer/src",
];

/// How the name of a program is spelled in the sources; a hole holds the name it is installed as.
const SPELLINGS: [(&str, &str); 5] = [
    ("td-sync-setup ", "td-sync-setup"),
    ("td-sync ", "td-sync"),
    ("tds ", "td"),
    ("td ", "td"),
    ("{td} ", "td"),
];

/// Literals that begin with the product's name and are no commands: names, signed contexts, sentences.
const NO_COMMANDS: [&str; 5] = ["canary", "demo", "digest", "identity", "is"];

#[test]
fn every_command_that_a_text_names_exists() {
    let mut named: BTreeMap<(&str, Vec<String>), String> = BTreeMap::new();
    for folder in SOURCES {
        visit(&root().join(folder), &mut |path, text| {
            // Tests may name what they like.
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (n, line) in product.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
                for (program, words) in commands(line) {
                    let place = format!("{}:{}", path.display(), n + 1);
                    named.entry((program, words)).or_insert(place);
                }
            }
        });
    }
    assert!(named.len() > 30, "only {} commands were found: the search is broken", named.len());
    let mut known = Known::default();
    let missing: Vec<String> = named
        .iter()
        .filter(|((_, words), _)| !NO_COMMANDS.contains(&words[0].as_str()))
        .filter(|((program, words), _)| !known.has(program, words))
        .map(|((program, words), place)| format!("{place}: {program} {}", words.join(" ")))
        .collect();
    assert!(missing.is_empty(), "no such command:\n{}", missing.join("\n"));
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let line = r#"Self::Lost => format!("run `{td} restore-all`, or `td-sync admin users paint --all`"),"#;
    let found = commands(line);
    assert_eq!(
        found,
        [
            ("td", vec!["restore-all".to_string()]),
            ("td-sync", vec!["admin".to_string(), "users".into(), "paint".into()])
        ]
    );
    let mut known = Known::default();
    assert!(found.iter().all(|(program, words)| !known.has(program, words)));
    assert!(known.has("td-sync", &["admin".into(), "users".into(), "list".into()]));
    assert!(known.has("td", &["sync-project".into(), "join".into()]));
}

/// The commands a line of source spells: program and the words that can only be verbs.
fn commands(line: &str) -> Vec<(&'static str, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices(['`', '"']) {
        let rest = &line[at + 1..];
        let Some((spelling, program)) = SPELLINGS.iter().find(|(s, _)| rest.starts_with(s)) else { continue };
        let is_verb = |w: &&str| !w.is_empty() && w.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let text = rest[spelling.len()..].split(['`', '"', ';', ',', '\'']).next().unwrap_or_default();
        let words: Vec<String> =
            text.split(' ').take_while(|w| is_verb(w) && !w.starts_with('-')).map(str::to_string).collect();
        // A literal may begin with the program's name and go on as a sentence; a command in backticks may not.
        if !words.is_empty() && (line.as_bytes()[at] == b'`' || words.len() <= 3) {
            found.push((*program, words));
        }
    }
    found
}

/// What the programs answer to `--help`, asked once per verb.
#[derive(Default)]
struct Known(BTreeMap<String, BTreeSet<String>>);

impl Known {
    fn has(&mut self, program: &str, words: &[String]) -> bool {
        let mut path = vec![program.to_string()];
        for word in words {
            let below = self.0.entry(path.join(" ")).or_insert_with(|| verbs(&path));
            if below.is_empty() {
                // Not a verb any more but what it is about.
                return path.len() > 1;
            }
            if !below.contains(word) {
                return false;
            }
            path.push(word.clone());
        }
        true
    }
}

/// The verbs below a verb, with their other names.
fn verbs(path: &[String]) -> BTreeSet<String> {
    let out = Command::new(binary(&path[0])).args(&path[1..]).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&out.stdout).into_owned();
    let listed = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let mut verbs: BTreeSet<String> = BTreeSet::new();
    for line in listed.filter(|l| l.starts_with("  ") && !l.starts_with("   ")) {
        verbs.extend(line.split_whitespace().next().map(str::to_string));
        if let Some((_, aliases)) = line.split_once("[aliases: ") {
            verbs.extend(aliases.trim_end_matches(']').split(", ").map(str::to_string));
        }
    }
    verbs.remove("help");
    verbs
}

fn visit(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").path()) {
        if entry.is_dir() {
            visit(&entry, look);
        } else if entry.extension().is_some_and(|e| e == "rs")
            && entry.file_name().is_some_and(|n| n != "tests.rs")
        {
            look(&entry, &std::fs::read_to_string(&entry).expect("source"));
        }
    }
}

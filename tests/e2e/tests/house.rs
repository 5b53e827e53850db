//! Rules about the source itself: who may depend on whom, and that each law's mutant names a test that exists.

use std::collections::BTreeMap;
use std::path::Path;
use td_e2e::root;

/// The arrows of docs/ARCHITECTURE.md: a crate and all of ours that it may name outside its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("resolve", &[]),
    ("state", &[]),
    ("doctor", &[]),
    ("backup", &[]),
    ("templates", &[]),
    ("server", &["td-engine", "td-backup", "td-doctor", "td-resolve"]),
    ("client", &["td-engine", "td-doctor", "td-resolve"]),
    ("deploy", &["td-state", "td-templates", "td-doctor", "td-client"]),
    // The installer prints what `deploy` and the types-only crates below it say.
    ("installer", &["td-deploy", "td-state", "td-doctor"]),
];

#[test]
fn arrows_between_crates_go_one_way() {
    for (folder, allowed) in ARROWS {
        let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect(folder);
        let manifest: toml::Table = text.parse().expect(folder);
        let named = manifest.get("dependencies").and_then(|d| d.as_table()).expect("dependencies");
        for ours in named.keys().filter(|k| k.starts_with("td-")) {
            assert!(allowed.contains(&ours.as_str()), "{folder} must not depend on {ours}");
        }
    }
}

#[test]
fn every_member_is_covered_by_the_arrows_or_is_a_test() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = text.parse().expect("toml");
    let members = manifest["workspace"]["members"].as_array().expect("members");
    for member in members.iter().filter_map(|m| m.as_str()) {
        assert!(member.starts_with("tests/") || ARROWS.iter().any(|(f, _)| *f == member), "{member}");
    }
}

#[test]
fn only_the_fault_filesystem_may_be_unsafe() {
    let mut offenders = Vec::new();
    visit(&root(), &mut |path, text| {
        let exempt = path.starts_with(root().join("tests/faultfs")) || path == Path::new(file!());
        if path.extension().is_some_and(|e| e == "toml")
            && !exempt
            && text.contains("unsafe_code = \"allow\"")
        {
            offenders.push(path.to_path_buf());
        }
    });
    assert!(offenders.is_empty(), "{offenders:?}");
}

#[test]
fn every_mutant_breaks_a_law_and_names_a_test_that_exists() {
    let mut laws: BTreeMap<u32, usize> = BTreeMap::new();
    let folder = root().join("tests/mutants");
    for entry in std::fs::read_dir(folder).expect("tests/mutants").map(|e| e.expect("entry").path()) {
        if entry.extension().is_none_or(|e| e != "patch") {
            continue;
        }
        let text = std::fs::read_to_string(&entry).expect("patch");
        let line = |key: &str| {
            let found = text.lines().find_map(|l| l.strip_prefix(key));
            found.unwrap_or_else(|| panic!("{} has no line {key:?}", entry.display())).trim().to_string()
        };
        let law = line("law: ").parse().expect("a law's number");
        let test = line("caught-by: ").split_whitespace().last().expect("a test's name").to_string();
        let name = test.rsplit("::").next().expect("a name");
        let mut found = false;
        visit(&root(), &mut |path, text| {
            found |= path.extension().is_some_and(|e| e == "rs") && text.contains(&format!("fn {name}("));
        });
        assert!(found, "{} names {test}, which is no test", entry.display());
        *laws.entry(law).or_default() += 1;
    }
    // 9, 10 and 13 follow with the issues that bring their code.
    for law in (1..=20).filter(|l| ![9, 10, 13].contains(l)) {
        assert!(laws.contains_key(&law), "law {law} has no mutant in tests/mutants");
    }
}

fn visit(folder: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").path()) {
        let name = entry.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if entry.is_dir() && !name.starts_with("target") && name != ".git" {
            visit(&entry, each);
        } else if entry.is_file()
            && entry.extension().is_some_and(|e| e == "rs" || e == "toml")
            && let Ok(text) = std::fs::read_to_string(&entry)
        {
            each(&entry, &text);
        }
    }
}

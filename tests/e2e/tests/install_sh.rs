//! `install.sh` as somebody uses it who has bad luck or bad intentions: archives, folders and surroundings that are not as
//! they should be. The programs in these archives are stubs; the real ones are run by `readme.rs` and `setup.rs`.

use std::fs;
use std::os::unix::fs::symlink;
use td_e2e::dist::{Dist, Run, names};
use td_e2e::home::script;

/// Nothing was run and nothing is left behind.
fn untouched(dist: &Dist, what: &str) {
    assert_eq!(dist.called(), None, "{what}: setup was called");
    assert_eq!(names(&dist.home()), [""; 0], "{what}: left in the home folder");
    assert_eq!(names(&dist.tmp()), [""; 0], "{what}: left in the temporary folder");
}

#[test]
fn an_archive_beside_the_script_is_unpacked_run_and_gone_again() {
    let dist = Dist::new("with a blank & 'quotes'");
    dist.run(&["--local", "--yes", "--prefix", "my programs"]).is(0, &["Unpacking", "Setting up"]);
    let called = dist.called().expect("setup is called");
    let prefix = dist.folder().parent().expect("parent").join("my programs");
    let words = format!("setup\n--target\nlocal\n--yes\n--prefix\n{}\n", prefix.display());
    assert!(called.starts_with(&words), "{called}");
    untouched(&dist, "after a good run");
    // What remedies will name: a line that a shell reads back.
    let line = called.lines().last().and_then(|line| line.strip_prefix("called as: ")).expect("a line");
    let mut again = std::process::Command::new("/bin/sh");
    again.arg("-c").arg(line).env_clear().env("HOME", dist.home()).env("PATH", "/usr/bin:/bin");
    Run::of(again).is(0, &["Setting up"]);
    assert!(dist.called().expect("setup is called again").starts_with(&words), "{line}");
}

#[test]
fn its_exit_code_is_that_of_setup() {
    let dist = Dist::new("dist");
    let mut command = dist.command(&["--local"]);
    command.env("STUB_EXIT", "8");
    Run::of(command).is(8, &[]);
    assert!(dist.called().is_some());
    untouched(&dist, "after a stop");
}

#[test]
fn another_verb_goes_through_without_the_options_of_setup() {
    let dist = Dist::new("dist");
    dist.run(&["--yes", "--", "uninstall", "--keep-data"]).is(0, &[]);
    let called = dist.called().expect("called");
    assert!(called.starts_with("uninstall\n--keep-data\ncalled as:"), "no --yes: it would delete: {called}");
    dist.run(&["--yes", "--", "--port", "8471"]).is(0, &[]);
    assert!(dist.called().expect("called").starts_with("setup\n--target\nlocal\n--yes\n--port\n8471\n"));
}

#[test]
fn an_archive_is_used_only_with_its_right_digest() {
    let dist = Dist::new("dist");
    let from = dist.folder().display().to_string();
    let good = fs::read_to_string(dist.digest()).expect("digest");

    fs::remove_file(dist.digest()).expect("remove");
    dist.run(&["--from", &from]).is(7, &["sha256 is missing", "what to do:"]);
    untouched(&dist, "no digest");

    for (text, why) in [("", "empty"), ("no digest\n", "words"), ("abc123  x\n", "short")] {
        fs::write(dist.digest(), text).expect("digest");
        dist.run(&["--from", &from]).is(7, &["holds no SHA-256"]);
        untouched(&dist, why);
    }

    fs::write(dist.digest(), good.replace(|c: char| c.is_ascii_hexdigit(), "0")).expect("digest");
    dist.run(&["--from", &from]).is(7, &["has SHA-256", "instead of 000", "was not used"]);
    untouched(&dist, "another digest");

    // As some systems write it.
    let upper = good.split(' ').next().expect("digest").to_uppercase();
    fs::write(dist.digest(), format!("{upper}\r\n")).expect("digest");
    dist.run(&["--from", &from]).is(0, &[]);
    assert!(dist.called().is_some());

    let whole = fs::read(dist.archive()).expect("archive");
    fs::write(dist.archive(), &whole[..whole.len() / 2]).expect("half of it");
    dist.run(&["--from", &from]).is(7, &["instead of"]);
    untouched(&dist, "half an archive");
    dist.publish();
    dist.run(&["--from", &from]).is(7, &["could not be unpacked", "tar:", "nothing was changed"]);
    untouched(&dist, "half an archive that was published so");
}

#[test]
fn an_archive_with_something_else_in_it_is_none_of_ours() {
    let dist = Dist::new("dist");
    fs::remove_file(dist.programs().join("td")).expect("remove");
    symlink("/bin/sh", dist.programs().join("td")).expect("link");
    dist.pack();
    dist.run(&["--local"]).is(7, &["has no td"]);
    untouched(&dist, "a link");
    fs::remove_file(dist.programs().join("td")).expect("remove");
    script(&dist.programs().join("td"), "#!/bin/sh\n");
    script(&dist.programs().join("td-sync-setup"), "\u{7f}ELF of another machine");
    dist.pack();
    dist.run(&["--local"]).is(7, &["cannot be run here", "another kind of machine"]);
    untouched(&dist, "a program of another machine");
}

#[test]
fn an_archive_is_downloaded_with_its_digest_or_not_at_all() {
    let dist = Dist::new("dist");
    let url = format!("http://{}", dist.serve(0));
    dist.run(&["--from", &url]).is(0, &["Downloading"]);
    let called = dist.called().expect("called");
    assert!(called.contains(&format!("--from {url}")), "{called}");
    let cut = format!("http://{}/", dist.serve(10));
    dist.run(&["--from", &cut]).is(1, &["could not be downloaded", "nothing was changed"]);
    untouched(&dist, "a connection that breaks");
    fs::remove_file(dist.digest()).expect("remove");
    dist.run(&["--from", &url]).is(1, &["sha256 could not be downloaded"]);
    untouched(&dist, "no digest at that address");
    for (from, why) in [("http://example.org/x", "https"), ("ftp://example.org/x", "https")] {
        dist.run(&["--from", from]).is(2, &[why]);
        untouched(&dist, from);
    }
}

#[test]
fn options_without_a_value_and_unknown_ones_are_refused() {
    let dist = Dist::new("dist");
    for words in [&["--from"][..], &["--from="], &["--from", ""], &["--prefix"], &["--prefix="], &["--odd"]] {
        dist.run(words).is(2, &["--help"]);
        untouched(&dist, &words.join(" "));
    }
    dist.run(&["--prerequisites", "--from", "."]).is(2, &["contradicts"]);
    dist.run(&["--help"]).is(0, &["./install.sh --local --yes", "Exit codes"]);
}

#[test]
fn a_home_that_is_not_set_or_not_a_full_path_is_named() {
    let dist = Dist::new("dist");
    let mut command = dist.command(&["--local"]);
    command.env_remove("HOME");
    Run::of(command).is(2, &["HOME is not set", "HOME=/home/you"]);
    untouched(&dist, "no HOME");
    let mut command = dist.command(&["--local"]);
    command.env("HOME", "home");
    Run::of(command).is(2, &["no full path"]);
    untouched(&dist, "a relative HOME");
}

#[test]
fn a_temporary_folder_that_is_missing_is_named_and_no_other_is_taken() {
    let dist = Dist::new("dist");
    let mut command = dist.command(&["--local"]);
    command.env("TMPDIR", dist.tmp().join("missing"));
    Run::of(command).is(7, &["no temporary folder can be made in", "missing", "TMPDIR=$HOME"]);
    untouched(&dist, "no temporary folder");
}

#[test]
fn a_project_of_somebody_else_is_not_built() {
    let dist = Dist::new("dist");
    for file in [dist.archive(), dist.digest()] {
        fs::remove_file(file).expect("remove");
    }
    fs::write(dist.folder().join("Cargo.toml"), "[workspace]\n").expect("Cargo.toml");
    let built = dist.tmp().join("built");
    let bin = dist.folder().join("bin");
    for tool in ["cargo", "rustc", "rustup"] {
        script(&bin.join(tool), &format!("#!/bin/sh\ntouch '{}'\n", built.display()));
    }
    let mut command = dist.command(&["--local", "--yes"]);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    Run::of(command).is(7, &["neither an archive nor the source"]);
    assert!(!built.exists());
}

#[test]
fn a_search_path_for_folders_does_not_mislead_it() {
    let dist = Dist::new("dist");
    let mut command = std::process::Command::new("/bin/sh");
    // With CDPATH, `cd dist` says where it went.
    command
        .args(["dist/install.sh", "--local"])
        .env_clear()
        .env("HOME", dist.home())
        .env("PATH", "/usr/bin:/bin");
    let parent = dist.folder().parent().expect("parent").to_owned();
    command.env("CDPATH", &parent).env("TMPDIR", dist.tmp()).current_dir(&parent);
    Run::of(command).is(0, &["Setting up"]);
    assert!(dist.called().is_some());
}

//! An import that is cut off, or fed with rubbish, leaves nothing or a whole directory, and touches nothing else.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::deployment::{BUSY, Deployment, GARDEN, prepare, reverse, tree};
use td_server::import::{ImportError, Taking};

/// Starts the program and kills it (`kill -9`) when it has said its `n`th step. `false` if it ended before.
fn killed_at(n: usize, dir: &Path, words: &[&str]) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_td-sync"))
        .args(words)
        .current_dir(dir)
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("td-sync starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let reached = lines.map_while(Result::ok).filter(|l| l.ends_with('…')).nth(n).is_some();
    child.kill().expect("kill");
    child.wait().expect("ended");
    reached
}

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .expect("dir")
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn a_killed_import_leaves_nothing_or_a_whole_directory_and_the_next_one_cleans_up() {
    let go = Deployment::new();
    let before = tree(&go.go());
    let mut seen = BTreeMap::new();
    for n in 0.. {
        let was_cut = killed_at(n, go.0.path(), &["import", "go", "--into", "data"]);
        let left = names(go.0.path());
        *seen.entry(left.clone()).or_insert(0) += 1;
        if go.data().exists() {
            // Whole: its report is there, and it is ours, so that it needs no import.
            assert!(go.data().join("import.json").exists() && go.data().join("epoch").exists());
            let codes: Vec<_> = prepare(support::deployment::options(&go.data(), &go.0.path().join("x")))
                .plan()
                .refusals
                .clone();
            assert_eq!(codes[0].code, "already_ours");
            std::fs::remove_dir_all(go.data()).expect("remove");
        }
        if !was_cut {
            break;
        }
        assert!(n < 100, "it never ends");
    }
    assert!(
        seen.contains_key(&vec!["data.half".to_string(), "go".into()]),
        "the test cut nothing off: {seen:?}"
    );
    assert!(tree(&go.go()) == before);
    killed_at(6, go.0.path(), &["import", "go", "--into", "data"]);
    assert!(go.refusals().is_empty(), "what is left of a killed one is not in the way");
    go.take().expect("taken over");
    assert_eq!(names(go.0.path()), ["data", "go"]);

    killed_at(6, go.0.path(), &["import", "--reverse", "data", "--into", "back"]);
    let back = go.0.path().join("back");
    assert!(!back.exists());
    prepare(reverse(&go.data(), &back)).run(&mut |_| {}).expect("given back");
    assert_eq!(names(go.0.path()), ["back", "data", "go"]);
    assert_eq!(names(&back), ["projects", "server.db"]);
}

#[test]
fn two_imports_into_one_place_do_not_meet() {
    let go = Deployment::new();
    let second = prepare(go.options());
    let mut second = Some(second);
    let mut refused = None;
    prepare(go.options())
        .run(&mut |step| {
            if step.contains(BUSY) {
                let codes = go.refusals();
                assert_eq!(codes, ["import_running"]);
                refused = second.take().map(|second| second.run(&mut |_| {}));
            }
        })
        .expect("the first one is not disturbed");
    assert!(matches!(refused, Some(Err(ImportError::Io { .. }))), "{refused:?}");
    assert_eq!(names(go.0.path()), ["data", "go"]);
}

/// SplitMix64, so that a printed seed repeats a run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("an index")
    }
}

#[test]
fn rubbish_in_the_source_never_panics_and_never_gets_outside() {
    let setting = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seed = setting("TD_TEST_SEED").unwrap_or(1);
    let cases = setting("TD_TEST_CASES").unwrap_or(16);
    println!("seed: {seed}");
    let go = Deployment::new();
    // The big ones would only take time.
    std::fs::remove_dir_all(go.go().join("projects").join(BUSY)).expect("remove");
    let rows = format!(
        "DELETE FROM sync_cursors WHERE project_id = '{BUSY}'; DELETE FROM projects WHERE id = '{BUSY}'"
    );
    rusqlite::Connection::open(go.go().join("server.db")).and_then(|c| c.execute_batch(&rows)).expect("rows");
    let whole: Vec<PathBuf> = tree(&go.go()).into_keys().filter(|p| p.is_file()).collect();
    let original: BTreeMap<_, _> =
        whole.iter().map(|p| (p.clone(), std::fs::read(p).expect("file"))).collect();
    let (mut taken, mut refused) = (0, 0);
    for case in 0..cases {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(case));
        for _ in 0..=random.below(3) {
            spoil(&whole[random.below(whole.len())], &mut random);
        }
        let before = tree(&go.go());
        let result = catch_unwind(AssertUnwindSafe(|| {
            let taking = Taking::prepare(go.options(), &mut |_| {})?;
            taking.run(&mut |_| {})
        }));
        let result = result.unwrap_or_else(|_| panic!("case {case} of seed {seed} panicked"));
        assert!(tree(&go.go()) == before, "case {case} of seed {seed} changed the source");
        match result {
            Ok(_) => {
                assert_eq!(names(go.0.path()), ["data", "go"], "case {case} of seed {seed}");
                std::fs::remove_dir_all(go.data()).expect("remove");
                taken += 1;
            }
            Err(_) => {
                assert_eq!(names(go.0.path()), ["go"], "case {case} of seed {seed}");
                refused += 1;
            }
        }
        restore(&go.go(), &original);
    }
    println!("figure: {taken} taken over all the same, {refused} refused");
    assert!(taken > 0 && refused > 0, "one side was never tried: {taken}, {refused}");
    assert!(go.file(GARDEN, "events.db").exists());
}

/// Bytes turned over, a page moved, an end cut off or added, a file emptied, removed or replaced by another one.
fn spoil(path: &Path, random: &mut Random) {
    let Ok(mut bytes) = std::fs::read(path) else { return };
    match random.below(10) {
        0..=3 => {
            for _ in 0..=random.below(40) {
                if !bytes.is_empty() {
                    let at = random.below(bytes.len());
                    bytes[at] = u8::try_from(random.below(256)).expect("a byte");
                }
            }
        }
        4 => bytes.truncate(random.below(bytes.len() + 1)),
        5 if bytes.len() > 8192 => {
            let (from, to) = (random.below(bytes.len() / 4096), random.below(bytes.len() / 4096));
            bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
        }
        6 => {
            let more = random.below(9000);
            bytes.extend((0..more).map(|i| u8::try_from(i % 251).expect("a byte")));
        }
        7 => {
            // The head, where sizes, versions and modes stand.
            for _ in 0..=random.below(4) {
                let at = random.below(100);
                if at < bytes.len() {
                    bytes[at] = u8::try_from(random.below(256)).expect("a byte");
                }
            }
        }
        8 => {
            std::fs::remove_file(path).expect("remove");
            match random.below(3) {
                0 => std::fs::create_dir(path).expect("folder"),
                1 => std::os::unix::fs::symlink("/etc/passwd", path).expect("link"),
                _ => {}
            }
            return;
        }
        _ => {
            let side = format!("{}{}", path.display(), ["-wal", "-journal", "-shm"][random.below(3)]);
            if !Path::new(&side).exists() {
                let mut junk = bytes;
                junk.truncate(random.below(20_000));
                std::fs::write(side, junk).expect("write");
            }
            return;
        }
    }
    std::fs::write(path, bytes).expect("write");
}

fn restore(dir: &Path, original: &BTreeMap<PathBuf, Vec<u8>>) {
    std::fs::remove_dir_all(dir).expect("remove");
    for (path, bytes) in original {
        std::fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        std::fs::write(path, bytes).expect("write");
    }
}
